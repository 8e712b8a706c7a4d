//! One forge's loop: take the next letter of a lane that is due, tell the forge, settle it by what it said.
//!
//! A lane is a work item: what is told of one item is told in order, and an item that cannot be told of now, or ever, holds
//! back no other. What says that too much is asked, or that the credential is wrong, holds for the whole forge.

use std::sync::Arc;
use std::time::Duration;

use domain::Alert;
use domain::outbox::{End, Message, Settlement, Sink, Take};
use domain::pipeline::{Pipeline, Project};
use domain::report::{Letter, Says};
use http::StatusCode;
use service::outbound::NoAnswer;

use super::answer::{Verdict, backoff};
use super::call::{Refusal, Reply};
use crate::moves::error_chain;
use crate::shared::Shared;

/// The most requests that one letter takes.
pub(super) const REQUESTS_MAX: u32 = 6;
/// How long one request may take.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(8);
/// How long nobody else takes a letter: longer than telling it can last.
const LEASE: Duration = Duration::from_mins(1);
/// How long nothing is tried while only a person can mend what is wrong; a restart tries at once.
const MISCONFIGURED_PAUSE: Duration = Duration::from_mins(10);
/// How often the outbox is looked at without a signal.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// A letter that failed so often, while others got through within this time, is itself what is wrong.
const TRIES_MAX: u32 = 12;
const OTHERS_WITHIN: Duration = Duration::from_mins(30);
/// A letter that waits this long is a matter for people.
const STUCK_AFTER: Duration = Duration::from_hours(1);

const _: () = assert!(
    LEASE.as_secs() > REQUESTS_MAX as u64 * REQUEST_DEADLINE.as_secs(),
    "a lease must outlast the telling"
);

/// A forge that is told.
pub(super) trait Forge: Send + 'static {
    const SINK: Sink;

    /// Tells it; asks no more than [`REQUESTS_MAX`] times.
    fn tell(
        &mut self,
        pipeline: &Pipeline,
        project: &Project,
        message: &Message,
        says: &Says,
    ) -> impl Future<Output = Result<(), NotTold>> + Send;

    /// How long it wants to be left alone, since it said so last.
    fn rest(&mut self) -> Option<Duration>;
}

/// Why a forge was not told.
#[derive(Debug)]
pub(super) enum NotTold {
    /// It gave no answer.
    Silent(NoAnswer),
    /// It gave another one than was hoped for.
    Refused(Refusal),
    /// What is to be told makes no sense there.
    Nonsense(String),
}

impl From<NoAnswer> for NotTold {
    fn from(error: NoAnswer) -> Self {
        Self::Silent(error)
    }
}

impl From<Refusal> for NotTold {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl NotTold {
    fn verdict(self, judge: fn(&Reply) -> Judged) -> Verdict {
        match self {
            Self::Silent(error) => Verdict::Later { after: None, error: error_chain(&error) },
            Self::Nonsense(error) => Verdict::Never { error },
            Self::Refused(Refusal { what, reply }) => {
                let error = format!("{what}: {}", reply.words());
                match judge(&reply) {
                    Judged::Later(after) => Verdict::Later { after, error },
                    Judged::Misconfigured => Verdict::Misconfigured { error },
                    Judged::Never => Verdict::Never { error },
                }
            }
        }
    }
}

/// What an answer means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Not now.
    Later(Option<Duration>),
    /// Nothing gets through before a person mends the settings.
    Misconfigured,
    /// This never gets through; other things may.
    Never,
}

/// What a loop knows between two looks.
#[derive(Debug)]
struct Loop<F> {
    forge: F,
    judge: fn(&Reply) -> Judged,
    /// Nothing is tried before this instant of the boot clock.
    rests_until_ms: Option<i64>,
    /// When the forge last took something.
    took_ms: Option<i64>,
    /// Whether people were told that it takes nothing.
    stuck: Option<bool>,
}

/// What a refusal is about; a 403 is about the credential only where it says one of these words.
pub(super) fn judge(reply: &Reply, of_credential: &[&str]) -> Judged {
    match reply.status {
        StatusCode::TOO_MANY_REQUESTS => Judged::Later(reply.retry_after()),
        StatusCode::UNAUTHORIZED | StatusCode::METHOD_NOT_ALLOWED => Judged::Misconfigured,
        StatusCode::FORBIDDEN if of_credential.iter().any(|word| reply.says(word)) => Judged::Misconfigured,
        status if status.is_redirection() => Judged::Misconfigured,
        StatusCode::REQUEST_TIMEOUT => Judged::Later(None),
        status if status.is_client_error() => Judged::Never,
        _ => Judged::Later(reply.retry_after()),
    }
}

/// Runs until the tasks are stopped.
pub(super) async fn run<F: Forge>(shared: Arc<Shared>, forge: F, judge: fn(&Reply) -> Judged) {
    let token = shared.tasks.token();
    let mut pushed = shared.alerted.subscribe();
    let mut state = Loop { forge, judge, rests_until_ms: None, took_ms: None, stuck: None };
    loop {
        let looked = async { if shared.leads() { state.look(&shared).await } else { Ok(false) } };
        let told = match token.run_until_cancelled(looked).await {
            None => return,
            Some(Ok(told)) => told,
            Some(Err(error)) => {
                let sink = F::SINK.as_str();
                tracing::warn!(sink, error = error_chain(&error), "could not look into the outbox yet");
                false
            }
        };
        if told {
            continue;
        }
        tokio::select! {
            () = token.cancelled() => return,
            // An error means that the sender is gone, and the token is about to say so.
            _ = pushed.changed() => {}
            () = tokio::time::sleep(LOOK_EVERY_MAX.min(shared.poll_interval)) => {}
        }
    }
}

