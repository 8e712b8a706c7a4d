//! A loopback stand-in for the Messages API: it answers each request with the next behaviour of a
//! script and keeps a log of what was asked, so that the real `claude` CLI runs with a made-up key.
//! It knows nothing of jobs, and its texts imitate the API's without claiming to be complete.

mod answer;
mod behaviour;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use behaviour::{Behaviour, ScriptError, parse_script};

/// Most requests the log keeps; later ones are counted by [`StubApi::requests`] no more.
pub const LOG_ENTRIES_MAX: usize = 100_000;

/// How a request proved who it is; the credential itself is never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// An API key in `x-api-key`.
    Key,
    /// A subscription's token in `authorization`.
    Bearer,
    /// Neither.
    None,
}

/// One `POST /v1/messages` as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeenRequest {
    /// What it was answered with, in the script's words.
    pub behaviour: String,
    /// The model asked for.
    pub model: String,
    /// Whether a streamed answer was asked for.
    pub stream: bool,
    /// How many messages the conversation held.
    pub messages: usize,
    /// How many tools were offered.
    pub tools: usize,
    /// The kind of credential.
    pub credential: Credential,
}

/// A running stub; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct StubApi {
    addr: SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

impl StubApi {
    /// Binds `addr` (port 0 picks a free one) and answers with `script`, whose last behaviour repeats.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub async fn start(addr: SocketAddr, script: Vec<Behaviour>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(State::default());
        state.set_script(script);
        let mut serving = JoinSet::new();
        serving.spawn(serve::accept(listener, Arc::clone(&state)));
        Ok(Self { addr, state, _serving: serving })
    }

    /// The address to give to the CLI as `ANTHROPIC_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Replaces the script and starts it from its beginning.
    pub fn set_script(&self, script: Vec<Behaviour>) {
        self.state.set_script(script);
    }

    /// Everything asked so far, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.state.lock().seen.clone()
    }
}

#[derive(Debug, Default)]
struct State(Mutex<Progress>);

#[derive(Debug, Default)]
struct Progress {
    script: Vec<Behaviour>,
    next: usize,
    /// Requests answered since the start: makes ids unique.
    served: u64,
    seen: Vec<SeenRequest>,
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        // Every change is complete before the lock goes, so a panic elsewhere leaves nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_script(&self, script: Vec<Behaviour>) {
        let mut progress = self.lock();
        progress.script = script;
        progress.next = 0;
    }

    /// Takes the next behaviour and a number for the answer's ids.
    fn take(&self) -> (Behaviour, u64) {
        let mut progress = self.lock();
        let last = progress.script.len().saturating_sub(1);
        let behaviour = progress.script.get(progress.next.min(last)).cloned().unwrap_or_default();
        progress.next = progress.next.saturating_add(1);
        progress.served += 1;
        (behaviour, progress.served)
    }

    fn record(&self, request: SeenRequest) {
        let mut progress = self.lock();
        if progress.seen.len() < LOG_ENTRIES_MAX {
            progress.seen.push(request);
        }
    }
}

#[cfg(test)]
mod tests;
