//! The claim loop: looks at the queue when something may have changed, and lets the store start what admission admits.
//!
//! The poll alone is enough; every other wake only makes it faster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::admission::{AccountTerms, Facts, ProjectLimits, Serial, WaitReason};
use domain::budget::reserve::Books;
use domain::{Job, RunId, Timestamp};
use service::telemetry::trace_context;
use store::ClaimRequest;

use crate::budgets;
use crate::cancels;
use crate::moves::error_chain;
use crate::shared::{DATABASE, Shared};
use crate::supervise::supervise;

/// The most jobs that start in one transaction.
const STARTS_MAX: u32 = 64;

/// When a job of each project last started.
type ServedAt = BTreeMap<String, Timestamp>;

/// Runs until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    let mut pipeline = shared.pipeline.subscribe();
    let mut served_at = BTreeMap::new();
    let mut woken = false;
    loop {
        // A wake during the look is kept, so nothing falls between the look and the wait.
        let Some(wait) = token.run_until_cancelled(look(&shared, &mut served_at)).await else { return };
        // What woke it may be a job for those who watch, or have asked a run to end, such as the newer commit of a webhook.
        // Whoever can start is not kept waiting.
        if std::mem::take(&mut woken) {
            shared.events.nudge();
            if token.run_until_cancelled(cancels::tell(&shared)).await.is_none() {
                return;
            }
        }
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            () = shared.wake.notified() => woken = true,
            _ = pipeline.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Claims what can start; says how long there is nothing to do unless something happens.
async fn look(shared: &Arc<Shared>, served_at: &mut ServedAt) -> Duration {
    match claim(shared, served_at).await {
        Ok(wait) => {
            shared.readiness.set(DATABASE, Ok(()));
            wait
        }
        Err(error) => {
            shared.readiness.set(DATABASE, Err(error_chain(&error)));
            shared.poll_interval
        }
    }
}

async fn claim(shared: &Arc<Shared>, served_at: &mut ServedAt) -> Result<Duration, store::Error> {
    let now = shared.now();
    let mut facts = Facts { served_at: served_at.clone(), ..facts(shared, now) };
    let mut starts_max = shared.queue.concurrency_max.min(STARTS_MAX);
    if let Some(left) = shared.claims_wait.left(shared.store.as_ref(), shared.clock.boot_ms()).await? {
        // The claim is for its reasons alone.
        starts_max = 0;
        for node in &mut facts.nodes {
            (node.blocked, node.blocked_until) = (Some(WaitReason::Restored), Some(now.plus(left)));
        }
    }
    let request = ClaimRequest {
        now,
        facts,
        run_ids: (0..starts_max).map(|_| RunId(shared.random.id_at(now.as_ms()))).collect(),
        policy: shared.policy.clone(),
    };
    let claimed = shared.store.claim(request).await?;
    budgets::end_spent(shared, &claimed.waits).await;
    for start in &claimed.starts {
        shared.instruments.claims.inc(&[]);
        shared.instruments.wait.observe(start.waited.as_secs_f64(), &[&start.job.project]);
        let (job, run) = (&start.job, &start.run);
        let span = tracing::info_span!("claim", job.id = %job.id, run.id = %run.id);
        if let Some(parent) = &job.trace_context {
            trace_context::set_parent(&span, parent);
        }
        let _entered = span.entered();
        tracing::info!(job.id = %job.id, run.id = %run.id, runner = %run.node, stage = job.stage, "job claimed");
        shared.events.claimed(now, job, run);
        served_at.insert(job.project.clone(), now);
        // What follows in this process is below the claim; after a restart it is below what made the job.
        let trace_context = trace_context::current().or_else(|| job.trace_context.clone());
        supervise(shared, &Job { trace_context, ..job.clone() }, run);
    }
    if starts_max > 0 && claimed.starts.len() >= starts_max as usize {
        return Ok(Duration::ZERO);
    }
    let due = shared.store.next_due_at(now).await?;
    let next = due.into_iter().chain(claimed.accounts_change_at).min();
    Ok(next.map_or(shared.poll_interval, |next| next.since(now).min(shared.poll_interval)))
}

fn facts(shared: &Shared, now: Timestamp) -> Facts {
    let pipeline = shared.pipeline.get();
    let limits = |limits: ProjectLimits| {
        if shared.serial_gate { limits } else { ProjectLimits { serial: Serial::None, ..limits } }
    };
    let essential = pipeline.stages.iter().filter(|stage| stage.essential);
    Facts {
        concurrency_max: shared.queue.concurrency_max,
        projects: pipeline
            .projects
            .iter()
            .map(|project| (project.name.clone(), limits(project.limits())))
            .collect(),
        stages: shared.prompts.stages(&pipeline),
        nodes: shared.nodes.facts(shared.moment()),
        account_terms: AccountTerms { breaker: shared.policy.breaker, quota_reserve: shared.quota_reserve },
        essential_stages: essential.map(|stage| stage.name.clone()).collect(),
        resume_wait: shared.resume_wait,
        books: Books::new(pipeline.budget_terms(), now),
        ..Facts::default()
    }
}
