//! What live runs spend: kept as their agents report it, and ended where a budget is spent.
//!
//! A run reports every second or so (`watch`); what came in since the last look is written in one transaction, and
//! `domain::budget` says which runs are to end. The order is durable before a node hears of it, so that a scheduler that
//! starts goes on with it, and its end is told from a person's cancel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::admission::{WaitReason, Waiting};
use domain::budget::stop::{Running, purses, stops};
use domain::budget::{Exceeded, price, usd};
use domain::outcome::{AgentReport, Progress};
use domain::run::RunUsage;
use domain::{Event, JobId, RunId};
use store::{Spender, UsageNote};

use crate::dispatch::tell_cancel;
use crate::moves::{Report, error_chain, move_job};
use crate::shared::Shared;

/// How often what live runs spend is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What runs reported and nobody has kept yet; at most one report of each live run.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<BTreeMap<RunId, Progress>>);

impl Meter {
    /// Takes a report; one that cannot be read is passed by, the outcome has the whole.
    pub(crate) fn take(&self, run: RunId, progress_json: Option<&str>) {
        if let Some(progress) = progress_json.and_then(|json| serde_json::from_str(json).ok()) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, progress);
        }
    }

    fn drain(&self) -> BTreeMap<RunId, Progress> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes back what could not be kept, unless there is news.
    fn give_back(&self, reports: BTreeMap<RunId, Progress>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (run, progress) in reports {
            kept.entry(run).or_insert(progress);
        }
    }
}

/// Runs until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    let look = async {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let reports = shared.meter.drain();
            if reports.is_empty() {
                continue;
            }
            if let Err(error) = settle(&shared, &reports).await {
                tracing::warn!(error = error_chain(&error), "could not keep what runs spend yet");
                shared.meter.give_back(reports);
            }
        }
    };
    let _ = token.run_until_cancelled(look).await;
}

async fn settle(shared: &Arc<Shared>, reports: &BTreeMap<RunId, Progress>) -> Result<(), store::Error> {
    let notes = reports.iter().map(|(run, progress)| note(*run, progress)).collect();
    shared.store.note_usage(notes, shared.now()).await?;
    let terms = shared.pipeline.get().budget_terms();
    let spenders = shared.store.spenders().await?;
    // An offer has spent nothing, and may come to nothing.
    let running: Vec<Running<'_>> =
        spenders.iter().filter(|run| run.aside.runs == 0).map(Spender::running).collect();
    let now = shared.now();
    let kept = shared.store.spendings(purses(&terms, &running, now)).await?;
    for (run, exceeded) in stops(&terms, &running, &kept, now) {
        if spenders.iter().any(|spender| spender.run == run && spender.stop.is_none()) {
            stop(shared, run, exceeded).await?;
        }
    }
    Ok(())
}

fn note(run: RunId, progress: &Progress) -> UsageNote {
    // Of a conversation that was gone on with, the agent's own figure is that of all of it; the end makes it the run's own.
    let mut usage = RunUsage { cost_usd: None, ..progress.usage.clone() };
    usage.cost_usd = Some(usd(price::cost_micros(&usage, progress.model.as_deref())));
    UsageNote { run, usage, windows: progress.rate_limits.clone() }
}

async fn stop(shared: &Arc<Shared>, run: RunId, exceeded: Exceeded) -> Result<(), store::Error> {
    tracing::warn!(run.id = %run, budget = %exceeded, "a run is ended: its budget is spent");
    shared.store.order_stop(run, exceeded).await?;
    shared.runs.book(|book| book.request_cancel(run));
    if let Some(live) = shared.runs.book(|book| book.get(run).cloned()) {
        tell_cancel(shared, live);
    }
    Ok(())
}

/// Gives a run whose agent did not say its cost the one that its tokens add up to.
pub(crate) fn estimate_cost(report: &mut AgentReport) {
    if report.usage.cost_usd.is_none() && report.usage.output_tokens.is_some() {
        report.usage.cost_usd = Some(usd(price::cost_micros(&report.usage, report.model.as_deref())));
    }
}

/// Ends the jobs that no waiting helps: a budget that only a person raises is spent. Their work items ask for one.
pub(crate) async fn end_spent(shared: &Shared, waits: &[(JobId, Waiting)]) {
    for (job, waiting) in waits {
        let WaitReason::BudgetSpent { exceeded } = &waiting.reason else { continue };
        if !exceeded.purse.scope.needs_person() {
            continue;
        }
        match move_job(shared, *job, &Event::BudgetSpent(exceeded.clone()), Report::default()).await {
            Ok(_) => {
                tracing::warn!(job.id = %job, budget = %exceeded, "a job is not started: its budget is spent");
            }
            // The next claim finds it again.
            Err(error) => {
                tracing::info!(job.id = %job, error = error_chain(&error), "could not end a job yet");
            }
        }
    }
}
