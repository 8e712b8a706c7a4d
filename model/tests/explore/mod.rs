//! Explores a protocol, prints how much, and says what was violated and by which steps.

use std::fmt::Write as _;
use std::io::Write as _;

use model::{Action, Fault, Limits, NAMES, Protocol, SIGHTS, State, Variant};
use service::Clock;
use stateright::{Checker, HasDiscoveries, Model as _, Path};

const THREADS: usize = 2;

/// Explores, prints how much, and gives what was found.
pub(crate) fn explore(name: &str, protocol: Protocol, threads: usize) -> impl Checker<Protocol> {
    let clock = Clock::system();
    let begun_ms = clock.boot_ms();
    let checker =
        protocol.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    say(&format!(
        "{name}: {} states, {} steps deep, {:.1} s",
        checker.unique_state_count(),
        checker.max_depth(),
        seconds(clock.boot_ms() - begun_ms),
    ));
    checker
}

fn seconds(ms: i64) -> f64 {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or_default()).as_secs_f64()
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

pub(crate) fn violated(checker: &impl Checker<Protocol>) -> Vec<(&'static str, Vec<Action>)> {
    let found = |name| Some((name, steps(checker.discovery(name)?)));
    NAMES.into_iter().filter_map(found).collect()
}

fn steps(path: Path<State, Action>) -> Vec<Action> {
    path.into_actions()
}

pub(crate) fn list(steps: &[Action]) -> String {
    steps.iter().enumerate().fold(String::new(), |mut text, (number, step)| {
        let _ = write!(text, "\n    {:2}. {step:?}", number + 1);
        text
    })
}

pub(crate) fn hold(name: &str, protocol: &Protocol, unseen: &[&str]) {
    let checker = explore(name, protocol.clone(), THREADS);
    let found = violated(&checker).pop();
    assert!(
        found.is_none(),
        "{name}: violated: {}",
        found.map_or(String::new(), |(property, steps)| property.to_owned() + &list(&steps))
    );
    for sight in SIGHTS {
        assert_eq!(checker.discovery(sight).is_some(), !unseen.contains(&sight), "{name}: {sight}");
    }
}

/// Not to be seen where no node starts again.
pub(crate) const ADOPTED: &str = "seen: an agent that outlived its runner, under the next one";

pub(crate) fn faithful(runs: u8, starts: u8, renews: u8, faults: &[Fault]) -> Protocol {
    let limits = Limits { runs, starts, renews, faults: faults.to_vec() };
    Protocol { variant: Variant::Faithful, limits, at_work: false, healing: false }
}
