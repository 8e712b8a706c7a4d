//! Many agents print far more than is kept while nobody reads: none of them dies of it or waits for it, memory stays
//! bounded, and what was kept is exact. `./dev test` plays the short form, `./dev bounds` the long one.

mod kept;
mod memory;

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use self::kept::Kept;
use self::memory::{Memory, Sampler};
use crate::harness::{Service, Stack, StackBuilder, boot_ms, until};
use crate::scenario::{DEFAULT, Terms};
use crate::shop::{Ledger, Poured, enqueue, shop, spent};

/// Longest wait for anything that needs no more than a busy machine's time.
const WITHIN: Duration = Duration::from_mins(10);

/// Events just below the length that is read as one: of a single text, and of as many values as fit.
const HARD_LINES: &str = "longline=4000000 zeros=4000000";

/// What is to be played.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Agents at once.
    pub agents: usize,
    /// What the first of them prints, in bytes.
    pub flood_bytes: u64,
    /// What each of the others prints.
    pub each_bytes: u64,
    /// How long the scheduler is away, at least.
    pub away: Duration,
    /// How it is away.
    pub how: Away,
    /// The times of the lease.
    pub terms: Terms,
}

/// How a scheduler is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// SIGSTOP, and SIGCONT at the end: its connections stay open and silent.
    Stopped,
    /// SIGKILL, and a new one at the end.
    Killed,
}

impl Size {
    /// Everything at full length: 10 GiB, 50 agents, the times of the defaults, four minutes.
    pub const LONG: Self = Self {
        agents: 50,
        flood_bytes: 10 << 30,
        each_bytes: 80 << 20,
        away: Duration::from_mins(4),
        how: Away::Stopped,
        terms: DEFAULT,
    };

    /// A tenth of the output; the times shortened in one ratio, but for the least that a busy machine needs.
    pub const SHORT: Self = Self {
        flood_bytes: 1 << 30,
        each_bytes: 2 << 20,
        away: Duration::from_secs(36),
        terms: Terms { renew: 1, unreachable: 3, runner: 45, grace: 2, scheduler: 63 },
        ..Self::LONG
    };
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    size: Size,
    away: Duration,
    /// Of the agent that printed most.
    flood: Poured,
    /// Of any other.
    longest_write: Duration,
    memory: Memory,
    kept: Kept,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, away, flood, longest_write, memory, kept } = self;
        let mib = |bytes: u64| bytes >> 20;
        writeln!(
            f,
            "{} agents, one of {} MiB, each other of {} MiB",
            size.agents,
            mib(size.flood_bytes),
            mib(size.each_bytes)
        )?;
        writeln!(
            f,
            "scheduler {:?} for {:.0?} of a runner's lease of {} s: no agent died",
            size.how, away, size.terms.runner
        )?;
        writeln!(
            f,
            "{} MiB in {:.1?}, longest write {:.1?}; longest of any other {:.1?}",
            mib(flood.bytes),
            flood.all,
            flood.longest_write,
            longest_write
        )?;
        writeln!(f, "{memory}")?;
        writeln!(f, "{kept}")
    }
}

/// Plays it.
///
/// # Errors
/// An agent died or could not print, memory grew past its bound, or what was kept is not what was printed.
pub async fn play(size: Size) -> anyhow::Result<Report> {
    let mut stack = stack(&size).start().await?;
    let ledger = Ledger::of(&stack);
    let (go, end) = (stack.folder().join("go"), stack.folder().join("end"));
    let mut jobs = Vec::new();
    for agent in 0..size.agents {
        let bytes = if agent == 0 { size.flood_bytes } else { size.each_bytes };
        let wait = |file: &Path| format!("await={}", file.display());
        let lines = if agent == 1 { HARD_LINES } else { "" };
        let directive = format!("{} {} flood={bytes} {lines} {}", ledger.step(), wait(&go), wait(&end));
        jobs.push((enqueue(&stack, &directive).await?, bytes));
    }
    let all = || async { Ok((ledger.starts().len() >= size.agents).then_some(())) };
    until("every agent is there", WITHIN, all).await?;

    let sampler = Sampler::start(&mut stack, size.agents)?;
    let away = be_away(&mut stack, &size, &ledger, &go).await?;
    File::create(&end)?;
    let mut kept = Vec::new();
    for (id, bytes) in &jobs {
        let record = stack.until_status(*id, "done", WITHIN).await?;
        ensure!(spent(&record) == [0, 0, 0, 1], "it took more than one try: {record:#}");
        let run = record["runs"][0]["run_id"].as_str().with_context(|| format!("no run: {record:#}"))?;
        kept.push(kept::check(&stack.folder().join("run-logs"), run, *bytes)?);
    }
    let memory = sampler.finish()?;
    let (first, others): (Vec<_>, Vec<_>) =
        ledger.floods().into_iter().partition(|flood| flood.job == jobs[0].0);
    stack.finish().await?;
    Ok(Report {
        size,
        away,
        flood: *first.first().context("the first agent printed nothing")?,
        longest_write: others.iter().map(|flood| flood.longest_write).max().unwrap_or_default(),
        memory,
        kept: kept.swap_remove(0),
    })
}

fn stack(size: &Size) -> StackBuilder {
    let agents = size.agents.to_string();
    size.terms.tell(shop()).env("ORCH_RUNNER_SLOTS", &agents).env("ORCH_MAX_CONCURRENCY", &agents)
}

/// Takes the scheduler away, lets all agents print, and brings it back; says how long it was away.
async fn be_away(stack: &mut Stack, size: &Size, ledger: &Ledger, go: &Path) -> anyhow::Result<Duration> {
    let left_ms = boot_ms();
    let away = || Duration::from_millis(u64::try_from(boot_ms() - left_ms).unwrap_or(0));
    let scheduler = stack.process(Service::Scheduler);
    match size.how {
        Away::Stopped => scheduler.signal(Signal::STOP)?,
        Away::Killed => scheduler.kill().await?,
    }
    File::create(go)?;
    // Nobody reads any more; who waited for a reader would not come to an end.
    let printed = || async { Ok((ledger.floods().len() >= size.agents).then_some(())) };
    let lease = Duration::from_secs(size.terms.runner.into());
    until("everything is printed while the scheduler is away", lease, printed).await?;
    tokio::time::sleep(size.away.saturating_sub(away())).await;
    let dead: Vec<_> = ledger.starts().into_iter().filter(|spawn| !spawn.lives()).collect();
    ensure!(dead.is_empty(), "agents died while the scheduler was away: {dead:?}");
    let scheduler = stack.process(Service::Scheduler);
    match size.how {
        Away::Stopped => scheduler.signal(Signal::CONT)?,
        Away::Killed => scheduler.start().await?,
    }
    Ok(away())
}
