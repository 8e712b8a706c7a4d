//! What a database does that keeps the logs of runs itself, for schedulers on several hosts; where it does not, they are
//! files.

use std::fmt::Debug;

use async_trait::async_trait;
use domain::RunId;
use domain::log::LogPiece;

use crate::Error;

/// The logs of runs: bytes at offsets, with gaps declared.
#[async_trait]
pub trait RunLogs: Debug + Send + Sync {
    /// The offset after the last byte of a log; 0 of one that nothing was written to.
    async fn log_end(&self, run: RunId) -> Result<u64, Error>;

    /// Adds a piece at the end of a log, durably; false when it does not begin there, and nothing was written.
    async fn append_log(&self, run: RunId, piece: LogPiece) -> Result<bool, Error>;

    /// Reads the piece at an offset, from there on; `None` at the log's end.
    async fn read_log(&self, run: RunId, offset: u64) -> Result<Option<LogPiece>, Error>;
}
