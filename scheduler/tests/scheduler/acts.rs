//! What people do: kept with who, from where and what came of it; parts paused; many jobs queued again; what runs do.

use proto::v1::{
    AuditEntry, CancelJobRequest, DecideItemRequest, ListAuditRequest, ListLiveRequest, PauseRequest,
    ResetBreakerRequest, ResumeRequest, RetryJobRequest, RetryJobsRequest,
};
use service::grpc::ActsAs;
use tonic::{Code, Request};

use crate::fake::{Node, bytes};
use crate::stack::{Stack, eventually};

#[tokio::test]
async fn what_somebody_does_is_kept_with_who_from_where_and_what_came_of_it() {
    let stack = Stack::start().await;
    let job = stack.enqueue().await;
    let mut cancel = Request::new(CancelJobRequest { id: job.0 });
    let who = ActsAs { by: Some("Ada Lövelace".into()), via: "console", from: Some("10.1.2.3".into()) };
    who.write(cancel.metadata_mut());
    stack.admin().cancel_job(cancel).await.unwrap();
    // Nobody says who.
    stack.admin().cancel_job(CancelJobRequest { id: job.0 }).await.unwrap_err();
    stack.admin().retry_job(RetryJobRequest { id: 999 }).await.unwrap_err();
    stack.admin().reset_breaker(ResetBreakerRequest { account: "default".into() }).await.unwrap();
    let unknown = DecideItemRequest { item: "SHOP-404".into(), by: Some("ada".into()), ..Default::default() };
    stack.admin().approve_item(unknown).await.unwrap_err();

    let shown = |entry: &AuditEntry| {
        let origin = entry.origin.as_deref().unwrap_or("nowhere");
        let AuditEntry { by, via, verb, subject, result, .. } = entry;
        format!("{by} {via} {origin}: {verb} {subject}: {result}")
    };
    let audit = async |request| stack.admin().list_audit(request).await.unwrap().into_inner().entries;
    let all = audit(ListAuditRequest::default()).await;
    let lines: Vec<String> = all.iter().map(shown).collect();
    assert_eq!(
        lines,
        [
            "operator grpc 127.0.0.1: approve SHOP-404: there is no work item SHOP-404: `orch items` lists them".to_owned(),
            "operator grpc 127.0.0.1: reset breaker default: done".to_owned(),
            "operator grpc 127.0.0.1: retry 999: there is no job 999: `orch jobs` lists them".to_owned(),
            format!("operator grpc 127.0.0.1: cancel {job}: {}", all[3].result),
            format!("Ada Lövelace console 10.1.2.3: cancel {job}: done"),
            "operator grpc 127.0.0.1: enqueue shop work: done".to_owned(),
        ]
    );
    assert!(all[3].result.contains("cancelled"), "{}", all[3].result);
    assert_eq!(all[5].note, Some(format!("job {job}")));
    let page = audit(ListAuditRequest { before: Some(all[1].id), limit: 2, subject: None }).await;
    assert_eq!(page, all[2..4]);
    let of_job = audit(ListAuditRequest { subject: Some(job.to_string()), ..Default::default() }).await;
    assert_eq!(of_job, all[3..5]);
    stack.stop().await;
}

#[tokio::test]
async fn a_paused_project_or_stage_starts_nothing_and_all_else_does() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let part = |project: Option<&str>, stage: Option<&str>| PauseRequest {
        project: project.map(str::to_owned),
        stage: stage.map(str::to_owned),
    };
    for wrong in [part(Some("nosuch"), None), part(None, Some("nosuch")), part(Some("shop"), Some("work"))] {
        assert_eq!(stack.admin().pause(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    stack.admin().pause(part(Some("shop"), None)).await.unwrap();
    let waiting = stack.enqueue().await;
    stack.waits(waiting, "project shop is paused by an operator").await;
    let other = stack.enqueue_in("narrow", "work").await;
    node.started(&stack, 1).await;
    stack.admin().pause(part(None, Some("work"))).await.unwrap();
    stack.admin().resume(ResumeRequest { project: Some("shop".into()), stage: None }).await.unwrap();
    stack.waits(waiting, "stage work is paused by an operator").await;
    stack.admin().resume(ResumeRequest { project: None, stage: Some("work".into()) }).await.unwrap();
    node.started(&stack, 2).await;
    assert_ne!(waiting, other);
    stack.stop().await;
}

#[tokio::test]
async fn many_jobs_are_queued_again_once_somebody_saw_which() {
    let stack = Stack::start().await;
    let (mut shop, mut narrow) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        shop.push(stack.enqueue().await);
    }
    narrow.push(stack.enqueue_in("narrow", "work").await);
    for job in shop.iter().chain(&narrow) {
        assert_eq!(stack.cancel(*job).await.status, "cancelled");
    }
    let cancelled = RetryJobsRequest {
        status: Some("cancelled".into()),
        project: Some("shop".into()),
        dry_run: true,
        ..Default::default()
    };
    let ask = async |request| stack.admin().retry_jobs(request).await.map(tonic::Response::into_inner);
    let newest_first: Vec<i64> = shop.iter().rev().map(|job| job.0).collect();
    let seen = ask(cancelled.clone()).await.unwrap();
    assert_eq!((seen.ids, seen.retried), (newest_first.clone(), 0));
    let done = ask(RetryJobsRequest { dry_run: false, ..cancelled.clone() }).await.unwrap();
    assert_eq!((done.ids, done.retried, done.refused), (newest_first, 3, 0));
    assert_eq!(ask(cancelled).await.unwrap().ids, [0; 0]);
    for job in shop {
        stack.reaches(job, "queued").await;
    }
    stack.reaches(narrow[0], "cancelled").await;
    for wrong in [("queued", None), ("failed", Some("yesterday"))] {
        let (status, since) = wrong;
        let request = RetryJobsRequest {
            status: Some(status.into()),
            since: since.map(str::to_owned),
            ..Default::default()
        };
        assert_eq!(ask(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let audit = stack.admin().list_audit(ListAuditRequest { limit: 1, ..Default::default() }).await.unwrap();
    let last = audit.into_inner().entries.remove(0);
    assert_eq!((last.verb.as_str(), last.subject.as_str()), ("retry many", "failed, since yesterday"));
    stack.stop().await;
}

#[tokio::test]
async fn what_a_live_run_does_is_told_until_it_is_over() {
    let stack = Stack::start().await;
    let node = Node::start(&stack, "n").await;
    let job = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let live = async || stack.admin().list_live(ListLiveRequest {}).await.unwrap().into_inner();
    let stages = live().await.stages;
    let named: Vec<(&str, f64)> =
        stages.iter().map(|stage| (stage.name.as_str(), stage.runtime_max_seconds)).collect();
    assert_eq!(named, [("work", 60.0), ("broken", 7200.0)]);
    let said = concat!(
        r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash","input":{"command":"cargo test"}}]}}"#,
        "\n"
    );
    node.prints(&run, bytes(0, said));
    let told = eventually("the phrase", async || live().await.runs.pop()).await;
    assert_eq!((told.run_id, told.phrase.as_deref()), (run.run_id.clone(), Some("Bash: cargo test")));
    node.ends(&run, stack.success());
    eventually("no live run", async || live().await.runs.is_empty().then_some(())).await;
    stack.reaches(job, "done").await;
    stack.stop().await;
}
