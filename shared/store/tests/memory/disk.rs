//! Crashes, faults, two processes at once, and what a checker is told.

use std::sync::{Arc, Mutex};

use domain::delivery::Accepted;
use domain::sanitize::{Kind, Rules};
use domain::transition::{After, Event, RunChange};
use domain::{Chance, Class, JobState, Policy, Status};
use futures::FutureExt as _;
use store::memory::{Commit, Disk};
use store::{Applied, Change, Error};

use super::contract::values::{
    T0, change, claim, delivery, ended, fleet, happen, job, later, one_running, outcome, read, request,
};

fn watched(disk: &Disk) -> Arc<Mutex<Vec<Commit>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    disk.watch(move |commit| into.lock().unwrap().push(commit.clone()));
    seen
}

#[tokio::test]
async fn a_crashed_process_cannot_write_and_its_successor_finds_everything() {
    let disk = Disk::default();
    let first = disk.open("scheduler");
    let start = one_running(&first).await;
    disk.crash("scheduler");
    assert!(matches!(first.enqueue(job("B"), T0).await, Err(Error::Closed)));
    assert!(matches!(first.job(start.job.id).await, Err(Error::Closed)));

    let second = disk.open("scheduler");
    assert_eq!(read(&second, start.job.id).await, start.job);
    assert_eq!(second.live_runs().await.unwrap(), std::slice::from_ref(&start.run));
    // Opened once more, without a word of the crash between.
    let third = disk.open("scheduler");
    let over = change(&start.job, &ended(start.run.id, Class::Success), later(9));
    assert!(matches!(second.apply(over.clone()).await, Err(Error::Closed)));
    second.close().await;
    assert_eq!(third.apply(over).await.unwrap(), Applied::Done);
    third.close().await;
    assert!(matches!(third.overview(T0).await, Err(Error::Closed)));
}

#[tokio::test]
async fn two_processes_share_the_disk() {
    let disk = Disk::default();
    let seen = watched(&disk);
    let (one, other) = (disk.open("one"), disk.open("other"));
    let start = one_running(&one).await;
    let over = change(&start.job, &ended(start.run.id, Class::Success), later(9));
    assert_eq!(other.apply(over.clone()).await.unwrap(), Applied::Done);
    assert_eq!(one.apply(over).await.unwrap(), Applied::Conflict);
    let who: Vec<(String, &str)> =
        seen.lock().unwrap().iter().map(|commit| (commit.process.clone(), commit.verb)).collect();
    let who: Vec<(&str, &str)> = who.iter().map(|(process, verb)| (process.as_str(), *verb)).collect();
    assert_eq!(who, [("one", "enqueue"), ("one", "claim"), ("other", "apply"), ("one", "apply")]);
}

