//! The two endpoints over real sockets and a real database: every launch point, and what came before.

mod common;

use std::time::Duration;

use common::documents::{CONFIG, SHA, STATE, comment, issue, pull_request, push, review, status};
use common::{Ingest, Reply, gitea, plane, refused};
use domain::delivery::{About, NewJob, Payload};
use domain::job::Origin;
use domain::work_item::head_key;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn each_launch_point_makes_its_job() {
    let ingest = Ingest::start(CONFIG).await;
    let replies = [
        plane(&ingest, 1, &issue("created", Value::Null, Value::Null)).await,
        plane(&ingest, 2, &issue("updated", json!("state_id"), json!(STATE))).await,
        plane(&ingest, 3, &comment()).await,
        plane(&ingest, 4, &issue("updated", json!("label_ids"), json!(["l1"]))).await,
        gitea(&ingest, "push", 5, &push()).await,
        gitea(&ingest, "pull_request", 6, &pull_request("opened", "Fix")).await,
        gitea(&ingest, "pull_request_review_rejected", 7, &review("no")).await,
        gitea(&ingest, "status", 8, &status("success")).await,
    ];
    for reply in &replies {
        assert_eq!((reply.status, reply.decision(), reply.jobs()), (202, "enqueued", 1), "{reply:?}");
    }
    let mut made: Vec<(String, String)> =
        ingest.jobs().await.into_iter().map(|row| (row.job.work_item, row.job.stage)).collect();
    made.reverse();
    let expected = [
        ("SHOP-12", "one"),
        ("SHOP-12", "one"),
        ("SHOP-12", "one"),
        ("SHOP-12", "one"),
        ("acme/shop@feature/x", "one"),
        ("acme/shop#12", "one"),
        ("acme/shop#12", "one"),
        ("acme/shop#12", "two"),
    ];
    assert_eq!(made, expected.map(|(item, stage)| (item.to_owned(), stage.to_owned())));
    ingest.stop().await;
}

#[tokio::test]
async fn every_matching_trigger_starts_its_stage() {
    let ingest = Ingest::start(CONFIG).await;
    let reply = gitea(&ingest, "status", 1, &status("failure")).await;
    assert_eq!((reply.status, reply.jobs()), (202, 2), "{reply:?}");
    ingest.stop().await;
}

