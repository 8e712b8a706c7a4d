use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use super::gitea::{ReviewState, Write, ZERO};
use super::{Fault, Gitea, Plane, Treat, plane};
use crate::harness::{Answer, send, sign, until};
use crate::receiver::Receiver;

const WITHIN: Duration = Duration::from_secs(20);
const SECRET: &str = "s";

fn addr(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

async fn ask(
    url: &str,
    (header, value): (&'static str, &str),
    method: Method,
    path: &str,
    body: Value,
) -> anyhow::Result<Answer> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(header), HeaderValue::from_str(value).unwrap());
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    send(addr(url), method, path, headers, body).await
}

async fn shop() -> Plane {
    let project = plane::Project {
        slug: "acme".to_owned(),
        workspace: Uuid::from_u128(1),
        id: Uuid::from_u128(2),
        identifier: "SHOP".to_owned(),
    };
    Plane::start(project).await.unwrap()
}

const OF_PROJECT: &str = "/api/v1/workspaces/acme/projects/00000000-0000-0000-0000-000000000002";

#[tokio::test]
async fn plane_takes_a_comment_once_and_says_so() {
    let plane = shop().await;
    let key = plane.create_issue(&plane.jane(), "Total is wrong", "<p>it is</p>");
    let path = format!("{OF_PROJECT}/work-items/{}/comments/", plane.issue(&key).id);
    let orch = plane.orch();
    let auth = ("x-api-key", orch.key.as_str());
    let body = json!({"comment_html": "<p>done</p>", "external_source": "orch", "external_id": "1"});
    let first = ask(&plane.url(), auth, Method::POST, &path, body.clone()).await.unwrap();
    assert_eq!(first.status, 201, "{first:?}");
    let again = ask(&plane.url(), auth, Method::POST, &path, body).await.unwrap();
    assert_eq!(again.status, 409);
    assert_eq!(again.json().unwrap()["id"], first.json().unwrap()["id"]);
    assert_eq!(plane.writes().len(), 1);
    assert_eq!(plane.comments(&key)[0].external, Some(("orch".to_owned(), "1".to_owned())));
}

#[tokio::test]
async fn plane_counts_requests_and_tells_keys_apart() {
    let plane = shop().await;
    plane.set_rate_limit(Some((2, Duration::from_mins(1))));
    let (orch, me) = (plane.orch(), "/api/v1/users/me/");
    let first = ask(&plane.url(), ("x-api-key", &orch.key), Method::GET, me, Value::Null).await.unwrap();
    assert_eq!(
        (first.status.as_u16(), &first.headers["x-ratelimit-remaining"]),
        (200, &"1".parse().unwrap())
    );
    assert_eq!(first.json().unwrap()["id"], json!(orch.id));
    ask(&plane.url(), ("x-api-key", &orch.key), Method::GET, me, Value::Null).await.unwrap();
    let third = ask(&plane.url(), ("x-api-key", &orch.key), Method::GET, me, Value::Null).await.unwrap();
    assert_eq!(third.status, 429);
    assert_eq!(third.json().unwrap(), json!({"error_code": 5900, "error_message": "RATE_LIMIT_EXCEEDED"}));
    assert!(
        third.headers.contains_key("retry-after") && !third.headers.contains_key("x-ratelimit-remaining")
    );
    let bad = ask(&plane.url(), ("x-api-key", "no"), Method::GET, me, Value::Null).await.unwrap();
    assert_eq!(bad.status, 403);
    let none = ask(&plane.url(), ("x-other", "no"), Method::GET, me, Value::Null).await.unwrap();
    assert_eq!(none.status, 401);
    let jane = plane.jane();
    let slashless =
        ask(&plane.url(), ("x-api-key", &jane.key), Method::GET, "/api/v1/users/me", Value::Null).await;
    assert_eq!(slashless.unwrap().status, 404);
}

