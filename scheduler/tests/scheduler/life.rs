//! A job's life through its runs: every way a run can end, and what it costs.

use std::time::Duration;

use domain::log::LogPiece;
use domain::outcome::EndedBy;
use domain::{Budgets, JobState, Status as JobStatus, Timestamp};
use proto::v1::{LaunchStatus, RunPhase, StartStatus};
use tonic::Status;

use crate::fake::{Node, bytes, held};
use crate::stack::Stack;

#[tokio::test]
async fn a_job_is_claimed_launched_watched_and_done() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;

    let launch = node.launched(1).await;
    let spec = launch.spec.unwrap();
    assert_eq!(
        (spec.job_id, spec.role.as_str(), spec.model.as_deref(), spec.max_turns, spec.max_runtime_ms),
        (job.0, "developer", Some("sonnet"), Some(7), 60_000)
    );
    assert!(spec.prompt.starts_with("Work.\n\nWhat stands between the two lines marked"), "{}", spec.prompt);
    assert!(spec.prompt.contains("\nwork item: SHOP-1\n"), "{}", spec.prompt);

    let run = node.started(&stack, 1).await;
    node.prints(&run, bytes(0, "hello\n"));
    node.prints(&run, LogPiece::Gap { from: 6, to: 100 });
    node.prints(&run, bytes(100, "bye\n"));
    node.ends(&run, domain::Outcome { log_bytes: 104, ..stack.success() });
    node.acked(&run).await;

    let done = stack.job(job).await;
    assert_eq!((done.state.status(), done.budgets), (JobStatus::Done, Budgets::default()));
    let row = stack.runs(job).await.remove(0);
    assert_eq!(
        (row.class.as_deref(), row.log_bytes, row.usage.turns, row.usage.cost_usd, row.tail.as_deref()),
        (Some("success"), 104, Some(3), Some(0.25), Some("the tail"))
    );
    let log = std::fs::read(stack.log_path(&run)).unwrap();
    assert_eq!((log.len(), &log[..6], &log[100..]), (104, &b"hello\n"[..], &b"bye\n"[..]));
    stack.check_invariants().await;
    stack.stop().await;
}

#[tokio::test]
async fn refused_offers_cost_no_budget_and_give_the_node_a_rest() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let refusals = [
        (Ok(LaunchStatus::NoCapacity), "no_capacity"),
        (Ok(LaunchStatus::Draining), "draining"),
        (Ok(LaunchStatus::Fenced), "fenced"),
        (Err(Status::resource_exhausted("full")), "no_capacity"),
    ];
    for (answer, _) in &refusals {
        node.state().answers.push_back(answer.clone());
    }
    let job = stack.enqueue().await;
    for tries in 1..=refusals.len() {
        node.launched(tries).await;
        stack.waits(job, "refused work a moment ago").await;
        stack.clock.advance(Duration::from_secs(2));
        // Other silence than the one that is tested.
        node.renew(&stack, u64::try_from(tries).unwrap(), &[]).await.unwrap();
    }
    let run = node.started(&stack, refusals.len() + 1).await;
    node.ends(&run, stack.success());
    let done = stack.reaches(job, "done").await;
    assert_eq!((done.budgets, done.epoch.0), (Budgets::default(), 5));
    let ends = stack.ends(job).await;
    let withdrawn = refusals.iter().map(|(_, why)| format!("withdrawn {why}"));
    assert_eq!(ends, withdrawn.chain(["success none".to_owned()]).collect::<Vec<_>>());
    stack.check_invariants().await;
}

#[tokio::test]
async fn a_launch_that_may_not_have_arrived_is_sent_again_as_it_was() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    node.state().answers.extend([
        Err(Status::unavailable("away")),
        Err(Status::deadline_exceeded("slow")),
        Ok(LaunchStatus::Known),
    ]);
    let job = stack.enqueue().await;
    let run = node.started(&stack, 3).await;
    let sent: Vec<_> = node.state().launches.clone();
    assert!(sent.iter().all(|launch| *launch == sent[0]), "{sent:?}");
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
    assert_eq!(stack.ends(job).await, ["success none"]);
}

