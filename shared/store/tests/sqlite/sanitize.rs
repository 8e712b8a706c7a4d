//! Rows made by force, in the incident's shape and others: found, repaired and counted, and never in the way.

use std::sync::Arc;

use domain::outbox::{Sink, Take};
use domain::overview::ReaperRecord;
use domain::sanitize::{Kind, Repair, Rules};
use domain::{Budgets, Chance, JobId, JobState, Policy, RunState, Timestamp};
use store::Store;

use super::contract::values::{T0, claim, fleet, fresh_run, job, later, one_running, read};
use super::{fresh, raw};

/// After the repair of a run that may have an agent.
const LEASE_OVER: u64 = 420_000;

fn rules() -> Rules {
    Rules {
        now: later(1_000),
        lease: std::time::Duration::from_mins(7),
        policy: Policy::default(),
        chance: Chance::new(0.0),
    }
}

async fn repair(store: &Arc<dyn Store>) -> Vec<Repair> {
    store.sanitize(rules()).await.unwrap()
}

async fn reaper(store: &Arc<dyn Store>) -> ReaperRecord {
    store.overview(T0).await.unwrap().reaper
}

async fn starts(store: &Arc<dyn Store>, at: Timestamp) -> Vec<JobId> {
    claim(store, at, fleet(1), 1).await.starts.iter().map(|start| start.job.id).collect()
}

#[tokio::test]
async fn the_incident_is_repaired_and_counted_and_the_queue_moves() {
    let (folder, store) = fresh().await;
    let (first, second) =
        (store.enqueue(job("A"), T0).await.unwrap().job, store.enqueue(job("B"), T0).await.unwrap().job);
    let mut conn = raw::force(&folder).await;
    // Queued, with the id of a run that is dead.
    let plant = format!("UPDATE jobs SET run_id = '{}', attempts = 2 WHERE id = {first}", fresh_run());
    raw::execute(&mut conn, &plant).await.unwrap();
    // With one slot, it stands in nobody's way.
    assert_eq!(starts(&store, later(1)).await, [second]);

    let repairs = repair(&store).await;
    assert_eq!(repairs.len(), 1);
    assert_eq!((repairs[0].job, repairs[0].kinds.as_slice()), (first, &[Kind::ImpossibleQueued][..]));
    assert_eq!(repair(&store).await, []);
    let repaired = read(&store, first).await;
    assert_eq!(repaired.budgets, Budgets { attempts: 2, ..Budgets::default() });
    assert_eq!(claim(&store, later(1_001), fleet(2), 1).await.starts[0].job.id, first);
    assert_eq!(reaper(&store).await, ReaperRecord { impossible_queued_total: 1, ..ReaperRecord::default() });
    let take = Take { sink: Sink::Unrouted, now: later(2_000), leased_until: later(3_000), limit: 9 };
    let told = store.take_messages(take).await.unwrap();
    assert_eq!(
        told.iter().map(|message| message.key.as_str()).collect::<Vec<_>>(),
        [format!("row_repaired/{first}/{}", later(1_000).as_ms())]
    );
    assert_eq!(store.violations().await.unwrap(), []);
}

