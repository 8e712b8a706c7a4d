//! What the rows show: I1 to I5, I7 and I9 of docs/ARCHITECTURE.md, for every committed change; and which move of
//! `domain::next` it was.

use std::collections::BTreeMap;

use domain::job::LiveRunState;
use domain::outcome::Exit;
use domain::{Budgets, Job, JobState, Run, RunState, Status};
use store::memory::{Commit, Moved};

use super::State;
use crate::scenario::{NARROW, SERIAL, STEP_MS};

/// A job in one line.
pub(super) fn shown(job: &Job) -> String {
    let Budgets { attempts, transient_attempts, infra_attempts } = job.budgets;
    let state = match &job.state {
        JobState::Queued { available_at } => format!("queued for {}", available_at.as_ms() % 1_000_000),
        JobState::Running { run, run_state, cancel_requested_at } => {
            let cancel = if cancel_requested_at.is_some() { " cancel" } else { "" };
            format!("running {run} {run_state:?}{cancel}")
        }
        JobState::Done { .. } => "done".to_owned(),
        JobState::Failed { reason, .. } => format!("failed ({reason})"),
        JobState::Cancelled { .. } => "cancelled".to_owned(),
    };
    format!(
        "job {} epoch {} spent {attempts}/{transient_attempts}/{infra_attempts} {state}",
        job.id, job.epoch
    )
}

/// A run in one line.
pub(super) fn shown_run(run: &Run) -> String {
    let words = [&run.class, &run.reason].map(|word| word.as_deref().unwrap_or("-"));
    format!(
        "run {} job {} epoch {} {} {} {}",
        run.id,
        run.job,
        run.epoch,
        run.state.as_str(),
        words[0],
        words[1]
    )
}

/// Judges the moves of one commit, before they are taken into `state`.
pub(super) fn judge(state: &mut State, commit: &Commit) {
    for moved in &commit.runs {
        judge_run(state, moved);
    }
    for moved in &commit.jobs {
        let end = commit.runs.iter().find(|run| run.after.job == moved.after.id);
        judge_job(state, moved, end);
    }
}

fn judge_run(state: &mut State, moved: &Moved<Run>) {
    let (run, after) = (moved.after.id, &moved.after);
    match &moved.before {
        None => {
            let older = state.runs.values().filter(|other| other.job == after.job);
            if older.map(|other| other.epoch).max().is_some_and(|newest| newest >= after.epoch) {
                state.violate(format!("I4: run {run} does not have a newer epoch than all before"));
            }
        }
        Some(before) if before.state == RunState::Ended => {
            let verdict = |run: &Run| (run.state, run.class.clone(), run.reason.clone(), run.ended_at);
            if verdict(before) != verdict(after) {
                state.violate(format!("I5: the end of run {run} is told anew"));
            }
        }
        Some(before) if after.state == RunState::Ended => judge_end(state, before, after),
        Some(_) => {}
    }
}

/// The end of a live run: what is written must be what its keeper recorded.
fn judge_end(state: &mut State, before: &Run, after: &Run) {
    let run = after.id;
    let (class, reason) = (after.class.as_deref().unwrap_or(""), after.reason.as_deref().unwrap_or(""));
    state.saw(&format!("end {class}"));
    if matches!(class, "success" | "transient" | "permanent") {
        state.saw(&format!("judged {reason}"));
        if before.state != RunState::Started {
            state.violate(format!("I5: run {run} is judged and was never started"));
        }
        let recorded = state.recorded.get(&run).map(|(_, exit)| exit.map(Exit::as_number));
        // The node itself says how a run ended that never had an agent.
        if recorded != Some(after.exit_code) && state.spawned.contains(&run) {
            let why = format!("{recorded:?} was recorded, {:?} written", after.exit_code);
            state.violate(format!("I5: the end of run {run} is not its keeper's: {why}"));
        }
    }
    if class == "lost" {
        state.saw(&format!("lost {reason}"));
        let silent_ms = state.elapsed.ms() - state.heard_ms.get(&run).copied().unwrap_or(0);
        if reason == "lease_expired" && silent_ms > 2 * state.terms.scheduler_lease_ms - STEP_MS {
            state.saw("leases spared");
        }
    }
    let lost_its_keeper = class == "lost" && reason == "shim_lost";
    if lost_its_keeper && state.spawned.contains(&run) && !state.struck.contains(&run) {
        state.violate(format!("run {run} lost its keeper though nothing struck it"));
    }
}

