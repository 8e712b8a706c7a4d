//! One channel to several places that do the same: dials the first that answers, and when a connection is lost the one
//! behind it. What was being asked on the lost connection fails; whoever asks again finds the next place.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt as _;

use super::CONNECT_TIMEOUT;

/// Lets the user of a channel leave the place it is connected to.
#[derive(Clone, Debug)]
pub struct Elsewhere(Arc<Places>);

impl Elsewhere {
    /// Closes the present connection, so that the next call goes to the next place; nothing where there is one place.
    pub fn go(&self) {
        if self.0.uris.len() > 1 {
            self.0.connected.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        }
    }
}

#[derive(Debug)]
struct Places {
    uris: Vec<Uri>,
    /// Which is tried first when the next connection is made.
    next: AtomicUsize,
    /// Cancelled when the newest connection is to be left.
    connected: Mutex<CancellationToken>,
}

/// Connects to one of several places.
#[derive(Clone, Debug)]
pub(super) struct InTurn<C> {
    connector: C,
    places: Arc<Places>,
}

impl<C> InTurn<C> {
    /// `uris` are tried in this order.
    pub(super) fn new(connector: C, uris: Vec<Uri>) -> (Self, Elsewhere) {
        let places = Arc::new(Places { uris, next: AtomicUsize::new(0), connected: Mutex::default() });
        (Self { connector, places: places.clone() }, Elsewhere(places))
    }
}

impl<C> tower::Service<Uri> for InTurn<C>
where
    C: tower::Service<Uri> + Clone + Send + 'static,
    C::Future: Send,
    C::Response: Send,
    C::Error: fmt::Display + Send,
{
    type Response = Leavable<C::Response>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The address asked for is that of the first place and says nothing.
    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { connector, places } = self.clone();
        Box::pin(async move {
            let count = places.uris.len();
            let within = CONNECT_TIMEOUT / u32::try_from(count).unwrap_or(1).max(1);
            let first = places.next.load(Ordering::Relaxed);
            let mut refusals = Vec::new();
            for at in (first..first + count).map(|at| at % count) {
                let uri = places.uris[at].clone();
                match answer(connector.clone(), uri.clone(), within).await {
                    Ok(io) => {
                        places.next.store((at + 1) % count, Ordering::Relaxed);
                        let token = CancellationToken::new();
                        let left = Box::pin(token.clone().cancelled_owned());
                        *places.connected.lock().unwrap_or_else(PoisonError::into_inner) = token;
                        return Ok(Leavable { io, left });
                    }
                    Err(refusal) => refusals.push(format!("{uri}: {refusal}")),
                }
            }
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, refusals.join("; ")))
        })
    }
}

async fn answer<C>(connector: C, uri: Uri, within: Duration) -> Result<C::Response, String>
where
    C: tower::Service<Uri>,
    C::Error: fmt::Display,
{
    match tokio::time::timeout(within, connector.oneshot(uri)).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_elapsed) => Err(format!("no connection within {} ms", within.as_millis())),
    }
}

/// A connection that breaks when it is to be left.
#[derive(Debug)]
pub(super) struct Leavable<T> {
    io: T,
    left: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<T> Leavable<T> {
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.left.as_mut().poll(context) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "left for another place"))
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl<T: Read + Unpin> Read for Leavable<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Leavable<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}
