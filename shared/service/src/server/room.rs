//! Memory for bodies: how many bytes of requests may be held at once, all together.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted in one step, and what every body has for nothing: a flood of large bodies cannot keep small ones out.
const PAGE_BYTES: usize = 64 * 1024;

/// Room for the bodies of a listener beyond the first 64 KiB of each. Clones share it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// Room for this many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / PAGE_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    /// Waits until a body that has this many bytes fits, beside what it holds.
    pub(super) async fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) {
        let pages = bytes.div_ceil(PAGE_BYTES).saturating_sub(1);
        let missing = pages.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let Ok(missing @ 1..) = u32::try_from(missing) else { return };
        // Nobody closes it.
        let Ok(more) = self.0.clone().acquire_many_owned(missing).await else { return };
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
    }
}
