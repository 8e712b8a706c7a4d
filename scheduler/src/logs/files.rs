//! The logs of runs as files: `<run id>.log` and, where bytes were dropped, `<run id>.gaps`.
//!
//! A byte's place in the file is its offset in the log: dropped bytes are a hole in the file, and one line
//! `FROM TO` of the second file says that the hole is one. So the file's length is the offset to resume from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use domain::RunId;
use domain::Timestamp;
use domain::log::{CHUNK_BYTES_MAX, LogPiece};
use domain::retention::LogBytes;
use service::blocking;
use tokio::sync::Semaphore;

use super::pen::{Log, Pen};

/// The unit of [`MetadataExt::blocks`].
const BLOCK_BYTES: u64 = 512;
const HOUR_MS: i64 = 3_600_000;
/// Files named at once to be deleted.
const OLD_MAX: usize = 4_096;

/// Logs that are made durable at once: many runs may end together.
const SYNCS_AT_ONCE_MAX: usize = 8;

/// The folder of all logs.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    pen: Arc<Pen>,
    syncs: Arc<Semaphore>,
}

impl Files {
    /// Makes the folder when it is not there.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, pen: Arc::default(), syncs: Arc::new(Semaphore::new(SYNCS_AT_ONCE_MAX)) })
    }

    /// Opens a run's log for writing where it ends.
    pub(super) async fn writer(&self, run: RunId) -> io::Result<FileWriter> {
        let (log, end) = self.pen.open(self.path(run, "log")).await?;
        let (pen, syncs) = (Arc::clone(&self.pen), Arc::clone(&self.syncs));
        Ok(FileWriter { log, gaps: self.path(run, "gaps"), end, pen, syncs })
    }

    /// Reads a run's log from the start.
    pub(super) fn reader(&self, run: RunId) -> FileReader {
        FileReader { log: self.path(run, "log"), gaps: self.path(run, "gaps"), offset: 0, seen: None }
    }

    /// How much room the logs take by the hour of their last byte, the newest first.
    pub(crate) async fn bytes_by_hour(&self) -> io::Result<Vec<LogBytes>> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
            for_each_log(&folder, |_, metadata| {
                let at = written_at(metadata).as_ms();
                *hours.entry(at - at.rem_euclid(HOUR_MS)).or_default() += metadata.blocks() * BLOCK_BYTES;
                true
            })?;
            let hour = |(from, bytes)| LogBytes { from: Timestamp::from_ms(from), bytes };
            Ok(hours.into_iter().rev().map(hour).collect())
        })
        .await
    }

    /// Some of the logs to which nothing was added since `before`, but for those of `live` runs.
    pub(crate) async fn ended_before(
        &self,
        before: Timestamp,
        live: BTreeSet<RunId>,
    ) -> io::Result<Vec<RunId>> {
        let folder = self.folder.clone();
        blocking(move || {
            let mut old = Vec::new();
            for_each_log(&folder, |run, metadata| {
                if written_at(metadata) < before && !live.contains(&run) {
                    old.push(run);
                }
                old.len() < OLD_MAX
            })?;
            Ok(old)
        })
        .await
    }

    /// Deletes logs; says how many there were.
    pub(crate) async fn forget(&self, runs: Vec<RunId>) -> io::Result<u64> {
        let paths: Vec<_> =
            runs.iter().map(|run| (self.path(*run, "log"), self.path(*run, "gaps"))).collect();
        blocking(move || {
            let mut gone = 0;
            for (log, gaps) in paths {
                // The log first: without it nobody asks for its gaps.
                gone += u64::from(remove(&log)?);
                remove(&gaps)?;
            }
            Ok(gone)
        })
        .await
    }

    fn path(&self, run: RunId, extension: &str) -> PathBuf {
        self.folder.join(format!("{run}.{extension}"))
    }
}

/// Calls `look` with every log until it says that it has seen enough. What is deleted meanwhile is passed by.
fn for_each_log(folder: &Path, mut look: impl FnMut(RunId, &Metadata) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok());
        let (Some(run), Ok(metadata)) = (run, entry.metadata()) else { continue };
        if !look(RunId(run), &metadata) {
            break;
        }
    }
    Ok(())
}

fn written_at(metadata: &Metadata) -> Timestamp {
    Timestamp::from_ms(metadata.mtime().saturating_mul(1_000))
}