fn judge_job(state: &mut State, moved: &Moved<Job>, run: Option<&Moved<Run>>) {
    let after = &moved.after;
    let Some(before) = &moved.before else { return };
    if after.epoch < before.epoch {
        state.violate(format!("I4: the epoch of job {} falls", after.id));
    }
    let end =
        run.filter(|run| run.after.state == RunState::Ended && before.state.run() == Some(run.after.id));
    let class = end.and_then(|run| run.after.class.as_deref());
    let name = format!(
        "{} -> {}{}",
        place(before),
        place(after),
        class.map_or_else(String::new, |c| format!(" ({c})"))
    );
    state.saw(&format!("move {name}"));
    let left = before.state.run().is_some() && before.state.run() != after.state.run();
    if left && class.is_none() {
        state.violate(format!("I5: job {} leaves its run without its end: {name}", after.id));
    }
    let final_before = matches!(before.state.status(), Status::Done | Status::Failed | Status::Cancelled);
    let retried = matches!(before.state.status(), Status::Failed | Status::Cancelled)
        && after.state.status() == Status::Queued;
    if final_before && !retried && before.state != after.state {
        state.violate(format!("I5: job {} moves after its end: {name}", after.id));
    }
    judge_budgets(state, before, after, class, retried);
}

/// I9: each end spends its own budget, and only that.
fn judge_budgets(state: &mut State, before: &Job, after: &Job, class: Option<&str>, retried: bool) {
    let spent = |job: &Job| {
        let Budgets { attempts, transient_attempts, infra_attempts } = job.budgets;
        [attempts, transient_attempts, infra_attempts].map(i64::from)
    };
    let (from, to) = (spent(before), spent(after));
    let moved = [to[0] - from[0], to[1] - from[1], to[2] - from[2]];
    let allowed = match class {
        _ if retried => to == [0, 0, 0],
        Some("permanent") => moved == [1, 0, 0] || moved == [0, 0, 0],
        Some("transient") => moved == [0, 1, 0],
        Some("lost") => moved == [0, 0, 1] || moved == [0, 0, 0],
        Some(_) | None => moved == [0, 0, 0],
    };
    if !allowed {
        state.violate(format!("I9: job {} spent {from:?} before and {to:?} after {class:?}", after.id));
    }
}

fn place(job: &Job) -> &'static str {
    match &job.state {
        JobState::Queued { .. } => "queued",
        JobState::Running { run_state: LiveRunState::Offered, cancel_requested_at: None, .. } => "offered",
        JobState::Running { run_state: LiveRunState::Offered, .. } => "offered, cancel wanted",
        JobState::Running { run_state: LiveRunState::Started, cancel_requested_at: None, .. } => "started",
        JobState::Running { run_state: LiveRunState::Started, .. } => "started, cancel wanted",
        JobState::Done { .. } => "done",
        JobState::Failed { .. } => "failed",
        JobState::Cancelled { .. } => "cancelled",
    }
}

/// Judges the whole: I1 to I3 and I7.
pub(super) fn judge_all(state: &mut State) {
    let mut live_of_job: BTreeMap<_, Vec<&Run>> = BTreeMap::new();
    for run in state.live_runs() {
        live_of_job.entry(run.job).or_default().push(run);
    }
    let mut wrong = Vec::new();
    for job in state.jobs.values() {
        let live = live_of_job.get(&job.id).map_or(&[][..], Vec::as_slice);
        match (&job.state, live) {
            (JobState::Running { run, run_state, .. }, [only])
                if only.id == *run && only.state == RunState::from(*run_state) => {}
            (JobState::Running { .. }, _) => {
                wrong.push(format!("I2: job {} and its live runs disagree", job.id));
            }
            (_, []) => {}
            (_, [_, ..]) => wrong.push(format!("I1: job {} has a live run and does not run", job.id)),
        }
        if live.len() > 1 {
            wrong.push(format!("I3: job {} has {} live runs", job.id, live.len()));
        }
    }
    limits(state, &mut wrong);
    for what in wrong {
        state.violate(what);
    }
}

/// I7.
fn limits(state: &State, wrong: &mut Vec<String>) {
    let (mut of_node, mut of_item, mut narrow, mut all) = (BTreeMap::new(), BTreeMap::new(), 0, 0);
    for run in state.live_runs() {
        let Some(job) = state.jobs.get(&run.job) else { continue };
        all += 1;
        *of_node.entry(&run.node).or_insert(0) += 1;
        if job.project == NARROW {
            narrow += 1;
        }
        if job.project == SERIAL {
            *of_item.entry(&job.work_item).or_insert(0) += 1;
        }
    }
    let terms = &state.terms;
    let over = all > terms.concurrency_max
        || narrow > 1
        || of_item.values().any(|count| *count > 1)
        || of_node.values().any(|count| *count > terms.slots);
    if over {
        wrong.push(format!(
            "I7: {all} live runs, {narrow} in {NARROW}, {of_item:?} of serial items, {of_node:?}"
        ));
    }
}
