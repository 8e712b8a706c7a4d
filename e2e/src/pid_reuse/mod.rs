//! The incident as a test: a run dies with its runner, the kernel gives its process id to a stranger, and everything
//! is started again. The stranger must never be touched, and the job must run to its end.
//!
//! Which process gets which id can only be decided in a process id namespace of our own: [`enter`] makes one.

mod namespace;
mod stranger;

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::Instant;

use crate::harness::{Service, Stack, until};
use crate::shop::{Ledger, WITHIN, enqueue, shop, spent, verdicts};

pub use namespace::{enter, why_not};
use stranger::Stranger;

/// Whose process id the stranger gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heir {
    OfTheAgent,
    OfTheShim,
}

/// How the job comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Return {
    /// The runner starts again and finds in its journal what has died.
    Journal,
    /// The runner stays away until the lease of the run is over, and comes back while the next one is queued or runs.
    Lease,
}

/// The rounds, one after the other and again: three by the journal on one by the lease, which takes longer.
const ROUNDS: [(Heir, Return); 8] = [
    (Heir::OfTheAgent, Return::Journal),
    (Heir::OfTheShim, Return::Journal),
    (Heir::OfTheAgent, Return::Lease),
    (Heir::OfTheShim, Return::Journal),
    (Heir::OfTheAgent, Return::Journal),
    (Heir::OfTheShim, Return::Lease),
    (Heir::OfTheAgent, Return::Journal),
    (Heir::OfTheShim, Return::Journal),
];

/// What was seen.
#[derive(Debug, Default)]
pub struct Figures {
    rounds: usize,
    of_agents: usize,
    by_lease: usize,
    /// From the start of the services to the next agent.
    waits: Vec<Duration>,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let middle = waits.get(waits.len() / 2).copied().unwrap_or_default();
        let most = waits.last().copied().unwrap_or_default();
        write!(
            out,
            "{} of {} rounds: the stranger was left alone and the job ran to its end; {} strangers had an agent's id, \
             {} a shim's; {} jobs came back by the journal ({middle:.1?} from start to the next agent, {most:.1?} at \
             most), {} by the lease",
            self.rounds,
            self.rounds,
            self.of_agents,
            self.rounds - self.of_agents,
            self.rounds - self.by_lease,
            self.by_lease
        )
    }
}

/// Plays that many rounds on one stack. Only inside [`enter`].
///
/// # Errors
/// Names the first round that went wrong, and how.
pub async fn rounds(count: usize) -> anyhow::Result<Figures> {
    let mut stack = shop()
        .env("ORCH_RUNNER_LEASE_SECONDS", "2")
        .env("ORCH_KILL_GRACE_SECONDS", "0.2")
        .env("ORCH_LEASE_SECONDS", "3.3")
        .env("ORCH_RENEW_SECONDS", "0.25")
        .env("ORCH_UNREACHABLE_SECONDS", "1")
        .start()
        .await?;
    let mut figures = Figures::default();
    for (number, (heir, back)) in ROUNDS.into_iter().cycle().take(count).enumerate() {
        let wait = round(&mut stack, number, heir, back)
            .await
            .with_context(|| format!("round {}: the id {heir:?}, back by {back:?}", number + 1))?;
        figures.rounds += 1;
        figures.of_agents += usize::from(heir == Heir::OfTheAgent);
        match back {
            Return::Journal => figures.waits.push(wait),
            Return::Lease => figures.by_lease += 1,
        }
    }
    stack.finish().await?;
    Ok(figures)
}

/// One round; tells how long the next agent took from the start of the services on.
async fn round(stack: &mut Stack, number: usize, heir: Heir, back: Return) -> anyhow::Result<Duration> {
    let ledger = Ledger::of(stack);
    let before = ledger.starts().len();
    let door = stack.folder().join(format!("door-{number}"));
    let locks = stack.folder().join("locks");
    let directive = format!("{} alone={} await={}", ledger.step(), locks.display(), door.display());
    let job = enqueue(stack, &directive).await?;
    let agent = until("an agent", WITHIN, || async { Ok(ledger.starts().get(before).cloned()) }).await?;
    let shims = stack.shims();
    ensure!(shims.len() == 1, "not one shim: {:?}", stack.processes());

    // Nobody is left who could say what became of the agent.
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Runner(0)).kill().await?;
    ensure!(stack.kill_process(shims[0]), "the shim was gone before its time");
    for pid in [shims[0], agent.pid] {
        let gone = || async { Ok((!std::fs::exists(format!("/proc/{pid}"))?).then_some(())) };
        until("the shim and its agent are gone", WITHIN, gone).await?;
    }
    let mut stranger = Stranger::with_id(match heir {
        Heir::OfTheAgent => agent.pid,
        Heir::OfTheShim => shims[0],
    })?;

    let started = Instant::now();
    if back == Return::Journal {
        stack.process(Service::Runner(0)).spawn()?;
    }
    stack.process(Service::Scheduler).start().await?;
    if back == Return::Lease {
        stack.until_status(job, "queued", WITHIN).await?;
        stack.process(Service::Runner(0)).spawn()?;
    }
    until("the next agent", WITHIN, || async { Ok(ledger.starts().get(before + 1).cloned()) }).await?;
    let wait = started.elapsed();
    std::fs::write(&door, b"")?;
    let record = stack.until_status(job, "done", WITHIN).await?;
    stack.process(Service::Runner(0)).ready().await?;

    ensure!(spent(&record) == [0, 0, 1, 2], "not one lost run and one good one: {record:#}");
    let lost = match back {
        Return::Journal => ("lost", "shim_lost"),
        Return::Lease => ("lost", "lease_expired"),
    };
    ensure!(verdicts(&record) == [lost, ("success", "none")], "{record:#}");
    ensure!(ledger.starts().len() == before + 2, "more agents than tries: {:?}", ledger.starts());
    stranger.must_be_untouched()?;
    stranger.end().await?;
    Ok(wait)
}
