//! Several processes on one database: what they decide on, none of them changes under another's hands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::admission::{Facts, ProjectLimits, Serial};
use domain::delivery::{Accepted, NewJob};
use domain::transition::{Conclusion, Event, LostHow};
use domain::{Class, JobId};
use futures::future::join_all;
use sqlx::PgConnection;
use store::{Applied, Change, Store};
use tokio::time::{Instant, sleep};

use super::contract::advancing::{H1, advanced, red, testing_fleet};
use super::contract::values::{T0, change, claim, delivery, ended, fleet, job, keyed, later, read};
use super::raw::{connect, execute, number};
use super::{fresh, open};

const CLAIMERS: usize = 8;
const JOBS: usize = 120;

/// Three at once in all, two in the one project, and one per work item.
fn limited() -> Facts {
    let mut facts = fleet(3);
    let limits =
        |max| ProjectLimits { concurrency_max: max, serial: Serial::WorkItem, ..ProjectLimits::default() };
    facts.projects = [("shop".to_owned(), limits(Some(2))), ("tools".to_owned(), limits(None))].into();
    facts
}

/// Eight schedulers, each with connections of its own, claim and end runs at once; whoever looks, whenever, sees no more
/// runs than are allowed, and in the end every job was run once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_schedulers_never_exceed_a_limit() {
    let (database, store) = fresh().await;
    let jobs = (0..JOBS).map(|n| NewJob {
        project: if n % 2 == 0 { "shop" } else { "tools" }.into(),
        ..job(&format!("A-{}", n % 10))
    });
    store.accept(delivery("d", 'a', jobs.collect())).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let watch = async {
        while !over.load(Ordering::SeqCst) {
            let live = store.live_runs().await.unwrap();
            assert!(live.len() <= 3, "{} runs live", live.len());
            let mut items = BTreeSet::new();
            let mut of_shop = 0;
            for run in &live {
                let job = store.job(run.job).await.unwrap().unwrap();
                of_shop += usize::from(job.project == "shop");
                assert!(items.insert((job.project, job.work_item)), "two runs of one work item");
            }
            assert!(of_shop <= 2, "{of_shop} runs of one project");
        }
    };
    let claimers = join_all((0..CLAIMERS).map(|_| async {
        let store = open(&database).await;
        let mut mine: Vec<JobId> = Vec::new();
        loop {
            let starts = claim(&store, later(10), limited(), 3).await.starts;
            for start in &starts {
                let end = change(&start.job, &ended(start.run.id, Class::Success), later(20));
                assert_eq!(store.apply(end).await.unwrap(), Applied::Done);
                mine.push(start.job.id);
            }
            if starts.is_empty() && store.overview(later(20)).await.unwrap().counts.queued == 0 {
                store.close().await;
                return mine;
            }
        }
    }));
    let ((), claimed) = tokio::join!(watch, async {
        let claimed = claimers.await;
        over.store(true, Ordering::SeqCst);
        claimed
    });
    let claimed: Vec<JobId> = claimed.into_iter().flatten().collect();
    assert_eq!(claimed.len(), JOBS);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), JOBS);
    assert_eq!(store.violations().await.unwrap(), vec![]);
    store.close().await;
}

/// Two ingests hear of the same facts at once, as they do behind a balancer that repeats a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ingests_make_one_job_of_one_fact() {
    let (database, store) = fresh().await;
    let other = open(&database).await;
    let told = (0..40).flat_map(|n| [&store, &other].map(|store| (n, Arc::clone(store))));
    let answers = join_all(told.map(|(n, store)| async move {
        // Each fact is told by two deliveries, with another body each.
        let jobs = vec![keyed(&format!("A-{}", n / 2), &format!("key {}", n / 2))];
        let mut told = delivery(&format!("d{n}"), 'a', jobs);
        told.body_sha256 = format!("{n:064}");
        store.accept(told).await.unwrap()
    }))
    .await;
    let made = answers.iter().filter(|answer| matches!(answer, Accepted::Enqueued { .. })).count();
    assert_eq!((answers.len(), made), (80, 20));
    assert_eq!(store.overview(T0).await.unwrap().counts.queued, 20);
    other.close().await;
    store.close().await;
}

/// A pause that was answered holds: no scheduler starts anything after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_once_a_pause_was_answered() {
    let (database, store) = fresh().await;
    let other = open(&database).await;
    for round in 0..10 {
        store.set_paused(false, T0).await.unwrap();
        let jobs = (0..20).map(|n| job(&format!("A-{round}-{n}"))).collect();
        store.accept(delivery(&format!("d{round}"), char::from(b'a' + round), jobs)).await.unwrap();
        let pause = async {
            store.set_paused(true, T0).await.unwrap();
            store.live_runs().await.unwrap().len()
        };
        let claims = async {
            for _ in 0..4 {
                claim(&other, later(10), fleet(1_000), 3).await;
            }
        };
        let (at_the_pause, ()) = tokio::join!(pause, claims);
        assert_eq!(store.live_runs().await.unwrap().len(), at_the_pause);
    }
    other.close().await;
    store.close().await;
}

