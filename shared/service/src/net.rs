//! Where a process listens and what it connects through: the host's TCP, or, inside the simulation (feature `sim`),
//! the simulated host's.
//!
//! Which of the two is not a setting: whoever runs inside the simulation has no other network.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Channel, Endpoint};

/// An accepted connection.
#[cfg(not(feature = "sim"))]
pub(crate) type Stream = TcpStream;
/// An accepted connection.
#[cfg(feature = "sim")]
pub(crate) type Stream = tokio_util::either::Either<TcpStream, turmoil::net::TcpStream>;

/// A bound address.
pub enum Listener {
    /// A socket of this host.
    Host(TcpListener),
    /// A socket of the simulated host.
    #[cfg(feature = "sim")]
    Simulated(turmoil::net::TcpListener),
}

impl Listener {
    /// Listens on `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        #[cfg(feature = "sim")]
        if turmoil::in_simulation() {
            return turmoil::net::TcpListener::bind(addr).await.map(Self::Simulated);
        }
        TcpListener::bind(addr).await.map(Self::Host)
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system cannot tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Host(listener) => listener.local_addr(),
            #[cfg(feature = "sim")]
            Self::Simulated(listener) => listener.local_addr(),
        }
    }

    /// Takes the next connection; `unread` is how long its client may leave what it was sent unacknowledged.
    pub(crate) async fn accept(&self, unread: Duration) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Host(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                set_tcp_user_timeout(&stream, u32::try_from(unread.as_millis()).unwrap_or(u32::MAX))?;
                #[cfg(feature = "sim")]
                let stream = Stream::Left(stream);
                Ok((stream, peer))
            }
            #[cfg(feature = "sim")]
            Self::Simulated(listener) => {
                listener.accept().await.map(|(stream, peer)| (Stream::Right(stream), peer))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Host(listener)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Listener").field(&self.local_addr()).finish()
    }
}

/// Makes connections in plaintext.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial;

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(dial(uri))
    }
}

async fn dial(uri: Uri) -> io::Result<TokioIo<Stream>> {
    #[cfg(feature = "sim")]
    if turmoil::in_simulation() {
        let stream = crate::sim::connect(uri).await?;
        return Ok(TokioIo::new(Stream::Right(stream.into_inner())));
    }
    let unfit = || io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no host"));
    let host = uri.host().ok_or_else(unfit)?.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    #[cfg(feature = "sim")]
    let stream = Stream::Left(stream);
    Ok(TokioIo::new(stream))
}

/// A channel to the endpoint that connects at its first call and again whenever the connection is lost.
pub(crate) fn connect_lazily(endpoint: &Endpoint) -> Channel {
    #[cfg(feature = "sim")]
    if turmoil::in_simulation() {
        return endpoint.connect_with_connector_lazy(tower::service_fn(crate::sim::connect));
    }
    endpoint.connect_lazy()
}
