use std::slice;

use super::{Ack, Agent, History, Job, Order, Run, Violation, Wanted, check};

/// Job 1: lost once with its runner, done at its second run, each with its agent. Boot time is UTC less 1000.
fn legal() -> History {
    let run = |id: &str, epoch: i64, class: &str| Run {
        id: id.to_owned(),
        job_id: 1,
        epoch,
        node: "n".to_owned(),
        offered_at: 10_000 * epoch,
        started_at: Some(10_000 * epoch + 10),
        ended_at: Some(10_000 * epoch + 9000),
        class: Some(class.to_owned()),
        reason: Some("none".to_owned()),
    };
    let agent = |run: &str, start_ms: i64| Agent {
        run: run.to_owned(),
        job: 1,
        pid: 7,
        start_ms,
        last_ms: start_ms + 5000,
        double: false,
    };
    History {
        acks: vec![Ack { delivery: 5, jobs: vec![1], may_fail: false }; 2],
        jobs: [(1, job("done", 2, [0, 0, 1]))].into(),
        runs: vec![run("a", 1, "lost"), run("b", 2, "success")],
        late: vec!["a".to_owned()],
        agents: vec![agent("a", 9100), agent("b", 19_100)],
        orders: vec![],
        boot_to_utc_ms: 1000,
    }
}

fn job(status: &str, epoch: i64, [attempts, transient_attempts, infra_attempts]: [usize; 3]) -> Job {
    Job { id: 1, status: status.to_owned(), epoch, attempts, transient_attempts, infra_attempts }
}

fn order(wanted: Wanted, granted_at: i64) -> Order {
    Order { job: 1, wanted, asked_at: granted_at - 10, granted_at }
}

/// What is found in the legal history after a change for the worse.
fn found(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = legal();
    change(&mut history);
    check(&history)
}

#[test]
fn a_legal_history_is_found_legal() {
    assert_eq!(check(&legal()), []);
}

#[test]
fn a_lost_or_unasked_job_is_found() {
    let lost = Violation::Lost { delivery: 6, jobs: vec![2] };
    let acked = |jobs: Vec<i64>, delivery| Ack { delivery, jobs, may_fail: false };
    assert_eq!(found(|history| history.acks.push(acked(vec![2], 6))), [lost]);
    let none = Violation::Lost { delivery: 6, jobs: vec![] };
    assert_eq!(found(|history| history.acks.push(acked(vec![], 6))), [none]);
    assert_eq!(found(|history| history.acks.clear()), [Violation::Unasked { job: 1 }]);
}

#[test]
fn a_delivery_with_two_jobs_and_a_job_of_two_deliveries_are_found() {
    let mut history = legal();
    let second = Job { id: 2, ..job("cancelled", 0, [0; 3]) };
    history.jobs.insert(2, second);
    history.acks[1].jobs = vec![2];
    assert_eq!(check(&history), [Violation::TwoJobs { delivery: 5, first: vec![1], then: vec![2] }]);
    let shared = Ack { delivery: 6, jobs: vec![1], may_fail: false };
    assert_eq!(found(|history| history.acks.push(shared)), [Violation::Shared { delivery: 6, job: 1 }]);
}

#[test]
fn a_job_that_is_not_over_or_over_otherwise_than_its_last_run_is_found() {
    for status in ["queued", "running"] {
        let unended = Violation::Unended { job: 1, status: status.to_owned() };
        assert_eq!(found(|history| history.jobs.get_mut(&1).unwrap().status = status.to_owned()), [unended]);
    }
    for status in ["failed", "cancelled"] {
        let otherwise =
            Violation::Status { job: 1, status: status.to_owned(), last: Some("success".to_owned()) };
        assert_eq!(
            found(|history| history.jobs.get_mut(&1).unwrap().status = status.to_owned()),
            [otherwise]
        );
    }
    let failed = |history: &mut History, may_fail: bool| {
        history.jobs.insert(1, job("failed", 2, [1, 0, 1]));
        history.runs[1].class = Some("permanent".to_owned());
        history.acks[0].may_fail = may_fail;
    };
    assert_eq!(found(|history| failed(history, false)), [Violation::Failed { job: 1 }]);
    assert_eq!(found(|history| failed(history, true)), []);
}

