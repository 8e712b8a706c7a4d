//! Sightings: whoever comes first, a webhook or the reconciler, starts what follows; what waits for the outside is found.

use std::sync::Arc;

use domain::delivery::{About, Accepted, NewDelivery, NewJob, RECONCILE, StageResult};
use domain::job::Origin;
use domain::reconcile::{Cursor, Walk};
use domain::sighting::{Aspect, Sighting, Teller, Word};
use domain::transition::Event;
use domain::work_item::{CiWait, ItemChange, ItemState, NeedsYou, Standing, Why, WorkItem};
use domain::{JobId, JobState, Status};
use store::{Applied, Audit, ItemFilter, JobFilter, Store};

use super::values::{T0, claim, delivery, fleet, happen, job, keyed, later, read};

const H1: &str = "1111111111111111111111111111111111111111";
const H2: &str = "2222222222222222222222222222222222222222";
const ISSUE: &str = "00000000-0000-4000-8000-000000000003";

fn state(id: &str, version_ms: u64) -> Sighting {
    let words = vec![Word { id: id.to_owned(), name: None }];
    Sighting { words, version: Some(later(version_ms)), ..Sighting::of(ISSUE, Aspect::State, id) }
}

/// A move of the issue to a state, told by `source`; the key of its job is what that sender would give it.
fn moved(source: &str, id: &str, body: char, to: &Sighting, key: &str) -> NewDelivery {
    let about = About { cause: Some(to.name.clone()), ..About::default() };
    NewDelivery {
        source: source.to_owned(),
        sightings: vec![("shop".to_owned(), to.clone())],
        ..delivery(id, body, vec![NewJob { about, ..keyed("SHOP-1", key) }])
    }
}

async fn job_count(store: &Arc<dyn Store>) -> usize {
    store.jobs(JobFilter::newest(100)).await.unwrap().len()
}

async fn item(store: &Arc<dyn Store>, key: &str) -> WorkItem {
    let filter = ItemFilter { key: Some(key.into()), limit: 2, ..ItemFilter::default() };
    store.work_items(filter).await.unwrap().remove(0)
}

async fn put(store: &Arc<dyn Store>, after: WorkItem) -> WorkItem {
    let key = after.key.clone();
    let change = ItemChange::new(&after.clone(), after);
    let audit = Audit { at: T0, actor: "test".into(), verb: "approve", note: None, posts: Vec::new() };
    assert_eq!(store.decide(change, audit).await.unwrap(), Applied::Done);
    item(store, &key).await
}

/// What the reconciler found, a late webhook confirms, whatever key it has; a later move is news again.
pub(crate) async fn a_late_webhook_confirms_what_was_found(store: Arc<dyn Store>) {
    let found = store.accept(moved(RECONCILE, "r1", 'a', &state("s1", 90), "k-late")).await.unwrap();
    assert!(matches!(&found, Accepted::Enqueued { jobs } if jobs.len() == 1), "{found:?}");
    let late = store.accept(moved("plane", "p1", 'b', &state("s1", 20), "k-webhook")).await.unwrap();
    assert_eq!(late, Accepted::Ignored);
    assert_eq!(job_count(&store).await, 1);
    let back = store.accept(moved("plane", "p2", 'c', &state("s2", 100), "k-back")).await.unwrap();
    let again = store.accept(moved("plane", "p3", 'd', &state("s1", 110), "k-again")).await.unwrap();
    for accepted in [back, again] {
        assert!(matches!(accepted, Accepted::Enqueued { .. }), "{accepted:?}");
    }
    assert_eq!(job_count(&store).await, 3);
}

/// A late webhook with the key of what was found names its job.
pub(crate) async fn a_late_webhook_of_the_same_key_is_a_duplicate(store: Arc<dyn Store>) {
    let found = store.accept(moved(RECONCILE, "r1", 'a', &state("s1", 20), "k")).await.unwrap();
    let Accepted::Enqueued { jobs } = found else { panic!("{found:?}") };
    let late = store.accept(moved("plane", "p1", 'b', &state("s1", 20), "k")).await.unwrap();
    assert_eq!(late, Accepted::Duplicate { jobs });
}

