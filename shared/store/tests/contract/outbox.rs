//! Alerts: written with their fact, taken in order under a lease, delivered at least once, folded and forgotten.

use std::sync::Arc;

use domain::alert::{Alert, Notice};
use domain::outbox::{End, Message, Settlement, Sink, SinkRecord, Take};
use domain::report::{IssueRef, Letter, Post, Says};
use domain::{Account, PermanentReason, Timestamp};
use store::{Applied, Change, Store};

use super::values::{
    T0, change, claim, delivery, ended, failure, fleet, happen, job, later, one_running, read,
};

/// How long whoever takes messages may have them.
const LEASE_MS: u64 = 30_000;

async fn take_at(store: &Arc<dyn Store>, sink: Sink, ms: u64) -> Vec<Message> {
    let take = Take { sink, now: later(ms), leased_until: later(ms + LEASE_MS), limit: 100 };
    store.take_messages(take).await.unwrap()
}

async fn settle_at(store: &Arc<dyn Store>, messages: &[Message], end: End, ms: u64) {
    let messages = messages.iter().map(|message| (message.id, message.attempts)).collect();
    store.settle_messages(Settlement { messages, end, now: later(ms) }).await.unwrap();
}

fn alert(account: &str) -> Alert {
    Alert::AccountResumed { account: Account(account.into()) }
}

async fn push(store: &Arc<dyn Store>, accounts: &[&str], ms: u64) {
    store.push_alerts(accounts.iter().map(|account| alert(account)).collect(), later(ms)).await.unwrap();
}

fn notice(message: &Message) -> Notice {
    serde_json::from_str(&message.payload).unwrap()
}

/// The accounts that messages speak of.
fn accounts(messages: &[Message]) -> Vec<String> {
    let account = |message: &Message| {
        let Alert::AccountResumed { account } = notice(message).alert else { panic!("{message:?}") };
        account.0
    };
    messages.iter().map(account).collect()
}

async fn shown(store: &Arc<dyn Store>) -> Vec<SinkRecord> {
    let shown = store.sinks().await.unwrap();
    assert_eq!(store.overview(T0).await.unwrap().outbox, shown);
    shown
}

/// The alert of a job that is given up is committed with it; a change that is not written tells nothing.
pub(crate) async fn a_job_that_is_given_up_is_told_once(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (id, seen) = (start.job.id, read(&store, start.job.id).await);
    let over = ended(start.run.id, failure(PermanentReason::ContextLength));
    let (first, second) = (change(&seen, &over, later(5)), change(&seen, &over, later(6)));
    assert_eq!(store.apply(first).await.unwrap(), Applied::Done);
    assert_eq!(store.apply(second).await.unwrap(), Applied::Conflict);
    let told = take_at(&store, Sink::Unrouted, 10).await;
    assert_eq!(told.len(), 1);
    let Notice { alert: Alert::JobFailed { job, reason }, at, folded: None } = notice(&told[0]) else {
        panic!("{told:?}")
    };
    assert_eq!((job.id, job.work_item.as_str(), at), (id, "SHOP-1", later(5)));
    assert_eq!(reason, "context_length: would fail again as it is");
    assert_eq!(told[0].key, format!("job_failed/{id}/{}", seen.revision));
    assert_eq!((told[0].pushed_at, told[0].attempts, told[0].destination.as_str()), (later(5), 1, ""));
}

/// What only goes back to the queue is nobody's business.
pub(crate) async fn a_job_that_is_tried_again_tells_nothing(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let over = ended(start.run.id, failure(PermanentReason::Crash));
    assert_eq!(happen(&store, start.job.id, &over, later(5)).await, Applied::Done);
    assert_eq!(take_at(&store, Sink::Unrouted, 10).await, []);
    assert_eq!(shown(&store).await, []);
}

