//! The headers of the two senders: which carry the signature, the delivery id and the event's name.

use http::HeaderMap;

use crate::signature::Form;

/// Gitea's and Forgejo's headers that may carry a signature.
pub(crate) const GITEA_SIGNATURES: &[(&str, Form)] = &[
    ("x-gitea-signature", Form::Bare),
    ("x-forgejo-signature", Form::Bare),
    ("x-hub-signature-256", Form::Prefixed),
];

/// Those that may carry the delivery id, the first one wins.
pub(crate) const GITEA_DELIVERIES: &[&str] = &["x-gitea-delivery", "x-forgejo-delivery", "x-gogs-delivery"];

/// Those that may name the event, the first one wins. The exact type goes before the grouped name, in which a
/// comment review and a comment share a word.
const GITEA_EVENTS: &[&str] = &[
    "x-gitea-event-type",
    "x-forgejo-event-type",
    "x-gogs-event-type",
    "x-gitea-event",
    "x-forgejo-event",
    "x-gogs-event",
];

/// Plane's header that carries the signature.
pub(crate) const PLANE_SIGNATURES: &[(&str, Form)] = &[("x-plane-signature", Form::Bare)];

/// Plane's header that carries the delivery id.
pub(crate) const PLANE_DELIVERIES: &[&str] = &["x-plane-delivery"];

/// The event's name, from Gitea's headers.
pub(crate) fn gitea_event(headers: &HeaderMap) -> Option<&str> {
    GITEA_EVENTS
        .iter()
        .filter_map(|name| headers.get(*name))
        .filter_map(|value| value.to_str().ok())
        .find(|name| !name.is_empty())
}

/// The event's name, from Plane's header.
pub(crate) fn plane_event(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-plane-event")?.to_str().ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_event_type_goes_before_the_grouped_name() {
        let mut headers = HeaderMap::new();
        assert_eq!(gitea_event(&headers), None);
        headers.insert("x-gitea-event", "".parse().unwrap());
        assert_eq!(gitea_event(&headers), None);
        headers.insert("x-gitea-event", "pull_request".parse().unwrap());
        assert_eq!(gitea_event(&headers), Some("pull_request"));
        headers.insert("x-gitea-event-type", "pull_request_sync".parse().unwrap());
        assert_eq!(gitea_event(&headers), Some("pull_request_sync"));
    }
}
