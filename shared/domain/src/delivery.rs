//! What ingest asks the store to keep: one webhook request and the jobs it makes, in one transaction.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{JobId, Timestamp};

/// One webhook request, judged, ready to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// `gitea`, `plane`.
    pub source: String,
    /// The sender's delivery id, a UUID in lower case.
    pub delivery_id: String,
    /// The event's exact type, part of the body-hash key.
    pub event: String,
    /// SHA-256 of the raw body, lower-case hex.
    pub body_sha256: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// The jobs it asks for; empty: nothing to do, the delivery is `ignored`.
    pub jobs: Vec<NewJob>,
}

/// A job to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The project's name.
    pub project: String,
    /// The work item's key, such as `SHOP-12` or `acme/shop#12`.
    pub work_item: String,
    /// The stage to run.
    pub stage: String,
    /// The stage's role.
    pub role: String,
    /// Higher goes first; 0 is ordinary.
    pub priority: i32,
    /// Not before this.
    pub available_at: Timestamp,
    /// Two jobs with one key are one job; defined per kind of event, or given by `orch enqueue --key`.
    pub semantic_key: Option<String>,
    /// What the prompt is made from.
    pub payload: Payload,
    /// The W3C `traceparent` of the request.
    pub trace_context: Option<String>,
}

/// The inputs of a job's prompt. Texts come from outside and are data, never instructions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Payload {
    /// A prompt given by a person (`orch enqueue --prompt`), used as it is in place of the stage's template.
    pub prompt: Option<String>,
    /// The work item's title.
    pub title: Option<String>,
    /// The text that matters for the event: description, comment, review.
    pub body: Option<String>,
    /// Where a person can see it.
    pub url: Option<String>,
    /// Who did it, by display name.
    pub author: Option<String>,
    /// Further facts of the event by name, such as `branch`, `head_sha`, `review`, `ci`.
    pub facts: std::collections::BTreeMap<String, String>,
    /// The event as it came, cut to the size ingest keeps.
    pub event: Option<Value>,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Committed with these new jobs (those of its jobs that were not there already, and those that were).
    Enqueued {
        /// The jobs, in the order asked for.
        jobs: Vec<JobId>,
    },
    /// Seen before, by delivery id, body or the jobs' keys.
    Duplicate {
        /// The jobs of the first one.
        jobs: Vec<JobId>,
    },
    /// Committed; it asks for nothing.
    Ignored,
    /// The delivery id was used before with another body; nothing was written.
    Conflict,
}