/// Without a sink an alert waits; every sink gets its own; a sink that is gone leaves its alerts to the others, once.
pub(crate) async fn an_alert_waits_for_a_sink_and_finds_another(store: Arc<dyn Store>) {
    push(&store, &["a"], 0).await;
    store.address_alerts(vec![], later(1)).await.unwrap();
    let waits = SinkRecord {
        pending: 1,
        oldest_at: Some(T0),
        next_at: Some(T0),
        ..SinkRecord::empty(Sink::Unrouted)
    };
    assert_eq!(shown(&store).await, [waits]);
    store.address_alerts(vec![Sink::Telegram, Sink::Webhook], later(2)).await.unwrap();
    for _ in 0..2 {
        push(&store, &["b"], 3).await;
        store.address_alerts(vec![Sink::Telegram, Sink::Webhook], later(4)).await.unwrap();
    }
    let telegram = take_at(&store, Sink::Telegram, 5).await;
    assert_eq!(accounts(&telegram), ["a", "b"]);
    settle_at(&store, &telegram, End::Delivered, 6).await;

    // The webhook is gone: what it did not get, Telegram has.
    store.address_alerts(vec![Sink::Telegram], later(7)).await.unwrap();
    assert_eq!(shown(&store).await, []);
    // Telegram is gone before it got one, and the dry run takes over.
    push(&store, &["c"], 8).await;
    store.address_alerts(vec![Sink::Telegram], later(8)).await.unwrap();
    store.address_alerts(vec![Sink::DryRun], later(9)).await.unwrap();
    assert_eq!(accounts(&take_at(&store, Sink::DryRun, 10).await), ["c"]);
}

/// Messages come in order, to one taker at a time; one that dies with them loses nothing.
pub(crate) async fn messages_are_leased_in_order(store: Arc<dyn Store>) {
    push(&store, &["a", "b"], 0).await;
    let first = take_at(&store, Sink::Unrouted, 10).await;
    assert_eq!(accounts(&first), ["a", "b"]);
    push(&store, &["c"], 20).await;
    // Not past the ones that are out.
    assert_eq!(take_at(&store, Sink::Unrouted, 30).await, []);
    let again = take_at(&store, Sink::Unrouted, 10 + LEASE_MS).await;
    assert_eq!(accounts(&again), ["a", "b", "c"]);
    assert_eq!(again.iter().map(|message| message.attempts).collect::<Vec<_>>(), [2, 2, 1]);

    // The first taker was only slow. That it put them off does not shorten the other's lease …
    let put_off = End::Again { at: later(0), error: Some("slow".into()) };
    settle_at(&store, &first, put_off, 50_000).await;
    assert_eq!(take_at(&store, Sink::Unrouted, 50_000).await, []);
    // … and what it delivered is delivered.
    settle_at(&store, &first[..1], End::Delivered, 50_000).await;
    settle_at(&store, &again[1..], End::Again { at: later(60_000), error: None }, 55_000).await;
    let left = take_at(&store, Sink::Unrouted, 60_000).await;
    assert_eq!(accounts(&left), ["b", "c"]);
    let one = Take { sink: Sink::Unrouted, now: later(99_000), leased_until: later(99_001), limit: 1 };
    assert_eq!(accounts(&store.take_messages(one).await.unwrap()), ["b"]);
}

/// What fails waits and holds back what is behind it, with its reason for people; what never can is set aside.
pub(crate) async fn a_failure_is_shown_and_what_never_can_stands_aside(store: Arc<dyn Store>) {
    push(&store, &["a", "b"], 0).await;
    let taken = take_at(&store, Sink::Unrouted, 1).await;
    let refused = || Some("could not connect".to_owned());
    settle_at(&store, &taken, End::Again { at: later(5_000), error: refused() }, 2).await;
    push(&store, &["c"], 3).await;
    assert_eq!(take_at(&store, Sink::Unrouted, 4_999).await, []);
    let waits = SinkRecord {
        pending: 3,
        oldest_at: Some(T0),
        next_at: Some(later(5_000)),
        last_error: refused(),
        ..SinkRecord::empty(Sink::Unrouted)
    };
    assert_eq!(shown(&store).await, [waits]);
    let taken = take_at(&store, Sink::Unrouted, 5_000).await;
    settle_at(&store, &taken[..1], End::SetAside { error: "too long".into() }, 5_001).await;
    settle_at(&store, &taken[1..], End::Delivered, 5_001).await;
    let aside = SinkRecord {
        set_aside: 1,
        set_aside_error: Some("too long".into()),
        ..SinkRecord::empty(Sink::Unrouted)
    };
    assert_eq!(shown(&store).await, [aside]);
    assert_eq!(take_at(&store, Sink::Unrouted, 90_000).await, []);
}