/// One event wants a queued job's place while a scheduler claims it: the job is either replaced or running, and in
/// both cases the event's job is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_and_a_newer_commit_meet() {
    let (database, store) = fresh().await;
    let scheduler = open(&database).await;
    for round in 0..20_u32 {
        let of_head = |head: char| {
            let mut new = keyed("A", &format!("{round} {head}"));
            new.origin.head = Some(head.to_string().repeat(40));
            new.about.replaces_older = true;
            new
        };
        let older = store.enqueue(of_head('1'), T0).await.unwrap().job;
        let (claimed, newer) =
            tokio::join!(claim(&scheduler, later(10), fleet(1_000), 1), store.enqueue(of_head('2'), T0));
        let newer = newer.unwrap();
        assert!(newer.fresh);
        let (older, newer) = (read(&store, older).await, read(&store, newer.job).await);
        let started = claimed.starts.first().map(|start| start.job.id);
        assert_eq!(older.state.run().is_some(), started == Some(older.id), "{older:?}");
        assert_eq!(newer.origin.replaces.is_some(), started != Some(older.id), "{newer:?}");
        // The next round begins with an empty queue.
        for start in claim(&scheduler, later(20), fleet(1_000), 9).await.starts {
            let end = change(&start.job, &ended(start.run.id, Class::Success), later(20));
            assert_eq!(store.apply(end).await.unwrap(), Applied::Done);
        }
    }
    assert_eq!(store.violations().await.unwrap(), vec![]);
    scheduler.close().await;
    store.close().await;
}

/// Programs that start at once make one schema.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_that_start_at_once_migrate_once() {
    let database = postgres_server::Server::shared().database();
    let stores: Vec<Arc<dyn Store>> = join_all((0..4).map(|_| open(&database))).await;
    for store in stores {
        let schema = store.schema().await.unwrap();
        assert_eq!(schema.found, schema.needed);
        store.close().await;
    }
}

/// One scheduler hears of a run while another gives it up: it is renewed or given up, never both, or two agents would
/// live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_renewed_or_given_up() {
    let (database, store) = fresh().await;
    let other = open(&database).await;
    let (mut renewed, mut given_up) = (0, 0);
    for round in 0..60 {
        store.enqueue(job(&format!("A-{round}")), T0).await.unwrap();
        let start = claim(&store, later(10), fleet(1_000), 1).await.starts.remove(0);
        let (run, held) = (start.run.id, vec![(start.run.id, start.run.epoch)]);
        // Every other run was renewed before.
        let mut count = 0;
        if round % 2 == 0 {
            count += store.renew(start.run.node.clone(), held.clone()).await.unwrap().len() as u64;
        }
        let lost = Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } };
        let giving_up = Change { renewals: Some(count), ..change(&start.job, &lost, later(50)) };
        let (heard, applied) =
            tokio::join!(other.renew(start.run.node.clone(), held), store.apply(giving_up));
        match (heard.unwrap().contains(&run), applied.unwrap()) {
            (true, Applied::Conflict) => renewed += 1,
            (false, Applied::Done) => given_up += 1,
            both => panic!("round {round}: {both:?}"),
        }
        // A run that goes on ends here, so that none of its work is in the next round's way.
        if store.run(run).await.unwrap().unwrap().ended_at.is_none() {
            let end = change(&read(&store, start.job.id).await, &ended(run, Class::Success), later(60));
            assert_eq!(store.apply(end).await.unwrap(), Applied::Done);
        } else {
            let cancel = change(&read(&store, start.job.id).await, &Event::CancelRequested, later(60));
            assert_eq!(store.apply(cancel).await.unwrap(), Applied::Done);
        }
    }
    assert_eq!(renewed + given_up, 60);
    other.close().await;
    store.close().await;
}

/// A webhook joins a job while it is being claimed: it sees the claim, of whose run it may not have heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_joined_while_it_is_claimed() {
    let (database, store) = fresh().await;
    let ingest = open(&database).await;
    let made = advanced(&store, H1).await;
    let mut person = connect(&database).await;
    // A claim stops in its middle, as long as a person holds the lock.
    let stop = "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
        CREATE TRIGGER stop AFTER UPDATE OF status ON jobs FOR EACH ROW WHEN (NEW.status = 'running') EXECUTE FUNCTION stop();
        SELECT pg_advisory_lock(1)";
    execute(&mut person, stop).await.unwrap();
    let claiming = claim(&store, later(10), testing_fleet(), 1);
    let joining = async {
        until_waiting(&mut person, 1).await;
        let accepting = ingest.accept(delivery("d1", 'a', vec![red(H1, "ci:1")]));
        let letting_go = async {
            until_waiting(&mut person, 2).await;
            execute(&mut person, "SELECT pg_advisory_unlock(1)").await.unwrap();
        };
        tokio::join!(accepting, letting_go).0
    };
    let (claimed, joined) = tokio::join!(claiming, joining);
    assert_eq!(claimed.starts.iter().map(|start| start.job.id).collect::<Vec<_>>(), [made]);
    assert_eq!(joined.unwrap(), Accepted::Duplicate { jobs: vec![made] });
    ingest.close().await;
    store.close().await;
}

/// Waits until so many connections to this database wait for a lock.
async fn until_waiting(person: &mut PgConnection, count: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while number(person, waiting).await < count {
        assert!(Instant::now() < deadline, "not {count} wait for a lock");
        sleep(Duration::from_millis(5)).await;
    }
}
