//! The push and the pull request on a real runner, with a real repository and a forge of the tests' own: once, whoever is
//! killed when, never over somebody else's work, and with a credential that no agent finds.
#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "tests")]

mod branch;
#[path = "../common/mod.rs"]
mod common;
mod credential;
mod journal;
mod scene;
