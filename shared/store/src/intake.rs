//! Deliveries and jobs in, whatever keeps them: what a batch repeats, of the store and of itself, and what is new.
//!
//! A store looks up what is [`Known`], asks for each item, and writes the rows that come out.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use domain::alert::Notice;
use domain::delivery::{Accepted, NewDelivery, NewJob, StageResult};
use domain::job::Origin;
use domain::sighting::{self, Sighting, SightingName};
use domain::work_item::{WorkItem, after_existing, arrival, joining, told};
use domain::{Chance, Epoch, Event, Job, JobId, JobState, Policy, Timestamp};

use crate::{Change, Enqueued};

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
    /// The work items that the jobs may belong to.
    pub(crate) items: BTreeMap<ItemKey, WorkItem>,
    /// The keys of work items by their other names.
    pub(crate) aliases: BTreeMap<ItemKey, String>,
    /// Queued jobs that a newer commit replaces, by work item and stage.
    pub(crate) waiting: BTreeMap<(ItemKey, String), Waiting>,
    /// Running jobs about a commit, by work item and stage.
    pub(crate) running: BTreeMap<(ItemKey, String), Vec<Job>>,
    /// Jobs that are not over and were made because of a commit, by work item and stage.
    pub(crate) unfinished: BTreeMap<(ItemKey, String), Vec<Job>>,
    /// What was last seen of what the deliveries speak of.
    pub(crate) sightings: BTreeMap<SightingKey, sighting::Seen>,
    /// The highest job id ever given.
    pub(crate) newest_job: i64,
}

/// Project and name of a sighting.
pub(crate) type SightingKey = (String, SightingName);

/// Project and key, or other name, of a work item.
pub(crate) type ItemKey = (String, String);

/// A queued job for a commit.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) job: Job,
    /// What earlier stages told it.
    pub(crate) results: Vec<StageResult>,
}

/// The names of what a batch shows.
pub(crate) fn sightings_of<'a>(items: &'a [Item<'_>]) -> impl Iterator<Item = SightingKey> + 'a {
    let shown = |item: &'a Item<'_>| match *item {
        Item::Delivery(delivery) => delivery.sightings.as_slice(),
        Item::Job(..) => &[],
    };
    items.iter().flat_map(shown).map(|(project, told)| (project.clone(), told.name.clone()))
}

/// The semantic keys that a job may be found by.
pub(crate) fn keys_of(job: &NewJob) -> impl Iterator<Item = String> {
    let later = job.semantic_key.as_deref().zip(job.origin.parent);
    job.semantic_key.clone().into_iter().chain(later.map(|(key, parent)| after_existing(key, parent)))
}

/// The names that a job's work item may be known by.
pub(crate) fn names_of(job: &NewJob) -> impl Iterator<Item = ItemKey> {
    job.about.known_as.iter().chain([&job.work_item]).map(|name| (job.project.clone(), name.clone()))
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
    pub(crate) job: Cow<'a, NewJob>,
    /// Its key and origin as they are kept: beside the job, which need not be copied for their sake.
    pub(crate) semantic_key: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) created_at: Timestamp,
}

impl KeptJob<'_> {
    /// Whether it may be claimed at once.
    pub(crate) fn is_due(&self) -> bool {
        self.job.available_at <= self.created_at
    }

    /// The row it becomes.
    pub(crate) fn row(&self) -> Job {
        let new = &self.job;
        Job {
            id: self.id,
            project: new.project.clone(),
            work_item: new.work_item.clone(),
            stage: new.stage.clone(),
            role: new.role.clone(),
            priority: new.priority,
            budgets: new.budgets,
            epoch: Epoch::default(),
            revision: 0,
            state: JobState::Queued { available_at: new.available_at },
            created_at: self.created_at,
            updated_at: self.created_at,
            trace_context: new.trace_context.clone(),
            origin: self.origin.clone(),
        }
    }
}

/// A batch while it is judged, and the rows it makes. Ids of new jobs are consecutive.
#[derive(Debug)]
pub(crate) struct Intake<'a> {
    known: Known<'a>,
    pub(crate) deliveries: Vec<KeptDelivery<'a>>,
    pub(crate) jobs: Vec<KeptJob<'a>>,
    /// Work items, new or changed.
    pub(crate) items: BTreeMap<ItemKey, WorkItem>,
    /// New names of work items.
    pub(crate) aliases: BTreeMap<ItemKey, String>,
    /// Further keys of jobs: of causes that joined one that is not over.
    pub(crate) joined: BTreeMap<String, JobId>,
    /// Queued jobs whose place a new one takes, and running ones that it makes worthless; written after the new ones.
    pub(crate) replaced: Vec<Change>,
    /// Sightings, new or changed.
    pub(crate) sightings: BTreeMap<SightingKey, sighting::Seen>,
    /// What the delivery under way tells that is no news.
    stale: BTreeSet<SightingKey>,
    /// What people are told of work items.
    pub(crate) notices: Vec<Notice>,
}

