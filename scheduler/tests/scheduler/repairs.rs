//! Rows in the shape of the incident, written past the constraints: repaired at start and on a tick, and harmless
//! while nobody repairs them.

use domain::job::JobState;
use domain::overview::ReaperRecord;
use domain::{JobId, NodeId, Timestamp};
use proto::convert::QueueSettings;
use scheduler::Options;

use crate::fake::Node;
use crate::stack::{Stack, eventually};

fn one_slot(options: Options) -> Options {
    Options { queue: QueueSettings { concurrency_max: 1, ..options.queue }, ..options }
}

/// Queued, with the id of a run that is dead.
async fn plant(stack: &Stack, job: JobId) {
    let run = "0192f0c1-2b3c-7d4e-8f50-616263646566";
    stack.force(&format!("UPDATE jobs SET run_id = '{run}' WHERE id = {job}")).await;
}

async fn reaper(stack: &Stack) -> ReaperRecord {
    stack.store.overview(Timestamp::from_ms(0)).await.unwrap().reaper
}

async fn counted(stack: &Stack, impossible_queued: u64) {
    eventually("the repair", async || {
        (reaper(stack).await.impossible_queued_total == impossible_queued).then_some(())
    })
    .await;
}

/// Both jobs run to their end on one slot.
async fn runs_both(stack: &Stack, jobs: [JobId; 2]) {
    let node = Node::start(stack, "n").await;
    for count in 1..=2 {
        let run = node.started(stack, count).await;
        node.ends(&run, stack.success());
        node.acked(&run).await;
    }
    for job in jobs {
        stack.reaches(job, "done").await;
        assert_eq!(stack.ends(job).await, ["success none"]);
    }
    stack.check_invariants().await;
}

#[tokio::test]
async fn an_impossible_row_is_repaired_on_a_tick_and_the_queue_moves() {
    let stack = Stack::start_with(one_slot).await;
    let jobs = [stack.enqueue().await, stack.enqueue().await];
    plant(&stack, jobs[0]).await;
    counted(&stack, 1).await;
    runs_both(&stack, jobs).await;
}

#[tokio::test]
async fn an_impossible_row_is_repaired_at_start_and_the_queue_moves() {
    let mut stack = Stack::start_with(one_slot).await;
    let jobs = [stack.enqueue().await, stack.enqueue().await];
    stack.stop().await;
    plant(&stack, jobs[0]).await;
    // And one that only the job's missing run shows.
    let run = "0192f0c1-2b3c-7d4e-8f50-616263646567";
    let lost = format!(
        "UPDATE jobs SET status = 'running', due = 0, epoch = 1, run_id = '{run}' WHERE id = {}",
        jobs[1]
    );
    stack.force(&lost).await;
    stack.restart().await;
    let found = reaper(&stack).await;
    assert_eq!((found.impossible_queued_total, found.impossible_running_total), (1, 1));
    assert_eq!(stack.job(jobs[1]).await.budgets.infra_attempts, 1);
    runs_both(&stack, jobs).await;
}

#[tokio::test]
async fn a_run_whose_job_was_put_back_by_hand_is_fenced_before_the_job_runs_again() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    stack.force(&format!("UPDATE jobs SET status = 'queued', due = 1 WHERE id = {job}")).await;
    counted(&stack, 1).await;
    let held = [crate::fake::held(&run, proto::v1::RunPhase::Started)];
    assert_eq!(node.renew(&stack, 1, &held).await.unwrap().fenced, [run]);
    // Its agent may live until its lease is over, so nothing starts before that.
    let available_at = Timestamp::from_ms(stack.clock.now_ms()).plus(crate::stack::terms().scheduler);
    assert_eq!(stack.job(job).await.state, JobState::Queued { available_at });
    assert_eq!(stack.ends(job).await, ["lost orphaned"]);
    stack.check_invariants().await;
}

#[tokio::test]
async fn switched_off_the_row_is_left_and_the_others_go_on() {
    let off = |options: Options| Options {
        queue: QueueSettings { sanitize_enabled: false, ..options.queue },
        ..one_slot(options)
    };
    let mut stack = Stack::start_with(off).await;
    let planted = stack.enqueue().await;
    let gone = stack.enqueue().await;
    plant(&stack, planted).await;
    let lost = format!("UPDATE jobs SET status = 'running', due = 0, epoch = 1 WHERE id = {gone}");
    stack.force(&lost).await;
    stack.restart().await;
    let node = Node::start(&stack, "n").await;
    for count in 1..=3 {
        let job = stack.enqueue().await;
        let run = node.started(&stack, count).await;
        node.ends(&run, stack.success());
        stack.reaches(job, "done").await;
    }
    assert_eq!(stack.store.violations().await.unwrap().len(), 2);
    assert_eq!(reaper(&stack).await.impossible_queued_total, 0);
    let live = stack.store.live_runs().await.unwrap();
    assert!(live.iter().all(|run| run.node != NodeId(node.id.clone())), "{live:?}");
}
