//! Where connections get their places: those that are taken in at once, those that wait, and those that are closed.
//! Who may have one is decided in `sources`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sources::{Entry, Places, Source};
use super::{Limits, Proxies};
use crate::net::Stream;

/// The most connections that wait here for a place; further ones are closed.
const WAITING_MAX: usize = 64;
/// How seldom one kind of complaint is logged: a flood must not become one of log lines.
const SELDOM: Duration = Duration::from_secs(10);

/// The door of one listener.
pub(super) struct Door {
    places: Arc<Shared>,
    proxies: Proxies,
    /// Ends every connection.
    cut: CancellationToken,
    /// Those that came while all places were taken, the oldest first.
    waiting: VecDeque<(Stream, SocketAddr)>,
    full: Complaint,
    closed: Complaint,
}

struct Shared {
    places: Mutex<Places<CancellationToken>>,
    left: Notify,
}

/// A place that is taken until this is dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    source: Source,
    number: u64,
    /// Ends the connection in it.
    pub(super) cut: CancellationToken,
}

impl Door {
    pub(super) fn new(limits: &Limits, cut: CancellationToken) -> Self {
        let places = Places::new(limits.connections_max, limits.connections_per_source_max);
        Self {
            places: Arc::new(Shared { places: Mutex::new(places), left: Notify::new() }),
            proxies: limits.proxies.clone(),
            cut,
            waiting: VecDeque::new(),
            full: Complaint::default(),
            closed: Complaint::default(),
        }
    }

    /// Returns when a place became free that somebody waits for.
    pub(super) async fn left(&self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        self.places.left.notified().await;
    }

    /// Puts a connection before the door; [`Self::next`] is to be asked before the next one comes.
    pub(super) fn knock(&mut self, stream: Stream, peer: SocketAddr) {
        self.waiting.push_back((stream, peer));
    }

    /// The next connection that has a place.
    pub(super) fn next(&mut self) -> Option<(Stream, SocketAddr, Place)> {
        let mut at = 0;
        while let Some((_, peer)) = self.waiting.get(at) {
            let peer = *peer;
            let source = Source::of(peer.ip());
            let end = self.cut.child_token();
            let entry = self.places().enter(source, self.proxies.trusts(peer.ip()), || end.clone());
            match entry {
                Entry::Taken { place, cut } => {
                    if let Some(other) = cut {
                        other.cancel();
                    }
                    let (stream, _) = self.waiting.remove(at)?;
                    let place = Place { shared: self.places.clone(), source, number: place, cut: end };
                    return Some((stream, peer, place));
                }
                Entry::TooMany => {
                    self.waiting.remove(at);
                    if let Some(closed) = self.closed.again() {
                        tracing::warn!(%source, closed, "closed new connections: this source holds its share of them");
                    }
                }
                Entry::Full => at += 1,
            }
        }
        while self.waiting.len() > WAITING_MAX {
            let Some((_, peer)) = self.waiting.pop_back() else { break };
            if let Some(closed) = self.closed.again() {
                tracing::warn!(%peer, closed, "closed new connections: every place is taken, and many wait");
            }
        }
        if !self.waiting.is_empty() && self.full.again().is_some() {
            tracing::warn!("every connection is taken, new ones wait");
        }
        None
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places<CancellationToken>> {
        self.places.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.places.lock().unwrap_or_else(PoisonError::into_inner).leave(self.source, self.number);
        self.shared.left.notify_one();
    }
}

/// Something that may happen very often and is worth a line now and then.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    since: u64,
}

impl Complaint {
    /// Counts it; how often it happened since the last line, when one is due.
    fn again(&mut self) -> Option<u64> {
        self.since += 1;
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= SELDOM);
        due.then(|| {
            self.last = Some(now);
            std::mem::take(&mut self.since)
        })
    }
}