#[tokio::test]
async fn the_prompts_inputs_are_kept() {
    let ingest = Ingest::start(CONFIG).await;
    gitea(&ingest, "pull_request", 1, &pull_request("opened", "Fix\u{0}' OR 1=1; --")).await;
    let id = ingest.jobs().await[0].job.id;
    let payload = ingest.store.payload(id).await.unwrap().unwrap();
    assert_eq!(payload.title.as_deref(), Some("Fix\u{fffd}' OR 1=1; --"));
    assert_eq!(payload.body.as_deref(), Some("because"));
    assert_eq!(payload.url.as_deref(), Some("https://git.example/12"));
    assert_eq!(payload.author.as_deref(), Some("alice"));
    assert_eq!(payload.facts.get("head_sha").map(String::as_str), Some(SHA));
    assert_eq!(payload.event.unwrap()["pull_request"]["title"], "Fix\u{fffd}' OR 1=1; --");
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_are_one_job() {
    let ingest = Ingest::start(CONFIG).await;
    let document = pull_request("opened", "Fix");
    let posts = (0..50_u128).map(|number| gitea(&ingest, "pull_request", number / 2, &document));
    let replies = futures::future::join_all(posts).await;
    let enqueued = replies.iter().filter(|reply| reply.status == 202).count();
    let duplicates =
        replies.iter().filter(|reply| (reply.status, reply.decision()) == (200, "duplicate")).count();
    assert_eq!((enqueued, duplicates), (1, 49), "{replies:?}");
    assert!(replies.iter().all(|reply| reply.body["job_ids"] == replies[0].body["job_ids"]), "{replies:?}");
    assert_eq!(ingest.jobs().await.len(), 1);
    ingest.stop().await;
}

#[tokio::test]
async fn what_came_before_makes_no_second_job() {
    let ingest = Ingest::start(CONFIG).await;
    let first = gitea(&ingest, "pull_request", 1, &pull_request("opened", "Fix")).await;
    let same_id = gitea(&ingest, "pull_request", 1, &pull_request("opened", "Fix")).await;
    let same_body = gitea(&ingest, "pull_request", 2, &pull_request("opened", "Fix")).await;
    let same_event = gitea(&ingest, "pull_request", 3, &pull_request("opened", "Fix it")).await;
    let duplicate =
        Reply { status: 200, body: json!({"decision": "duplicate", "job_ids": first.body["job_ids"]}) };
    assert_eq!([same_id, same_body, same_event], [duplicate.clone(), duplicate.clone(), duplicate]);

    let conflict = gitea(&ingest, "pull_request", 1, &pull_request("opened", "Other")).await;
    assert_eq!(
        conflict,
        refused(
            409,
            "this delivery id came before with another body: nothing was changed, send it under a new id"
        )
    );
    let second_rejection = [
        gitea(&ingest, "pull_request_review_rejected", 4, &review("no")).await,
        gitea(&ingest, "pull_request_review_rejected", 5, &review("still no")).await,
    ];
    assert_eq!(second_rejection.map(|reply| reply.status), [202, 202]);
    assert_eq!(ingest.jobs().await.len(), 3);
    ingest.stop().await;
}

#[tokio::test]
async fn what_was_ignored_is_looked_at_again_once_the_configuration_is_mended() {
    let ingest = Ingest::start(&CONFIG.replace("feature/*", "elsewhere")).await;
    let ignored = gitea(&ingest, "push", 1, &push()).await;
    assert_eq!(ignored, Reply { status: 200, body: json!({"decision": "ignored", "job_ids": []}) });
    std::fs::write(&ingest.config, CONFIG).unwrap();
    let mended = async {
        loop {
            let reply = gitea(&ingest, "push", 1, &push()).await;
            if reply.status == 202 {
                return reply;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mended = tokio::time::timeout(Duration::from_secs(20), mended).await.expect("the file is reloaded");
    assert_eq!((mended.decision(), mended.jobs()), ("enqueued", 1));
    ingest.stop().await;
}

#[tokio::test]
async fn our_own_and_foreign_events() {
    let ingest = Ingest::start(CONFIG).await;
    let mut own = push();
    own["sender"]["id"] = json!(42);
    assert_eq!(gitea(&ingest, "push", 1, &own).await.decision(), "ignored");
    let mut foreign = push();
    foreign["repository"]["full_name"] = json!("eve/shop");
    let unknown = "no project here is configured for this repository or workspace: add it to orch.toml";
    assert_eq!(gitea(&ingest, "push", 2, &foreign).await, refused(403, unknown));
    let mut elsewhere = issue("created", Value::Null, Value::Null);
    elsewhere["data"]["project"] = json!(STATE);
    assert_eq!(plane(&ingest, 3, &elsewhere).await, refused(403, unknown));
    elsewhere["workspace_id"] = json!(STATE);
    assert_eq!(plane(&ingest, 4, &elsewhere).await, refused(403, unknown));
    assert_eq!(ingest.jobs().await, []);
    ingest.stop().await;
}

#[tokio::test]
async fn the_scheduler_is_told_of_new_jobs() {
    let scheduler = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", scheduler.local_addr().unwrap());
    let ingest = Ingest::start_nudging(CONFIG, &url).await;
    assert_eq!(gitea(&ingest, "push", 1, &push()).await.status, 202);
    let (mut call, _) =
        tokio::time::timeout(Duration::from_secs(20), scheduler.accept()).await.unwrap().unwrap();
    let mut preface = [0; 14];
    call.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0");
    ingest.stop().await;
}

/// The built-in triggers for a project of that name.
const BUILT_IN: &str = "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\n";

#[tokio::test]
async fn red_tests_and_the_pipelines_own_advance_are_one_testing_job_whichever_comes_first() {
    let ingest = Ingest::start(BUILT_IN).await;
    gitea(&ingest, "pull_request", 1, &pull_request("opened", "Fix")).await;
    // Red first: the review is not over, and its end finds the job.
    let red = gitea(&ingest, "status", 2, &status("failure")).await;
    assert_eq!((red.status, red.jobs()), (202, 1), "{red:?}");
    let review = ingest.jobs().await.last().unwrap().job.clone();
    assert_eq!((review.stage.as_str(), review.work_item.as_str()), ("review", "acme/shop#12"));
    let found = ingest.store.enqueue(advance(&review), review.created_at).await.unwrap();
    assert!(!found.fresh);
    assert_eq!(red.body["job_ids"], json!([found.job.0]));

    let stages: Vec<String> = ingest.jobs().await.into_iter().map(|row| row.job.stage).collect();
    assert_eq!(stages, ["testing", "review"]);
    ingest.stop().await;

    // The advance first: tests are red while its job waits.
    let ingest = Ingest::start(BUILT_IN).await;
    gitea(&ingest, "pull_request", 1, &pull_request("opened", "Fix")).await;
    let review = ingest.jobs().await.last().unwrap().job.clone();
    let made = ingest.store.enqueue(advance(&review), review.created_at).await.unwrap();
    assert!(made.fresh);
    let mut red = status("failure");
    let joined = gitea(&ingest, "status", 2, &red).await;
    assert_eq!((joined.decision(), &joined.body["job_ids"]), ("duplicate", &json!([made.job.0])));
    // The same words again, in another body: told before.
    red["description"] = json!("3 of 8 failed");
    let again = gitea(&ingest, "status", 3, &red).await;
    assert_eq!((again.decision(), &again.body["job_ids"]), ("duplicate", &json!([made.job.0])));
    let stages: Vec<String> = ingest.jobs().await.into_iter().map(|row| row.job.stage).collect();
    assert_eq!(stages, ["testing", "review"]);
    ingest.stop().await;
}

/// What the pipeline makes when this review passes.
fn advance(review: &domain::Job) -> NewJob {
    NewJob {
        project: review.project.clone(),
        work_item: review.work_item.clone(),
        stage: "testing".into(),
        role: "tester".into(),
        priority: 0,
        available_at: review.created_at,
        semantic_key: Some(head_key(&review.project, &review.work_item, "testing", SHA)),
        payload: Payload::default(),
        trace_context: None,
        origin: Origin { parent: Some(review.id), hops: 1, head: Some(SHA.into()), ..Origin::default() },
        about: About::default(),
        budgets: domain::Budgets::default(),
    }
}
