//! A work item on its way through the pipeline: verdicts, bounces, the turn for the form, a person's word.

use domain::outcome::ResultEvent;
use domain::{JobId, Outcome, Status as JobStatus};
use proto::v1::{DecideItemRequest, EnqueueRequest, ListItemsRequest, PauseRequest, ResumeRequest, WorkItem};
use store::JobFilter;
use tonic::Code;

use crate::fake::Node;
use crate::stack::{Stack, eventually};

const ORCH_TOML: &str = r#"
[[project]]
name = "shop"
[[stage]]
name = "development"
role = "developer"
prompt = "work.md"
gate = ["verdict"]
on_pass = "review"
[[stage]]
name = "review"
role = "reviewer"
prompt = "work.md"
gate = ["verdict"]
on_pass = "deploy"
on_fail = "development"
max_bounces = 1
[[stage]]
name = "deploy"
role = "deployer"
prompt = "work.md"
gate = ["verdict", "approval"]
"#;

async fn start() -> (Stack, Node) {
    let stack = Stack::start_with(|options| {
        std::fs::write(&options.config, ORCH_TOML).unwrap();
        options
    })
    .await;
    let node = Node::start(&stack, "n").await;
    let request = EnqueueRequest {
        project: "shop".to_owned(),
        stage: "development".to_owned(),
        work_item: Some("SHOP-1".to_owned()),
        ..EnqueueRequest::default()
    };
    stack.admin().enqueue(request).await.unwrap();
    (stack, node)
}

fn says(stack: &Stack, message: &str) -> Outcome {
    let mut outcome = stack.success();
    let result = outcome.report.result.take().unwrap();
    outcome.report.result = Some(ResultEvent { text: message.to_owned(), ..result });
    outcome
}

fn block(verdict: &str) -> String {
    format!(
        "I did it.\n\n```json\n{{\"verdict\": \"{verdict}\", \"summary\": \"looked at it\", \"findings\": [\"a.rs:3 panics\"]}}\n```"
    )
}

/// Runs the `count`-th launch to its end with this final message; gives its stage and prompt.
async fn ends(stack: &Stack, node: &Node, count: usize, message: &str) -> (String, String) {
    let spec = node.launched(count).await.spec.unwrap();
    let run = node.started(stack, count).await;
    node.ends(&run, says(stack, message));
    node.acked(&run).await;
    stack.reaches(JobId(spec.job_id), "done").await;
    (spec.stage, spec.prompt)
}

async fn item(stack: &Stack) -> WorkItem {
    let items = stack.admin().list_items(ListItemsRequest::default()).await.unwrap().into_inner().items;
    assert_eq!(items.len(), 1);
    items.into_iter().next().unwrap()
}

async fn stages(stack: &Stack) -> Vec<String> {
    let filter = JobFilter::newest(100);
    let mut jobs = stack.store.jobs(filter).await.unwrap();
    jobs.reverse();
    jobs.into_iter().map(|row| format!("{} {}", row.job.origin.kind.as_str(), row.job.stage)).collect()
}

fn word(note: &str) -> DecideItemRequest {
    DecideItemRequest {
        item: "SHOP-1".to_owned(),
        note: Some(note.to_owned()),
        ..DecideItemRequest::default()
    }
}

