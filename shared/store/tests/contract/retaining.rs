//! What is over is forgotten a few rows at a time, and what must outlive it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::budget::{Purse, Scope, day_of};
use domain::delivery::{About, Accepted, NewJob};
use domain::job::{JobKind, Origin};
use domain::retention::{Kind, Step};
use domain::transition::Event;
use domain::work_item::{ItemChange, ItemState, NeedsYou, Why, WorkItem};
use domain::{Class, Job, JobId, Status, Timestamp};
use store::{Act, ActFilter, Actor, Applied, Audit, Change, Forgotten, ItemFilter, JobFilter, Store};

use super::values::{
    T0, change, claim, delivery, ended, fleet, fresh_run, happen, job, keyed, later, outcome, read,
};

const DAY_MS: u64 = 86_400_000;

/// Enqueues a job, has it claimed and done with an outcome at `done_at`.
async fn done(store: &Arc<dyn Store>, new: NewJob, done_at: Timestamp) -> Job {
    let id = store.enqueue(new, T0).await.unwrap().job;
    finish(store, id, done_at).await
}

async fn finish(store: &Arc<dyn Store>, id: JobId, done_at: Timestamp) -> Job {
    let starts = claim(store, T0, fleet(64), 1).await.starts;
    assert_eq!(starts.iter().map(|start| start.job.id).collect::<Vec<_>>(), [id]);
    let over = change(&read(store, id).await, &ended(starts[0].run.id, Class::Success), done_at);
    let over = Change { outcome: Some(outcome()), ..over };
    assert_eq!(store.apply(over).await.unwrap(), Applied::Done);
    read(store, id).await
}

/// Goes through all that ended before `before` in steps of `limit`.
async fn forget(store: &Arc<dyn Store>, before: Timestamp, limit: u32) -> Vec<Forgotten> {
    let mut steps = vec![store.forget_jobs(Step::first(before, limit)).await.unwrap()];
    while let Some(after) = steps.last().and_then(|step| step.next) {
        steps.push(store.forget_jobs(Step { before, after, limit }).await.unwrap());
        assert!(steps.len() < 100, "a pass ends");
    }
    steps
}

async fn ids(store: &Arc<dyn Store>) -> Vec<i64> {
    let filter = JobFilter::newest(100);
    store.jobs(filter).await.unwrap().into_iter().map(|row| row.job.id.0).rev().collect()
}

async fn item(store: &Arc<dyn Store>, key: &str) -> Option<WorkItem> {
    let filter =
        ItemFilter { key: Some(key.into()), project: Some("shop".into()), limit: 2, ..ItemFilter::default() };
    store.work_items(filter).await.unwrap().pop()
}

async fn end_item(store: &Arc<dyn Store>, key: &str, at: Timestamp) {
    let seen = item(store, key).await.unwrap();
    let after = WorkItem { state: ItemState::Done, updated_at: at, ..seen.clone() };
    let audit = Audit { at, actor: "ada".into(), verb: "approve", note: None, posts: Vec::new() };
    assert_eq!(store.decide(ItemChange::new(&seen, after), audit).await.unwrap(), Applied::Done);
}

async fn spent(store: &Arc<dyn Store>, job: &Job) -> BTreeMap<&'static str, i64> {
    let purses = Scope::ALL.map(|scope| job.payer().purse(scope, &day_of(later(1))));
    let kept = store.spendings(purses.to_vec()).await.unwrap();
    let tokens = |purse: &Purse| kept.get(purse).map_or(0, |spending| spending.spent.tokens);
    purses.iter().map(|purse| (purse.scope.as_str(), tokens(purse))).collect()
}

