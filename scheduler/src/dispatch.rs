//! Brings an offered run to its node: `Launch` until the node has it, and the offer withdrawn when it does not want it.
//!
//! Nothing is spawned by a Launch. An offer can be withdrawn at any time before its Start is committed, whatever
//! became of the message: the Start then finds the run over.

use std::sync::Arc;
use std::time::Duration;

use domain::containment::Tier;
use domain::job::JobKind;
use domain::pipeline::Stage;
use domain::steps::{Steps, pull_request_ask};
use domain::work_item::Standing;
use domain::{Event, Job, workspace};
use proto::convert;
use proto::v1::{CancelRequest, LaunchReply, LaunchRequest, LaunchStatus, RunPhase, RunSpec};
use service::grpc;
use service::telemetry::trace_context;
use store::Briefing;
use tokio::sync::watch;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::lease::LiveRun;
use crate::links::CALL_DEADLINE;
use crate::live::Phase;
use crate::moves::{NotMoved, Report, error_chain, move_job_at_last};
use crate::prompt;
use crate::shared::{Shared, pause};
use crate::supervise::traced;

/// How long a node that took an offer has for its Start before it is asked again.
const START_WAIT: Duration = Duration::from_secs(10);
/// A run's longest life where its stage names none.
pub(crate) const MAX_RUNTIME: Duration = Duration::from_hours(2);
/// What a run may take that is asked for the form of a verdict alone.
const REFORMAT_TURNS: u32 = 3;
const REFORMAT_RUNTIME: Duration = Duration::from_mins(10);
/// A run's longest silence where its stage names none (DESIGN.md section 7).
const IDLE: Duration = Duration::from_mins(30);
/// The same while a tool call is open.
const IDLE_IN_TOOL: Duration = Duration::from_hours(2);

/// What an offer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The run's phase changed, or is about to.
    Settled,
    /// The node has it, and asks another scheduler for its Start: that one goes on.
    ToAnothersNode,
}

/// Offers a run until its phase changes, or its node has it and speaks to another scheduler.
pub(crate) async fn offer(shared: &Shared, run: &LiveRun, phase: &mut watch::Receiver<Phase>) -> Offered {
    let changed = async {
        // The sender lives until the run is over.
        let _ = phase.changed().await;
    };
    let span = tracing::info_span!("launch", job.id = %run.job, run.id = %run.run, runner = %run.node);
    let span = traced(span, run);
    tokio::select! {
        biased;
        () = changed => Offered::Settled,
        offered = launch(shared, run).instrument(span) => offered,
    }
}

async fn launch(shared: &Shared, run: &LiveRun) -> Offered {
    let request = match request(shared, run).await {
        Ok(request) => request,
        Err(error) => {
            tracing::warn!(error, "could not write the prompt");
            withdraw(shared, run, "prompt").await;
            return Offered::Settled;
        }
    };
    let mut tries = 0;
    loop {
        match answer(ask(shared, run, request.clone()).await) {
            Answer::Held if !shared.is_home_of(&run.node) => return Offered::ToAnothersNode,
            Answer::Held => tokio::time::sleep(START_WAIT).await,
            // What it reports of the run is fetched and let go when its next renew lists it.
            Answer::Over => {
                withdraw(shared, run, "unconfirmed").await;
                return Offered::Settled;
            }
            Answer::Refused(why) => {
                shared.nodes.rest(&run.node, run.incarnation, shared.clock.boot_ms());
                withdraw(shared, run, why).await;
                return Offered::Settled;
            }
            Answer::Unknown(status) => {
                if tries == 0 {
                    tracing::info!(runner = %run.node, code = ?status.code(), error = status.message(), "could not launch yet");
                }
                tokio::time::sleep(pause(tries)).await;
                tries += 1;
            }
        }
    }
}

