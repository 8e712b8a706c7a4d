//! What ingest asks the store to keep: one webhook request and the jobs it makes, in one transaction.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent_output::cut_front;
use crate::job::Origin;
use crate::sighting::{Sighting, SightingName, Teller};
use crate::verdict::Report;
use crate::{Budgets, Job, JobId, Timestamp};

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
    /// What it shows of the outside, kept with it, of one project.
    pub sightings: Vec<(String, Sighting)>,
}

/// The source of deliveries that no webhook brought: the reconciler found their facts.
pub const RECONCILE: &str = "reconcile";

impl NewDelivery {
    /// Who tells of its sightings.
    pub fn teller(&self) -> Teller {
        if self.source == RECONCILE { Teller::Reconciler } else { Teller::Webhook }
    }
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
    /// Why it is made.
    pub origin: Origin,
    /// What its cause shows of the work item.
    pub about: About,
    /// What was spent of its tries before it came here: nothing, but for a job that is taken over from elsewhere.
    pub budgets: Budgets,
}

/// What the cause of a job shows of its work item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Names the item may be known by, looked for before the job's `work_item`; the first that is known counts.
    pub known_as: Vec<String>,
    /// Names by which later events may speak of the item.
    pub aliases: Vec<String>,
    /// Whether the job's commit is the item's newest.
    pub moves_head: bool,
    /// Whether it takes the place of a queued job of its stage for an older commit: nobody would use that one's verdict.
    pub replaces_older: bool,
    /// Whether a running job of its stage for an older commit is asked to end, too.
    pub cancels_older: bool,
    /// Whether its author has less trust than the project asks for.
    pub untrusted: bool,
    /// The sighting that is its cause: a repeat of it makes no job.
    pub cause: Option<SightingName>,
    /// The longest chain of causes; `None`: [`crate::work_item::HOPS_MAX`].
    pub hops_max: Option<u32>,
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
    /// What earlier stages of the work item said, the newest last; one for each stage.
    pub results: Vec<StageResult>,
    /// Set where the form of a verdict is asked for alone.
    pub reformat: Option<Reformat>,
}

/// What a stage's agent said, for the stages after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageResult {
    /// The stage.
    pub stage: String,
    /// The job.
    pub job: Option<JobId>,
    /// `pass` or `fail`; `approved` or `rejected` where a person said so.
    pub verdict: String,
    /// What was done and found.
    pub summary: String,
    /// What must be mended, or remarks.
    pub findings: Vec<String>,
    /// The commit that was judged or made.
    pub head: Option<String>,
    /// The final message, cut to [`MESSAGE_BYTES_MAX`].
    pub text: String,
}

/// The final message whose verdict could not be read, cut to [`MESSAGE_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reformat {
    /// The message; its end, where it was longer.
    pub message: String,
}

/// The most kept of an agent's final message for the jobs after it, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// How many earlier stages' results a job is given.
pub const RESULTS_MAX: usize = 8;

impl Payload {
    /// Whether the prompt is not made from the stage's template.
    pub const fn brings_prompt(&self) -> bool {
        self.prompt.is_some() || self.reformat.is_some()
    }

    /// The inputs of a job that follows from the one with these. A person's own prompt was what the work is about, so it
    /// stays known as such.
    #[must_use]
    pub fn followed_by(&self, result: Option<StageResult>) -> Self {
        let mut results: Vec<StageResult> = self.results.clone();
        if let Some(result) = result {
            results.retain(|earlier| earlier.stage != result.stage);
            results.push(result);
        }
        let surplus = results.len().saturating_sub(RESULTS_MAX);
        results.drain(..surplus);
        let body = self.body.clone().or_else(|| self.prompt.clone());
        Self { prompt: None, event: None, reformat: None, body, results, ..self.clone() }
    }
}

impl StageResult {
    /// What the agent of `job` said.
    pub fn of(job: &Job, verdict: &str, report: Report, message: &str) -> Self {
        Self {
            stage: job.stage.clone(),
            job: Some(job.id),
            verdict: verdict.to_owned(),
            summary: report.summary,
            findings: report.findings,
            head: report.head,
            text: cut_front(message, MESSAGE_BYTES_MAX),
        }
    }
}

impl Reformat {
    /// Of this message.
    pub fn of(message: &str) -> Self {
        Self { message: cut_front(message, MESSAGE_BYTES_MAX) }
    }
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
    /// Committed; it asks for nothing, or its work item needs a person first.
    Ignored,
    /// The delivery id was used before with another body; nothing was written.
    Conflict,
}
