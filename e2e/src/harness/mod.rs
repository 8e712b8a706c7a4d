//! Starts the real services as processes of their own on private ports and a private folder, and proves
//! at the end that nothing of them is left. It knows the outside surface alone: settings, HTTP, the CLI.

pub mod claude;
mod http;
mod leftovers;
mod network;
mod outside;
mod ports;
mod process;
mod stack;
mod tiers;
mod webhook;

use std::future::Future;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

pub use http::{Answer, get, post, send};
pub use leftovers::{Leftovers, leftovers_of};
pub(crate) use leftovers::{has_run, shim_of_step};
pub use network::{Direction, Host, Network};
pub use outside::{Outside, SECRET};
pub use ports::free_port;
pub use process::ServiceProcess;
pub use stack::{Service, Stack, StackBuilder};
pub use tiers::{Tiers, skip};
pub use webhook::{Webhook, sign};

/// Pause between two looks at a condition that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The path of a program of this workspace: beside the running program, or above it when that is a test.
///
/// # Errors
/// It has not been built; the message names the command that does.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let running = std::env::current_exe().context("could not find the running program")?;
    let folder = running.parent().context("the running program lies in no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: run `cargo build --workspace --all-targets`", path.display());
    Ok(path)
}

/// Milliseconds since boot, on the clock by which leases are counted: the same for all processes of this machine.
pub fn boot_ms() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Looks until `condition` yields a value.
///
/// # Errors
/// `deadline` has passed; the message says what was waited for. An error of the condition ends the wait.
pub async fn until<T, F, R>(what: &str, deadline: Duration, mut condition: F) -> anyhow::Result<T>
where
    F: FnMut() -> R,
    R: Future<Output = anyhow::Result<Option<T>>>,
{
    let give_up_at = Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await? {
            return Ok(value);
        }
        ensure!(Instant::now() < give_up_at, "{what}: not within {deadline:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks until `condition` breaks with a value, as long as what it continues with changes: a machine may be slow.
///
/// # Errors
/// It stood still for all of `deadline`; the message says what was waited for. An error of the condition ends the wait.
pub async fn until_or_still<T, P, F, R>(what: &str, deadline: Duration, mut condition: F) -> anyhow::Result<T>
where
    P: PartialEq,
    F: FnMut() -> R,
    R: Future<Output = anyhow::Result<ControlFlow<T, P>>>,
{
    let (mut seen, mut since) = (None, Instant::now());
    loop {
        let progress = match condition().await? {
            ControlFlow::Break(value) => return Ok(value),
            ControlFlow::Continue(progress) => Some(progress),
        };
        if seen != progress {
            (seen, since) = (progress, Instant::now());
        }
        ensure!(since.elapsed() < deadline, "{what}: nothing moved for {deadline:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