/// Deletes a file; false when there is none.
fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Appends to one log. One writer at a time.
///
/// What is added may not be written yet: that it could not be is said later, at [`Self::sync`] at the latest.
#[derive(Debug)]
pub(crate) struct FileWriter {
    log: Arc<Log>,
    gaps: PathBuf,
    end: u64,
    pen: Arc<Pen>,
    syncs: Arc<Semaphore>,
}

impl FileWriter {
    /// The offset after the last byte.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Adds bytes at the end.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        let end = self.end + bytes.len() as u64;
        self.pen.write(&self.log, self.end, bytes).await?;
        self.end = end;
        Ok(())
    }

    /// Declares everything from the end up to `to` dropped.
    pub(super) async fn skip_to(&mut self, to: u64) -> io::Result<()> {
        if to <= self.end {
            return Ok(());
        }
        let (gaps, from) = (self.gaps.clone(), self.end);
        self.once_written(move |log| {
            // The declaration first: a hole that nothing declares would read as zeros.
            let mut gaps = OpenOptions::new().create(true).append(true).open(gaps)?;
            gaps.write_all(format!("{from} {to}\n").as_bytes())?;
            gaps.sync_all()?;
            log.file().set_len(to)
        })
        .await?;
        self.end = to;
        Ok(())
    }

    /// Makes everything durable, the folder's entry included.
    pub(super) async fn sync(&mut self) -> io::Result<()> {
        let folder = self.gaps.parent().map(Path::to_path_buf);
        self.once_written(move |log| {
            log.file().sync_all()?;
            folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        })
        .await
    }

    /// Works on the file once everything is written; few do so at once.
    async fn once_written(
        &self,
        work: impl FnOnce(&Log) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.pen.settle(&self.log).await?;
        let _turn = self.syncs.acquire().await.map_err(io::Error::other)?;
        let log = Arc::clone(&self.log);
        blocking(move || work(&log)).await
    }
}

/// Reads one log, also while it grows.
#[derive(Debug)]
pub(crate) struct FileReader {
    log: PathBuf,
    gaps: PathBuf,
    offset: u64,
    /// None: nothing was there yet.
    seen: Option<Seen>,
}

/// What a log held at the last look.
#[derive(Clone, Debug)]
struct Seen {
    file: Arc<File>,
    end: u64,
    /// All gaps before `end`: a gap is declared before the file grows by it.
    gaps: Arc<Vec<(u64, u64)>>,
}

impl FileReader {
    /// Leaves out all but the last bytes of what is there now.
    pub(super) async fn skip_to_tail(&mut self, bytes: u64) -> io::Result<()> {
        let log = self.log.clone();
        let end = blocking(move || match fs::metadata(&log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            known => known.map(|metadata| metadata.len()),
        })
        .await?;
        self.offset = self.offset.max(end.saturating_sub(bytes));
        Ok(())
    }

    /// The next piece; none at the end of what is there now.
    pub(super) async fn next(&mut self) -> io::Result<Option<LogPiece>> {
        let (log, gaps, offset, mut seen) =
            (self.log.clone(), self.gaps.clone(), self.offset, self.seen.clone());
        let (seen, piece) = blocking(move || {
            let piece = read_on(&mut seen, &log, &gaps, offset)?;
            Ok((seen, piece))
        })
        .await?;
        self.seen = seen;
        if let Some(piece) = &piece {
            self.offset = piece.end();
        }
        Ok(piece)
    }
}

/// A run's log as it lies in a folder, piece by piece, from the start; nothing of a run that has none.
pub fn saved_log(folder: &Path, run: RunId) -> impl Iterator<Item = io::Result<LogPiece>> + Send + use<> {
    let (log, gaps) = (folder.join(format!("{run}.log")), folder.join(format!("{run}.gaps")));
    let (mut offset, mut seen) = (Some(0), None);
    std::iter::from_fn(move || {
        let piece = read_on(&mut seen, &log, &gaps, offset?).transpose()?;
        offset = piece.as_ref().ok().map(LogPiece::end);
        Some(piece)
    })
}

/// What a log holds at `offset`, after another look at it where it was not seen to go so far; none at its end.
fn read_on(seen: &mut Option<Seen>, log: &Path, gaps: &Path, offset: u64) -> io::Result<Option<LogPiece>> {
    if seen.as_ref().is_none_or(|seen| offset >= seen.end) {
        *seen = look(seen.take(), log, gaps)?;
    }
    seen.as_ref().map_or(Ok(None), |seen| read(seen, offset))
}

