//! Nodes: their first certificate for a token, the next ones for the last. A node's name is given to one key at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::tls::{PeerName, Role};

use crate::authority::{Asked, Authority, damaged};
use crate::{Error, Revoked, files};

const FOLDER: &str = "nodes";

/// Why a node gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The token does not admit it.
    #[error("{0}")]
    Token(&'static str),
    /// Somebody else has the name.
    #[error(
        "{0} has a certificate that still counts: it rotates by itself; a new node takes another name, which an empty state \
         folder gives it"
    )]
    Taken(PeerName),
    /// It was thrown out.
    #[error("{0} is revoked: it joins again with an empty state folder and a new token")]
    Revoked(PeerName),
    /// What it asks for cannot be read.
    #[error("not a request for a certificate: {0}")]
    Request(String),
    /// The authority cannot tell now.
    #[error("could not sign")]
    Failed(#[from] Error),
}

/// The newest certificate of a node.
#[derive(Serialize, Deserialize)]
struct Known {
    key_sha256: String,
    until_ms: i64,
}

impl Authority {
    /// The first certificate of a node, in PEM.
    ///
    /// # Errors
    /// The token does not admit it, the name belongs to somebody else, or it was revoked.
    pub fn join(
        &self,
        (token_id, secret): (&str, &str),
        node: &str,
        request_pem: &str,
        lifetime: Duration,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let name = name(node)?;
        let asked = Asked::read(request_pem).map_err(|error| Refusal::Request(error.to_string()))?;
        let key_hash = asked.key_hash();
        let _lock = self.lock()?;
        self.check_not_revoked(&name)?;
        let known = self.known(&name)?;
        if known.is_some_and(|known| known.until_ms > now_ms && known.key_sha256 != key_hash) {
            return Err(Refusal::Taken(name));
        }
        self.use_token(token_id, secret, &key_hash, now_ms)?;
        self.grant(&asked, &name, lifetime, now_ms)
    }

    /// The next certificate of a node that has shown its last.
    ///
    /// # Errors
    /// It was revoked, or the request cannot be read.
    pub fn rotate(
        &self,
        node: &str,
        request_pem: &str,
        lifetime: Duration,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let name = name(node)?;
        let asked = Asked::read(request_pem).map_err(|error| Refusal::Request(error.to_string()))?;
        let _lock = self.lock()?;
        self.check_not_revoked(&name)?;
        self.grant(&asked, &name, lifetime, now_ms)
    }

    fn grant(
        &self,
        asked: &Asked,
        name: &PeerName,
        lifetime: Duration,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let folder = self.dir.join(FOLDER);
        files::private_dir(&folder)?;
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let known = Known { key_sha256: asked.key_hash(), until_ms: now_ms.saturating_add(lifetime_ms) };
        let path = folder.join(name.name());
        let json = serde_json::to_vec(&known).map_err(|error| damaged(&path, error))?;
        files::write(&path, files::PRIVATE, &json)?;
        Ok(self.sign(asked, name, lifetime, now_ms)?)
    }

    fn known(&self, name: &PeerName) -> Result<Option<Known>, Error> {
        let path = self.dir.join(FOLDER).join(name.name());
        let bytes = files::read(&path)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error))).transpose()
    }

    fn check_not_revoked(&self, name: &PeerName) -> Result<(), Refusal> {
        if Revoked::read(&self.dir)?.contains(name) {
            return Err(Refusal::Revoked(name.clone()));
        }
        Ok(())
    }
}

