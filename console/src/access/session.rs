//! A session: what a browser shows after its token was seen once. Signed with the token itself, so that it outlives a
//! restart of the console and ends when the token is changed.

use hmac::{Hmac, KeyInit as _, Mac as _};
use service::settings::Secret;
use sha2::Sha256;

use super::Role;

/// How long a session lasts.
pub(super) const LASTS_SECONDS: i64 = 12 * 60 * 60;
/// The cookie's name.
pub(super) const COOKIE: &str = "orch_session";

/// Makes the cookie's value: the role, the second it ends, and the signature of both.
pub(super) fn sign(role: Role, token: &Secret, now_ms: i64) -> String {
    let ends = now_ms / 1000 + LASTS_SECONDS;
    format!("{}.{ends}.{}", role.as_str(), hex::encode(mac(role, ends, token).finalize().into_bytes()))
}

/// Whether `value` is a session of `role` under `token` that has not ended.
pub(super) fn is_valid(value: &str, role: Role, token: &Secret, now_ms: i64) -> bool {
    let mut parts = value.splitn(3, '.');
    let (Some(word), Some(ends), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let (Ok(ends), Ok(signature)) = (ends.parse::<i64>(), hex::decode(signature)) else { return false };
    word == role.as_str() && now_ms / 1000 < ends && mac(role, ends, token).verify_slice(&signature).is_ok()
}

fn mac(role: Role, ends: i64, token: &Secret) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(token.expose().as_bytes()).expect("a key of any length");
    mac.update(format!("orch console session {} {ends}", role.as_str()).as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_795_317_438_000;

    #[test]
    fn a_session_holds_for_its_role_its_token_and_its_time() {
        let (token, other) = (Secret::new("s3cret"), Secret::new("other"));
        let value = sign(Role::Reader, &token, NOW_MS);
        assert!(is_valid(&value, Role::Reader, &token, NOW_MS));
        assert!(is_valid(&value, Role::Reader, &token, NOW_MS + (LASTS_SECONDS - 1) * 1000));
        assert!(!is_valid(&value, Role::Reader, &token, NOW_MS + LASTS_SECONDS * 1000));
        assert!(!is_valid(&value, Role::Reader, &other, NOW_MS));
        assert!(!is_valid(&value, Role::Operator, &token, NOW_MS));
    }

    #[test]
    fn a_session_cannot_be_changed() {
        let token = Secret::new("s3cret");
        let value = sign(Role::Reader, &token, NOW_MS);
        let forged = value.replacen("reader", "operator", 1);
        assert!(!is_valid(&forged, Role::Operator, &token, NOW_MS));
        let (word, rest) = value.split_once('.').unwrap();
        let (ends, signature) = rest.split_once('.').unwrap();
        let later = format!("{word}.{}.{signature}", ends.parse::<i64>().unwrap() + 1);
        assert!(!is_valid(&later, Role::Reader, &token, NOW_MS));
        for broken in ["", "reader", "reader.1", "reader.x.00", "reader.9999999999.zz", "reader.9999999999."]
        {
            assert!(!is_valid(broken, Role::Reader, &token, NOW_MS), "{broken}");
        }
    }
}
