//! Reads on, for a while, what a refused sender is still sending.
//!
//! A connection closed with unread bytes is reset, and then the sender may lose the answer that says why.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use http_body_util::BodyExt as _;
use service::Tasks;

/// How long to read on.
const TIME_MAX: Duration = Duration::from_secs(2);
/// How many bytes to read on.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Drops the rest of `body` as it comes, within the limits, in a task of its own.
pub(crate) fn spawn(mut body: Body, tasks: &Tasks) {
    if body.is_end_stream() {
        return;
    }
    tasks.spawn("linger", async move {
        let drained = tokio::time::timeout(TIME_MAX, async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
                if bytes > BYTES_MAX {
                    break;
                }
            }
        });
        if drained.await.is_err() {
            tracing::debug!("a refused sender went on sending");
        }
    });
}
