//! The reader's side: any offset, while the writer goes on appending and dropping.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use domain::log::{CHUNK_BYTES_MAX, LogPiece};

use super::segment_path;

/// How often a read starts again because the writer dropped the segment it was about to open.
const TRIES_MAX: usize = 16;

/// Reads a spool.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    /// The segment that was read last: most reads go on in it, also once the writer has dropped it.
    open: Option<(u64, File)>,
}

impl Spool {
    /// The spool in `dir`.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, open: None }
    }

    /// What there is at `offset`; none when the spool does not go further (yet).
    pub(crate) fn read(&mut self, offset: u64) -> io::Result<Option<LogPiece>> {
        if let Some((start, file)) = self.open.as_ref().filter(|(start, _)| *start <= offset)
            && let Some(piece) = piece(file, *start, offset)?
        {
            return Ok(Some(piece));
        }
        let mut result = Ok(None);
        for _ in 0..TRIES_MAX {
            result = self.try_read(offset);
            match &result {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(_) | Err(_) => break,
            }
        }
        result
    }

    fn try_read(&mut self, offset: u64) -> io::Result<Option<LogPiece>> {
        // The list comes first: a segment that has a successor in it grows no more.
        let starts = starts(&self.dir)?;
        let after = starts.partition_point(|&start| start <= offset);
        if let Some(&start) = after.checked_sub(1).and_then(|at| starts.get(at)) {
            let file = File::open(segment_path(&self.dir, start))?;
            let found = piece(&file, start, offset)?;
            self.open = Some((start, file));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(starts.get(after).map(|&next| LogPiece::Gap { from: offset, to: next }))
    }
}

/// What a segment that begins at `start` holds at `offset`; none at its end.
fn piece(file: &File, start: u64, offset: u64) -> io::Result<Option<LogPiece>> {
    let mut bytes = vec![0; CHUNK_BYTES_MAX];
    let length = file.read_at(&mut bytes, offset - start)?;
    bytes.truncate(length);
    Ok((length > 0).then_some(LogPiece::Bytes { offset, bytes }))
}

/// The offset after the last byte in the spool at `dir`.
pub(crate) fn end(dir: &Path) -> io::Result<u64> {
    match starts(dir)?.last() {
        Some(&start) => Ok(start + fs::metadata(segment_path(dir, start))?.len()),
        None => Ok(0),
    }
}

/// The offsets at which segments begin, ascending.
fn starts(dir: &Path) -> io::Result<Vec<u64>> {
    let mut starts = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some(start) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}
