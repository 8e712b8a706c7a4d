//! Sends webhooks to ingest, one after the other, as asked: not at all, twice, after the one that follows.
//!
//! A receiver that does not answer gets some more tries where the forge makes them, each with a new delivery id; what is
//! not wanted or not taken is lost, which is what a reconciler is for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::log::{Entry, Log};
use crate::harness::{Webhook, post};

/// The most webhooks that wait to be sent.
const WAITING_MAX: usize = 100_000;
/// Between two tries of one webhook; the real Plane waits up to ten minutes.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// How a webhook is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treat {
    /// Sent once.
    Send,
    /// Never sent.
    Miss,
    /// Sent, and then once more with another delivery id and the same body.
    Twice,
    /// Sent, and then once more as it was.
    Replay,
    /// Sent after the next one that is sent.
    Later,
}

/// What became of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The exact event type, such as `pull_request_sync` or `issue_comment`.
    pub kind: String,
    /// The body.
    pub body: String,
    /// How it was treated.
    pub treat: Treat,
    /// What ingest said each time; `None`: no answer.
    pub answers: Vec<Option<u16>>,
}

/// Where a forge's webhooks go and how. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    queue: mpsc::Sender<(Event, Treat)>,
    log: Log<Sent>,
}

#[derive(Debug, Default)]
struct State {
    to: Option<(SocketAddr, String)>,
    next: Vec<(String, Treat)>,
    always: Option<fn(u64) -> Treat>,
    count: u64,
}

/// A webhook before it is signed.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) by: String,
    /// The name that several kinds share.
    pub(super) grouped: &'static str,
    pub(super) kind: &'static str,
    pub(super) body: String,
}

/// Which forge's headers and patience.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sender {
    Gitea,
    Plane,
}

impl Sender {
    fn sign(self, secret: &str, event: &Event) -> Webhook {
        match self {
            Self::Gitea => Webhook::gitea(secret, event.grouped, event.kind, event.body.clone()),
            Self::Plane => Webhook::plane(secret, event.grouped, event.body.clone()),
        }
    }

    /// Gitea sends at most once, Plane tries again when nobody answers.
    const fn tries(self) -> u32 {
        match self {
            Self::Gitea => 1,
            Self::Plane => 6,
        }
    }
}

impl Hooks {
    pub(super) fn start(sender: Sender, serving: &mut JoinSet<()>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let hooks = Self(Arc::new(Inner { state: Mutex::default(), queue, log: Log::default() }));
        serving.spawn(send_all(sender, waiting, Arc::downgrade(&hooks.0)));
        hooks
    }

    /// Sends them to ingest at `addr` from now on, signed with `secret`; none were sent before.
    pub fn send_to(&self, addr: SocketAddr, secret: &str) {
        self.lock().to = Some((addr, secret.to_owned()));
    }

    /// The next webhook whose exact event type is `kind` is treated like that; an empty `kind`: any.
    pub fn next(&self, kind: &str, treat: Treat) {
        self.lock().next.push((kind.to_owned(), treat));
    }

    /// Every webhook that [`Hooks::next`] says nothing of is treated by its number, counted from 0.
    pub fn always(&self, treat: fn(u64) -> Treat) {
        self.lock().always = Some(treat);
    }

    /// What became of each, in the order in which they were dealt with.
    pub fn sent(&self) -> Vec<Entry<Sent>> {
        self.0.log.all()
    }

    pub(super) fn push(&self, event: Event) {
        let treat = self.treat(event.kind);
        // A full queue loses it, as a real forge would.
        let _ = self.0.queue.try_send((event, treat));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock goes.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn treat(&self, kind: &str) -> Treat {
        let mut state = self.lock();
        let number = state.count;
        state.count += 1;
        let asked = state.next.iter().position(|(wanted, _)| wanted.is_empty() || wanted == kind);
        match asked {
            Some(index) => state.next.remove(index).1,
            None => state.always.map_or(Treat::Send, |treat| treat(number)),
        }
    }
}

async fn send_all(
    sender: Sender,
    mut waiting: mpsc::Receiver<(Event, Treat)>,
    hooks: std::sync::Weak<Inner>,
) {
    let mut later: Option<Event> = None;
    while let Some((event, treat)) = waiting.recv().await {
        let Some(hooks) = hooks.upgrade().map(Hooks) else { return };
        match treat {
            Treat::Later if later.is_none() => {
                later = Some(event);
                continue;
            }
            Treat::Later => deal(sender, &hooks, &event, Treat::Send).await,
            treat @ (Treat::Send | Treat::Miss | Treat::Twice | Treat::Replay) => {
                deal(sender, &hooks, &event, treat).await;
            }
        }
        if let Some(event) = later.take() {
            deal(sender, &hooks, &event, Treat::Later).await;
        }
    }
}

async fn deal(sender: Sender, hooks: &Hooks, event: &Event, treat: Treat) {
    let to = hooks.lock().to.clone();
    let mut answers = Vec::new();
    if let Some((addr, secret)) = to.filter(|_| treat != Treat::Miss) {
        let first = sender.sign(&secret, event);
        answers.push(send(sender, addr, &secret, event, first.clone()).await);
        match treat {
            Treat::Twice => {
                let again = sender.sign(&secret, event);
                answers.push(send(sender, addr, &secret, event, again).await);
            }
            Treat::Replay => answers.push(send(sender, addr, &secret, event, first).await),
            Treat::Send | Treat::Miss | Treat::Later => {}
        }
    }
    let sent = Sent { kind: event.kind.to_owned(), body: event.body.clone(), treat, answers };
    hooks.0.log.add(&event.by, sent);
}

async fn send(
    sender: Sender,
    addr: SocketAddr,
    secret: &str,
    event: &Event,
    mut webhook: Webhook,
) -> Option<u16> {
    for tried in 1..=sender.tries() {
        let answer = post(addr, webhook.path, webhook.headers, webhook.body).await;
        if let Ok(answer) = answer {
            return Some(StatusCode::as_u16(&answer.status));
        }
        if tried < sender.tries() {
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        webhook = sender.sign(secret, event);
    }
    None
}
