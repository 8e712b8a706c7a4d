//! What follows from a job whose run pushed a commit, opened a pull request, or ran a gate that failed.

use super::*;
use crate::pipeline::Gate;
use crate::steps::{PullRequest, StepFacts, StepFault, StepKind, StepState};

const SHOP: &str = r#"
[[project]]
name = "shop"
gitea_repo = "acme/shop"
clone_url = "https://git.example/acme/shop.git"
"#;

fn facts(step: StepKind) -> StepFacts {
    StepFacts {
        step,
        state: StepState::Done,
        evidence: String::new(),
        branch: None,
        head: None,
        pull_request: None,
        began_at: NOW,
        ended_at: NOW,
    }
}

fn pushed(head: &str) -> [StepFacts; 2] {
    let opened = PullRequest { repo: "acme/shop".to_owned(), number: 12, url: String::new() };
    [
        StepFacts { head: Some(head.to_owned()), ..facts(StepKind::Push) },
        StepFacts { pull_request: Some(opened), ..facts(StepKind::PullRequest) },
    ]
}

fn ends_with(pipeline: &Pipeline, item: &WorkItem, verdict: Verdict, steps: &[StepFacts]) -> ItemChange {
    let (job, payload) = (job("development"), Payload::default());
    let scene = Scene { item, job: &job, payload: &payload, pipeline, now: NOW };
    step(&scene, JobEnd::Done { verdict, message: "done", steps })
}

#[test]
fn an_opened_pull_request_leads_on_under_the_key_of_its_webhook() {
    let pipeline = parse(SHOP).unwrap();
    let change = ends_with(&pipeline, &item("development"), read("no block"), &pushed(H1));
    assert_eq!(told(&change), format!("stage review head:shop:SHOP-1:review:{H1}"));
    assert_eq!(change.after.head.as_deref(), Some(H1));
    assert_eq!(change.aliases, ["acme/shop#12".to_owned(), format!("acme/shop@{H1}")]);
    let next = change.next.unwrap();
    assert_eq!((next.origin.head.as_deref(), next.payload.results[0].head.as_deref()), (Some(H1), Some(H1)));
    // What was pushed counts, whatever commit the agent named.
    let lied = ends_with(&pipeline, &item("development"), Verdict::Pass(report(Some(H2))), &pushed(H1));
    assert_eq!(lied.after.head.as_deref(), Some(H1));
    let own = WorkItem { key: "acme/shop#12".to_owned(), ..item("development") };
    let own = ends_with(&pipeline, &own, pass(), &pushed(H1));
    assert_eq!(own.aliases, [format!("acme/shop@{H1}")]);
}

#[test]
fn where_nobody_pushes_the_way_on_is_the_webhook_alone() {
    for without in ["gitea_repo", "clone_url"] {
        let text: String = SHOP
            .lines()
            .filter(|line| !line.starts_with(without))
            .fold(String::new(), |text, line| text + line + "\n");
        let change = ends_with(&parse(&text).unwrap(), &item("development"), read("done"), &[]);
        assert_eq!(told(&change), "done", "{without}");
    }
}

#[test]
fn an_echo_that_came_first_is_only_confirmed() {
    let pipeline = parse(SHOP).unwrap();
    let moved = WorkItem { stage: "testing".to_owned(), head: Some(H1.to_owned()), ..item("development") };
    let change = ends_with(&pipeline, &moved, read("done"), &pushed(H1));
    assert_eq!((change.after.stage.as_str(), &change.after.state), ("testing", &ItemState::Active));
    let key = change.next.unwrap().semantic_key.unwrap();
    assert_eq!(key, head_key("shop", "SHOP-1", "review", H1));
}

#[test]
fn a_gate_that_fails_is_a_fail_with_its_words() {
    let text = r#"
[[stage]]
name = "development"
role = "developer"
prompt = "p.md"
gate = ["verdict", "command"]
command = { run = ["make"] }
push = true
on_pass = "review"
on_fail = "development"
[[stage]]
name = "review"
role = "reviewer"
prompt = "p.md"
"#;
    let pipeline = parse(text).unwrap();
    let stage = pipeline.stage("development").unwrap();
    assert!(stage.gates.contains(&Gate::Command) && !stage.judges(), "it makes commits");
    for fault in [StepFault::CommandFailed, StepFault::CommandTimeout, StepFault::NoCommits] {
        let gate = StepFacts {
            state: StepState::Failed { fault },
            evidence: "1 test failed\n".to_owned(),
            ..facts(StepKind::Command)
        };
        let change = ends_with(&pipeline, &item("development"), pass(), &[gate]);
        assert_eq!(told(&change), "stage development after:7:development");
        let result = &change.next.unwrap().payload.results[0];
        assert_eq!(
            (result.verdict.as_str(), result.findings.last().unwrap().as_str()),
            ("fail", "1 test failed")
        );
        assert_eq!(result.summary, fault.to_string());
    }
}

/// The built-in development has no `on_fail`: what was outrun is no failed work, and needs nobody before it was tried again.
#[test]
fn a_branch_that_somebody_else_moved_is_merged_by_the_same_stage() {
    let pipeline = parse(SHOP).unwrap();
    let push = StepFacts {
        state: StepState::Failed { fault: StepFault::RemoteMoved },
        evidence: "orch/SHOP-1 is x on the forge, which y does not contain".to_owned(),
        ..facts(StepKind::Push)
    };
    let mut item = item("development");
    let change = ends_with(&pipeline, &item, read("done"), std::slice::from_ref(&push));
    assert_eq!(told(&change), "stage development after:7:development");
    let result = &change.next.unwrap().payload.results[0];
    assert!(
        result.findings[0].contains("merge what is there") && result.findings[1].contains("orch/SHOP-1 is x")
    );
    // Not for ever.
    item.bounces.insert("development".to_owned(), BOUNCES_MAX);
    let change = ends_with(&pipeline, &item, read("done"), &[push]);
    assert_eq!(told(&change), "needs_you bounces");
}
