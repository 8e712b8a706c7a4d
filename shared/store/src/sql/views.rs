//! What people look at beyond the queue, and the audit.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::admission::Part;
use domain::overview::{HourTally, StageRecord};
use domain::{Job, JobId, Status, Timestamp};

use super::connection::{Connection, Row, query};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{self, at, get, small, word};
use super::{SqlStore, mismatch};
use crate::views::{BOUNCED_MAX, Views};
use crate::{Act, ActFilter, Actor, Error, GivenUp};

const HOUR_MS: i64 = 3_600_000;

/// What the writer may be asked of them.
#[derive(Debug)]
pub(crate) enum Ask {
    Pause(Part, bool, Timestamp),
    Act(Act),
}

/// Does what is asked, in the writer's transaction.
pub(super) async fn answer(conn: &mut Connection<'_>, ask: &Ask) -> Result<Answer, Fault> {
    match ask {
        Ask::Pause(part, true, now) => {
            let query = query!("part_pause").bind(part.scope()).bind(part.name());
            let fresh = query.bind(now.as_ms()).execute(conn).await?;
            Ok(Answer::Found(fresh > 0))
        }
        Ask::Pause(part, false, _) => {
            let query = query!("part_resume").bind(part.scope()).bind(part.name());
            Ok(Answer::Found(query.execute(conn).await? > 0))
        }
        Ask::Act(act) => save_act(conn, act).await.map(|()| Answer::Done),
    }
}

/// Writes an entry of the audit.
pub(super) async fn save_act(conn: &mut Connection<'_>, act: &Act) -> Result<(), Fault> {
    query!("audit_save")
        .bind(act.at.as_ms())
        .bind(&act.actor.by)
        .bind(&act.actor.via)
        .bind(&act.actor.origin)
        .bind(&act.verb)
        .bind(&act.subject)
        .bind(&act.project)
        .bind(&act.work_item)
        .bind(&act.note)
        .bind(&act.result)
        .execute(conn)
        .await?;
    Ok(())
}

/// Reads which parts are paused.
pub(super) async fn paused_parts(conn: &mut Connection<'_>) -> Result<BTreeSet<Part>, Error> {
    parts(&query!("paused_parts").fetch_all(conn).await?)
}

fn parts(rows: &[Row]) -> Result<BTreeSet<Part>, Error> {
    let part = |row: &Row| {
        let scope: &str = get(row, "scope")?;
        Part::new(scope, get(row, "name")?).ok_or_else(|| Error::Corrupt(format!("scope says {scope:?}")))
    };
    rows.iter().map(part).collect()
}

#[async_trait]
impl Views for SqlStore {
    async fn stage_records(&self) -> Result<Vec<StageRecord>, Error> {
        let counts = self.fetch_all(query!("stage_counts")).await?;
        let bounces = self.fetch_all(query!("stage_bounces").bind(BOUNCED_MAX)).await?;
        let mut records: BTreeMap<(String, String), StageRecord> = BTreeMap::new();
        for row in &counts {
            let record = records.entry((get(row, "project")?, get(row, "stage")?)).or_default();
            *record.counts.of(word(row, "status", Status::parse)?) = small(row, "jobs")?;
            record.oldest_queued_at = record.oldest_queued_at.or(rows::at_maybe(row, "oldest_at")?);
        }
        for row in &bounces {
            let record = records.entry((get(row, "project")?, get(row, "stage")?)).or_default();
            record.bounces = small(row, "times")?;
        }
        let named = |((project, stage), record)| StageRecord { project, stage, ..record };
        Ok(records.into_iter().map(named).collect())
    }

    async fn ended_since(&self, since: Timestamp) -> Result<Vec<HourTally>, Error> {
        let hour = since.as_ms() - since.as_ms().rem_euclid(HOUR_MS);
        let query = query!("ended_runs").bind(hour);
        let tally = |row: &Row| {
            Ok(HourTally {
                hour: at(row, "hour")?,
                class: get(row, "class")?,
                reason: get(row, "reason")?,
                runs: small(row, "runs")?,
                cost_usd: get(row, "cost_usd")?,
            })
        };
        self.fetch_all(query).await?.iter().map(tally).collect()
    }

    async fn follow_ups(&self, job: JobId, limit: u32) -> Result<Vec<Job>, Error> {
        let query = query!("follow_ups").bind(job.0).bind(limit);
        self.fetch_all(query).await?.iter().map(rows::job).collect()
    }

    async fn given_up(&self, filter: GivenUp) -> Result<Vec<JobId>, Error> {
        let query = query!("given_up")
            .bind(filter.status.as_str())
            .bind(filter.since.as_ms())
            .bind(filter.project)
            .bind(filter.stage)
            .bind(filter.reason)
            .bind(filter.limit);
        let rows = self.fetch_all(query).await?;
        rows.iter().map(|row| Ok(JobId(row.try_get(0)?))).collect()
    }

    async fn set_part_paused(&self, part: Part, paused: bool, now: Timestamp) -> Result<bool, Error> {
        let answer = self.ask(Request::Views(Ask::Pause(part, paused, now))).await?;
        if let Answer::Found(changed) = answer { Ok(changed) } else { Err(mismatch(&answer)) }
    }

    async fn paused_parts(&self) -> Result<BTreeSet<Part>, Error> {
        parts(&self.fetch_all(query!("paused_parts")).await?)
    }

    async fn note_act(&self, act: Act) -> Result<(), Error> {
        self.ask(Request::Views(Ask::Act(act))).await.map(|_| ())
    }

    async fn acts(&self, filter: ActFilter) -> Result<Vec<Act>, Error> {
        let query = query!("audit_read")
            .bind(filter.before.unwrap_or(i64::MAX))
            .bind(filter.limit)
            .bind(filter.subject);
        self.fetch_all(query).await?.iter().map(act).collect()
    }
}

fn act(row: &Row) -> Result<Act, Error> {
    Ok(Act {
        id: get(row, "id")?,
        at: at(row, "at")?,
        actor: Actor { by: get(row, "by")?, via: get(row, "via")?, origin: get(row, "origin")? },
        verb: get(row, "verb")?,
        subject: get(row, "subject")?,
        project: get(row, "project")?,
        work_item: get(row, "work_item")?,
        note: get(row, "note")?,
        result: get(row, "result")?,
    })
}
