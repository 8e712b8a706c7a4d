//! Forgetting what is over, a few rows in a transaction.

use async_trait::async_trait;
use domain::budget::{Payer, Scope};
use domain::retention::{Kept, Kind, Step};
use domain::{JobId, Timestamp};

use super::connection::{Connection, Row, query};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{at, at_maybe, get, run_id, small, text_of};
use super::{SqlStore, mismatch};
use crate::Error;
use crate::retention::{Forgotten, LOG_BYTES_PER_STEP, Retention};

/// What the writer may be asked of it.
#[derive(Debug)]
pub(crate) enum Ask {
    Jobs(Step),
    Rows { kind: Kind, before: Timestamp, limit: u32 },
}

/// Does what is asked, in the writer's transaction.
pub(super) async fn answer(conn: &mut Connection<'_>, ask: &Ask) -> Result<Answer, Fault> {
    match ask {
        Ask::Jobs(step) => jobs(conn, step).await.map(Answer::Forgotten),
        Ask::Rows { kind: Kind::Items, before, limit } => {
            items(conn, *before, *limit).await.map(Answer::Pruned)
        }
        Ask::Rows { kind, before, limit } => rows(conn, *kind, *before, *limit).await.map(Answer::Pruned),
    }
}

async fn jobs(conn: &mut Connection<'_>, step: &Step) -> Result<Forgotten, Fault> {
    let (after_at, after_id) = step.after;
    let query = query!("forget_jobs_look").bind(after_at.as_ms()).bind(after_id.0);
    let looked = query.bind(step.before.as_ms()).bind(step.limit).fetch_all(&mut *conn).await?;
    let mut forgotten = Forgotten::default();
    let ids = going(conn, &looked, step.limit, &mut forgotten)?;
    if ids.is_empty() {
        return Ok(forgotten);
    }
    forgotten.jobs = ids.len() as u64;
    let ids = text_of(&ids)?;
    for row in query!("forget_jobs_runs").bind(&ids).fetch_all(&mut *conn).await? {
        forgotten.runs.push(run_id(get(&row, "id")?)?);
    }
    query!("forget_jobs_keys").bind(&ids).execute(&mut *conn).await?;
    query!("forget_jobs_count").bind(&ids).execute(&mut *conn).await?;
    query!("forget_jobs_purses").bind(&ids).execute(&mut *conn).await?;
    query!("forget_jobs").bind(&ids).execute(conn).await?;
    Ok(forgotten)
}

/// Which of the rows go: those that nobody needs, as far as their logs do not make the step long.
fn going(
    conn: &Connection<'_>,
    looked: &[Row],
    limit: u32,
    forgotten: &mut Forgotten,
) -> Result<Vec<i64>, Fault> {
    let mut log_bytes_left = match conn {
        // Files, which are no part of the step.
        Connection::Sqlite(_) | Connection::Direct(_) => i64::MAX,
        Connection::Postgres(_) => LOG_BYTES_PER_STEP,
    };
    let (bytes_max, mut ids, mut reached) = (log_bytes_left, Vec::with_capacity(looked.len()), None);
    let mut is_more = looked.len() == limit as usize;
    for row in looked {
        let (id, log_bytes): (i64, i64) = (get(row, "id")?, get(row, "log_bytes")?);
        if !get::<bool>(row, "needed")? {
            if log_bytes > bytes_max {
                forgotten.heavy.push(JobId(id));
            } else if log_bytes > log_bytes_left {
                is_more = true;
                break;
            } else {
                log_bytes_left -= log_bytes;
                ids.push(id);
            }
        }
        reached = Some((at(row, "finished_at")?, JobId(id)));
    }
    forgotten.next = reached.filter(|_| is_more);
    Ok(ids)
}

async fn rows(conn: &mut Connection<'_>, kind: Kind, before: Timestamp, limit: u32) -> Result<u64, Fault> {
    let query = match kind {
        Kind::Deliveries => query!("forget_deliveries"),
        Kind::Keys => query!("forget_keys"),
        Kind::LateOutcomes => query!("forget_late_outcomes"),
        Kind::Chains => query!("forget_chains"),
        Kind::Acts => query!("forget_acts"),
        Kind::Hours => query!("forget_hours"),
        Kind::Items => return Err(Fault::refused("work items are forgotten with their names")),
    };
    query.bind(before.as_ms()).bind(limit).execute(conn).await
}

async fn items(conn: &mut Connection<'_>, before: Timestamp, limit: u32) -> Result<u64, Fault> {
    let query = query!("forget_items_look").bind(before.as_ms()).bind(limit);
    let (mut ids, mut names, mut purses) = (Vec::new(), Vec::new(), Vec::new());
    for row in query.fetch_all(&mut *conn).await? {
        let (project, key): (String, String) = (get(&row, "project")?, get(&row, "key")?);
        let payer = Payer { job: JobId(0), project: &project, work_item: &key, chain: "" };
        purses.push(payer.purse(Scope::Item, "").key);
        ids.push(get::<i64>(&row, "id")?);
        names.push((project, key));
    }
    if ids.is_empty() {
        return Ok(0);
    }
    query!("forget_items_names").bind(text_of(&names)?).execute(&mut *conn).await?;
    query!("forget_items_purses").bind(text_of(&purses)?).execute(&mut *conn).await?;
    query!("forget_items").bind(text_of(&ids)?).execute(conn).await
}

#[async_trait]
impl Retention for SqlStore {
    async fn kept(&self, deliveries: u64) -> Result<Kept, Error> {
        let query = query!("kept").bind(i64::try_from(deliveries).unwrap_or(i64::MAX));
        let row = self.fetch_optional(query).await?;
        let row = row.ok_or_else(|| Error::Corrupt("no answer to what is kept".into()))?;
        Ok(Kept {
            finished: small(&row, "finished")?,
            forgotten: small(&row, "forgotten")?,
            oldest_finished_at: at_maybe(&row, "oldest_finished_at")?,
            deliveries_full_at: at_maybe(&row, "deliveries_full_at")?,
            oldest_delivery_at: at_maybe(&row, "oldest_delivery_at")?,
        })
    }

    async fn forget_jobs(&self, step: Step) -> Result<Forgotten, Error> {
        let answer = self.ask(Request::Retention(Ask::Jobs(step))).await?;
        if let Answer::Forgotten(forgotten) = answer { Ok(forgotten) } else { Err(mismatch(&answer)) }
    }

    async fn forget(&self, kind: Kind, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let answer = self.ask(Request::Retention(Ask::Rows { kind, before, limit })).await?;
        if let Answer::Pruned(rows) = answer { Ok(rows) } else { Err(mismatch(&answer)) }
    }
}
