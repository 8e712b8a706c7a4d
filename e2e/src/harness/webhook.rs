//! Webhooks as Gitea and Plane send them: headers and signature over the raw body.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use uuid::Uuid;

/// One delivery, ready to be posted; a clone is the same delivery sent again.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where it goes: `/webhooks/gitea` or `/webhooks/plane`.
    pub path: &'static str,
    /// All headers, signature included.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
}

impl Webhook {
    /// A Gitea delivery with a fresh delivery id; `event` is the grouped name, `kind` the exact one.
    pub fn gitea(secret: &str, event: &str, kind: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let delivery = Uuid::new_v4().to_string();
        let headers = [
            ("content-type", "application/json"),
            ("x-gitea-event", event),
            ("x-gitea-event-type", kind),
            ("x-gitea-delivery", &delivery),
            ("x-gitea-signature", &sign(secret, &body)),
        ];
        Self { path: "/webhooks/gitea", headers: header_map(&headers), body }
    }

    /// A Plane delivery with a fresh delivery id.
    pub fn plane(secret: &str, event: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let delivery = Uuid::new_v4().to_string();
        let headers = [
            ("content-type", "application/json"),
            ("x-plane-event", event),
            ("x-plane-delivery", &delivery),
            ("x-plane-signature", &sign(secret, &body)),
        ];
        Self { path: "/webhooks/plane", headers: header_map(&headers), body }
    }
}

/// Lower-case hex HMAC-SHA256 of the raw bytes: what both senders put into their signature header.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn header_map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a webhook header is visible ASCII");
            (HeaderName::from_static(name), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::sign;

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_hmac_sha256_in_hex() {
        assert_eq!(
            sign("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