/// The oldest end goes first, each step looks at a few, and nothing of a job is left where only it was.
pub(crate) async fn what_is_over_is_forgotten_a_few_at_a_time(store: Arc<dyn Store>) {
    let mut runs = Vec::new();
    for n in 1..=5 {
        // The later it came, the earlier it ended.
        let job = done(&store, job(&format!("A-{n}")), later(10_000 - n)).await;
        runs.push(store.runs_of(job.id).await.unwrap().remove(0).id);
    }
    let waiting = store.enqueue(job("A-6"), T0).await.unwrap().job;

    let nothing = store.forget_jobs(Step::first(later(9_995), 3)).await.unwrap();
    assert_eq!(nothing, Forgotten::default());
    let steps = forget(&store, later(10_000), 2).await;
    assert_eq!(steps.iter().map(|step| step.jobs).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(steps[0].next, Some((later(9_996), JobId(4))));
    let mut gone: Vec<_> = steps[0].runs.clone();
    gone.sort_unstable();
    let mut first = vec![runs[3], runs[4]];
    first.sort_unstable();
    assert_eq!(gone, first);
    assert_eq!(ids(&store).await, [waiting.0]);
    for (id, run) in (1..=5).map(JobId).zip(&runs) {
        assert!(store.job(id).await.unwrap().is_none() && store.run(*run).await.unwrap().is_none());
        assert!(store.payload(id).await.unwrap().is_none() && store.runs_of(id).await.unwrap().is_empty());
    }
    assert_eq!(forget(&store, later(10_000), 2).await, [Forgotten::default()]);
    // Numbers are not given twice.
    assert_eq!(store.enqueue(job("A-7"), T0).await.unwrap().job, JobId(7));
}

/// A delivery, a body and a key are known after their job is gone, until they are old themselves.
pub(crate) async fn a_repeat_is_known_after_its_job_is_forgotten(store: Arc<dyn Store>) {
    let told = |id, body| delivery(id, body, vec![keyed("A", "push:1")]);
    let accepted = store.accept(told("d-1", 'a')).await.unwrap();
    assert_eq!(accepted, Accepted::Enqueued { jobs: vec![JobId(1)] });
    finish(&store, JobId(1), later(10)).await;
    assert_eq!(forget(&store, later(20), 10).await[0].jobs, 1);

    let repeat = || Accepted::Duplicate { jobs: vec![JobId(1)] };
    assert_eq!(store.accept(told("d-1", 'a')).await.unwrap(), repeat());
    assert_eq!(store.accept(told("d-2", 'a')).await.unwrap(), repeat());
    assert_eq!(store.accept(told("d-3", 'b')).await.unwrap(), repeat());
    let asked = store.enqueue(keyed("A", "push:1"), later(30)).await.unwrap();
    assert_eq!((asked.job, asked.fresh), (JobId(1), false));

    for kind in [Kind::Deliveries, Kind::Keys] {
        assert_eq!(store.forget(kind, T0, 10).await.unwrap(), 0, "{kind:?}");
    }
    assert_eq!(store.forget(Kind::Keys, later(20), 10).await.unwrap(), 1);
    assert_eq!(store.accept(told("d-1", 'a')).await.unwrap(), repeat());
    assert_eq!(store.forget(Kind::Deliveries, later(20), 2).await.unwrap(), 2);
    assert_eq!(store.forget(Kind::Deliveries, later(20), 2).await.unwrap(), 1);
    assert_eq!(store.accept(told("d-1", 'a')).await.unwrap(), Accepted::Enqueued { jobs: vec![JobId(2)] });
}

/// What lives, what something goes on from that is not over, and what an open work item points at stays.
pub(crate) async fn what_is_needed_is_kept(store: Arc<dyn Store>) {
    let parent = done(&store, job("A"), later(10)).await;
    let origin = Origin { parent: Some(parent.id), kind: JobKind::Reformat, ..Origin::default() };
    let child = store.enqueue(NewJob { origin, ..keyed("A", "after:1") }, T0).await.unwrap().job;

    let asked = done_first(&store, job("B")).await;
    let seen = item(&store, "B").await.unwrap();
    let needs = NeedsYou { why: Why::Approval, job: Some(asked), stage: "review".into(), result: None };
    let waits =
        WorkItem { state: ItemState::NeedsYou(Box::new(needs)), updated_at: later(20), ..seen.clone() };
    let audit = Audit { at: later(20), actor: "ada".into(), verb: "stop", note: None, posts: Vec::new() };
    assert_eq!(store.decide(ItemChange::new(&seen, waits), audit).await.unwrap(), Applied::Done);

    let running = store.enqueue(NewJob { priority: 9, ..job("C") }, T0).await.unwrap().job;
    let starts = claim(&store, T0, fleet(64), 1).await.starts;
    assert_eq!(starts[0].job.id, running);

    let kept = [parent.id, child, asked, running].map(|id| id.0);
    assert_eq!(forget(&store, later(DAY_MS), 1).await.iter().map(|step| step.jobs).sum::<u64>(), 0);
    assert_eq!(ids(&store).await, kept);

    // Once nothing waits for it any more, it goes.
    assert_eq!(happen(&store, child, &Event::CancelRequested, later(30)).await, Applied::Done);
    end_item(&store, "B", later(40)).await;
    assert_eq!(forget(&store, later(DAY_MS), 1).await.iter().map(|step| step.jobs).sum::<u64>(), 3);
    assert_eq!(ids(&store).await, [running.0]);
}

/// As [`done`], before another job that waits already.
async fn done_first(store: &Arc<dyn Store>, new: NewJob) -> JobId {
    done(store, NewJob { priority: 9, ..new }, later(11)).await.id
}

/// People see the same figures after as before, and a work item's budget has been spent as much.
pub(crate) async fn figures_and_sums_outlive_what_they_count(store: Arc<dyn Store>) {
    let first = done(&store, job("A"), later(10)).await;
    done(&store, job("A"), later(3_600_000)).await;
    let failed = store.enqueue(job("B"), T0).await.unwrap().job;
    assert_eq!(happen(&store, failed, &Event::CancelRequested, later(30)).await, Applied::Done);
    store.enqueue(job("B"), T0).await.unwrap();

    let seen = || async {
        let overview = store.overview(later(50)).await.unwrap();
        (overview.counts, store.stage_records().await.unwrap(), store.ended_since(T0).await.unwrap())
    };
    let before = seen().await;
    let sums = spent(&store, &first).await;
    assert_eq!((sums["item"], sums["job"]), (3_080, 1_540));
    assert_eq!(forget(&store, later(3_600_001), 10).await[0].jobs, 3);
    assert_eq!(seen().await, before);
    let (mut counts, records, hours) = seen().await;
    assert_eq!(
        (*counts.of(Status::Done), *counts.of(Status::Cancelled), *counts.of(Status::Queued)),
        (2, 1, 1)
    );
    assert_eq!((records.len(), hours.len()), (1, 1));
    assert_eq!(spent(&store, &first).await, sums.into_iter().chain([("job", 0)]).collect::<BTreeMap<_, _>>());
    let kept = store.kept(10).await.unwrap();
    assert_eq!((kept.finished, kept.forgotten, kept.oldest_finished_at), (0, 3, None));

    // A chain is counted for as long as something is added to it.
    assert_eq!(store.forget(Kind::Chains, later(100), 10).await.unwrap(), 0);
    assert!(store.forget(Kind::Chains, later(2 * DAY_MS), 10).await.unwrap() > 0);
    assert_eq!(spent(&store, &first).await["chain"], 0);
    assert_eq!(store.forget(Kind::Hours, later(2 * DAY_MS), 10).await.unwrap(), 1);
    assert_eq!(store.ended_since(T0).await.unwrap(), []);
}

/// A work item that ended goes with its names and what was spent on it; one that did not, or has a job, stays.
pub(crate) async fn work_items_go_with_their_names_and_sums(store: Arc<dyn Store>) {
    let named = |key: &str| NewJob {
        about: About { aliases: vec![format!("acme/{key}")], ..About::default() },
        ..job(key)
    };
    let first = done(&store, named("A"), later(10)).await;
    done(&store, named("B"), later(10)).await;
    done(&store, named("C"), later(10)).await;
    store.enqueue(named("C"), T0).await.unwrap();
    end_item(&store, "A", later(20)).await;
    end_item(&store, "C", later(20)).await;
    assert_eq!(store.names_of("shop", "A").await.unwrap(), ["acme/A"]);

    assert_eq!(store.forget(Kind::Items, later(20), 10).await.unwrap(), 0);
    assert_eq!(store.forget(Kind::Items, later(21), 10).await.unwrap(), 1);
    assert_eq!(item(&store, "A").await, None);
    assert!(item(&store, "B").await.is_some() && item(&store, "C").await.is_some());
    assert_eq!(store.names_of("shop", "A").await.unwrap(), [""; 0]);
    assert_eq!(store.names_of("shop", "B").await.unwrap(), ["acme/B"]);
    assert_eq!(spent(&store, &first).await["item"], 0);
}

/// What stands by itself goes by its age alone, the oldest first, as many as asked for.
pub(crate) async fn acts_deliveries_and_late_reports_are_forgotten_by_age(store: Arc<dyn Store>) {
    for n in 1..=3 {
        let act = Act {
            id: 0,
            at: later(n),
            actor: Actor { by: "ada".into(), via: "cli".into(), origin: None },
            verb: "pause".into(),
            subject: String::new(),
            project: None,
            work_item: None,
            note: None,
            result: Act::DONE.into(),
        };
        store.note_act(act).await.unwrap();
        let mut told = delivery(&format!("d-{n}"), 'a', Vec::new());
        told.received_at = later(n);
        assert_eq!(store.accept(told).await.unwrap(), Accepted::Ignored);
    }
    let acts = || async {
        let filter = ActFilter { before: None, subject: None, limit: 10 };
        store.acts(filter).await.unwrap().into_iter().map(|act| act.id).collect::<Vec<_>>()
    };
    assert_eq!(store.forget(Kind::Acts, later(3), 1).await.unwrap(), 1);
    assert_eq!(store.forget(Kind::Acts, later(3), 9).await.unwrap(), 1);
    assert_eq!(acts().await, [3]);
    assert_eq!(store.forget(Kind::Acts, later(9), 9).await.unwrap(), 1);

    let kept = store.kept(2).await.unwrap();
    assert_eq!((kept.deliveries_full_at, kept.oldest_delivery_at), (Some(later(1)), Some(later(1))));
    assert_eq!(store.kept(3).await.unwrap().deliveries_full_at, None);
    assert_eq!(store.forget(Kind::Deliveries, later(3), 9).await.unwrap(), 2);
    assert_eq!(store.kept(2).await.unwrap().oldest_delivery_at, Some(later(3)));

    let known = done(&store, job("A"), later(10)).await;
    let run = store.runs_of(known.id).await.unwrap().remove(0).id;
    for run in [run, fresh_run()] {
        store.record_late_outcome(run, outcome(), later(20)).await.unwrap();
    }
    assert_eq!(store.forget(Kind::LateOutcomes, later(20), 9).await.unwrap(), 0);
    assert_eq!(store.forget(Kind::LateOutcomes, later(21), 9).await.unwrap(), 1);
    assert_eq!(store.late_outcomes_of(known.id).await.unwrap().len(), 1);
}
