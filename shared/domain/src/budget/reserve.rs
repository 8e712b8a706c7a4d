//! What is set aside for a run when it is claimed, so that runs side by side cannot overshoot together.
//!
//! Set aside is what `run_usd` and `run_tokens` say, else the job's limit, else an estimate. Where less is left, the rest is,
//! but only while nothing else lives on it. What is set aside counts as spent until the run ends, or has spent it.

use std::collections::BTreeMap;

use super::{Amount, Exceeded, Payer, Purse, Scope, Spending, Terms, USD_MICROS, Unit, day_ends, day_of};
use crate::Timestamp;
use crate::admission::{WaitReason, Waiting};

/// What is set aside for a run of which neither `run_…` nor `job_…` says more.
pub const ESTIMATE: Amount = Amount { usd_micros: USD_MICROS, tokens: 1_000_000, runs: 1 };

/// The limits and what is spent of them, as of the claim's transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Books {
    /// The limits.
    pub terms: Terms,
    /// The instant.
    pub now: Timestamp,
    /// What is kept of each purse that is limited and was spent of.
    pub spendings: BTreeMap<Purse, Spending>,
    /// What is set aside for runs that live.
    reserved: BTreeMap<Purse, Amount>,
}

impl Books {
    /// Begins with limits alone.
    pub fn new(terms: Terms, now: Timestamp) -> Self {
        Self { terms, now, ..Self::default() }
    }

    /// The limited purses that concern a whole project, of all projects.
    pub fn shared_purses(&self) -> Vec<Purse> {
        let day = day_of(self.now);
        let of_projects = self.terms.projects.keys().flat_map(|project| {
            let payer = Payer { job: crate::JobId(0), project, work_item: "", chain: "" };
            self.limited(payer, &day).filter(|purse| !purse.scope.needs_person()).collect::<Vec<_>>()
        });
        let mut purses: Vec<Purse> = of_projects.collect();
        purses.sort_unstable();
        purses.dedup();
        purses
    }

    /// The limited purses that a job pays into alone.
    pub fn own_purses(&self, payer: Payer<'_>) -> Vec<Purse> {
        self.limited(payer, "").filter(|purse| purse.scope.needs_person()).collect()
    }

    /// Takes in what is set aside for a run that lives.
    pub fn hold(&mut self, payer: Payer<'_>, aside: Amount) {
        let aside = aside.at_least_zero();
        let day = day_of(self.now);
        let purses: Vec<Purse> = self.limited(payer, &day).collect();
        for purse in purses {
            let held = self.reserved.entry(purse).or_default();
            *held = held.plus(aside);
        }
    }

    /// What keeps all jobs of a project from starting; `None`: nothing.
    pub fn check_project(&self, project: &str) -> Result<(), Waiting> {
        let day = day_of(self.now);
        let payer = Payer { job: crate::JobId(0), project, work_item: "", chain: "" };
        for scope in [Scope::Project, Scope::ProjectDay, Scope::Day] {
            let purse = payer.purse(scope, &day);
            let limit = self.terms.limit(project, scope);
            if let Some(spent) = self.spending(&purse).spent_out(&purse, limit) {
                return Err(self.refuse(spent));
            }
        }
        Ok(())
    }

    /// What is to be set aside for a run of this job.
    ///
    /// # Errors
    /// A budget that is spent, or of which what is left is set aside for others.
    pub fn check(&self, payer: Payer<'_>) -> Result<Amount, Waiting> {
        self.check_project(payer.project)?;
        let day = day_of(self.now);
        let (run, job) = (self.terms.of_run(payer.project), self.terms.limit(payer.project, Scope::Job));
        let wanted = run.or(job);
        let mut aside = Amount { runs: 1, ..Amount::default() };
        for purse in self.limited(payer, &day) {
            let limit = self.terms.limit(payer.project, purse.scope);
            if let Some(spent) = self.spending(&purse).spent_out(&purse, limit) {
                return Err(self.refuse(spent));
            }
        }
        for unit in Unit::ALL {
            let mut least = wanted.of(unit).filter(|_| unit != Unit::Runs).unwrap_or(ESTIMATE.of(unit));
            let mut limited = false;
            for purse in self.limited(payer, &day) {
                let limit = self.terms.limit(payer.project, purse.scope);
                let Some(left) = self.spending(&purse).left(limit, unit) else { continue };
                limited = true;
                let held = self.reserved.get(&purse).copied().unwrap_or_default().of(unit);
                let free = left.saturating_sub(held);
                if free >= least {
                    continue;
                }
                if held > 0 {
                    return Err(WaitReason::BudgetReserved { purse }.open_ended());
                }
                least = free;
            }
            if limited || run.of(unit).is_some() {
                aside.set(unit, least);
            }
        }
        Ok(aside)
    }

    fn limited<'a>(&'a self, payer: Payer<'a>, day: &'a str) -> impl Iterator<Item = Purse> + 'a {
        let is_limited = move |scope: &Scope| !self.terms.limit(payer.project, *scope).is_open();
        Scope::ALL.into_iter().filter(is_limited).map(move |scope| payer.purse(scope, day))
    }

    fn spending(&self, purse: &Purse) -> Spending {
        self.spendings.get(purse).copied().unwrap_or_default()
    }

    fn refuse(&self, exceeded: Exceeded) -> Waiting {
        let is_daily = matches!(exceeded.purse.scope, Scope::Day | Scope::ProjectDay);
        let until = is_daily.then(|| day_ends(self.now));
        Waiting { reason: WaitReason::BudgetSpent { exceeded }, until }
    }
}
