//! What an agent printed, on disk and within a quota: the head and the tail are kept, the middle is dropped.
//!
//! A spool is a folder of segments, each named by the offset of its first byte; where one ends before the next
//! begins, bytes were dropped. So a reader needs no index, and what a crash leaves can be read.

mod read;
mod write;

pub(crate) use read::{Spool, end};
pub use write::Writer;

use std::path::{Path, PathBuf};

/// The file of the segment that begins at `start`.
fn segment_path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}"))
}

#[cfg(test)]
mod tests;
