//! The logs of runs: bytes at offsets, where the database keeps them, or in files.
//!
//! One writer at a time goes on where the last one ended; people read from the start, also while a log grows.

mod files;
mod pen;
mod table;

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use domain::RunId;
use domain::log::LogPiece;
use store::Store;

pub use self::files::saved_log;
use self::files::{FileReader, FileWriter, Files};
use self::table::{Table, TableReader, TableWriter};

/// Where all logs are.
#[derive(Debug)]
pub(crate) enum Logs {
    Files(Files),
    Table(Table),
}

impl Logs {
    /// In the database, where it keeps logs; else in the folder, which is made when it is not there.
    pub(crate) fn open(store: &dyn Store, folder: PathBuf) -> io::Result<Self> {
        match store.run_logs() {
            Some(logs) => Ok(Self::Table(Table::new(logs))),
            None => Ok(Self::Files(Files::open(folder)?)),
        }
    }

    /// Opens a run's log for writing where it ends.
    pub(crate) async fn writer(&self, run: RunId) -> io::Result<LogWriter> {
        match self {
            Self::Files(files) => files.writer(run).await.map(LogWriter::File),
            Self::Table(table) => table.writer(run).await.map(LogWriter::Table),
        }
    }

    /// Reads a run's log from the start.
    pub(crate) fn reader(&self, run: RunId) -> LogReader {
        match self {
            Self::Files(files) => LogReader::File(files.reader(run)),
            Self::Table(table) => LogReader::Table(table.reader(run)),
        }
    }
}

/// Appends to one log. One writer at a time.
#[derive(Debug)]
pub(crate) enum LogWriter {
    File(FileWriter),
    Table(TableWriter),
}

impl LogWriter {
    /// The offset after the last byte.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::File(writer) => writer.end(),
            Self::Table(writer) => writer.end(),
        }
    }

    /// Adds bytes. What is there already is left; what lies between is a gap.
    pub(crate) async fn append(&mut self, offset: u64, bytes: Bytes) -> io::Result<()> {
        self.skip_to(offset).await?;
        let known = usize::try_from(self.end() - offset).unwrap_or(usize::MAX);
        if known >= bytes.len() {
            return Ok(());
        }
        let fresh = bytes.slice(known..);
        match self {
            Self::File(writer) => writer.write(fresh).await,
            Self::Table(writer) => {
                writer.write(LogPiece::Bytes { offset: writer.end(), bytes: fresh.into() }).await
            }
        }
    }

    /// Declares everything from the end up to `to` dropped.
    pub(crate) async fn skip_to(&mut self, to: u64) -> io::Result<()> {
        match self {
            Self::File(writer) => writer.skip_to(to).await,
            Self::Table(writer) => writer.skip_to(to).await,
        }
    }

    /// Makes everything durable.
    pub(crate) async fn sync(&mut self) -> io::Result<()> {
        match self {
            Self::File(writer) => writer.sync().await,
            // Each piece was committed when it was taken.
            Self::Table(_) => Ok(()),
        }
    }
}

/// Reads one log, also while it grows.
#[derive(Debug)]
pub(crate) enum LogReader {
    File(FileReader),
    Table(TableReader),
}

impl LogReader {
    /// Leaves out all but the last bytes of what is there now.
    pub(crate) async fn skip_to_tail(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::File(reader) => reader.skip_to_tail(bytes).await,
            Self::Table(reader) => reader.skip_to_tail(bytes).await,
        }
    }

    /// The next piece; none at the end of what is there now.
    pub(crate) async fn next(&mut self) -> io::Result<Option<LogPiece>> {
        match self {
            Self::File(reader) => reader.next().await,
            Self::Table(reader) => reader.next().await,
        }
    }
}
