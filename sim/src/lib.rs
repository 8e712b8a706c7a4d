//! The real scheduler and the real runners on a simulated network, in virtual time, each run the same whenever its
//! seed is: hosts crash, links break, calls come twice, clocks are wrong, and a judge watches every committed change.
//!
//! What is not real: the network (turmoil), the store (`store::memory`), the clocks, and the keepers with their agents.

mod agents;
mod broken;
mod calls;
mod database;
mod dice;
pub mod fleet;
mod judge;
mod mover;
mod operator;
mod outside;
mod processes;
mod scenario;
mod shims;
mod time;
mod trace;
mod world;

pub use broken::Broken;
pub use trace::Coverage;
pub use world::{Report, run};
