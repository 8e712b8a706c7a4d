//! The runner: takes offers from the scheduler, has each confirmed before it spawns, and keeps agents, their output
//! and their outcomes until the scheduler has acknowledged them.
//!
//! Each agent has a keeper process of its own (see [`shim`]), so that this process may be restarted at any time.
//! It knows no database and judges no outcome.

mod certificate;
mod command;
mod config;
mod contain;
mod files;
mod identity;
mod node;
mod preflight;
mod registration;
mod rpc;
pub mod run_dir;
mod serve;
pub mod shim;
mod shims;
pub mod spool;
mod steps;
mod watch;
pub mod workspace;

pub use config::{
    AgentCommand, Cli, Containment, ForgeEndpoint, GitToken, JoinTokenSecret, Options, RunLimits, Settings,
    ShimCommand,
};
pub use contain::{Bounds, Confinement, Controller, Fence, Resource, User, Users, Version, View};
pub use preflight::Program;
pub use serve::{Handle, serve, start, start_on};
pub use shims::{ShimLink, Shims, Spawned, Waiting};
