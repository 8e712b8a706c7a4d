//! Claims wait one lease after the database was restored or moved: agents of before may live that long.
//!
//! The generation that claims were last made under is on file, so a restart within the wait begins it again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store::{Generation, Store};

/// The database's generation, and how long nothing is claimed for its sake.
#[derive(Debug)]
pub(crate) struct ClaimsWait {
    pub(crate) generation: i64,
    /// Until this instant of the boot clock; none once the generation is noted.
    until_boot_ms: Mutex<Option<i64>>,
}

impl ClaimsWait {
    pub(crate) fn new(found: Generation, lease: Duration, boot_ms: i64) -> Self {
        let lease_ms = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        let until = match found.noted {
            Some(noted) if noted == found.current => None,
            Some(noted) => {
                tracing::warn!(
                    generation = found.current,
                    noted,
                    wait_s = lease.as_secs(),
                    "the database was restored or moved: nothing is claimed until every agent of before is gone"
                );
                Some(boot_ms.saturating_add(lease_ms))
            }
            None => Some(boot_ms),
        };
        Self { generation: found.current, until_boot_ms: Mutex::new(until) }
    }

    /// How long nothing is claimed yet; `None` once claims may be made, and the first time the generation is noted.
    pub(crate) async fn left(
        &self,
        store: &dyn Store,
        boot_ms: i64,
    ) -> Result<Option<Duration>, store::Error> {
        match *self.until_boot_ms.lock().unwrap_or_else(PoisonError::into_inner) {
            None => return Ok(None),
            Some(until) if boot_ms < until => {
                let left_ms = u64::try_from(until.saturating_sub(boot_ms)).unwrap_or(0);
                return Ok(Some(Duration::from_millis(left_ms)));
            }
            Some(_) => {}
        }
        store.note_generation(self.generation).await?;
        *self.until_boot_ms.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(None)
    }
}
