//! The shim's end of its socket: a few connections, short lines, never a wait.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::protocol::{Answer, Ask, LINE_BYTES_MAX, Question, VERSION};
use crate::run_dir::{Assignment, RunDir};

/// The most connections at once: the runner holds one, its successor another.
const CONNECTIONS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Control {
    listener: UnixListener,
    connections: Vec<Connection>,
    /// The path that was bound leads through this.
    _dir: File,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    line: Vec<u8>,
}

impl Control {
    pub(super) fn bind(dir: &RunDir) -> io::Result<Self> {
        let (dir, path) = dir.socket()?;
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connections: Vec::new(), _dir: dir })
    }

    /// What to poll for input.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.connections.iter().map(|it| it.stream.as_fd()))
    }

    /// Takes what has arrived. `heed` acts on a question that is meant for this run and tells the lease's end.
    pub(super) fn turn(&mut self, assignment: &Assignment, mut heed: impl FnMut(Ask) -> i64) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() < CONNECTIONS_MAX && stream.set_nonblocking(true).is_ok() {
                self.connections.push(Connection { stream, line: Vec::new() });
            }
        }
        self.connections.retain_mut(|connection| connection.turn(assignment, &mut heed).is_ok());
    }
}

impl Connection {
    /// Reads and answers; an error closes the connection.
    fn turn(&mut self, assignment: &Assignment, heed: &mut impl FnMut(Ask) -> i64) -> io::Result<()> {
        let mut bytes = [0; LINE_BYTES_MAX];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.line.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                let mut answer = serde_json::to_vec(&answer(&line, assignment, heed))?;
                answer.push(b'\n');
                // An answer fits the socket's buffer many times over; who never reads is let go.
                self.stream.write_all(&answer)?;
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

fn answer(line: &[u8], assignment: &Assignment, heed: &mut impl FnMut(Ask) -> i64) -> Answer {
    let refuse =
        |error: &str| Answer { version: VERSION, error: Some(error.to_owned()), lease_deadline_boot_ms: 0 };
    let Ok(question) = serde_json::from_slice::<Question>(line) else {
        return refuse("not a question of this protocol");
    };
    if question.version != VERSION {
        return refuse("another version of the protocol");
    }
    let ours = (question.run, question.epoch, &question.nonce);
    if ours != (assignment.run, assignment.epoch, &assignment.nonce) {
        return refuse("meant for another run");
    }
    Answer { version: VERSION, error: None, lease_deadline_boot_ms: heed(question.ask) }
}
