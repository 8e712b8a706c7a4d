//! Transitions: guarded, whole, and with the run's row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::account::{Hold, HoldReason};
use domain::admission::WaitReason;
use domain::budget::Amount;
use domain::job::LiveRunState;
use domain::overview::LateOutcome;
use domain::transition::{Conclusion, Event, LostHow};
use domain::{Class, Job, JobState, NodeId, PermanentReason, Run, RunState, Status};
use store::{Applied, Change, Store};

use super::values::{
    T0, change, claim, ended, failure, fleet, fresh_run, happen, job, later, one_running, outcome, read,
    usage_limit,
};

/// Offered, started, ended: job and run say the same after every step.
pub(crate) async fn a_run_goes_its_way(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    assert_eq!(store.job(id).await.unwrap(), Some(start.job.clone()));
    assert_eq!(store.run(run).await.unwrap(), Some(start.run.clone()));
    assert_eq!(start.run.state, RunState::Offered);

    assert_eq!(happen(&store, id, &Event::Confirmed { run }, later(10)).await, Applied::Done);
    let started = Run {
        state: RunState::Started,
        started_at: Some(later(10)),
        aside: Amount { runs: 0, ..start.run.aside },
        ..start.run.clone()
    };
    assert_eq!(store.run(run).await.unwrap(), Some(started.clone()));
    assert_eq!(store.live_runs().await.unwrap(), vec![started.clone()]);
    let expected = JobState::Running { run, run_state: LiveRunState::Started, cancel_requested_at: None };
    assert_eq!(read(&store, id).await.state, expected);
    assert_eq!(store.live_jobs().await.unwrap(), vec![read(&store, id).await]);

    let done = Change {
        outcome: Some(outcome()),
        evidence: Some("result.subtype".into()),
        ..change(&read(&store, id).await, &ended(run, Class::Success), later(1_000))
    };
    assert_eq!(store.apply(done).await.unwrap(), Applied::Done);
    let outcome = outcome();
    let finished = Run {
        state: RunState::Ended,
        ended_at: Some(outcome.ended_at),
        class: Some("success".into()),
        reason: Some("none".into()),
        evidence: Some("result.subtype".into()),
        usage: outcome.report.usage,
        exit_code: Some(0),
        tail: Some(outcome.tail),
        log_bytes: 4_096,
        steps: outcome.steps,
        ..started
    };
    assert_eq!(store.run(run).await.unwrap(), Some(finished.clone()));
    assert_eq!(store.runs_of(id).await.unwrap(), vec![finished]);
    assert_eq!(store.live_runs().await.unwrap(), vec![]);
    assert_eq!(store.live_jobs().await.unwrap(), vec![]);
    let expected = Job {
        state: JobState::Done { finished_at: later(1_000) },
        revision: 3,
        updated_at: later(1_000),
        ..start.job
    };
    assert_eq!(store.job(id).await.unwrap(), Some(expected));
}

/// Every path back to the queue drops the run; the next claim has the next epoch and another run.
pub(crate) async fn a_lost_run_leaves_a_queued_job_that_owns_nothing(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    assert_eq!(happen(&store, id, &Event::Confirmed { run }, later(10)).await, Applied::Done);
    let lost = Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } };
    assert_eq!(happen(&store, id, &lost, later(50)).await, Applied::Done);
    let queued = read(&store, id).await;
    assert_eq!(queued.state, JobState::Queued { available_at: later(50) });
    assert_eq!(queued.budgets.infra_attempts, 1);
    let again = claim(&store, later(60), fleet(4), 1).await.starts.remove(0);
    assert_eq!((again.job.id, again.run.epoch.0), (id, 2));
    assert_ne!(again.run.id, run);
    let runs = store.runs_of(id).await.unwrap();
    assert_eq!(
        runs.iter().map(|run| (run.epoch.0, run.class.as_deref())).collect::<Vec<_>>(),
        [(1, Some("lost")), (2, None)]
    );
}

/// What a stale reader decided is not written: nothing of it.
pub(crate) async fn a_moved_row_is_left_alone(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    let seen = read(&store, id).await;
    assert_eq!(happen(&store, id, &Event::CancelRequested, later(5)).await, Applied::Done);
    let late = change(&seen, &ended(run, Class::Success), later(10));
    assert_eq!(store.apply(late.clone()).await.unwrap(), Applied::Conflict);
    assert_eq!(store.run(run).await.unwrap(), Some(start.run));
    let flagged = read(&store, id).await;
    assert_eq!(flagged.revision, seen.revision + 1);

    // The guard is status, run and revision, each by itself.
    for twist in 0..3 {
        let mut twisted = late.clone();
        twisted.transition.expected.revision = flagged.revision;
        match twist {
            0 => twisted.transition.expected.run = Some(fresh_run()),
            1 => twisted.transition.expected.status = Status::Queued,
            _ => twisted.transition.expected.revision += 1,
        }
        assert_eq!(store.apply(twisted).await.unwrap(), Applied::Conflict, "twist {twist}");
    }
    assert_eq!(read(&store, id).await, flagged);
    let unknown = Change {
        transition: domain::Transition { job: domain::JobId(999), ..late.transition.clone() },
        ..late
    };
    assert_eq!(store.apply(unknown).await.unwrap(), Applied::Conflict);
}

/// Of many who decide on the same row at once, one is written.
pub(crate) async fn one_of_many_concurrent_changes_wins(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (id, run) = (start.job.id, start.run.id);
    let seen = read(&store, id).await;
    let changes = (0..20).map(|n| {
        let (store, change) =
            (Arc::clone(&store), change(&seen, &ended(run, Class::Success), later(100 + n)));
        async move { store.apply(change).await.unwrap() }
    });
    let answers = futures::future::join_all(changes).await;
    assert_eq!(answers.iter().filter(|answer| **answer == Applied::Done).count(), 1);
    assert_eq!(read(&store, id).await.revision, seen.revision + 1);
    assert_eq!(store.violations().await.unwrap(), vec![]);
}