/// What a Launch came to.
#[derive(Debug)]
enum Answer {
    /// The node has the run and asks for its Start.
    Held,
    /// The node has given it up without a Start.
    Over,
    /// The node does not take it.
    Refused(&'static str),
    /// It may or may not have arrived.
    Unknown(Status),
}

fn answer(reply: Result<LaunchReply, Status>) -> Answer {
    match reply {
        Ok(reply) => match reply.status() {
            LaunchStatus::Known if reply.phase() == RunPhase::Ended => Answer::Over,
            LaunchStatus::Accepted | LaunchStatus::Known => Answer::Held,
            LaunchStatus::Fenced => Answer::Refused("fenced"),
            LaunchStatus::NoCapacity => Answer::Refused("no_capacity"),
            LaunchStatus::Draining => Answer::Refused("draining"),
            LaunchStatus::Unspecified => Answer::Unknown(Status::internal("the answer has no status")),
        },
        Err(status) => match status.code() {
            Code::Aborted => Answer::Refused("fenced"),
            Code::ResourceExhausted => Answer::Refused("no_capacity"),
            Code::FailedPrecondition => Answer::Refused("draining"),
            Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => Answer::Refused("refused"),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
            | Code::Unauthenticated => Answer::Unknown(status),
        },
    }
}

async fn ask(shared: &Shared, run: &LiveRun, request: LaunchRequest) -> Result<LaunchReply, Status> {
    let url = shared.nodes.url(&run.node).ok_or_else(|| Status::unavailable("the node is not known"))?;
    let mut runner = shared.links.to(&run.node, &url)?;
    grpc::call(CALL_DEADLINE, runner.launch(request)).await.map(tonic::Response::into_inner)
}

/// Takes an offer back; a Start that was faster stands.
pub(crate) async fn withdraw(shared: &Shared, run: &LiveRun, why: &'static str) {
    let event = Event::Withdrawn { run: run.run, why };
    match move_job_at_last(shared, run.job, &event, Report::default()).await {
        Ok(_) => tracing::info!(run.id = %run.run, runner = %run.node, why, "offer withdrawn"),
        Err(NotMoved::NotFound(_) | NotMoved::Illegal(_)) => settle(shared, run).await,
        Err(error @ (NotMoved::Contended(_) | NotMoved::Store(_))) => {
            tracing::warn!(run.id = %run.run, error = error_chain(&error), "could not withdraw the offer");
        }
    }
}

/// Tells a node of a cancel sooner than its next renew would.
pub(crate) fn tell_cancel(shared: &Arc<Shared>, live: LiveRun) {
    let call = {
        let shared = shared.clone();
        async move {
            let Some(url) = shared.nodes.url(&live.node) else { return };
            let Ok(mut runner) = shared.links.to(&live.node, &url) else { return };
            let request = CancelRequest { run: Some(convert::run_key(live.run, live.epoch)) };
            if let Err(status) = grpc::call(CALL_DEADLINE, runner.cancel(request)).await {
                tracing::info!(
                    run.id = %live.run, code = ?status.code(), error = status.message(),
                    "could not tell the runner of a cancel, its next renew does"
                );
            }
        }
    };
    shared.tasks.spawn("cancel", call.in_current_span());
}

/// Brings memory in line when the database was ahead of it.
pub(crate) async fn settle(shared: &Shared, run: &LiveRun) {
    match shared.store.run(run.run).await {
        Ok(Some(row)) => match row.state {
            domain::RunState::Offered => {}
            domain::RunState::Started => shared.runs.start(run.run),
            domain::RunState::Ended => shared.runs.end(run.run),
        },
        Ok(None) => shared.runs.end(run.run),
        Err(error) => {
            tracing::warn!(run.id = %run.run, error = error_chain(&error), "could not read the run");
        }
    }
}

async fn request(shared: &Shared, run: &LiveRun) -> Result<LaunchRequest, String> {
    let briefing = loop {
        match shared.store.briefing(run.job).await {
            Ok(briefing) => break briefing,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "could not read the job");
                tokio::time::sleep(pause(u32::MAX)).await;
            }
        }
    };
    let Briefing { job, payload, standing } =
        briefing.ok_or_else(|| format!("there is no job {}", run.job))?;
    let pipeline = shared.pipeline.get();
    let stage =
        pipeline.stage(&job.stage).ok_or_else(|| format!("stage {} is not in orch.toml", job.stage))?;
    let resume_session = run.resumed_session.clone();
    let prompt = match resume_session {
        Some(_) if job.origin.kind == JobKind::Reformat => prompt::ask_form(),
        Some(_) => prompt::CONTINUATION.to_owned(),
        None => shared.prompts.write(stage, &job, &payload, run.run)?,
    };
    let repository = pipeline.project(&job.project).and_then(|project| {
        workspace::Repository::of(project, &job.work_item, stage, job.origin.head.clone(), &payload.facts)
    });
    let steps = stage.steps(pipeline.project(&job.project), |repo| pull_request_ask(repo, &job, &payload));
    // An outsider's work is read and nothing more: nothing of it is run, pushed or sent.
    let untrusted = standing == Standing::Outsider;
    let (repository, steps) = if untrusted {
        let bare = repository.map(|repository| workspace::Repository {
            hooks: workspace::HookCommands::default(),
            ..repository
        });
        (bare, Steps { asks_verdict: steps.asks_verdict, ..Steps::default() })
    } else {
        (repository, steps)
    };
    let contained = pipeline.project(&job.project);
    Ok(LaunchRequest {
        run: Some(shared.tokens.key(run.run, run.epoch)),
        incarnation: run.incarnation.0,
        spec: Some(RunSpec {
            resume_session,
            repository: repository.as_ref().map(convert::repository),
            steps: Some(convert::run_steps(&steps)),
            untrusted,
            tier: contained.map_or_else(Tier::default, |project| project.containment).as_str().to_owned(),
            egress: contained
                .map(domain::pipeline::Project::egress)
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
            ..spec(&job, stage, prompt)
        }),
    })
}

fn spec(job: &Job, stage: &Stage, prompt: String) -> RunSpec {
    let ms = |set: Option<Duration>, default: Duration| {
        i64::try_from(set.unwrap_or(default).as_millis()).unwrap_or(i64::MAX)
    };
    let (max_turns, max_runtime) = match job.origin.kind {
        JobKind::Stage => (stage.max_turns, stage.max_runtime),
        JobKind::Reformat => (Some(REFORMAT_TURNS), Some(REFORMAT_RUNTIME)),
    };
    RunSpec {
        job_id: job.id.0,
        project: job.project.clone(),
        work_item: job.work_item.clone(),
        stage: job.stage.clone(),
        role: job.role.clone(),
        prompt,
        model: stage.model.clone(),
        max_turns,
        max_runtime_ms: ms(max_runtime, MAX_RUNTIME),
        idle_ms: ms(stage.idle_timeout, IDLE),
        idle_in_tool_ms: ms(stage.tool_idle_timeout, IDLE_IN_TOOL),
        trace_context: trace_context::current().or_else(|| job.trace_context.clone()),
        resume_session: None,
        repository: None,
        steps: None,
        untrusted: false,
        tier: String::new(),
        egress: Vec::new(),
    }
}
