//! Domain to wire and back. What cannot be read back is an error that names the field.

use domain::account::AccountRecord;
use domain::admission::{Part, Waiting};
use domain::breaker::BreakerState;
use domain::budget::{Amount, Limit, Purse, Spending, Unit, usd};
use domain::classify::{Patterns, conclude};
use domain::containment::{Containment, Tier};
use domain::job::{Job, JobState};
use domain::log::LogPiece;
use domain::outbox::SinkRecord;
use domain::outcome::Exit;
use domain::overview::{LateOutcome, Overview, ReaperRecord, WaitingJob};
use domain::resume::tokens_saved;
use domain::runner::{Node, Preflight};
use domain::steps::{GateCommand, PullRequestAsk, StepFacts, Steps};
use domain::transition::Conclusion;
use domain::work_item::{NeedsYou, WorkItem};
use domain::{Epoch, Outcome, Run, RunId, Timestamp};

use crate::v1;

mod repository;
mod waiting;

pub use repository::{read_repository, repository};

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Malformed {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}

/// Names a run, without its token.
pub fn run_key(run: RunId, epoch: Epoch) -> v1::RunKey {
    v1::RunKey { run_id: run.to_string(), epoch: epoch.0, token: String::new() }
}

/// Reads which run is meant.
pub fn read_run_key(key: Option<&v1::RunKey>) -> Result<(RunId, Epoch), Malformed> {
    let key = key.ok_or(Malformed { field: "run", problem: "is missing" })?;
    Ok((read_run_id(&key.run_id)?, Epoch(key.epoch)))
}

/// Reads a run id.
pub fn read_run_id(text: &str) -> Result<RunId, Malformed> {
    text.parse().map(RunId).map_err(|_| Malformed { field: "run_id", problem: "is not a UUID" })
}

/// Builds the frame of a log piece.
pub fn log_frame(piece: LogPiece) -> v1::WatchFrame {
    let frame = match piece {
        LogPiece::Bytes { offset, bytes } => {
            v1::watch_frame::Frame::Chunk(v1::LogChunk { offset, data: bytes.into() })
        }
        LogPiece::Gap { from, to } => v1::watch_frame::Frame::Gap(v1::LogGap { from, to }),
    };
    v1::WatchFrame { frame: Some(frame) }
}

/// Builds the frame that ends a watch, with the run's token.
pub fn outcome_frame(outcome: &Outcome, token: &str) -> v1::OutcomeFrame {
    // An outcome has string keys and finite numbers alone, which is all that serialisation could refuse.
    let outcome_json = serde_json::to_string(outcome).unwrap_or_default();
    v1::OutcomeFrame { outcome_json, token: token.to_owned() }
}

/// Reads an outcome.
pub fn read_outcome(frame: &v1::OutcomeFrame) -> Result<Outcome, Malformed> {
    serde_json::from_str(&frame.outcome_json)
        .map_err(|_| Malformed { field: "outcome_json", problem: "is not an outcome" })
}

/// Builds a preflight report.
pub fn preflight_report(preflight: &Preflight) -> v1::PreflightReport {
    v1::PreflightReport {
        ok: preflight.ok,
        version: preflight.version.clone(),
        checked_at_ms: preflight.checked_at.as_ms(),
        error: preflight.error.clone(),
        program: preflight.program.clone(),
        note: preflight.note.clone(),
    }
}

/// Reads a preflight report; a missing one is not ok.
pub fn read_preflight(report: Option<&v1::PreflightReport>) -> Preflight {
    report.map_or_else(Preflight::default, |report| Preflight {
        ok: report.ok,
        version: report.version.clone(),
        checked_at: Timestamp::from_ms(report.checked_at_ms),
        error: report.error.clone(),
        program: report.program.clone(),
        note: report.note.clone(),
    })
}

/// Writes what a node says of its containment.
pub fn containment_report(containment: &Containment) -> v1::ContainmentReport {
    let Containment { tier, lacks, note } = containment.clone();
    v1::ContainmentReport { tier: tier.as_str().to_owned(), lacks, note }
}

/// Reads what a node says of its containment; who says nothing, or a word of another version, gives the least.
pub fn read_containment(report: Option<&v1::ContainmentReport>) -> Containment {
    report.map_or_else(Containment::default, |report| Containment {
        tier: Tier::parse(&report.tier).unwrap_or_default(),
        lacks: report.lacks.clone(),
        note: report.note.clone(),
    })
}