impl<'a> Intake<'a> {
    pub(crate) const fn new(known: Known<'a>) -> Self {
        Self {
            known,
            deliveries: Vec::new(),
            jobs: Vec::new(),
            items: BTreeMap::new(),
            aliases: BTreeMap::new(),
            joined: BTreeMap::new(),
            replaced: Vec::new(),
            sightings: BTreeMap::new(),
            stale: BTreeSet::new(),
            notices: Vec::new(),
        }
    }

    /// Judges one item.
    pub(crate) fn take(&mut self, item: &Item<'a>) -> ItemAnswer {
        match *item {
            Item::Delivery(delivery) => ItemAnswer::Delivery(self.take_delivery(delivery)),
            Item::Job(job, now) => {
                let job = self.placed(job);
                let known = self.find(&job).or_else(|| self.join(&job));
                ItemAnswer::Job(Enqueued {
                    job: known.unwrap_or_else(|| self.make(job, now)),
                    fresh: known.is_none(),
                })
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
        self.see(delivery);
        if delivery.jobs.is_empty() {
            if !ignored_before {
                self.keep(delivery, Decision::Ignored, &[]);
            }
            return Accepted::Ignored;
        }
        let (mut jobs, mut any_fresh) = (Vec::with_capacity(delivery.jobs.len()), false);
        for job in &delivery.jobs {
            let job = self.placed(job);
            if let Some(id) = self.find(&job) {
                jobs.push(id);
                continue;
            }
            if self.is_stale(&job) {
                continue;
            }
            if let Some(id) = self.join(&job) {
                jobs.push(id);
            } else if !self.stops(&job, delivery.received_at) {
                jobs.push(self.make(job, delivery.received_at));
                any_fresh = true;
            }
        }
        if jobs.is_empty() {
            if !ignored_before {
                self.keep(delivery, Decision::Ignored, &[]);
            }
            Accepted::Ignored
        } else if any_fresh {
            self.keep(delivery, Decision::Enqueued, &jobs);
            self.known.by_body.insert(body, jobs.clone());
            Accepted::Enqueued { jobs }
        } else {
            self.keep(delivery, Decision::Duplicate, &jobs);
            Accepted::Duplicate { jobs }
        }
    }

    /// The job with the work item that it belongs to, whatever name its cause knew.
    fn placed(&self, job: &'a NewJob) -> Cow<'a, NewJob> {
        let mut job = Cow::Borrowed(job);
        let key = names_of(&job).find_map(|name| self.known.aliases.get(&name).cloned());
        if let Some(key) = key.filter(|key| *key != job.work_item) {
            job.to_mut().work_item = key;
        }
        job
    }

    /// The job that this one repeats. What follows from a job's end repeats only what was made since that job was: what an
    /// earlier round made for the same commit is over.
    fn find(&self, job: &NewJob) -> Option<JobId> {
        let since = job.origin.parent.unwrap_or(JobId(i64::MIN));
        keys_of(job).find_map(|key| self.known.by_key.get(&key).copied().filter(|id| *id > since))
    }

    /// The job under way that this one joins; its key is one of that job's from now on, so that a repeat of its cause is
    /// found after that job's end, too.
    fn join(&mut self, job: &NewJob) -> Option<JobId> {
        let place = ((job.project.clone(), job.work_item.clone()), job.stage.clone());
        let id = joining::joined(job, self.known.unfinished.get(&place)?)?;
        let key = self.free_key(job)?;
        self.known.by_key.insert(key.clone(), id);
        self.joined.insert(key, id);
        Some(id)
    }

    /// The key that a job gets: its own, or another where a job of an earlier round has that.
    fn free_key(&self, job: &NewJob) -> Option<String> {
        let key = job.semantic_key.as_deref()?;
        Some(match job.origin.parent {
            Some(parent) if self.known.by_key.contains_key(key) => after_existing(key, parent),
            Some(_) | None => key.to_owned(),
        })
    }

    /// Whether the work item needs a person before the job may be made.
    fn stops(&mut self, job: &NewJob, now: Timestamp) -> bool {
        let name = (job.project.clone(), job.work_item.clone());
        let known = self.known.items.get(&name);
        if arrival::is_uninvited(known, job) {
            return true;
        }
        let Some(item) = arrival::stopped(known, job, now) else { return false };
        self.put_item(name, item, now);
        true
    }

    /// Takes down what a delivery shows, and which of it is no news.
    fn see(&mut self, delivery: &NewDelivery) {
        self.stale.clear();
        for (project, told) in &delivery.sightings {
            let key = (project.clone(), told.name.clone());
            if !self.note(project, told, delivery.teller(), delivery.received_at) {
                self.stale.insert(key);
            }
        }
    }

    /// Takes down a sighting; tells whether it is news.
    pub(crate) fn note(
        &mut self,
        project: &str,
        told: &Sighting,
        teller: sighting::Teller,
        now: Timestamp,
    ) -> bool {
        let key = (project.to_owned(), told.name.clone());
        let known = self.known.sightings.get(&key);
        let judged = sighting::judge(known, told, teller);
        if judged.kept {
            let seen = sighting::Seen::after(known, project, told, teller, now);
            self.known.sightings.insert(key.clone(), seen.clone());
            self.sightings.insert(key, seen);
        }
        judged.news
    }

    /// Whether its cause was told before.
    fn is_stale(&self, job: &NewJob) -> bool {
        let cause = job.about.cause.clone();
        cause.is_some_and(|cause| self.stale.contains(&(job.project.clone(), cause)))
    }

    fn make(&mut self, mut job: Cow<'a, NewJob>, now: Timestamp) -> JobId {
        self.known.newest_job += 1;
        let id = JobId(self.known.newest_job);
        let name = (job.project.clone(), job.work_item.clone());
        let known = self.known.items.get(&name);
        let (hops, chain) = (arrival::hops(known, &job, now), arrival::chain(known, &job, now));
        let mut origin = Origin { hops, chain, ..job.origin.clone() };
        let item = arrival::arrive(known, &job, now);
        let semantic_key = self.free_key(&job);
        if let Some(key) = &semantic_key {
            self.known.by_key.insert(key.clone(), id);
        }
        for alias in &job.about.aliases {
            let alias = (job.project.clone(), alias.clone());
            if alias != name && !self.known.aliases.contains_key(&alias) {
                self.known.aliases.insert(alias.clone(), name.1.clone());
                self.aliases.insert(alias, name.1.clone());
            }
        }
        self.put_item(name.clone(), item, now);
        self.replace(&name, &mut job, &mut origin, now);
        self.cancel_older(&name, &job, now);
        let kept = KeptJob { id, job, semantic_key, origin, created_at: now };
        if kept.job.about.replaces_older {
            let waiting = Waiting { job: kept.row(), results: kept.job.payload.results.clone() };
            self.known.waiting.insert((name.clone(), kept.job.stage.clone()), waiting);
        }
        if joining::is_of_commit(&kept.job) {
            let place = (name, kept.job.stage.clone());
            self.known.unfinished.entry(place).or_default().push(kept.row());
        }
        self.jobs.push(kept);
        id
    }

    /// One queued job for a work item and stage: the newest commit's.
    fn replace(&mut self, item: &ItemKey, job: &mut Cow<'a, NewJob>, origin: &mut Origin, now: Timestamp) {
        if !job.about.replaces_older || job.origin.head.is_none() {
            return;
        }
        let Some(older) = self.known.waiting.remove(&(item.clone(), job.stage.clone())) else { return };
        let withdrawn =
            domain::next(&older.job, &Event::CancelRequested, now, &Policy::default(), Chance::new(0.0));
        let Ok(transition) = withdrawn else { return };
        self.leave(item, &older.job);
        origin.replaces = Some(older.job.id);
        if job.payload.results.is_empty() && !older.results.is_empty() {
            job.to_mut().payload.results = older.results;
        }
        self.replaced.push(Change::new(transition, now));
    }

    /// Asks running jobs to end whose commit is no longer the newest.
    fn cancel_older(&mut self, item: &ItemKey, job: &NewJob, now: Timestamp) {
        if !job.about.cancels_older {
            return;
        }
        let running = self.known.running.remove(&(item.clone(), job.stage.clone())).unwrap_or_default();
        for older in running.iter().filter(|older| older.origin.head != job.origin.head) {
            self.leave(item, older);
            let asked =
                domain::next(older, &Event::CancelRequested, now, &Policy::default(), Chance::new(0.0));
            self.replaced.extend(asked.ok().map(|transition| Change::new(transition, now)));
        }
    }

    /// Nobody joins a job any more whose end was asked for.
    fn leave(&mut self, item: &ItemKey, job: &Job) {
        if let Some(unfinished) = self.known.unfinished.get_mut(&(item.clone(), job.stage.clone())) {
            unfinished.retain(|other| other.id != job.id);
        }
    }

    fn put_item(&mut self, name: ItemKey, item: WorkItem, now: Timestamp) {
        let alert = told(self.known.items.get(&name), &item);
        self.notices.extend(alert.map(|alert| Notice::new(alert, now)));
        self.known.items.insert(name.clone(), item.clone());
        self.items.insert(name, item);
    }

    fn keep(&mut self, delivery: &'a NewDelivery, decision: Decision, jobs: &[JobId]) {
        self.deliveries.push(KeptDelivery { delivery, decision, jobs: jobs.to_vec() });
        let seen = Seen { body_sha256: delivery.body_sha256.clone(), decision, jobs: jobs.to_vec() };
        self.known.by_delivery.insert((&delivery.source, &delivery.delivery_id), seen);
    }
}
