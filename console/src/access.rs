//! Who may read: whoever shows the token, or, when there is none, whoever asks on loopback for a loopback host.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use service::settings::Secret;
use subtle::ConstantTimeEq as _;

use crate::answer::problem;

/// Puts the check before every route of `app`.
pub(crate) fn guard(app: Router, token: Option<Secret>) -> Router {
    app.layer(from_fn_with_state(Arc::new(token), check))
}

async fn check(State(token): State<Arc<Option<Secret>>>, request: Request, next: Next) -> Response {
    match token.as_ref() {
        Some(token) if shows(request.headers(), token) => next.run(request).await,
        Some(_) => {
            let refusal = problem(
                StatusCode::UNAUTHORIZED,
                "send `Authorization: Bearer` with the value of ORCH_CONSOLE_TOKEN",
            );
            ([(WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
        }
        None if asks_loopback(request.headers()) => next.run(request).await,
        // Without a token the address is the only protection, and a page elsewhere can point its own name at it.
        None => problem(
            StatusCode::FORBIDDEN,
            "without ORCH_CONSOLE_TOKEN the console answers to the host names localhost, 127.0.0.1 and [::1] only",
        ),
    }
}

fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let shown = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let (scheme, value) = shown.split_at_checked(SCHEME.len()).unwrap_or_default();
    scheme.eq_ignore_ascii_case(SCHEME) && bool::from(value.ct_eq(token.expose().as_bytes()))
}

const SCHEME: &[u8] = b"Bearer ";

fn asks_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Secret::new("s3cret");
        let accepted = |value: &str| shows(&headers(AUTHORIZATION, value), &token);
        let values = [
            "Bearer s3cret",
            "bearer s3cret",
            "Bearer s3cre",
            "Bearer s3cret ",
            "Bearer ",
            "",
            "Basic s3cret",
        ];
        assert_eq!(values.map(accepted), [true, true, false, false, false, false, false]);
        assert!(!shows(&HeaderMap::new(), &token));
    }

    #[test]
    fn names_that_are_not_loopback_are_not_answered() {
        let hosts = [
            "localhost:8081",
            "127.0.0.1",
            "[::1]:8081",
            "LOCALHOST",
            "evil.example:8081",
            "10.0.0.1",
            "a b",
        ];
        let answered = hosts.map(|host| asks_loopback(&headers(HOST, host)));
        assert_eq!(answered, [true, true, true, true, false, false, false]);
        assert!(asks_loopback(&HeaderMap::new()));
    }
}
