//! Tokens of runs: a code over run and epoch that only who has the database's secret can make. So they need no place of their
//! own, every scheduler of a database knows them, and they outlive all restarts.

use std::fmt;

use domain::{Epoch, RunId};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::convert::run_key;
use crate::v1;

/// How much of the code is a token.
const TOKEN_BYTES: usize = 16;

/// Makes and knows tokens.
#[derive(Clone)]
pub struct RunTokens(Hmac<Sha256>);

impl RunTokens {
    /// Those of the database with this secret.
    ///
    /// # Panics
    /// Never: any length of secret will do.
    #[must_use]
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    pub fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("any length will do"))
    }

    /// Names a run to whom it is offered.
    #[must_use]
    pub fn key(&self, run: RunId, epoch: Epoch) -> v1::RunKey {
        let code = self.code(run, epoch).finalize().into_bytes();
        let token = hex::encode(code.get(..TOKEN_BYTES).unwrap_or_default());
        v1::RunKey { token, ..run_key(run, epoch) }
    }

    /// Whether a token is this run's; takes the same time for every wrong one.
    #[must_use]
    pub fn fits(&self, run: RunId, epoch: Epoch, token: &str) -> bool {
        read(token).is_some_and(|token| self.code(run, epoch).verify_truncated_left(&token).is_ok())
    }

    fn code(&self, run: RunId, epoch: Epoch) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        code.update(b"orch run token");
        code.update(run.0.as_bytes());
        code.update(&epoch.0.to_be_bytes());
        code
    }
}

impl fmt::Debug for RunTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RunTokens")
    }
}

fn read(token: &str) -> Option<[u8; TOKEN_BYTES]> {
    let mut read = [0; TOKEN_BYTES];
    hex::decode_to_slice(token, &mut read).ok().map(|()| read)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_token_fits_its_run_and_epoch_in_its_database_and_nothing_else() {
        let (ours, theirs) = (RunTokens::new("one"), RunTokens::new("another"));
        let (run, other) = (RunId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let token = ours.key(run, Epoch(3)).token;
        assert!(ours.fits(run, Epoch(3), &token) && token.len() == 32);
        assert_eq!(ours.key(run, Epoch(3)).token, token, "whoever asks again gets the same");
        assert!(!ours.fits(other, Epoch(3), &token) && !ours.fits(run, Epoch(4), &token));
        assert!(!theirs.fits(run, Epoch(3), &token));
        for wrong in ["", "0", &token[1..], &token.replace(|_| true, "0"), &"ä".repeat(16), &token.repeat(2)]
        {
            assert!(!ours.fits(run, Epoch(3), wrong), "{wrong}");
        }
    }
}
