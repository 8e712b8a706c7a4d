//! One batch inside the writer's transaction: one statement per kind of operation.

use domain::account::AccountRecord;
use domain::alert::Notice;
use domain::runner::Node;
use domain::{Account, Alert, Timestamp};

use super::connection::{Connection, query};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{self, JsonRows};
use super::{
    accept, apply, claim, fleet, items, leases, outbox, outside, retention, sanitize, spending, views,
};
use crate::Change;
use crate::intake::{Item, ItemAnswer};

/// Runs all of `requests`, which are concurrent: any order among them is right. Claims come last, since what the
/// others commit can be claimed at once.
pub(crate) async fn run(conn: &mut Connection<'_>, requests: &[&Request]) -> Result<Vec<Answer>, Fault> {
    let sorted = Sorted::from(requests);
    let mut answers: Vec<Option<Answer>> = Vec::new();
    answers.resize_with(requests.len(), || None);

    save_nodes(conn, &sorted.nodes).await?;
    save_late_outcomes(conn, &sorted.late).await?;
    for &(index, request) in &sorted.single {
        answers[index] = single(conn, request).await?;
    }
    if !sorted.changes.is_empty() {
        let changes: Vec<&Change> = sorted.changes.iter().map(|(_, change)| *change).collect();
        let applied = apply::apply(conn, &changes).await?;
        for ((index, _), applied) in sorted.changes.iter().zip(applied) {
            answers[*index] = Some(Answer::Applied(applied));
        }
    }
    if !sorted.items.is_empty() {
        let items: Vec<Item<'_>> = sorted.items.iter().map(|(_, item)| *item).collect();
        let taken = accept::accept(conn, &items).await?;
        for ((index, _), answer) in sorted.items.iter().zip(taken) {
            answers[*index] = Some(match answer {
                ItemAnswer::Delivery(accepted) => Answer::Accepted(accepted),
                ItemAnswer::Job(enqueued) => Answer::Enqueued(enqueued),
            });
        }
    }
    for (index, request) in sorted.claims {
        answers[index] = Some(Answer::Claimed(claim::claim(conn, request).await?));
    }
    Ok(answers.into_iter().map(|answer| answer.unwrap_or(Answer::Done)).collect())
}

