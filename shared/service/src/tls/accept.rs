//! The listener's side: the handshake, who came, and what somebody without a certificate may ask for.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::credentials::Credentials;
use super::peer::{Caller, PeerName, lifetime};
use crate::clock::Clock;

/// What is answered to anybody: whether the process lives and can work, for those who watch it from outside.
pub const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Turns connections into mutual TLS.
#[derive(Clone, Debug)]
pub struct Acceptor {
    credentials: Credentials,
    /// Beyond [`OPEN_PATHS`].
    open: Option<&'static str>,
}

/// A connection that was accepted.
pub(crate) struct Accepted<S> {
    pub(crate) stream: TlsStream<S>,
    pub(crate) caller: Caller,
    /// How long the certificate that was shown still counts.
    pub(crate) left: Option<Duration>,
}

impl Acceptor {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, open: None }
    }

    /// Lets anybody ask for this path, too.
    #[must_use]
    pub fn opening(self, path: &'static str) -> Self {
        Self { open: Some(path), ..self }
    }

    /// Whether a caller may ask for a path at all.
    pub(crate) fn lets_in(&self, caller: &Caller, path: &str) -> bool {
        *caller != Caller::Stranger || OPEN_PATHS.contains(&path) || self.open == Some(path)
    }

    /// Shakes hands. A certificate that is not of our CA, over, or names nobody is refused.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<Accepted<S>> {
        let server = self.credentials.current().server.clone();
        let stream = TlsAcceptor::from(server).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let (caller, left) = match shown {
            None => (Caller::Stranger, None),
            Some(certificate) => {
                let unnamed =
                    || io::Error::other("its certificate names no peer: issue one with `orch ca issue`");
                let name = PeerName::of(certificate).ok_or_else(unnamed)?;
                let until_ms = lifetime(certificate).ok_or_else(unnamed)?.until_ms;
                let left_ms = until_ms.saturating_sub(Clock::system().now_ms());
                (Caller::Peer(name), Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))))
            }
        };
        Ok(Accepted { stream, caller, left })
    }
}
