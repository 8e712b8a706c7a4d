//! Who may look and who may act: whoever shows a token, in a header or once at `/login`, or, when there is none, whoever
//! asks on loopback for a loopback host.

mod login;
mod origin;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Redirect, Response};
use service::Clock;
use service::lifecycle::Refused;
use service::settings::Secret;
use subtle::ConstantTimeEq as _;

use crate::answer::{problem, wants_page};

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Look.
    Reader,
    /// Look and act.
    Operator,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
        }
    }
}

/// Who asks; every route behind the guard finds it in the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// What he may do.
    pub(crate) role: Role,
    /// How we know.
    pub(crate) by: Credential,
}

/// How somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    /// By a header of the request itself.
    Token,
    /// By the cookie of a session.
    Session,
    /// By asking on loopback, where there is no token.
    Loopback,
}

impl Asker {
    /// Who he is, as far as the console knows: it knows tokens, not names.
    pub(crate) const fn words(self) -> &'static str {
        match self.by {
            Credential::Token => "who has the console's token",
            Credential::Session => "an operator at the console",
            Credential::Loopback => "an operator on this host",
        }
    }
}

/// The tokens that open the console.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    operator: Option<Secret>,
    reader: Option<Secret>,
    clock: Clock,
}

impl Access {
    /// Takes the tokens; none means loopback alone.
    ///
    /// # Errors
    /// A token to look without one to act, or the same for both.
    pub(crate) fn new(
        operator: Option<Secret>,
        reader: Option<Secret>,
        clock: Clock,
    ) -> Result<Self, Refused> {
        match (&operator, &reader) {
            (None, Some(_)) => Err(Refused::new(
                "ORCH_CONSOLE_READ_TOKEN is set without ORCH_CONSOLE_TOKEN: nobody could act, set both".to_owned(),
            )),
            (Some(operator), Some(reader)) if operator == reader => Err(Refused::new(
                "ORCH_CONSOLE_READ_TOKEN and ORCH_CONSOLE_TOKEN are the same: who may only look needs another one".to_owned(),
            )),
            _ => Ok(Self { operator, reader, clock }),
        }
    }

    fn is_open(&self) -> bool {
        self.operator.is_none()
    }

    /// The tokens with what each allows.
    fn tokens(&self) -> impl Iterator<Item = (Role, &Secret)> {
        let operator = self.operator.iter().map(|token| (Role::Operator, token));
        operator.chain(self.reader.iter().map(|token| (Role::Reader, token)))
    }

    /// What a shown token allows. Compares with every one of them, in constant time.
    fn role_of(&self, shown: &[u8]) -> Option<Role> {
        let mut role = None;
        for (one, token) in self.tokens() {
            if bool::from(shown.ct_eq(token.expose().as_bytes())) {
                role = Some(one);
            }
        }
        role
    }

    fn asker(&self, headers: &HeaderMap) -> Option<Asker> {
        if self.is_open() {
            return asks_loopback(headers)
                .then_some(Asker { role: Role::Operator, by: Credential::Loopback });
        }
        if let Some(role) = bearer(headers).and_then(|shown| self.role_of(shown)) {
            return Some(Asker { role, by: Credential::Token });
        }
        let value = cookie(headers)?;
        let now_ms = self.clock.now_ms();
        let (role, _) = self.tokens().find(|(role, token)| session::is_valid(value, *role, token, now_ms))?;
        Some(Asker { role, by: Credential::Session })
    }
}

/// Puts the check before every route of `app`, and adds the ways in and out.
pub(crate) fn guard(app: Router, access: Access) -> Router {
    let access = Arc::new(access);
    let app = app.layer(from_fn_with_state(access.clone(), check));
    if access.is_open() { app } else { app.merge(login::router(access)) }
}

async fn check(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let Some(asker) = access.asker(request.headers()) else { return unknown(&access, &request) };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && let Err(why) = may_change(asker, request.headers()) {
        return problem(StatusCode::FORBIDDEN, why);
    }
    request.extensions_mut().insert(asker);
    next.run(request).await
}

fn may_change(asker: Asker, headers: &HeaderMap) -> Result<(), &'static str> {
    let trusted = match (origin::of(headers), asker.by) {
        (origin::From::Ourselves, _) | (_, Credential::Token) => true,
        (origin::From::NoBrowser, by) => by == Credential::Loopback,
        (origin::From::Elsewhere, _) => false,
    };
    match (trusted, asker.role) {
        (false, _) => Err(origin::REFUSED),
        (true, Role::Reader) => {
            Err("this token may only look: log in with the value of ORCH_CONSOLE_TOKEN to act")
        }
        (true, Role::Operator) => Ok(()),
    }
}

fn unknown(access: &Access, request: &Request) -> Response {
    if access.is_open() {
        // Without a token the address is the only protection, and a page elsewhere can point its own name at it.
        return problem(
            StatusCode::FORBIDDEN,
            "without ORCH_CONSOLE_TOKEN the console answers to the host names localhost, 127.0.0.1 and [::1] only",
        );
    }
    if request.method() == Method::GET && wants_page(request.headers()) {
        let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
        return Redirect::to(&login::url(next)).into_response();
    }
    let refusal = problem(
        StatusCode::UNAUTHORIZED,
        "send `Authorization: Bearer` with the value of ORCH_CONSOLE_TOKEN, or log in at /login",
    );
    ([(WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(value)
}

const SCHEME: &[u8] = b"Bearer ";

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(COOKIE).into_iter().filter_map(|field| field.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == session::COOKIE).map(|(_, value)| value)
}

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
mod tests;
