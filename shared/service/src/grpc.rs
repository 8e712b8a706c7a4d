//! gRPC between our own processes: channels that notice a silent partition, deadlines, limits,
//! the trace context on the way, and the rule about plaintext.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::lifecycle::Refused;
use crate::settings::TlsSettings;
use crate::telemetry::{TraceLayer, trace_context};
use crate::tls::{Connector, Expected, PeerName, Role};

mod in_turn;

pub use in_turn::Elsewhere;

use in_turn::InTurn;

/// The most bytes of output in one chunk of a log stream.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of the tail that an outcome carries.
pub const TAIL_BYTES_MAX: usize = 256 * 1024;
/// The largest message either side accepts or sends; set it on clients and servers alike.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of one stream may be on its way to a reader that has not taken it: 5 MB/s over a round trip of 50 ms.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// How much of all streams of one connection; what a reader that takes nothing costs in memory.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// How long a connection attempt may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often either side asks whether the other still lives, also while no call is open.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long the answer may take before the connection counts as dead.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A channel to the scheduler at `urls` that connects at its first call and again whenever the connection is lost: one
/// URL, or several separated by commas, of which the first that answers is used until it is lost.
///
/// Call it inside the runtime. Over TLS whoever answers must be a scheduler by its certificate.
///
/// # Errors
/// A URL is none, it has the wrong scheme for the TLS settings, it would leave this host in plaintext
/// without `ORCH_ALLOW_PLAINTEXT`, or the certificates cannot be read.
pub fn channel(urls: &str, tls: &TlsSettings) -> Result<Channel, Refused> {
    channel_in_turn(urls, tls).map(|(channel, _)| channel)
}

/// As [`channel`], with what leaves the place it is connected to for the next.
///
/// # Errors
/// See [`channel`].
pub fn channel_in_turn(urls: &str, tls: &TlsSettings) -> Result<(Channel, Elsewhere), Refused> {
    open(urls, tls, Expected::Any(Role::Scheduler))
}

/// As [`channel`], to a runner: over TLS whoever answers must be that very node by its certificate.
///
/// # Errors
/// See [`channel`]; or the node has an id that no certificate can name.
pub fn channel_to_node(url: &str, tls: &TlsSettings, node: &str) -> Result<Channel, Refused> {
    let name = PeerName::new(Role::Node, node).map_err(Refused::new)?;
    open(url, tls, Expected::One(name)).map(|(channel, _)| channel)
}

fn open(urls: &str, tls: &TlsSettings, expected: Expected) -> Result<(Channel, Elsewhere), Refused> {
    let credentials = tls.credentials()?;
    let places = urls.split(',').map(|url| usable(url.trim(), tls, credentials.is_some()));
    let places: Vec<Uri> = places.collect::<Result<_, _>>()?;
    let several = places.len() > 1;
    let first = places.first().cloned().unwrap_or_default();
    if let Some(credentials) = credentials {
        // The library is told of plaintext and given connections that are none: it makes no TLS of its own here.
        let authority = first.authority().map(ToString::to_string).unwrap_or_default();
        let dialled = format!("http://{authority}").parse().map_err(Refused::new)?;
        let endpoint = tuned(dialled).origin(first);
        let (connector, elsewhere) = InTurn::new(Connector::new(credentials, expected), places);
        return Ok((endpoint.connect_with_connector_lazy(connector), elsewhere));
    }
    let endpoint = tuned(first);
    let (connector, elsewhere) = InTurn::new(crate::net::Dial, places);
    let channel = if several {
        endpoint.connect_with_connector_lazy(connector)
    } else {
        crate::net::connect_lazily(&endpoint)
    };
    Ok((channel, elsewhere))
}

/// Whether a URL can be called with these settings.
fn usable(url: &str, tls: &TlsSettings, has_credentials: bool) -> Result<Uri, Refused> {
    let uri: Uri = url.parse().map_err(|error| Refused::new(format!("`{url}` is not a URL: {error}")))?;
    let host =
        uri.host().ok_or_else(|| Refused::new(format!("`{url}` has no host: write http://HOST:PORT")))?;
    match (uri.scheme_str(), has_credentials) {
        (Some("https"), true) => Ok(uri),
        (Some("https"), false) => Err(Refused::new(format!(
            "{url} needs ORCH_TLS_CA, ORCH_TLS_CERT and ORCH_TLS_KEY: gRPC runs over mutual TLS only"
        ))),
        (Some("http"), true) => {
            Err(Refused::new(format!("{url} is plaintext while certificates are used: write https://")))
        }
        (Some("http"), false) if is_loopback_host(host) || tls.allow_plaintext => Ok(uri),
        (Some("http"), false) => Err(plaintext_refused(url)),
        (_, _) => Err(Refused::new(format!("`{url}` is not a gRPC URL: write http:// or https://"))),
    }
}

