//! Whether a body was signed with a secret we share with the sender: HMAC-SHA-256, compared in constant time.
//!
//! Which headers carry a signature is each sender's business; what to answer is the caller's.

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use service::settings::Secret;
use sha2::Sha256;

/// How a header writes a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Hex digits alone.
    Bare,
    /// `sha256=` and hex digits.
    Prefixed,
}

/// The secrets a sender may sign with: the current one and, while it is being changed, the previous one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets(Vec<Secret>);

impl Secrets {
    /// Takes the secrets that are set; an empty one counts as not set.
    pub(crate) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.expose().is_empty()).collect())
    }

    /// Whether nothing can be verified.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `headers` carry at least one signature of `body`, and every one they carry was made with one and the
    /// same of these secrets.
    pub(crate) fn verify(&self, headers: &HeaderMap, forms: &[(&str, Form)], body: &[u8]) -> bool {
        let Some(presented) = presented(headers, forms) else { return false };
        !presented.is_empty()
            && self.0.iter().any(|secret| {
                Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).is_ok_and(|mac| {
                    let mac = mac.chain_update(body);
                    presented.iter().all(|signature| mac.clone().verify_slice(signature).is_ok())
                })
            })
    }
}

/// Every signature the headers carry; none when one of them cannot be read.
fn presented(headers: &HeaderMap, forms: &[(&str, Form)]) -> Option<Vec<Vec<u8>>> {
    forms
        .iter()
        .flat_map(|(name, form)| headers.get_all(*name).iter().map(move |value| (value, form)))
        .map(|(value, form)| {
            let text = value.to_str().ok()?;
            let digits = match form {
                Form::Bare => text,
                Form::Prefixed => text.strip_prefix("sha256=")?,
            };
            hex::decode(digits).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const FORMS: &[(&str, Form)] =
        &[("x-gitea-signature", Form::Bare), ("x-hub-signature-256", Form::Prefixed)];

    fn sign(secret: &str, body: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        hex::encode(mac.chain_update(body).finalize().into_bytes())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn the_published_test_vector() {
        // RFC 4231, case 2.
        let digits = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let secrets = Secrets::new([Secret::new("Jefe")]);
        let headers = headers(&[("x-gitea-signature", digits)]);
        assert!(secrets.verify(&headers, FORMS, b"what do ya want for nothing?"));
    }

    #[test]
    fn what_passes_and_what_does_not() {
        let body = b"{\"a\":1}";
        let (right, wrong, old) = (sign("now", body), sign("other", body), sign("then", body));
        let prefixed = |digits: &str| format!("sha256={digits}");
        let secrets = Secrets::new([Secret::new("now"), Secret::new("then"), Secret::new("")]);
        let cases: Vec<(Vec<(&'static str, String)>, bool)> = vec![
            (vec![("x-gitea-signature", right.clone())], true),
            (vec![("x-gitea-signature", right.to_uppercase())], true),
            (vec![("x-hub-signature-256", prefixed(&right))], true),
            (vec![("x-gitea-signature", right.clone()), ("x-hub-signature-256", prefixed(&right))], true),
            (vec![("x-gitea-signature", old.clone()), ("x-hub-signature-256", prefixed(&old))], true),
            (vec![("x-gitea-signature", right.clone()), ("x-hub-signature-256", prefixed(&old))], false),
            (vec![("x-gitea-signature", right.clone()), ("x-hub-signature-256", prefixed(&wrong))], false),
            (vec![("x-gitea-signature", right.clone()), ("x-gitea-signature", wrong.clone())], false),
            (vec![("x-gitea-signature", wrong)], false),
            (vec![("x-gitea-signature", sign("", body))], false),
            (vec![("x-gitea-signature", String::new())], false),
            (vec![("x-gitea-signature", prefixed(&right))], false),
            (vec![("x-gitea-signature", right[..40].to_owned())], false),
            (vec![("x-gitea-signature", format!("{right}00"))], false),
            (vec![("x-gitea-signature", format!("{} {}", &right[..32], &right[32..]))], false),
            (vec![("x-gitea-signature", "z".repeat(64))], false),
            (vec![("x-gitea-signature", "é".repeat(32))], false),
            (vec![("x-hub-signature-256", right.clone())], false),
            (vec![("x-hub-signature-256", "sha256=".to_owned())], false),
            (vec![("x-hub-signature-256", format!("SHA256={right}"))], false),
            (vec![("x-hub-signature", format!("sha1={right}"))], false),
            (vec![], false),
        ];
        for (pairs, expected) in cases {
            let borrowed: Vec<(&'static str, &str)> =
                pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(secrets.verify(&headers(&borrowed), FORMS, body), expected, "{pairs:?}");
        }
    }

    #[test]
    fn no_secret_matches_nothing() {
        let secrets = Secrets::new([Secret::new("")]);
        assert!(secrets.is_empty());
        assert!(!secrets.verify(&headers(&[("x-gitea-signature", &sign("", b""))]), FORMS, b""));
    }

    proptest::proptest! {
        #[test]
        fn only_the_signature_of_the_body_passes(body: Vec<u8>, value in "[ -~]{0,80}") {
            let secrets = Secrets::new([Secret::new("s")]);
            let right = sign("s", &body);
            let passes = secrets.verify(&headers(&[("x-gitea-signature", &value)]), FORMS, &body);
            proptest::prop_assert_eq!(passes, value.eq_ignore_ascii_case(&right));
            proptest::prop_assert!(secrets.verify(&headers(&[("x-gitea-signature", &right)]), FORMS, &body));
        }
    }
}
