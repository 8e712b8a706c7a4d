//! Deliveries and jobs in, whatever keeps them: what a batch repeats, of the store and of itself, and what is new.
//!
//! A store looks up what is [`Known`], asks for each item, and writes the rows that come out.

use std::collections::BTreeMap;

use domain::delivery::{Accepted, NewDelivery, NewJob};
use domain::{JobId, Timestamp};

use crate::Enqueued;

/// One operation of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    Delivery(&'a NewDelivery),
    Job(&'a NewJob, Timestamp),
}

impl<'a> Item<'a> {
    /// The jobs it asks for.
    pub(crate) fn jobs(&self) -> &'a [NewJob] {
        match *self {
            Self::Delivery(delivery) => &delivery.jobs,
            Self::Job(job, _) => std::slice::from_ref(job),
        }
    }
}

/// The answer to the item of the same place.
#[derive(Clone, Debug)]
pub(crate) enum ItemAnswer {
    Delivery(Accepted),
    Job(Enqueued),
}

/// What was made of a delivery that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Enqueued,
    Duplicate,
    Ignored,
}

impl Decision {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Enqueued, Self::Duplicate, Self::Ignored].into_iter().find(|it| it.as_str() == word)
    }
}

/// A delivery seen before, in the store or earlier in the batch.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) body_sha256: String,
    pub(crate) decision: Decision,
    pub(crate) jobs: Vec<JobId>,
}

/// Source and delivery id.
pub(crate) type DeliveryKey<'a> = (&'a str, &'a str);
/// Source, event and body hash.
pub(crate) type BodyKey<'a> = (&'a str, &'a str, &'a str);

/// What a batch may repeat.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    pub(crate) by_delivery: BTreeMap<DeliveryKey<'a>, Seen>,
    /// Of deliveries that made jobs.
    pub(crate) by_body: BTreeMap<BodyKey<'a>, Vec<JobId>>,
    pub(crate) by_key: BTreeMap<String, JobId>,
    /// The highest job id ever given.
    pub(crate) newest_job: i64,
}

/// A delivery to insert, or to put in the place of an ignored one.
#[derive(Debug)]
pub(crate) struct KeptDelivery<'a> {
    pub(crate) delivery: &'a NewDelivery,
    pub(crate) decision: Decision,
    pub(crate) jobs: Vec<JobId>,
}

/// A job to insert, queued.
#[derive(Debug)]
pub(crate) struct KeptJob<'a> {
    pub(crate) id: JobId,
    pub(crate) job: &'a NewJob,
    pub(crate) created_at: Timestamp,
}

impl KeptJob<'_> {
    /// Whether it may be claimed at once.
    pub(crate) fn is_due(&self) -> bool {
        self.job.available_at <= self.created_at
    }
}

/// A batch while it is judged, and the rows it makes. Ids of new jobs are consecutive.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    known: Known<'a>,
    pub(crate) deliveries: Vec<KeptDelivery<'a>>,
    pub(crate) jobs: Vec<KeptJob<'a>>,
}

impl<'a> Intake<'a> {
    pub(crate) const fn new(known: Known<'a>) -> Self {
        Self { known, deliveries: Vec::new(), jobs: Vec::new() }
    }

    /// Judges one item.
    pub(crate) fn take(&mut self, item: &Item<'a>) -> ItemAnswer {
        match *item {
            Item::Delivery(delivery) => ItemAnswer::Delivery(self.take_delivery(delivery)),
            Item::Job(job, now) => {
                let (job, fresh) = self.take_job(job, now);
                ItemAnswer::Job(Enqueued { job, fresh })
            }
        }
    }

    fn take_delivery(&mut self, delivery: &'a NewDelivery) -> Accepted {
        let seen = self.known.by_delivery.get(&(delivery.source.as_str(), delivery.delivery_id.as_str()));
        let mut ignored_before = false;
        if let Some(seen) = seen {
            if seen.body_sha256 != delivery.body_sha256 {
                return Accepted::Conflict;
            }
            if seen.decision != Decision::Ignored {
                return Accepted::Duplicate { jobs: seen.jobs.clone() };
            }
            ignored_before = true;
        }
        let body = (delivery.source.as_str(), delivery.event.as_str(), delivery.body_sha256.as_str());
        if let Some(jobs) = self.known.by_body.get(&body).cloned() {
            self.keep(delivery, Decision::Duplicate, &jobs);
            return Accepted::Duplicate { jobs };
        }
        if delivery.jobs.is_empty() {
            if !ignored_before {
                self.keep(delivery, Decision::Ignored, &[]);
            }
            return Accepted::Ignored;
        }
        let (mut jobs, mut any_fresh) = (Vec::with_capacity(delivery.jobs.len()), false);
        for job in &delivery.jobs {
            let (id, fresh) = self.take_job(job, delivery.received_at);
            any_fresh |= fresh;
            jobs.push(id);
        }
        if any_fresh {
            self.keep(delivery, Decision::Enqueued, &jobs);
            self.known.by_body.insert(body, jobs.clone());
            Accepted::Enqueued { jobs }
        } else {
            self.keep(delivery, Decision::Duplicate, &jobs);
            Accepted::Duplicate { jobs }
        }
    }

    /// The job's id, and whether it is new.
    fn take_job(&mut self, job: &'a NewJob, now: Timestamp) -> (JobId, bool) {
        if let Some(id) = job.semantic_key.as_ref().and_then(|key| self.known.by_key.get(key)) {
            return (*id, false);
        }
        self.known.newest_job += 1;
        let id = JobId(self.known.newest_job);
        if let Some(key) = &job.semantic_key {
            self.known.by_key.insert(key.clone(), id);
        }
        self.jobs.push(KeptJob { id, job, created_at: now });
        (id, true)
    }

    fn keep(&mut self, delivery: &'a NewDelivery, decision: Decision, jobs: &[JobId]) {
        self.deliveries.push(KeptDelivery { delivery, decision, jobs: jobs.to_vec() });
        let seen = Seen { body_sha256: delivery.body_sha256.clone(), decision, jobs: jobs.to_vec() };
        self.known.by_delivery.insert((&delivery.source, &delivery.delivery_id), seen);
    }
}
