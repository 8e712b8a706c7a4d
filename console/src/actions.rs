//! What a person does: one route for each verb, passed to the scheduler, which alone acts. A page is sent back where it
//! was; a script gets the scheduler's answer as JSON.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, Form, Path, Query, State as Shared};
use axum::http::header::REFERER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Json, Redirect, Response};
use axum::routing::post;
use proto::v1;
use serde::{Deserialize, Serialize};
use service::grpc::ActsAs;
use tonic::{Code, Status};

use crate::access::Asker;
use crate::answer::{problem, wants_page};
use crate::page;
use crate::routes::State;

/// How long the scheduler may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn router() -> Router<State> {
    Router::new()
        .route("/jobs/{id}/cancel", post(cancel))
        .route("/jobs/{id}/retry", post(retry))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/runners/{id}/drain", post(drain))
        .route("/accounts/{name}/resume", post(resume_account))
        .route("/breakers/{account}/reset", post(reset_breaker))
        .route("/items/{project}/{key}/approve", post(approve))
        .route("/items/{project}/{key}/reject", post(reject))
        .route("/requeue", post(retry_many))
        .route("/raise", post(raise))
}

async fn cancel(Shared(mut state): Shared<State>, Path(id): Path<i64>, ask: Ask) -> Response {
    let call = state.admin.cancel_job(ask.by(v1::CancelJobRequest { id }));
    ask.answer(call).await
}

async fn retry(Shared(mut state): Shared<State>, Path(id): Path<i64>, ask: Ask) -> Response {
    let call = state.admin.retry_job(ask.by(v1::RetryJobRequest { id }));
    ask.answer(call).await
}

/// All starts, or those of a part.
#[derive(Deserialize)]
struct OfPart {
    project: Option<String>,
    stage: Option<String>,
}

async fn pause(Shared(mut state): Shared<State>, Query(part): Query<OfPart>, ask: Ask) -> Response {
    let call = state.admin.pause(ask.by(v1::PauseRequest { project: part.project, stage: part.stage }));
    ask.answer(call).await
}

async fn resume(Shared(mut state): Shared<State>, Query(part): Query<OfPart>, ask: Ask) -> Response {
    let call = state.admin.resume(ask.by(v1::ResumeRequest { project: part.project, stage: part.stage }));
    ask.answer(call).await
}

async fn drain(Shared(mut state): Shared<State>, Path(node): Path<String>, ask: Ask) -> Response {
    let call = state.admin.drain_runner(ask.by(v1::DrainRunnerRequest { node }));
    ask.answer(call).await
}

async fn resume_account(Shared(mut state): Shared<State>, Path(account): Path<String>, ask: Ask) -> Response {
    let call = state.admin.resume_account(ask.by(v1::ResumeAccountRequest { account }));
    ask.answer(call).await
}

async fn reset_breaker(Shared(mut state): Shared<State>, Path(account): Path<String>, ask: Ask) -> Response {
    let call = state.admin.reset_breaker(ask.by(v1::ResetBreakerRequest { account }));
    ask.answer(call).await
}

async fn approve(Shared(mut state): Shared<State>, Path(item): Path<(String, String)>, ask: Ask) -> Response {
    let call = state.admin.approve_item(ask.by(decision(item)));
    ask.answer(call).await
}

async fn reject(Shared(mut state): Shared<State>, Path(item): Path<(String, String)>, ask: Ask) -> Response {
    let call = state.admin.reject_item(ask.by(decision(item)));
    ask.answer(call).await
}

fn decision((project, key): (String, String)) -> v1::DecideItemRequest {
    v1::DecideItemRequest { item: key, project: Some(project), note: None, by: None }
}

/// The filter of the page that retries many; what is left empty is not asked for.
#[derive(Deserialize)]
pub(crate) struct Filter {
    status: Option<String>,
    project: Option<String>,
    stage: Option<String>,
    reason: Option<String>,
    since: Option<String>,
}

impl Filter {
    /// Whether anything was asked at all.
    pub(crate) fn is_asked(&self) -> bool {
        self.status.is_some()
    }

    /// As the scheduler is asked.
    pub(crate) fn request(self, dry_run: bool) -> v1::RetryJobsRequest {
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        v1::RetryJobsRequest {
            status: given(self.status),
            project: given(self.project),
            stage: given(self.stage),
            reason: given(self.reason),
            since: given(self.since),
            limit: 0,
            dry_run,
        }
    }
}

