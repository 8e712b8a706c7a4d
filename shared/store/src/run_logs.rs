//! What a database does that keeps the logs of runs itself, for schedulers on several hosts; where it does not, they are
//! files.

use std::fmt::Debug;

use async_trait::async_trait;
use domain::log::LogPiece;
use domain::retention::LogBytes;
use domain::{JobId, RunId, Timestamp};

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

    /// Counts bytes by the hour in which their run ended, the newest first, from `since` on; nothing while all logs
    /// together take no more than `over` bytes.
    async fn log_bytes(&self, since: Timestamp, over: u64) -> Result<Vec<LogBytes>, Error>;

    /// Forgets a few pieces of the logs of runs that ended before `before`, the oldest end first, after `after`.
    async fn forget_logs(&self, after: Timestamp, before: Timestamp) -> Result<ForgottenLogs, Error>;

    /// Forgets a few pieces of the logs of a job's ended runs; 0: there are no more.
    async fn forget_logs_of(&self, job: JobId) -> Result<u64, Error>;
}

/// What a step through the logs did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgottenLogs {
    /// How many pieces are gone.
    pub pieces: u64,
    /// Where the next step goes on; `None`: there is nothing more.
    pub next: Option<Timestamp>,
}
