//! The claim: due jobs in, runs out, in the writer's transaction. What is read and written is [`crate::claim`]'s to say.

use domain::admission::{AccountHold, Facts, LiveFacts};
use domain::{Account, Epoch, JobId, NodeId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::apply;
use super::fault::Fault;
use super::rows::{self, JsonRows, json, text_of};
use crate::claim::{self, Behind, Decided, Due, Head, PROMOTED_MAX, Search};
use crate::{Applied, ClaimRequest, Claimed};

/// Claims at most one job per run id of the request.
pub(super) async fn claim(conn: &mut SqliteConnection, request: &ClaimRequest) -> Result<Claimed, Fault> {
    let now = request.now;
    let mut facts = request.facts.clone();
    read_facts(conn, &mut facts, now).await?;
    if facts.paused {
        return Ok(Claimed::default());
    }
    sqlx::query(include_str!("sql/claim_promote.sql"))
        .bind(now.as_ms())
        .bind(PROMOTED_MAX)
        .execute(&mut *conn)
        .await?;
    let mut search = Search::new(&facts, request.run_ids.len());
    search.take_heads(read_heads(conn, search.heads_max()).await?);
    while let Some(behind) = search.next() {
        let rows = read_behind(conn, &behind).await?;
        search.take_behind(rows);
    }
    let decided = claim::decide(request, &facts, &search.found())?;
    write(conn, &decided, now).await?;
    Ok(decided.claimed)
}

async fn read_facts(conn: &mut SqliteConnection, facts: &mut Facts, now: Timestamp) -> Result<(), Fault> {
    let row = sqlx::query(include_str!("sql/claim_facts.sql")).fetch_one(conn).await?;
    facts.paused = row.try_get(0)?;
    let holds: Vec<(Account, String, Option<Timestamp>)> = json("holds", row.try_get(1)?)?;
    let holds: Vec<AccountHold> =
        holds.into_iter().map(|(account, reason, until)| AccountHold { account, reason, until }).collect();
    facts.block_held_accounts(&holds, now);
    let live: Vec<(JobId, String, String, NodeId)> = json("live runs", row.try_get(2)?)?;
    facts.live = live
        .into_iter()
        .map(|(job, project, work_item, node)| LiveFacts { job, project, work_item, node })
        .collect();
    Ok(())
}

async fn read_heads(conn: &mut SqliteConnection, limit: usize) -> Result<Vec<Head>, Fault> {
    let query = sqlx::query(include_str!("sql/claim_heads.sql")).bind(bound(limit));
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Head { project: row.try_get("project")?, due: readable(row) })).collect()
}

async fn read_behind(conn: &mut SqliteConnection, behind: &Behind<'_>) -> Result<Vec<Option<Due>>, Fault> {
    let rows = sqlx::query(include_str!("sql/claim_beyond.sql"))
        .bind(behind.project)
        .bind(text_of(behind.stages)?)
        .bind(text_of(behind.taken)?)
        .bind(bound(behind.limit))
        .bind(text_of(behind.own_prompt_stages)?)
        .fetch_all(conn)
        .await?;
    Ok(rows.iter().map(readable).collect())
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Reads a job; one that cannot be read is passed by, so that the others start.
fn readable(row: &SqliteRow) -> Option<Due> {
    due(row).map_err(|fault| rows::warn_unreadable(row, &fault)).ok()
}

fn due(row: &SqliteRow) -> Result<Due, Fault> {
    let mut job = rows::queued_job(row)?;
    job.epoch = Epoch(row.try_get("epoch_seen")?);
    Due::new(job, row.try_get("own_prompt")?, rows::decision(row)?)
        .ok_or_else(|| Fault::refused("a due job is not queued"))
}

/// Writes the starts and, where they changed, the reasons of the others.
async fn write(conn: &mut SqliteConnection, decided: &Decided, now: Timestamp) -> Result<(), Fault> {
    if !decided.changes.is_empty() {
        let applied = apply::apply(conn, &decided.changes.iter().collect::<Vec<_>>()).await?;
        if applied.contains(&Applied::Conflict) {
            return Err(Fault::refused("a due job moved inside the claim's own transaction"));
        }
    }
    if !decided.undecided.is_empty() {
        let gone = text_of(&decided.undecided)?;
        sqlx::query(include_str!("sql/decisions_drop.sql")).bind(gone).execute(&mut *conn).await?;
    }
    if !decided.noted.is_empty() {
        let mut noted = JsonRows::new();
        for (id, waiting) in &decided.noted {
            noted.push(&(id, text_of(&waiting.reason)?, waiting.until, now))?;
        }
        let noted = noted.into_text()?;
        sqlx::query(include_str!("sql/decisions_save.sql")).bind(noted).execute(conn).await?;
    }
    Ok(())
}
