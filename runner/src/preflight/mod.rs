//! Keeps the answer to one question: can the program that will really be spawned be spawned? Never a prompt, no tokens.
//!
//! The answer holds for one file. A file that is replaced, changed or gone takes it back at once, so that nothing is
//! spawned that was not looked at.

mod ask;
mod program;

pub(crate) use ask::check;
pub use program::Program;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::runner::Preflight;
use service::Clock;
use service::health::Readiness;
use tokio::sync::{Notify, watch};

use crate::contain::{User, belongings};
use crate::files;
use crate::node::Node;
use crate::shims::Shims;

/// The name of the readiness condition.
pub(crate) const CONDITION: &str = "preflight";
/// How soon a failed look is repeated, if the cache time is not shorter.
const RETRY: Duration = Duration::from_secs(5);
/// How often it is checked that the file is still the one that was looked at.
const SAME_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks, whatever the settings say.
const TTL_MIN: Duration = Duration::from_millis(100);

/// The last answer, and the file it holds for.
#[derive(Clone, Debug)]
struct Seen {
    preflight: Preflight,
    /// None: there was no such file.
    program: Option<Program>,
}

/// What is known of the agent's program. Shared by the loop that looks and those who need the answer.
#[derive(Debug)]
pub(crate) struct Preflights {
    shims: Arc<dyn Shims>,
    clock: Clock,
    seen: watch::Sender<Option<Seen>>,
    again: Notify,
}

impl Preflights {
    pub(crate) fn new(shims: Arc<dyn Shims>, clock: Clock) -> Self {
        Self { shims, clock, seen: watch::Sender::new(None), again: Notify::new() }
    }

    /// The program that may be spawned now: it was looked at, is ok, and is still the same file.
    ///
    /// One that is not takes the answer back and is looked at again soon.
    pub(crate) fn program(&self) -> Option<Program> {
        let seen = self.seen.borrow().clone().filter(|seen| seen.preflight.ok)?;
        let known = seen.program?;
        if self.shims.program().as_ref() == Some(&known) {
            return Some(known);
        }
        let error = format!(
            "{} has changed since it was looked at: it is being looked at again",
            known.path.display()
        );
        let checked_at = Timestamp::from_ms(self.clock.now_ms());
        self.publish(Preflight { checked_at, error: Some(error), ..Preflight::default() }, None);
        self.again.notify_one();
        None
    }

    /// The last answer; none before the first.
    pub(crate) fn report(&self) -> Option<Preflight> {
        self.seen.borrow().as_ref().map(|seen| seen.preflight.clone())
    }

    /// Returns once there is an answer, or after `wait`.
    pub(crate) async fn first(&self, wait: Duration) {
        let mut seen = self.seen.subscribe();
        // Whoever could not wait learns the answer later.
        let _ = tokio::time::timeout(wait, seen.wait_for(Option::is_some)).await;
    }

    /// Looks now; `home` is the HOME it runs with, as `user` if that is another than the runner's. True when the answer has changed.
    async fn look(&self, home: &Path, user: Option<User>) -> bool {
        // Found first: whatever takes its place while it is asked is another file.
        let program = self.shims.program();
        let preflight = self.shims.preflight(home, user, &self.clock).await;
        self.publish(preflight, program)
    }

    fn publish(&self, preflight: Preflight, program: Option<Program>) -> bool {
        let kind = |preflight: &Preflight| (preflight.ok, preflight.error.clone(), preflight.version.clone());
        let now = kind(&preflight);
        let before = self.seen.send_replace(Some(Seen { preflight, program }));
        before.is_none_or(|before| kind(&before.preflight) != now)
    }

    /// Waits until it is time to look again: `wait` is over, the file is another, or somebody asks.
    async fn due(&self, wait: Duration) {
        let changed = async {
            loop {
                tokio::time::sleep(SAME_EVERY.min(wait)).await;
                let known = self.seen.borrow().as_ref().and_then(|seen| seen.program.clone());
                if self.shims.program() != known {
                    return;
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = changed => {}
            () = self.again.notified() => {}
        }
    }
}

/// Makes the HOME of whoever looks.
fn make_home(node: &Node, home: &Path) -> io::Result<()> {
    files::create_private_dir(home)?;
    match (node.looks_as(), node.options.limits.fence.users) {
        (Some(user), Some(users)) => {
            belongings::open_way(&node.options.state_dir, home)?;
            belongings::hand_over(home, user, users)
        }
        _ => Ok(()),
    }
}

/// Keeps the answer fresh until it is cut.
pub(crate) async fn stay_fresh(node: Arc<Node>, readiness: Readiness) {
    let home = node.options.state_dir.join("homes").join("preflight");
    let ttl = node.options.preflight_ttl.max(TTL_MIN);
    loop {
        if let Err(error) = make_home(&node, &home) {
            tracing::warn!(path = %home.display(), %error, "could not make a home for the preflight");
        }
        let changed = node.preflights.look(&home, node.looks_as()).await;
        let Some(preflight) = node.preflights.report() else { continue };
        if changed {
            let Preflight { ok, version, error, program, .. } = &preflight;
            tracing::info!(ok, version, program, error, "looked at the agent's program");
            node.renew_soon.notify_one();
        }
        readiness.set(CONDITION, preflight.error.map_or(Ok(()), Err));
        // A fresh look comes before the last one is too old to count.
        node.preflights.due(if preflight.ok { ttl / 2 } else { (ttl / 2).min(RETRY) }).await;
    }
}

#[cfg(test)]
mod tests;
