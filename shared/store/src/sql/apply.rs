//! Writes transitions: job rows guarded by what is expected of them, and their runs in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use domain::breaker::Opening;
use domain::transition::RunChange;
use domain::work_item::ItemChange;
use domain::{JobId, JobState, RunId, Status, Timestamp, Transition};

use super::argument::{Argument, Rows, cells};
use super::connection::{Connection, Query, Row, fetch_together, query, statement};
use super::fault::Fault;
use super::items;
use super::leases;
use super::outbox;
use super::rows::{self, JsonRows, text_of};
use super::spending;
use crate::accounts::Hearing;
use crate::ending::Ending;
use crate::{Applied, Change};

/// Writes as many of `changes` as still meet what they expect; answers in their order.
///
/// Changes of one job or work item come after each other, so that the second one sees what the first one did.
pub(super) async fn apply(conn: &mut Connection<'_>, changes: &[&Change]) -> Result<Vec<Applied>, Fault> {
    let mut answers = vec![Applied::Conflict; changes.len()];
    let mut open: Vec<usize> = (0..changes.len()).collect();
    while !open.is_empty() {
        let (mut seen, mut seen_items) = (BTreeSet::new(), BTreeSet::new());
        let (round, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|&index| {
            let item = changes[index].item.as_ref().map(|item| (&item.after.project, &item.after.key));
            seen.insert(changes[index].transition.job) && item.is_none_or(|item| seen_items.insert(item))
        });
        let round = with_items_as_expected(conn, changes, round).await?;
        let round = leases::with_renewals_as_expected(conn, changes, round).await?;
        let spenders = spending::spenders(round.iter().map(|&index| changes[index]))?;
        let (moved, spenders) =
            write_and_ask(conn, round.iter().map(|&index| changes[index]), spenders).await?;
        let done: Vec<usize> =
            round.into_iter().filter(|&index| moved.contains(&changes[index].transition.job)).collect();
        write_runs(conn, done.iter().map(|&index| changes[index]), &spenders).await?;
        outbox::push_of_changes(conn, done.iter().map(|&index| changes[index])).await?;
        let items: Vec<&ItemChange> = done.iter().filter_map(|&index| changes[index].item.as_ref()).collect();
        items::write(conn, &items).await?;
        for index in done {
            answers[index] = Applied::Done;
        }
        open = later;
    }
    Ok(answers)
}

/// Leaves out the changes whose work item was moved by somebody else.
async fn with_items_as_expected(
    conn: &mut Connection<'_>,
    changes: &[&Change],
    mut round: Vec<usize>,
) -> Result<Vec<usize>, Fault> {
    let items: Vec<&ItemChange> = round.iter().filter_map(|&index| changes[index].item.as_ref()).collect();
    let mut met = items::guard(conn, &items).await?.into_iter();
    round.retain(|&index| changes[index].item.is_none() || met.next() == Some(true));
    Ok(round)
}

/// Updates the jobs that meet the guard; says which did.
pub(super) async fn write_jobs(
    conn: &mut Connection<'_>,
    changes: impl Iterator<Item = &Change>,
) -> Result<BTreeSet<JobId>, Fault> {
    Ok(write_and_ask(conn, changes, None).await?.0)
}

/// The same, and the answer to what is asked after it.
async fn write_and_ask(
    conn: &mut Connection<'_>,
    changes: impl Iterator<Item = &Change>,
    asked: Option<Query<'_>>,
) -> Result<(BTreeSet<JobId>, Vec<Row>), Fault> {
    let (mut rows, mut starts) = (Rows::new(), Rows::new());
    for change in changes {
        if is_start_alone(change) {
            let Transition { job, expected, .. } = &change.transition;
            starts.push(cells![*job, expected.status.as_str(), expected.run, expected.revision, change.now]);
        } else {
            rows.push(job_row(change));
        }
    }
    let jobs = Query::of_rows(statement!("apply_jobs"), rows);
    let starts = Query::of_rows(statement!("apply_jobs_start"), starts);
    let [moved, started, answer] = fetch_together([jobs, starts, asked], conn).await?;
    let moved = moved.iter().chain(&started).map(|row| Ok(JobId(row.try_get(0)?)));
    Ok((moved.collect::<Result<_, Fault>>()?, answer))
}

/// Whether the job's run starts and its row says nothing else than before.
fn is_start_alone(change: &Change) -> bool {
    let Transition { expected, after, run, .. } = &change.transition;
    let stays = |start: RunId| {
        matches!(after.state, JobState::Running { run, cancel_requested_at: None, .. } if run == start)
            && expected.status == Status::Running
            && expected.run == Some(start)
    };
    matches!(run, RunChange::Start { run } if stays(*run))
}

