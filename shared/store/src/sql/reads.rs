//! What can be read. Readers never write and hold no snapshot beyond one call.

use std::sync::atomic::Ordering;

use domain::account::AccountRecord;
use domain::delivery::Payload;
use domain::overview::{CountByStatus, LateOutcome, Overview, RunTally, WaitingJob};
use domain::runner::Node;
use domain::{Incarnation, Job, JobId, NodeId, Run, RunId, Status, Timestamp};

use super::connection::{Connection, Query, Reader, Row, query};
use super::{SqlStore, outbox, rows, schema, views};
use crate::{Briefing, Error, Generation, JobFilter, Schema};

impl SqlStore {
    /// A connection that reads, once the database is there and its schema fits.
    pub(super) async fn reader(&self) -> Result<Reader, Error> {
        self.check_schema().await?;
        self.database.reader().await
    }

    pub(super) async fn check_schema(&self) -> Result<(), Error> {
        if !self.fits.load(Ordering::Relaxed) {
            schema::check(self.read_schema().await?)?;
            self.fits.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) async fn read_schema(&self) -> Result<Schema, Error> {
        let mut reader = self.database.reader().await?;
        let schema = schema::read(&mut reader.connection()).await?;
        reader.finish().await?;
        Ok(schema)
    }

    pub(super) async fn fetch_all(&self, query: Query<'_>) -> Result<Vec<Row>, Error> {
        let mut reader = self.reader().await?;
        let rows = query.fetch_all(&mut reader.connection()).await?;
        reader.finish().await?;
        Ok(rows)
    }

    pub(super) async fn fetch_optional(&self, query: Query<'_>) -> Result<Option<Row>, Error> {
        let mut reader = self.reader().await?;
        let row = query.fetch_optional(&mut reader.connection()).await?;
        reader.finish().await?;
        Ok(row)
    }

    pub(super) async fn fetch_one(&self, query: Query<'_>) -> Result<Row, Error> {
        self.fetch_optional(query).await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    pub(super) async fn read_job(&self, id: JobId) -> Result<Option<Job>, Error> {
        let query = query!("job").bind(id.0);
        self.fetch_optional(query).await?.as_ref().map(rows::job).transpose()
    }

    pub(super) async fn read_payload(&self, id: JobId) -> Result<Option<Payload>, Error> {
        let query = query!("payload").bind(id.0);
        let row = self.fetch_optional(query).await?;
        row.map(|row| rows::json("payload", row.try_get(0)?)).transpose()
    }

    pub(super) async fn read_briefing(&self, id: JobId) -> Result<Option<Briefing>, Error> {
        let query = query!("briefing").bind(id.0);
        self.fetch_optional(query).await?.as_ref().map(rows::briefing).transpose()
    }

    pub(super) async fn read_run(&self, id: RunId) -> Result<Option<Run>, Error> {
        let query = query!("run").bind(id.0.to_string());
        self.fetch_optional(query).await?.as_ref().map(rows::run).transpose()
    }

    pub(super) async fn read_runs_of(&self, job: JobId) -> Result<Vec<Run>, Error> {
        let query = query!("runs_of").bind(job.0);
        self.fetch_all(query).await?.iter().map(rows::run).collect()
    }

    pub(super) async fn read_late_outcomes_of(&self, job: JobId) -> Result<Vec<LateOutcome>, Error> {
        let query = query!("late_outcomes_of").bind(job.0);
        self.fetch_all(query).await?.iter().map(rows::late_outcome).collect()
    }

    pub(super) async fn read_live_runs(&self) -> Result<Vec<Run>, Error> {
        let query = query!("live_runs");
        self.fetch_all(query).await?.iter().map(rows::run).collect()
    }

    pub(super) async fn read_live_jobs(&self) -> Result<Vec<Job>, Error> {
        let rows = self.fetch_all(query!("live_jobs")).await?;
        let readable =
            |row: &Row| rows::job(row).map_err(|problem| rows::warn_unreadable(row, &problem)).ok();
        Ok(rows.iter().filter_map(readable).collect())
    }

    pub(super) async fn read_cancel_requests(&self) -> Result<Vec<RunId>, Error> {
        let query = query!("cancel_requests");
        self.fetch_all(query).await?.iter().map(|row| rows::run_id(rows::get(row, "run_id")?)).collect()
    }

    pub(super) async fn read_tally(&self, since: Timestamp) -> Result<Vec<RunTally>, Error> {
        let query = query!("tally").bind(RunId::lowest_at(since).to_string());
        self.fetch_all(query).await?.iter().map(rows::tally).collect()
    }

    pub(super) async fn read_jobs(&self, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
        let mut reader = self.reader().await?;
        let jobs = jobs(&mut reader.connection(), filter).await?;
        reader.finish().await?;
        Ok(jobs)
    }

    pub(super) async fn read_next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let query = query!("next_due_at").bind(now.as_ms());
        let at: Option<i64> = self.fetch_one(query).await?.try_get(0)?;
        Ok(at.map(Timestamp::from_ms))
    }

    pub(super) async fn read_nodes(&self) -> Result<Vec<Node>, Error> {
        let query = query!("nodes");
        self.fetch_all(query).await?.iter().map(rows::node).collect()
    }

    pub(super) async fn read_busy_nodes(&self) -> Result<Vec<(Node, u32)>, Error> {
        busy_nodes(&self.fetch_all(query!("nodes_busy")).await?)
    }

    pub(super) async fn read_accounts(&self) -> Result<Vec<AccountRecord>, Error> {
        let query = query!("accounts");
        self.fetch_all(query).await?.iter().map(rows::account).collect()
    }

    pub(super) async fn read_generation(&self) -> Result<Generation, Error> {
        let row = self.fetch_one(query!("generation_read")).await?;
        Ok(Generation { current: row.try_get(0)?, noted: row.try_get(1)? })
    }

    pub(super) async fn read_run_secret(&self) -> Result<String, Error> {
        let row = self.fetch_one(query!("run_secret_read")).await?;
        let secret: &str = row.try_get(0)?;
        Ok(secret.to_owned())
    }

    pub(super) async fn read_declared_lost(&self) -> Result<Vec<(NodeId, Incarnation)>, Error> {
        let query = query!("lost_runners");
        let rows = self.fetch_all(query).await?;
        let read = |row| Ok((NodeId(rows::get(row, "id")?), Incarnation(rows::get(row, "incarnation")?)));
        rows.iter().map(read).collect()
    }

    pub(super) async fn read_overview(&self, now: Timestamp) -> Result<Overview, Error> {
        self.check_schema().await?;
        let mut snapshot = self.database.snapshot().await?;
        let overview = overview(&mut snapshot.connection(), now).await?;
        snapshot.finish().await?;
        Ok(overview)
    }
}

async fn overview(conn: &mut Connection<'_>, now: Timestamp) -> Result<Overview, Error> {
    let meta = query!("meta_read").fetch_one(&mut *conn).await?;
    let counts = counts(conn).await?;
    let paused_parts = views::paused_parts(conn).await?;
    let oldest: Option<i64> =
        query!("oldest_ready_at").bind(now.as_ms()).fetch_one(&mut *conn).await?.try_get(0)?;
    let filter = JobFilter::newest(Overview::RECENT_MAX);
    let recent = jobs(conn, filter).await?;
    let accounts = query!("accounts").fetch_all(&mut *conn).await?;
    let nodes = query!("nodes_busy").fetch_all(&mut *conn).await?;
    let reaper = query!("reaper_read").fetch_one(&mut *conn).await?;
    let needing = query!("items_needing");
    let needing = needing.bind(Overview::NEEDING_MAX).fetch_all(&mut *conn).await?;
    Ok(Overview {
        counts,
        paused: rows::get(&meta, "paused")?,
        paused_parts,
        config_error: rows::get(&meta, "config_error")?,
        oldest_ready_at: oldest.map(Timestamp::from_ms),
        recent,
        accounts: accounts.iter().map(rows::account).collect::<Result<_, _>>()?,
        nodes: busy_nodes(&nodes)?,
        reaper: rows::reaper(&reaper)?,
        needs_you: needing.iter().map(rows::work_item).collect::<Result<_, _>>()?,
        outbox: outbox::sinks(conn).await?,
    })
}

fn busy_nodes(rows: &[Row]) -> Result<Vec<(Node, u32)>, Error> {
    rows.iter().map(|row| Ok((rows::node(row)?, rows::small(row, "busy")?))).collect()
}

async fn counts(conn: &mut Connection<'_>) -> Result<CountByStatus, Error> {
    let mut counts = CountByStatus::default();
    for row in query!("counts").fetch_all(conn).await? {
        let (status, count): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let status =
            Status::parse(status).ok_or_else(|| Error::Corrupt(format!("status says {status:?}")))?;
        *counts.of(status) = u64::try_from(count).unwrap_or(0);
    }
    Ok(counts)
}

async fn jobs(conn: &mut Connection<'_>, filter: JobFilter) -> Result<Vec<WaitingJob>, Error> {
    let query = match filter.status {
        None => query!("jobs_all"),
        Some(_) => query!("jobs_of_status"),
    };
    let (above, below) = (filter.above.unwrap_or(JobId(0)), filter.before.unwrap_or(JobId(i64::MAX)));
    let mut query = query.bind(above.0).bind(below.0).bind(filter.limit);
    if let Some(status) = filter.status {
        query = query.bind(status.as_str());
    }
    let rows = query.fetch_all(conn).await?;
    let readable = |row| rows::waiting_job(row).map_err(|error| rows::warn_unreadable(row, &error)).ok();
    Ok(rows.iter().filter_map(readable).collect())
}
