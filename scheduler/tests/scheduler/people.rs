//! What people ask: ends, pauses, limits, drains, logs; and what they are told of jobs that wait.

use std::collections::BTreeSet;

use domain::outcome::EndedBy;
use domain::{Budgets, Status as JobStatus};
use proto::v1::{
    DrainRunnerRequest, EnqueueRequest, GetJobRequest, GetQueueRequest, ListAccountsRequest, LogFrame,
    PauseRequest, ResumeAccountRequest, ResumeRequest, RetryJobRequest, RunPhase, StartStatus,
};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::fake::{Node, bytes, held, id_of};
use crate::stack::{Stack, eventually};

#[tokio::test]
async fn a_queued_job_is_cancelled_at_once_and_can_be_retried() {
    let stack = Stack::start().await;
    let job = stack.enqueue().await;
    assert_eq!(stack.cancel(job).await.status, "cancelled");
    let again = stack.admin().cancel_job(proto::v1::CancelJobRequest { id: job.0 }).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let retried = stack.admin().retry_job(RetryJobRequest { id: job.0 }).await.unwrap().into_inner();
    assert_eq!(retried.job.unwrap().status, "queued");
    let missing = stack.admin().get_job(GetJobRequest { id: 999 }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn an_offer_is_cancelled_before_it_starts() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.launched(1).await.run.unwrap();
    assert_eq!(stack.cancel(job).await.status, "cancelled");
    assert_eq!(node.ask_start(&stack, &run).await.unwrap().status(), StartStatus::Refused);
    eventually("the cancel", async || node.state().cancels.contains(&id_of(&run)).then_some(())).await;
    assert_eq!(stack.ends(job).await, ["withdrawn cancel_requested"]);
    stack.check_invariants().await;
}

#[tokio::test]
async fn a_running_job_is_told_to_stop_and_never_queued_again() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let shown = stack.cancel(job).await;
    assert_eq!((shown.status.as_str(), shown.cancel_requested_at.is_some()), ("running", true));
    eventually("the cancel", async || node.state().cancels.contains(&id_of(&run)).then_some(())).await;
    let renewed = node.renew(&stack, 1, &[held(&run, RunPhase::Started)]).await.unwrap();
    assert_eq!(renewed.cancel, std::slice::from_ref(&run));
    node.ends(&run, stack.ended_by(EndedBy::Cancelled));
    let cancelled = stack.reaches(job, "cancelled").await;
    assert_eq!(cancelled.budgets, Budgets::default());
    assert_eq!(stack.ends(job).await, ["cancelled cancel_requested"]);
}

#[tokio::test]
async fn a_cancel_survives_a_restart_and_a_success_that_was_faster_stands() {
    let mut stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    stack.cancel(job).await;
    stack.restart().await;
    let holds = [held(&run, RunPhase::Started)];
    node.register(&stack, &holds).await.unwrap();
    assert_eq!(node.renew(&stack, 1, &holds).await.unwrap().cancel, std::slice::from_ref(&run));
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
}

#[tokio::test]
async fn a_pause_starts_nothing_and_says_so() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    stack.admin().pause(PauseRequest::default()).await.unwrap();
    let job = stack.enqueue().await;
    stack.waits(job, "paused by an operator").await;
    assert!(stack.admin().get_queue(GetQueueRequest {}).await.unwrap().into_inner().paused);
    assert_eq!(node.state().launches.len(), 0);
    stack.admin().resume(ResumeRequest::default()).await.unwrap();
    node.started(&stack, 1).await;
}

#[tokio::test]
async fn limits_hold_and_every_waiting_job_names_its_own() {
    let stack = Stack::start().await;
    let waiting = stack.enqueue().await;
    stack.waits(waiting, "no runner has registered").await;
    let broken = stack.enqueue_in("shop", "broken").await;
    stack.waits(broken, "missing.md: could not read").await;

    let node = Node::start(&stack, "n").await;
    node.started(&stack, 1).await;
    let first = stack.enqueue_in("narrow", "work").await;
    node.started(&stack, 2).await;
    let second = stack.enqueue_in("narrow", "work").await;
    stack.waits(second, "as many as its max_concurrency allows").await;
    let serial = stack.enqueue_in("serial", "work").await;
    let running = node.started(&stack, 3).await;
    let behind = stack.enqueue_in("serial", "work").await;
    stack.waits(behind, &format!("waits for job {serial}")).await;
    // The fourth place of four.
    stack.enqueue().await;
    node.started(&stack, 4).await;
    let fifth = stack.enqueue().await;
    stack.waits(fifth, "as many as ORCH_MAX_CONCURRENCY allows").await;

    node.ends(&running, stack.success());
    stack.reaches(serial, "done").await;
    let freed = node.launched(5).await.spec.unwrap().job_id;
    assert!([behind.0, fifth.0].contains(&freed), "{freed}");
    assert_eq!(stack.job(first).await.state.status(), JobStatus::Running);
    stack.check_invariants().await;
}

