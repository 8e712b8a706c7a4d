//! Purses: what was spent of them, written with the runs that spend it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::account::AccountRecord;
use domain::budget::{Amount, Exceeded, Purse, Spending};
use domain::run::RunUsage;
use domain::transition::RunChange;
use domain::work_item::ItemChange;
use domain::{RunId, Timestamp};

use super::argument::{Rows, cells};
use super::connection::{Connection, Query, Row, fetch_together, query, statement};
use super::fault::Fault;
use super::request::{Answer, Request};
use super::rows::{self, JsonRows, text_of};
use super::{SqlStore, mismatch, views};
use crate::purses::{Ledger, Purses};
use crate::{Audit, Change, Error, Spender, UsageNote};

/// What the writer may be asked of purses.
#[derive(Debug)]
pub(crate) enum Ask {
    Note(Vec<UsageNote>, Timestamp),
    Stop(RunId, Exceeded),
    Raise(Purse, Amount, Audit),
}

/// Does what is asked, in the writer's transaction.
pub(super) async fn answer(conn: &mut Connection<'_>, ask: &Ask) -> Result<Answer, Fault> {
    match ask {
        Ask::Note(notes, now) => note(conn, notes, *now).await.map(|()| Answer::Done),
        Ask::Stop(run, exceeded) => {
            let query = query!("stop_order").bind(run.to_string());
            let ordered = query.bind(text_of(exceeded)?).execute(conn).await?;
            Ok(Answer::Found(ordered > 0))
        }
        Ask::Raise(purse, more, audit) => raise(conn, purse, *more, audit).await.map(|()| Answer::Done),
    }
}

async fn note(conn: &mut Connection<'_>, notes: &[UsageNote], now: Timestamp) -> Result<(), Fault> {
    let runs: Vec<RunId> = notes.iter().map(|note| note.run).collect();
    let spenders = spenders_of(conn, &runs).await?;
    let (mut ledger, mut rows) = (Ledger::default(), JsonRows::new());
    let mut accounts: BTreeMap<_, AccountRecord> = BTreeMap::new();
    for note in notes {
        let Some(spender) = spenders.get(&note.run) else { continue };
        let more = Amount::of_usage(&note.usage).minus(spender.used);
        ledger.add(spender.payer(), more, now);
        push_usage(&mut rows, note.run, &note.usage)?;
        if !note.windows.is_empty() {
            let account = accounts.entry(spender.account.clone());
            let record = account.or_insert_with(|| AccountRecord::new(spender.account.clone()));
            record.see(&note.windows);
        }
    }
    if !rows.is_empty() {
        let rows = rows.into_text()?;
        query!("usage_note").bind(rows).execute_later(&mut *conn).await?;
    }
    add(conn, &ledger).await?;
    see_windows(conn, accounts, now).await
}

/// Adds the windows that runs saw to what is known of their accounts.
async fn see_windows(
    conn: &mut Connection<'_>,
    seen: BTreeMap<domain::Account, AccountRecord>,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut changed = JsonRows::new();
    for (account, seen) in seen {
        let query = query!("account").bind(&account.0);
        let known = query.fetch_optional(&mut *conn).await?.as_ref().map(rows::account).transpose()?;
        let before = known.unwrap_or_else(|| AccountRecord::new(account));
        let mut record = before.clone();
        record.see(&seen.windows);
        if record != before {
            rows::push_account(&mut changed, &record, now)?;
        }
    }
    if !changed.is_empty() {
        let changed = changed.into_text()?;
        query!("accounts_save").bind(changed).execute_later(conn).await?;
    }
    Ok(())
}

fn push_usage(rows: &mut JsonRows, run: RunId, usage: &RunUsage) -> Result<(), Fault> {
    let clamped = |tokens: Option<u64>| tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    rows.push(&(
        run,
        usage.cost_usd,
        usage.turns,
        clamped(usage.input_tokens),
        clamped(usage.output_tokens),
        clamped(usage.cache_read_tokens),
        usage.api_retries,
    ))?;
    Ok(())
}

async fn raise(conn: &mut Connection<'_>, purse: &Purse, more: Amount, audit: &Audit) -> Result<(), Fault> {
    query!("spending_raise")
        .bind(purse.scope.as_str())
        .bind(&purse.key)
        .bind(more.usd_micros)
        .bind(more.tokens)
        .bind(more.runs)
        .execute(&mut *conn)
        .await?;
    let subject = format!("{} {}", purse.scope.as_str(), purse.key);
    views::save_act(conn, &audit.act(&subject, None)).await
}

/// Asks whose spending the runs are that start or end, where any do; before their rows change.
pub(super) fn spenders<'c, 'q>(
    changes: impl Iterator<Item = &'c Change>,
) -> Result<Option<Query<'q>>, Fault> {
    let runs: BTreeSet<RunId> = changes.filter_map(moved_run).collect();
    if runs.is_empty() {
        return Ok(None);
    }
    Ok(Some(query!("spenders_of").bind(text_of(&runs)?)))
}

