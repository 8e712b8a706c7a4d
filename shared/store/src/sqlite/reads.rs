//! What can be read. Readers never write and hold no snapshot beyond one call.

use std::sync::atomic::Ordering;

use domain::account::AccountRecord;
use domain::delivery::Payload;
use domain::overview::{CountByStatus, LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::{Incarnation, Job, JobId, NodeId, Run, RunId, Status, Timestamp};
use sqlx::sqlite::{Sqlite, SqlitePool};
use sqlx::{Row as _, SqliteConnection, Transaction};

use super::fault::unavailable;
use super::{SqliteStore, checkpoint, migrate, outbox, rows};
use crate::{Error, Generation, JobFilter, Schema, StoreStats};

impl SqliteStore {
    /// The readers, once the database is there and its schema fits.
    pub(super) async fn readers(&self) -> Result<&SqlitePool, Error> {
        if !self.fits.load(Ordering::Relaxed) {
            migrate::check(self.read_schema().await?)?;
            self.fits.store(true, Ordering::Relaxed);
        }
        Ok(&self.readers)
    }

    pub(super) async fn read_schema(&self) -> Result<Schema, Error> {
        if !self.path.exists() {
            return Err(unavailable(format!(
                "there is no database at {} yet: start ingest or the scheduler, or run `orch migrate`",
                self.path.display()
            )));
        }
        migrate::schema(&mut *self.readers.acquire().await?).await
    }

    pub(super) async fn read_job(&self, id: JobId) -> Result<Option<Job>, Error> {
        let query = sqlx::query(include_str!("sql/job.sql")).bind(id.0);
        query.fetch_optional(self.readers().await?).await?.as_ref().map(rows::job).transpose()
    }

    pub(super) async fn read_payload(&self, id: JobId) -> Result<Option<Payload>, Error> {
        let query = sqlx::query(include_str!("sql/payload.sql")).bind(id.0);
        let row = query.fetch_optional(self.readers().await?).await?;
        row.map(|row| rows::json("payload", row.try_get(0)?)).transpose()
    }

    pub(super) async fn read_run(&self, id: RunId) -> Result<Option<Run>, Error> {
        let query = sqlx::query(include_str!("sql/run.sql")).bind(id.0.to_string());
        query.fetch_optional(self.readers().await?).await?.as_ref().map(rows::run).transpose()
    }

    pub(super) async fn read_runs_of(&self, job: JobId) -> Result<Vec<Run>, Error> {
        let query = sqlx::query(include_str!("sql/runs_of.sql")).bind(job.0);
        query.fetch_all(self.readers().await?).await?.iter().map(rows::run).collect()
    }

    pub(super) async fn read_late_outcomes_of(&self, job: JobId) -> Result<Vec<LateOutcome>, Error> {
        let query = sqlx::query(include_str!("sql/late_outcomes_of.sql")).bind(job.0);
        query.fetch_all(self.readers().await?).await?.iter().map(rows::late_outcome).collect()
    }

    pub(super) async fn read_live_runs(&self) -> Result<Vec<Run>, Error> {
        let query = sqlx::query(include_str!("sql/live_runs.sql"));
        query.fetch_all(self.readers().await?).await?.iter().map(rows::run).collect()
    }

    pub(super) async fn read_tally(&self, since: Timestamp) -> Result<Vec<RunTally>, Error> {
        let query = sqlx::query(include_str!("sql/tally.sql")).bind(RunId::lowest_at(since).to_string());
        query.fetch_all(self.readers().await?).await?.iter().map(rows::tally).collect()
    }

    pub(super) async fn read_jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
        jobs(&mut *self.readers().await?.acquire().await?, filter).await
    }

    pub(super) async fn read_next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let query = sqlx::query(include_str!("sql/next_due_at.sql")).bind(now.as_ms());
        let at: Option<i64> = query.fetch_one(self.readers().await?).await?.try_get(0)?;
        Ok(at.map(Timestamp::from_ms))
    }

    pub(super) async fn read_nodes(&self) -> Result<Vec<Node>, Error> {
        let query = sqlx::query(include_str!("sql/nodes.sql"));
        query.fetch_all(self.readers().await?).await?.iter().map(rows::node).collect()
    }

    pub(super) async fn read_accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        let query = sqlx::query(include_str!("sql/accounts.sql"));
        query.fetch_all(self.readers().await?).await?.iter().map(rows::account).collect()
    }

    pub(super) async fn read_generation(&self) -> Result<Generation, Error> {
        let row =
            sqlx::query(include_str!("sql/generation_read.sql")).fetch_one(self.readers().await?).await?;
        Ok(Generation { current: row.try_get(0)?, noted: row.try_get(1)? })
    }

    pub(super) async fn read_declared_lost(&self) -> Result<Vec<(NodeId, Incarnation)>, Error> {
        let query = sqlx::query(include_str!("sql/lost_runners.sql"));
        let rows = query.fetch_all(self.readers().await?).await?;
        let read = |row| Ok((NodeId(rows::get(row, "id")?), Incarnation(rows::get(row, "incarnation")?)));
        rows.iter().map(read).collect()
    }

    pub(super) async fn read_overview(&self, now: Timestamp) -> Result<Overview, Error> {
        let mut snapshot: Transaction<'_, Sqlite> = self.readers().await?.begin().await?;
        let overview = overview(&mut snapshot, now).await?;
        snapshot.rollback().await?;
        Ok(overview)
    }

    pub(super) fn read_stats(&self) -> StoreStats {
        StoreStats {
            file_bytes: checkpoint::file_bytes(&self.path),
            wal_bytes: checkpoint::file_bytes(&checkpoint::wal_path(&self.path)),
        }
    }
}

