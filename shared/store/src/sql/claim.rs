//! The claim: due jobs in, runs out, in the writer's transaction. What is read and written is [`crate::claim`]'s to say.

use domain::admission::{Facts, LiveFacts, Waiting};
use domain::breaker::Opening;
use domain::budget::{Amount, micros};
use domain::{Account, Epoch, JobId, NodeId, RunState, Timestamp};

use super::connection::{Connection, Row, fetch_together, query};
use super::fault::Fault;
use super::rows::{self, JsonRows, json, text_of};
use super::{apply, spending};
use crate::claim::{self, Behind, Decided, Due, Head, PROMOTED_MAX, PUT_OFF_MAX, Search};
use crate::{Applied, ClaimRequest, Claimed};

/// Claims at most one job per run id of the request.
pub(super) async fn claim(conn: &mut Connection<'_>, request: &ClaimRequest) -> Result<Claimed, Fault> {
    let now = request.now;
    let mut facts = request.facts.clone();
    let fleet_before = read_facts(conn, &mut facts, now).await?;
    if facts.paused {
        return Ok(Claimed::default());
    }
    query!("claim_promote").bind(now.as_ms()).bind(PROMOTED_MAX).execute_later(&mut *conn).await?;
    let mut search = Search::new(&facts, request.run_ids.len());
    search.take_heads(read_heads(conn, search.heads_max()).await?);
    while let Some(behind) = search.next() {
        let rows = read_behind(conn, &behind).await?;
        search.take_behind(rows);
    }
    if facts.wants_probe() {
        search.take_put_off(read_put_off(conn, now).await?);
    }
    let found = search.found();
    let own = claim::own_purses(&facts.books, &found);
    facts.books.spendings.extend(spending::read(&mut *conn, &own).await?);
    let decided = claim::decide(request, &facts, &found)?;
    write(conn, &decided, now).await?;
    if decided.fleet != fleet_before {
        let waits = decided.fleet.as_ref().map(|fleet| text_of(&(&fleet.reason, fleet.until))).transpose()?;
        query!("claim_fleet").bind(waits).execute_later(conn).await?;
    }
    Ok(decided.claimed)
}

/// Reads the facts; gives what the claim before found that any further job waits for.
async fn read_facts(
    conn: &mut Connection<'_>,
    facts: &mut Facts,
    now: Timestamp,
) -> Result<Option<Waiting>, Fault> {
    type Live = (
        (JobId, String, String, NodeId, Account, Opening, Timestamp, String),
        (String, i64, i64, Option<f64>, i64),
    );
    let shared = spending::lookup(&facts.books.shared_purses())?;
    let asked = [Some(query!("claim_facts")), Some(query!("accounts")), shared];
    let [row, accounts, spendings] = fetch_together(asked, conn).await?;
    let row = row.first().ok_or_else(|| Fault::refused("the table meta has no row"))?;
    facts.paused = row.try_get(0)?;
    facts.paused_parts = json("paused parts", row.try_get(3)?)?;
    let live: Vec<Live> = json("live runs", row.try_get(2)?)?;
    let live = live.into_iter().map(|(place, (state, usd_micros, tokens, cost_usd, used_tokens))| {
        let (job, project, work_item, node, account, opening, offered_at, chain) = place;
        let aside = Amount { usd_micros, tokens, runs: i64::from(state == RunState::Offered.as_str()) };
        let used = Amount { usd_micros: cost_usd.map_or(0, micros), tokens: used_tokens, runs: 0 };
        let aside = aside.minus(used).at_least_zero();
        LiveFacts { job, project, work_item, chain, aside, node, account, opening, offered_at }
    });
    facts.live = live.collect();
    let accounts = accounts.iter().map(rows::account).collect::<Result<Vec<_>, _>>()?;
    facts.take_accounts(&accounts, now);
    facts.books.spendings = spending::found(&spendings)?;
    let fleet = row.try_get::<Option<&str>, _>(1)?.map(rows::fleet).transpose()?;
    Ok(fleet)
}

async fn read_heads(conn: &mut Connection<'_>, limit: usize) -> Result<Vec<Head>, Fault> {
    let query = query!("claim_heads").bind(bound(limit));
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Head { project: row.try_get("project")?, due: readable(row) })).collect()
}

async fn read_behind(conn: &mut Connection<'_>, behind: &Behind<'_>) -> Result<Vec<Option<Due>>, Fault> {
    let rows = query!("claim_beyond")
        .bind(behind.project)
        .bind(text_of(behind.stages)?)
        .bind(text_of(behind.taken)?)
        .bind(bound(behind.limit))
        .bind(text_of(behind.own_prompt_stages)?)
        .fetch_all(conn)
        .await?;
    Ok(rows.iter().map(readable).collect())
}

async fn read_put_off(conn: &mut Connection<'_>, now: Timestamp) -> Result<Vec<Due>, Fault> {
    let query = query!("claim_put_off").bind(now.as_ms()).bind(bound(PUT_OFF_MAX));
    Ok(query.fetch_all(conn).await?.iter().filter_map(readable).collect())
}

fn bound(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Reads a job; one that cannot be read is passed by, so that the others start.
fn readable(row: &Row) -> Option<Due> {
    due(row).map_err(|fault| rows::warn_unreadable(row, &fault)).ok()
}

fn due(row: &Row) -> Result<Due, Fault> {
    let mut job = rows::queued_job(row)?;
    job.epoch = Epoch(row.try_get("epoch_seen")?);
    Due::new(
        job,
        row.try_get("own_prompt")?,
        rows::decision(row)?,
        rows::last_try(row)?,
        rows::asked_about(row)?,
    )
    .ok_or_else(|| Fault::refused("a due job is not queued"))
}

/// Writes the starts and, where they changed, the reasons of the others.
async fn write(conn: &mut Connection<'_>, decided: &Decided, now: Timestamp) -> Result<(), Fault> {
    if !decided.changes.is_empty() {
        let applied = apply::apply(conn, &decided.changes.iter().collect::<Vec<_>>()).await?;
        if applied.contains(&Applied::Conflict) {
            return Err(Fault::refused("a due job moved inside the claim's own transaction"));
        }
    }
    if !decided.undecided.is_empty() {
        let gone = text_of(&decided.undecided)?;
        query!("decisions_drop").bind(gone).execute_later(&mut *conn).await?;
    }
    if !decided.noted.is_empty() {
        let mut noted = JsonRows::new();
        for (id, waiting) in &decided.noted {
            noted.push(&(id, text_of(&waiting.reason)?, waiting.until, now))?;
        }
        let noted = noted.into_text()?;
        query!("decisions_save").bind(noted).execute_later(conn).await?;
    }
    Ok(())
}
