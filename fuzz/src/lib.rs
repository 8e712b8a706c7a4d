//! Every parser of bytes that come from outside, and what must hold of each whatever the bytes are: it returns, soon, and
//! without a panic; and what the target's head says.
//!
//! The engine mutates a kept corpus (`fuzz/corpus/TARGET`) and keeps, for the time of a run, whatever made a target answer
//! as nothing before it did. It is guided by answers, not by coverage of code, which stable Rust does not measure at run
//! time without unsafe code. What it finds is written to the corpus, and is a test from then on.

pub mod corpus;
pub mod engine;
pub mod mutate;
pub mod targets;

pub use targets::{TARGETS, Target};
