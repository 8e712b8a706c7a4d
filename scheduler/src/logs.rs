//! The logs of runs as files: `<run id>.log` and, where bytes were dropped, `<run id>.gaps`.
//!
//! A byte's place in the file is its offset in the log: dropped bytes are a hole in the file, and one line
//! `FROM TO` of the second file says that the hole is one. So the file's length is the offset to resume from.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use domain::RunId;
use domain::log::{CHUNK_BYTES_MAX, LogPiece};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

/// The folder of all logs.
#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
}

impl Logs {
    /// Makes the folder when it is not there.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Opens a run's log for writing where it ends.
    pub(crate) async fn writer(&self, run: RunId) -> io::Result<LogWriter> {
        let path = self.path(run, "log");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).await?;
        let end = file.metadata().await?.len();
        Ok(LogWriter { file, gaps: self.path(run, "gaps"), end })
    }

    /// Reads a run's log from the start.
    pub(crate) fn reader(&self, run: RunId) -> LogReader {
        LogReader { log: self.path(run, "log"), gaps: self.path(run, "gaps"), offset: 0 }
    }

    fn path(&self, run: RunId, extension: &str) -> PathBuf {
        self.folder.join(format!("{run}.{extension}"))
    }
}

/// Appends to one log. One writer at a time.
#[derive(Debug)]
pub(crate) struct LogWriter {
    file: File,
    gaps: PathBuf,
    end: u64,
}

impl LogWriter {
    /// The offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a piece. What is there already is left; what lies between is a gap.
    pub(crate) async fn append(&mut self, piece: &LogPiece) -> io::Result<()> {
        match piece {
            LogPiece::Gap { from: _, to } => self.skip_to(*to).await,
            LogPiece::Bytes { offset, bytes } => {
                self.skip_to(*offset).await?;
                let known = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
                let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) else { return Ok(()) };
                self.file.seek(SeekFrom::Start(self.end)).await?;
                self.file.write_all(fresh).await?;
                self.file.flush().await?;
                self.end += fresh.len() as u64;
                Ok(())
            }
        }
    }

    /// Declares everything from the end up to `to` dropped.
    pub(crate) async fn skip_to(&mut self, to: u64) -> io::Result<()> {
        if to <= self.end {
            return Ok(());
        }
        // The declaration first: a hole that nothing declares would read as zeros.
        let mut gaps = OpenOptions::new().create(true).append(true).open(&self.gaps).await?;
        gaps.write_all(format!("{} {to}\n", self.end).as_bytes()).await?;
        gaps.sync_all().await?;
        self.file.set_len(to).await?;
        self.end = to;
        Ok(())
    }

    /// Makes everything durable, the folder's entry included.
    pub(crate) async fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all().await?;
        match self.gaps.parent() {
            Some(folder) => File::open(folder).await?.sync_all().await,
            None => Ok(()),
        }
    }
}

/// Reads one log, also while it grows.
#[derive(Debug)]
pub(crate) struct LogReader {
    log: PathBuf,
    gaps: PathBuf,
    offset: u64,
}

impl LogReader {
    /// The next piece; none at the end of what is there now.
    pub(crate) async fn next(&mut self) -> io::Result<Option<LogPiece>> {
        let mut file = match File::open(&self.log).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = file.metadata().await?.len();
        if self.offset >= end {
            return Ok(None);
        }
        let piece = match next_gap(&read_gaps(&self.gaps).await?, self.offset) {
            Some((from, to)) if from <= self.offset => LogPiece::Gap { from: self.offset, to: to.min(end) },
            gap => {
                let until = gap.map_or(end, |(from, _)| from.min(end));
                let most = CHUNK_BYTES_MAX.min(usize::try_from(until - self.offset).unwrap_or(usize::MAX));
                let mut bytes = vec![0; most];
                file.seek(SeekFrom::Start(self.offset)).await?;
                file.read_exact(&mut bytes).await?;
                LogPiece::Bytes { offset: self.offset, bytes }
            }
        };
        self.offset = piece.end();
        Ok(Some(piece))
    }
}

/// The first gap that ends after `offset`.
fn next_gap(gaps: &[(u64, u64)], offset: u64) -> Option<(u64, u64)> {
    gaps.iter().copied().filter(|(_, to)| *to > offset).min()
}

async fn read_gaps(path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let text = match tokio::fs::read_to_string(path).await {
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

    fn bytes(offset: u64, text: &str) -> LogPiece {
        LogPiece::Bytes { offset, bytes: text.as_bytes().to_vec() }
    }

    async fn all(reader: &mut LogReader) -> Vec<LogPiece> {
        let mut pieces = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    #[tokio::test]
    async fn what_is_written_is_read_with_its_gaps_and_a_writer_goes_on_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().join("logs")).unwrap();
        let run = RunId(Uuid::from_u128(7));
        let mut reader = logs.reader(run);
        assert_eq!(reader.next().await.unwrap(), None);

        let mut writer = logs.writer(run).await.unwrap();
        writer.append(&bytes(0, "head")).await.unwrap();
        assert_eq!(all(&mut reader).await, [bytes(0, "head")]);
        writer.append(&LogPiece::Gap { from: 4, to: 1_000_000 }).await.unwrap();
        drop(writer);

        let mut writer = logs.writer(run).await.unwrap();
        assert_eq!(writer.end(), 1_000_000);
        // A repeat is left out, the rest is taken.
        writer.append(&bytes(999_998, "..tail")).await.unwrap();
        writer.append(&bytes(1_000_000, "tail")).await.unwrap();
        writer.sync().await.unwrap();
        assert_eq!(writer.end(), 1_000_004);

        let gap = LogPiece::Gap { from: 4, to: 1_000_000 };
        let tail = bytes(1_000_000, "tail");
        assert_eq!(all(&mut reader).await, [gap.clone(), tail.clone()]);
        assert_eq!(all(&mut logs.reader(run)).await, [bytes(0, "head"), gap, tail]);
    }

    #[tokio::test]
    async fn a_long_log_comes_in_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::open(folder.path().to_path_buf()).unwrap();
        let run = RunId(Uuid::from_u128(8));
        let text = "x".repeat(CHUNK_BYTES_MAX + 1);
        logs.writer(run).await.unwrap().append(&bytes(0, &text)).await.unwrap();
        let sizes: Vec<u64> = all(&mut logs.reader(run)).await.iter().map(LogPiece::end).collect();
        assert_eq!(sizes, [CHUNK_BYTES_MAX as u64, CHUNK_BYTES_MAX as u64 + 1]);
    }
}
