//! A run's log as plain text, passed on from the scheduler as it comes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::RunId;
use futures::StreamExt as _;
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::answer::problem;

/// How long the scheduler may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The log from its start; with `follow` on until the run is over. An answer other than 200 says why there is none.
pub(crate) async fn stream(
    mut admin: AdminServiceClient<Channel>,
    run: RunId,
    follow: bool,
    stop: CancellationToken,
) -> Result<impl IntoResponse, Response> {
    let of = Some(v1::stream_logs_request::Of::RunId(run.to_string()));
    let begun = service::grpc::call(
        BEGIN_TIMEOUT,
        admin.stream_logs(v1::StreamLogsRequest { of, follow, tail_bytes: None }),
    )
    .await;
    let frames = begun.map_err(|status| refusal(&status))?.into_inner();
    let text = frames.map(|frame| Ok::<_, Infallible>(piece(frame))).take_until(stop.cancelled_owned());
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, Body::from_stream(text)))
}

/// A frame as text: the bytes as they are; a gap, or the end of a stream that broke off, as a line that says so.
fn piece(frame: Result<v1::LogFrame, Status>) -> Bytes {
    match frame {
        Ok(frame) if frame.gap_bytes > 0 => {
            Bytes::from(format!("\n[... {} bytes dropped ...]\n", frame.gap_bytes))
        }
        Ok(frame) => frame.data.into(),
        Err(status) => Bytes::from(format!("\n[log broken off: {}]\n", status.message())),
    }
}

fn refusal(status: &Status) -> Response {
    if status.code() == Code::NotFound {
        return problem(StatusCode::NOT_FOUND, status.message());
    }
    tracing::info!(code = ?status.code(), reason = status.message(), "could not get a run's log");
    let reason = format!("the scheduler, which keeps the logs, could not be asked: {}", status.message());
    problem(StatusCode::SERVICE_UNAVAILABLE, &reason)
}
