//! Forgets what is over, a few rows or files at a time, with a pause after each: claims and webhooks never wait for it.
//!
//! What may go when is `domain::retention`'s to say, that nothing goes which is needed the store's. Several schedulers may do
//! it at once: what one has taken the other passes by.

mod settings;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::retention::{self, Kept, Kind, LEAST, Plan, Step};
use domain::{RunId, Timestamp};
use service::metrics::number;
use tokio::time::Instant;

pub use self::settings::{Retention, RetentionSettings};
use crate::logs::Logs;
use crate::moves::error_chain;
use crate::shared::Shared;

/// Jobs looked at in one step; each may have a payload, runs and decisions.
const JOBS_PER_STEP: u32 = 200;
/// Rows of another kind in one step.
const ROWS_PER_STEP: u32 = 500;
/// Files deleted in one step.
const FILES_PER_STEP: usize = 64;
/// The least pause after a step.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// How much longer than a step the pause after it is: so much of the writer's time is left to everybody else.
const PAUSE_FACTOR: u32 = 4;
/// How soon after the start the first pass begins, at most.
const FIRST_WITHIN: Duration = Duration::from_mins(1);

/// Runs until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Retention { terms, interval } = shared.retention.clone();
    if interval.is_zero() {
        return;
    }
    let token = shared.tasks.token();
    let mut wait = interval.min(FIRST_WITHIN).mul_f64(shared.random.fraction());
    while token.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        if !shared.leads() {
            wait = interval.min(FIRST_WITHIN);
            continue;
        }
        match token.run_until_cancelled(Box::pin(pass(&shared, &terms))).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(error = error_chain(&*error), "could not forget what is over yet");
            }
        }
        wait = interval;
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn pass(shared: &Shared, terms: &retention::Terms) -> Result<(), Failed> {
    let now = shared.now();
    let kept = shared.store.kept(terms.deliveries_max).await?;
    let plan = retention::plan(now, terms, &kept);
    let pass = Pass { shared };
    pass.logs(now, terms).await?;
    pass.jobs(&plan, &kept, terms).await?;
    for kind in Kind::ALL {
        let Some(before) = kind.before(&plan) else { continue };
        while pass.rows(kind, before).await? {}
    }
    if let Some(before) = plan.messages_before {
        while pass.messages(before).await? {}
    }
    Ok(())
}

struct Pass<'a> {
    shared: &'a Shared,
}

impl Pass<'_> {
    /// Rests after a step in proportion to the time it took, and counts what it did. A host that slept meanwhile does not rest
    /// for that.
    async fn rest(&self, kind: &str, began: Instant, gone: u64) {
        let took = began.elapsed();
        if gone > 0 {
            self.shared.instruments.forgotten.add(number(gone), &[kind]);
            tracing::debug!(kind, gone, ?took, "forgot what is over");
        }
        self.shared.instruments.forgetting.observe(took.as_secs_f64(), &[]);
        tokio::time::sleep(PAUSE_MIN.max(took * PAUSE_FACTOR)).await;
    }

    async fn rows(&self, kind: Kind, before: Timestamp) -> Result<bool, Failed> {
        let began = Instant::now();
        let gone = self.shared.store.forget(kind, before, ROWS_PER_STEP).await?;
        self.rest(kind.as_str(), began, gone).await;
        Ok(gone == u64::from(ROWS_PER_STEP))
    }

    async fn messages(&self, before: Timestamp) -> Result<bool, Failed> {
        let began = Instant::now();
        let is_more = self.shared.store.prune_messages(before).await?;
        self.rest("messages", began, 0).await;
        Ok(is_more)
    }

    /// The old ones, and then the oldest of those that are too many.
    async fn jobs(&self, plan: &Plan, kept: &Kept, terms: &retention::Terms) -> Result<(), Failed> {
        let mut gone = 0;
        if let Some(before) = plan.jobs_before {
            gone = self.jobs_before(before, u64::MAX).await?;
        }
        let over = kept.finished.saturating_sub(gone).saturating_sub(terms.jobs_max).min(plan.jobs_over);
        if over > 0 {
            self.jobs_before(plan.least_before, over).await?;
        }
        Ok(())
    }

    async fn jobs_before(&self, before: Timestamp, most: u64) -> Result<u64, Failed> {
        let mut gone = 0;
        let mut step = Step::first(before, JOBS_PER_STEP);
        while gone < most {
            step.limit = u32::try_from(most - gone).unwrap_or(u32::MAX).min(JOBS_PER_STEP);
            let began = Instant::now();
            let forgotten = self.shared.store.forget_jobs(step).await?;
            gone += forgotten.jobs;
            self.rest("jobs", began, forgotten.jobs).await;
            self.files(&forgotten.runs).await;
            for job in forgotten.heavy {
                self.logs_of(job).await?;
            }
            match forgotten.next {
                Some(after) => step.after = after,
                None => break,
            }
        }
        Ok(gone)
    }

    /// The logs of a job that has so much of them that they take steps of their own; the next pass forgets the job.
    async fn logs_of(&self, job: domain::JobId) -> Result<(), Failed> {
        let Some(logs) = self.shared.store.run_logs() else { return Ok(()) };
        loop {
            let began = Instant::now();
            let pieces = logs.forget_logs_of(job).await?;
            self.rest("logs", began, pieces).await;
            if pieces == 0 {
                return Ok(());
            }
        }
    }

    async fn logs(&self, now: Timestamp, terms: &retention::Terms) -> Result<(), Failed> {
        match &self.shared.logs {
            Logs::Files(files) => {
                let sizes = files.bytes_by_hour().await?;
                let Some(before) = retention::logs_before(now, terms, sizes) else { return Ok(()) };
                let live: BTreeSet<RunId> =
                    self.shared.store.live_runs().await?.into_iter().map(|run| run.id).collect();
                loop {
                    let old = files.ended_before(before, live.clone()).await?;
                    if old.is_empty() {
                        return Ok(());
                    }
                    self.files(&old).await;
                }
            }
            Logs::Table(_) => self.table(now, terms).await,
        }
    }

    /// Deletes the files of runs, where logs are files. One that cannot be deleted is found again by its age.
    async fn files(&self, runs: &[RunId]) {
        let Logs::Files(files) = &self.shared.logs else { return };
        for some in runs.chunks(FILES_PER_STEP) {
            let began = Instant::now();
            let gone = match files.forget(some.to_vec()).await {
                Ok(gone) => gone,
                Err(error) => {
                    tracing::warn!(error = error_chain(&error), "could not delete the log of a run");
                    0
                }
            };
            self.rest("logs", began, gone).await;
        }
    }

    async fn table(&self, now: Timestamp, terms: &retention::Terms) -> Result<(), Failed> {
        let Some(logs) = self.shared.store.run_logs() else { return Ok(()) };
        let sizes = if terms.logs_bytes_max == 0 {
            Vec::new()
        } else {
            let oldest =
                if terms.logs.is_zero() { Timestamp::from_ms(0) } else { now.minus(terms.logs.max(LEAST)) };
            logs.log_bytes(oldest, terms.logs_bytes_max).await?
        };
        let Some(before) = retention::logs_before(now, terms, sizes) else { return Ok(()) };
        let mut after = Timestamp::from_ms(i64::MIN);
        loop {
            let began = Instant::now();
            let forgotten = logs.forget_logs(after, before).await?;
            self.rest("logs", began, forgotten.pieces).await;
            match forgotten.next {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
    }
}