fn job_row(change: &Change) -> [Argument<'_>; 16] {
    let transition = &change.transition;
    let (expected, after) = (&transition.expected, &transition.after);
    let state = Columns::of(&after.state, change.now);
    cells![
        transition.job,
        expected.status.as_str(),
        expected.run,
        expected.revision,
        after.state.status().as_str(),
        state.due,
        state.available_at,
        after.state.run(),
        state.cancel_requested_at,
        state.finished_at,
        state.failure_reason,
        after.budgets.attempts,
        after.budgets.transient_attempts,
        after.budgets.infra_attempts,
        after.epoch,
        change.now,
    ]
}

/// A state, column by column; what a state does not have is NULL.
#[derive(Default)]
struct Columns<'a> {
    due: bool,
    available_at: Option<Timestamp>,
    cancel_requested_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    failure_reason: Option<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(state: &'a JobState, now: Timestamp) -> Self {
        match state {
            JobState::Queued { available_at } => {
                Self { due: *available_at <= now, available_at: Some(*available_at), ..Self::default() }
            }
            JobState::Running { cancel_requested_at, .. } => {
                Self { cancel_requested_at: *cancel_requested_at, ..Self::default() }
            }
            JobState::Failed { finished_at, reason } => {
                Self { finished_at: Some(*finished_at), failure_reason: Some(reason), ..Self::default() }
            }
            JobState::Done { finished_at } | JobState::Cancelled { finished_at } => {
                Self { finished_at: Some(*finished_at), ..Self::default() }
            }
        }
    }
}

/// Ends before inserts: a job may lose one live run and gain another in one batch.
async fn write_runs(
    conn: &mut Connection<'_>,
    changes: impl Iterator<Item = &Change>,
    spenders: &[Row],
) -> Result<(), Fault> {
    let changes: Vec<&Change> = changes.collect();
    spending::count(conn, &changes, spenders).await?;
    let (mut ends, mut starts, mut inserts) = (Rows::new(), Rows::new(), Rows::new());
    let mut heard = BTreeMap::new();
    for change in changes {
        let (transition, now) = (&change.transition, change.now);
        match &transition.run {
            RunChange::Keep => {}
            RunChange::Insert(offer) => inserts.push(cells![
                offer.run,
                transition.job,
                transition.after.epoch,
                &offer.node.0,
                offer.incarnation.0,
                &offer.account.0,
                now,
                offer.opening.0,
                offer.probe,
                &offer.resume,
                offer.aside.usd_micros,
                offer.aside.tokens,
            ]),
            RunChange::Start { run } => starts.push(cells![*run, now]),
            RunChange::End { run, class, reason } => {
                ends.push(end_row(*run, class, reason, change)?);
                if Hearing::concerns(change) {
                    heard.insert(run.to_string(), change);
                }
            }
        }
    }
    statement!("apply_runs_end").touch_each_later(ends, conn).await?;
    statement!("apply_runs_start").touch_each_later(starts, conn).await?;
    statement!("apply_runs_insert").execute_each_later(inserts, conn).await?;
    hear(conn, &heard).await
}

/// Writes what the ends of runs say of their accounts; the changes by run.
async fn hear(conn: &mut Connection<'_>, heard: &BTreeMap<String, &Change>) -> Result<(), Fault> {
    if heard.is_empty() {
        return Ok(());
    }
    let runs = text_of(&heard.keys().collect::<Vec<_>>())?;
    let query = query!("accounts_of_runs").bind(runs);
    let mut hearing = Hearing::default();
    for row in query.fetch_all(&mut *conn).await? {
        if let Some(change) = heard.get(row.try_get::<&str, _>("run_id")?) {
            hearing.take(change, rows::account(&row)?, Opening(row.try_get("claimed_under")?));
        }
    }
    let mut changed = JsonRows::new();
    let now = heard.values().map(|change| change.now).max().unwrap_or_default();
    for record in hearing.changed() {
        rows::push_account(&mut changed, record, now)?;
    }
    if !changed.is_empty() {
        query!("accounts_save").bind(changed.into_text()?).execute_later(&mut *conn).await?;
    }
    outbox::push(conn, &hearing.notices).await
}

fn end_row<'a>(
    run: RunId,
    class: &'a str,
    reason: &'a str,
    change: &'a Change,
) -> Result<[Argument<'a>; 16], Fault> {
    let ending = Ending::of(change);
    Ok(cells![
        run,
        ending.ended_at,
        class,
        reason,
        &change.evidence,
        ending.usage.session_id,
        ending.usage.cost_usd,
        ending.usage.turns,
        ending.usage.input_tokens.map(clamped),
        ending.usage.output_tokens.map(clamped),
        ending.exit_code,
        ending.tail,
        clamped(ending.log_bytes),
        ending.usage.cache_read_tokens.map(clamped),
        ending.usage.api_retries,
        text_of(&ending.steps)?,
    ])
}

/// SQLite's integers are signed; nothing real comes near.
fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