#[tokio::test]
async fn an_item_goes_its_way_to_a_persons_word() {
    let (mut stack, node) = start().await;
    let (stage, prompt) = ends(&stack, &node, 1, &block("pass")).await;
    assert_eq!(stage, "development");
    assert!(prompt.ends_with(domain::verdict::INSTRUCTIONS), "{prompt}");
    assert_eq!(ends(&stack, &node, 2, &block("fail")).await.0, "review");
    // The findings come along, and a scheduler that starts anew goes on where the item is: paused, so that what follows
    // is not offered to a node that then says it holds nothing.
    node.launched(3).await;
    stack.admin().pause(PauseRequest::default()).await.unwrap();
    let (stage, prompt) = ends(&stack, &node, 3, &block("pass")).await;
    assert_eq!(stage, "development");
    assert!(prompt.contains("the stage review said: fail"), "{prompt}");
    assert!(prompt.contains("to be mended:\n- a.rs:3 panics"), "{prompt}");
    stack.restart().await;
    node.register(&stack, &[]).await.unwrap();
    stack.admin().resume(ResumeRequest::default()).await.unwrap();
    assert_eq!(ends(&stack, &node, 4, &block("pass")).await.0, "review");
    assert_eq!(ends(&stack, &node, 5, &block("pass")).await.0, "deploy");

    let waits = item(&stack).await;
    assert_eq!((waits.state.as_str(), waits.needs.unwrap().why.as_str()), ("needs_you", "approval"));
    let queue = stack.admin().get_queue(proto::v1::GetQueueRequest {}).await.unwrap().into_inner();
    assert_eq!(queue.needs_you.len(), 1);
    let approved = stack.admin().approve_item(word("fine")).await.unwrap().into_inner().item.unwrap();
    assert_eq!((approved.state.as_str(), approved.hops), ("done", 5));
    let again = stack.admin().approve_item(word("fine")).await.unwrap_err();
    assert_eq!(
        (again.code(), again.message()),
        (Code::FailedPrecondition, "work item SHOP-1 is done and waits for nobody")
    );
    let way =
        ["development", "review", "development", "review", "deploy"].map(|stage| format!("stage {stage}"));
    assert_eq!(stages(&stack).await, way);
    stack.check_invariants().await;
    stack.stop().await;
}

#[tokio::test]
async fn prose_is_asked_for_the_form_once_and_then_a_person_is() {
    let (stack, node) = start().await;
    ends(&stack, &node, 1, "PASS! Everything works.").await;
    let (stage, prompt) = ends(&stack, &node, 2, "I said that it passes.").await;
    assert_eq!(stage, "development");
    // The conversation that is gone on with has what was said.
    let resumed = node.launched(2).await.spec.unwrap().resume_session;
    assert!(resumed.is_some() && !prompt.contains("Everything works."), "{resumed:?} {prompt}");
    let waits = item(&stack).await;
    assert_eq!((waits.state.as_str(), waits.needs.unwrap().why.as_str()), ("needs_you", "unreadable"));
    assert_eq!(stages(&stack).await, ["stage development", "reformat development"]);
    let rejected = stack.admin().reject_item(word("no")).await.unwrap().into_inner().item.unwrap();
    assert_eq!(rejected.state, "cancelled");
    stack.stop().await;
}

#[tokio::test]
async fn what_is_cancelled_goes_nowhere_even_when_it_succeeds() {
    let (stack, node) = start().await;
    let run = node.started(&stack, 1).await;
    let job = JobId(node.launched(1).await.spec.unwrap().job_id);
    stack.cancel(job).await;
    node.ends(&run, says(&stack, &block("pass")));
    node.acked(&run).await;
    assert_eq!(stack.job(job).await.state.status(), JobStatus::Done);
    assert_eq!((item(&stack).await.state.as_str(), stages(&stack).await.len()), ("cancelled", 1));
    stack.stop().await;
}

#[tokio::test]
async fn a_job_that_is_given_up_needs_a_person_and_its_retry_goes_on() {
    let (stack, node) = start().await;
    let run = node.started(&stack, 1).await;
    let job = JobId(node.launched(1).await.spec.unwrap().job_id);
    node.ends(&run, stack.max_turns());
    node.acked(&run).await;
    stack.reaches(job, "failed").await;
    assert_eq!(item(&stack).await.needs.unwrap().why, "job_failed");
    let refused = stack.admin().approve_item(word("")).await.unwrap_err();
    assert!(refused.message().contains("`orch retry 1`"), "{}", refused.message());
    stack.admin().retry_job(proto::v1::RetryJobRequest { id: job.0 }).await.unwrap();
    ends(&stack, &node, 2, &block("pass")).await;
    eventually("the review", async || (stages(&stack).await.len() == 2).then_some(())).await;
    assert_eq!(item(&stack).await.stage, "review");
    let unknown =
        stack.admin().approve_item(DecideItemRequest { item: "SHOP-9".to_owned(), ..word("") }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    stack.stop().await;
}