async fn retry_many(Shared(mut state): Shared<State>, ask: Ask, Form(filter): Form<Filter>) -> Response {
    let call = state.admin.retry_jobs(ask.by(filter.request(false)));
    ask.at("/").answer(call).await
}

/// The form of the page that raises a budget.
#[derive(Deserialize)]
struct Raise {
    scope: String,
    key: String,
    usd: Option<String>,
    tokens: Option<String>,
    runs: Option<String>,
    note: Option<String>,
}

async fn raise(Shared(mut state): Shared<State>, ask: Ask, Form(raise): Form<Raise>) -> Response {
    let numbers =
        (number(raise.usd.as_deref()), number(raise.tokens.as_deref()), number(raise.runs.as_deref()));
    let (Ok(usd), Ok(tokens), Ok(runs)) = numbers else {
        return page::problem(StatusCode::BAD_REQUEST, "dollars, tokens and runs are numbers, such as 5");
    };
    let note = raise.note.filter(|note| !note.trim().is_empty());
    let request =
        v1::RaiseBudgetRequest { scope: raise.scope, key: raise.key, usd, tokens, runs, note, by: None };
    let call = state.admin.raise_budget(ask.by(request));
    ask.at("/").answer(call).await
}

/// A field that may be left empty.
fn number<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, T::Err> {
    text.map(str::trim).filter(|text| !text.is_empty()).map(str::parse).transpose()
}

/// Who asks, and in which form he wants the answer.
pub(crate) struct Ask {
    who: ActsAs,
    /// The page to go back to; `None`: a script asks.
    back: Option<String>,
}

impl Ask {
    /// The request, with who asks.
    fn by<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        self.who.write(request.metadata_mut());
        request
    }

    /// A person goes on there.
    fn at(mut self, path: &str) -> Self {
        self.back = self.back.map(|_| path.to_owned());
        self
    }

    async fn answer<T: Serialize>(
        self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Response {
        match (service::grpc::call(CALL_TIMEOUT, call).await, self.back) {
            (Ok(_), Some(back)) => Redirect::to(&back).into_response(),
            (Ok(reply), None) => Json(reply.into_inner()).into_response(),
            (Err(status), Some(_)) => page::problem(code(&status), &explain(&status)),
            (Err(status), None) => problem(code(&status), &explain(&status)),
        }
    }
}

impl axum::extract::FromRequestParts<State> for Ask {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        state: &State,
    ) -> Result<Self, Self::Rejection> {
        let Extension(asker) = Extension::<Asker>::from_request_parts(parts, state)
            .await
            .map_err(axum::response::IntoResponse::into_response)?;
        let back = wants_page(&parts.headers).then(|| page_before(&parts.headers));
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_string());
        let who = ActsAs { by: Some(asker.words().to_owned()), via: "console", from: peer };
        Ok(Self { who, back })
    }
}

/// The path the person was at, on this console.
fn page_before(headers: &HeaderMap) -> String {
    let referer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    let uri = referer.and_then(|referer| referer.parse::<axum::http::Uri>().ok());
    let path = uri.as_ref().and_then(|uri| uri.path_and_query()).map(|path| path.as_str().to_owned());
    path.filter(|path| path.starts_with('/') && !path.starts_with("//")).unwrap_or_else(|| "/".to_owned())
}

pub(crate) fn code(status: &Status) -> StatusCode {
    match status.code() {
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(crate) fn explain(status: &Status) -> String {
    if code(status) == StatusCode::SERVICE_UNAVAILABLE {
        return format!("the scheduler, which alone acts, could not be asked: {}", status.message());
    }
    status.message().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_stays_on_this_console() {
        let back = |referer: &str| page_before(&HeaderMap::from_iter([(REFERER, referer.parse().unwrap())]));
        assert_eq!(back("http://127.0.0.1:8081/jobs/7?run=x"), "/jobs/7?run=x");
        assert_eq!(back("https://evil.example//evil.example/"), "/");
        assert_eq!(back("not a url"), "/");
        assert_eq!(page_before(&HeaderMap::new()), "/");
    }
}
