//! What only the simulation has: connections over its network, and a place between a listener and its router.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use axum::Router;
use http::Uri;
use hyper_util::rt::TokioIo;

use crate::net::Listener;

type Wrap = dyn Fn(SocketAddr, Router) -> Router;

thread_local! {
    static WRAP: RefCell<Option<Rc<Wrap>>> = const { RefCell::new(None) };
}

/// Puts `wrap` around the router of every listener that this thread begins to serve from now on; it is told where
/// that listens. So calls can be repeated, lost and seen, which a network below TCP cannot do to them.
pub fn on_serve(wrap: impl Fn(SocketAddr, Router) -> Router + 'static) {
    WRAP.set(Some(Rc::new(wrap)));
}

pub(crate) fn wrapped(listener: &Listener, app: Router) -> Router {
    let wrap = WRAP.with_borrow(Clone::clone);
    match (wrap, listener.local_addr()) {
        (Some(wrap), Ok(addr)) => wrap(addr, app),
        (_, _) => app,
    }
}

pub(crate) async fn connect(uri: Uri) -> io::Result<TokioIo<turmoil::net::TcpStream>> {
    let unfit = || io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no host and port"));
    let (host, port) = uri.host().zip(uri.port_u16()).ok_or_else(unfit)?;
    turmoil::net::TcpStream::connect((host, port)).await.map(TokioIo::new)
}