fn name(node: &str) -> Result<PeerName, Refusal> {
    PeerName::new(Role::Node, node).map_err(|error| Refusal::Request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JoinToken, Request, TokenTerms};

    const HOUR: Duration = Duration::from_hours(1);
    const HOUR_MS: i64 = 3_600_000;

    struct Ca {
        _folder: tempfile::TempDir,
        authority: Authority,
    }

    impl Ca {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let authority = Authority::init(&folder.path().join("ca"), 0).unwrap();
            Self { _folder: folder, authority }
        }

        fn token(&self, uses: u32, now_ms: i64) -> JoinToken {
            self.authority.make_token("https://s:1", TokenTerms { lifetime: HOUR, uses }, now_ms).unwrap()
        }

        fn join(
            &self,
            token: &JoinToken,
            node: &str,
            request: &Request,
            now_ms: i64,
        ) -> Result<String, Refusal> {
            let secret = token.secret();
            self.authority.join((&token.id, secret.expose()), node, &request.pem, HOUR, now_ms)
        }
    }

    #[test]
    fn a_token_is_used_once_and_by_the_same_key_again() {
        let ca = Ca::new();
        let token: JoinToken = ca.token(1, 0).expose().parse().unwrap();
        let (one, other) = (Request::new().unwrap(), Request::new().unwrap());
        ca.join(&token, "a", &one, 1).expect("the token admits one");
        ca.join(&token, "a", &one, 2).expect("its answer may have been lost");
        let refused = ca.join(&token, "b", &other, 3).unwrap_err().to_string();
        assert!(refused.contains("used up"), "{refused}");
        let two = ca.token(2, 0);
        ca.join(&two, "b", &other, 4).expect("the first of two");
    }

    #[test]
    fn a_token_that_is_over_unknown_or_wrong_admits_nobody() {
        let ca = Ca::new();
        let request = Request::new().unwrap();
        let late = ca.join(&ca.token(1, 0), "a", &request, HOUR_MS).unwrap_err().to_string();
        let foreign = ca.join(&Ca::new().token(1, 0), "a", &request, 1).unwrap_err().to_string();
        let token = ca.token(1, 0);
        let guess =
            ca.authority.join((&token.id, "guess"), "a", &request.pem, HOUR, 1).unwrap_err().to_string();
        let path = ca.authority.join(("../ca.key", "x"), "a", &request.pem, HOUR, 1).unwrap_err().to_string();
        let said = [late, foreign, guess, path];
        assert!(said.iter().all(|said| said.contains("not known here, or is over")), "{said:?}");
        for wrong in ["", "orch-join-1.", "orch-join-1.!", "x"] {
            assert!(wrong.parse::<JoinToken>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_of_a_token_does_not_open_anything() {
        let ca = Ca::new();
        let token = ca.token(1, 0);
        let kept = std::fs::read_to_string(ca.authority.dir.join("tokens").join(&token.id)).unwrap();
        assert!(!kept.contains(token.secret().expose()), "{kept}");
        assert!(!format!("{token:?}").contains(token.secret().expose()));
        // The next one made removes those that are over.
        ca.token(1, HOUR_MS);
        assert_eq!(std::fs::read_dir(ca.authority.dir.join("tokens")).unwrap().count(), 1);
    }

    #[test]
    fn a_name_belongs_to_one_key_until_its_certificate_is_over() {
        let ca = Ca::new();
        let token = ca.token(9, 0);
        let (one, other) = (Request::new().unwrap(), Request::new().unwrap());
        ca.join(&token, "a", &one, 1).unwrap();
        let refused = ca.join(&token, "a", &other, 2).unwrap_err();
        assert!(matches!(refused, Refusal::Taken(_)), "{refused}");
        ca.authority.rotate("a", &other.pem, HOUR, 3).expect("it has shown its last one");
        ca.join(&token, "a", &one, 4).expect_err("the newest key has it now");
        let later = ca.token(1, 2 * HOUR_MS);
        ca.join(&later, "a", &one, 2 * HOUR_MS + 1).expect("nobody has it any more");
    }

    #[test]
    fn who_is_revoked_gets_nothing() {
        let ca = Ca::new();
        let token = ca.token(9, 0);
        let request = Request::new().unwrap();
        ca.join(&token, "a", &request, 1).unwrap();
        Revoked::add(&ca.authority, &"node/a".parse().unwrap()).unwrap();
        for refused in [
            ca.join(&token, "a", &request, 2).unwrap_err(),
            ca.authority.rotate("a", &request.pem, HOUR, 2).unwrap_err(),
        ] {
            assert!(matches!(refused, Refusal::Revoked(_)), "{refused}");
        }
        ca.join(&token, "b", &Request::new().unwrap(), 2).expect("others are as they were");
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        let ca = Ca::new();
        let token = ca.token(9, 0);
        let secret = token.secret();
        let ask = |node: &str, pem: &str| {
            ca.authority.join((&token.id, secret.expose()), node, pem, HOUR, 1).unwrap_err()
        };
        let request = Request::new().unwrap();
        for refused in [ask("a", "x"), ask("a", ca.authority.ca_pem()), ask("../a", &request.pem)] {
            assert!(matches!(refused, Refusal::Request(_)), "{refused}");
        }
    }
}
