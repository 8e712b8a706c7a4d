//! From an outcome to a committed end: the log made durable, the outcome judged, the job moved, the node told.
//!
//! The node forgets a run only after the commit. The report of a run that no longer owns its job is kept for audit
//! and moves nothing.

use std::sync::Arc;

use domain::classify::conclude;
use domain::job::JobKind;
use domain::transition::{Conclusion, NotTried};
use domain::{Event, Outcome, Run, RunState, resume};
use proto::convert;
use proto::v1::AckRequest;
use service::grpc;
use tracing::Instrument as _;

use crate::budgets;
use crate::lease::LiveRun;
use crate::links::CALL_DEADLINE;
use crate::logs::LogWriter;
use crate::moves::{Report, error_chain, move_job_at_last};
use crate::shared::{Shared, pause};
use crate::supervise::traced;
use crate::watch::{self, Place};

/// How often an Ack is tried; after that the node's next renew brings the run up again.
const ACKS_MAX: u32 = 5;

/// Commits the end of a run by its outcome and acknowledges it.
pub(crate) async fn finish(
    shared: &Shared,
    run: &LiveRun,
    place: &Place,
    mut log: LogWriter,
    mut outcome: Outcome,
) {
    let span = tracing::info_span!("finalize", job.id = %run.job, run.id = %run.run, runner = %run.node);
    let span = traced(span, run);
    async {
        sync(&mut log).await;
        let (conclusion, evidence) =
            conclude(&outcome, run.resumed_session.is_some(), &shared.pipeline.get().patterns, shared.now());
        let conclusion = over_budget(shared, run, conclusion).await;
        if matches!(conclusion, Conclusion::NotTried { why: NotTried::Preflight }) {
            // Its next renew says why; until then it is not asked again.
            shared.nodes.rest(&run.node, run.incarnation, shared.clock.boot_ms());
        }
        if let Some(session) = &run.resumed_session {
            take_own_cost(shared, run, session, &mut outcome).await;
        }
        budgets::estimate_cost(&mut outcome.report);
        let event = Event::Ended { run: place.run, conclusion };
        let report = Report { outcome: Some(outcome.clone()), evidence: Some(evidence), ..Report::default() };
        let committed = match move_job_at_last(shared, run.job, &event, report).await {
            Ok(_) => true,
            Err(error) if error.is_late() => keep_late(shared, place, outcome).await,
            Err(_) => false,
        };
        if committed {
            ack(shared, place).await;
        }
    }
    .instrument(span)
    .await;
}

/// What is concluded of a run that was ended on request, when it was a budget's and not a person's.
async fn over_budget(shared: &Shared, run: &LiveRun, conclusion: Conclusion) -> Conclusion {
    if conclusion != Conclusion::Cancelled {
        return conclusion;
    }
    let mut tries = 0;
    loop {
        match shared.store.run(run.run).await {
            Ok(row) => {
                let exceeded = row.and_then(|row| row.stop);
                return exceeded.map_or(conclusion, |exceeded| Conclusion::OverBudget { exceeded });
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "could not read the run yet");
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
        }
    }
}

/// Leaves of the reported cost what this run has added to its conversation's.
async fn take_own_cost(shared: &Shared, run: &LiveRun, session: &str, outcome: &mut Outcome) {
    let Some(cost_usd) = &mut outcome.report.usage.cost_usd else { return };
    let mut tries = 0;
    let runs = loop {
        match runs_before(shared, run).await {
            Ok(runs) => break runs,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "could not read the job's runs yet");
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
        }
    };
    *cost_usd = resume::own_cost(*cost_usd, session, &runs);
}

/// The runs that may have spent in the same conversation: the job's, and where it asks for the form of an answer alone those
/// of the job that it asks about.
async fn runs_before(shared: &Shared, run: &LiveRun) -> Result<Vec<Run>, store::Error> {
    let mut runs = Vec::new();
    let origin = shared.store.job(run.job).await?.map(|job| job.origin).unwrap_or_default();
    if let Some(parent) = origin.parent.filter(|_| origin.kind == JobKind::Reformat) {
        runs = shared.store.runs_of(parent).await?;
    }
    runs.extend(shared.store.runs_of(run.job).await?);
    Ok(runs)
}

