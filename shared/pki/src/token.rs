//! Join tokens: what a new node shows to get its first certificate. The folder knows only their hashes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use service::settings::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::authority::{Authority, damaged};
use crate::nodes::Refusal;
use crate::{Error, files};

/// Tells a token from other secrets, also for those who scan texts for them.
const PREFIX: &str = "orch-join-1.";
const FOLDER: &str = "tokens";
/// The longest token that is read, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Everything a new node must know: where to join, whom to trust there, and its proof that it may.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinToken {
    /// Where the scheduler is, `https://…`.
    pub url: String,
    /// The CA's certificate, in PEM.
    pub ca: String,
    /// Names the token; no secret.
    pub id: String,
    secret: String,
}

/// For how long and how many nodes a token is.
#[derive(Clone, Copy, Debug)]
pub struct TokenTerms {
    /// How long it can be used.
    pub lifetime: Duration,
    /// How many nodes may join with it.
    pub uses: u32,
}

/// A token as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    secret_sha256: String,
    expires_at_ms: i64,
    uses: u32,
    /// The keys that were signed: a node whose answer got lost asks again.
    used_by: Vec<String>,
}

impl JoinToken {
    /// Its secret half.
    pub fn secret(&self) -> Secret {
        Secret::new(self.secret.clone())
    }

    /// The token as it is handed over: one line.
    pub fn expose(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for JoinToken {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "not a join token: make one with `orch join-token`, and hand it over whole";
        let body = text.trim().strip_prefix(PREFIX).ok_or(wrong)?;
        if body.len() > TOKEN_BYTES_MAX {
            return Err(wrong);
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).map_err(|_| wrong)?).map_err(|_| wrong)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("url", &self.url).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a token for nodes that reach the scheduler at `url`. Tokens that are over are removed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn make_token(&self, url: &str, terms: TokenTerms, now_ms: i64) -> Result<JoinToken, Error> {
        let _lock = self.lock()?;
        files::private_dir(&self.dir.join(FOLDER))?;
        self.remove_expired(now_ms)?;
        let (id, secret) = (hex::encode(rand::random::<[u8; 8]>()), hex::encode(rand::random::<[u8; 32]>()));
        let lifetime_ms = i64::try_from(terms.lifetime.as_millis()).unwrap_or(i64::MAX);
        let kept = Kept {
            secret_sha256: hash(&secret),
            expires_at_ms: now_ms.saturating_add(lifetime_ms),
            uses: terms.uses,
            used_by: Vec::new(),
        };
        self.keep(&id, &kept)?;
        Ok(JoinToken { url: url.to_owned(), ca: self.ca_pem().to_owned(), id, secret })
    }

    /// Whether a token admits a key; uses it up for that key. The same key may ask again as long as the token lives.
    pub(crate) fn use_token(
        &self,
        id: &str,
        secret: &str,
        key_hash: &str,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        // One answer for all that is wrong with it: nobody learns which tokens there are.
        let unknown =
            Refusal::Token("the join token is not known here, or is over: make one with `orch join-token`");
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown);
        }
        let Some(mut kept) = self.kept(id)? else { return Err(unknown) };
        let is_it: bool = hash(secret).as_bytes().ct_eq(kept.secret_sha256.as_bytes()).into();
        if !is_it || now_ms >= kept.expires_at_ms {
            return Err(unknown);
        }
        if kept.used_by.iter().any(|used| used == key_hash) {
            return Ok(());
        }
        if kept.used_by.len() >= kept.uses as usize {
            return Err(Refusal::Token("the join token is used up: make another with `orch join-token`"));
        }
        kept.used_by.push(key_hash.to_owned());
        Ok(self.keep(id, &kept)?)
    }

    fn keep(&self, id: &str, kept: &Kept) -> Result<(), Error> {
        let path = self.dir.join(FOLDER).join(id);
        let json = serde_json::to_vec(kept).map_err(|error| damaged(&path, error))?;
        files::write(&path, files::PRIVATE, &json)
    }

    fn kept(&self, id: &str) -> Result<Option<Kept>, Error> {
        let path = self.dir.join(FOLDER).join(id);
        let bytes = files::read(&path)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error))).transpose()
    }

    fn remove_expired(&self, now_ms: i64) -> Result<(), Error> {
        let folder = self.dir.join(FOLDER);
        let entries = std::fs::read_dir(&folder).map_err(|source| files::failed(&folder, source))?;
        for entry in entries.flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            // One that cannot be read admits nobody; it is left for a person to see.
            if let Ok(Some(kept)) = self.kept(&id)
                && now_ms >= kept.expires_at_ms
            {
                std::fs::remove_file(entry.path()).map_err(|source| files::failed(&entry.path(), source))?;
            }
        }
        Ok(())
    }
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}
