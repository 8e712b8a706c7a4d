//! Asks before every request whether its caller may make it. Which may what is the rule of the service.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use tonic::Status;

use super::{Caller, OPEN_PATHS};

/// Puts a rule before a router: of a caller and a path it says why not, if not. Refusals are logged.
pub fn guarded<R>(app: Router, rule: R) -> Router
where
    R: Fn(&Caller, &str) -> Result<(), String> + Clone + Send + Sync + 'static,
{
    app.layer(from_fn(move |request: Request, next: Next| {
        let caller = Caller::of(request.extensions());
        let path = request.uri().path();
        let judged = if OPEN_PATHS.contains(&path) { Ok(()) } else { rule(&caller, path) };
        let refusal = judged.err().map(|reason| refuse(&request, &caller, reason));
        async move {
            match refusal {
                Some(refusal) => refusal,
                None => next.run(request).await,
            }
        }
    }))
}

fn refuse(request: &Request, caller: &Caller, reason: String) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    tracing::warn!(%caller, ?peer, path = request.uri().path(), reason, "refused");
    Status::permission_denied(reason).into_http::<Body>()
}
