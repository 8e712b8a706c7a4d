//! A run's log as plain text, passed on from the scheduler as it comes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::RunId;
use futures::{StreamExt as _, stream};
use proto::v1;
use proto::v1::admin_service_client::AdminServiceClient;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::answer::problem;

/// How long the scheduler may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long what came before a break has to go out.
const FLUSH: Duration = Duration::from_millis(50);
/// Connections to the scheduler for logs alone: each carries at most 256 streams, and as many readers as the console
/// serves fit.
pub(crate) const CONNECTIONS: usize = 4;

/// The ways to the scheduler's logs. They are not those on which people act: many readers never stand in the way of a
/// cancel.
#[derive(Clone, Debug)]
pub(crate) struct Logs {
    connections: Arc<[AdminServiceClient<Channel>]>,
    next: Arc<AtomicUsize>,
}

impl Logs {
    /// Takes the connections in turn.
    pub(crate) fn new(connections: Vec<AdminServiceClient<Channel>>) -> Self {
        Self { connections: connections.into(), next: Arc::default() }
    }

    fn connection(&self) -> AdminServiceClient<Channel> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[turn % self.connections.len()].clone()
    }

    /// The log from its start; with `follow` on until the run is over. An answer other than 200 says why there is none.
    ///
    /// A log that does not come to its end here breaks off, so that its reader knows to read it again.
    pub(crate) async fn stream(
        &self,
        run: RunId,
        follow: bool,
        stop: CancellationToken,
    ) -> Result<impl IntoResponse + use<>, Response> {
        let of = Some(v1::stream_logs_request::Of::RunId(run.to_string()));
        let request = v1::StreamLogsRequest { of, follow, tail_bytes: None };
        let begun = service::grpc::call(BEGIN_TIMEOUT, self.connection().stream_logs(request)).await;
        let frames = begun.map_err(|status| refusal(&status))?.into_inner();
        let stopped = stop.clone();
        let cut = stream::iter([()]).filter_map(move |()| {
            let cut = stopped.is_cancelled().then(|| Err(broken_off()));
            async { cut }
        });
        let text = frames.flat_map(|frame| stream::iter(pieces(frame))).take_until(stop.cancelled_owned());
        let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
        // What came before the break goes out first: an error drops what is not sent yet.
        let text = text.chain(cut).then(|piece| async {
            if piece.is_err() {
                tokio::time::sleep(FLUSH).await;
            }
            piece
        });
        Ok((headers, Body::from_stream(text)))
    }
}

/// A frame as text: the bytes as they are; a gap, or the end of a stream that broke off, as a line that says so.
fn pieces(frame: Result<v1::LogFrame, Status>) -> Vec<io::Result<Bytes>> {
    match frame {
        Ok(frame) if frame.gap_bytes > 0 => {
            vec![Ok(Bytes::from(format!("\n[... {} bytes dropped ...]\n", frame.gap_bytes)))]
        }
        Ok(frame) => vec![Ok(frame.data)],
        Err(status) => {
            let line = Bytes::from(format!("\n[log broken off: {}]\n", status.message()));
            vec![Ok(line), Err(broken_off())]
        }
    }
}

fn broken_off() -> io::Error {
    io::Error::other("the log broke off")
}

fn refusal(status: &Status) -> Response {
    if status.code() == Code::NotFound {
        return problem(StatusCode::NOT_FOUND, status.message());
    }
    tracing::info!(code = ?status.code(), reason = status.message(), "could not get a run's log");
    let reason = format!("the scheduler, which keeps the logs, could not be asked: {}", status.message());
    problem(StatusCode::SERVICE_UNAVAILABLE, &reason)
}
