//! Loopback stand-ins for the issue tracker and the git forge: [`plane::Plane`] and [`gitea::Gitea`] answer their REST
//! APIs with the shapes that were measured, send signed webhooks for each change, and keep every write with its time.
//!
//! What goes wrong is asked for: answers by [`Faults`], webhooks by [`Hooks`]. Neither knows of jobs, and both live in
//! memory; git repositories alone are real, served by `git http-backend`.

mod faults;
pub mod gitea;
mod hooks;
mod log;
pub mod plane;
mod serve;

pub use faults::{Fault, Faults};
pub use gitea::Gitea;
pub use hooks::{Hooks, Sent, Treat};
pub use log::Entry;
pub use plane::Plane;
pub use serve::Asked;

#[cfg(test)]
mod tests;
