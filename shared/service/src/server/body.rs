//! Reading a whole request body within limits.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::OwnedSemaphorePermit;

use super::Room;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is longer than allowed, or says so in its `Content-Length`. Answer 413.
    #[error("the body is longer than {max_bytes} bytes")]
    TooLarge {
        /// What is allowed.
        max_bytes: u64,
    },
    /// It did not arrive in time. Answer 408.
    #[error("the body took longer than {timeout_ms} ms")]
    TooSlow {
        /// What is allowed.
        timeout_ms: u128,
    },
    /// The connection failed, or the framing is wrong. Answer 400, if anybody is left to read it.
    #[error("could not read the body")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A body that was read, and the room that it takes until this is dropped.
#[derive(Debug)]
pub struct Whole {
    /// What it says.
    pub bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `max_bytes` within `timeout`, which it may spend waiting for `room` as well.
///
/// A `Content-Length` beyond the limit is refused before a byte is read; memory grows with what arrives, not with
/// what is announced.
pub async fn read_body<B>(body: B, max_bytes: u64, timeout: Duration, room: &Room) -> Result<Whole, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > max_bytes {
        return Err(BodyError::TooLarge { max_bytes });
    }
    match tokio::time::timeout(timeout, collect(body, max_bytes, room)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(BodyError::TooSlow { timeout_ms: timeout.as_millis() }),
    }
}

async fn collect<B>(body: B, max_bytes: u64, room: &Room) -> Result<Whole, BodyError>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    let (mut whole, mut held) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
        // Trailers are not part of the body.
        let Ok(mut data) = frame.into_data() else { continue };
        if (whole.len() as u64).saturating_add(data.remaining() as u64) > max_bytes {
            return Err(BodyError::TooLarge { max_bytes });
        }
        room.hold(&mut held, whole.len() + data.remaining()).await;
        whole.put(&mut data);
    }
    Ok(Whole { bytes: whole.freeze(), _held: held })
}