/// Shows a job.
pub fn job(job: &Job, waiting: Option<&Waiting>) -> v1::Job {
    let mut shown = v1::Job {
        id: job.id.0,
        project: job.project.clone(),
        work_item: job.work_item.clone(),
        stage: job.stage.clone(),
        status: job.state.status().as_str().to_owned(),
        attempts: job.budgets.attempts,
        transient_attempts: job.budgets.transient_attempts,
        infra_attempts: job.budgets.infra_attempts,
        role: job.role.clone(),
        priority: job.priority,
        epoch: job.epoch.0,
        created_at: job.created_at.to_string(),
        updated_at: job.updated_at.to_string(),
        waiting: waiting.map(waiting::waiting),
        kind: job.origin.kind.as_str().to_owned(),
        parent_job: job.origin.parent.map(|parent| parent.0),
        delivery: job.origin.delivery.clone(),
        hops: job.origin.hops,
        head: job.origin.head.clone(),
        replaces: job.origin.replaces.map(|replaced| replaced.0),
        trace_id: job.trace_id().map(str::to_owned),
        ..v1::Job::default()
    };
    match &job.state {
        JobState::Queued { available_at } => shown.available_at = Some(available_at.to_string()),
        JobState::Running { run, cancel_requested_at, .. } => {
            shown.run_id = Some(run.to_string());
            shown.cancel_requested_at = cancel_requested_at.map(|at| at.to_string());
        }
        JobState::Done { finished_at } | JobState::Cancelled { finished_at } => {
            shown.finished_at = Some(finished_at.to_string());
        }
        JobState::Failed { finished_at, reason } => {
            shown.finished_at = Some(finished_at.to_string());
            shown.failure = Some(reason.clone());
        }
    }
    shown
}

/// What `GET /queue` shows beside the database: the settings of the scheduler.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// `ORCH_MAX_CONCURRENCY`.
    pub concurrency_max: u32,
    /// `ORCH_IMPOSSIBLE_QUEUED_SANITIZE_ENABLED`.
    pub sanitize_enabled: bool,
    /// `ORCH_BREAKER_THRESHOLD`.
    pub breaker_threshold: u32,
}

/// Builds the document of `GET /queue`.
pub fn queue(overview: &Overview, settings: QueueSettings, now: Timestamp) -> v1::QueueReply {
    let counts = overview.counts;
    v1::QueueReply {
        counts: Some(v1::Counts {
            queued: counts.queued,
            running: counts.running,
            done: counts.done,
            failed: counts.failed,
            cancelled: counts.cancelled,
        }),
        paused: overview.paused,
        max_concurrency: settings.concurrency_max,
        oldest_ready_seconds: overview.oldest_ready_at.map(|at| now.since(at).as_secs_f64()),
        recent: overview.recent.iter().map(|entry| job(&entry.job, entry.waiting.as_ref())).collect(),
        resilience: Some(v1::Resilience {
            breaker: breakers(&overview.accounts, settings, now),
            preflight: overview.nodes.iter().map(|(node, _)| preflight(node)).collect(),
            quota: overview.accounts.iter().flat_map(|record| quota(record, now)).collect(),
        }),
        reaper: Some(reaper(&overview.reaper, settings.sanitize_enabled)),
        runners: overview.nodes.iter().map(|(node, busy)| runner(node, *busy)).collect(),
        alerts: Some(alerts(&overview.outbox)),
        needs_you: overview.needs_you.iter().map(work_item).collect(),
        config_error: overview.config_error.clone(),
        paused_parts: overview.paused_parts.iter().map(paused_part).collect(),
    }
}

fn paused_part(part: &Part) -> v1::PausedPart {
    v1::PausedPart { scope: part.scope().to_owned(), name: part.name().to_owned() }
}

fn alerts(records: &[SinkRecord]) -> v1::Alerts {
    let failing =
        |record: &SinkRecord| Some(format!("{}: {}", record.sink.as_str(), record.last_error.as_ref()?));
    v1::Alerts {
        pending: records.iter().map(|record| record.pending).sum(),
        last_error: records.iter().find_map(failing),
        set_aside: records.iter().map(|record| record.set_aside).sum(),
        sinks: records.iter().map(alert_sink).collect(),
    }
}

fn alert_sink(record: &SinkRecord) -> v1::AlertSink {
    v1::AlertSink {
        sink: record.sink.as_str().to_owned(),
        pending: record.pending,
        oldest_at: record.oldest_at.map(|at| at.to_string()),
        last_error: record.last_error.clone(),
        next_at: record.next_at.map(|at| at.to_string()),
        set_aside: record.set_aside,
        set_aside_error: record.set_aside_error.clone(),
    }
}

