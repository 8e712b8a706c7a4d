//! The scheduler over real sockets, on a real database, with nodes that do what a test tells them.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without fails the test")]

mod accounts;
mod acts;
mod alerts;
mod fake;
mod faults;
mod life;
mod people;
mod pipeline;
mod process;
mod pushed;
mod repairs;
mod reports;
mod retention;
mod stack;
mod two;
mod worktrees;
