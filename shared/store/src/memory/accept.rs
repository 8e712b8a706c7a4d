//! Deliveries and jobs in, as [`crate::intake`] says.

use std::sync::Arc;

use domain::{Budgets, Epoch, Job, JobState};

use super::tables::{JobRow, Tables};
use crate::Error;
use crate::intake::{Decision, Intake, Item, ItemAnswer, KeptDelivery, KeptJob, Known, Seen};

/// Hex digits of a SHA-256.
const SHA256_TEXT_LEN: usize = 64;

impl Tables {
    /// Keeps what is new of one item.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a body hash that is none.
    pub(super) fn accept(&mut self, item: &Item<'_>) -> Result<ItemAnswer, Error> {
        let mut intake = Intake::new(self.known(item));
        let answer = intake.take(item);
        for kept in &intake.deliveries {
            self.keep_delivery(kept)?;
        }
        for kept in &intake.jobs {
            self.keep_job(kept);
        }
        if let Item::Delivery(delivery) = item {
            self.outbox.hear(&delivery.source, delivery.received_at);
        }
        Ok(answer)
    }

    fn known<'a>(&self, item: &Item<'a>) -> Known<'a> {
        let newest_job = self.jobs().next_back().map_or(0, |row| row.job.id.0);
        let mut known = Known { newest_job, ..Known::default() };
        if let Item::Delivery(delivery) = item {
            let (source, id) = (delivery.source.as_str(), delivery.delivery_id.as_str());
            if let Some(seen) = self.deliveries.get(&(source.to_owned(), id.to_owned())) {
                known.by_delivery.insert((source, id), seen.clone());
            }
            let (event, body) = (delivery.event.as_str(), delivery.body_sha256.as_str());
            if let Some(jobs) = self.bodies.get(&(source.to_owned(), event.to_owned(), body.to_owned())) {
                known.by_body.insert((source, event, body), jobs.clone());
            }
        }
        for key in item.jobs().iter().filter_map(|job| job.semantic_key.as_ref()) {
            if let Some(id) = self.keys.get(key) {
                known.by_key.insert(key.clone(), *id);
            }
        }
        known
    }

    fn keep_delivery(&mut self, kept: &KeptDelivery<'_>) -> Result<(), Error> {
        let KeptDelivery { delivery, decision, jobs } = kept;
        if delivery.body_sha256.len() != SHA256_TEXT_LEN {
            return Err(Error::Corrupt(format!("body_sha256 says {:?}", delivery.body_sha256)));
        }
        let seen =
            Seen { body_sha256: delivery.body_sha256.clone(), decision: *decision, jobs: jobs.clone() };
        self.deliveries.insert((delivery.source.clone(), delivery.delivery_id.clone()), seen);
        if *decision == Decision::Enqueued {
            let body = (delivery.source.clone(), delivery.event.clone(), delivery.body_sha256.clone());
            self.bodies.insert(body, jobs.clone());
        }
        Ok(())
    }

    fn keep_job(&mut self, kept: &KeptJob<'_>) {
        let new = kept.job;
        if let Some(key) = &new.semantic_key {
            self.keys.insert(key.clone(), kept.id);
        }
        let job = Job {
            id: kept.id,
            project: new.project.clone(),
            work_item: new.work_item.clone(),
            stage: new.stage.clone(),
            role: new.role.clone(),
            priority: new.priority,
            budgets: Budgets::default(),
            epoch: Epoch::default(),
            revision: 0,
            state: JobState::Queued { available_at: new.available_at },
            created_at: kept.created_at,
            updated_at: kept.created_at,
            trace_context: new.trace_context.clone(),
        };
        let payload = Arc::new(new.payload.clone());
        self.put_job(JobRow { job, payload, due: kept.is_due(), decision: None });
    }
}
