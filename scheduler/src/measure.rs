//! What this scheduler measures of itself, its queue and its runs. Decides nothing; a number that cannot be read stays
//! as it was.

use std::sync::Arc;
use std::time::Duration;

use domain::job::LiveRunState;
use domain::runner::NodeState;
use domain::transition::{Conclusion, RunChange};
use domain::{Event, Job, JobState, Outcome, Transition};
use service::metrics::{Counter, Gauge, Histogram, Metrics, number};

use crate::moves::error_chain;
use crate::shared::Shared;

/// How often what is read from the database is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// The instruments of a scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Instruments {
    pub(crate) claims: Counter,
    pub(crate) wait: Histogram,
    pub(crate) late: Counter,
    pub(crate) repaired: Counter,
    pub(crate) stalls: Counter,
    pub(crate) leads: Gauge,
    pub(crate) alerts: Counter,
    pub(crate) reports: Counter,
    pub(crate) outbox_pending: Gauge,
    pub(crate) forgotten: Counter,
    pub(crate) forgetting: Histogram,
    pub(crate) breaker: Gauge,
    pub(crate) held: Gauge,
    pub(crate) quota: Gauge,
    ended: Counter,
    withdrawn: Counter,
    retries: Counter,
    recoveries: Counter,
    tokens: Counter,
    cost: Counter,
    oldest_ready: Gauge,
    queue: Gauge,
    live: Gauge,
    stream_lag: Gauge,
    runners: Gauge,
    wal: Gauge,
    database: Gauge,
    commit: Histogram,
}

impl Instruments {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            claims: metrics.counter(&instruments::CLAIMS),
            wait: metrics.histogram(&instruments::WAIT),
            late: metrics.counter(&instruments::LATE),
            repaired: metrics.counter(&instruments::REPAIRED),
            stalls: metrics.counter(&instruments::STALLS),
            leads: metrics.gauge(&instruments::LEADS),
            alerts: metrics.counter(&instruments::ALERTS),
            reports: metrics.counter(&instruments::REPORTS),
            outbox_pending: metrics.gauge(&instruments::OUTBOX_PENDING),
            forgotten: metrics.counter(&instruments::FORGOTTEN),
            forgetting: metrics.histogram(&instruments::FORGETTING),
            breaker: metrics.gauge(&instruments::BREAKER),
            held: metrics.gauge(&instruments::HELD),
            quota: metrics.gauge(&instruments::QUOTA),
            ended: metrics.counter(&instruments::RUNS_ENDED),
            withdrawn: metrics.counter(&instruments::WITHDRAWN),
            retries: metrics.counter(&instruments::RETRIES),
            recoveries: metrics.counter(&instruments::RECOVERIES),
            tokens: metrics.counter(&instruments::TOKENS),
            cost: metrics.counter(&instruments::COST),
            oldest_ready: metrics.gauge(&instruments::OLDEST_READY),
            queue: metrics.gauge(&instruments::QUEUE),
            live: metrics.gauge(&instruments::LIVE_RUNS),
            stream_lag: metrics.gauge(&instruments::STREAM_LAG),
            runners: metrics.gauge(&instruments::RUNNERS),
            wal: metrics.gauge(&instruments::WAL),
            database: metrics.gauge(&instruments::DATABASE),
            commit: metrics.histogram(&instruments::COMMIT),
        }
    }

    /// Counts what a committed transition of `job` was.
    pub(crate) fn moved(&self, job: &Job, event: &Event, transition: &Transition, outcome: Option<&Outcome>) {
        let RunChange::End { class, reason, .. } = &transition.run else { return };
        if *class == "withdrawn" {
            self.withdrawn.inc(&[reason]);
        } else {
            self.ended.inc(&[class, reason]);
        }
        if let Event::Ended { conclusion: Conclusion::Lost { how }, .. } = event {
            self.recoveries.inc(&[how.as_str()]);
        }
        if let JobState::Queued { .. } = transition.after.state {
            let (before, after) = (&job.budgets, &transition.after.budgets);
            let budgets = [
                ("attempts", before.attempts < after.attempts),
                ("transient", before.transient_attempts < after.transient_attempts),
                ("infra", before.infra_attempts < after.infra_attempts),
            ];
            for (budget, _) in budgets.into_iter().filter(|(_, paid)| *paid) {
                self.retries.inc(&[budget]);
            }
        }
        if let Some(outcome) = outcome {
            self.spent(&job.project, outcome);
        }
    }

    fn spent(&self, project: &str, outcome: &Outcome) {
        let usage = &outcome.report.usage;
        let (input, cached) = (usage.input_tokens.unwrap_or(0), usage.cache_read_tokens.unwrap_or(0));
        let kinds = [
            ("input", input.saturating_sub(cached)),
            ("cached", cached),
            ("output", usage.output_tokens.unwrap_or(0)),
        ];
        for (kind, tokens) in kinds {
            self.tokens.add(number(tokens), &[project, kind]);
        }
        self.cost.add(usage.cost_usd.unwrap_or(0.0).max(0.0), &[project]);
    }
}

/// Measures what has to be looked up, until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let commit = shared.instruments.commit.clone();
    shared.store.observe_commits(Box::new(move |took| commit.observe(took.as_secs_f64(), &[])));
    let token = shared.tasks.token();
    let mut ticks = tokio::time::interval(MEASURE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while token.run_until_cancelled(ticks.tick()).await.is_some() {
        look_within(&shared);
        if let Some(Err(error)) = token.run_until_cancelled(look_up(&shared)).await {
            tracing::debug!(error = error_chain(&error), "could not measure the queue");
        }
    }
}

/// Measures what memory knows.
fn look_within(shared: &Shared) {
    let measured = &shared.instruments;
    let states = shared.runs.book(|book| book.states());
    for (word, state) in [("offered", LiveRunState::Offered), ("started", LiveRunState::Started)] {
        let runs = states.iter().filter(|known| **known == state).count();
        measured.live.set(number(runs as u64), &[word]);
    }
    measured.stream_lag.set(shared.streams.lag(shared.clock.boot_ms()).as_secs_f64(), &[]);
}

/// Measures what the database knows.
async fn look_up(shared: &Shared) -> Result<(), store::Error> {
    let (measured, now) = (&shared.instruments, shared.now());
    let stats = shared.store.stats().await?;
    measured.wal.set(number(stats.wal_bytes), &[]);
    measured.database.set(number(stats.file_bytes), &[]);
    let nodes = shared.store.nodes().await?;
    for state in [NodeState::Ready, NodeState::Draining, NodeState::Unreachable, NodeState::Lost] {
        let runners = nodes.iter().filter(|node| node.state == state).count();
        measured.runners.set(number(runners as u64), &[state.as_str()]);
    }
    let backlog = shared.store.backlog(now).await?;
    let age = backlog.oldest_ready_at.map_or(Duration::ZERO, |at| now.since(at));
    measured.oldest_ready.set(age.as_secs_f64(), &[]);
    for code in instruments::WAIT_CODES {
        let jobs = backlog.by_reason.get(*code).copied().unwrap_or(0);
        measured.queue.set(number(jobs), &[code]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_to_wait_has_its_place_in_the_catalogue() {
        let codes: BTreeSet<&str> =
            domain::admission::WaitCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(instruments::WAIT_CODES.iter().copied().collect::<BTreeSet<&str>>(), codes);
    }
}
