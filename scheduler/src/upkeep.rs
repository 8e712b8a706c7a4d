//! Once a second: what keeps the database and memory in line with each other and with the rules, and what people are told
//! of it. None of it is promised to the second; a look at ten thousand runs may take its time.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::{Job, JobState, Run, RunId, RunState};
use tokio::time::MissedTickBehavior;

use crate::conditions::Conditions;
use crate::moves::error_chain;
use crate::renewals::Neighbours;
use crate::shared::Shared;
use crate::supervise::{supervise, take_in};
use crate::{accounts, cancels, sanitize};

/// How many ticks pass between two comparisons of memory and database.
const COMPARE_EVERY: u32 = 10;
/// The same where others claim and end runs, too.
const COMPARE_EVERY_WITH_NEIGHBOURS: u32 = 2;

/// Runs until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    let mut ticks = tokio::time::interval(shared.look_every());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let conditions = Conditions::new(shared.clock.boot_ms());
    let mut upkeep = Upkeep {
        count: 0,
        config_noted: false,
        config_error: None,
        conditions,
        told: accounts::Told::default(),
    };
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let _ = token.run_until_cancelled(upkeep.tick(&shared)).await;
    }
}

/// What one tick tells the next.
#[derive(Debug)]
struct Upkeep {
    count: u32,
    /// What was written of `orch.toml` last, once anything was.
    config_noted: bool,
    config_error: Option<String>,
    conditions: Conditions,
    told: accounts::Told,
}

impl Upkeep {
    async fn tick(&mut self, shared: &Arc<Shared>) {
        if shared.leads() {
            sanitize::sweep(shared).await;
        }
        accounts::tell(shared, &mut self.told).await;
        let compare_every = match shared.neighbours {
            Neighbours::None => COMPARE_EVERY,
            Neighbours::Perhaps => COMPARE_EVERY_WITH_NEIGHBOURS,
        };
        if self.count % compare_every == compare_every - 1
            && let Err(error) = compare(shared).await
        {
            tracing::warn!(error = error_chain(&error), "could not compare live runs with the database");
        }
        if shared.leads() {
            if let Err(error) = shared.store.fold_counts().await {
                tracing::debug!(error = error_chain(&error), "could not fold the counts of jobs yet");
            }
            self.conditions.look(shared).await;
            self.note_config(shared).await;
        }
        self.count = self.count.wrapping_add(1);
    }

    /// Keeps in the database what is wrong with `orch.toml`, for whoever looks at the queue.
    async fn note_config(&mut self, shared: &Shared) {
        let error = shared.pipeline.error();
        if self.config_noted && self.config_error == error {
            return;
        }
        match shared.store.note_config(error.clone()).await {
            Ok(()) => (self.config_noted, self.config_error) = (true, error),
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "could not note the state of orch.toml yet");
            }
        }
    }
}

/// Brings memory in line with the database: a call that is dropped after its commit leaves the two apart.
pub(crate) async fn compare(shared: &Arc<Shared>) -> Result<(), store::Error> {
    let known = shared.runs.book(|book| book.ids());
    let live = shared.store.live_runs().await?;
    let ids: BTreeSet<_> = live.iter().map(|run| run.id).collect();
    for gone in known.difference(&ids) {
        shared.runs.end(*gone);
    }
    let asked_to_end: BTreeSet<RunId> = shared.store.cancel_requests().await?.into_iter().collect();
    for run in live {
        if !known.contains(&run.id) {
            adopt(shared, run.id).await?;
        } else if run.state == RunState::Started {
            shared.runs.start(run.id);
        }
        if asked_to_end.contains(&run.id) || run.stop.is_some() {
            cancels::tell_of(shared, run.id).await;
        }
        if shared.is_home_of(&run.node)
            && !shared.runs.is_looked_after(run.id)
            && let Some(job) = job_of(shared, &run).await?
        {
            supervise(shared, &job, &run);
        }
    }
    Ok(())
}

/// Takes in a run that somebody else claimed, if it lives.
pub(crate) async fn adopt(shared: &Arc<Shared>, run: RunId) -> Result<(), store::Error> {
    // Both are read again: the list may be older than a run's end.
    let Some(run) = shared.store.run(run).await? else { return Ok(()) };
    if let Some(job) = job_of(shared, &run).await? {
        take_in(shared, &job, &run);
    }
    Ok(())
}

/// The job that a run is the current one of.
async fn job_of(shared: &Shared, run: &Run) -> Result<Option<Job>, store::Error> {
    let job = match shared.store.job(run.job).await {
        Ok(job) => job,
        // Its row contradicts itself: the sanitizer's, not ours.
        Err(store::Error::Corrupt(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_current =
        |job: &Job| matches!(job.state, JobState::Running { run: current, .. } if current == run.id);
    Ok(job.filter(is_current))
}
