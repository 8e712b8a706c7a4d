//! The mark by which a batch proves that it was written, where nobody answered its COMMIT: a row of its own, written with it.
//!
//! The transaction's id proves nothing. A server that crashed gives an id of which nothing had reached its log to the next
//! transaction, which then answers for the one that was lost.

use std::time::Duration;

use sqlx::Row as _;
use tokio::time::timeout;
use uuid::Uuid;

use super::text::filled;
use super::transaction::{Begin, Server};
use crate::sql::argument::Argument;
use crate::sql::fault::{Fault, FaultKind};

/// How long to look for the mark of a batch whose COMMIT was not answered.
const DOUBT_MAX: Duration = Duration::from_secs(10);
const DOUBT_PAUSE: Duration = Duration::from_millis(50);

/// Removes what lanes left that write no more.
pub(super) async fn tidy(server: &Server) -> Result<(), Fault> {
    let mut transacting = server.begin(Begin::Write(None)).await?;
    transacting.later(include_str!("sql/marks_tidy.sql").trim_end(), None);
    transacting.commit().await
}

/// The marks of one lane. No other ever makes one of them.
#[derive(Debug)]
pub(super) struct Marks {
    lane: Uuid,
    number: i64,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self { lane: Uuid::new_v4(), number: 0 }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Mark {
        self.number += 1;
        Mark { lane: self.lane.to_string(), number: self.number }
    }
}

/// The mark of one attempt to write one batch.
#[derive(Debug)]
pub(super) struct Mark {
    lane: String,
    number: i64,
}

impl Mark {
    /// Sets it, and removes the older ones of its lane; leaves all as it is where the transaction wrote nothing.
    pub(super) fn set(&self) -> String {
        self.filled(include_str!("sql/mark_set.sql"))
    }

    /// Whether it was set. Where it was not, it never will be: what may still be on its way to the server fails there.
    pub(super) async fn is_set(&self, server: &Server) -> Result<bool, Fault> {
        let look = async {
            loop {
                match self.look(server).await {
                    Ok(is_set) => return is_set,
                    Err(_) => tokio::time::sleep(DOUBT_PAUSE).await,
                }
            }
        };
        timeout(DOUBT_MAX, look).await.map_err(|_| {
            Fault::new(
                FaultKind::Broken,
                "the connection broke at COMMIT, and whether it happened could not be found out",
            )
        })
    }

    /// Waits for a transaction that is about to set it, or takes its place.
    async fn look(&self, server: &Server) -> Result<bool, Fault> {
        let mut transacting = server.begin(Begin::Write(None)).await?;
        transacting.later(&self.filled(include_str!("sql/mark_deny.sql")), None);
        let answered = transacting.ask(&[self.filled(include_str!("sql/mark_read.sql"))]).await?;
        let row = answered.first().and_then(|answer| answer.rows.first());
        let is_set = row.ok_or_else(|| Fault::refused("a mark that nobody wrote"))?.try_get(0)?;
        transacting.commit().await?;
        Ok(is_set)
    }

    fn filled(&self, statement: &str) -> String {
        filled(statement, &[Argument::from(self.lane.as_str()), Argument::from(self.number)])
    }
}
