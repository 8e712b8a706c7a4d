//! What happens to jobs and runs, for whoever watches: the last few thousand events, in memory.
//!
//! Nothing hangs on them: who missed some is told so and reads the lists again. What this scheduler moves it tells at
//! once; jobs that others made are found by their ids.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::transition::RunChange;
use domain::{Job, JobId, Run, Timestamp, Transition};
use proto::v1::JobEvent;
use store::JobFilter;
use tokio::sync::{Notify, watch};

use crate::moves::error_chain;
use crate::shared::Shared;

/// The most events kept.
pub(crate) const EVENTS_MAX: usize = 10_000;
/// The most memory they take, in bytes: where names are long, fewer are kept.
const EVENTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// New jobs read at once, and how often in a row: no more than are kept.
const PAGE: u32 = 200;
const PAGES_MAX: usize = EVENTS_MAX / PAGE as usize;

/// The word of an event that stands for others.
pub(crate) const GAP: &str = "gap";

#[derive(Debug)]
pub(crate) struct Events {
    /// Tells this start of the scheduler from others: ids of another one cannot be gone on from.
    start: String,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
    /// Something may have been made by somebody else.
    look: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the first event kept; they are counted from 1.
    first: u64,
    kept: VecDeque<JobEvent>,
    /// What those take.
    bytes: usize,
}

/// A place between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the event of this number.
    Behind(u64),
    /// Somewhere before this start.
    Unknown,
}

impl Events {
    pub(crate) fn new(start: String) -> Self {
        let ring = Mutex::new(Ring { first: 1, ..Ring::default() });
        Self { start, ring, newest: watch::channel(0).0, look: Notify::new() }
    }

    /// Has new jobs looked for soon.
    pub(crate) fn nudge(&self) {
        self.look.notify_one();
    }

    /// The place that an event's id names; `None`: it is none of ours.
    pub(crate) fn place(&self, id: &str) -> Option<Place> {
        if id.is_empty() {
            return Some(Place::Behind(*self.newest.borrow()));
        }
        let (start, number) = id.rsplit_once('-')?;
        let number = number.parse().ok()?;
        Some(if start == self.start && number <= *self.newest.borrow() {
            Place::Behind(number)
        } else {
            Place::Unknown
        })
    }

    /// How many watch.
    pub(crate) fn readers(&self) -> usize {
        self.newest.receiver_count()
    }

    /// Wakes when there is an event behind the number last seen.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// At most `max` events behind a place, after one that stands for those that are gone; and the place behind them.
    pub(crate) fn behind(&self, place: Place, max: usize, now: Timestamp) -> (Vec<JobEvent>, Place) {
        let ring = self.lock();
        let (number, missed) = match place {
            Place::Behind(number) if number + 1 >= ring.first => (number, None),
            Place::Behind(number) => (ring.first - 1, Some(ring.first - 1 - number)),
            Place::Unknown => (ring.first - 1, Some(0)),
        };
        let gap = missed.map(|missed| JobEvent {
            id: self.id(number),
            at: now.to_string(),
            kind: GAP.to_owned(),
            missed: Some(missed),
            ..JobEvent::default()
        });
        let skip = usize::try_from(number + 1 - ring.first).unwrap_or(usize::MAX);
        let found: Vec<JobEvent> = ring.kept.iter().skip(skip).take(max).cloned().collect();
        let behind = number + found.len() as u64;
        (gap.into_iter().chain(found).collect(), Place::Behind(behind))
    }

    fn publish(&self, now: Timestamp, event: JobEvent) {
        let mut ring = self.lock();
        let number = ring.first + ring.kept.len() as u64;
        let event = JobEvent { id: self.id(number), at: now.to_string(), ..event };
        ring.bytes += bytes_of(&event);
        ring.kept.push_back(event);
        while ring.kept.len() > EVENTS_MAX || (ring.bytes > EVENTS_BYTES_MAX && ring.kept.len() > 1) {
            ring.bytes -= ring.kept.pop_front().as_ref().map_or(0, bytes_of);
            ring.first += 1;
        }
        self.newest.send_replace(number);
    }

    /// A job was claimed.
    pub(crate) fn claimed(&self, now: Timestamp, job: &Job, run: &Run) {
        let event =
            JobEvent { runner: Some(run.node.to_string()), run_id: Some(run.id.to_string()), ..of(job) };
        self.publish(now, JobEvent { kind: "run_offered".to_owned(), status: "running".to_owned(), ..event });
    }