#[test]
fn an_outcome_applied_twice_or_misread_is_found() {
    let spent = Violation::Budget { job: 1, budget: "infra_attempts", is: 2, runs: 1 };
    assert_eq!(found(|history| history.jobs.get_mut(&1).unwrap().infra_attempts = 2), [spent]);
    let burnt = Violation::Budget { job: 1, budget: "attempts", is: 1, runs: 0 };
    assert_eq!(found(|history| history.jobs.get_mut(&1).unwrap().attempts = 1), [burnt]);
    let crash = Violation::Crash { run: "a".to_owned() };
    assert_eq!(found(|history| history.runs[0].reason = Some("crash".to_owned())), [crash]);
    let late = Violation::AppliedAndLate { run: "b".to_owned() };
    assert_eq!(found(|history| history.late.push("b".to_owned())), [late]);
    let twice = found(|history| history.runs[0].class = Some("success".to_owned()));
    assert!(twice.contains(&Violation::Successes { job: 1, count: 2 }), "{twice:?}");
}

#[test]
fn epochs_that_stand_still_and_claims_that_overlap_are_found() {
    let still = |epochs: [i64; 2], own| Violation::Epochs { job: 1, epochs: epochs.to_vec(), own };
    assert_eq!(found(|history| history.runs[1].epoch = 1), [still([1, 1], 2)]);
    assert_eq!(found(|history| history.jobs.get_mut(&1).unwrap().epoch = 3), [still([1, 2], 3)]);
    let overlap = Violation::Overlap { job: 1, run: "b".to_owned() };
    assert_eq!(found(|history| history.runs[0].ended_at = Some(20_001)), slice::from_ref(&overlap));
    let live = Violation::Live { run: "a".to_owned() };
    assert_eq!(found(|history| history.runs[0].ended_at = None), [overlap, live]);
}

#[test]
fn two_agents_of_one_job_are_found_by_their_times_and_by_their_own_word() {
    let two = Violation::TwoAgents { job: 1, first: "a".to_owned(), second: "b".to_owned() };
    assert_eq!(found(|history| history.agents[0].last_ms = 19_100), slice::from_ref(&two));
    assert_eq!(found(|history| history.agents[1].double = true), slice::from_ref(&two));
    // The second of three is dead before the third begins, the first is not.
    let among_three = found(|history| {
        let (short, mut third) = (history.agents[1].clone(), history.runs[1].clone());
        history.agents[0].last_ms = 40_000;
        history.agents.push(Agent { run: "c".to_owned(), start_ms: 29_100, last_ms: 29_200, ..short });
        (third.id, third.epoch, third.offered_at) = ("c".to_owned(), 3, 30_000);
        third.ended_at = Some(31_000);
        history.runs[1].class = Some("lost".to_owned());
        history.runs.push(third);
        history.jobs.insert(1, job("done", 3, [0, 0, 2]));
    });
    let third = Violation::TwoAgents { job: 1, first: "a".to_owned(), second: "c".to_owned() };
    assert_eq!(among_three, [two, third]);
}

#[test]
fn an_agent_without_a_confirmed_run_or_after_its_end_is_found() {
    let unconfirmed = Violation::Unconfirmed { run: "b".to_owned() };
    assert_eq!(found(|history| history.runs[1].started_at = None), [unconfirmed]);
    let unknown = found(|history| history.agents[1].run = "c".to_owned());
    assert_eq!(unknown, [Violation::Unconfirmed { run: "c".to_owned() }]);
    let late = Violation::SpawnedLate { run: "b".to_owned(), by_ms: 1000 };
    assert_eq!(found(|history| history.agents[1].start_ms = 29_000), [late]);
    let twice = found(|history| {
        let again = Agent { start_ms: 25_000, ..history.agents[1].clone() };
        history.agents.push(again);
    });
    assert_eq!(twice, [Violation::SpawnedTwice { run: "b".to_owned() }]);
}

#[test]
fn a_cancelled_job_that_runs_again_is_found_and_one_that_was_wanted_again_is_not() {
    let again = Violation::RanAgain { job: 1, run: "b".to_owned() };
    assert_eq!(found(|history| history.orders.push(order(Wanted::Cancel, 19_500))), slice::from_ref(&again));
    // A claim may be committed just before the cancel is.
    assert_eq!(found(|history| history.orders.push(order(Wanted::Cancel, 20_000))), []);
    let orders = [order(Wanted::Cancel, 15_000), order(Wanted::Retry, 19_900)];
    assert_eq!(found(|history| history.orders.extend(orders)), []);
    let orders = [order(Wanted::Cancel, 15_000), order(Wanted::Retry, 25_000)];
    assert_eq!(found(|history| history.orders.extend(orders)), [again]);

    let not = found(|history| {
        history.orders.push(order(Wanted::Cancel, 22_000));
        history.jobs.insert(1, job("failed", 2, [1, 0, 1]));
        history.runs[1].class = Some("permanent".to_owned());
        history.acks[0].may_fail = true;
    });
    assert_eq!(not, [Violation::NotCancelled { job: 1, status: "failed".to_owned() }]);
}
