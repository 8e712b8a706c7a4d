//! The routes: pages for people, the same facts as JSON for scripts, and the log of a run.

use axum::Router;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::get;
use domain::{JobId, Timestamp};
use proto::convert::{self, QueueSettings};
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use serde::Deserialize;
use service::Clock;
use store::{JobFilter, Store};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::access::{Asker, Credential};
use crate::answer::{problem, wants_page};
use crate::database::Database;
use crate::events::Events;
use crate::page::{self, Frame};
use crate::{actions, logs, snapshot};

/// What the routes share.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) queue: QueueSettings,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    /// Ends streams that follow.
    pub(crate) stop: CancellationToken,
}

impl State {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.clock.now_ms())
    }
}

pub(crate) fn router(state: State) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/queue", get(queue))
        .route("/events", get(events))
        .route("/jobs/{id}", get(job))
        .route("/runs/{id}/log", get(log))
        .merge(actions::router())
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, "there is no such page: see /, /queue, /jobs/ID, /runs/ID/log")
        })
        .with_state(state)
}

/// Reads the document of `GET /queue`; an error says why not, for people.
pub(crate) async fn read_queue(state: &State) -> Result<v1::QueueReply, String> {
    let store = state.database.store()?;
    let now = state.now();
    let overview = store.overview(now).await.map_err(|error| failed(&error))?;
    Ok(convert::queue(&overview, state.queue, now))
}

async fn queue(Shared(state): Shared<State>) -> Result<Json<v1::QueueReply>, Response> {
    read_queue(&state).await.map(Json).map_err(|reason| unavailable(&reason))
}

async fn home(Shared(state): Shared<State>, Extension(asker): Extension<Asker>) -> Response {
    let now = state.now();
    let read = async {
        let store = state.database.store()?;
        snapshot::read(store.as_ref(), state.queue, now).await.map_err(|error| failed(&error))
    };
    match read.await {
        Ok(whole) => Html(page::home::page(&frame(asker, now), &whole).into_string()).into_response(),
        Err(reason) => page::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn events(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    let known = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    state.events.listen(known, state.stop).into_response()
}

#[derive(Deserialize)]
struct JobQuery {
    /// The run whose log is shown.
    run: Option<String>,
}

async fn job(
    Shared(state): Shared<State>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<String>,
    Query(query): Query<JobQuery>,
    headers: HeaderMap,
) -> Response {
    let now = state.now();
    let read = async {
        let store = state.database.store().map_err(|reason| (StatusCode::SERVICE_UNAVAILABLE, reason))?;
        let detail = read_job(store.as_ref(), &id).await;
        let detail = detail.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, failed(&error)))?;
        detail.ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no job {id}")))
    };
    match (read.await, wants_page(&headers)) {
        (Ok(detail), true) => {
            let page = page::job::page(&frame(asker, now), &detail, query.run.as_deref());
            Html(page.into_string()).into_response()
        }
        (Ok(detail), false) => Json(detail).into_response(),
        (Err((status, reason)), true) => page::problem(status, &reason),
        (Err((status, reason)), false) => problem(status, &reason),
    }
}

async fn read_job(store: &dyn Store, id: &str) -> Result<Option<v1::JobDetail>, store::Error> {
    let Ok(number) = id.parse::<i64>() else { return Ok(None) };
    // The newest job below the next id: it comes with the reason why it waits, which a plain read does not tell.
    let newest = JobFilter { status: None, before: Some(JobId(number.saturating_add(1))), limit: 1 };
    let found = store.jobs(newest).await?;
    let Some(entry) = found.into_iter().find(|entry| entry.job.id == JobId(number)) else { return Ok(None) };
    let runs = store.runs_of(entry.job.id).await?;
    let late = store.late_outcomes_of(entry.job.id).await?;
    Ok(Some(convert::job_detail(&entry, &runs, &late)))
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

fn frame(asker: Asker, now: Timestamp) -> Frame {
    Frame { now, role: asker.role, leavable: asker.by == Credential::Session }
}

fn unavailable(reason: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, reason)
}

fn failed(error: &store::Error) -> String {
    tracing::warn!(error = error as &dyn std::error::Error, "could not read the database");
    error.to_string()
}
