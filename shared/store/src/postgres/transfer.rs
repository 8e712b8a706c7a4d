//! The receiving side of a move from SQLite: one transaction that is dropped, with all it wrote, unless it is finished.

use domain::RunId;
use domain::log::LogPiece;
use serde_json::Value;

use super::open::{check_server, migrate, server};
use super::transaction::{Begin, Server, Transacting};
use crate::Error;
use crate::sql::argument::without_nul;

/// Tables that have a row from the start, which is replaced.
const SEEDED: [&str; 4] = ["accounts", "meta", "reaper", "scheduler_term"];
/// The table whose numbers come from a row and not from a sequence.
const NUMBERED: &str = "jobs";

/// A database that is being filled.
#[derive(Debug)]
pub(crate) struct Target {
    server: Server,
    transacting: Transacting,
}

/// Makes the schema and begins.
pub(crate) async fn open_target(url: &str) -> Result<Target, Error> {
    let server = server(url)?;
    check_server(&server).await?;
    migrate(&server).await?;
    let transacting = server.begin(Begin::Migrate).await?;
    Ok(Target { server, transacting })
}

impl Target {
    /// Refuses a table that has rows beyond those it has from the start, and makes room for the source's.
    pub(crate) async fn check_empty(&mut self, table: &str) -> Result<(), Error> {
        if SEEDED.contains(&table) {
            return Ok(self.transacting.run_long(format!("DELETE FROM {table}")).await?);
        }
        if self.count(table).await? == 0 {
            return Ok(());
        }
        Err(Error::Setup(format!(
            "the target is not empty, it has rows in {table}: create a new database for it"
        )))
    }

    pub(crate) async fn count(&mut self, table: &str) -> Result<u64, Error> {
        let count: i64 = self.transacting.number_long(format!("SELECT count(*) FROM {table}"), None).await?;
        Ok(count.unsigned_abs())
    }

    /// Adds rows, each an object of these columns.
    pub(crate) async fn insert(
        &mut self,
        table: &str,
        columns: &[String],
        rows: Vec<Value>,
    ) -> Result<(), Error> {
        let columns = columns.join(", ");
        let sql = format!(
            "WITH sent AS (INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE \
             SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb) RETURNING 1) SELECT count(*) FROM sent"
        );
        self.transacting
            .number_long(sql, Some(without_nul(&Value::Array(rows).to_string()).into_owned()))
            .await?;
        Ok(())
    }

    /// Goes on with a table's numbers after the highest that was ever given.
    pub(crate) async fn set_number(&mut self, table: String, newest: i64) -> Result<(), Error> {
        let sql = if table == NUMBERED {
            "UPDATE job_numbers SET newest = $1::bigint RETURNING newest".to_owned()
        } else {
            format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), $1::bigint)")
        };
        self.transacting.number_long(sql, Some(newest.to_string())).await?;
        Ok(())
    }

    pub(crate) async fn append_log(&mut self, run: RunId, piece: LogPiece) -> Result<(), Error> {
        let query = super::logs::append(std::iter::once((run, &piece)));
        match self.transacting.fetch(query).await? {
            Some(_) => Ok(()),
            None => Err(Error::Corrupt(format!("the log of run {run} has a hole that nothing declares"))),
        }
    }

    /// Brings the figures in line, gives the database its generation and what runs' tokens are made of, and commits.
    pub(crate) async fn finish(mut self, generation: i64, run_secret: String) -> Result<(), Error> {
        for sql in [include_str!("sql/moved_hours_subtract.sql"), include_str!("sql/moved_hours_tidy.sql")] {
            self.transacting.run_long(sql.to_owned()).await?;
        }
        let set = sqlx::query(include_str!("sql/generation_set.sql")).bind(generation).bind(run_secret);
        self.transacting.fetch(set).await?;
        self.transacting.commit().await?;
        // The planner knows nothing yet of what is there.
        let mut analyzing = self.server.begin(Begin::Migrate).await?;
        analyzing.run_long("ANALYZE".to_owned()).await?;
        analyzing.commit().await?;
        self.server.close().await;
        Ok(())
    }
}
