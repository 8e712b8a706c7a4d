//! The table of a job's life as `next` has it, for the reader of a change to it.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;

const CURRENT: u128 = 1;
const OTHER: u128 = 2;

fn states() -> Vec<(&'static str, JobState)> {
    let running = |run_state, cancel_requested_at| JobState::Running {
        run: run_id(CURRENT),
        run_state,
        cancel_requested_at,
    };
    vec![
        ("queued, due", JobState::Queued { available_at: NOW }),
        ("queued, later", JobState::Queued { available_at: NOW.plus(Duration::from_secs(1)) }),
        ("run offered", running(LiveRunState::Offered, None)),
        ("run offered, cancel requested", running(LiveRunState::Offered, Some(NOW))),
        ("run started", running(LiveRunState::Started, None)),
        ("run started, cancel requested", running(LiveRunState::Started, Some(NOW))),
        ("done", JobState::Done { finished_at: NOW }),
        ("failed", JobState::Failed { finished_at: NOW, reason: "crash: failed 3 times".to_owned() }),
        ("cancelled", JobState::Cancelled { finished_at: NOW }),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let run = run_id(CURRENT);
    let ended = |conclusion| Event::Ended { run, conclusion };
    let judged = |class| Event::Ended { run, conclusion: Conclusion::Judged { class } };
    let transient = |reason, retry_at| judged(Class::Transient { reason, retry_at });
    let permanent = |reason| judged(Class::Permanent { reason });
    let step_failed = |fault| ended(Conclusion::StepFailed { fault });
    let reset = Some(NOW.plus(Duration::from_hours(2)));
    let late = Event::Ended { run: run_id(OTHER), conclusion: Conclusion::Judged { class: Class::Success } };
    vec![
        ("claimed", Event::Claimed(offer(run_id(OTHER)))),
        ("confirmed", Event::Confirmed { run }),
        ("confirmed by another run", Event::Confirmed { run: run_id(OTHER) }),
        ("withdrawn", Event::Withdrawn { run, why: "no_capacity" }),
        ("success", judged(Class::Success)),
        ("success of another run", late),
        ("transient overloaded", transient(TransientReason::Overloaded, None)),
        ("transient usage_limit for 2 h", transient(TransientReason::UsageLimit, reset)),
        ("permanent crash", permanent(PermanentReason::Crash)),
        ("permanent invalid_request", permanent(PermanentReason::InvalidRequest)),
        ("permanent auth", permanent(PermanentReason::Auth)),
        ("lost", ended(Conclusion::Lost { how: LostHow::LeaseExpired })),
        ("drained", ended(Conclusion::Drained)),
        ("unprepared, network", ended(Conclusion::Unprepared { fault: WorkspaceFault::Network })),
        ("unprepared, auth", ended(Conclusion::Unprepared { fault: WorkspaceFault::Auth })),
        ("unprepared, missing", ended(Conclusion::Unprepared { fault: WorkspaceFault::Missing })),
        ("unprepared, broken", ended(Conclusion::Unprepared { fault: WorkspaceFault::Broken })),
        ("unprepared, hook", ended(Conclusion::Unprepared { fault: WorkspaceFault::Hook })),
        ("unprepared, busy", ended(Conclusion::Unprepared { fault: WorkspaceFault::Busy })),
        ("not tried, preflight", ended(Conclusion::NotTried { why: NotTried::Preflight })),
        ("not tried, session refused", ended(Conclusion::NotTried { why: NotTried::SessionRefused })),
        ("ended as cancelled", ended(Conclusion::Cancelled)),
        ("step failed, forge unreachable", step_failed(StepFault::ForgeUnreachable)),
        ("step failed, forge auth", step_failed(StepFault::ForgeAuth)),
        ("ended over budget", ended(Conclusion::OverBudget { exceeded: exceeded() })),
        ("budget spent", Event::BudgetSpent(exceeded())),
        ("cancel requested", Event::CancelRequested),
        ("retried", Event::Retried),
    ]
}

fn shown_state(state: &JobState) -> String {
    match state {
        JobState::Queued { available_at } => match available_at.since(NOW) {
            Duration::ZERO => "queued now".to_owned(),
            wait => format!("queued in {} s", wait.as_secs_f64()),
        },
        JobState::Running { run_state, cancel_requested_at, .. } => {
            let cancel = if cancel_requested_at.is_some() { ", cancel requested" } else { "" };
            format!("running, {run_state:?}{cancel}").to_lowercase()
        }
        JobState::Done { .. } => "done".to_owned(),
        JobState::Failed { reason, .. } => format!("failed ({reason})"),
        JobState::Cancelled { .. } => "cancelled".to_owned(),
    }
}

fn shown(job: &Job, event: &Event) -> String {
    let transition = match next(job, event, NOW, &Policy::default(), Chance::new(0.5)) {
        Ok(transition) => transition,
        Err(IllegalEvent::WrongState { .. }) => return "-".to_owned(),
        Err(IllegalEvent::NotCurrent { .. }) => return "- (does not own the job)".to_owned(),
        Err(IllegalEvent::NotDue { .. }) => return "- (not due)".to_owned(),
    };
    let after = &transition.after;
    let mut parts = vec![shown_state(&after.state)];
    let spent = [
        ("attempts", job.budgets.attempts, after.budgets.attempts),
        ("transient_attempts", job.budgets.transient_attempts, after.budgets.transient_attempts),
        ("infra_attempts", job.budgets.infra_attempts, after.budgets.infra_attempts),
    ];
    let moved = spent.into_iter().filter(|(_, before, after)| before != after);
    parts.extend(moved.map(|(name, before, after)| format!("{name} {before} -> {after}")));
    if after.epoch != job.epoch {
        parts.push(format!("epoch +{}", after.epoch.0 - job.epoch.0));
    }
    match &transition.run {
        RunChange::Keep => {}
        RunChange::Insert(_) => parts.push("run offered".to_owned()),
        RunChange::Start { .. } => parts.push("run started".to_owned()),
        RunChange::End { class, reason, .. } => parts.push(format!("run ended {class}/{reason}")),
    }
    if let Some(AccountNews { said, hold, .. }) = transition.news {
        match said {
            Said::Nothing => {}
            Said::Answered => parts.push("provider answered".to_owned()),
            Said::Faltered => parts.push("provider faltered".to_owned()),
        }
        let Some(Hold { reason, until }) = hold else { return parts.join("; ") };
        let reason = reason.as_str();
        let end = until.map_or("until a person resumes it".to_owned(), |at| {
            format!("for {} s", at.since(NOW).as_secs())
        });
        parts.push(format!("account held {end} ({reason})"));
    }
    parts.extend(transition.alerts.iter().map(|alert| format!("alert {}", alert.word())));
    parts.join("; ")
}

fn table(job_in: impl Fn(JobState) -> Job) -> String {
    let mut table = String::new();
    for (state_name, state) in states() {
        let job = job_in(state);
        writeln!(table, "{state_name}").expect("a string takes everything");
        for (event_name, event) in events() {
            writeln!(table, "  {event_name:<30} {}", shown(&job, &event)).expect("a string takes everything");
        }
    }
    table
}

#[test]
fn every_event_in_every_state() {
    insta::assert_snapshot!(table(job));
}

#[test]
fn every_event_at_the_last_try_of_each_budget() {
    let budgets = Budgets { attempts: 2, transient_attempts: 9, infra_attempts: 9 };
    insta::assert_snapshot!(table(|state| Job { budgets, ..job(state) }));
}
