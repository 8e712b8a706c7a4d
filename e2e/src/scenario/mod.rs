//! Faults that need hosts of their own, one story each, with a measured and asserted end. `./dev test` plays all of
//! them, `./dev chaos --scenario NAME` one.

mod blackhole;
mod cancel;
mod hang;
mod reboot;
mod restart;
mod rolling;
mod silent;

use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context;

use crate::harness::{StackBuilder, boot_ms};
use crate::shop::shop;

/// What a loaded machine may add to a bound of the protocol before it counts as broken.
pub const LOAD: Duration = Duration::from_secs(5);

/// The times of a lease, in seconds: the defaults, shortened about thirty-fold; grace and margin less so.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// `ORCH_RENEW_SECONDS`
    pub renew: u32,
    /// `ORCH_UNREACHABLE_SECONDS`
    pub unreachable: u32,
    /// `ORCH_RUNNER_LEASE_SECONDS`
    pub runner: u32,
    /// `ORCH_KILL_GRACE_SECONDS`
    pub grace: u32,
    /// `ORCH_LEASE_SECONDS`
    pub scheduler: u32,
}

/// The times of a system that sets none.
pub const DEFAULT: Terms = Terms { renew: 5, unreachable: 20, runner: 300, grace: 10, scheduler: 420 };

/// Short leases under which the start-up check of the arithmetic holds.
pub const SHORT: Terms = Terms { renew: 1, unreachable: 4, runner: 8, grace: 1, scheduler: 13 };

impl Terms {
    /// A shop whose runners have hosts of their own and whose leases have these times.
    #[must_use]
    pub fn shop(self, hosts: usize) -> StackBuilder {
        self.tell(shop().hosts(hosts))
    }

    /// Sets the times of a stack's leases.
    #[must_use]
    pub fn tell(self, stack: StackBuilder) -> StackBuilder {
        stack
            .env("ORCH_RENEW_SECONDS", &self.renew.to_string())
            .env("ORCH_UNREACHABLE_SECONDS", &self.unreachable.to_string())
            .env("ORCH_RUNNER_LEASE_SECONDS", &self.runner.to_string())
            .env("ORCH_KILL_GRACE_SECONDS", &self.grace.to_string())
            .env("ORCH_LEASE_SECONDS", &self.scheduler.to_string())
    }
}

/// What a scenario saw, for people: a line per event, with its time.
#[derive(Debug)]
pub struct Story {
    began_ms: i64,
    lines: String,
}

impl Story {
    fn begin() -> Self {
        Self { began_ms: boot_ms(), lines: String::new() }
    }

    /// Adds an event at an instant of boot time.
    fn at(&mut self, boot_ms: i64, event: &str) {
        let since_ms = boot_ms - self.began_ms;
        let _ = writeln!(self.lines, "  {boot_ms} ms of boot time ({since_ms:>6} ms): {event}");
    }
}

/// A story that is being played.
type Playing = Pin<Box<dyn Future<Output = anyhow::Result<Story>>>>;
/// How to play one.
type Play = fn() -> Playing;

/// Every scenario with its name.
const ALL: [(&str, Play); 7] = [
    ("blackhole", || Box::pin(blackhole::play())),
    ("reboot", || Box::pin(reboot::play())),
    ("hang", || Box::pin(hang::play())),
    ("cancel", || Box::pin(cancel::play())),
    ("rolling", || Box::pin(rolling::play())),
    ("restart", || Box::pin(restart::play())),
    ("silent", || Box::pin(silent::play())),
];

/// The names of all scenarios.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Plays one scenario and returns what it saw.
///
/// # Errors
/// There is none of that name, or it did not end as it should.
pub async fn play(name: &str) -> anyhow::Result<String> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    let (_, play) =
        found.with_context(|| format!("no scenario {name}: there are {:?}", names().collect::<Vec<_>>()))?;
    Ok(play().await?.lines)
}
