//! What a database's failures mean for the caller.

use std::sync::Arc;

use sqlx::postgres::PgDatabaseError;

use crate::{Error, postgres};

/// A failure that several operations of one batch share.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    source: Arc<dyn std::error::Error + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Somebody else holds the lock, or the work took longer than any may.
    Locked,
    /// Somebody else went first; the same work may be done now.
    Again,
    /// No room: the disk, a quota, the page limit, or connections.
    Full,
    /// The connection or the file failed; open it anew before the next try.
    Broken,
    /// The server refused, since it only reads; another connection may find one that writes.
    ReadsOnly,
    /// The statement or its values are wrong; another operation may still succeed.
    Refused,
}

impl FaultKind {
    /// Whether the connection is of no more use.
    pub(crate) const fn ends_connection(self) -> bool {
        matches!(self, Self::Broken | Self::ReadsOnly)
    }
}

impl Fault {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Refused, message)
    }

    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, source: Arc::new(Impossible(message.into())) }
    }

    pub(crate) fn into_error(self) -> Error {
        match self.kind {
            FaultKind::Locked
            | FaultKind::Again
            | FaultKind::Full
            | FaultKind::Broken
            | FaultKind::ReadsOnly => Error::Unavailable(Box::new(Shared(self.source))),
            FaultKind::Refused => Error::Corrupt(self.source.to_string()),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self { kind: kind_of(&error), source: Arc::new(error) }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.into_error()
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolClosed) {
            return Self::Closed;
        }
        Fault::from(error).into_error()
    }
}

fn kind_of(error: &sqlx::Error) -> FaultKind {
    if matches!(
        error,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_)
    ) {
        return FaultKind::Refused;
    }
    let of_postgres = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    if let Some(error) = of_postgres {
        return postgres::kind_of(error.code());
    }
    // SQLite's primary result codes, <https://sqlite.org/rescode.html>.
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
    match code.map(|extended| extended & 0xff) {
        Some(5 | 6) => FaultKind::Locked,
        Some(13) => FaultKind::Full,
        Some(1 | 3 | 8 | 11 | 12 | 18 | 19 | 20 | 25 | 26) => FaultKind::Refused,
        Some(_) | None => FaultKind::Broken,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Impossible(String);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Shared(Arc<dyn std::error::Error + Send + Sync>);

/// An operation that could not even begin.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NotBegun(pub(super) String);

pub(crate) fn unavailable(why: impl Into<String>) -> Error {
    Error::Unavailable(Box::new(NotBegun(why.into())))
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { kind: FaultKind::Refused, source: Arc::new(error) }
    }
}
