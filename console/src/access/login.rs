//! The way in and out of a session. Wrong tokens are limited for everybody together: a guess costs time, wherever it
//! comes from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::header::{CACHE_CONTROL, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use super::{Access, origin, session};
use crate::answer::problem;
use crate::page;

/// How many wrong tokens a minute are looked at.
const WRONG_MAX: usize = 10;
const WRONG_WITHIN_MS: i64 = 60_000;

/// Where to log in and go on with `next`.
pub(super) fn url(next: &str) -> String {
    format!("/login?next={}", page::segment(next))
}

pub(super) fn router(access: Arc<Access>) -> Router {
    let door = Arc::new(Door { access, wrong_at_ms: Mutex::default() });
    Router::new().route("/login", get(show).post(log_in)).route("/logout", post(log_out)).with_state(door)
}

struct Door {
    access: Arc<Access>,
    /// When wrong tokens came, the oldest first.
    wrong_at_ms: Mutex<VecDeque<i64>>,
}

impl Door {
    fn is_shut(&self, now_ms: i64) -> bool {
        let mut wrong = self.wrong_at_ms.lock().unwrap_or_else(PoisonError::into_inner);
        while wrong.front().is_some_and(|at| now_ms - at >= WRONG_WITHIN_MS) {
            wrong.pop_front();
        }
        wrong.len() >= WRONG_MAX
    }

    fn count_wrong(&self, now_ms: i64) {
        self.wrong_at_ms.lock().unwrap_or_else(PoisonError::into_inner).push_back(now_ms);
    }
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

async fn show(Query(Next { next }): Query<Next>) -> Response {
    Html(page::login::page(None, own_path(&next)).into_string()).into_response()
}

#[derive(Deserialize)]
struct Shown {
    token: String,
    #[serde(default)]
    next: String,
}

async fn log_in(State(door): State<Arc<Door>>, headers: HeaderMap, Form(shown): Form<Shown>) -> Response {
    if origin::of(&headers) == origin::From::Elsewhere {
        return problem(StatusCode::FORBIDDEN, origin::REFUSED);
    }
    let (now_ms, next) = (door.access.clock.now_ms(), own_path(&shown.next));
    let again =
        |status, what| (status, Html(page::login::page(Some(what), next).into_string())).into_response();
    if door.is_shut(now_ms) {
        return again(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens: try again in a minute");
    }
    let token = shown.token.trim();
    let Some(role) = door.access.role_of(token.as_bytes()) else {
        door.count_wrong(now_ms);
        tracing::warn!("somebody showed a wrong token at the login");
        return again(StatusCode::UNAUTHORIZED, "this is not a token of this console");
    };
    tracing::info!(role = role.as_str(), "somebody logged in");
    let value = session::sign(role, &service::settings::Secret::new(token), now_ms);
    let secure = if came_by_https(&headers) { "; Secure" } else { "" };
    let cookie = format!(
        "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        session::COOKIE,
        session::LASTS_SECONDS
    );
    ([(SET_COOKIE, cookie), (CACHE_CONTROL, "no-store".to_owned())], Redirect::to(next)).into_response()
}

async fn log_out(headers: HeaderMap) -> Response {
    if origin::of(&headers) == origin::From::Elsewhere {
        return problem(StatusCode::FORBIDDEN, origin::REFUSED);
    }
    let gone = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", session::COOKIE);
    ([(SET_COOKIE, gone)], Redirect::to("/login")).into_response()
}

/// The console itself speaks plain HTTP; a proxy in front says how it was asked.
fn came_by_https(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// A path of this console; anything that could lead elsewhere is the overview.
fn own_path(next: &str) -> &str {
    let leads_elsewhere = !next.starts_with('/')
        || next.starts_with("//")
        || next.contains(['\\', '\r', '\n', '\t'])
        || next.starts_with("/log");
    if leads_elsewhere { "/" } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_on_stays_here() {
        let next =
            ["/jobs/7?run=x", "", "//evil.example", "https://evil.example", "/\\evil", "/a\r\nb", "/login"];
        assert_eq!(next.map(own_path), ["/jobs/7?run=x", "/", "/", "/", "/", "/", "/"]);
        assert_eq!(url("/jobs/7?run=x&y"), "/login?next=%2Fjobs%2F7%3Frun%3Dx%26y");
    }
}
