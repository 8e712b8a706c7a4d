//! `read_body` behind the real listener.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::*;
use crate::server::{BodyError, Room, read_body};

const MAX: u64 = 10;

async fn start_reading() -> Running {
    let read = async |body: Body| -> Response {
        match read_body(body, MAX, SHORT * 3, &Room::new(0)).await {
            Ok(whole) => whole.bytes.into_response(),
            Err(BodyError::TooLarge { max_bytes: MAX }) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Err(BodyError::TooSlow { .. }) => StatusCode::REQUEST_TIMEOUT.into_response(),
            Err(BodyError::TooLarge { .. } | BodyError::Broken(_)) => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    start(Router::new().route("/", post(read)), Limits::default(), None).await
}

fn head(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n\r\n")
}

#[tokio::test]
async fn bodies_within_the_limit_are_read_and_others_refused() {
    let server = start_reading().await;
    let whole = server.exchange(&format!("{}0123456789", head("Content-Length: 10"))).await;
    assert!(status(&whole) == "200" && whole.ends_with("\r\n\r\n0123456789"), "{whole}");
    let chunked = format!("{}5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", head("Transfer-Encoding: chunked"));
    assert!(server.exchange(&chunked).await.ends_with("0123456789"));
    let over = format!("{}5\r\n01234\r\n6\r\n56789X\r\n", head("Transfer-Encoding: chunked"));
    assert_eq!(status(&server.exchange(&over).await), "413");
    let broken = format!("{}zz\r\n", head("Transfer-Encoding: chunked"));
    assert_eq!(status(&server.exchange(&broken).await), "400");
    server.stop().await;
}

#[tokio::test]
async fn a_content_length_beyond_the_limit_is_refused_before_a_byte_is_read() {
    let server = start_reading().await;
    // No `100 Continue` comes first: that would ask for the body.
    let answer = server.exchange(&head("Content-Length: 11\r\nExpect: 100-continue")).await;
    assert_eq!(status(&answer), "413");
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let server = start_reading().await;
    assert_eq!(status(&server.exchange(&format!("{}01", head("Content-Length: 10"))).await), "408");
    server.stop().await;
}

#[tokio::test]
async fn large_bodies_wait_for_room_and_small_ones_need_none() {
    const LARGE: usize = 1024 * 1024;
    let room = Room::new(LARGE);
    let read = |size: usize, timeout| {
        let room = room.clone();
        async move { read_body(Body::from(vec![b'x'; size]), 4 * LARGE as u64, timeout, &room).await }
    };
    let first = read(LARGE, DEADLINE).await.expect("there is room");
    let second = read(LARGE, SHORT).await;
    assert!(matches!(second, Err(BodyError::TooSlow { .. })), "{second:?}");
    assert_eq!(read(60_000, SHORT).await.expect("a small one").bytes.len(), 60_000);
    let waiting = tokio::join!(read(LARGE, DEADLINE), async { drop(first) }).0;
    assert_eq!(waiting.expect("there is room again").bytes.len(), LARGE);
    assert!(
        matches!(read(3 * LARGE, SHORT).await, Err(BodyError::TooSlow { .. })),
        "more than there ever is"
    );
}

#[tokio::test]
async fn a_handler_without_a_deadline_of_its_own_does_not_wait_for_ever() {
    let echo = async |body: bytes::Bytes| body;
    let limits = Limits { body: SHORT, connections_max: 1, ..Limits::default() };
    let server = start(Router::new().route("/", post(echo)), limits, None).await;
    let answer = server.exchange(&format!("{}01", head("Content-Length: 10"))).await;
    assert_eq!(status(&answer), "400", "{answer}");
    assert_eq!(status(&server.exchange(&format!("{}0123456789", head("Content-Length: 10"))).await), "200");
    server.stop().await;
}
