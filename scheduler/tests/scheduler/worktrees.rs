//! What a node is told of a repository, and which of its work items are over.

use proto::v1::{EnqueueRequest, HeadRule, ItemKey, SettledRequest};
use tonic::Code;

use crate::fake::Node;
use crate::stack::Stack;

const ORCH_TOML: &str = r#"
[[project]]
name = "shop"
gitea_repo = "acme/shop"
clone_url = "https://git.example/acme/shop.git"
[project.hooks]
after_create = "npm ci"
before_run = ["./prepare", "--fast"]
timeout = "90s"
[[project]]
name = "plain"
[[stage]]
name = "work"
role = "developer"
prompt = "work.md"
[[stage]]
name = "review"
role = "reviewer"
prompt = "work.md"
gate = ["verdict"]
on_fail = "work"
"#;

async fn start() -> (Stack, Node) {
    let stack = Stack::start_with(|options| {
        std::fs::write(&options.config, ORCH_TOML).unwrap();
        options
    })
    .await;
    let node = Node::start(&stack, "n").await;
    (stack, node)
}

async fn enqueue(stack: &Stack, project: &str, stage: &str, work_item: &str) {
    let request = EnqueueRequest {
        project: project.to_owned(),
        stage: stage.to_owned(),
        work_item: Some(work_item.to_owned()),
        ..EnqueueRequest::default()
    };
    stack.admin().enqueue(request).await.unwrap();
}

#[tokio::test]
async fn a_launch_carries_what_a_worktree_needs_and_nothing_where_there_is_none() {
    let (stack, node) = start().await;
    enqueue(&stack, "shop", "work", "SHOP-1").await;
    let repository = node.launched(1).await.spec.unwrap().repository.unwrap();
    assert_eq!(repository.clone_url, "https://git.example/acme/shop.git");
    assert_eq!((repository.branch.as_str(), &repository.base), ("orch/SHOP-1", &None));
    assert_eq!(repository.head_rule(), HeadRule::Contains);
    let hooks = repository.hooks.unwrap();
    assert_eq!(hooks.after_create, ["/bin/sh", "-c", "npm ci"]);
    assert_eq!(
        (hooks.before_run, hooks.after_run),
        (vec!["./prepare".to_owned(), "--fast".to_owned()], vec![])
    );
    assert_eq!(hooks.timeout_ms, 90_000);

    enqueue(&stack, "shop", "work", "acme/shop#7").await;
    let own = node.launched(2).await.spec.unwrap().repository.unwrap();
    assert_eq!((own.branch.as_str(), own.head_rule()), ("orch/acme/shop#7", HeadRule::BeginsAt));
    enqueue(&stack, "shop", "review", "SHOP-2; rm -rf /").await;
    let judged = node.launched(3).await.spec.unwrap().repository.unwrap();
    assert_eq!(judged.branch, "orch/SHOP-2+3b+20rm+20-rf+20+2f++f0");
    assert_eq!(judged.head_rule(), HeadRule::Exactly);
    enqueue(&stack, "plain", "work", "PLAIN-1").await;
    assert_eq!(node.launched(4).await.spec.unwrap().repository, None);
    stack.stop().await;
}

#[tokio::test]
async fn only_items_that_are_done_or_cancelled_are_over() {
    let (stack, node) = start().await;
    enqueue(&stack, "plain", "work", "PLAIN-1").await;
    let run = node.started(&stack, 1).await;
    enqueue(&stack, "plain", "work", "PLAIN-2").await;
    node.ends(&run, stack.success());
    node.acked(&run).await;
    let key = |work_item: &str| ItemKey { project: "plain".to_owned(), work_item: work_item.to_owned() };
    let request = SettledRequest {
        node_id: node.id.clone(),
        incarnation: node.incarnation,
        session: node.session.clone(),
        items: vec![key("PLAIN-1"), key("PLAIN-2"), key("nobody's")],
    };
    let told = stack.scheduler().settled(request.clone()).await.unwrap().into_inner().over;
    let over: Vec<_> = told.iter().map(|item| item.item.clone().unwrap()).collect();
    assert_eq!(over, [key("PLAIN-1")]);
    assert_eq!(told[0].since_ms, stack.clock.now_ms());

    let stranger = SettledRequest { session: "another".to_owned(), ..request.clone() };
    assert_eq!(stack.scheduler().settled(stranger).await.unwrap_err().code(), Code::Aborted);
    let items = vec![key("x"); 201];
    let many = stack.scheduler().settled(SettledRequest { items, ..request }).await.unwrap_err();
    assert_eq!(many.code(), Code::InvalidArgument);
    stack.stop().await;
}
