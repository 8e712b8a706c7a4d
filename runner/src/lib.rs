//! The runner: takes offers from the scheduler, has each confirmed before it spawns, and keeps agents, their output
//! and their outcomes until the scheduler has acknowledged them.
//!
//! Each agent has a keeper process of its own (see [`shim`]), so that this process may be restarted at any time.
//! It knows no database and judges no outcome.

mod config;
mod contain;
mod files;
mod identity;
mod node;
mod preflight;
mod registration;
mod rpc;
mod run_dir;
mod serve;
pub mod shim;
mod spool;
mod watch;
mod workspace;

pub use config::{AgentCommand, Cli, Containment, Options, RunLimits, Settings, ShimCommand};
pub use serve::{Handle, serve, start};

/// Runs file work on a thread of its own; it is finished even if nobody waits for it any more.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
