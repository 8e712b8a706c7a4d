//! `read_body` behind the real listener.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;

use super::*;
use crate::server::{BodyError, read_body};

const MAX: u64 = 10;

async fn start_reading() -> Running {
    let read = async |body: Body| -> Response {
        match read_body(body, MAX, SHORT * 3).await {
            Ok(bytes) => bytes.into_response(),
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
