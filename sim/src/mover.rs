//! For broken variants: moves a job on the disk as a scheduler would that believes something false.

use std::sync::Arc;

use domain::transition::{Conclusion, LostHow};
use domain::{Chance, Event, JobId, RunId, Timestamp, next};
use store::{Change, Store};

use crate::scenario::Terms;
use crate::time::START_MS;

/// A way to the disk.
#[derive(Clone, Debug)]
pub(crate) struct Mover(pub(crate) Arc<dyn Store>);

impl Mover {
    /// Gives a run up, whatever lives.
    pub(crate) async fn lose(&self, job: JobId, run: RunId) {
        let Ok(Some(row)) = self.0.job(job).await else { return };
        let now = Timestamp::from_ms(START_MS);
        let event = Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } };
        let Ok(transition) = next(&row, &event, now, &Terms::policy(), Chance::new(0.0)) else { return };
        // What cannot be written now is tried at the next occasion.
        let _ = self.0.apply(Change::new(transition, now)).await;
    }
}
