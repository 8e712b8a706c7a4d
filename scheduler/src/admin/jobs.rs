//! Jobs: shown, made, ended, tried again.

use std::sync::Arc;

use domain::delivery::{About, NewJob, Payload};
use domain::job::{LiveRunState, Origin};
use domain::overview::WaitingJob;
use domain::{Budgets, Event, Job, JobId, JobState, Status as JobStatus, Timestamp};
use proto::convert;
use proto::v1::{
    CancelJobRequest, EnqueueReply, EnqueueRequest, GetJobRequest, JobDetail, JobReply, ListJobsReply,
    ListJobsRequest, RetryJobRequest, RetryJobsReply, RetryJobsRequest,
};
use service::telemetry::trace_context;
use store::{GivenUp, JobFilter};
use tonic::Status;

use crate::admin::budgets;
use crate::dispatch;
use crate::grpc::unavailable;
use crate::moves::{NotMoved, Report, move_job};
use crate::shared::Shared;

/// The most jobs on a page, and how many there are when nobody says.
const PAGE_MAX: u32 = 1000;
const PAGE: u32 = 100;
/// How far back failed jobs are looked for, when nobody says.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// How many times the store is asked for one page: rows that are filtered out count as well.
const LOOKS_MAX: u32 = 10;
/// The longest prompt a person may give, in bytes: it travels on to the runner in one message.
const PROMPT_BYTES_MAX: usize = 1024 * 1024;
/// The longest of the other texts of a request, in bytes.
const WORD_BYTES_MAX: usize = 200;

pub(super) async fn list(shared: &Shared, request: ListJobsRequest) -> Result<ListJobsReply, Status> {
    let status = match &request.status {
        None => None,
        Some(word) => Some(JobStatus::parse(word).ok_or_else(|| {
            let known = JobStatus::ALL.map(JobStatus::as_str).join(", ");
            Status::invalid_argument(format!("unknown status {word}: it is one of {known}"))
        })?),
    };
    let limit = if request.limit == 0 { PAGE } else { request.limit.min(PAGE_MAX) };
    let is_filtered = request.project.is_some() || request.stage.is_some() || request.work_item.is_some();
    let look = if is_filtered { PAGE_MAX } else { limit + 1 };
    let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let is_wanted = |job: &Job| {
        is(&request.project, &job.project)
            && is(&request.stage, &job.stage)
            && is(&request.work_item, &job.work_item)
    };
    let mut before = place(&request)?;
    let mut jobs = Vec::new();
    for _ in 0..LOOKS_MAX {
        let filter = JobFilter { status, before, ..JobFilter::newest(look) };
        let page = shared.store.jobs(filter).await.map_err(|error| unavailable(&error))?;
        let is_last = page.len() < look as usize;
        for entry in page {
            if jobs.len() == limit as usize {
                return Ok(ListJobsReply { jobs, next_page_token: before.map(|before| before.to_string()) });
            }
            before = Some(entry.job.id);
            if is_wanted(&entry.job) {
                jobs.push(convert::job(&entry.job, entry.waiting.as_ref()));
            }
        }
        if is_last {
            return Ok(ListJobsReply { jobs, next_page_token: None });
        }
    }
    Ok(ListJobsReply { jobs, next_page_token: before.map(|before| before.to_string()) })
}

/// Below which id a page begins.
fn place(request: &ListJobsRequest) -> Result<Option<JobId>, Status> {
    match (&request.page_token, request.before) {
        (Some(_), Some(_)) => Err(Status::invalid_argument("give page_token or before, not both")),
        (None, before) => Ok(before.map(JobId)),
        (Some(token), None) => {
            let id = token.parse().map_err(|_| {
                Status::invalid_argument("page_token is none: give the next_page_token of the page before")
            })?;
            Ok(Some(JobId(id)))
        }
    }
}

pub(super) async fn detail(shared: &Shared, request: GetJobRequest) -> Result<JobDetail, Status> {
    let id = JobId(request.id);
    // The job first: one that is over then comes with the ends of its runs, which are written with it.
    let entry = read(shared, id).await?;
    let runs = shared.store.runs_of(id).await.map_err(|error| unavailable(&error))?;
    let late = shared.store.late_outcomes_of(id).await.map_err(|error| unavailable(&error))?;
    let mut detail = convert::job_detail(&entry, &runs, &late);
    detail.budgets = budgets::of_job(shared, id).await?;
    Ok(detail)
}

pub(super) async fn enqueue(shared: &Shared, request: EnqueueRequest) -> Result<EnqueueReply, Status> {
    let pipeline = shared.pipeline.get();
    if pipeline.project(&request.project).is_none() {
        let known = pipeline.projects.iter().map(|project| project.name.as_str());
        return Err(unknown("project", &request.project, known));
    }
    let Some(stage) = pipeline.stage(&request.stage) else {
        return Err(unknown(
            "stage",
            &request.stage,
            pipeline.stages.iter().map(|stage| stage.name.as_str()),
        ));
    };
    for (field, text) in [("work_item", &request.work_item), ("key", &request.key)] {
        if let Some(text) = text
            && (text.trim().is_empty() || text.len() > WORD_BYTES_MAX || text.chars().any(char::is_control))
        {
            let rule = format!("{field} must be one line of 1 to {WORD_BYTES_MAX} bytes");
            return Err(Status::invalid_argument(rule));
        }
    }
    if request.prompt.as_ref().is_some_and(|prompt| prompt.len() > PROMPT_BYTES_MAX) {
        return Err(Status::invalid_argument(format!("the prompt is longer than {PROMPT_BYTES_MAX} bytes")));
    }
    let now = shared.now();
    let work_item = request
        .work_item
        .or_else(|| request.key.clone())
        .unwrap_or_else(|| format!("item-{}", shared.random.id_at(now.as_ms()).simple()));
    let job = NewJob {
        project: request.project,
        work_item,
        stage: stage.name.clone(),
        role: stage.role.clone(),
        priority: request.priority,
        available_at: now,
        semantic_key: request.key.map(|key| format!("enqueue:{key}")),
        payload: Payload { prompt: request.prompt, ..Payload::default() },
        trace_context: trace_context::current(),
        origin: Origin::default(),
        about: About::default(),
        budgets: Budgets::default(),
    };
    let enqueued = shared.store.enqueue(job, now).await.map_err(|error| unavailable(&error))?;
    tracing::info!(job.id = %enqueued.job, fresh = enqueued.fresh, "job enqueued by an operator");
    shared.wake();
    Ok(EnqueueReply { id: enqueued.job.0, created: enqueued.fresh })
}

