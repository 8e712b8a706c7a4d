//! Who has sent too much that was refused. A well-signed webhook is taken whoever shares its address; what a source that
//! ran out of allowance sends besides is answered 429, late and with little work.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::request::Parts;
use service::Clock;
use service::server::{Allowance, Allowances, Proxies, Source, Spent};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long an answer is held back from a source that ran out: what a connection sends meanwhile waits with it.
const HELD_BACK: Duration = Duration::from_secs(1);

/// Knows the sources of what is refused.
#[derive(Debug)]
pub(crate) struct Doorman {
    allowances: Mutex<Allowances>,
    proxies: Proxies,
    /// How many answers may be held back at once.
    seats: Arc<Semaphore>,
    clock: Clock,
    stop: CancellationToken,
}

/// How to answer a source that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It was held back; its connection may go on.
    Held,
    /// Too many are held back already: its connection is closed.
    Closed,
}

impl Doorman {
    /// Holds back at most `seats` answers at once.
    pub(crate) fn new(
        allowance: Allowance,
        proxies: Proxies,
        seats: usize,
        clock: Clock,
        stop: CancellationToken,
    ) -> Self {
        let seats = Arc::new(Semaphore::new(seats.min(Semaphore::MAX_PERMITS)));
        Self { allowances: Mutex::new(Allowances::new(allowance)), proxies, seats, clock, stop }
    }

    /// Who sends this request; none where there was no connection.
    pub(crate) fn source(&self, parts: &Parts) -> Option<Source> {
        let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
        Some(Source::of(self.proxies.client(peer.ip(), &parts.headers)))
    }

    /// Whether the source has run out.
    pub(crate) fn is_out(&self, source: Option<Source>) -> bool {
        let now_ms = self.clock.boot_ms();
        source.is_some_and(|source| self.allowances().is_out(source, now_ms))
    }

    /// Counts a request that was refused; whether the source had it left.
    pub(crate) fn refused(&self, source: Option<Source>) -> bool {
        let Some(source) = source else { return true };
        let spent = self.allowances().spend(source, self.clock.boot_ms());
        match spent {
            Spent::Within | Spent::Over => {}
            Spent::RanOut => tracing::warn!(
                %source,
                "too much from here was refused: answering it 429 and logging it no more until it keeps quiet"
            ),
            Spent::AllRanOut => tracing::warn!(
                %source,
                "too much from many places was refused: until they keep quiet each is answered 429 after a tenth of what it may"
            ),
        }
        matches!(spent, Spent::Within | Spent::AllRanOut)
    }

    /// Lets the source wait for its answer, while there are seats.
    pub(crate) async fn hold_back(&self) -> Farewell {
        let Ok(_seat) = self.seats.try_acquire() else { return Farewell::Closed };
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(HELD_BACK)).await;
        Farewell::Held
    }

    fn allowances(&self) -> std::sync::MutexGuard<'_, Allowances> {
        self.allowances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
