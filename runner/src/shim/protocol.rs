//! What runner and shim say to each other: one JSON object a line, a question and its answer.
//!
//! Every line names the protocol's version, the run, its epoch and the run's nonce, so that a runner of another
//! version or a stale socket is refused rather than misunderstood.

use domain::{Epoch, RunId};
use serde::{Deserialize, Serialize};

/// The version both sides must have.
pub(crate) const VERSION: u32 = 1;
/// The longest line either side reads.
pub(crate) const LINE_BYTES_MAX: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) version: u32,
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
    pub(crate) nonce: String,
    pub(crate) ask: Ask,
}

/// What is wanted of a shim. All of them may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Nothing: shows that the shim is there.
    Hello,
    /// The lease goes to this instant of boot time; an earlier one than known changes nothing.
    Lease {
        /// Milliseconds of boot time.
        deadline_boot_ms: i64,
    },
    /// End the agent: a person asked for it.
    Cancel,
    /// End the agent: the node is drained.
    Drain,
    /// End the agent: the run no longer owns its job.
    Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) version: u32,
    /// Why the question was not heeded.
    pub(crate) error: Option<String>,
    /// Until when the agent may live, in milliseconds of boot time.
    pub(crate) lease_deadline_boot_ms: i64,
}