#[tokio::test]
async fn plane_lists_pages_and_moves_issues() {
    let plane = shop().await;
    let (jane, orch) = (plane.jane(), plane.orch());
    let keys: Vec<String> = (0..3).map(|_| plane.create_issue(&jane, "t", "")).collect();
    let auth = ("x-api-key", orch.key.as_str());
    let id = plane.issue(&keys[0]).id;
    let done = json!({"state": plane.state_id("Done")});
    let moved = ask(&plane.url(), auth, Method::PATCH, &format!("{OF_PROJECT}/work-items/{id}/"), done)
        .await
        .unwrap();
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!(plane.state_of(&keys[0]), "Done");

    let mut seen = Vec::new();
    let mut cursor = "2:0:0".to_owned();
    loop {
        let path = format!("{OF_PROJECT}/work-items/?order_by=-updated_at&per_page=2&cursor={cursor}");
        let page = ask(&plane.url(), auth, Method::GET, &path, Value::Null).await.unwrap().json().unwrap();
        seen.extend(page["results"].as_array().unwrap().iter().map(|issue| issue["sequence_id"].clone()));
        if page["next_page_results"] != true {
            break;
        }
        page["next_cursor"].as_str().unwrap().clone_into(&mut cursor);
    }
    assert_eq!(seen, [json!(1), json!(3), json!(2)]);
    let by_key = "/api/v1/workspaces/acme/work-items/SHOP-2/";
    let found = ask(&plane.url(), auth, Method::GET, by_key, Value::Null).await.unwrap();
    assert_eq!(found.json().unwrap()["id"], json!(plane.issue("SHOP-2").id));
    plane.delete_issue("SHOP-2");
    let gone = ask(&plane.url(), auth, Method::GET, by_key, Value::Null).await.unwrap();
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn webhooks_are_signed_missed_doubled_and_reordered() {
    let (plane, ingest) = (shop().await, Receiver::start().await.unwrap());
    plane.hooks().send_to(addr(&ingest.url()), SECRET);
    let jane = plane.jane();
    plane.hooks().next("issue", Treat::Miss);
    let key = plane.create_issue(&jane, "missed", "");
    plane.hooks().next("", Treat::Later);
    plane.comment(&jane, &key, "<p>second</p>");
    plane.move_issue(&jane, &key, "In Progress");
    plane.hooks().next("issue", Treat::Twice);
    plane.label_issue(&jane, &key, &["agent"]);
    until(
        "every webhook is dealt with",
        WITHIN,
        async || Ok((plane.hooks().sent().len() == 4).then_some(())),
    )
    .await
    .unwrap();
    let seen = ingest.seen();
    let what = |seen: &crate::receiver::Seen| {
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        (body["event"].clone(), body["activity"]["field"].clone())
    };
    assert_eq!(
        seen.iter().map(what).collect::<Vec<_>>(),
        [
            (json!("issue"), json!("state_id")),
            (json!("issue_comment"), Value::Null),
            (json!("issue"), json!("label_ids")),
            (json!("issue"), json!("label_ids")),
        ]
    );
    for one in &seen {
        assert_eq!(one.headers["x-plane-signature"], sign(SECRET, &one.body));
    }
    assert_eq!(seen[2].body, seen[3].body);
    assert_ne!(seen[2].headers["x-plane-delivery"], seen[3].headers["x-plane-delivery"]);
}

#[tokio::test]
async fn gitea_takes_statuses_comments_and_pull_requests() {
    let gitea = Gitea::start("acme/shop").await.unwrap();
    let (jane, orch) = (gitea.jane(), gitea.orch());
    let head = format!("{:040x}", 7);
    gitea.push(&jane, "orch/SHOP-1", &head);
    let token = format!("token {}", orch.token);
    let post = |path: &'static str, body: Value| {
        let (url, token) = (gitea.url(), token.clone());
        async move { ask(&url, ("authorization", &token), Method::POST, path, body).await.unwrap() }
    };
    let pull = json!({"head": "orch/SHOP-1", "base": "main", "title": "t", "body": "b"});
    let opened = post("/api/v1/repos/acme/shop/pulls", pull.clone()).await;
    assert_eq!((opened.status.as_u16(), &opened.json().unwrap()["head"]["sha"]), (201, &json!(head)));
    assert_eq!(post("/api/v1/repos/acme/shop/pulls", pull).await.status, 409);
    let by_branches = "/api/v1/repos/acme/shop/pulls/main/orch%2FSHOP-1";
    let found = ask(&gitea.url(), ("authorization", &token), Method::GET, by_branches, Value::Null).await;
    assert_eq!(found.unwrap().json().unwrap()["number"], 1);

    let path = "/api/v1/repos/acme/shop/statuses/0000000000000000000000000000000000000007";
    let status = |state: &str| json!({"state": state, "context": "orch/review", "description": "d"});
    assert_eq!(post(path, status("pending")).await.status, 201);
    assert_eq!(post(path, status("success")).await.status, 201);
    assert_eq!(post(path, status("fine")).await.status, 422);
    let combined = "/api/v1/repos/acme/shop/commits/orch%2FSHOP-1/status";
    let combined = ask(&gitea.url(), ("authorization", &token), Method::GET, combined, Value::Null).await;
    let combined = combined.unwrap().json().unwrap();
    assert_eq!((&combined["state"], &combined["total_count"]), (&json!("success"), &json!(1)));

    let comments = "/api/v1/repos/acme/shop/issues/1/comments";
    assert_eq!(post(comments, json!({"body": "hello"})).await.status, 201);
    gitea.lock(1);
    assert_eq!(post(comments, json!({"body": "hello"})).await.status, 403);
    assert_eq!(post("/api/v1/repos/acme/shop/issues/9/comments", json!({"body": "x"})).await.status, 404);
    let stranger =
        ask(&gitea.url(), ("authorization", "token no"), Method::GET, "/api/v1/user", Value::Null).await;
    assert_eq!(stranger.unwrap().status, 401);
    assert_eq!(gitea.writes().len(), 4);
}

