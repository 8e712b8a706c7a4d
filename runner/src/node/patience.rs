//! How long the runner waits for a shim to end its agent by itself. A shim can hang, on a disk that does not answer or
//! because somebody stopped it, and with it the timer of the lease; then the runner ends the agent in its place.

use std::time::Duration;

use super::{Held, Node, Terms};
use crate::shim::Wish;

/// How long after a shim must have killed its agent the runner does it: half of what the arithmetic of the leases
/// allows for a death.
const LATE_MS: i64 = 500;
/// The longest sleep: after a suspend the clock is looked at within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of a run's end while its shim is looked after. Instants are milliseconds of boot time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Since when this incarnation looks after it. What an earlier one told the shim, it told before.
    began_ms: i64,
    /// Since when somebody wants its end at once.
    wished_ms: Option<i64>,
}

impl Patience {
    pub(super) fn begin(now_ms: i64) -> Self {
        Self { began_ms: now_ms, wished_ms: None }
    }

    /// Returns when the shim is late.
    pub(super) async fn end(&mut self, node: &Node, held: &Held) {
        let mut wish = held.wish.subscribe();
        loop {
            let now_ms = node.clock.boot_ms();
            if *wish.borrow_and_update() >= Some(Wish::Cancel) {
                self.wished_ms.get_or_insert(now_ms);
            }
            let terms = *node.terms.borrow();
            let due_ms = terms.map_or(i64::MAX, |terms| self.due_ms(terms, *node.lease.borrow()));
            let left_ms = due_ms.saturating_sub(now_ms);
            let Ok(left_ms @ 1..) = u64::try_from(left_ms) else { return };
            let _ =
                tokio::time::timeout(Duration::from_millis(left_ms).min(LOOK_EVERY), wish.changed()).await;
        }
    }

    /// When the shim is late, by the scheduler's terms and the newest end of a lease that was told to the shim.
    fn due_ms(&self, terms: Terms, told_ms: i64) -> i64 {
        let lease_over_ms = told_ms.max(self.began_ms.saturating_add(terms.lease_ms));
        let over_ms = lease_over_ms.min(self.wished_ms.unwrap_or(i64::MAX));
        over_ms.saturating_add(terms.kill_grace_ms).saturating_add(LATE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shim_is_late_after_the_grace_of_the_latest_lease_or_of_a_wish() {
        let terms = Terms { lease_ms: 1000, renew_ms: 100, kill_grace_ms: 10 };
        let unwished = Patience::begin(100);
        // Whatever an earlier incarnation told it ends before this.
        assert_eq!(unwished.due_ms(terms, 0), 1110 + LATE_MS);
        assert_eq!(unwished.due_ms(terms, 7000), 7010 + LATE_MS);
        let wished = Patience { wished_ms: Some(300), ..unwished };
        assert_eq!(wished.due_ms(terms, 7000), 310 + LATE_MS);
    }
}