/// Looks how far a log goes by now.
fn look(known: Option<Seen>, log: &Path, gaps: &Path) -> io::Result<Option<Seen>> {
    let file = match known {
        Some(seen) => seen.file,
        None => match File::open(log) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    let end = file.metadata()?.len();
    Ok(Some(Seen { file, end, gaps: Arc::new(read_gaps(gaps)?) }))
}

/// What a log holds at `offset`; none at its end.
fn read(seen: &Seen, offset: u64) -> io::Result<Option<LogPiece>> {
    let end = seen.end;
    if offset >= end {
        return Ok(None);
    }
    Ok(Some(match next_gap(&seen.gaps, offset) {
        Some((from, to)) if from <= offset => LogPiece::Gap { from: offset, to: to.min(end) },
        gap => {
            let until = gap.map_or(end, |(from, _)| from.min(end));
            let most = CHUNK_BYTES_MAX.min(usize::try_from(until - offset).unwrap_or(usize::MAX));
            let mut bytes = vec![0; most];
            seen.file.read_exact_at(&mut bytes, offset)?;
            LogPiece::Bytes { offset, bytes }
        }
    }))
}

/// The first gap that ends after `offset`.
fn next_gap(gaps: &[(u64, u64)], offset: u64) -> Option<(u64, u64)> {
    gaps.iter().copied().filter(|(_, to)| *to > offset).min()
}

fn read_gaps(path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let gap = |line: &str| {
        let (from, to) = line.split_once(' ')?;
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    Ok(text.lines().filter_map(gap).collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::logs::LogWriter;

    fn bytes(offset: u64, text: &str) -> LogPiece {
        LogPiece::Bytes { offset, bytes: text.as_bytes().to_vec() }
    }

    async fn append(writer: &mut LogWriter, piece: LogPiece) {
        match piece {
            LogPiece::Bytes { offset, bytes } => writer.append(offset, bytes.into()).await.unwrap(),
            LogPiece::Gap { from: _, to } => writer.skip_to(to).await.unwrap(),
        }
        // It may wait to be written.
        writer.sync().await.unwrap();
    }

    async fn all(reader: &mut FileReader) -> Vec<LogPiece> {
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn what_is_written_is_read_with_its_gaps_and_a_writer_goes_on_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Files::open(folder.path().join("logs")).unwrap();
        let run = RunId(Uuid::from_u128(7));
        let mut reader = logs.reader(run);
        assert_eq!(reader.next().await.unwrap(), None);

        let mut writer = LogWriter::File(logs.writer(run).await.unwrap());
        append(&mut writer, bytes(0, "head")).await;
        assert_eq!(all(&mut reader).await, [bytes(0, "head")]);
        append(&mut writer, LogPiece::Gap { from: 4, to: 1_000_000 }).await;
        drop(writer);

        let mut writer = LogWriter::File(logs.writer(run).await.unwrap());
        assert_eq!(writer.end(), 1_000_000);
        // A repeat is left out, the rest is taken.
        append(&mut writer, bytes(999_998, "..tail")).await;
        append(&mut writer, bytes(1_000_000, "tail")).await;
        writer.sync().await.unwrap();
        assert_eq!(writer.end(), 1_000_004);

        let mut end = logs.reader(run);
        end.skip_to_tail(2).await.unwrap();
        assert_eq!(all(&mut end).await, [bytes(1_000_002, "il")]);
        let mut whole = logs.reader(run);
        whole.skip_to_tail(u64::MAX).await.unwrap();
        assert_eq!(all(&mut whole).await.len(), 3);
        let mut none = logs.reader(RunId(Uuid::from_u128(8)));
        none.skip_to_tail(2).await.unwrap();
        assert_eq!(all(&mut none).await, []);

        let gap = LogPiece::Gap { from: 4, to: 1_000_000 };
        let tail = bytes(1_000_000, "tail");
        assert_eq!(all(&mut reader).await, [gap.clone(), tail.clone()]);
        assert_eq!(all(&mut logs.reader(run)).await, [bytes(0, "head"), gap, tail]);
    }

    #[tokio::test]
    async fn a_long_log_comes_in_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Files::open(folder.path().to_path_buf()).unwrap();
        let run = RunId(Uuid::from_u128(8));
        let text = "x".repeat(CHUNK_BYTES_MAX + 1);
        let mut writer = LogWriter::File(logs.writer(run).await.unwrap());
        append(&mut writer, bytes(0, &text)).await;
        let sizes: Vec<u64> = all(&mut logs.reader(run)).await.iter().map(LogPiece::end).collect();
        assert_eq!(sizes, [CHUNK_BYTES_MAX as u64, CHUNK_BYTES_MAX as u64 + 1]);
    }
}
