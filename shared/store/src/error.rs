//! What can go wrong with a store, told apart by what the caller should do.

/// A store's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not take the operation now: locked, full, away. Nothing was written; a retry may help.
    #[error("the database could not take the operation")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database belongs to a newer program; this one must not touch it.
    #[error("the database has schema {found}, this program knows up to {known}: run the newer program")]
    Newer {
        /// The schema found.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The database lacks migrations that ingest, the scheduler or `orch migrate` apply.
    #[error(
        "the database has schema {found}, this program needs {needed}: start ingest or the scheduler, or run `orch migrate`"
    )]
    Older {
        /// The schema found.
        found: i64,
        /// The one needed.
        needed: i64,
    },
    /// The database cannot be used as it is set up; says what to change.
    #[error("{0}")]
    Setup(String),
    /// A row or an answer that should be impossible; a defect, or a file edited by hand.
    #[error("the database holds something impossible: {0}")]
    Corrupt(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// What went wrong and why, in one line.
    pub fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        let whole: Vec<_> =
            std::iter::once(self.to_string()).chain(causes.map(ToString::to_string)).collect();
        whole.join(": ")
    }
}
