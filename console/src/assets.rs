//! Style, scripts and icon, built into the binary. A browser asks whether its copy is still the one.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

/// One file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    /// Where it is served.
    pub(crate) url: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $kind:literal) => {
        Asset {
            url: concat!("/assets/", $name),
            kind: $kind,
            text: include_str!(concat!("../assets/", $name)),
        }
    };
}

pub(crate) const STYLE: Asset = asset!("console.css", "text/css; charset=utf-8");
pub(crate) const SCRIPT: Asset = asset!("console.js", "text/javascript; charset=utf-8");
pub(crate) const LOG_SCRIPT: Asset = asset!("log.js", "text/javascript; charset=utf-8");
pub(crate) const ICON: Asset = asset!("icon.svg", "image/svg+xml");

/// Their routes; nobody needs to be known to get them.
pub(crate) fn router() -> Router {
    [STYLE, SCRIPT, LOG_SCRIPT, ICON].into_iter().fold(Router::new(), |router, asset| {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(asset.text.as_bytes())[..8]));
        router.route(asset.url, get(async move |headers: HeaderMap| serve(asset, &tag, &headers)))
    })
}

fn serve(asset: Asset, tag: &str, asked: &HeaderMap) -> Response {
    let headers = [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, "no-cache"), (ETAG, tag)];
    if asked.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, asset.text).into_response()
}