/// The run that a change starts or ends.
fn moved_run(change: &Change) -> Option<RunId> {
    match &change.transition.run {
        RunChange::Start { run } => Some(*run),
        RunChange::End { run, .. } if change.outcome.is_some() => Some(*run),
        RunChange::End { .. } | RunChange::Insert(_) | RunChange::Keep => None,
    }
}

/// Counts the runs that start, and settles those that end; `found` is whose they are.
pub(super) async fn count(
    conn: &mut Connection<'_>,
    changes: &[&Change],
    found: &[Row],
) -> Result<(), Fault> {
    let moves: BTreeMap<RunId, &Change> =
        changes.iter().filter_map(|change| Some((moved_run(change)?, *change))).collect();
    let mut ledger = Ledger::default();
    for (run, spender) in &by_run(found)? {
        let Some(change) = moves.get(run) else { continue };
        match &change.transition.run {
            RunChange::Start { .. } => {
                ledger.add(spender.payer(), Amount { runs: 1, ..Amount::default() }, change.now);
            }
            RunChange::End { .. } | RunChange::Insert(_) | RunChange::Keep => {
                ledger.settle(spender.payer(), spender.used, change);
            }
        }
    }
    add(conn, &ledger).await
}

/// What the items that passed a stage spend from here on is counted anew.
pub(super) async fn mark_passes(conn: &mut Connection<'_>, changes: &[&ItemChange]) -> Result<(), Fault> {
    let passed = changes.iter().filter(|change| change.passed);
    let keys: Vec<String> = passed.map(|change| change.after.purse().key).collect();
    if !keys.is_empty() {
        let query = query!("spending_passed").bind(text_of(&keys)?);
        query.execute(conn).await?;
    }
    Ok(())
}

async fn spenders_of(conn: &mut Connection<'_>, runs: &[RunId]) -> Result<BTreeMap<RunId, Spender>, Fault> {
    let query = query!("spenders_of").bind(text_of(&runs)?);
    by_run(&query.fetch_all(conn).await?)
}

fn by_run(rows: &[Row]) -> Result<BTreeMap<RunId, Spender>, Fault> {
    rows.iter().map(|row| Ok(rows::spender(row).map(|spender| (spender.run, spender))?)).collect()
}

async fn add(conn: &mut Connection<'_>, ledger: &Ledger) -> Result<(), Fault> {
    let mut rows = Rows::new();
    for (purse, amount) in &ledger.sums {
        rows.push(cells![
            purse.scope.as_str(),
            &purse.key,
            amount.usd_micros,
            amount.tokens,
            amount.runs,
            ledger.at,
        ]);
    }
    statement!("spending_add").execute_each_later(rows, conn).await?;
    Ok(())
}

/// Asks for purses, where there are any to ask for.
pub(super) fn lookup<'q>(purses: &[Purse]) -> Result<Option<Query<'q>>, Error> {
    if purses.is_empty() {
        return Ok(None);
    }
    let mut asked = JsonRows::new();
    for purse in purses {
        asked.push(&(purse.scope.as_str(), &purse.key))?;
    }
    Ok(Some(query!("spending_read").bind(asked.into_text()?)))
}

/// What `lookup` found.
pub(super) fn found(rows: &[Row]) -> Result<BTreeMap<Purse, Spending>, Error> {
    rows.iter().map(rows::spending).collect()
}

/// Reads purses; none are asked for without a statement.
pub(super) async fn read(
    conn: &mut Connection<'_>,
    purses: &[Purse],
) -> Result<BTreeMap<Purse, Spending>, Error> {
    let [rows] = fetch_together([lookup(purses)?], conn).await?;
    found(&rows)
}

#[async_trait]
impl Purses for SqlStore {
    async fn note_usage(&self, notes: Vec<UsageNote>, now: Timestamp) -> Result<(), Error> {
        self.ask(Request::Purses(Ask::Note(notes, now))).await.map(|_| ())
    }

    async fn order_stop(&self, run: RunId, exceeded: Exceeded) -> Result<bool, Error> {
        let answer = self.ask(Request::Purses(Ask::Stop(run, exceeded))).await?;
        if let Answer::Found(ordered) = answer { Ok(ordered) } else { Err(mismatch(&answer)) }
    }

    async fn raise_budget(&self, purse: Purse, more: Amount, audit: Audit) -> Result<(), Error> {
        self.ask(Request::Purses(Ask::Raise(purse, more, audit))).await.map(|_| ())
    }

    async fn spendings(&self, purses: Vec<Purse>) -> Result<BTreeMap<Purse, Spending>, Error> {
        let mut reader = self.reader().await?;
        let spendings = read(&mut reader.connection(), &purses).await?;
        reader.finish().await?;
        Ok(spendings)
    }

    async fn spenders(&self) -> Result<Vec<Spender>, Error> {
        let query = query!("spenders");
        self.fetch_all(query).await?.iter().map(rows::spender).collect()
    }
}