impl<F: Forge> Loop<F> {
    /// Tells what is due, if anything; true when there may be more.
    async fn look(&mut self, shared: &Shared) -> Result<bool, store::Error> {
        if self.rests_until_ms.is_some_and(|until| shared.clock.boot_ms() < until) {
            return Ok(false);
        }
        let now = shared.now();
        let take = Take { sink: F::SINK, now, leased_until: now.plus(LEASE), limit: 1 };
        let Some(message) = shared.store.take_messages(take).await?.pop() else { return Ok(false) };
        let pipeline = shared.pipeline.get();
        let verdict = match read(&pipeline, &message) {
            Ok((project, letter)) => {
                let told = self.forge.tell(&pipeline, project, &message, &letter.says).await;
                told.map_or_else(|not_told| not_told.verdict(self.judge), |()| Verdict::Delivered)
            }
            Err(error) => Verdict::Never { error },
        };
        if let Some(rest) = self.forge.rest() {
            self.rest(shared, rest);
        }
        self.settle(shared, &message, verdict).await?;
        Ok(true)
    }

    fn rest(&mut self, shared: &Shared, rest: Duration) {
        let rest_ms = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
        self.rests_until_ms = Some(shared.clock.boot_ms().saturating_add(rest_ms));
    }

    async fn settle(
        &mut self,
        shared: &Shared,
        message: &Message,
        verdict: Verdict,
    ) -> Result<(), store::Error> {
        let (now, sink) = (shared.now(), F::SINK.as_str());
        let key = message.key.as_str();
        let (end, result) = match self.given_up(shared, message, verdict) {
            Verdict::Delivered => {
                self.took_ms = Some(shared.clock.boot_ms());
                self.say_stuck(shared, None).await?;
                (End::Delivered, "delivered")
            }
            Verdict::Later { after, error } => {
                let error = shared.reporting.redacted(&error);
                let wait = backoff(message.attempts, after);
                let (lane, attempts, wait_s) = (&message.destination, message.attempts, wait.as_secs());
                tracing::warn!(sink, error, lane, key, attempts, wait_s, "could not report yet");
                if now.since(message.pushed_at) > STUCK_AFTER {
                    self.say_stuck(shared, Some(&error)).await?;
                }
                (End::Again { at: now.plus(wait), error: Some(error) }, "later")
            }
            Verdict::Misconfigured { error } => {
                let error = shared.reporting.redacted(&error);
                self.rest(shared, MISCONFIGURED_PAUSE);
                let pause_s = MISCONFIGURED_PAUSE.as_secs();
                tracing::error!(
                    sink,
                    error,
                    pause_s,
                    "nothing can be reported: mend the settings, then restart"
                );
                self.say_stuck(shared, Some(&error)).await?;
                (End::Again { at: now, error: Some(error) }, "misconfigured")
            }
            Verdict::Never { error } => {
                let error = shared.reporting.redacted(&error);
                tracing::error!(
                    sink,
                    error,
                    lane = message.destination,
                    key,
                    "a report was refused for good"
                );
                // Before it is set aside: whoever dies in between tells it once all the same, for its key is the same.
                let alert = Alert::ReportRefused {
                    sink: sink.to_owned(),
                    message: message.id,
                    work_item: message.destination.clone(),
                    error: error.clone(),
                };
                shared.store.push_alerts(vec![alert], message.pushed_at).await?;
                shared.alert();
                (End::SetAside { error }, "set_aside")
            }
            // Forges do not move destinations.
            Verdict::Moved { .. } => (End::Delivered, "moved"),
        };
        shared.instruments.reports.inc(&[sink, result]);
        let messages = vec![(message.id, message.attempts)];
        shared.store.settle_messages(Settlement { messages, end, now }).await
    }

    /// A letter that fails again and again while others get through would hold up its work item for ever.
    fn given_up(&self, shared: &Shared, message: &Message, verdict: Verdict) -> Verdict {
        let boot_ms = shared.clock.boot_ms();
        let within_ms = i64::try_from(OTHERS_WITHIN.as_millis()).unwrap_or(i64::MAX);
        let others_get_through = self.took_ms.is_some_and(|took| boot_ms.saturating_sub(took) < within_ms);
        if let Verdict::Later { error, .. } = &verdict
            && message.attempts >= TRIES_MAX
            && others_get_through
        {
            let error = format!("failed {} times while others got through: {error}", message.attempts);
            return Verdict::Never { error };
        }
        verdict
    }

    /// Tells people, once, that the forge takes nothing, and once that it does again.
    async fn say_stuck(&mut self, shared: &Shared, error: Option<&str>) -> Result<(), store::Error> {
        if self.stuck == Some(error.is_some()) {
            return Ok(());
        }
        let sink = F::SINK.as_str().to_owned();
        let name = format!("reports/{sink}");
        let alert = match error {
            Some(error) => Alert::ReportsStuck { sink, error: error.to_owned() },
            None => Alert::ReportsBack { sink },
        };
        if shared.store.set_condition(name, error.is_some(), alert, shared.now()).await? {
            shared.alert();
        }
        self.stuck = Some(error.is_some());
        Ok(())
    }
}

fn read<'a>(pipeline: &'a Pipeline, message: &Message) -> Result<(&'a Project, Letter), String> {
    let letter: Letter = serde_json::from_str(&message.payload)
        .map_err(|error| format!("the message {} cannot be read: {error}", message.key))?;
    let project = pipeline
        .project(&letter.project)
        .ok_or_else(|| format!("project {} is not in orch.toml any more", letter.project))?;
    Ok((project, letter))
}