/// A queued job ends at once, an offer is withdrawn, an agent is told to stop.
pub(super) async fn cancel(shared: &Arc<Shared>, request: CancelJobRequest) -> Result<JobReply, Status> {
    let id = JobId(request.id);
    let moved = move_job(shared, id, &Event::CancelRequested, Report::default()).await?;
    if let JobState::Running { run, run_state, .. } = moved.after.state {
        shared.runs.book(|book| book.request_cancel(run));
        if let Some(live) = shared.runs.book(|book| book.get(run).cloned()) {
            if run_state == LiveRunState::Offered {
                // Before its Start is committed nothing can have been spawned, so nobody needs to be waited for.
                dispatch::withdraw(shared, &live, "cancel_requested").await;
            }
            dispatch::tell_cancel(shared, live);
        }
    }
    Ok(JobReply { job: Some(shown(shared, id).await?) })
}

pub(super) async fn retry(shared: &Shared, request: RetryJobRequest) -> Result<JobReply, Status> {
    let id = JobId(request.id);
    move_job(shared, id, &Event::Retried, Report::default()).await?;
    Ok(JobReply { job: Some(shown(shared, id).await?) })
}

/// Queues again what a filter finds, one job after the other; a job that moved meanwhile is passed by.
pub(super) async fn retry_many(shared: &Shared, request: RetryJobsRequest) -> Result<RetryJobsReply, Status> {
    let status = match request.status.as_deref() {
        None | Some("failed") => JobStatus::Failed,
        Some("cancelled") => JobStatus::Cancelled,
        Some(other) => {
            return Err(Status::invalid_argument(format!(
                "status {other} cannot be retried: failed or cancelled"
            )));
        }
    };
    let since = match &request.since {
        None => Timestamp::from_ms(shared.now().as_ms() - DAY_MS),
        Some(text) => Timestamp::parse(text).ok_or_else(|| {
            Status::invalid_argument(format!(
                "since says {text}: write an instant such as 2026-11-22T03:00:00Z"
            ))
        })?,
    };
    let limit = if request.limit == 0 { PAGE_MAX } else { request.limit.min(PAGE_MAX) };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = GivenUp {
        status,
        project: given(request.project),
        stage: given(request.stage),
        reason: given(request.reason),
        since,
        limit,
    };
    let found = shared.store.given_up(filter).await.map_err(|error| unavailable(&error))?;
    let mut reply =
        RetryJobsReply { ids: found.iter().map(|id| id.0).collect(), ..RetryJobsReply::default() };
    if request.dry_run {
        return Ok(reply);
    }
    for id in found {
        match move_job(shared, id, &Event::Retried, Report::default()).await {
            Ok(_) => reply.retried += 1,
            Err(NotMoved::Illegal(_) | NotMoved::NotFound(_) | NotMoved::Contended(_)) => reply.refused += 1,
            Err(error @ NotMoved::Store(_)) => {
                let done = reply.retried;
                return Err(Status::unavailable(format!("{done} jobs were queued again, then: {error}")));
            }
        }
    }
    Ok(reply)
}

/// A filter for the audit.
pub(super) fn filter_in_words(request: &RetryJobsRequest) -> String {
    let status = request.status.clone().unwrap_or_else(|| "failed".to_owned());
    let parts = [
        ("project", &request.project),
        ("stage", &request.stage),
        ("reason", &request.reason),
        ("since", &request.since),
    ];
    let parts = parts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
    std::iter::once(status).chain(parts).collect::<Vec<_>>().join(", ")
}

/// A job with why it waits.
async fn shown(shared: &Shared, id: JobId) -> Result<proto::v1::Job, Status> {
    let entry = read(shared, id).await?;
    Ok(convert::job(&entry.job, entry.waiting.as_ref()))
}

async fn read(shared: &Shared, id: JobId) -> Result<WaitingJob, Status> {
    let filter = JobFilter { before: Some(JobId(id.0.saturating_add(1))), ..JobFilter::newest(1) };
    let newest = shared.store.jobs(filter).await.map_err(|error| unavailable(&error))?;
    newest
        .into_iter()
        .find(|entry| entry.job.id == id)
        .ok_or_else(|| Status::not_found(format!("there is no job {id}: `orch jobs` lists them")))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Status {
    let known: Vec<&str> = known.collect();
    let remedy = if known.is_empty() {
        "there is none in orch.toml yet".to_owned()
    } else {
        format!("orch.toml has {}", known.join(", "))
    };
    Status::invalid_argument(format!("unknown {what} {name}: {remedy}"))
}