/// What a webhook announced, the reconciler leaves alone, also when the webhook started nothing.
pub(crate) async fn what_a_webhook_announced_is_not_found_again(store: Arc<dyn Store>) {
    let ignored = NewDelivery { jobs: Vec::new(), ..moved("plane", "p1", 'a', &state("s1", 20), "") };
    assert_eq!(store.accept(ignored).await.unwrap(), Accepted::Ignored);
    let found = store.accept(moved(RECONCILE, "r1", 'b', &state("s1", 90), "k")).await.unwrap();
    assert_eq!(found, Accepted::Ignored);
    let lagging = store.accept(moved(RECONCILE, "r2", 'c', &state("s0", 10), "k0")).await.unwrap();
    assert_eq!(lagging, Accepted::Ignored, "a replica that lags takes nothing back");
    assert_eq!(job_count(&store).await, 0);
    let seen = store.sightings("shop", &[ISSUE.to_owned()]).await.unwrap();
    assert_eq!((seen.len(), seen[0].sighting.value.as_str(), seen[0].teller), (1, "s1", Teller::Webhook));
}

/// Two reconcilers at once find one thing.
pub(crate) async fn two_reconcilers_are_harmless(store: Arc<dyn Store>) {
    let finds = (0..20).map(|n| {
        let (id, key) = (format!("r{n}"), format!("k{n}"));
        let store = store.clone();
        async move { store.accept(moved(RECONCILE, &id, 'a', &state("s1", 20), &key)).await.unwrap() }
    });
    let found = futures::future::join_all(finds).await;
    let fresh = found.iter().filter(|accepted| matches!(accepted, Accepted::Enqueued { .. })).count();
    assert_eq!((fresh, job_count(&store).await), (1, 1));
    assert_eq!(store.sources().await.unwrap(), [], "the reconciler is no source of webhooks");
}

/// Sightings and cursors are read as they were written.
pub(crate) async fn sightings_and_cursors_are_kept(store: Arc<dyn Store>) {
    let subject = format!("acme/shop@{H1}");
    let status = |value: &str| Sighting::of(&subject, Aspect::Status("ci / build".into()), value);
    let labels = Sighting::of_ids(
        "acme/shop#12",
        Aspect::Labels,
        vec![Word { id: "7".into(), name: Some("let-in".into()) }],
    );
    let note = |sightings, ms| store.note_sightings("shop".into(), sightings, Teller::Webhook, later(ms));
    note(vec![status("pending"), labels.clone()], 10).await.unwrap();
    note(vec![status("success")], 20).await.unwrap();
    note(vec![status("pending")], 30).await.unwrap();
    let names = [subject.clone(), "acme/shop#12".to_owned(), "acme/shop#13".to_owned()];
    let seen = store.sightings("shop", &names).await.unwrap();
    let shown: Vec<_> = seen.iter().map(|seen| (seen.sighting.value.as_str(), seen.at)).collect();
    assert_eq!(shown, [("7", later(10)), ("success", later(20))]);
    assert_eq!(seen[0].sighting, labels);
    assert_eq!(store.sightings("other", &names).await.unwrap(), []);

    assert_eq!(store.cursor("plane.issues", "shop").await.unwrap(), None);
    let cursor = Cursor {
        since: Some(T0),
        baseline: Some(T0),
        walk: Some(Walk { page: 3, newest: later(5) }),
        checked: Some("SHOP-7".into()),
    };
    for cursor in [Cursor::default(), cursor.clone()] {
        store.save_cursor("plane.issues".into(), "shop".into(), cursor).await.unwrap();
    }
    assert_eq!(store.cursor("plane.issues", "shop").await.unwrap(), Some(cursor));
    assert_eq!(store.cursor("gitea.pulls", "shop").await.unwrap(), None);
}

/// A newer commit asks a running job to end that judges an older one, and nothing else.
pub(crate) async fn a_newer_commit_asks_a_running_review_to_end(store: Arc<dyn Store>) {
    let of = |head: &str, key: &str, cancels_older| NewJob {
        origin: Origin { delivery: Some("gitea:d".into()), head: Some(head.into()), ..Origin::default() },
        about: About { moves_head: true, replaces_older: true, cancels_older, ..About::default() },
        ..keyed("SHOP-1", key)
    };
    store.accept(delivery("d1", 'a', vec![of(H1, "k1", true)])).await.unwrap();
    let running = claim(&store, T0, fleet(4), 1).await.starts.remove(0).job;
    store.accept(delivery("d2", 'b', vec![of(H1, "k2", true)])).await.unwrap();
    store.accept(delivery("d3", 'c', vec![of(H2, "k3", false)])).await.unwrap();
    let asked =
        |job: &domain::Job| matches!(job.state, JobState::Running { cancel_requested_at: Some(_), .. });
    assert!(!asked(&read(&store, running.id).await), "the same commit, or a stage that lets it finish");
    assert_eq!(store.cancel_requests().await.unwrap(), []);
    store.accept(delivery("d4", 'd', vec![of(H2, "k4", true)])).await.unwrap();
    assert!(asked(&read(&store, running.id).await));
    assert_eq!(store.cancel_requests().await.unwrap(), running.state.run().into_iter().collect::<Vec<_>>());
    store.accept(delivery("d5", 'e', vec![of(&H1.replace('1', "5"), "k5", true)])).await.unwrap();
    let unfinished = store.unfinished_jobs_of("shop", "SHOP-1").await.unwrap();
    let shown: Vec<_> = unfinished.iter().map(|job| job.state.status()).collect();
    assert_eq!(shown[0], Status::Running);
    assert!(shown[1..].iter().all(|status| *status == Status::Queued), "{shown:?}");
    assert_eq!(store.unfinished_jobs_of("shop", "SHOP-2").await.unwrap(), []);
}