#[tokio::test]
async fn an_offer_its_node_gave_up_is_withdrawn_and_its_report_let_go() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    node.state().gave_up = true;
    node.state().answers.push_back(Ok(LaunchStatus::Known));
    let job = stack.enqueue().await;
    let given_up = node.launched(1).await.run.unwrap();
    let run = node.started(&stack, 2).await;
    node.ends(&given_up, stack.ended_by(EndedBy::Cancelled));
    let both = [held(&given_up, RunPhase::Ended), held(&run, RunPhase::Started)];
    assert_eq!(node.renew(&stack, 1, &both).await.unwrap().fenced, []);
    node.acked(&given_up).await;
    assert_eq!(stack.ends(job).await, ["withdrawn unconfirmed", "started None None"]);
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
}

#[tokio::test]
async fn transient_failures_wait_and_spend_their_own_budget() {
    let stack = Stack::start_with(|mut options| {
        options.policy.transient_attempts_max = 2;
        options
    })
    .await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.ends(&run, stack.overloaded());
    node.acked(&run).await;
    let queued = stack.job(job).await;
    let JobState::Queued { available_at } = queued.state else { panic!("{queued:?}") };
    assert!(available_at > Timestamp::from_ms(stack.clock.now_ms()));
    assert_eq!(queued.budgets, Budgets { transient_attempts: 1, ..Budgets::default() });

    stack.clock.advance(Duration::from_secs(31));
    node.renew(&stack, 1, &[]).await.unwrap();
    let run = node.started(&stack, 2).await;
    node.ends(&run, stack.overloaded());
    let failed = stack.reaches(job, "failed").await;
    assert_eq!(failed.budgets, Budgets { transient_attempts: 2, ..Budgets::default() });
    assert_eq!(stack.ends(job).await, ["transient overloaded", "transient overloaded"]);
    stack.check_invariants().await;
}

#[tokio::test]
async fn permanent_failures_are_tried_again_unless_they_would_repeat() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let crashing = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.ends(&run, stack.crash());
    node.acked(&run).await;
    let queued = stack.job(crashing).await;
    assert_eq!(queued.budgets, Budgets { attempts: 1, ..Budgets::default() });
    assert_eq!(queued.state.status(), JobStatus::Queued);

    let repeating = stack.enqueue().await;
    let run = node.started(&stack, 2).await;
    node.ends(&run, stack.max_turns());
    let failed = stack.reaches(repeating, "failed").await;
    let JobState::Failed { reason, .. } = failed.state else { panic!("{failed:?}") };
    assert_eq!(reason, "max_turns: would fail again as it is");
    stack.check_invariants().await;
}

#[tokio::test]
async fn runs_lost_on_their_node_spend_the_infra_budget_alone() {
    let stack = Stack::start_with(|mut options| {
        options.policy.infra_attempts_max = 2;
        options
    })
    .await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.ends(&run, stack.ended_by(EndedBy::ShimLost));
    // The first time it is queued for now.
    let run = node.started(&stack, 2).await;
    node.ends(&run, stack.ended_by(EndedBy::SelfFenced));
    let failed = stack.reaches(job, "failed").await;
    assert_eq!(failed.budgets, Budgets { infra_attempts: 2, ..Budgets::default() });
    assert_eq!(stack.ends(job).await, ["lost shim_lost", "lost self_fenced"]);
}

#[tokio::test]
async fn a_repeated_start_is_a_renewal_and_a_late_one_is_refused() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let again = node.ask_start(&stack, &run).await.unwrap();
    assert_eq!((again.status(), again.lease_ms), (StartStatus::Ok, 300_000));
    assert_eq!(stack.ends(job).await, ["started None None"]);

    let older = proto::v1::RunKey { epoch: run.epoch - 1, ..run.clone() };
    assert_eq!(node.ask_start(&stack, &older).await.unwrap().status(), StartStatus::Refused);
    assert_eq!(stack.ends(job).await, ["started None None"]);
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
    assert_eq!(node.ask_start(&stack, &run).await.unwrap().status(), StartStatus::Refused);
}