/// A condition is told when it begins and when it ends, whoever says so how often.
pub(crate) async fn a_condition_is_told_once(store: Arc<dyn Store>) {
    let set = |holds: bool, ms: u64| {
        let (store, alert) = (Arc::clone(&store), alert(if holds { "lost" } else { "back" }));
        async move { store.set_condition("preflight".into(), holds, alert, later(ms)).await.unwrap() }
    };
    assert!(!set(false, 1).await, "what does not hold cannot end");
    let news = futures::future::join_all((0..10).map(|n| set(true, 2 + n))).await;
    assert_eq!(news.iter().filter(|news| **news).count(), 1);
    assert_eq!(store.conditions().await.unwrap(), ["preflight"]);
    assert!(set(false, 20).await && !set(false, 21).await);
    assert_eq!(store.conditions().await.unwrap(), [""; 0]);
    assert_eq!(accounts(&take_at(&store, Sink::Unrouted, 30).await), ["lost", "back"]);
}

/// A backlog becomes one message for each group, and the count is kept; not while somebody has it.
pub(crate) async fn a_long_backlog_is_folded(store: Arc<dyn Store>) {
    for n in 0..8 {
        push(&store, &[&n.to_string()], n).await;
    }
    store.push_alerts(vec![Alert::PreflightBack { runners: 1 }], later(8)).await.unwrap();
    assert!(!store.fold_alerts(Sink::Unrouted, 9, later(10)).await.unwrap());
    let taken = take_at(&store, Sink::Unrouted, 10).await;
    assert!(!store.fold_alerts(Sink::Unrouted, 3, later(11)).await.unwrap());
    settle_at(&store, &taken, End::Again { at: later(20), error: None }, 12).await;
    assert!(store.fold_alerts(Sink::Unrouted, 3, later(20)).await.unwrap());
    let folded = take_at(&store, Sink::Unrouted, 20).await;
    let counts: Vec<(u64, Timestamp)> =
        folded.iter().map(notice).map(|notice| (notice.count(), notice.first_at())).collect();
    assert_eq!(counts, [(8, T0), (1, later(8))]);
    assert_eq!(accounts(&folded[..1]), ["7"]);
}

/// What is settled is forgotten after a while, what is pending never.
pub(crate) async fn settled_messages_are_forgotten(store: Arc<dyn Store>) {
    push(&store, &["a", "b", "c"], 0).await;
    let taken = take_at(&store, Sink::Unrouted, 1).await;
    settle_at(&store, &taken[..1], End::Delivered, 10).await;
    settle_at(&store, &taken[1..2], End::SetAside { error: "no".into() }, 20).await;
    assert!(!store.prune_messages(later(10)).await.unwrap());
    assert!(store.prune_messages(later(21)).await.unwrap());
    assert!(!store.prune_messages(later(i64::MAX.unsigned_abs())).await.unwrap());
    assert_eq!(shown(&store).await[0].set_aside, 0);
    assert_eq!(accounts(&take_at(&store, Sink::Unrouted, 2 * LEASE_MS).await), ["c"]);
}

/// A destination that moved is found at its new place, and moves again.
pub(crate) async fn a_destination_may_move(store: Arc<dyn Store>) {
    let now = |store: Arc<dyn Store>| async move { store.destination(Sink::Telegram, "-12").await.unwrap() };
    assert_eq!(now(Arc::clone(&store)).await, "-12");
    for to in ["-100", "-200"] {
        store.move_destination(Sink::Telegram, "-12".into(), to.into(), T0).await.unwrap();
        assert_eq!(now(Arc::clone(&store)).await, to);
    }
    assert_eq!(store.destination(Sink::Webhook, "-12").await.unwrap(), "-12");
}

/// Every source has the time of its last delivery, whatever was made of it.
pub(crate) async fn sources_are_heard(store: Arc<dyn Store>) {
    let at = |ms| later(ms);
    let from = |source: &str, id: &str, ms, jobs| domain::delivery::NewDelivery {
        source: source.into(),
        received_at: at(ms),
        ..delivery(id, 'a', jobs)
    };
    assert_eq!(store.sources().await.unwrap(), []);
    store.accept(from("gitea", "1", 0, vec![job("A")])).await.unwrap();
    store.accept(from("plane", "1", 500, vec![])).await.unwrap();
    // A repeat is a sign of life too; an older one that was slow on its way takes nothing back.
    store.accept(from("gitea", "1", 9_000, vec![job("A")])).await.unwrap();
    store.accept(from("gitea", "2", 4_000, vec![])).await.unwrap();
    let heard = [("gitea".to_owned(), at(9_000)), ("plane".to_owned(), at(500))];
    assert_eq!(store.sources().await.unwrap(), heard);
}

