//! The routes: pages for people, the same facts as JSON for scripts, and the log of a run.

use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Json, Response};
use axum::routing::get;
use domain::Timestamp;
use proto::convert::{self, QueueSettings};
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use serde::Deserialize;
use service::Clock;
use store::ActFilter;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::access::{Asker, Credential};
use crate::answer::{problem, wants_page};
use crate::database::Database;
use crate::events::Events;
use crate::history::{self, History};
use crate::logs::Logs;
use crate::page::{self, Frame};
use crate::snapshot::Live;
use crate::{actions, snapshot};

/// How long the scheduler may take to say what live runs do; without it the page shows all else.
const LIVE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the scheduler may take to find jobs.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the routes share.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) database: Database,
    pub(crate) queue: QueueSettings,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) logs: Logs,
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
        .route("/audit", get(audit))
        .route("/requeue", get(many))
        .route("/raise", get(raise))
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
        let live = live(&state).await;
        snapshot::read(store.as_ref(), state.queue, live, now).await.map_err(|error| failed(&error))
    };
    match read.await {
        Ok(whole) => Html(page::home::page(&frame(asker, now), &whole).into_string()).into_response(),
        Err(reason) => page::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

/// What the scheduler says of live runs, as long as it answers at once: the page does not wait for it.
pub(crate) async fn live(state: &State) -> Result<Live, String> {
    let mut admin = state.admin.clone();
    let asked = service::grpc::call(LIVE_TIMEOUT, admin.list_live(v1::ListLiveRequest {})).await;
    asked.map(|reply| Live::from(reply.into_inner())).map_err(|status| status.message().to_owned())
}

#[derive(Deserialize)]
struct AuditQuery {
    before: Option<i64>,
}

async fn audit(
    Shared(state): Shared<State>,
    Extension(asker): Extension<Asker>,
    Query(query): Query<AuditQuery>,
) -> Response {
    let read = async {
        let filter = ActFilter { before: query.before, subject: None, limit: page::audit::ENTRIES_MAX };
        state.database.store()?.acts(filter).await.map_err(|error| failed(&error))
    };
    match read.await {
        Ok(acts) => Html(page::audit::page(&frame(asker, state.now()), &acts).into_string()).into_response(),
        Err(reason) => page::problem(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn many(
    Shared(mut state): Shared<State>,
    Extension(asker): Extension<Asker>,
    Query(filter): Query<actions::Filter>,
) -> Response {
    let is_asked = filter.is_asked();
    let request = filter.request(true);
    let found = if is_asked {
        let call = state.admin.retry_jobs(request.clone());
        let found = service::grpc::call(ASK_TIMEOUT, call).await;
        Some(found.map(tonic::Response::into_inner).map_err(|status| actions::explain(&status)))
    } else {
        None
    };
    let page = page::many::page(&frame(asker, state.now()), &request, found.as_ref());
    Html(page.into_string()).into_response()
}

#[derive(Deserialize)]
struct RaiseQuery {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    key: String,
}

async fn raise(
    Shared(state): Shared<State>,
    Extension(asker): Extension<Asker>,
    Query(RaiseQuery { scope, key }): Query<RaiseQuery>,
) -> Response {
    Html(page::raise::page(&frame(asker, state.now()), &scope, &key).into_string()).into_response()
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
        let detail = history::read(store.as_ref(), &id, wants_page(&headers)).await;
        let detail = detail.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, failed(&error)))?;
        detail.ok_or_else(|| (StatusCode::NOT_FOUND, format!("there is no job {id}")))
    };
    match (read.await, wants_page(&headers)) {
        (Ok(history), true) => {
            let page = page::job::page(&frame(asker, now), &history, query.run.as_deref());
            Html(page.into_string()).into_response()
        }
        (Ok(History { detail, .. }), false) => Json(detail).into_response(),
        (Err((status, reason)), true) => page::problem(status, &reason),
        (Err((status, reason)), false) => problem(status, &reason),
    }
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
    let text = state.logs.stream(run, query.follow, state.stop).await?;
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