#[tokio::test]
async fn own_writes_come_back_as_webhooks() {
    let (gitea, ingest) = (Gitea::start("acme/shop").await.unwrap(), Receiver::start().await.unwrap());
    gitea.hooks().send_to(addr(&ingest.url()), SECRET);
    let (jane, orch) = (gitea.jane(), gitea.orch());
    gitea.push(&jane, "fix", &format!("{:040x}", 7));
    let number = gitea.open_pull_request(&jane, "fix", "main", "t", "b");
    gitea.push(&orch, "fix", &format!("{:040x}", 8));
    gitea.comment(&orch, number, "done");
    gitea.set_status(&orch, &format!("{:040x}", 8), "orch/review", "success", "");
    gitea.review(&jane, number, ReviewState::Approved, "fine");
    gitea.merge(&jane, number, &format!("{:040x}", 9));
    gitea.push(&jane, "fix", ZERO);
    let kinds = [
        "create",
        "push",
        "pull_request",
        "push",
        "pull_request_sync",
        "pull_request_comment",
        "status",
        "pull_request_review_approved",
        "pull_request",
        "push",
        "delete",
    ];
    until("every webhook is sent", WITHIN, async || {
        Ok((gitea.hooks().sent().len() == kinds.len()).then_some(()))
    })
    .await
    .unwrap();
    let seen = ingest.seen();
    let seen: Vec<_> = seen.iter().map(|seen| seen.headers["x-gitea-event-type"].to_str().unwrap()).collect();
    assert_eq!(seen, kinds);
}

#[tokio::test]
async fn faults_come_as_asked() {
    let gitea = Gitea::start("acme/shop").await.unwrap();
    let number = gitea.create_issue(&gitea.jane(), "t", "b");
    let token = format!("token {}", gitea.orch().token);
    let path = format!("/api/v1/repos/acme/shop/issues/{number}/comments");
    for fault in
        [Fault::Status(500), Fault::DropBefore, Fault::DropAfter, Fault::StatusAfter(502), Fault::Limited(7)]
    {
        gitea.faults().next(Method::POST, "comments", fault, 1);
    }
    let mut answers = Vec::new();
    for _ in 0..6 {
        let body = json!({"body": "x"});
        let answer = ask(&gitea.url(), ("authorization", &token), Method::POST, &path, body).await;
        answers.push(answer.ok().map(|answer| answer.status.as_u16()));
    }
    assert_eq!(answers, [Some(500), None, None, Some(502), Some(429), Some(201)]);
    assert_eq!(gitea.comments(number).len(), 3);
}

fn git(folder: &Path, args: &[&str]) -> String {
    let done = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn git_is_cloned_and_pushed_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let (bare, work) = (folder.path().join("shop.git"), folder.path().join("work"));
    git(folder.path(), &["init", "--bare", "shop.git"]);
    git(folder.path(), &["init", "work"]);
    git(&work, &["commit", "--allow-empty", "-m", "first"]);
    git(&work, &["push", bare.to_str().unwrap(), "HEAD:main"]);

    let gitea = Gitea::start("acme/shop").await.unwrap();
    gitea.attach(&bare).await.unwrap();
    let with_token = gitea.clone_url().replace("http://", &format!("http://orch:{}@", gitea.orch().token));
    git(folder.path(), &["clone", &with_token, "clone"]);
    let clone = folder.path().join("clone");
    git(&clone, &["checkout", "-b", "orch/SHOP-1"]);
    git(&clone, &["commit", "--allow-empty", "-m", "second"]);
    git(&clone, &["push", "origin", "orch/SHOP-1"]);
    let after = git(&clone, &["rev-parse", "HEAD"]);
    assert_eq!(gitea.branch("orch/SHOP-1").as_deref(), Some(after.as_str()));
    let writes = gitea.writes();
    let pushed = Write::Pushed { branch: "orch/SHOP-1".to_owned(), before: ZERO.to_owned(), after };
    assert_eq!((writes.len(), writes[0].by.as_str(), &writes[0].what), (1, "orch", &pushed));

    let refused =
        Command::new("git").args(["ls-remote", &gitea.clone_url()]).env("GIT_TERMINAL_PROMPT", "0").output();
    assert!(!refused.unwrap().status.success());
}