/// A usage limit holds the account until its reset, and a longer hold is not shortened.
pub(crate) async fn holds_only_grow(store: Arc<dyn Store>) {
    for n in 0..4 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let starts = claim(&store, T0, fleet(4), 4).await.starts;
    let ends = [
        usage_limit(later(60_000)),
        usage_limit(later(30_000)),
        failure(PermanentReason::Auth),
        usage_limit(later(90_000)),
    ];
    let expected = [
        Hold { reason: HoldReason::UsageLimit, until: Some(later(60_000)) },
        Hold { reason: HoldReason::UsageLimit, until: Some(later(60_000)) },
        Hold { reason: HoldReason::Auth, until: None },
        Hold { reason: HoldReason::Auth, until: None },
    ];
    for ((start, class), expected) in starts.iter().zip(ends).zip(expected) {
        let event = ended(start.run.id, class);
        assert_eq!(happen(&store, start.job.id, &event, later(100)).await, Applied::Done);
        let accounts = store.overview(later(100)).await.unwrap().accounts;
        let [account] = accounts.as_slice() else { panic!("{accounts:?}") };
        assert_eq!(account.hold, Some(expected));
    }
    let held = claim(&store, later(200_000), fleet(4), 4).await;
    assert!(held.starts.is_empty());
    let reason = &held.waits[0].1.reason;
    assert!(
        matches!(reason, WaitReason::AccountHeld { reason, .. } if *reason == HoldReason::Auth),
        "{reason:?}"
    );
    let account = domain::Account("default".into());
    assert!(store.resume_account(account.clone(), later(300_000)).await.unwrap());
    assert!(!store.resume_account(account, later(300_000)).await.unwrap());
    assert_eq!(claim(&store, later(300_000), fleet(4), 4).await.starts.len(), 4);
}

/// The report of a run that owns nothing is kept once and changes nothing.
pub(crate) async fn a_late_outcome_changes_nothing(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let before = (read(&store, start.job.id).await, store.runs_of(start.job.id).await.unwrap());
    for _ in 0..3 {
        store.record_late_outcome(start.run.id, outcome(), later(5)).await.unwrap();
    }
    store.record_late_outcome(fresh_run(), outcome(), later(6)).await.unwrap();
    let kept = LateOutcome { run: start.run.id, outcome: outcome(), received_at: later(5) };
    assert_eq!(store.late_outcomes_of(start.job.id).await.unwrap(), [kept]);
    let after = (read(&store, start.job.id).await, store.runs_of(start.job.id).await.unwrap());
    assert_eq!(before, after);
}

/// A failed job that a person retries starts with full budgets and keeps its history.
pub(crate) async fn a_retried_job_keeps_its_history(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let id = start.job.id;
    let over = ended(start.run.id, failure(PermanentReason::ContextLength));
    assert_eq!(happen(&store, id, &over, later(5)).await, Applied::Done);
    assert_eq!(
        read(&store, id).await.state,
        JobState::Failed {
            finished_at: later(5),
            reason: "context_length: would fail again as it is".into()
        }
    );
    assert_eq!(happen(&store, id, &Event::Retried, later(9)).await, Applied::Done);
    let queued = read(&store, id).await;
    assert_eq!((queued.budgets, queued.epoch.0), (domain::Budgets::default(), 1));
    assert_eq!(store.runs_of(id).await.unwrap().len(), 1);
    assert_eq!(claim(&store, later(9), fleet(4), 1).await.starts[0].run.epoch.0, 2);
}

/// A run that another scheduler heard of since is not given up by one that did not.
pub(crate) async fn a_renewed_run_is_not_given_up(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (id, run, epoch, node) = (start.job.id, start.run.id, start.run.epoch, start.run.node.clone());
    assert_eq!(happen(&store, id, &Event::Confirmed { run }, later(10)).await, Applied::Done);
    assert_eq!(store.renewals().await.unwrap(), BTreeMap::new());
    let nobody = BTreeSet::new();
    let other = NodeId("another".into());
    assert_eq!(store.renew(other, vec![(run, epoch)]).await.unwrap(), nobody);
    assert_eq!(store.renew(node.clone(), vec![(run, epoch.next())]).await.unwrap(), nobody);
    assert_eq!(store.renew(node.clone(), vec![(fresh_run(), epoch)]).await.unwrap(), nobody);
    assert_eq!(store.renewals().await.unwrap(), BTreeMap::new());
    let held = vec![(run, epoch), (fresh_run(), epoch)];
    for times in 1..3 {
        assert_eq!(store.renew(node.clone(), held.clone()).await.unwrap(), BTreeSet::from([run]));
        assert_eq!(store.renewals().await.unwrap(), BTreeMap::from([(run, times)]));
    }

    let lost = Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } };
    let seen = read(&store, id).await;
    let give_up = |renewals| Change { renewals, ..change(&seen, &lost, later(50)) };
    for older in [Some(0), Some(1)] {
        assert_eq!(store.apply(give_up(older)).await.unwrap(), Applied::Conflict);
    }
    assert_eq!(read(&store, id).await, seen);
    assert_eq!(store.apply(give_up(Some(2))).await.unwrap(), Applied::Done);
    // What is over is no longer renewed, and its count goes with the next tick.
    assert_eq!(store.renew(node, held).await.unwrap(), nobody);
    store.note_tick(later(60), 1).await.unwrap();
    assert_eq!(store.renewals().await.unwrap(), BTreeMap::new());
}
