//! Deliveries and jobs in, as [`crate::intake`] says.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::JobState;
use domain::delivery::NewJob;
use domain::job::JobKind;
use domain::sighting::Teller;
use domain::work_item::{head_family, head_key, joining};

use super::tables::{JobRow, Tables};
use crate::intake::{
    Decision, Intake, Item, ItemAnswer, ItemKey, KeptDelivery, KeptJob, Known, Seen, SightingKey, Waiting,
    keys_of, names_of, sightings_of,
};
use crate::{Applied, Error};

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
        if let Item::Delivery(delivery) = item
            && delivery.teller() == Teller::Webhook
        {
            self.outbox.hear(&delivery.source, delivery.received_at);
        }
        self.keys.extend(intake.joined);
        for (name, item) in intake.items {
            self.put_item(name, item);
        }
        for (alias, key) in intake.aliases {
            self.aliases.entry(alias).or_insert(key);
        }
        self.sightings.extend(intake.sightings);
        self.outbox.push(intake.notices)?;
        for replaced in &intake.replaced {
            if self.apply(replaced)? == Applied::Conflict {
                return Err(Error::Corrupt(
                    "a queued job moved inside the transaction that replaces it".into(),
                ));
            }
        }
        Ok(answer)
    }

    fn known<'a>(&self, item: &Item<'a>) -> Known<'a> {
        let newest_job = self.newest_job;
        let sightings = self.known_sightings(sightings_of(std::slice::from_ref(item)));
        let mut known = Known { sightings, newest_job, ..Known::default() };
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
        for key in item.jobs().iter().flat_map(keys_of) {
            if let Some(id) = self.keys.get(&key) {
                known.by_key.insert(key, *id);
            }
        }
        for job in item.jobs() {
            for name in names_of(job) {
                self.know_item(&mut known, name, job);
            }
        }
        known
    }

    /// What is known of these sightings.
    pub(super) fn known_sightings(
        &self,
        names: impl Iterator<Item = SightingKey>,
    ) -> BTreeMap<SightingKey, domain::sighting::Seen> {
        names.filter_map(|name| Some((name.clone(), self.sightings.get(&name)?.clone()))).collect()
    }

    fn know_item(&self, known: &mut Known<'_>, name: ItemKey, job: &NewJob) {
        let key = self.aliases.get(&name).map_or_else(|| name.clone(), |key| (name.0.clone(), key.clone()));
        if let Some(item) = self.items.get(&key) {
            known.items.insert(key.clone(), item.clone());
        }
        if job.about.replaces_older {
            let replaceable = |row: &&JobRow| {
                let (job, origin) = (&row.job, &row.job.origin);
                let head = origin.head.as_deref().unwrap_or_default();
                let by_head = head_key(&job.project, &job.work_item, &job.stage, head);
                origin.kind == JobKind::Stage
                    && origin.head.is_some()
                    && (origin.parent.is_none()
                        || row.semantic_key.as_deref().is_some_and(|key| key.starts_with(&by_head)))
            };
            let of_item = |row: &&JobRow| {
                (&row.job.project, &row.job.work_item, &row.job.stage) == (&key.0, &key.1, &job.stage)
            };
            for row in self.queued().filter(of_item).filter(replaceable) {
                let waiting = Waiting { job: row.job.clone(), results: row.payload.results.clone() };
                known.waiting.insert((key.clone(), job.stage.clone()), waiting);
            }
        }
        if job.about.cancels_older {
            let of_item = |row: &&JobRow| {
                (&row.job.project, &row.job.work_item, &row.job.stage) == (&key.0, &key.1, &job.stage)
            };
            let running = self.live().filter_map(|run| self.job(run.job)).filter(of_item);
            let open = |row: &&JobRow| {
                row.job.origin.head.is_some()
                    && matches!(row.job.state, JobState::Running { cancel_requested_at: None, .. })
            };
            let running: Vec<_> = running.filter(open).map(|row| row.job.clone()).collect();
            if !running.is_empty() {
                known.running.insert((key.clone(), job.stage.clone()), running);
            }
        }
        if joining::is_of_commit(job) {
            let family = head_family(&key.0);
            let of_family = |row: &&JobRow| {
                (&row.job.project, &row.job.work_item, &row.job.stage) == (&key.0, &key.1, &job.stage)
                    && row.semantic_key.as_deref().is_some_and(|key| key.starts_with(&family))
            };
            let running = self.live().filter_map(|run| self.job(run.job));
            let unfinished = self.queued().chain(running).filter(of_family);
            let unfinished: Vec<_> = unfinished.map(|row| row.job.clone()).collect();
            if !unfinished.is_empty() {
                known.unfinished.insert((key.clone(), job.stage.clone()), unfinished);
            }
        }
        if key != name {
            known.aliases.insert(name, key.1);
        }
    }

    fn keep_delivery(&mut self, kept: &KeptDelivery<'_>) -> Result<(), Error> {
        let KeptDelivery { delivery, decision, jobs } = kept;
        if delivery.body_sha256.len() != SHA256_TEXT_LEN {
            return Err(Error::Corrupt(format!("body_sha256 says {:?}", delivery.body_sha256)));
        }
        let seen =
            Seen { body_sha256: delivery.body_sha256.clone(), decision: *decision, jobs: jobs.clone() };
        let name = (delivery.source.clone(), delivery.delivery_id.clone());
        self.deliveries.insert(name.clone(), seen);
        let mut by_body = None;
        if *decision == Decision::Enqueued {
            let body = (delivery.source.clone(), delivery.event.clone(), delivery.body_sha256.clone());
            self.bodies.insert(body.clone(), jobs.clone());
            by_body = Some(body);
        }
        self.received.insert(name, (delivery.received_at, by_body));
        Ok(())
    }

    fn keep_job(&mut self, kept: &KeptJob<'_>) {
        self.newest_job = self.newest_job.max(kept.id.0);
        let semantic_key = kept.semantic_key.clone();
        if let Some(key) = &semantic_key {
            self.keys.insert(key.clone(), kept.id);
        }
        let payload = Arc::new(kept.job.payload.clone());
        self.put_job(JobRow { job: kept.row(), payload, semantic_key, due: kept.is_due(), decision: None });
    }
}
