//! Prints as fast as the pipe takes it, and measures how long it had to wait.

use std::io::{self, Write as _};
use std::time::Duration;

use e2e::flood;
use rustix::time::{ClockId, clock_gettime};

/// How a flood went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flood {
    /// The longest that one write of [`flood::BLOCK_BYTES`] took.
    pub(crate) longest_write: Duration,
    /// From the first write to the end of the last.
    pub(crate) all: Duration,
}

/// Prints the first `bytes` of the flood on stdout.
pub(crate) fn pour(bytes: u64) -> io::Result<Flood> {
    let mut stdout = io::stdout().lock();
    let mut block = flood::Block::new();
    let (began, mut longest_write, mut offset) = (now(), Duration::ZERO, 0);
    while offset < bytes {
        let left = usize::try_from(bytes - offset).unwrap_or(usize::MAX);
        let piece = block.at(offset);
        let piece = &piece[..piece.len().min(left)];
        let before = now();
        stdout.write_all(piece)?;
        longest_write = longest_write.max(now().saturating_sub(before));
        offset += piece.len() as u64;
    }
    stdout.flush()?;
    Ok(Flood { longest_write, all: now().saturating_sub(began) })
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}
