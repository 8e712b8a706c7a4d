//! What a person does: one route for each verb, passed to the scheduler, which alone acts. A page is sent back where it
//! was; a script gets the scheduler's answer as JSON.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Path, State as Shared};
use axum::http::header::REFERER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Json, Redirect, Response};
use axum::routing::post;
use proto::v1;
use serde::Serialize;
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
}

async fn cancel(Shared(mut state): Shared<State>, Path(id): Path<i64>, ask: Ask) -> Response {
    let call = state.admin.cancel_job(v1::CancelJobRequest { id });
    ask.answer("cancel", &id.to_string(), call).await
}

async fn retry(Shared(mut state): Shared<State>, Path(id): Path<i64>, ask: Ask) -> Response {
    let call = state.admin.retry_job(v1::RetryJobRequest { id });
    ask.answer("retry", &id.to_string(), call).await
}

async fn pause(Shared(mut state): Shared<State>, ask: Ask) -> Response {
    ask.answer("pause", "all", state.admin.pause(v1::PauseRequest {})).await
}

async fn resume(Shared(mut state): Shared<State>, ask: Ask) -> Response {
    ask.answer("resume", "all", state.admin.resume(v1::ResumeRequest {})).await
}

async fn drain(Shared(mut state): Shared<State>, Path(node): Path<String>, ask: Ask) -> Response {
    let call = state.admin.drain_runner(v1::DrainRunnerRequest { node: node.clone() });
    ask.answer("drain", &node, call).await
}

async fn resume_account(Shared(mut state): Shared<State>, Path(account): Path<String>, ask: Ask) -> Response {
    let call = state.admin.resume_account(v1::ResumeAccountRequest { account: account.clone() });
    ask.answer("resume account", &account, call).await
}

async fn reset_breaker(Shared(mut state): Shared<State>, Path(account): Path<String>, ask: Ask) -> Response {
    let call = state.admin.reset_breaker(v1::ResetBreakerRequest { account: account.clone() });
    ask.answer("reset breaker", &account, call).await
}

async fn approve(Shared(mut state): Shared<State>, Path(item): Path<(String, String)>, ask: Ask) -> Response {
    let (decision, key) = decision(item);
    ask.answer("approve", &key, state.admin.approve_item(decision)).await
}

async fn reject(Shared(mut state): Shared<State>, Path(item): Path<(String, String)>, ask: Ask) -> Response {
    let (decision, key) = decision(item);
    ask.answer("reject", &key, state.admin.reject_item(decision)).await
}

fn decision((project, key): (String, String)) -> (v1::DecideItemRequest, String) {
    let by = Some("an operator at the console".to_owned());
    let decision = v1::DecideItemRequest { item: key.clone(), project: Some(project), note: None, by };
    (decision, key)
}

/// Who asks, and in which form he wants the answer.
struct Ask {
    asker: Asker,
    /// The page to go back to; `None`: a script asks.
    back: Option<String>,
}

impl Ask {
    async fn answer<T: Serialize>(
        self,
        verb: &'static str,
        subject: &str,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Response {
        let done = service::grpc::call(CALL_TIMEOUT, call).await;
        let ok = done.is_ok();
        tracing::info!(verb, subject, ok, by = ?self.asker.by, "a person acted through the console");
        match (done, self.back) {
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
        Ok(Self { asker, back })
    }
}

/// The path the person was at, on this console.
fn page_before(headers: &HeaderMap) -> String {
    let referer = headers.get(REFERER).and_then(|value| value.to_str().ok());
    let uri = referer.and_then(|referer| referer.parse::<axum::http::Uri>().ok());
    let path = uri.as_ref().and_then(|uri| uri.path_and_query()).map(|path| path.as_str().to_owned());
    path.filter(|path| path.starts_with('/') && !path.starts_with("//")).unwrap_or_else(|| "/".to_owned())
}

fn code(status: &Status) -> StatusCode {
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

fn explain(status: &Status) -> String {
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
