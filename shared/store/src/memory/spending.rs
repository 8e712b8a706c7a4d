//! Purses on the tables: what was spent of them, written with the runs that spend it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::budget::{Amount, Exceeded, Purse, Spending};
use domain::run::RunUsage;
use domain::{Run, RunId, RunState, Timestamp};

use super::MemoryStore;
use super::tables::Tables;
use crate::purses::{Ledger, Purses};
use crate::{Audit, Change, Error, Spender, UsageNote};

impl Tables {
    pub(super) fn read_spendings(&self, purses: &[Purse]) -> BTreeMap<Purse, Spending> {
        purses.iter().filter_map(|purse| Some((purse.clone(), *self.spendings.get(purse)?))).collect()
    }

    pub(super) fn count_start(&mut self, run: &Run, now: Timestamp) {
        let mut ledger = Ledger::default();
        if let Some(row) = self.job(run.job) {
            ledger.add(row.job.payer(), Amount { runs: 1, ..Amount::default() }, now);
        }
        self.add(ledger);
    }

    pub(super) fn settle(&mut self, run: &Run, change: &Change) {
        let mut ledger = Ledger::default();
        if let Some(row) = self.job(run.job) {
            ledger.settle(row.job.payer(), Amount::of_usage(&run.usage), change);
        }
        self.add(ledger);
    }

    pub(super) fn mark_pass(&mut self, purse: &Purse) {
        if self.spendings.contains_key(purse) {
            self.put_spending(purse.clone(), |kept| kept.at_last_pass = kept.spent);
        }
    }

    fn add(&mut self, ledger: Ledger) {
        for (purse, amount) in ledger.sums {
            self.touched.insert(purse.clone(), ledger.at);
            self.put_spending(purse, |kept| kept.spent = kept.spent.plus(amount));
        }
    }

    fn note(&mut self, note: &UsageNote, now: Timestamp) -> Result<(), Error> {
        let live = self.run(note.run).filter(|run| run.state != RunState::Ended).cloned();
        let Some(run) = live else { return Ok(()) };
        let mut ledger = Ledger::default();
        if let Some(row) = self.job(run.job) {
            let more = Amount::of_usage(&note.usage).minus(Amount::of_usage(&run.usage));
            ledger.add(row.job.payer(), more, now);
        }
        self.add(ledger);
        self.accounts.entry(&run.account).see(&note.windows);
        let mut usage = merged(&run.usage, note.usage.clone());
        usage.session_id.clone_from(&run.usage.session_id);
        self.put_run(Run { usage, ..run })
    }

    fn spender(&self, run: &Run) -> Option<Spender> {
        let job = &self.job(run.job)?.job;
        Some(Spender {
            run: run.id,
            job: job.id,
            project: job.project.clone(),
            work_item: job.work_item.clone(),
            chain: job.origin.chain.clone(),
            account: run.account.clone(),
            aside: run.aside,
            used: Amount::of_usage(&run.usage),
            stop: run.stop.clone(),
        })
    }
}

/// What is known of a run's usage after `news`: what it does not say stays.
pub(super) fn merged(known: &RunUsage, news: RunUsage) -> RunUsage {
    RunUsage {
        session_id: news.session_id.or_else(|| known.session_id.clone()),
        cost_usd: news.cost_usd.or(known.cost_usd),
        turns: news.turns.or(known.turns),
        input_tokens: news.input_tokens.or(known.input_tokens),
        output_tokens: news.output_tokens.or(known.output_tokens),
        cache_read_tokens: news.cache_read_tokens.or(known.cache_read_tokens),
        api_retries: news.api_retries.max(known.api_retries),
    }
}

#[async_trait]
impl Purses for MemoryStore {
    async fn note_usage(&self, notes: Vec<UsageNote>, now: Timestamp) -> Result<(), Error> {
        self.write("note_usage", |tables| notes.iter().try_for_each(|note| tables.note(note, now)))
    }

    async fn order_stop(&self, run: RunId, exceeded: Exceeded) -> Result<bool, Error> {
        self.write("order_stop", |tables| {
            let live = tables.run(run).filter(|run| run.state != RunState::Ended && run.stop.is_none());
            let Some(run) = live.cloned() else { return Ok(false) };
            tables.put_run(Run { stop: Some(exceeded), ..run })?;
            Ok(true)
        })
    }

    async fn raise_budget(&self, purse: Purse, more: Amount, audit: Audit) -> Result<(), Error> {
        self.write("raise_budget", |tables| {
            let subject = format!("{} {}", purse.scope.as_str(), purse.key);
            tables.put_spending(purse, |kept| kept.raised = kept.raised.plus(more));
            tables.note_act(audit.act(&subject, None));
            Ok(())
        })
    }

    async fn spendings(&self, purses: Vec<Purse>) -> Result<BTreeMap<Purse, Spending>, Error> {
        self.read(|tables| tables.read_spendings(&purses))
    }

    async fn spenders(&self) -> Result<Vec<Spender>, Error> {
        self.read(|tables| tables.live().filter_map(|run| tables.spender(run)).collect())
    }
}
