//! The shim's side: takes every byte, keeps what the quota allows, never fails and never waits for a reader.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::segment_path;

/// The largest piece that is dropped at once.
const SEGMENT_BYTES_MAX: u64 = 1024 * 1024;
/// The tail is dropped in about this many pieces.
const TAIL_SEGMENTS: u64 = 16;

/// Appends to a spool.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    /// Where the next byte belongs; counts what was dropped.
    offset: u64,
    head_bytes: u64,
    tail_bytes: u64,
    open: Option<Segment>,
    /// Complete segments after the head, oldest first.
    tail: VecDeque<(u64, u64)>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    start: u64,
    bytes: u64,
}

impl Writer {
    /// A spool in `dir`, which is empty, keeping the first `head_bytes` and at least the last `tail_bytes`.
    pub fn new(dir: PathBuf, head_bytes: u64, tail_bytes: u64) -> Self {
        Self { dir, offset: 0, head_bytes, tail_bytes, open: None, tail: VecDeque::new() }
    }

    /// The log's length so far, dropped bytes counted.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes all of `bytes`. What cannot be written (a full disk) is dropped, which readers see as a gap.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            if self.write(now).is_err() {
                // A new segment at the right offset makes the gap visible.
                self.close();
            }
            self.offset += now.len() as u64;
            bytes = later;
        }
    }

    /// Makes the last bytes durable, as far as the disk lets us.
    pub fn sync(&mut self) {
        if let Some(segment) = &self.open {
            let _ = segment.file.sync_data();
        }
    }

    /// How many bytes the current segment still takes; closes it when it is full.
    fn room(&mut self) -> u64 {
        if self.offset < self.head_bytes {
            return self.head_bytes - self.offset;
        }
        let segment_max = (self.tail_bytes / TAIL_SEGMENTS).clamp(1, SEGMENT_BYTES_MAX);
        let in_tail = self.open.as_ref().filter(|segment| segment.start >= self.head_bytes);
        match in_tail {
            Some(segment) if segment.bytes < segment_max => segment_max - segment.bytes,
            Some(_) | None => {
                self.close();
                self.drop_oldest();
                segment_max
            }
        }
    }

    fn close(&mut self) {
        let Some(segment) = self.open.take() else { return };
        let written = segment.file.metadata().map_or(segment.bytes, |metadata| metadata.len());
        if written == 0 {
            let _ = fs::remove_file(segment_path(&self.dir, segment.start));
        } else if segment.start >= self.head_bytes {
            self.tail.push_back((segment.start, written));
        }
    }

    /// Drops the oldest segments as long as the others alone hold the tail.
    fn drop_oldest(&mut self) {
        let mut kept: u64 = self.tail.iter().map(|(_, bytes)| bytes).sum();
        while let Some(&(start, bytes)) = self.tail.front()
            && kept - bytes >= self.tail_bytes
        {
            let _ = fs::remove_file(segment_path(&self.dir, start));
            self.tail.pop_front();
            kept -= bytes;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let segment = match &mut self.open {
            Some(segment) => segment,
            none => {
                let path = segment_path(&self.dir, self.offset);
                let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
                none.insert(Segment { file, start: self.offset, bytes: 0 })
            }
        };
        segment.file.write_all(bytes)?;
        segment.bytes += bytes.len() as u64;
        Ok(())
    }
}
