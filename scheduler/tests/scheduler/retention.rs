//! What is over is forgotten by itself, its log with it, while work goes on.

use std::time::Duration;

use domain::Status as JobStatus;
use domain::retention::Terms;
use scheduler::Retention;

use crate::fake::{Node, bytes};
use crate::stack::{DEADLINE, Stack};

#[tokio::test]
async fn a_finished_job_goes_with_its_log_once_it_is_old_and_counts_on() {
    let retention = Retention { terms: Terms::default(), interval: Duration::from_millis(20) };
    let stack = Stack::start_with(|options| scheduler::Options { retention, ..options }).await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    node.prints(&run, bytes(0, "hello\n"));
    node.ends(&run, domain::Outcome { log_bytes: 6, ..stack.success() });
    node.acked(&run).await;
    stack.reaches(job, "done").await;
    let log = stack.log_path(&run);
    assert!(log.exists());

    stack.clock.advance(Duration::from_hours(91 * 24));
    let give_up_at = tokio::time::Instant::now() + DEADLINE;
    while stack.store.job(job).await.unwrap().is_some() || log.exists() {
        assert!(tokio::time::Instant::now() < give_up_at, "the job and its log are forgotten");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut counts =
        stack.store.overview(domain::Timestamp::from_ms(stack.clock.now_ms())).await.unwrap().counts;
    assert_eq!(*counts.of(JobStatus::Done), 1);
    stack.check_invariants().await;
    stack.stop().await;
}
