//! Work items: advanced with the end of a job, found by any name, moved by one writer at a time.

use std::sync::Arc;

use domain::delivery::{About, Accepted, NewJob, Payload, StageResult};
use domain::job::Origin;
use domain::transition::Event;
use domain::work_item::{ItemChange, ItemState, NeedsYou, Why, WorkItem, after_key, head_key, said_key};
use domain::{Class, Job, JobId, Status};
use store::{Applied, Audit, Change, ItemFilter, JobFilter, Store};

use super::values::{
    T0, change, claim, delivery, ended, fleet, happen, job, keyed, later, one_running, read,
};

pub(crate) const H1: &str = "1111111111111111111111111111111111111111";
const H2: &str = "2222222222222222222222222222222222222222";

async fn items(store: &Arc<dyn Store>) -> Vec<WorkItem> {
    store.work_items(ItemFilter { limit: 100, ..ItemFilter::default() }).await.unwrap()
}

async fn item(store: &Arc<dyn Store>, key: &str) -> WorkItem {
    let filter =
        ItemFilter { key: Some(key.into()), project: Some("shop".into()), limit: 2, ..ItemFilter::default() };
    let mut items = store.work_items(filter).await.unwrap();
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

async fn jobs(store: &Arc<dyn Store>) -> Vec<Job> {
    let filter = JobFilter::newest(100);
    let mut jobs: Vec<Job> = store.jobs(filter).await.unwrap().into_iter().map(|row| row.job).collect();
    jobs.reverse();
    jobs
}

/// The job that follows from `parent` at `testing`.
fn follows(parent: &Job, key: String) -> NewJob {
    NewJob {
        stage: "testing".into(),
        role: "tester".into(),
        semantic_key: Some(key),
        origin: Origin { parent: Some(parent.id), hops: 1, head: Some(H1.into()), ..Origin::default() },
        ..job(&parent.work_item)
    }
}

/// The running job's success, with the advance of its item.
async fn success(store: &Arc<dyn Store>, job: &Job, key: String) -> Change {
    let seen = item(store, &job.work_item).await;
    let next = follows(job, key);
    let after = WorkItem { stage: next.stage.clone(), hops: 1, updated_at: later(100), ..seen.clone() };
    let run = job.state.run().unwrap();
    let item = ItemChange { next: Some(Box::new(next)), ..ItemChange::new(&seen, after) };
    Change { item: Some(item), ..change(&read(store, job.id).await, &ended(run, Class::Success), later(100)) }
}

fn pull_request(head: &str) -> NewJob {
    NewJob {
        stage: "testing".into(),
        role: "tester".into(),
        semantic_key: Some(head_key("shop", "SHOP-1", "testing", head)),
        origin: Origin { delivery: Some("gitea:d".into()), head: Some(head.into()), ..Origin::default() },
        about: About { moves_head: true, replaces_older: true, ..About::default() },
        ..job("SHOP-1")
    }
}

/// The job, its run, its item and the job that follows are written together, once, whoever else reports the end.
pub(crate) async fn an_end_and_what_follows_are_one_commit(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let change = success(&store, &start.job, after_key("testing", start.job.id)).await;
    let answers = futures::future::join_all((0..8).map(|_| store.apply(change.clone()))).await;
    let done = answers.into_iter().filter(|answer| matches!(answer, Ok(Applied::Done))).count();
    assert_eq!(done, 1);
    let all = jobs(&store).await;
    let shown: Vec<_> = all.iter().map(|job| (job.stage.as_str(), job.state.status())).collect();
    assert_eq!(shown, [("review", Status::Done), ("testing", Status::Queued)]);
    assert_eq!((all[1].origin.parent, all[1].origin.hops), (Some(start.job.id), 1));
    let item = item(&store, "SHOP-1").await;
    assert_eq!((item.stage.as_str(), &item.state, item.hops), ("testing", &ItemState::Active, 1));
    assert_eq!(claim(&store, later(200), testing_fleet(), 4).await.starts.len(), 1);
}

pub(crate) fn testing_fleet() -> domain::admission::Facts {
    let mut facts = fleet(4);
    facts.stages.insert("testing".to_owned(), None);
    facts
}

/// Whoever comes first makes the job; the other one finds it.
pub(crate) async fn a_webhook_and_an_advance_of_one_commit_are_one_job(store: Arc<dyn Store>) {
    let key = || head_key("shop", "SHOP-1", "testing", H1);
    // The advance first.
    let start = one_running(&store).await;
    let change = success(&store, &start.job, key()).await;
    assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
    let made = jobs(&store).await[1].id;
    let echo = store.accept(delivery("d1", 'a', vec![pull_request(H1)])).await.unwrap();
    assert_eq!(echo, Accepted::Duplicate { jobs: vec![made] });
    // The webhook first, even when its job is over by then.
    let early = NewJob { work_item: "SHOP-1".into(), ..keyed("SHOP-1", "again") };
    let again = store.enqueue(early, later(300)).await.unwrap().job;
    let claimed = claim(&store, later(300), fleet(4), 1).await.starts.remove(0);
    assert_eq!(claimed.job.id, again);
    let webhook = store.accept(delivery("d2", 'b', vec![pull_request(H2)])).await.unwrap();
    let Accepted::Enqueued { jobs: webhook } = webhook else { panic!("{webhook:?}") };
    assert_eq!(happen(&store, webhook[0], &Event::CancelRequested, later(310)).await, Applied::Done);
    let change = success(&store, &claimed.job, head_key("shop", "SHOP-1", "testing", H2)).await;
    assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
    assert_eq!(jobs(&store).await.len(), 4);
}

/// Red tests of a commit, of one event.
pub(crate) fn red(head: &str, event: &str) -> NewJob {
    let known_as = vec![format!("acme/shop@{head}")];
    NewJob {
        work_item: "acme/shop@main".into(),
        semantic_key: Some(said_key("shop", "acme/shop@main", "testing", head, event)),
        about: About { known_as, ..About::default() },
        ..pull_request(head)
    }
}

/// Its commit makes it known that `SHOP-1` is meant.
fn teaches(head: &str) -> NewJob {
    let aliases = vec![format!("acme/shop@{head}")];
    NewJob { about: About { aliases, ..About::default() }, ..job("SHOP-1") }
}

/// Red tests while a stage runs make the job that its end would make: the end finds it, and so does the webhook of the
/// same commit.
pub(crate) async fn a_test_result_and_an_advance_of_one_commit_are_one_job(store: Arc<dyn Store>) {
    store.enqueue(teaches(H1), T0).await.unwrap();
    let start = claim(&store, T0, fleet(4), 1).await.starts.remove(0);
    let made = store.accept(delivery("d1", 'a', vec![red(H1, "ci:1")])).await.unwrap();
    let Accepted::Enqueued { jobs: made } = made else { panic!("{made:?}") };
    let change = success(&store, &start.job, head_key("shop", "SHOP-1", "testing", H1)).await;
    assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
    let all = jobs(&store).await;
    assert_eq!(all.iter().map(|job| job.stage.as_str()).collect::<Vec<_>>(), ["review", "testing"]);
    let item = item(&store, "SHOP-1").await;
    assert_eq!((item.stage.as_str(), &item.state), ("testing", &ItemState::Active));
    // What joined is remembered after the job's end.
    assert_eq!(happen(&store, made[0], &Event::CancelRequested, later(400)).await, Applied::Done);
    let webhook = store.accept(delivery("d2", 'b', vec![pull_request(H1)])).await.unwrap();
    assert_eq!(webhook, Accepted::Duplicate { jobs: vec![made[0]] });
    assert_eq!(jobs(&store).await.len(), 2);
}

/// The job that the end of `SHOP-1`'s first one makes for a commit.
pub(crate) async fn advanced(store: &Arc<dyn Store>, head: &str) -> JobId {
    let parent = store.enqueue(teaches(head), T0).await.unwrap().job;
    assert_eq!(happen(store, parent, &Event::CancelRequested, T0).await, Applied::Done);
    let origin = Origin { parent: Some(parent), ..pull_request(head).origin };
    let advance = NewJob { work_item: "SHOP-1".into(), origin, ..pull_request(head) };
    store.enqueue(advance, T0).await.unwrap().job
}

/// Red tests join the job of their commit that the pipeline made and that waits or runs; after its end they are a job of
/// their own.
pub(crate) async fn a_test_result_joins_what_goes_on_and_is_not_lost_after_it(store: Arc<dyn Store>) {
    let made = vec![advanced(&store, H1).await];
    let same = Accepted::Duplicate { jobs: made.clone() };
    assert_eq!(store.accept(delivery("d1", 'a', vec![red(H1, "ci:1")])).await.unwrap(), same);
    let start = claim(&store, later(10), testing_fleet(), 1).await.starts.remove(0);
    assert_eq!(store.accept(delivery("d2", 'b', vec![red(H1, "ci:2")])).await.unwrap(), same);
    let other = store.accept(delivery("d3", 'c', vec![red(H2, "ci:3")])).await.unwrap();
    assert!(matches!(other, Accepted::Enqueued { .. }), "another commit's: {other:?}");

    let end = ended(start.run.id, Class::Success);
    assert_eq!(happen(&store, made[0], &end, later(100)).await, Applied::Done);
    for (n, known) in ["ci:1", "ci:2"].into_iter().enumerate() {
        let body = char::from_digit(13 + u32::try_from(n).unwrap(), 36).unwrap();
        let again = store.accept(delivery(&format!("again {n}"), body, vec![red(H1, known)])).await.unwrap();
        assert_eq!(again, same, "{known} was told before the end");
    }
    let late = store.accept(delivery("d4", 'f', vec![red(H1, "ci:4")])).await.unwrap();
    let Accepted::Enqueued { jobs: late } = late else { panic!("{late:?}") };
    assert!(late[0] > made[0]);
    let another = store.accept(delivery("d5", '1', vec![red(H1, "ci:5")])).await.unwrap();
    assert!(matches!(another, Accepted::Enqueued { .. }), "two webhooks are two causes: {another:?}");
}

/// A running job that was asked to end will say nothing of its commit.
pub(crate) async fn nobody_joins_what_was_asked_to_end(store: Arc<dyn Store>) {
    advanced(&store, H1).await;
    let start = claim(&store, later(10), testing_fleet(), 1).await.starts.remove(0);
    assert_eq!(happen(&store, start.job.id, &Event::CancelRequested, later(20)).await, Applied::Done);
    let made = store.accept(delivery("d1", 'a', vec![red(H1, "ci:1")])).await.unwrap();
    assert!(matches!(made, Accepted::Enqueued { .. }), "{made:?}");
}

/// A pull request that Orch opened is its item's from the commit on that records it, whether a job follows or not; the
/// first item of a name keeps it.
pub(crate) async fn an_end_teaches_names(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let seen = item(&store, "SHOP-1").await;
    let after = WorkItem { updated_at: later(100), ..seen.clone() };
    let aliases = vec!["acme/shop#12".to_owned(), format!("acme/shop@{H1}"), "SHOP-1".to_owned()];
    let taught = ItemChange { aliases, ..ItemChange::new(&seen, after) };
    let end = ended(start.run.id, Class::Success);
    let change = Change { item: Some(taught), ..change(&read(&store, start.job.id).await, &end, later(100)) };
    assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
    store.accept(delivery("d1", 'a', vec![keyed("acme/shop#12", "ci")])).await.unwrap();
    let known_as = vec![format!("acme/shop@{H1}")];
    let status =
        NewJob { about: About { known_as, ..About::default() }, ..keyed("acme/shop@main", "status") };
    let teaches = About { aliases: vec!["acme/shop#12".to_owned()], ..About::default() };
    let other = NewJob { about: teaches, ..keyed("SHOP-9", "other") };
    store.accept(delivery("d2", 'b', vec![status, other, keyed("acme/shop#12", "again")])).await.unwrap();
    let of: Vec<String> = jobs(&store).await.into_iter().skip(1).map(|job| job.work_item).collect();
    assert_eq!(of, ["SHOP-1", "SHOP-1", "SHOP-9", "SHOP-1"]);
}

/// What an earlier round made for the same commit is over: the next round gets a job of its own, once.
pub(crate) async fn an_earlier_round_of_the_same_commit_is_no_repeat(store: Arc<dyn Store>) {
    let earlier = store.accept(delivery("d1", 'a', vec![pull_request(H1)])).await.unwrap();
    let Accepted::Enqueued { jobs: earlier } = earlier else { panic!("{earlier:?}") };
    assert_eq!(happen(&store, earlier[0], &Event::CancelRequested, later(10)).await, Applied::Done);
    let start = one_running(&store).await;
    let change = success(&store, &start.job, head_key("shop", "SHOP-1", "testing", H1)).await;
    assert_eq!(store.apply(change.clone()).await.unwrap(), Applied::Done);
    assert_eq!(store.apply(change).await.unwrap(), Applied::Conflict);
    let all = jobs(&store).await;
    assert_eq!(all.len(), 3);
    assert!(all[2].id > start.job.id && start.job.id > earlier[0]);
    let repeat = follows(&start.job, head_key("shop", "SHOP-1", "testing", H1));
    let found = store.enqueue(repeat, later(200)).await.unwrap();
    assert_eq!((found.job, found.fresh), (all[2].id, false));
}

/// An advance that was decided on an item as it was before somebody else moved it writes nothing, not even the job's end.
pub(crate) async fn an_item_that_moved_refuses_the_change(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let change = success(&store, &start.job, after_key("testing", start.job.id)).await;
    store.enqueue(keyed("SHOP-1", "meanwhile"), later(50)).await.unwrap();
    assert_eq!(store.apply(change).await.unwrap(), Applied::Conflict);
    assert_eq!(read(&store, start.job.id).await.state.status(), Status::Running);
    assert_eq!(jobs(&store).await.len(), 2);
    let again = success(&store, &start.job, after_key("testing", start.job.id)).await;
    assert_eq!(store.apply(again).await.unwrap(), Applied::Done);
}

/// A pull request of an issue's branch, a status of its commit, and a comment without a number are the issue's.
pub(crate) async fn an_item_is_known_by_its_other_names(store: Arc<dyn Store>) {
    let aliases = vec!["acme/shop#12".to_owned(), format!("acme/shop@{H1}")];
    let teaches = NewJob { about: About { aliases, ..About::default() }, ..keyed("SHOP-1", "pr") };
    let by_commit = NewJob {
        about: About { known_as: vec![format!("acme/shop@{H1}")], ..About::default() },
        ..keyed("acme/shop@main", "status")
    };
    let unknown = NewJob {
        about: About { known_as: vec![format!("acme/shop@{H2}")], ..About::default() },
        ..keyed("acme/shop@main", "other")
    };
    // The first two in one delivery: what one teaches, the next one knows.
    store.accept(delivery("d1", 'a', vec![teaches, by_commit])).await.unwrap();
    store.accept(delivery("d2", 'b', vec![keyed("acme/shop#12", "ci"), unknown])).await.unwrap();
    let of: Vec<String> = jobs(&store).await.into_iter().map(|job| job.work_item).collect();
    assert_eq!(of, ["SHOP-1", "SHOP-1", "SHOP-1", "acme/shop@main"]);
    let mut keys: Vec<String> = items(&store).await.into_iter().map(|item| item.key).collect();
    keys.sort();
    assert_eq!(keys, ["SHOP-1", "acme/shop@main"]);
}

/// One queued job for an item and stage: the newest commit's, with what earlier stages said.
pub(crate) async fn a_newer_commit_takes_the_place_of_a_queued_one(store: Arc<dyn Store>) {
    let results = vec![StageResult { stage: "review".into(), ..StageResult::default() }];
    let payload = Payload { results: results.clone(), ..Payload::default() };
    let first = NewJob { payload, ..pull_request(H1) };
    store.accept(delivery("d1", 'a', vec![first])).await.unwrap();
    // What went back with findings is not about the commit that came since, and stays.
    let bounce = NewJob {
        semantic_key: Some(after_key("testing", JobId(1))),
        origin: Origin { parent: Some(JobId(1)), head: Some(H1.into()), ..Origin::default() },
        ..pull_request(H1)
    };
    let bounce = NewJob { about: About::default(), ..bounce };
    store.enqueue(bounce, T0).await.unwrap();
    store.accept(delivery("d2", 'b', vec![pull_request(H2)])).await.unwrap();
    let all = jobs(&store).await;
    let shown: Vec<_> =
        all.iter().map(|job| (job.state.status(), job.origin.head.as_deref(), job.origin.replaces)).collect();
    assert_eq!(
        shown,
        [
            (Status::Cancelled, Some(H1), None),
            (Status::Queued, Some(H1), None),
            (Status::Queued, Some(H2), Some(all[0].id))
        ]
    );
    assert_eq!(store.payload(all[2].id).await.unwrap().unwrap().results, results);
    assert_eq!(item(&store, "SHOP-1").await.head.as_deref(), Some(H2));
    // Two in one batch: the second takes the place of the first.
    let h3 = H1.replace('1', "3");
    let both = vec![pull_request(&h3), pull_request(&H1.replace('1', "4"))];
    store.accept(delivery("d3", 'c', both)).await.unwrap();
    let queued = jobs(&store).await.into_iter().filter(|job| job.state.status() == Status::Queued).count();
    assert_eq!(queued, 2);
}

/// Events that follow each other too often for one item start nothing until a person says so.
pub(crate) async fn a_chain_of_events_is_stopped(store: Arc<dyn Store>) {
    let event = |n: u32| NewJob {
        origin: Origin { delivery: Some(format!("gitea:{n}")), ..Origin::default() },
        about: About { hops_max: Some(2), ..About::default() },
        ..keyed("SHOP-1", &format!("k{n}"))
    };
    // Events that come while nothing of the item ended are no echo of it, however many there are.
    for n in 0..5 {
        let body = char::from_digit(10 + n, 36).unwrap();
        let accepted = store.accept(delivery(&format!("d{n}"), body, vec![event(n)])).await;
        assert!(matches!(accepted, Ok(Accepted::Enqueued { .. })), "{accepted:?}");
    }
    let seen = item(&store, "SHOP-1").await;
    let grown = ItemChange::new(&seen, WorkItem { hops: 3, ..seen.clone() });
    let audit = Audit { at: T0, actor: "ada".into(), verb: "approve", note: None, posts: Vec::new() };
    assert_eq!(store.decide(grown, audit).await.unwrap(), Applied::Done);
    let stopped = store.accept(delivery("d9", 'f', vec![event(9)])).await.unwrap();
    assert_eq!(stopped, Accepted::Ignored);
    let item = item(&store, "SHOP-1").await;
    assert_eq!(item.state.needs().map(|needs| needs.why.as_str()), Some("hops"));
    assert_eq!(store.overview(T0).await.unwrap().needs_you, std::slice::from_ref(&item));
    assert_eq!(jobs(&store).await.len(), 5);
}

/// A decision is written with its audit and the job that follows, once.
pub(crate) async fn a_person_decides_once(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let run = start.job.state.run().unwrap();
    let seen = item(&store, "SHOP-1").await;
    let needs =
        NeedsYou { why: Why::Approval, job: Some(start.job.id), stage: "review".into(), result: None };
    let waits =
        WorkItem { state: ItemState::NeedsYou(Box::new(needs)), updated_at: later(100), ..seen.clone() };
    let stop = ItemChange::new(&seen, waits.clone());
    let end = change(&read(&store, start.job.id).await, &ended(run, Class::Success), later(100));
    assert_eq!(store.apply(Change { item: Some(stop), ..end }).await.unwrap(), Applied::Done);
    let stopped = item(&store, "SHOP-1").await;
    assert_eq!(stopped, WorkItem { revision: stopped.revision, ..waits });

    let next = follows(&start.job, after_key("testing", start.job.id));
    let after = WorkItem { state: ItemState::Active, ..stopped.clone() };
    let approved = ItemChange { next: Some(Box::new(next)), ..ItemChange::new(&stopped, after) };
    let audit = Audit {
        at: later(200),
        actor: "ada".into(),
        verb: "approve",
        note: Some("fine".into()),
        posts: Vec::new(),
    };
    let answers =
        futures::future::join_all((0..6).map(|_| store.decide(approved.clone(), audit.clone()))).await;
    assert_eq!(answers.into_iter().filter(|answer| matches!(answer, Ok(Applied::Done))).count(), 1);
    let stages: Vec<String> = jobs(&store).await.into_iter().map(|job| job.stage).collect();
    assert_eq!(stages, ["review", "testing"]);
    assert_eq!(item(&store, "SHOP-1").await.state, ItemState::Active);
}