fn post(work_item: &str, key: &str) -> Post {
    let says = Says::IssueComment { issue: IssueRef::Key(work_item.into()), html: key.into() };
    let letter = Letter { project: "shop".into(), work_item: work_item.into(), says };
    Post { sink: Sink::Plane, key: key.into(), letter }
}

async fn take_one(store: &Arc<dyn Store>, ms: u64) -> Option<Message> {
    let take = Take { sink: Sink::Plane, now: later(ms), leased_until: later(ms + LEASE_MS), limit: 1 };
    store.take_messages(take).await.unwrap().pop()
}

/// Committed with the transition, not at all where that is not written, once for one key; no alert, and no sink of alerts
/// gets it.
pub(crate) async fn what_the_forges_are_told_is_written_with_its_fact_once(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let seen = read(&store, start.job.id).await;
    let over = ended(start.run.id, failure(PermanentReason::Crash));
    let told = |key: &str, ms| Change {
        posts: vec![post("SHOP-1", key), post("SHOP-1", "b")],
        ..change(&seen, &over, later(ms))
    };
    assert_eq!(store.apply(told("a", 5)).await.unwrap(), Applied::Done);
    assert_eq!(store.apply(told("c", 6)).await.unwrap(), Applied::Conflict);
    store.address_alerts(vec![Sink::Telegram], later(7)).await.unwrap();
    assert_eq!(take_at(&store, Sink::Telegram, 8).await, []);
    let messages = take_at(&store, Sink::Plane, 8).await;
    let keys: Vec<&str> = messages.iter().map(|message| message.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!((messages[0].destination.as_str(), messages[0].pushed_at), ("shop/SHOP-1", later(5)));
    let letter: Letter = serde_json::from_str(&messages[0].payload).unwrap();
    assert_eq!(letter, post("SHOP-1", "a").letter);
    settle_at(&store, &messages, End::Delivered, 9).await;

    // The same fact told again, after it was delivered.
    let next = claim_again(&store).await;
    let again = Change { posts: vec![post("SHOP-1", "a")], ..next };
    assert_eq!(store.apply(again).await.unwrap(), Applied::Done);
    assert_eq!(shown(&store).await, []);
}

/// The transition that ends the next run of the only job.
async fn claim_again(store: &Arc<dyn Store>) -> Change {
    let ms = 10_000_000;
    let start = claim(store, later(ms), fleet(4), 1).await.starts.remove(0);
    let over = ended(start.run.id, failure(PermanentReason::Crash));
    change(&read(store, start.job.id).await, &over, later(ms + 1))
}

/// Messages of one work item come in order; one that waits, or is out, holds back those behind it and nobody else's.
pub(crate) async fn one_work_item_holds_back_no_other(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let over = ended(start.run.id, failure(PermanentReason::Crash));
    let posts = vec![post("SHOP-1", "a"), post("SHOP-2", "b"), post("SHOP-1", "c"), post("SHOP-2", "d")];
    let told = Change { posts, ..change(&read(&store, start.job.id).await, &over, later(5)) };
    assert_eq!(store.apply(told).await.unwrap(), Applied::Done);
    let first = take_one(&store, 10).await.unwrap();
    let second = take_one(&store, 10).await.unwrap();
    assert_eq!((first.key.as_str(), second.key.as_str()), ("a", "b"));
    assert_eq!(take_one(&store, 10).await, None);
    let again = End::Again { at: later(100), error: Some("500".into()) };
    settle_at(&store, &[first], again, 11).await;
    settle_at(&store, &[second], End::Delivered, 11).await;
    assert_eq!(take_one(&store, 12).await.unwrap().key, "d");
    assert_eq!(take_one(&store, 12).await, None);
    let first = take_one(&store, 100).await.unwrap();
    assert_eq!((first.key.as_str(), first.attempts), ("a", 2));
    settle_at(&store, &[first], End::SetAside { error: "404".into() }, 101).await;
    assert_eq!(take_one(&store, 102).await.unwrap().key, "c");
}
