//! What an agent prints, on its three ways: all of it to the spool, the standard output to the event reader,
//! the last of both streams to the tail.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use domain::agent_output::{Reader, cut_front};
use domain::outcome::TAIL_BYTES_MAX;
use rustix::io::Errno;

use crate::spool;

/// The most taken from a pipe at once; as much as it holds by default.
const READ_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Output {
    spool: spool::Writer,
    pub(super) reader: Reader,
    tail: VecDeque<u8>,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn new(spool: PathBuf, head_bytes: u64, tail_bytes: u64) -> Self {
        Self {
            spool: spool::Writer::new(spool, head_bytes, tail_bytes),
            reader: Reader::new(),
            tail: VecDeque::new(),
            buffer: vec![0; READ_BYTES_MAX],
        }
    }

    /// Takes what a pipe holds, once; closes it at its end. True when there was something.
    pub(super) fn take(&mut self, pipe: &mut Option<OwnedFd>, is_stdout: bool) -> bool {
        let Some(fd) = pipe else { return false };
        match rustix::io::read(fd, &mut self.buffer[..]) {
            Ok(0) => {
                *pipe = None;
                false
            }
            Ok(length) => {
                self.keep(length, is_stdout);
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            Err(_) => {
                *pipe = None;
                false
            }
        }
    }

    fn keep(&mut self, length: usize, is_stdout: bool) {
        let bytes = &self.buffer[..length];
        self.spool.append(bytes);
        if is_stdout {
            self.reader.push(bytes);
        }
        self.tail.extend(bytes);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES_MAX));
    }

    /// Called when nothing more comes.
    pub(super) fn finish(&mut self) {
        self.reader.finish();
        self.spool.sync();
    }

    pub(super) fn tail(&mut self) -> String {
        cut_front(&String::from_utf8_lossy(self.tail.make_contiguous()), TAIL_BYTES_MAX)
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.spool.offset()
    }
}