#[tokio::test]
async fn enqueue_checks_names_and_keeps_a_key_once() {
    let stack = Stack::start().await;
    let request = |project: &str, stage: &str, key: Option<&str>| EnqueueRequest {
        project: project.to_owned(),
        stage: stage.to_owned(),
        key: key.map(str::to_owned),
        prompt: Some("do this".to_owned()),
        ..EnqueueRequest::default()
    };
    let refused = stack.admin().enqueue(request("shopp", "work", None)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::InvalidArgument, "unknown project shopp: orch.toml has shop, narrow, serial")
    );
    let refused = stack.admin().enqueue(request("shop", "wrok", None)).await.unwrap_err();
    assert_eq!(refused.message(), "unknown stage wrok: orch.toml has work, broken");
    let first = stack.admin().enqueue(request("shop", "work", Some("k"))).await.unwrap().into_inner();
    let second = stack.admin().enqueue(request("shop", "work", Some("k"))).await.unwrap().into_inner();
    assert_eq!((second.id, first.created, second.created), (first.id, true, false));

    let node = Node::start(&stack, "n").await;
    let spec = node.launched(1).await.spec.unwrap();
    assert_eq!((spec.prompt.as_str(), spec.work_item.as_str()), ("do this", "k"));
}

#[tokio::test]
async fn a_drained_node_is_told_and_gets_nothing_more() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let unknown = DrainRunnerRequest { node: "m".to_owned() };
    assert_eq!(stack.admin().drain_runner(unknown).await.unwrap_err().code(), Code::NotFound);
    let reply = stack.admin().drain_runner(DrainRunnerRequest { node: "n".to_owned() }).await.unwrap();
    assert_eq!((reply.into_inner().live, node.state().drained), (3, true));
    let job = stack.enqueue().await;
    stack.waits(job, "draining").await;
    stack.waits_for_node("n", "draining").await;
}

#[tokio::test]
async fn a_refused_credential_holds_the_account_until_a_person_resumes_it() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let mut outcome = stack.overloaded();
    outcome.report.result.as_mut().unwrap().api_error_status = Some(401);
    node.ends(&run, outcome);
    stack.waits(job, "account default is held (auth)").await;
    let accounts = stack.admin().list_accounts(ListAccountsRequest {}).await.unwrap().into_inner().accounts;
    assert_eq!(accounts[0].held_reason.as_deref(), Some("auth"));
    let resume = || ResumeAccountRequest { account: "default".to_owned() };
    stack.admin().resume_account(resume()).await.unwrap();
    assert_eq!(stack.admin().resume_account(resume()).await.unwrap_err().code(), Code::NotFound);
    node.started(&stack, 2).await;
    assert_eq!(stack.job(job).await.budgets, Budgets::default());
}

#[tokio::test]
async fn followed_logs_go_on_through_retries_until_the_job_is_over() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let mut frames = stack.stream_logs(job, true).await;
    let first = node.started(&stack, 1).await;
    node.prints(&first, bytes(0, "one"));
    let frame = |run: &proto::v1::RunKey, offset, text: &str| LogFrame {
        run_id: run.run_id.clone(),
        offset,
        data: text.to_owned().into(),
        gap_bytes: 0,
    };
    assert_eq!(frames.message().await.unwrap(), Some(frame(&first, 0, "one")));
    node.ends(&first, domain::Outcome { log_bytes: 3, ..stack.ended_by(EndedBy::ShimLost) });
    let second = node.started(&stack, 2).await;
    node.prints(&second, bytes(0, "two"));
    assert_eq!(frames.message().await.unwrap(), Some(frame(&second, 0, "two")));
    node.ends(&second, domain::Outcome { log_bytes: 5, ..stack.success() });
    let gap = LogFrame { gap_bytes: 2, ..frame(&second, 3, "") };
    assert_eq!(frames.message().await.unwrap(), Some(gap.clone()));
    assert_eq!(frames.message().await.unwrap(), None);

    let mut all = stack.stream_logs(job, false).await;
    let mut whole = Vec::new();
    while let Some(frame) = all.message().await.unwrap() {
        whole.push(frame);
    }
    assert_eq!(whole, [frame(&first, 0, "one"), frame(&second, 0, "two"), gap]);
}

#[tokio::test]
async fn health_and_readiness_are_on_the_same_port() {
    let stack = Stack::start().await;
    let request = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(stack.channel()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status, 1);
    eventually("readiness", async || {
        let (head, body) = stack.http_get("/readyz").await;
        (head.starts_with("HTTP/1.1 200") && body.contains("\"ready\":true")).then_some(())
    })
    .await;
    let metrics = stack.http_get("/metrics").await.1;
    let names: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    assert!(names.contains("orch_claims_total") && names.contains("orch_late_outcomes_total"), "{names:?}");
}

#[tokio::test]
async fn a_broken_orch_toml_is_shown_until_it_is_mended_and_the_one_before_goes_on() {
    let stack = Stack::start().await;
    let path = stack.folder.path().join("orch.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let shown = async || {
        let queue = stack.admin().get_queue(proto::v1::GetQueueRequest {}).await.unwrap().into_inner();
        queue.config_error
    };
    assert_eq!(shown().await, None);
    std::fs::write(&path, format!("{good}\n[[project]]\nnam = \"shop\"\n")).unwrap();
    let error = eventually("the fault", async || shown().await).await;
    assert!(error.contains("orch.toml: line") && error.contains("`nam`"), "{error}");
    let node = Node::start(&stack, "n").await;
    stack.enqueue().await;
    node.started(&stack, 1).await;
    std::fs::write(&path, good).unwrap();
    eventually("no fault", async || shown().await.is_none().then_some(())).await;
    stack.stop().await;
}
