//! What a store does for budgets; part of every [`crate::Store`]. What runs are started and how they end is counted by
//! [`crate::Store::apply`] itself; what follows from a spent budget is `domain::budget`'s to say.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::budget::{Amount, Exceeded, Payer, Purse, Scope, Spending, day_of};
use domain::{RunId, Timestamp};

use crate::records::{Audit, Spender, UsageNote};
use crate::{Change, Error};

/// Purses: what was spent of them, and what is being spent.
#[async_trait]
pub trait Purses {
    /// Keeps what live runs have used so far, adds the difference to what was spent, and keeps the windows they saw with
    /// their accounts. A run that has ended is passed by.
    async fn note_usage(&self, notes: Vec<UsageNote>, now: Timestamp) -> Result<(), Error>;

    /// Keeps that a live run is to be ended for the sake of a budget; false when that is known or it has ended.
    async fn order_stop(&self, run: RunId, exceeded: Exceeded) -> Result<bool, Error>;

    /// Raises the limit of a purse at a person's word, with its audit.
    async fn raise_budget(&self, purse: Purse, more: Amount, audit: Audit) -> Result<(), Error>;

    /// Reads purses; one of which nothing was spent is left out.
    async fn spendings(&self, purses: Vec<Purse>) -> Result<BTreeMap<Purse, Spending>, Error>;

    /// Reads the runs that live, with whose spending they are.
    async fn spenders(&self) -> Result<Vec<Spender>, Error>;
}

/// What is to be added to purses, whatever keeps them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) sums: BTreeMap<Purse, Amount>,
    /// When the last of it was spent.
    pub(crate) at: Timestamp,
}

impl Ledger {
    /// Adds an amount to every purse of a run, those of the day at `now` among them.
    pub(crate) fn add(&mut self, payer: Payer<'_>, amount: Amount, now: Timestamp) {
        if amount.is_zero() {
            return;
        }
        let day = day_of(now);
        self.at = self.at.max(now);
        for scope in Scope::ALL {
            let sum = self.sums.entry(payer.purse(scope, &day)).or_default();
            *sum = sum.plus(amount);
        }
    }

    /// Adds what the end of a run says beyond what was noted of it.
    pub(crate) fn settle(&mut self, payer: Payer<'_>, noted: Amount, change: &Change) {
        let Some(outcome) = &change.outcome else { return };
        let last = Amount::of_usage(&outcome.report.usage);
        let kept = |said: bool, last: i64, noted: i64| if said { last.saturating_sub(noted) } else { 0 };
        let usage = &outcome.report.usage;
        let more = Amount {
            usd_micros: kept(usage.cost_usd.is_some(), last.usd_micros, noted.usd_micros),
            tokens: kept(
                usage.input_tokens.is_some() && usage.output_tokens.is_some(),
                last.tokens,
                noted.tokens,
            ),
            runs: 0,
        };
        self.add(payer, more, change.now);
    }
}