#[tokio::test]
async fn a_forced_row_that_nobody_repairs_stands_in_no_ones_way() {
    let (folder, store) = fresh().await;
    let run = one_running(&store).await.run.id;
    let mut conn = raw::force(&folder).await;
    for n in 0..40 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    for sql in [
        // Put back into the queue by hand, its run left alive: with the pointer, and without.
        "UPDATE jobs SET status = 'queued', due = true WHERE id = 1".to_owned(),
        format!("UPDATE jobs SET run_id = '{}' WHERE id = 2", fresh_run()),
        "UPDATE jobs SET run_id = 'pid 4711' WHERE id = 16".to_owned(),
        // Delayed, and its time comes.
        "UPDATE jobs SET run_id = 'x', due = false, available_at = 5 WHERE id = 17".to_owned(),
        "UPDATE jobs SET cancel_requested_at = 5 WHERE id = 18".to_owned(),
        "UPDATE jobs SET attempts = -1 WHERE id = 19".to_owned(),
        // Its epoch was reset by an import.
        format!(
            "INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, ended_at, class, reason)
             VALUES ('{}', 20, 1, 'n', 1, 'default', 'ended', 1, 2, 'lost', 'node_lost')",
            fresh_run()
        ),
    ] {
        raw::execute(&mut conn, &sql).await.unwrap();
    }
    let claimed = claim(&store, later(9), fleet(64), 64).await;
    let started: Vec<i64> = claimed.starts.iter().map(|start| start.job.id.0).collect();
    let others: Vec<i64> = (3..=41).filter(|id| !(16..=19).contains(id)).collect();
    assert_eq!(started, others);
    assert_eq!(claimed.starts.iter().find(|start| start.job.id.0 == 20).unwrap().run.epoch.0, 2);
    raw::execute(&mut conn, "UPDATE jobs SET run_id = NULL WHERE id = 1").await.unwrap();
    assert_eq!(starts(&store, later(10)).await, []);
    assert_eq!(store.run(run).await.unwrap().unwrap().state, RunState::Offered);
    // People still see the others.
    assert!(store.overview(later(9)).await.unwrap().recent.len() >= 40);
}

#[tokio::test]
async fn each_shape_is_repaired_by_its_rule() {
    let (folder, store) = fresh().await;
    for n in 0..6 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let runs: Vec<_> = claim(&store, T0, fleet(6), 6).await.starts.iter().map(|start| start.run.id).collect();
    let mut conn = raw::force(&folder).await;
    for sql in [
        "UPDATE runs SET state = 'started', started_at = 5".to_owned(),
        // 1: queued, its run alive. 2: running, its run ended. 3: running without a pointer. 4: finished, its run
        // alive. 5: healthy. 6: its run's job is gone.
        "UPDATE jobs SET status = 'queued', due = true, run_id = NULL WHERE id = 1".to_owned(),
        "UPDATE runs SET state = 'ended', ended_at = 9, class = 'success', reason = 'none' WHERE job_id = 2"
            .to_owned(),
        "UPDATE jobs SET run_id = NULL WHERE id = 3".to_owned(),
        "UPDATE jobs SET status = 'done', finished_at = 9 WHERE id = 4".to_owned(),
        "DELETE FROM jobs WHERE id = 6".to_owned(),
    ] {
        raw::execute(&mut conn, &sql).await.unwrap();
    }
    let kinds: Vec<(i64, Vec<Kind>)> =
        repair(&store).await.into_iter().map(|repair| (repair.job.0, repair.kinds)).collect();
    assert_eq!(
        kinds,
        [
            (1, vec![Kind::ImpossibleQueued, Kind::OrphanedRun]),
            (2, vec![Kind::ImpossibleRunning]),
            (3, vec![Kind::ImpossibleRunning, Kind::OrphanedRun]),
            (4, vec![Kind::ImpossibleFinished, Kind::OrphanedRun]),
            (6, vec![Kind::OrphanedRun]),
        ]
    );
    assert_eq!(
        reaper(&store).await,
        ReaperRecord {
            impossible_queued_total: 1,
            impossible_running_total: 2,
            impossible_finished_total: 1,
            orphaned_runs_total: 4,
            ..ReaperRecord::default()
        }
    );
    let at = |ms| JobState::Queued { available_at: later(ms) };
    for (id, state, infra_attempts) in
        [(1, at(1_000 + LEASE_OVER), 0), (2, at(1_000), 1), (3, at(1_000 + LEASE_OVER), 1)]
    {
        let job = read(&store, JobId(id)).await;
        assert_eq!((job.state, job.budgets.infra_attempts), (state, infra_attempts), "job {id}");
    }
    let ends = |run: domain::Run| format!("{:?} {:?}", run.class, run.reason);
    let mut words = Vec::new();
    for run in &runs {
        words.push(ends(store.run(*run).await.unwrap().unwrap()));
    }
    let (lost, kept) = ("Some(\"lost\") Some(\"orphaned\")", "Some(\"success\") Some(\"none\")");
    assert_eq!(words, [lost, kept, lost, lost, "None None", lost]);
    assert_eq!(store.violations().await.unwrap(), []);
    assert_eq!(repair(&store).await, []);
}
