//! One sink's loop: take what is due under a lease, send it, settle it by what the receiver said.
//!
//! A process that dies in between loses nothing: the lease runs out and the messages are taken again. What the
//! receiver got meanwhile it gets twice, with the same keys.

use std::sync::Arc;
use std::time::Duration;

use domain::alert::Notice;
use domain::alert::message::PARTS_MAX;
use domain::alert::pace::{DISTANCE, Pace};
use domain::outbox::{End, Message, Settlement, Sink, Take};
use service::metrics::number;

use super::BACKLOG_MAX;
use super::answer::{Verdict, backoff};
use crate::moves::error_chain;
use crate::shared::Shared;

/// How long one request may take.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(8);
/// How long nobody else takes what was taken: longer than sending all parts of it can last.
const LEASE: Duration = Duration::from_secs(40);
/// How long nothing is tried while only a person can mend what is wrong; a restart tries at once.
const MISCONFIGURED_PAUSE: Duration = Duration::from_mins(10);
/// How often a lane is looked at without a signal.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);

const _: () = assert!(
    LEASE.as_secs() > PARTS_MAX as u64 * (REQUEST_DEADLINE.as_secs() + DISTANCE.as_secs()),
    "a lease must outlast the sending"
);

/// Who takes messages.
pub(super) trait Receiver: Send + Sync + 'static {
    /// Whether there is a least time between two messages.
    const PACED: bool;

    /// Sends what tells all of `messages`, in order, with the lane's pace between its parts.
    fn send(
        &self,
        shared: &Shared,
        lane: &mut Lane,
        messages: &[Message],
        notices: &[Notice],
    ) -> impl Future<Output = Result<Verdict, store::Error>> + Send;
}

/// What a loop knows of its lane between two looks.
#[derive(Debug)]
pub(super) struct Lane {
    sink: Sink,
    pace: Pace,
    /// So many messages are sent one by one, to find the one that cannot be sent.
    singly: usize,
    /// Nothing is tried before this instant of the boot clock.
    paused_until_ms: Option<i64>,
}

impl Lane {
    pub(super) fn new(sink: Sink) -> Self {
        Self { sink, pace: Pace::default(), singly: 0, paused_until_ms: None }
    }

    /// Waits until the pace allows a message.
    pub(super) async fn wait_for_pace(&self, shared: &Shared) {
        while !self.pace.wait(shared.clock.boot_ms()).is_zero() {
            tokio::time::sleep(look_every(shared).min(DISTANCE)).await;
        }
    }

    /// Notes that sending a message ended.
    pub(super) fn sent(&mut self, shared: &Shared) {
        self.pace.sent(shared.clock.boot_ms());
    }

    fn rests(&self, shared: &Shared, paced: bool) -> bool {
        let now_ms = shared.clock.boot_ms();
        self.paused_until_ms.is_some_and(|until| now_ms < until)
            || (paced && !self.pace.wait(now_ms).is_zero())
    }
}

fn look_every(shared: &Shared) -> Duration {
    LOOK_EVERY_MAX.min(shared.poll_interval)
}

/// Runs until the tasks are stopped.
pub(super) async fn run<R: Receiver>(shared: Arc<Shared>, mut lane: Lane, receiver: R) {
    let token = shared.tasks.token();
    let mut pushed = shared.alerted.subscribe();
    loop {
        let looked = async {
            if !shared.leads() || lane.rests(&shared, R::PACED) {
                Ok(false)
            } else {
                look(&shared, &mut lane, &receiver).await
            }
        };
        let sent = match token.run_until_cancelled(looked).await {
            None => return,
            Some(Ok(sent)) => sent,
            Some(Err(error)) => {
                tracing::warn!(
                    sink = lane.sink.as_str(),
                    error = error_chain(&error),
                    "could not look into the outbox yet"
                );
                false
            }
        };
        if sent {
            continue;
        }
        let wait = tokio::time::sleep(look_every(&shared));
        tokio::select! {
            () = token.cancelled() => return,
            // An error means that the sender is gone, and the token is about to say so.
            _ = pushed.changed() => {}
            () = wait => {}
        }
    }
}

