//! Which runs are stopped while they run, because a budget is spent.

use std::collections::BTreeMap;

use super::{Amount, Exceeded, Payer, Purse, Scope, Spending, Terms, Unit, day_of};
use crate::{RunId, Timestamp};

/// A run that lives, as far as its spending goes.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// The run.
    pub run: RunId,
    /// Whose spending it is.
    pub payer: Payer<'a>,
    /// What was set aside for it.
    pub aside: Amount,
    /// What it has used.
    pub used: Amount,
}

impl Running<'_> {
    /// What it may still use of what was set aside.
    pub fn outstanding(&self) -> Amount {
        self.aside.minus(self.used).at_least_zero()
    }
}

/// The limited purses that these runs pay into.
pub fn purses(terms: &Terms, runs: &[Running<'_>], now: Timestamp) -> Vec<Purse> {
    let day = day_of(now);
    let of_run = |run: &Running<'_>| {
        let limited = |scope: &Scope| !terms.limit(run.payer.project, *scope).is_open();
        Scope::ALL.into_iter().filter(limited).map(|scope| run.payer.purse(scope, &day)).collect::<Vec<_>>()
    };
    let mut purses: Vec<Purse> = runs.iter().flat_map(of_run).collect();
    purses.sort_unstable();
    purses.dedup();
    purses
}

/// The runs to stop, each with the budget that is spent.
///
/// A run is stopped when a purse it pays into has nothing left, or when it has used more than was set aside for it and what
/// is left is set aside for others. Who keeps within what was set aside is not stopped for another's greed while anything
/// is left. Runs are counted when they start, so that unit stops none.
pub fn stops(
    terms: &Terms,
    runs: &[Running<'_>],
    spendings: &BTreeMap<Purse, Spending>,
    now: Timestamp,
) -> Vec<(RunId, Exceeded)> {
    let day = day_of(now);
    let mut outstanding: BTreeMap<Purse, Amount> = BTreeMap::new();
    for run in runs {
        for scope in Scope::ALL {
            let sum = outstanding.entry(run.payer.purse(scope, &day)).or_default();
            *sum = sum.plus(run.outstanding());
        }
    }
    runs.iter()
        .filter_map(|run| Some((run.run, exceeded(terms, run, &outstanding, spendings, &day)?)))
        .collect()
}

fn exceeded(
    terms: &Terms,
    run: &Running<'_>,
    outstanding: &BTreeMap<Purse, Amount>,
    spendings: &BTreeMap<Purse, Spending>,
    day: &str,
) -> Option<Exceeded> {
    let units = [Unit::Usd, Unit::Tokens];
    for scope in Scope::ALL {
        let (purse, limit) = (run.payer.purse(scope, day), terms.limit(run.payer.project, scope));
        let spending = spendings.get(&purse).copied().unwrap_or_default();
        let all = outstanding.get(&purse).copied().unwrap_or_default();
        for unit in units {
            let Some(left) = spending.left(limit, unit) else { continue };
            let of_others = all.of(unit) - run.outstanding().of(unit);
            let is_over = run.used.of(unit) > run.aside.of(unit);
            if left <= 0 || (is_over && left <= of_others) {
                return Some(spending.exceeded(&purse, limit, unit));
            }
        }
    }
    None
}
