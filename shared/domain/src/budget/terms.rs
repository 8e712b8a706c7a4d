//! What `orch.toml` says of budgets.

use std::collections::BTreeMap;

use super::{Limit, Scope};

/// Runs that may follow from one cause where `chain_runs` does not say: a loop ends, the longest honest chain does not get
/// there.
pub const CHAIN_RUNS_MAX: i64 = 200;

/// The limits of one `[budget]` table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// What is set aside for one run.
    pub run: Limit,
    /// Of a job.
    pub job: Limit,
    /// Of a work item.
    pub item: Limit,
    /// Of a chain of causes.
    pub chain: Limit,
    /// Of a project, ever; only in a project's own table.
    pub project: Limit,
    /// Of a day: in a project's table that project's, else that of all.
    pub day: Limit,
}

impl Budget {
    /// A project's limits: its own, and where they say nothing those of all projects.
    #[must_use]
    pub fn of_project(self, all: Self) -> Self {
        let built_in = Limit { runs: Some(CHAIN_RUNS_MAX), ..Limit::default() };
        Self {
            run: self.run.or(all.run),
            job: self.job.or(all.job),
            item: self.item.or(all.item),
            chain: self.chain.or(all.chain).or(built_in),
            project: self.project,
            day: self.day,
        }
    }
}

/// All limits, as admission needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Of a day, all projects together.
    pub day: Limit,
    /// Of each project, those of all projects taken in.
    pub projects: BTreeMap<String, Budget>,
}

impl Terms {
    /// The limit of a project's purse of this kind.
    pub fn limit(&self, project: &str, scope: Scope) -> Limit {
        if scope == Scope::Day {
            return self.day;
        }
        let Some(budget) = self.projects.get(project) else { return Limit::default() };
        match scope {
            Scope::Job => budget.job,
            Scope::Item => budget.item,
            Scope::Chain => budget.chain,
            Scope::Project => budget.project,
            Scope::ProjectDay => budget.day,
            Scope::Day => self.day,
        }
    }

    /// What is set aside for one run.
    pub fn of_run(&self, project: &str) -> Limit {
        self.projects.get(project).map(|budget| budget.run).unwrap_or_default()
    }
}