/// Looks after a run that a node still holds though it is over here: fetches its report, keeps it, lets it go.
pub(crate) fn collect(shared: &Arc<Shared>, place: Place) {
    let Some(looked_after) = shared.runs.look_after(place.run) else { return };
    let (shared, token, tasks) = (shared.clone(), shared.tasks.token(), shared.tasks.clone());
    let span = tracing::info_span!("late outcome", run.id = %place.run, runner = %place.node);
    let task = async move {
        let _ = token.run_until_cancelled(collect_late(&shared, &place)).await;
        drop(looked_after);
    };
    tasks.spawn("late-outcome", task.instrument(span));
}

async fn collect_late(shared: &Shared, place: &Place) {
    let row = match shared.store.run(place.run).await {
        Ok(Some(row)) => row,
        Ok(None) => {
            tracing::warn!(
                "a node holds the report of a run that this database never made: it is fenced, and kept there for a day"
            );
            return shared.runs.note_unknown(place.run);
        }
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "could not read the run");
            return;
        }
    };
    if row.node != place.node {
        tracing::warn!(owner = %row.node, "a node offers the report of another node's run: it is not looked at");
        return;
    }
    if row.epoch != place.epoch || row.state != RunState::Ended {
        return;
    }
    if has_outcome(&row) {
        return ack(shared, place).await;
    }
    let mut log = match shared.logs.writer(place.run).await {
        Ok(log) => log,
        Err(error) => {
            tracing::warn!(%error, "could not open the log");
            return;
        }
    };
    let mut watched = watch::once(shared, place, &mut log, None).await;
    if let Err(watch::Cut::Missing { from, .. }) = watched {
        watched = watch::once(shared, place, &mut log, Some(from)).await;
    }
    match watched {
        Ok(outcome) => {
            sync(&mut log).await;
            if keep_late(shared, place, outcome).await {
                ack(shared, place).await;
            }
        }
        // The next renew lists the run again.
        Err(cut) => tracing::info!(reason = error_chain(&cut), "could not fetch a late outcome yet"),
    }
}

/// Keeps the report of a run that does not own its job; true once there is nothing more to keep.
async fn keep_late(shared: &Shared, place: &Place, outcome: Outcome) -> bool {
    let mut tries = 0;
    loop {
        match late(shared, place, outcome.clone()).await {
            Ok(kept) => return kept,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "could not keep a late outcome yet");
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
        }
    }
}

async fn late(shared: &Shared, place: &Place, outcome: Outcome) -> Result<bool, store::Error> {
    match shared.store.run(place.run).await? {
        None => return Ok(false),
        Some(row) if has_outcome(&row) => return Ok(true),
        Some(_) => {}
    }
    shared.store.record_late_outcome(place.run, outcome, shared.now()).await?;
    shared.instruments.late.inc(&[]);
    tracing::warn!(run.id = %place.run, "an outcome came after its run was given up: kept, not applied");
    Ok(true)
}

/// Whether the run's own outcome ended it, or was kept since.
fn has_outcome(run: &Run) -> bool {
    run.tail.is_some()
}

async fn sync(log: &mut LogWriter) {
    let mut tries = 0;
    while let Err(error) = log.sync().await {
        tracing::error!(%error, "could not make a log durable yet: its outcome waits");
        tokio::time::sleep(pause(tries)).await;
        tries += 1;
    }
}

async fn ack(shared: &Shared, place: &Place) {
    for tries in 0..ACKS_MAX {
        let Some(url) = shared.nodes.url(&place.node) else { return };
        let request = AckRequest { run: Some(convert::run_key(place.run, place.epoch)) };
        let acked = match shared.links.to(&place.node, &url) {
            Ok(mut runner) => grpc::call(CALL_DEADLINE, runner.ack(request)).await.map(|_| ()),
            Err(status) => Err(status),
        };
        match acked {
            Ok(()) => return,
            Err(status) => {
                tracing::info!(code = ?status.code(), error = status.message(), "could not acknowledge yet");
                tokio::time::sleep(pause(tries)).await;
            }
        }
    }
}
