//! The routes: the queue, one job, one run's log.

use axum::Router;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Json, Redirect, Response};
use axum::routing::get;
use domain::{JobId, Timestamp};
use proto::convert::{self, QueueSettings};
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use serde::Deserialize;
use service::Clock;
use store::JobFilter;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::answer::problem;
use crate::database::Database;
use crate::logs;

/// What the routes share.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) queue: QueueSettings,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) clock: Clock,
    /// Ends log streams that follow.
    pub(crate) stop: CancellationToken,
}

pub(crate) fn router(state: State) -> Router {
    Router::new()
        .route("/", get(async || Redirect::temporary("/queue")))
        .route("/queue", get(queue))
        .route("/jobs/{id}", get(job))
        .route("/runs/{id}/log", get(log))
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, "there is no such page: see /queue, /jobs/ID, /runs/ID/log")
        })
        .with_state(state)
}

async fn queue(Shared(state): Shared<State>) -> Result<Json<v1::QueueReply>, Response> {
    let store = state.database.store().map_err(|reason| unavailable(&reason))?;
    let now = Timestamp::from_ms(state.clock.now_ms());
    let overview = store.overview(now).await.map_err(|error| failed(&error))?;
    Ok(Json(convert::queue(&overview, state.queue, now)))
}

async fn job(Shared(state): Shared<State>, Path(id): Path<String>) -> Result<Json<v1::JobDetail>, Response> {
    let unknown = || problem(StatusCode::NOT_FOUND, &format!("there is no job {id}"));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    let store = state.database.store().map_err(|reason| unavailable(&reason))?;
    // The newest job below the next id: it comes with the reason why it waits, which a plain read does not tell.
    let newest = JobFilter { status: None, before: Some(JobId(number.saturating_add(1))), limit: 1 };
    let found = store.jobs(newest).await.map_err(|error| failed(&error))?;
    let entry = found.into_iter().find(|entry| entry.job.id == JobId(number)).ok_or_else(unknown)?;
    let runs = store.runs_of(entry.job.id).await.map_err(|error| failed(&error))?;
    let late = store.late_outcomes_of(entry.job.id).await.map_err(|error| failed(&error))?;
    Ok(Json(v1::JobDetail {
        job: Some(convert::job(&entry.job, entry.waiting.as_ref())),
        runs: runs.iter().map(convert::run).collect(),
        late_outcomes: late.iter().map(convert::late_outcome).collect(),
    }))
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    follow: bool,
}

async fn log(
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Response> {
    let run = convert::read_run_id(&id)
        .map_err(|_| problem(StatusCode::NOT_FOUND, &format!("there is no run {id}: a run id is a UUID")))?;
    let text = logs::stream(state.admin, run, query.follow, state.stop).await?;
    Ok(text.into_response())
}

fn unavailable(reason: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn failed(error: &store::Error) -> Response {
    tracing::warn!(error = error as &dyn std::error::Error, "could not read the database");
    problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