    /// A job's transition was committed; `job` is what it was before.
    pub(crate) fn moved(&self, now: Timestamp, job: &Job, transition: &Transition) {
        let status = transition.after.state.status().as_str().to_owned();
        let event = JobEvent { status, ..of(job) };
        let event = match &transition.run {
            RunChange::Keep | RunChange::Insert(_) => JobEvent { kind: "job_moved".to_owned(), ..event },
            RunChange::Start { run } => {
                JobEvent { kind: "run_started".to_owned(), run_id: Some(run.to_string()), ..event }
            }
            RunChange::End { run, class, reason } => JobEvent {
                kind: "run_ended".to_owned(),
                run_id: Some(run.to_string()),
                class: Some((*class).to_owned()),
                reason: Some((*reason).to_owned()),
                ..event
            },
        };
        self.publish(now, event);
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.start)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(event: &JobEvent) -> usize {
    let JobEvent { id, at, kind, project, work_item, stage, status, run_id, runner, class, reason, .. } =
        event;
    let said = [id, at, kind, project, work_item, stage, status].into_iter();
    let perhaps = [run_id, runner, class, reason].into_iter().flatten();
    size_of::<JobEvent>() + said.chain(perhaps).map(String::len).sum::<usize>()
}

fn of(job: &Job) -> JobEvent {
    JobEvent {
        job_id: Some(job.id.0),
        project: job.project.clone(),
        work_item: job.work_item.clone(),
        stage: job.stage.clone(),
        ..JobEvent::default()
    }
}

/// Looks for jobs that others made, until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    let mut newest = None;
    loop {
        match token.run_until_cancelled(new_jobs(&shared, newest)).await {
            None => return,
            Some(Ok(found)) => newest = Some(found),
            Some(Err(error)) => tracing::debug!(error = error_chain(&error), "could not look for new jobs"),
        }
        let woken = async {
            let _ = tokio::time::timeout(shared.poll_interval, shared.events.look.notified()).await;
        };
        if token.run_until_cancelled(woken).await.is_none() {
            return;
        }
    }
}

/// Tells of the jobs above `newest`, the oldest first; says which is the newest now.
async fn new_jobs(shared: &Shared, newest: Option<JobId>) -> Result<JobId, store::Error> {
    let limit = if newest.is_some() { PAGE } else { 1 };
    let (mut fresh, mut before) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let filter = JobFilter { above: newest, before, ..JobFilter::newest(limit) };
        let page = shared.store.jobs(filter).await?;
        before = page.last().map(|found| found.job.id);
        let is_last = page.len() < limit as usize;
        fresh.extend(page.into_iter().map(|found| found.job));
        if is_last || newest.is_none() {
            break;
        }
    }
    let found = fresh.first().map_or(JobId(0), |job| job.id).max(newest.unwrap_or(JobId(0)));
    // What was there before this start is no news.
    if newest.is_none() {
        return Ok(found);
    }
    for job in fresh.iter().rev() {
        let event = JobEvent {
            kind: "job_made".to_owned(),
            status: job.state.status().as_str().to_owned(),
            ..of(job)
        };
        shared.events.publish(shared.now(), event);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

    fn kinds(events: &[JobEvent]) -> Vec<(&str, Option<u64>)> {
        events.iter().map(|event| (event.kind.as_str(), event.missed)).collect()
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_is_told_what_it_missed() {
        let events = Events::new("a-b".to_owned());
        let publish =
            |kind: &str| events.publish(NOW, JobEvent { kind: kind.to_owned(), ..JobEvent::default() });
        let now = events.place("").unwrap();
        assert_eq!(events.behind(now, 10, NOW), (vec![], Place::Behind(0)));
        for kind in ["one", "two", "three"] {
            publish(kind);
        }
        let (first, behind) = events.behind(now, 2, NOW);
        assert_eq!(kinds(&first), [("one", None), ("two", None)]);
        assert_eq!((first[1].id.as_str(), behind), ("a-b-2", Place::Behind(2)));
        let (rest, behind) = events.behind(events.place("a-b-2").unwrap(), 10, NOW);
        assert_eq!((kinds(&rest), behind), (vec![("three", None)], Place::Behind(3)));

        for _ in 0..EVENTS_MAX {
            publish("more");
        }
        let (late, behind) = events.behind(Place::Behind(1), 1, NOW);
        assert_eq!((kinds(&late), behind), (vec![(GAP, Some(2)), ("more", None)], Place::Behind(4)));
        // A gap's id is a place too: the one behind what was missed.
        assert_eq!(events.place(&late[0].id), Some(Place::Behind(3)));

        // Another start's ids, and ids of nobody.
        assert_eq!(events.place("c-7"), Some(Place::Unknown));
        let (told, _) = events.behind(Place::Unknown, 1, NOW);
        assert_eq!(kinds(&told), [(GAP, Some(0)), ("more", None)]);
        assert_eq!((events.place("nonsense"), events.place("a-b-x")), (None, None));
    }

    #[test]
    fn events_with_long_names_are_fewer() {
        let events = Events::new("a".to_owned());
        let long = JobEvent { work_item: "x".repeat(64 * 1024), ..JobEvent::default() };
        for _ in 0..1_000 {
            events.publish(NOW, long.clone());
        }
        let ring = events.lock();
        assert_eq!(ring.bytes, ring.kept.iter().map(bytes_of).sum::<usize>());
        assert!(
            ring.bytes <= EVENTS_BYTES_MAX && ring.kept.len() > 100,
            "{} events are kept",
            ring.kept.len()
        );
        assert_eq!(ring.first + ring.kept.len() as u64, 1_001);
    }
}