/// Items are found by what they wait for, and keep it.
pub(crate) async fn items_that_wait_for_the_outside_are_found(store: Arc<dyn Store>) {
    let begin = |key: &str, untrusted| {
        let aliases = vec![format!("alias of {key}"), "acme/shop#1".to_owned()];
        NewJob { about: About { untrusted, aliases, ..About::default() }, ..job(key) }
    };
    for key in ["A", "B", "C", "D"] {
        store.enqueue(begin(key, key == "B"), T0).await.unwrap();
    }
    assert_eq!(item(&store, "B").await.standing, Standing::Outsider);
    assert_eq!(store.briefing(JobId(2)).await.unwrap().unwrap().standing, Standing::Outsider);
    let wait = CiWait {
        job: JobId(1),
        stage: "review".into(),
        head: H1.into(),
        until: later(500),
        result: StageResult { summary: "said \"so\"".into(), ..StageResult::default() },
    };
    let needs = |why| NeedsYou { why, job: Some(JobId(2)), stage: "review".into(), result: None };
    let trust = Why::Trust { to: "deploy".into(), label: None };
    let states = [
        ("A", ItemState::WaitsForCi(Box::new(wait)), 30),
        ("B", ItemState::NeedsYou(Box::new(needs(trust))), 20),
        ("C", ItemState::NeedsYou(Box::new(needs(Why::Failed))), 10),
    ];
    for (key, state, ms) in states {
        let before = item(&store, key).await;
        let after = WorkItem { state, updated_at: later(ms), standing: Standing::Lifted, ..before };
        let kept = put(&store, after.clone()).await;
        assert_eq!(kept, WorkItem { revision: kept.revision, ..after });
    }
    let keys = |items: Vec<WorkItem>| items.into_iter().map(|item| item.key).collect::<Vec<_>>();
    assert_eq!(keys(store.items_waiting_outside(10).await.unwrap()), ["B", "A"]);
    assert_eq!(keys(store.items_waiting_outside(1).await.unwrap()), ["B"]);
    assert_eq!(keys(store.open_items("shop", "", 3).await.unwrap()), ["A", "B", "C"]);
    assert_eq!(keys(store.open_items("shop", "C", 3).await.unwrap()), ["D"]);
    assert_eq!(store.names_of("shop", "A").await.unwrap(), ["acme/shop#1", "alias of A"]);
    assert_eq!(store.names_of("shop", "B").await.unwrap(), ["alias of B"], "a name is the first one's");

    let gone = item(&store, "D").await;
    let gone =
        WorkItem { state: ItemState::Cancelled, ended_because: Some("its issue is gone".into()), ..gone };
    assert_eq!(put(&store, gone).await.ended_because.as_deref(), Some("its issue is gone"));
    assert_eq!(keys(store.open_items("shop", "C", 3).await.unwrap()), Vec::<String>::new());
    store.enqueue(job("D"), later(900)).await.unwrap();
    assert_eq!(item(&store, "D").await.ended_because, None, "it began anew");
}

/// An outsider's event starts nothing for an item that is not an outsider's, and goes on with one that is.
pub(crate) async fn an_outsider_joins_no_item_of_others(store: Arc<dyn Store>) {
    let event = |item: &str, key: &str, untrusted| NewJob {
        origin: Origin { delivery: Some("gitea:d".into()), ..Origin::default() },
        about: About { untrusted, ..About::default() },
        ..keyed(item, key)
    };
    store.accept(delivery("d1", 'a', vec![event("SHOP-1", "k1", false)])).await.unwrap();
    let refused = store.accept(delivery("d2", 'b', vec![event("SHOP-1", "k2", true)])).await.unwrap();
    assert_eq!(refused, Accepted::Ignored);
    for (id, body, key) in [("d3", 'c', "k3"), ("d4", 'd', "k4")] {
        let taken = store.accept(delivery(id, body, vec![event("acme/shop#9", key, true)])).await.unwrap();
        assert!(matches!(taken, Accepted::Enqueued { .. }), "{taken:?}");
    }
    let jobs = store.unfinished_jobs_of("shop", "acme/shop#9").await.unwrap();
    assert_eq!(happen(&store, jobs[0].id, &Event::CancelRequested, later(5)).await, Applied::Done);
    assert_eq!(item(&store, "SHOP-1").await.standing, Standing::Trusted);
    assert_eq!(item(&store, "acme/shop#9").await.standing, Standing::Outsider);
}