/// The requests by kind, each with its place in the batch.
#[derive(Default)]
struct Sorted<'a> {
    nodes: Vec<&'a Node>,
    late: Vec<&'a Request>,
    single: Vec<(usize, &'a Request)>,
    changes: Vec<(usize, &'a Change)>,
    items: Vec<(usize, Item<'a>)>,
    claims: Vec<(usize, &'a crate::ClaimRequest)>,
}

impl<'a> Sorted<'a> {
    fn from(requests: &[&'a Request]) -> Self {
        let mut sorted = Self::default();
        for (index, &request) in requests.iter().enumerate() {
            match request {
                Request::Accept(delivery) => sorted.items.push((index, Item::Delivery(delivery))),
                Request::Enqueue(job, now) => sorted.items.push((index, Item::Job(job, *now))),
                Request::Claim(claim) => sorted.claims.push((index, claim)),
                Request::Apply(change) => sorted.changes.push((index, change)),
                Request::LateOutcome(..) => sorted.late.push(request),
                Request::SaveNode(node) => sorted.nodes.push(node),
                Request::SetPaused(..)
                | Request::ResumeAccount(..)
                | Request::ResetBreaker(..)
                | Request::DeclareLost(..)
                | Request::NoteGeneration(_)
                | Request::NoteTick(..)
                | Request::NoteConfig(_)
                | Request::Renew(..)
                | Request::Fleet(_)
                | Request::Outbox(_)
                | Request::Outside(_)
                | Request::Purses(_)
                | Request::Retention(_)
                | Request::Views(_)
                | Request::Decide(..)
                | Request::Sanitize(_) => {
                    sorted.single.push((index, request));
                }
            }
        }
        sorted
    }
}

async fn save_nodes(conn: &mut Connection<'_>, nodes: &[&Node]) -> Result<(), Fault> {
    if nodes.is_empty() {
        return Ok(());
    }
    let (mut rows, mut accounts) = (JsonRows::new(), JsonRows::new());
    for node in nodes {
        let labels =
            serde_json::to_string(&node.labels).map_err(|error| Fault::refused(error.to_string()))?;
        let containment =
            serde_json::to_string(&node.containment).map_err(|error| Fault::refused(error.to_string()))?;
        rows.push(&(
            &node.id,
            node.incarnation,
            &node.boot_id,
            &node.advertise_url,
            node.state,
            node.slots,
            labels,
            &node.account,
            node.preflight.ok,
            &node.preflight.version,
            node.preflight.checked_at,
            &node.preflight.error,
            node.last_seen_at,
            &node.preflight.program,
            &node.preflight.note,
            containment,
        ))?;
        accounts.push(&(&node.account, node.last_seen_at))?;
    }
    query!("nodes_save").bind(rows.into_text()?).execute_later(&mut *conn).await?;
    query!("accounts_ensure").bind(accounts.into_text()?).execute_later(conn).await?;
    Ok(())
}

async fn save_late_outcomes(conn: &mut Connection<'_>, requests: &[&Request]) -> Result<(), Fault> {
    let mut rows = JsonRows::new();
    for request in requests {
        if let Request::LateOutcome(run, outcome, now) = request {
            let outcome =
                serde_json::to_string(outcome).map_err(|error| Fault::refused(error.to_string()))?;
            rows.push(&(run, outcome, now))?;
        }
    }
    if !rows.is_empty() {
        let rows = rows.into_text()?;
        query!("late_outcomes_save").bind(rows).execute_later(conn).await?;
    }
    Ok(())
}

async fn account_row(conn: &mut Connection<'_>, account: &Account) -> Result<Option<AccountRecord>, Fault> {
    let query = query!("account").bind(&account.0);
    Ok(query.fetch_optional(conn).await?.as_ref().map(rows::account).transpose()?)
}

async fn save_account(
    conn: &mut Connection<'_>,
    record: &AccountRecord,
    alert: Option<Alert>,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut row = JsonRows::new();
    rows::push_account(&mut row, record, now)?;
    query!("accounts_save").bind(row.into_text()?).execute_later(&mut *conn).await?;
    let notices: Vec<Notice> = alert.into_iter().map(|alert| Notice::new(alert, now)).collect();
    outbox::push(conn, &notices).await
}

/// Operations that come one by one: by a person's hand, or now and then.
async fn single(conn: &mut Connection<'_>, request: &Request) -> Result<Option<Answer>, Fault> {
    match request {
        Request::SetPaused(paused, now) => {
            let query = query!("paused_write");
            query.bind(*paused).bind(now.as_ms()).execute(conn).await?;
            Ok(Some(Answer::Done))
        }
        Request::ResumeAccount(account, now) => {
            let Some(mut record) = account_row(conn, account).await? else {
                return Ok(Some(Answer::Found(false)));
            };
            let alert = record.resume(*now);
            let was_held = alert.is_some();
            save_account(conn, &record, alert, *now).await?;
            Ok(Some(Answer::Found(was_held)))
        }
        Request::ResetBreaker(account, now) => {
            let Some(mut record) = account_row(conn, account).await? else {
                return Ok(Some(Answer::Found(false)));
            };
            let alert = record.reset_breaker();
            save_account(conn, &record, alert, *now).await?;
            Ok(Some(Answer::Found(true)))
        }
        Request::DeclareLost(node, incarnation, now) => {
            let query = query!("lost_runner_save");
            query.bind(&node.0).bind(incarnation.0).bind(now.as_ms()).execute(conn).await?;
            Ok(Some(Answer::Done))
        }
        Request::NoteGeneration(generation) => {
            let query = query!("generation_note");
            query.bind(*generation).execute(conn).await?;
            Ok(Some(Answer::Done))
        }
        Request::NoteConfig(error) => {
            let query = query!("config_error_write");
            query.bind(error.as_deref()).execute(conn).await?;
            Ok(Some(Answer::Done))
        }
        Request::NoteTick(now, reaped) => {
            let query = query!("reaper_tick");
            query.bind(now.as_ms()).bind(*reaped).execute(&mut *conn).await?;
            query!("leases_drop").execute(conn).await?;
            Ok(Some(Answer::Done))
        }
        Request::Renew(node, held) => Ok(Some(Answer::Renewed(leases::renew(conn, node, held).await?))),
        Request::Fleet(ask) => fleet::answer(conn, ask).await.map(Some),
        Request::Outbox(ask) => Ok(Some(Answer::Outbox(outbox::answer(conn, ask).await?))),
        Request::Outside(ask) => outside::answer(conn, ask).await.map(Some),
        Request::Purses(ask) => Ok(Some(spending::answer(conn, ask).await?)),
        Request::Retention(ask) => Ok(Some(retention::answer(conn, ask).await?)),
        Request::Views(ask) => Ok(Some(views::answer(conn, ask).await?)),
        Request::Decide(change, audit) => {
            Ok(Some(Answer::Applied(items::decide(conn, change, audit).await?)))
        }
        Request::Sanitize(rules) => Ok(Some(Answer::Repaired(sanitize::sanitize(conn, rules).await?))),
        Request::Accept(_)
        | Request::Enqueue(..)
        | Request::Claim(_)
        | Request::Apply(_)
        | Request::LateOutcome(..)
        | Request::SaveNode(_) => Ok(None),
    }
}
