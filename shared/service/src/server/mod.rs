//! The one listener of a service: HTTP/1 and HTTP/2 (gRPC included) on one port, with a limit on
//! everything a stranger can make last or grow.
//!
//! Requests go to an axum router. How long a request's body may take is the router's business; see [`read_body`].

mod allowance;
mod body;
mod connection;
mod door;
mod proxies;
mod room;
mod sources;

pub use allowance::{Allowance, Allowances, Spent};
pub use body::{BodyError, Whole, read_body};
pub use proxies::{Network, Proxies};
pub use room::Room;
pub use sources::Source;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::grpc::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
use crate::net::Listener;
use crate::tasks::Tasks;
use crate::tls::Acceptor;
use door::Door;

/// What a listener grants its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once (4096). Beyond them the source that holds most gives way to one that holds fewer; where
    /// none does, further connections wait until one closes.
    pub connections_max: usize,
    /// Connections that one source may hold (2048); further ones of its are closed at once.
    pub connections_per_source_max: usize,
    /// Whose connections are not counted by source, since they stand for many clients (nobody's).
    pub proxies: Proxies,
    /// Time for a TLS handshake (10 s).
    pub handshake: Duration,
    /// Time from a connection to its first complete request head (30 s); catches clients that say nothing.
    pub first_request: Duration,
    /// Time for the head of an HTTP/1 request (10 s), which is also how long such a connection may rest between two.
    pub header_read: Duration,
    /// Time for the body of a request (1 min).
    pub body: Duration,
    /// How long a connection may have no request in progress (2 min); HTTP/2 clients reconnect at their next call.
    pub idle: Duration,
    /// How long a client may leave what it was sent unacknowledged or unread (1 min, TCP's user timeout), so that
    /// one that vanished or never reads cannot hold a place.
    pub unread: Duration,
    /// Bytes of an HTTP/1 connection's buffer, and so of a request head (64 KiB).
    pub head_bytes_max: usize,
    /// Fields in an HTTP/1 request head (100).
    pub headers_max: usize,
    /// Requests in progress on one HTTP/2 connection (256).
    pub streams_max: u32,
    /// Bytes that wait on one HTTP/2 request for a client that takes them slowly (128 KiB); what follows is not made yet.
    pub send_bytes_max: usize,
    /// Time between HTTP/2 pings, also while idle (5 s).
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping (5 s).
    pub keepalive_timeout: Duration,
    /// Time for requests in progress once the service stops (5 s); what is left is cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_source_max: 2048,
            proxies: Proxies::default(),
            handshake: Duration::from_secs(10),
            first_request: Duration::from_secs(30),
            header_read: Duration::from_secs(10),
            body: Duration::from_mins(1),
            idle: Duration::from_mins(2),
            unread: Duration::from_mins(1),
            head_bytes_max: 64 * 1024,
            headers_max: 100,
            streams_max: 256,
            send_bytes_max: 128 * 1024,
            keepalive_interval: KEEPALIVE_INTERVAL,
            keepalive_timeout: KEEPALIVE_TIMEOUT,
            drain: Duration::from_secs(5),
        }
    }
}

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` until the token of `tasks` is cancelled, then finishes what is in progress.
///
/// With an acceptor (see [`TlsSettings::acceptor`](crate::settings::TlsSettings::acceptor)) every connection is
/// mutual TLS, and ends when the caller's certificate does. Handlers find the peer's address as
/// `axum::extract::ConnectInfo<SocketAddr>` and who it is as [`Caller`](crate::tls::Caller). A handler that panics
/// answers 500 and takes nothing with it.
pub async fn serve(
    listener: impl Into<Listener>,
    app: Router,
    limits: Limits,
    tls: Option<Acceptor>,
    tasks: &Tasks,
) {
    let listener = listener.into();
    #[cfg(feature = "sim")]
    let app = crate::sim::wrapped(&listener, app);
    let stop = tasks.token();
    let server = Arc::new(Server { app, tls, stop: stop.clone(), cut: CancellationToken::new(), limits });
    let mut door = Door::new(&server.limits, server.cut.clone());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = door.left() => Ok(()),
            accepted = listener.accept(server.limits.unread) => accepted.map(|(stream, peer)| door.knock(stream, peer)),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "could not accept a connection");
            let _ = stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
        }
        while let Some((stream, peer, place)) = door.next() {
            let (server, alive) = (server.clone(), connections.token());
            tasks.spawn("connection", async move {
                server.connection(stream, peer, &place.cut).await;
                drop((place, alive));
            });
        }
    }
    drop(door);
    drop(listener);
    connections.close();
    if tokio::time::timeout(server.limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting connections that did not end in time");
        server.cut.cancel();
        connections.wait().await;
    }
}

/// What all connections of a listener share.
struct Server {
    app: Router,
    tls: Option<Acceptor>,
    limits: Limits,
    /// No new requests.
    stop: CancellationToken,
    /// Nothing any more.
    cut: CancellationToken,
}

#[cfg(test)]
mod tests;
