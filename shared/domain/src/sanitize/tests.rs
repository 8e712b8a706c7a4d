//! Each shape, and that a repair leaves nothing to repair.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_000_000);
const LATER: Timestamp = Timestamp::from_ms(1_420_000);

fn rules() -> Rules {
    Rules { now: NOW, lease: Duration::from_mins(7), policy: Policy::default(), chance: Chance::new(0.0) }
}

fn row(status: Status) -> SuspectRow {
    let finished = !matches!(status, Status::Queued | Status::Running);
    SuspectRow {
        status,
        run: None,
        due: status == Status::Queued,
        available_at: Timestamp::from_ms(5),
        cancel_requested_at: None,
        finished_at: finished.then_some(Timestamp::from_ms(9)),
        failure_reason: (status == Status::Failed).then(|| "crash".to_owned()),
        budgets: Budgets { attempts: 1, transient_attempts: 2, infra_attempts: 0 },
        epoch: Epoch(3),
        revision: 7,
    }
}

fn run(id: &str, state: SuspectRunState) -> SuspectRun {
    SuspectRun { id: id.to_owned(), state }
}

fn suspect(row: SuspectRow, runs: Vec<SuspectRun>) -> Suspect {
    Suspect { job: JobId(1), row: Some(row), runs }
}

fn after(state: JobState, infra_attempts: u32) -> (i64, After) {
    let budgets = Budgets { infra_attempts, ..row(Status::Queued).budgets };
    (7, After { state, budgets, epoch: Epoch(3) })
}

#[test]
fn healthy_rows_are_left_alone() {
    for status in [Status::Queued, Status::Done, Status::Failed, Status::Cancelled] {
        assert_eq!(repair(&suspect(row(status), vec![]), &rules()), None, "{status:?}");
    }
    for state in [SuspectRunState::Offered, SuspectRunState::Started] {
        let running = SuspectRow { run: Some("a".to_owned()), ..row(Status::Running) };
        assert_eq!(repair(&suspect(running, vec![run("a", state)]), &rules()), None);
    }
}

#[test]
fn a_queued_job_keeps_its_budget_and_loses_its_owner() {
    let owner = SuspectRow { run: Some("dead".to_owned()), ..row(Status::Queued) };
    let expected = Repair {
        job: JobId(1),
        row: Some(after(JobState::Queued { available_at: Timestamp::from_ms(5) }, 0)),
        ends: vec![],
        kinds: vec![Kind::ImpossibleQueued],
    };
    assert_eq!(repair(&suspect(owner.clone(), vec![]), &rules()), Some(expected.clone()));
    // A started run may still have its agent: the next one waits until that is certainly over.
    let alive = suspect(owner, vec![run("dead", SuspectRunState::Started)]);
    let expected = Repair {
        row: Some(after(JobState::Queued { available_at: LATER }, 0)),
        ends: vec!["dead".to_owned()],
        kinds: vec![Kind::ImpossibleQueued, Kind::OrphanedRun],
        ..expected
    };
    assert_eq!(repair(&alive, &rules()), Some(expected));
}

#[test]
fn a_running_job_without_a_run_was_lost_and_spends_an_infra_attempt() {
    let repaired = |row: SuspectRow, runs| repair(&suspect(row, runs), &rules()).unwrap();
    let pointing = SuspectRow { run: Some("other".to_owned()), ..row(Status::Running) };
    assert_eq!(
        repaired(pointing.clone(), vec![]),
        Repair {
            job: JobId(1),
            row: Some(after(JobState::Queued { available_at: NOW }, 1)),
            ends: vec![],
            kinds: vec![Kind::ImpossibleRunning],
        }
    );
    let astray = repaired(pointing.clone(), vec![run("own", SuspectRunState::Started)]);
    assert_eq!(astray.row, Some(after(JobState::Queued { available_at: LATER }, 1)));
    assert_eq!(astray.ends, ["own"]);
    let unwanted = SuspectRow { cancel_requested_at: Some(NOW), ..pointing.clone() };
    assert_eq!(repaired(unwanted, vec![]).row, Some(after(JobState::Cancelled { finished_at: NOW }, 0)));
    let mut often = pointing;
    often.budgets.infra_attempts = 9;
    let reason = "quarantined: lost 10 times, last: node_lost, without a run".to_owned();
    assert_eq!(repaired(often, vec![]).row, Some(after(JobState::Failed { finished_at: NOW, reason }, 10)));
}

