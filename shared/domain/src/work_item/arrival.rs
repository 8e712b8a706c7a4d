//! A job is made for a work item: the item is found or begun, goes to the job's stage, and its chain of causes grows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{HOPS_MAX, ItemState, NeedsYou, Standing, Why, WorkItem};
use crate::budget::Scope;
use crate::delivery::NewJob;
use crate::{Timestamp, text};

/// How long an item must rest for the next event from outside to begin a new chain.
pub const CHAIN_REST: Duration = Duration::from_hours(1);
/// The longest title kept, in bytes.
const TITLE_BYTES_MAX: usize = 200;

/// The item afterwards, when `job` is not to be made: an event from outside asks for it, and the chain of causes that it
/// goes on with is as long as it may be. (A chain that goes on by itself is stopped where it would: [`super::step`].)
pub fn stopped(known: Option<&WorkItem>, job: &NewJob, now: Timestamp) -> Option<WorkItem> {
    let item = known.filter(|_| job.origin.parent.is_none())?;
    let is_spent = item.state.needs().is_some_and(
        |needs| matches!(&needs.why, Why::Budget { exceeded } if exceeded.purse.scope == Scope::Chain),
    );
    if is_spent && is_echo(Some(item), job, now) {
        // It asks for a person already; the rest is counted from here.
        return Some(WorkItem { updated_at: now, ..item.clone() });
    }
    let hops_max = job.about.hops_max.unwrap_or(HOPS_MAX);
    if hops(Some(item), job, now) <= hops_max {
        return None;
    }
    let needs = NeedsYou {
        why: Why::Hops { times: hops_max, to: job.stage.clone() },
        job: None,
        stage: item.stage.clone(),
        result: None,
    };
    Some(WorkItem { state: ItemState::NeedsYou(Box::new(needs)), updated_at: now, ..item.clone() })
}

/// Whether `job` is not to be made: an outsider's event speaks of an item that is not an outsider's.
pub fn is_uninvited(known: Option<&WorkItem>, job: &NewJob) -> bool {
    job.about.untrusted && known.is_some_and(|item| item.standing == Standing::Trusted)
}

/// The item after `job` was made for it; `known` is what the store has of it.
pub fn arrive(known: Option<&WorkItem>, job: &NewJob, now: Timestamp) -> WorkItem {
    let item = known.cloned().unwrap_or_else(|| begin(job, now));
    let moves_head = job.about.moves_head || item.head.is_none();
    WorkItem {
        title: item.title.or_else(|| title(job)),
        stage: job.stage.clone(),
        state: ItemState::Active,
        head: job.origin.head.clone().filter(|_| moves_head).or(item.head),
        hops: hops(known, job, now),
        ended_because: None,
        chain: chain(known, job, now),
        updated_at: now,
        ..item
    }
}

/// How many jobs the chain of causes has before this one. A person begins a chain; an event from outside goes on with the
/// item's, which grows with each job of it that ends, since it may be the echo of what an agent did; unless the item had a
/// rest.
pub fn hops(known: Option<&WorkItem>, job: &NewJob, now: Timestamp) -> u32 {
    match (job.origin.parent, &job.origin.delivery, known) {
        (Some(_), _, _) => job.origin.hops,
        (None, Some(_), Some(item)) if is_echo(known, job, now) => item.hops,
        (None, _, _) => 0,
    }
}

/// Whether an event from outside may come of what an agent did for the item.
fn is_echo(known: Option<&WorkItem>, job: &NewJob, now: Timestamp) -> bool {
    job.origin.delivery.is_some() && known.is_some_and(|item| now.since(item.updated_at) < CHAIN_REST)
}

/// What the chain of causes of `job` began with: as long as its hops are counted on, so is its chain.
pub fn chain(known: Option<&WorkItem>, job: &NewJob, now: Timestamp) -> String {
    let goes_on = job.origin.parent.is_some() || is_echo(known, job, now);
    let of_item = known.filter(|_| job.origin.parent.is_none()).map(|item| item.chain.clone());
    let known = of_item.unwrap_or_else(|| job.origin.chain.clone());
    if goes_on && !known.is_empty() {
        return known;
    }
    match &job.origin.delivery {
        Some(delivery) => delivery.clone(),
        None => person_chain(&job.project, &job.work_item, now),
    }
}

/// The name of a chain that a person began.
pub fn person_chain(project: &str, key: &str, now: Timestamp) -> String {
    format!("person:{project}/{key}@{}", now.as_ms())
}

fn begin(job: &NewJob, now: Timestamp) -> WorkItem {
    WorkItem {
        project: job.project.clone(),
        key: job.work_item.clone(),
        title: None,
        stage: job.stage.clone(),
        state: ItemState::Active,
        head: None,
        bounces: BTreeMap::new(),
        hops: 0,
        standing: if job.about.untrusted { Standing::Outsider } else { Standing::Trusted },
        ended_because: None,
        chain: String::new(),
        revision: 0,
        created_at: now,
        updated_at: now,
    }
}

fn title(job: &NewJob) -> Option<String> {
    let title = text::line(job.payload.title.as_deref()?, TITLE_BYTES_MAX);
    (!title.is_empty()).then_some(title)
}
