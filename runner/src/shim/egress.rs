//! The one way out of a sealed agent: a proxy that lets connections to its project's hosts through. It listens on a socket of
//! the agent's own network, which the last step before the agent hands over, and lives in the shim: no process more.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use domain::containment::Destination;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::run_dir::RunDir;

/// The most connections at once.
const CONNECTIONS_MAX: usize = 64;
/// The most of a request that is read before it is clear where it wants to go.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long that may take, and the connection to where it goes.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// How long a connection may be silent both ways.
const SILENT_MAX: Duration = Duration::from_mins(30);
/// How many refusals are written down: an agent must not fill the log.
const REFUSALS_TOLD_MAX: usize = 100;

/// Waits for the agent's socket.
pub(super) struct WayOut {
    listener: UnixListener,
    /// The path that was bound leads through this.
    _dir: File,
}

impl WayOut {
    pub(super) fn bind(dir: &RunDir) -> io::Result<Self> {
        let (dir, path) = dir.way_out()?;
        Ok(Self { listener: UnixListener::bind(path)?, _dir: dir })
    }

    /// Lets the agent out from now on, to these hosts.
    pub(super) fn serve(self, allowed: Vec<Destination>) {
        thread::spawn(move || {
            let served = self.receive().and_then(|listener| serve(&listener, &Arc::new(Gate::new(allowed))));
            if let Err(error) = served {
                eprintln!("shim: nothing gets out of the agent's network: {error}");
            }
        });
    }

    fn receive(&self) -> io::Result<TcpListener> {
        let (stream, _) = self.listener.accept()?;
        let (mut byte, mut space) = ([0], [MaybeUninit::uninit(); 64]);
        let mut message = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&stream, &mut [io::IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
        let fds = message.drain().find_map(|one| {
            if let RecvAncillaryMessage::ScmRights(mut fds) = one { fds.next() } else { None }
        });
        let fd: OwnedFd = fds.ok_or_else(|| io::Error::other("it handed over no socket"))?;
        Ok(TcpListener::from(fd))
    }
}

/// Connects to the shim that waits for the socket of the run in `dir`.
pub(super) fn connect(dir: &RunDir) -> io::Result<UnixStream> {
    let (_dir, path) = dir.way_out()?;
    UnixStream::connect(path)
}

/// What is let through, and how much of it there is.
struct Gate {
    allowed: Vec<Destination>,
    open: AtomicUsize,
    refusals: AtomicUsize,
}

impl Gate {
    fn new(allowed: Vec<Destination>) -> Self {
        Self { allowed, open: AtomicUsize::new(0), refusals: AtomicUsize::new(0) }
    }
}

fn serve(listener: &TcpListener, gate: &Arc<Gate>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        if gate.open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            gate.open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let gate = gate.clone();
        thread::spawn(move || {
            // Whatever went wrong, both ends see their connection closed.
            let _ = pass(stream, &gate);
            gate.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One connection, from its first line to its end.
fn pass(mut inside: TcpStream, gate: &Gate) -> io::Result<()> {
    inside.set_read_timeout(Some(HEAD_WITHIN))?;
    let head = read_head(&mut inside)?;
    let Some(wanted) = Wanted::of(&head) else {
        return inside.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    };
    let Wanted { host, port, tunnel } = &wanted;
    if !gate.allowed.iter().any(|one| one.allows(host, *port)) {
        if gate.refusals.fetch_add(1, Ordering::SeqCst) < REFUSALS_TOLD_MAX {
            eprintln!(
                "shim: the agent wanted to get out to {host:?}, port {port}, which its project does not allow"
            );
        }
        let words = "orch: the project's `egress` does not name this host and port\n";
        let length = words.len();
        return write!(
            inside,
            "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{words}"
        );
    }
    let Ok(mut outside) = reach(host, *port) else {
        return inside.write_all(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n");
    };
    if *tunnel {
        inside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        // Servers take the whole address in the first line, too; what follows on this connection goes to the same one.
        outside.write_all(&head)?;
    }
    for stream in [&inside, &outside] {
        stream.set_read_timeout(Some(SILENT_MAX))?;
        stream.set_write_timeout(Some(SILENT_MAX))?;
        stream.set_nodelay(true)?;
    }
    let (mut from, mut to) = (outside.try_clone()?, inside.try_clone()?);
    let back = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut inside, &mut outside);
    let _ = outside.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    // Byte by byte: what follows a tunnel's head is not ours to read.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where a request wants to go.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    host: String,
    port: u16,
    /// Whether it asks for a tunnel; else it is a plain request with a whole address.
    tunnel: bool,
}

impl Wanted {
    fn of(head: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(head.split(|&byte| byte == b'\r').next()?).ok()?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let tunnel = method == "CONNECT";
        let authority =
            if tunnel { target } else { target.strip_prefix("http://")?.split(['/', '?', '#']).next()? };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ if tunnel => return None,
            _ => (authority, 80),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let fits = !host.is_empty() && !host.contains(['@', ' ', '\0']);
        fits.then_some(Self { host, port, tunnel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_where_it_wants_to_go() {
        let wanted = |host: &str, port, tunnel| Some(Wanted { host: host.to_owned(), port, tunnel });
        for (line, expected) in [
            ("CONNECT api.example:443 HTTP/1.1", wanted("api.example", 443, true)),
            ("CONNECT [::1]:443 HTTP/1.1", wanted("::1", 443, true)),
            ("GET http://api.example/x HTTP/1.1", wanted("api.example", 80, false)),
            ("POST http://127.0.0.1:8080/v1?x=http://y HTTP/1.1", wanted("127.0.0.1", 8080, false)),
            ("GET http://[::1]/ HTTP/1.1", wanted("::1", 80, false)),
            ("CONNECT api.example HTTP/1.1", None),
            ("GET / HTTP/1.1", None),
            ("GET https://x/ HTTP/1.1", None),
            ("CONNECT a@b:443 HTTP/1.1", None),
            ("CONNECT :443 HTTP/1.1", None),
            ("\u{0}", None),
        ] {
            assert_eq!(Wanted::of(format!("{line}\r\nHost: other\r\n\r\n").as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn only_what_is_allowed_gets_through() {
        let target = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = target.local_addr().unwrap().port();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = proxy.local_addr().unwrap();
        let allowed = vec![Destination::parse(&format!("127.0.0.1:{port}")).unwrap()];
        thread::spawn(move || serve(&proxy, &Arc::new(Gate::new(allowed))));
        let ask = |line: String| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(Some(HEAD_WITHIN)).unwrap();
            stream.write_all(format!("{line}\r\n\r\n").as_bytes()).unwrap();
            stream
        };
        let mut refused = String::new();
        ask(format!("CONNECT localhost:{port} HTTP/1.1")).read_to_string(&mut refused).unwrap();
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
        let mut tunnel = ask(format!("CONNECT 127.0.0.1:{port} HTTP/1.1"));
        let (mut reached, _) = target.accept().unwrap();
        assert!(read_head(&mut tunnel).unwrap().starts_with(b"HTTP/1.1 200 "));
        tunnel.write_all(b"ping").unwrap();
        let mut heard = [0; 4];
        reached.read_exact(&mut heard).unwrap();
        reached.write_all(b"pong").unwrap();
        drop(reached);
        let mut back = String::new();
        tunnel.read_to_string(&mut back).unwrap();
        assert_eq!((&heard, back.as_str()), (b"ping", "pong"));
    }
}