async fn overview(conn: &mut SqliteConnection, now: Timestamp) -> Result<Overview, Error> {
    let meta = sqlx::query(include_str!("sql/meta_read.sql")).fetch_one(&mut *conn).await?;
    let counts = counts(conn).await?;
    let oldest: Option<i64> = sqlx::query(include_str!("sql/oldest_ready_at.sql"))
        .bind(now.as_ms())
        .fetch_one(&mut *conn)
        .await?
        .try_get(0)?;
    let filter = JobFilter { status: None, before: None, limit: Overview::RECENT_MAX };
    let recent = jobs(conn, filter).await?;
    let accounts = sqlx::query(include_str!("sql/accounts.sql")).fetch_all(&mut *conn).await?;
    let nodes = sqlx::query(include_str!("sql/nodes_busy.sql")).fetch_all(&mut *conn).await?;
    let reaper = sqlx::query(include_str!("sql/reaper_read.sql")).fetch_one(&mut *conn).await?;
    let needing = sqlx::query(include_str!("sql/items_needing.sql"));
    let needing = needing.bind(Overview::NEEDING_MAX).fetch_all(&mut *conn).await?;
    Ok(Overview {
        counts,
        paused: rows::get(&meta, "paused")?,
        config_error: rows::get(&meta, "config_error")?,
        oldest_ready_at: oldest.map(Timestamp::from_ms),
        recent,
        accounts: accounts.iter().map(rows::account).collect::<Result<_, _>>()?,
        nodes: nodes
            .iter()
            .map(|row| Ok((rows::node(row)?, rows::get(row, "busy")?)))
            .collect::<Result<_, Error>>()?,
        reaper: rows::reaper(&reaper)?,
        needs_you: needing.iter().map(rows::work_item).collect::<Result<_, _>>()?,
        outbox: outbox::sinks(conn).await?,
    })
}

async fn counts(conn: &mut SqliteConnection) -> Result<CountByStatus, Error> {
    let mut counts = CountByStatus::default();
    for row in sqlx::query(include_str!("sql/counts.sql")).fetch_all(conn).await? {
        let (status, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let place = match Status::parse(status) {
            Some(Status::Queued) => &mut counts.queued,
            Some(Status::Running) => &mut counts.running,
            Some(Status::Done) => &mut counts.done,
            Some(Status::Failed) => &mut counts.failed,
            Some(Status::Cancelled) => &mut counts.cancelled,
            None => return Err(Error::Corrupt(format!("status says {status:?}"))),
        };
        *place = u64::try_from(count).unwrap_or(0);
    }
    Ok(counts)
}

async fn jobs(conn: &mut SqliteConnection, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
    let sql = match filter.status {
        None => include_str!("sql/jobs_all.sql"),
        Some(_) => include_str!("sql/jobs_of_status.sql"),
    };
    let mut query = sqlx::query(sql).bind(filter.before.map_or(i64::MAX, |id| id.0)).bind(filter.limit);
    if let Some(status) = filter.status {
        query = query.bind(status.as_str());
    }
    let rows = query.fetch_all(conn).await?;
    let readable = |row| rows::waiting_job(row).map_err(|error| rows::warn_unreadable(row, &error)).ok();
    Ok(rows.iter().filter_map(readable).collect())
}
