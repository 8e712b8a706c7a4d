//! What a run still does once its agent has succeeded: the gate `command`, the push, the pull request.
//!
//! Each step is journaled in the run's folder, its intent before and its result after, and each time it is begun the
//! scheduler must have just acknowledged that the run still owns its job. A step whose result is there is not done again; one
//! with an intent alone is gone on with by whichever incarnation finds it. The agent is dead by then, and all that it started.

mod fence;
mod forge;
mod gate;
mod persist;
mod pull_request;
mod push;

use std::fs::File;
use std::io;

use domain::Timestamp;
use domain::agent_output::cut_front;
use domain::outcome::Outcome;
use domain::steps::{EVIDENCE_BYTES_MAX, PullRequest, StepFacts, StepFault, StepKind, StepState, Undone};
use domain::text;

pub(crate) use forge::Forge;
pub(crate) use gate::gates;

use crate::node::{Held, Node};

/// What became of one step, without its times.
#[derive(Debug)]
struct Did {
    state: StepState,
    evidence: String,
    branch: Option<String>,
    head: Option<String>,
    pull_request: Option<PullRequest>,
}

impl Did {
    fn new(state: StepState, evidence: &str) -> Self {
        let evidence = text::clean(&cut_front(evidence, EVIDENCE_BYTES_MAX), EVIDENCE_BYTES_MAX);
        Self { state, evidence, branch: None, head: None, pull_request: None }
    }

    fn failed(fault: StepFault, evidence: &str) -> Self {
        Self::new(StepState::Failed { fault }, evidence)
    }

    fn not(why: Undone) -> Self {
        Self::new(StepState::NotDone { why }, "")
    }
}

/// Does the steps of a run whose agent has ended, and gives the end as it is told. May be cut off at any await and called
/// again.
pub(crate) async fn carry_out(node: &Node, held: &Held, outcome: &Outcome) -> io::Result<Outcome> {
    let dir = held.dir.clone();
    if let Some(report) = service::blocking(move || dir.report()).await? {
        return Ok(report);
    }
    let _lived_in = keep_workspace(held).await?;
    let mut steps: Vec<StepFacts> = Vec::new();
    for kind in held.assignment.steps.kinds() {
        let dir = held.dir.clone();
        let known = service::blocking(move || dir.step_result(kind)).await?;
        let facts = if let Some(facts) = known {
            facts
        } else {
            let facts = step(node, held, outcome, kind, &steps).await?;
            tracing::info!(
                run.id = %held.assignment.run, job.id = %held.assignment.job, step = kind.as_str(),
                state = facts.state.as_str(), reason = facts.state.reason(), "step"
            );
            let (dir, written) = (held.dir.clone(), facts.clone());
            service::blocking(move || dir.write_step_result(&written)).await?;
            facts
        };
        steps.push(facts);
    }
    let ended_at = Timestamp::from_ms(node.clock.now_ms());
    let report = Outcome { steps, ended_at, ..outcome.clone() };
    let (dir, written) = (held.dir.clone(), report.clone());
    service::blocking(move || dir.write_report(&written)).await?;
    Ok(report)
}

/// Holds the lock that the agent's shim held: nobody else takes the workspace meanwhile.
async fn keep_workspace(held: &Held) -> io::Result<File> {
    let dir = held.dir.clone();
    let lock = service::blocking(move || dir.try_lock()).await?;
    lock.ok_or_else(|| io::Error::other("the agent's shim has not let go of its lock yet"))
}

async fn step(
    node: &Node,
    held: &Held,
    outcome: &Outcome,
    kind: StepKind,
    before: &[StepFacts],
) -> io::Result<StepFacts> {
    let began_at = Timestamp::from_ms(node.clock.now_ms());
    let stopped = before.iter().any(|facts| facts.state != StepState::Done);
    let steps = &held.assignment.steps;
    let did = match (kind, &steps.command, &steps.pull_request) {
        (StepKind::Command, Some(command), _) if !stopped => gate::pass(node, held, command).await?,
        (StepKind::Push, _, _) if !stopped => push::pass(node, held).await?,
        (StepKind::PullRequest, _, Some(ask)) if !stopped => {
            pull_request::pass(node, held, ask, outcome, before).await?
        }
        (StepKind::Command | StepKind::Push | StepKind::PullRequest, _, _) => Did::not(Undone::Earlier),
    };
    let Did { state, evidence, branch, head, pull_request } = did;
    let ended_at = Timestamp::from_ms(node.clock.now_ms());
    Ok(StepFacts { step: kind, state, evidence, branch, head, pull_request, began_at, ended_at })
}
