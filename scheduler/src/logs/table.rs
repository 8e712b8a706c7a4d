//! The logs of runs in the database, a row for each piece.
//!
//! A piece is written where the log ends or not at all, so that two schedulers that watch one run cannot mix theirs.

use std::io;
use std::sync::Arc;

use domain::RunId;
use domain::log::LogPiece;
use store::RunLogs;

/// All logs.
#[derive(Debug)]
pub(crate) struct Table(Arc<dyn RunLogs>);

impl Table {
    pub(super) fn new(logs: Arc<dyn RunLogs>) -> Self {
        Self(logs)
    }

    pub(super) async fn writer(&self, run: RunId) -> io::Result<TableWriter> {
        let end = self.0.log_end(run).await.map_err(failed)?;
        Ok(TableWriter { logs: Arc::clone(&self.0), run, end })
    }

    pub(super) fn reader(&self, run: RunId) -> TableReader {
        TableReader { logs: Arc::clone(&self.0), run, offset: 0 }
    }
}

/// Appends to one log.
#[derive(Debug)]
pub(crate) struct TableWriter {
    logs: Arc<dyn RunLogs>,
    run: RunId,
    end: u64,
}

impl TableWriter {
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) async fn skip_to(&mut self, to: u64) -> io::Result<()> {
        if to <= self.end {
            return Ok(());
        }
        self.write(LogPiece::Gap { from: self.end, to }).await
    }

    pub(super) async fn write(&mut self, piece: LogPiece) -> io::Result<()> {
        let end = piece.end();
        if !self.logs.append_log(self.run, piece).await.map_err(failed)? {
            return Err(io::Error::other("another scheduler writes this log too"));
        }
        self.end = end;
        Ok(())
    }
}

/// Reads one log.
#[derive(Debug)]
pub(crate) struct TableReader {
    logs: Arc<dyn RunLogs>,
    run: RunId,
    offset: u64,
}

impl TableReader {
    pub(super) async fn skip_to_tail(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.logs.log_end(self.run).await.map_err(failed)?;
        self.offset = self.offset.max(end.saturating_sub(bytes));
        Ok(())
    }

    pub(super) async fn next(&mut self) -> io::Result<Option<LogPiece>> {
        let piece = self.logs.read_log(self.run, self.offset).await.map_err(failed)?;
        if let Some(piece) = &piece {
            self.offset = piece.end();
        }
        Ok(piece)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn failed(error: store::Error) -> io::Error {
    io::Error::other(error.with_causes())
}