/// Sends what is due, if anything; true when there may be more.
async fn look<R: Receiver>(shared: &Shared, lane: &mut Lane, receiver: &R) -> Result<bool, store::Error> {
    let (store, now) = (&shared.store, shared.now());
    store.address_alerts(shared.sinks.all(), now).await?;
    store.fold_alerts(lane.sink, BACKLOG_MAX, now).await?;
    let limit = if lane.singly > 0 { 1 } else { BACKLOG_MAX };
    let take = Take { sink: lane.sink, now, leased_until: now.plus(LEASE), limit };
    let messages = store.take_messages(take).await?;
    if messages.is_empty() {
        lane.singly = 0;
        return Ok(false);
    }
    let verdict = match read(&messages) {
        Ok(notices) => receiver.send(shared, lane, &messages, &notices).await?,
        Err(error) => Verdict::Never { error },
    };
    settle(shared, lane, &messages, verdict).await?;
    Ok(true)
}

fn read(messages: &[Message]) -> Result<Vec<Notice>, String> {
    let read = |message: &Message| {
        serde_json::from_str(&message.payload)
            .map_err(|error| format!("the message {} cannot be read: {error}", message.key))
    };
    messages.iter().map(read).collect()
}

async fn settle(
    shared: &Shared,
    lane: &mut Lane,
    messages: &[Message],
    verdict: Verdict,
) -> Result<(), store::Error> {
    let now = shared.now();
    let sink = lane.sink.as_str();
    let attempts = messages.first().map_or(0, |message| message.attempts);
    let (end, result) = match verdict {
        Verdict::Delivered => {
            lane.singly = lane.singly.saturating_sub(1);
            (End::Delivered, "delivered")
        }
        Verdict::Later { after, error } => {
            let wait = backoff(attempts, after);
            tracing::warn!(sink, error, attempts, wait_s = wait.as_secs(), "could not deliver alerts yet");
            (End::Again { at: now.plus(wait), error: Some(error) }, "later")
        }
        Verdict::Misconfigured { error } => {
            let pause_ms = i64::try_from(MISCONFIGURED_PAUSE.as_millis()).unwrap_or(i64::MAX);
            lane.paused_until_ms = Some(shared.clock.boot_ms().saturating_add(pause_ms));
            tracing::error!(
                sink,
                error,
                alerts = messages.len(),
                pause_s = MISCONFIGURED_PAUSE.as_secs(),
                "alerts cannot be delivered: mend the settings of this sink, then restart"
            );
            (End::Again { at: now, error: Some(error) }, "misconfigured")
        }
        Verdict::Never { error } if messages.len() > 1 => {
            tracing::warn!(
                sink,
                error,
                "one of several alerts cannot be delivered: they are sent one by one"
            );
            lane.singly = messages.len();
            (End::Again { at: now, error: Some(error) }, "refused")
        }
        Verdict::Never { error } => {
            lane.singly = lane.singly.saturating_sub(1);
            let message = messages.first();
            let (key, payload) = message.map_or(("", ""), |message| (&message.key, &message.payload));
            tracing::error!(sink, error, key, payload, "an alert can never be delivered: it is set aside");
            (End::SetAside { error }, "set_aside")
        }
        Verdict::Moved { to } => {
            tracing::warn!(sink, to, "the chat was moved: alerts follow it");
            (End::Again { at: now, error: None }, "moved")
        }
    };
    shared.instruments.alerts.add(number(messages.len() as u64), &[sink, result]);
    let messages = messages.iter().map(|message| (message.id, message.attempts)).collect();
    shared.store.settle_messages(Settlement { messages, end, now }).await
}

/// Writes alerts to the log.
#[derive(Debug)]
pub(super) struct DryRun;

impl Receiver for DryRun {
    const PACED: bool = false;

    async fn send(
        &self,
        _: &Shared,
        _: &mut Lane,
        messages: &[Message],
        notices: &[Notice],
    ) -> Result<Verdict, store::Error> {
        for (message, notice) in messages.iter().zip(notices) {
            tracing::info!(key = message.key, count = notice.count(), text = notice.alert.text(), "alert");
        }
        Ok(Verdict::Delivered)
    }
}