/// Forgotten is what is old and of no use: of projects that are gone, closed pull requests, tests of commits that nothing
/// waits for, branches that are gone. What somebody may ask for again stays, however old.
pub(crate) async fn what_nobody_needs_is_forgotten_a_few_at_a_time(store: Arc<dyn Store>) {
    let [h3, h4] = ["3", "4"].map(|digit| digit.repeat(40));
    let tests =
        |head: &str| Sighting::of(&format!("acme/shop@{head}"), Aspect::Status("ci".into()), "failure");
    let pull = |number: u32, head: &str, open: &str| {
        let of = |aspect, value: &str| Sighting::of(&format!("acme/shop#{number}"), aspect, value);
        vec![of(Aspect::Head, head), of(Aspect::Labels, ""), of(Aspect::Open, open)]
    };
    let branch = |name: &str, sha: &str| {
        Sighting::of(&format!("acme/shop@refs/heads/{name}"), Aspect::Branch(name.into()), sha)
    };
    let note = |project: &str, sightings, ms| {
        store.note_sightings(project.into(), sightings, Teller::Webhook, later(ms))
    };
    // A work item that has not ended is about H1, an open pull request about H2.
    let about = NewJob {
        origin: Origin { head: Some(H1.into()), ..Origin::default() },
        about: About { moves_head: true, ..About::default() },
        ..keyed("SHOP-1", "k")
    };
    store.accept(delivery("d", 'a', vec![about])).await.unwrap();
    note("shop", [pull(1, H2, "open"), pull(2, &h3, "closed")].concat(), 10).await.unwrap();
    note("shop", pull(3, &h4, "closed"), 900).await.unwrap();
    note("shop", vec![tests(H1), tests(H2), tests(&h3), state("s1", 5)], 10).await.unwrap();
    note("shop", vec![branch("main", H1), branch("gone", &"0".repeat(40))], 10).await.unwrap();
    note("gone", vec![tests(H1), state("s1", 5)], 10).await.unwrap();
    for project in ["shop", "gone"] {
        store.save_cursor("gitea.pull_requests".into(), project.into(), Cursor::default()).await.unwrap();
    }
    let prune = |ms, limit| store.prune_outside(vec!["shop".into()], later(ms), limit);
    assert_eq!(prune(10, 100).await.unwrap(), 0, "nothing is as old as that");
    let mut forgotten = Vec::new();
    while let rows @ 1.. = prune(100, 2).await.unwrap() {
        forgotten.push(rows);
    }
    assert!(forgotten.iter().all(|rows| *rows <= 2), "{forgotten:?}");
    assert_eq!(
        forgotten.iter().sum::<u64>(),
        7,
        "pull request 2, its tests, the branch, and the other project"
    );
    assert_eq!(store.cursor("gitea.pull_requests", "gone").await.unwrap(), None);
    assert!(store.cursor("gitea.pull_requests", "shop").await.unwrap().is_some());
    let mut subjects: Vec<String> = (1..=3).map(|number| format!("acme/shop#{number}")).collect();
    subjects.extend([H1, H2, &h3].map(|head| format!("acme/shop@{head}")));
    subjects.extend([ISSUE.to_owned()]);
    subjects.extend(["main", "gone"].map(|name| format!("acme/shop@refs/heads/{name}")));
    let kept = store.sightings("shop", &subjects).await.unwrap();
    let mut kept: Vec<String> = kept.into_iter().map(|seen| seen.sighting.name.subject).collect();
    kept.dedup();
    let expected = [
        ISSUE.to_owned(),
        "acme/shop#1".into(),
        "acme/shop#3".into(),
        format!("acme/shop@{H1}"),
        format!("acme/shop@{H2}"),
        "acme/shop@refs/heads/main".into(),
    ];
    kept.sort();
    assert_eq!(kept, expected);
    assert_eq!(store.sightings("gone", &subjects).await.unwrap(), []);
}