#[tokio::test]
async fn a_faulty_disk_takes_nothing_and_recovers() {
    let disk = Disk::default();
    let store = disk.open("ingest");
    let seen = watched(&disk);
    disk.set_busy(2);
    for _ in 0..2 {
        let refused = store.enqueue(job("A"), T0).await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
        // Reading goes on.
        assert_eq!(store.overview(T0).await.unwrap().counts.queued, 0);
    }
    assert!(store.enqueue(job("A"), T0).await.unwrap().fresh);
    disk.set_full(true);
    for body in ['a', 'b', 'c'] {
        let refused = store.accept(delivery("d1", body, vec![job("B")])).await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    }
    disk.set_full(false);
    let accepted = store.accept(delivery("d1", 'a', vec![job("B")])).await.unwrap();
    assert!(matches!(accepted, Accepted::Enqueued { .. }), "{accepted:?}");
    let numbers: Vec<u64> = seen.lock().unwrap().iter().map(|commit| commit.number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn a_checker_sees_every_row_before_and_after() {
    let disk = Disk::default();
    let store = disk.open("scheduler");
    let seen = watched(&disk);
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    assert_eq!(happen(&store, id, &Event::Confirmed { run }, later(5)).await, Applied::Done);
    store.record_late_outcome(run, outcome(), later(6)).await.unwrap();
    // Nothing due, nothing changed.
    claim(&store, later(7), fleet(4), 1).await;

    let seen = seen.lock().unwrap();
    let moves: Vec<Vec<(Option<Status>, Status)>> = seen
        .iter()
        .map(|commit| {
            let jobs = commit.jobs.iter();
            jobs.map(|job| (job.before.as_ref().map(|job| job.state.status()), job.after.state.status()))
                .collect()
        })
        .collect();
    let (queued, running) = (Status::Queued, Status::Running);
    assert_eq!(
        moves,
        [vec![(None, queued)], vec![(Some(queued), running)], vec![(Some(running), running)], vec![], vec![]]
    );
    assert_eq!(seen[1].runs[0].before, None);
    assert_eq!(seen[1].runs[0].after, start.run);
    assert_eq!(seen[2].runs[0].before, Some(start.run));
    let snapshot = disk.snapshot();
    assert_eq!(snapshot.jobs, [seen[2].jobs[0].after.clone()]);
    assert_eq!(snapshot.runs, [seen[2].runs[0].after.clone()]);
    assert_eq!(snapshot.late_outcomes.len(), 1);
}

/// A verb is over when its future was polled once, and has not begun before.
#[test]
fn a_verb_never_waits() {
    let disk = Disk::default();
    let store = disk.open("scheduler");
    drop(store.enqueue(job("A"), T0));
    assert_eq!(disk.snapshot().jobs, []);
    assert!(store.enqueue(job("A"), T0).now_or_never().is_some());
    assert!(store.claim(request(T0, fleet(1), 1)).now_or_never().is_some());
    assert_eq!(disk.snapshot().runs.len(), 1);
}

/// A claim that fails half way leaves nothing behind.
#[tokio::test]
async fn what_fails_is_undone() {
    let disk = Disk::default();
    let store = disk.open("scheduler");
    for n in 0..3 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let before = disk.snapshot();
    let mut twice = request(T0, fleet(4), 3);
    twice.run_ids[2] = twice.run_ids[0];
    let refused = store.claim(twice).await.unwrap_err();
    assert!(matches!(refused, Error::Corrupt(_)), "{refused:?}");
    assert_eq!(disk.snapshot(), before);
    assert_eq!(claim(&store, T0, fleet(4), 3).await.starts.len(), 3);
}

/// Transitions that `domain` would never make: the doctor sees them and the sanitizer repairs them.
#[tokio::test]
async fn rows_that_break_an_invariant_are_found_and_repaired() {
    let disk = Disk::default();
    let store = disk.open("scheduler");
    for n in 0..3 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let starts = claim(&store, T0, fleet(3), 3).await.starts;
    let wrong = |nth: usize, state: JobState, run: RunChange| {
        let start = &starts[nth];
        let right = change(&start.job, &ended(start.run.id, Class::Success), later(5));
        let after = After { state, ..right.transition.after.clone() };
        Change { transition: domain::Transition { after, run, ..right.transition }, ..right }
    };
    let run = starts[1].run.id;
    for change in [
        wrong(0, JobState::Queued { available_at: T0 }, RunChange::Keep),
        wrong(1, starts[1].job.state.clone(), RunChange::End { run, class: "lost", reason: "node_lost" }),
        wrong(2, JobState::Done { finished_at: later(5) }, RunChange::Keep),
    ] {
        assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
    }
    let found: Vec<&str> = disk.violations().iter().map(|violation| violation.invariant).collect();
    assert_eq!(found, ["I1", "I2", "I2", "I2"]);
    assert_eq!(store.violations().await.unwrap(), disk.violations());

    let rules = Rules {
        now: later(10),
        lease: std::time::Duration::from_mins(7),
        policy: Policy::default(),
        chance: Chance::new(0.0),
    };
    let kinds: Vec<Vec<Kind>> =
        store.sanitize(rules.clone()).await.unwrap().into_iter().map(|repair| repair.kinds).collect();
    let (queued, orphan) = (Kind::ImpossibleQueued, Kind::OrphanedRun);
    assert_eq!(kinds, [vec![queued, orphan], vec![Kind::ImpossibleRunning], vec![orphan]]);
    assert_eq!(disk.violations(), []);
    assert_eq!(store.sanitize(rules).await.unwrap(), []);
    let reaper = store.overview(T0).await.unwrap().reaper;
    let totals =
        (reaper.impossible_queued_total, reaper.impossible_running_total, reaper.orphaned_runs_total);
    assert_eq!(totals, (1, 1, 2));
}