/// Shows the breakers of accounts.
pub fn breakers(accounts: &[AccountRecord], settings: QueueSettings, now: Timestamp) -> Vec<v1::Breaker> {
    let shown = |record: &AccountRecord| {
        let state = record.breaker.state(now);
        let open_until = match state {
            BreakerState::Open { until } => Some(until.to_string()),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        v1::Breaker {
            account: record.account.to_string(),
            state: state.as_str().to_owned(),
            consecutive_transient: record.breaker.consecutive_transient,
            threshold: settings.breaker_threshold,
            open_until,
        }
    };
    accounts.iter().map(shown).collect()
}

/// Shows an account with the hold that is in force, if any.
pub fn account(record: &AccountRecord, now: Timestamp) -> v1::Account {
    let held = record.held(now);
    v1::Account {
        account: record.account.to_string(),
        held_reason: held.map(|hold| hold.reason.as_str().to_owned()),
        held_until: held.and_then(|hold| hold.until).map(|until| until.to_string()),
        quota: quota(record, now).collect(),
    }
}

fn quota(record: &AccountRecord, now: Timestamp) -> impl Iterator<Item = v1::Quota> {
    record.quota(now).map(|(window, utilization)| v1::Quota {
        account: record.account.to_string(),
        window: window.window.clone(),
        utilization,
        resets_at: window.resets_at.map(|at| at.to_string()),
    })
}

/// Shows a work item.
pub fn work_item(item: &WorkItem) -> v1::WorkItem {
    v1::WorkItem {
        project: item.project.clone(),
        key: item.key.clone(),
        title: item.title.clone(),
        stage: item.stage.clone(),
        state: item.state.as_str().to_owned(),
        head: item.head.clone(),
        hops: item.hops,
        bounces: item
            .bounces
            .iter()
            .map(|(stage, times)| v1::Bounces { stage: stage.clone(), times: *times })
            .collect(),
        needs: item.state.needs().map(needs),
        created_at: item.created_at.to_string(),
        updated_at: item.updated_at.to_string(),
        spent: None,
        spent_since_pass: None,
        waits_for: item.state.waits_for_ci().map(ToString::to_string),
        standing: item.standing.as_str().to_owned(),
        ended_because: item.ended_because.clone(),
    }
}

/// Shows an amount.
pub fn spent(amount: Amount) -> v1::Spent {
    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
    v1::Spent { usd: usd(amount.usd_micros), tokens: whole(amount.tokens), runs: whole(amount.runs) }
}

/// Shows what was spent of a purse, and what may be.
pub fn budget(purse: &Purse, kept: &Spending, limit: Limit) -> v1::Budget {
    let limit = |unit: Unit| limit.of(unit).map(|limit| limit.saturating_add(kept.raised.of(unit)));
    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
    v1::Budget {
        scope: purse.scope.as_str().to_owned(),
        key: purse.key.clone(),
        spent: Some(spent(kept.spent)),
        usd_limit: limit(Unit::Usd).map(usd),
        tokens_limit: limit(Unit::Tokens).map(whole),
        runs_limit: limit(Unit::Runs).map(whole),
    }
}

fn needs(needs: &NeedsYou) -> v1::Needs {
    let result = needs.result.as_ref();
    v1::Needs {
        why: needs.why.as_str().to_owned(),
        reason: needs.to_string(),
        job: needs.job.map(|job| job.0),
        stage: needs.stage.clone(),
        verdict: result.map(|result| result.verdict.clone()),
        summary: result.map(|result| result.summary.clone()),
        findings: result.map(|result| result.findings.clone()).unwrap_or_default(),
    }
}

fn reaper(record: &ReaperRecord, sanitize_enabled: bool) -> v1::Reaper {
    v1::Reaper {
        last_tick_at: record.last_tick_at.map(|at| at.to_string()),
        reaped_total: record.reaped_total,
        impossible_queued_total: record.impossible_queued_total,
        sanitize_enabled,
        impossible_running_total: record.impossible_running_total,
        impossible_finished_total: record.impossible_finished_total,
        orphaned_runs_total: record.orphaned_runs_total,
    }
}

/// Shows a runner.
pub fn runner(node: &Node, busy: u32) -> v1::Runner {
    v1::Runner {
        id: node.id.to_string(),
        state: node.state.as_str().to_owned(),
        slots: node.slots,
        busy,
        last_seen_at: node.last_seen_at.to_string(),
        labels: node.labels.clone(),
        account: node.account.to_string(),
        advertise_url: node.advertise_url.clone(),
        containment: node.containment.tier.as_str().to_owned(),
        containment_lacks: node.containment.lacks.clone(),
        containment_note: node.containment.note.clone(),
    }
}

/// Shows a runner's preflight.
pub fn preflight(node: &Node) -> v1::Preflight {
    v1::Preflight {
        runner: node.id.to_string(),
        ok: node.preflight.ok,
        version: node.preflight.version.clone(),
        checked_at: node.preflight.checked_at.to_string(),
        error: node.preflight.error.clone(),
        program: node.preflight.program.clone(),
        note: node.preflight.note.clone(),
    }
}

/// Shows a job with all its runs, the oldest first.
pub fn job_detail(entry: &WaitingJob, runs: &[Run], late: &[LateOutcome]) -> v1::JobDetail {
    let saved = tokens_saved(runs);
    v1::JobDetail {
        job: Some(job(&entry.job, entry.waiting.as_ref())),
        why: waiting::why(entry),
        tokens_saved: saved.iter().copied().fold(0, u64::saturating_add),
        runs: runs.iter().zip(saved).map(|(one, tokens_saved)| run(one, tokens_saved)).collect(),
        late_outcomes: late.iter().map(late_outcome).collect(),
        budgets: Vec::new(),
    }
}

/// Shows a run; what it spared is known beside the job's other runs, see [`job_detail`].
pub fn run(run: &Run, tokens_saved: u64) -> v1::Run {
    v1::Run {
        run_id: run.id.to_string(),
        epoch: run.epoch.0,
        runner: run.node.to_string(),
        state: run.state.as_str().to_owned(),
        offered_at: run.offered_at.to_string(),
        started_at: run.started_at.map(|at| at.to_string()),
        ended_at: run.ended_at.map(|at| at.to_string()),
        class: run.class.clone(),
        reason: run.reason.clone(),
        evidence: run.evidence.clone(),
        exit_code: run.exit_code,
        session_id: run.usage.session_id.clone(),
        cost_usd: run.usage.cost_usd,
        turns: run.usage.turns,
        input_tokens: run.usage.input_tokens,
        output_tokens: run.usage.output_tokens,
        log_bytes: run.log_bytes,
        account: run.account.to_string(),
        probe: run.probe,
        resumed_session: run.resumed_session.clone(),
        api_retries: run.usage.api_retries,
        cache_read_tokens: run.usage.cache_read_tokens,
        tokens_saved,
        steps: run.steps.iter().map(step).collect(),
    }
}

fn step(facts: &StepFacts) -> v1::Step {
    let opened = facts.pull_request.as_ref();
    v1::Step {
        step: facts.step.as_str().to_owned(),
        state: facts.state.as_str().to_owned(),
        reason: facts.state.reason().map(str::to_owned),
        evidence: facts.evidence.clone(),
        branch: facts.branch.clone(),
        head: facts.head.clone(),
        pull_request: opened.map(|opened| opened.number),
        url: opened.map(|opened| opened.url.clone()),
        began_at: facts.began_at.to_string(),
        ended_at: facts.ended_at.to_string(),
    }
}

/// Builds the steps of a run.
pub fn run_steps(steps: &Steps) -> v1::RunSteps {
    v1::RunSteps {
        asks_verdict: steps.asks_verdict,
        command: steps
            .command
            .as_ref()
            .map(|command| v1::GateCommand { argv: command.argv.clone(), timeout_ms: command.timeout_ms }),
        push: steps.push,
        pull_request: steps.pull_request.as_ref().map(|ask| v1::PullRequestAsk {
            repo: ask.repo.clone(),
            title: ask.title.clone(),
            body: ask.body.clone(),
            marker: ask.marker.clone(),
        }),
    }
}

/// Reads the steps of a run; none when they are missing.
pub fn read_run_steps(steps: Option<v1::RunSteps>) -> Result<Steps, Malformed> {
    let Some(steps) = steps else { return Ok(Steps::default()) };
    if steps.command.as_ref().is_some_and(|command| command.argv.is_empty() || command.timeout_ms <= 0) {
        return Err(Malformed { field: "command", problem: "needs a program and a time above zero" });
    }
    Ok(Steps {
        asks_verdict: steps.asks_verdict,
        command: steps
            .command
            .map(|command| GateCommand { argv: command.argv, timeout_ms: command.timeout_ms }),
        push: steps.push,
        pull_request: steps.pull_request.map(|ask| PullRequestAsk {
            repo: ask.repo,
            title: ask.title,
            body: ask.body,
            marker: ask.marker,
        }),
    })
}

/// Shows a report that came too late, with what would have been concluded of it.
fn late_outcome(late: &LateOutcome) -> v1::LateOutcome {
    let (conclusion, evidence) = conclude(&late.outcome, false, &Patterns::default(), late.received_at);
    let class = match &conclusion {
        Conclusion::Judged { class } => class.as_str(),
        Conclusion::Lost { .. } => "lost",
        Conclusion::Drained => "drained",
        Conclusion::NotTried { .. } => "withdrawn",
        Conclusion::Unprepared { .. } => "unprepared",
        Conclusion::Cancelled => "cancelled",
        Conclusion::StepFailed { fault } if fault.passes() => "transient",
        Conclusion::StepFailed { .. } | Conclusion::OverBudget { .. } => "permanent",
    };
    v1::LateOutcome {
        run_id: late.run.to_string(),
        received_at: late.received_at.to_string(),
        class: class.to_owned(),
        evidence,
        exit_code: late.outcome.exit.map(Exit::as_number),
        cost_usd: late.outcome.report.usage.cost_usd,
    }
}

#[cfg(test)]
mod tests;
