//! Finds rows that break I1 to I3 and repairs them as `domain::sanitize` says, in the writer's transaction.
//!
//! Looking takes no lock and reads live rows alone; the writer is asked only when there is something to repair.

use std::collections::BTreeMap;

use domain::sanitize::{Kind, ORPHANED, Repair, Rules, Suspect, SuspectRow, SuspectRun, SuspectRunState};
use domain::{Budgets, Epoch, JobId, JobState, Status, Timestamp};

use super::SqlStore;
use super::connection::{Connection, Row, query};
use super::fault::Fault;
use super::outbox;
use super::rows::get;
use crate::Error;

/// Jobs repaired in one transaction; the next sweep goes on.
const REPAIRED_MAX: i64 = 200;

impl SqlStore {
    pub(super) async fn has_suspects(&self) -> Result<bool, Error> {
        let mut reader = self.reader().await?;
        let found = suspects(&mut reader.connection()).await?;
        reader.finish().await?;
        Ok(!found.is_empty())
    }
}

async fn suspects(conn: &mut Connection<'_>) -> Result<Vec<i64>, Fault> {
    let query = query!("sanitize_suspects").bind(REPAIRED_MAX);
    query.fetch_all(conn).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Repairs what is found; a row that cannot be repaired is left as it is and does not keep the others from it.
pub(super) async fn sanitize(conn: &mut Connection<'_>, rules: &Rules) -> Result<Vec<Repair>, Fault> {
    let ids = suspects(&mut *conn).await?;
    let mut repairs = Vec::new();
    for suspect in read(conn, &ids).await? {
        let Some(repair) = domain::sanitize::repair(&suspect, rules) else { continue };
        conn.run("SAVEPOINT repair").await?;
        match write(conn, &repair, rules.now).await {
            Ok(()) => repairs.push(repair),
            Err(fault) => {
                tracing::error!(job.id = %repair.job, error = %fault, "a row that breaks an invariant cannot be repaired");
                conn.run("ROLLBACK TO repair").await?;
            }
        }
        conn.run("RELEASE repair").await?;
    }
    let count = |kind| {
        let kinds = repairs.iter().flat_map(|repair| &repair.kinds);
        i64::try_from(kinds.filter(|found| **found == kind).count()).unwrap_or(i64::MAX)
    };
    query!("sanitize_count")
        .bind(count(Kind::ImpossibleQueued))
        .bind(count(Kind::ImpossibleRunning))
        .bind(count(Kind::ImpossibleFinished))
        .bind(count(Kind::OrphanedRun))
        .execute(&mut *conn)
        .await?;
    outbox::push_of_repairs(conn, &repairs, rules.now).await?;
    Ok(repairs)
}

async fn read(conn: &mut Connection<'_>, ids: &[i64]) -> Result<Vec<Suspect>, Fault> {
    let mut found: BTreeMap<JobId, Suspect> = BTreeMap::new();
    for id in ids {
        let job = JobId(*id);
        found.insert(job, Suspect { job, row: None, runs: Vec::new() });
    }
    let ids = serde_json::to_string(ids).map_err(|error| Fault::refused(error.to_string()))?;
    for row in query!("sanitize_jobs").bind(&ids).fetch_all(&mut *conn).await? {
        if let Some(suspect) = found.get_mut(&JobId(get(&row, "id")?)) {
            suspect.row = suspect_row(&row)?;
        }
    }
    for row in query!("sanitize_runs").bind(&ids).fetch_all(conn).await? {
        if let Some(suspect) = found.get_mut(&JobId(get(&row, "job_id")?)) {
            let state = match get(&row, "state")? {
                "offered" => SuspectRunState::Offered,
                "started" => SuspectRunState::Started,
                _ => SuspectRunState::HalfEnded,
            };
            suspect.runs.push(SuspectRun { id: get(&row, "id")?, state });
        }
    }
    Ok(found.into_values().collect())
}

fn suspect_row(row: &Row) -> Result<Option<SuspectRow>, Error> {
    let Some(status) = Status::parse(get(row, "status")?) else { return Ok(None) };
    let at = |column| Ok::<_, Error>(get::<Option<i64>>(row, column)?.map(Timestamp::from_ms));
    let spent = |column| Ok::<_, Error>(u32::try_from(get::<i64>(row, column)?).unwrap_or(0));
    let epoch: i64 = get(row, "epoch")?;
    Ok(Some(SuspectRow {
        status,
        run: get(row, "run_id")?,
        due: get(row, "due")?,
        available_at: Timestamp::from_ms(get(row, "available_at")?),
        cancel_requested_at: at("cancel_requested_at")?,
        finished_at: at("finished_at")?,
        failure_reason: get(row, "failure_reason")?,
        budgets: Budgets {
            attempts: spent("attempts")?,
            transient_attempts: spent("transient_attempts")?,
            infra_attempts: spent("infra_attempts")?,
        },
        epoch: Epoch(epoch.max(get::<Option<i64>>(row, "epoch_of_runs")?.unwrap_or(0)).max(0)),
        revision: get(row, "revision")?,
    }))
}

async fn write(conn: &mut Connection<'_>, repair: &Repair, now: Timestamp) -> Result<(), Fault> {
    for run in &repair.ends {
        let end = query!("sanitize_run_end");
        let end = end.bind(run).bind(now.as_ms()).bind(ORPHANED);
        check_one(end.execute(&mut *conn).await?)?;
    }
    let Some((revision, after)) = &repair.row else { return Ok(()) };
    let (available_at, finished_at, reason) = match &after.state {
        JobState::Queued { available_at } => (Some(available_at.as_ms()), None, None),
        JobState::Failed { finished_at, reason } => (None, Some(finished_at.as_ms()), Some(reason)),
        JobState::Done { finished_at } | JobState::Cancelled { finished_at } => {
            (None, Some(finished_at.as_ms()), None)
        }
        JobState::Running { .. } => return Err(Fault::refused("a repair starts nothing")),
    };
    let written = query!("sanitize_job_write")
        .bind(repair.job.0)
        .bind(*revision)
        .bind(after.state.status().as_str())
        .bind(available_at.is_some_and(|at| at <= now.as_ms()))
        .bind(available_at)
        .bind(finished_at)
        .bind(reason)
        .bind(after.budgets.attempts)
        .bind(after.budgets.transient_attempts)
        .bind(after.budgets.infra_attempts)
        .bind(after.epoch.0)
        .bind(now.as_ms())
        .execute(conn)
        .await?;
    check_one(written)
}

fn check_one(touched: u64) -> Result<(), Fault> {
    if touched == 1 { Ok(()) } else { Err(Fault::refused(format!("{touched} rows changed instead of one"))) }
}