/// A channel to a scheduler that is not ours yet: whoever answers must have a certificate of `ca` (PEM), and sees none.
///
/// # Errors
/// The URL is none of `https://`, or the CA cannot be read.
pub fn channel_of_stranger(url: &str, ca: &[u8]) -> Result<Channel, Refused> {
    let uri: Uri = url.parse().map_err(|error| Refused::new(format!("`{url}` is not a URL: {error}")))?;
    let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Refused::new(format!("`{url}` is no place to join: write https://HOST:PORT")));
    };
    let dialled = format!("http://{authority}").parse().map_err(Refused::new)?;
    let endpoint = tuned(dialled).origin(uri.clone());
    Ok(endpoint.connect_with_connector_lazy(Connector::of_stranger(ca, Expected::Any(Role::Scheduler))?))
}

fn tuned(uri: Uri) -> Endpoint {
    Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_INTERVAL))
}

/// Refuses to serve gRPC off loopback without mutual TLS, unless `ORCH_ALLOW_PLAINTEXT` is set: then it warns.
pub fn check_listen(addr: SocketAddr, tls: &TlsSettings) -> Result<(), Refused> {
    if addr.ip().to_canonical().is_loopback() || tls.is_on() {
        return Ok(());
    }
    if !tls.allow_plaintext {
        return Err(plaintext_refused(&addr.to_string()));
    }
    tracing::warn!(%addr, "SERVING gRPC IN PLAINTEXT because ORCH_ALLOW_PLAINTEXT is set: whoever reaches this port can run agents");
    Ok(())
}

fn plaintext_refused(place: &str) -> Refused {
    Refused::new(format!(
        "gRPC at {place} would be plaintext off loopback: give ORCH_TLS_CA, ORCH_TLS_CERT and ORCH_TLS_KEY, \
         or set ORCH_ALLOW_PLAINTEXT=true on a network that only Orch reaches"
    ))
}

fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Awaits a unary call, connecting included, for at most `deadline`.
///
/// # Errors
/// The call's own status, or `deadline_exceeded`: the other side may have acted all the same.
pub async fn call<T>(deadline: Duration, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Status::deadline_exceeded(format!(
            "could not finish the call within {} ms",
            deadline.as_millis()
        ))),
    }
}

/// Puts the current trace into every call of a client: `FooClient::with_interceptor(channel, SendTrace)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendTrace;

impl Interceptor for SendTrace {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        trace_context::inject_metadata(request.metadata_mut());
        Ok(request)
    }
}

/// Who acts through the admin service, for its audit.
#[derive(Clone, Debug, Default)]
pub struct ActsAs {
    /// A name.
    pub by: Option<String>,
    /// Through which door: `console`, `cli`.
    pub via: &'static str,
    /// The address he came from, where it is not the caller's own.
    pub from: Option<String>,
}

impl ActsAs {
    /// Says so in a call.
    pub fn write(&self, metadata: &mut MetadataMap) {
        let said = [
            ("orch-by", self.by.as_deref()),
            ("orch-via", Some(self.via).filter(|via| !via.is_empty())),
            ("orch-from", self.from.as_deref()),
        ];
        for (key, value) in said {
            let value = value.map(|value| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string());
            if let Some(value) = value.and_then(|value| value.parse().ok()) {
                metadata.insert(key, value);
            }
        }
    }
}

/// As [`SendTrace`], and says who acts.
#[derive(Clone, Debug, Default)]
pub struct SendActor(pub ActsAs);

impl Interceptor for SendActor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        self.0.write(request.metadata_mut());
        SendTrace.call(request)
    }
}

/// The server's side of [`SendTrace`]: a span per call that continues the caller's trace.
pub fn trace_layer() -> TraceLayer {
    TraceLayer::internal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plaintext() -> TlsSettings {
        TlsSettings { allow_plaintext: true, ..TlsSettings::default() }
    }

    #[test]
    fn plaintext_off_loopback_is_refused_unless_allowed() {
        let listens = |addr: &str, tls: &TlsSettings| check_listen(addr.parse().unwrap(), tls).is_ok();
        let none = TlsSettings::default();
        let addrs = ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1"];
        assert_eq!(addrs.map(|addr| listens(addr, &none)), [true, true, true, false, false, false]);
        assert_eq!(addrs.map(|addr| listens(addr, &plaintext())), [true; 6]);
    }

    #[tokio::test]
    async fn a_channel_is_refused_when_it_would_leave_the_host_in_plaintext_or_makes_no_sense() {
        let opens = |url: &str, tls: &TlsSettings| channel(url, tls).is_ok();
        let none = TlsSettings::default();
        let urls =
            ["http://127.0.0.1:7070", "http://localhost:7070", "http://[::1]:1", "http://scheduler:7070"];
        assert_eq!(urls.map(|url| opens(url, &none)), [true, true, true, false]);
        assert_eq!(urls.map(|url| opens(url, &plaintext())), [true; 4]);
        assert!(opens("http://127.0.0.1:1, http://localhost:2", &none), "each of several is looked at");
        let bad = ["https://scheduler:7070", "scheduler:7070", "ftp://127.0.0.1", "", "http://"];
        assert_eq!(bad.map(|url| opens(url, &plaintext())), [false; 5]);
        let bad = [
            "http://127.0.0.1:1,http://scheduler:2",
            "http://127.0.0.1:1,,",
            "http://[::1]:1,https://[::1]:2",
        ];
        assert_eq!(bad.map(|url| opens(url, &none)), [false; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline() {
        let status =
            call(Duration::from_secs(2), std::future::pending::<Result<(), Status>>()).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