#[test]
fn of_two_live_runs_the_one_that_is_not_pointed_at_ends() {
    let running = SuspectRow { run: Some("a".to_owned()), ..row(Status::Running) };
    let both = vec![run("a", SuspectRunState::Started), run("b", SuspectRunState::Started)];
    let expected =
        Repair { job: JobId(1), row: None, ends: vec!["b".to_owned()], kinds: vec![Kind::OrphanedRun] };
    assert_eq!(repair(&suspect(running, both), &rules()), Some(expected.clone()));
    let nobodys = Suspect { job: JobId(1), row: None, runs: vec![run("b", SuspectRunState::Offered)] };
    assert_eq!(repair(&nobodys, &rules()), Some(expected));
}

#[test]
fn a_finished_job_stays_so() {
    let owner = SuspectRow { run: Some("a".to_owned()), finished_at: None, ..row(Status::Done) };
    let repaired = repair(&suspect(owner, vec![]), &rules()).unwrap();
    assert_eq!(repaired.row, Some(after(JobState::Done { finished_at: NOW }, 0)));
    assert_eq!(repaired.kinds, [Kind::ImpossibleFinished]);
}

/// The suspect as it is after `repair`.
fn repaired(suspect: &Suspect, repair: &Repair) -> Suspect {
    let mut after = suspect.clone();
    after.runs.retain(|run| !repair.ends.contains(&run.id));
    if let (Some(row), Some((_, wanted))) = (&mut after.row, &repair.row) {
        let (finished_at, failure_reason) = match &wanted.state {
            JobState::Failed { finished_at, reason } => (Some(*finished_at), Some(reason.clone())),
            JobState::Done { finished_at } | JobState::Cancelled { finished_at } => {
                (Some(*finished_at), None)
            }
            JobState::Queued { .. } | JobState::Running { .. } => (None, None),
        };
        *row = SuspectRow {
            status: wanted.state.status(),
            run: wanted.state.run().map(|run| run.to_string()),
            due: wanted.state.status() == Status::Queued,
            cancel_requested_at: None,
            finished_at,
            failure_reason,
            budgets: wanted.budgets,
            ..row.clone()
        };
    }
    after
}

fn any_suspect() -> impl Strategy<Value = Suspect> {
    let state = prop_oneof![
        Just(SuspectRunState::Offered),
        Just(SuspectRunState::Started),
        Just(SuspectRunState::HalfEnded)
    ];
    let runs = proptest::collection::btree_map("[abc]", state, 0..3);
    let flags = any::<[bool; 5]>();
    (0..6_usize, proptest::option::of("[abcd]"), flags, runs, 0..12_u32).prop_map(
        |(status, pointer, [due, cancel, finished, failure, _], runs, infra_attempts)| {
            let base = Status::ALL.get(status).map(|status| SuspectRow {
                run: pointer,
                due,
                cancel_requested_at: cancel.then_some(NOW),
                finished_at: finished.then_some(NOW),
                failure_reason: failure.then(|| "why".to_owned()),
                budgets: Budgets { infra_attempts, ..Budgets::default() },
                ..row(*status)
            });
            let runs = runs.into_iter().map(|(id, state)| SuspectRun { id, state }).collect();
            Suspect { job: JobId(1), row: base, runs }
        },
    )
}

proptest! {
    #[test]
    fn a_repair_leaves_nothing_to_repair_and_never_starts_anything(suspect in any_suspect()) {
        if let Some(repair) = repair(&suspect, &rules()) {
            let after = repaired(&suspect, &repair);
            prop_assert_eq!(super::repair(&after, &rules()), None, "{:?}", after);
            if let Some((_, row)) = &repair.row {
                prop_assert_ne!(row.state.status(), Status::Running);
                let cancelled = suspect.row.as_ref().is_some_and(|row| row.cancel_requested_at.is_some());
                prop_assert!(!(cancelled && row.state.status() == Status::Queued));
            }
        }
    }
}
