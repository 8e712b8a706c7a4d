//! Whether a request that changes something comes from a page of our own.
//!
//! A browser says where a request comes from in `Sec-Fetch-Site` and `Origin`, and no page can change that. What sends
//! neither is no browser; it is let in only where no cookie speaks for it.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// What a page of somebody else is told.
pub(super) const REFUSED: &str = "the request comes from a page of another site";

/// Where a request says it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A page of this console.
    Ourselves,
    /// Some other page.
    Elsewhere,
    /// Nothing that says so: a script, not a browser.
    NoBrowser,
}

/// Reads it from the request's head.
pub(super) fn of(headers: &HeaderMap) -> From {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match text("sec-fetch-site") {
        Some("same-origin" | "none") => return From::Ourselves,
        Some(_) => return From::Elsewhere,
        None => {}
    }
    let Some(origin) = text(ORIGIN.as_str()) else { return From::NoBrowser };
    let named = origin.split_once("://").map(|(_, host)| host);
    if named.is_some() && named == text(HOST.as_str()) { From::Ourselves } else { From::Elsewhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_are_ourselves() {
        let from = |pairs: &[(&'static str, &str)]| {
            of(&pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
        };
        let host = ("host", "orch.example:8081");
        assert_eq!(from(&[host]), From::NoBrowser);
        assert_eq!(from(&[host, ("sec-fetch-site", "same-origin")]), From::Ourselves);
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            assert_eq!(from(&[host, ("sec-fetch-site", site)]), From::Elsewhere, "{site}");
        }
        assert_eq!(from(&[host, ("origin", "http://orch.example:8081")]), From::Ourselves);
        for origin in ["null", "http://evil.example", "http://orch.example", "orch.example:8081", ""] {
            assert_eq!(from(&[host, ("origin", origin)]), From::Elsewhere, "{origin}");
        }
        assert_eq!(
            from(&[host, ("sec-fetch-site", "cross-site"), ("origin", "http://orch.example:8081")]),
            From::Elsewhere
        );
    }
}
