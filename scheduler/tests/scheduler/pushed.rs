//! A run that pushed and opened a pull request: its item goes on once, whether the webhook of the same fact comes before
//! the end of the run, after it, or never.

use domain::delivery::{Accepted, NewDelivery, NewJob, Payload};
use domain::job::Origin;
use domain::launch::{self, Facts, LaunchEvent, Subject};
use domain::pipeline::{self, LaunchPoint, PullRequestAction, Trust};
use domain::steps::{PullRequest, StepFacts, StepKind, StepState};
use domain::{Budgets, JobId, Outcome};
use proto::v1::{EnqueueRequest, ListItemsRequest};
use store::JobFilter;

use crate::fake::Node;
use crate::stack::Stack;

const ORCH_TOML: &str = r#"
[[project]]
name = "shop"
gitea_repo = "acme/shop"
clone_url = "https://git.example/acme/shop.git"
[[stage]]
name = "development"
role = "developer"
prompt = "work.md"
on_pass = "review"
pull_request = true
[[stage]]
name = "review"
role = "reviewer"
prompt = "work.md"
gate = ["verdict"]
[[trigger]]
on = "gitea.pull_request"
stage = "review"
"#;

const HEAD: &str = "1111111111111111111111111111111111111111";

fn pushed(stack: &Stack) -> Outcome {
    let outcome = stack.success();
    let facts = |step| StepFacts {
        step,
        state: StepState::Done,
        evidence: String::new(),
        branch: Some("orch/SHOP-1".to_owned()),
        head: Some(HEAD.to_owned()),
        pull_request: None,
        began_at: outcome.ended_at,
        ended_at: outcome.ended_at,
    };
    let opened = PullRequest { repo: "acme/shop".to_owned(), number: 12, url: "http://f/12".to_owned() };
    let pull = StepFacts { pull_request: Some(opened), ..facts(StepKind::PullRequest) };
    Outcome { steps: vec![facts(StepKind::Push), pull], ..outcome }
}

/// The job that the forge's word of the opened pull request asks for.
fn webhook(stack: &Stack) -> NewDelivery {
    let pipeline = pipeline::parse(ORCH_TOML).unwrap();
    let (project, stage) = (&pipeline.projects[0], pipeline.stage("review").unwrap());
    let event = LaunchEvent {
        point: LaunchPoint::GiteaPullRequest,
        subject: Subject::PullRequest { number: 12, own_head: Some("orch/SHOP-1".to_owned()) },
        actor: None,
        trust: Trust::Member,
        facts: Facts { action: Some(PullRequestAction::Opened), ..Facts::default() },
        head: Some(HEAD.to_owned()),
        semantic_key: "gitea.pull_request:acme/shop#12".to_owned(),
        sighting: None,
    };
    let work_item = launch::work_item_key(project, &event.subject);
    let job = NewJob {
        project: project.name.clone(),
        stage: stage.name.clone(),
        role: stage.role.clone(),
        priority: 0,
        available_at: stack.success().ended_at,
        semantic_key: Some(launch::semantic_key(project, &event, &work_item, stage)),
        payload: Payload::default(),
        trace_context: None,
        origin: Origin {
            delivery: Some("gitea:d".to_owned()),
            head: event.head.clone(),
            ..Origin::default()
        },
        about: launch::about(project, &event, stage),
        budgets: Budgets::default(),
        work_item,
    };
    NewDelivery {
        source: "gitea".to_owned(),
        delivery_id: "00000000-0000-4000-8000-00000000000d".to_owned(),
        event: "pull_request".to_owned(),
        body_sha256: "a".repeat(64),
        received_at: stack.success().ended_at,
        jobs: vec![job],
        sightings: Vec::new(),
    }
}

#[tokio::test]
async fn an_opened_pull_request_is_one_review_in_every_order() {
    for order in ["webhook first", "advance first", "no webhook"] {
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
        let spec = node.launched(1).await.spec.unwrap();
        let steps = spec.steps.unwrap();
        assert!(steps.push && steps.pull_request.unwrap().repo == "acme/shop" && !steps.asks_verdict);
        let run = node.started(&stack, 1).await;
        if order == "webhook first" {
            let accepted = stack.store.accept(webhook(&stack)).await.unwrap();
            assert!(matches!(accepted, Accepted::Enqueued { .. }), "{accepted:?}");
        }
        node.ends(&run, pushed(&stack));
        node.acked(&run).await;
        stack.reaches(JobId(spec.job_id), "done").await;
        if order == "advance first" {
            let accepted = stack.store.accept(webhook(&stack)).await.unwrap();
            assert_eq!(accepted, Accepted::Duplicate { jobs: vec![JobId(2)] });
        }
        let review = node.launched(2).await.spec.unwrap();
        assert_eq!((review.stage.as_str(), review.work_item.as_str()), ("review", "SHOP-1"), "{order}");
        assert_eq!(review.repository.unwrap().head.as_deref(), Some(HEAD));
        let filter = JobFilter::newest(100);
        assert_eq!(stack.store.jobs(filter).await.unwrap().len(), 2, "{order}");
        let items = stack.admin().list_items(ListItemsRequest::default()).await.unwrap().into_inner().items;
        let shown: Vec<_> = items.iter().map(|item| (item.key.as_str(), item.stage.as_str())).collect();
        assert_eq!(shown, [("SHOP-1", "review")], "{order}");
        assert_eq!(items[0].head.as_deref(), Some(HEAD));
        let runs = stack.store.runs_of(JobId(1)).await.unwrap();
        assert_eq!(runs[0].steps, pushed(&stack).steps);
        stack.check_invariants().await;
        stack.stop().await;
    }
}
