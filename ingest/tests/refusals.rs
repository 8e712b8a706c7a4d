//! The two endpoints over real sockets: what is refused, with which status, and in which order.

mod common;

use std::fmt::Write as _;

use common::documents::{CONFIG, comment, push};
use common::{Headers, Ingest, SECRET, gitea, gitea_headers, headers, plane, refused, settings, sign, uuid};
use service::settings::{Secret, SecretSetting};

/// Few refusals are let pass, and none grow back.
fn strict() -> ingest::Settings {
    ingest::Settings { refused_burst: 5, refused_per_second: 0, ..settings() }
}

#[tokio::test]
async fn whoever_sends_too_much_that_is_refused_is_answered_429_and_what_is_signed_well_is_taken() {
    let ingest = Ingest::start_with(CONFIG, &strict()).await;
    let body = push().to_string().into_bytes();
    let right = gitea_headers("push", 1, &body);
    let wrong = gitea_headers("push", 1, b"other");
    for _ in 0..5 {
        assert_eq!(ingest.post("/webhooks/gitea", &wrong, &body).await.status, 401);
    }
    let unsigned = headers(&[("Content-Type", "application/json".to_owned())]);
    let long = "POST /webhooks/plane HTTP/1.1\r\nHost: test\r\nContent-Length: 20000000\r\n\r\n{";
    let replies = tokio::join!(
        ingest.post("/webhooks/gitea", &wrong, &body),
        ingest.post("/webhooks/plane", &unsigned, b"{}"),
        ingest.post("/", &unsigned, b"{}"),
        ingest.send(long.as_bytes()),
    );
    let replies = [replies.0, replies.1, replies.2, replies.3];
    assert!(replies.iter().all(|reply| reply.status == 429 && !reply.body["error"].is_null()), "{replies:?}");
    let elsewhere = ingest.post_from(2, "/webhooks/gitea", &wrong, &body).await;
    assert_eq!(elsewhere.status, 401, "another address has its own allowance");
    assert_eq!(ingest.post("/webhooks/gitea", &right, &body).await.status, 202);
    assert_eq!(ingest.jobs().await.len(), 1);
    ingest.stop().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_allowance() {
    let ingest = Ingest::start_behind(CONFIG, &strict(), "127.0.0.2").await;
    let body = push().to_string().into_bytes();
    let sent_by = |client: &str| {
        let mut headers = gitea_headers("push", 1, b"other");
        headers.push(("X-Forwarded-For".to_owned(), format!("192.0.2.200, {client}")));
        headers
    };
    for _ in 0..5 {
        assert_eq!(ingest.post_from(2, "/webhooks/gitea", &sent_by("192.0.2.1"), &body).await.status, 401);
    }
    assert_eq!(ingest.post_from(2, "/webhooks/gitea", &sent_by("192.0.2.1"), &body).await.status, 429);
    assert_eq!(ingest.post_from(2, "/webhooks/gitea", &sent_by("192.0.2.2"), &body).await.status, 401);
    // Who is no proxy may name whomever he likes.
    assert_eq!(ingest.post_from(3, "/webhooks/gitea", &sent_by("192.0.2.1"), &body).await.status, 401);
    ingest.stop().await;
}

#[tokio::test]
async fn a_burst_of_good_webhooks_costs_no_allowance() {
    let ingest = Ingest::start_with(CONFIG, &strict()).await;
    for n in 0..200 {
        let mut document = push();
        document["after"] = format!("{:040x}", n + 1).into();
        let body = document.to_string().into_bytes();
        let reply = ingest.post("/webhooks/gitea", &gitea_headers("push", 1000 + n, &body), &body).await;
        assert_eq!(reply.status, 202, "{reply:?}");
    }
    ingest.stop().await;
}

#[tokio::test]
async fn checks_come_in_their_order() {
    let mut settings = settings();
    settings.max_body_bytes = 1000;
    let ingest = Ingest::start_with(CONFIG, &settings).await;
    let body = push().to_string().into_bytes();
    let right = gitea_headers("push", 1, &body);
    let without = |name: &str| -> Headers {
        right.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(name)).cloned().collect()
    };
    let with = |name: &str, value: &str| -> Headers {
        let mut changed = without(name);
        changed.push((name.to_owned(), value.to_owned()));
        changed
    };
    let big = vec![b'{'; 1001];
    let cases: Vec<(Headers, Vec<u8>, u16)> = vec![
        (with("Content-Type", "text/plain"), big.clone(), 413),
        (with("Content-Type", "text/plain"), body.clone(), 415),
        (with("Content-Encoding", "gzip"), body.clone(), 415),
        (
            without("X-Gitea-Signature")
                .into_iter()
                .filter(|(key, _)| key != "X-Hub-Signature-256")
                .collect(),
            body.clone(),
            401,
        ),
        (with("X-Gitea-Signature", &sign("wrong", &body)), body.clone(), 401),
        (with("X-Gitea-Signature", &sign(SECRET, &body)[..40]), body.clone(), 401),
        (right.clone(), b"{}".to_vec(), 401),
        (
            with("X-Gitea-Event-Type", "").into_iter().filter(|(key, _)| key != "X-Gitea-Event").collect(),
            body.clone(),
            400,
        ),
        (without("X-Gitea-Delivery"), body.clone(), 400),
        (with("X-Gitea-Delivery", "../../../tmp/x'; DROP TABLE jobs;--"), body.clone(), 400),
        (gitea_headers("push", 1, b""), b"".to_vec(), 400),
        (gitea_headers("push", 1, b"null"), b"null".to_vec(), 400),
        (gitea_headers("push", 1, b"{\"a\":\"\xff\"}"), b"{\"a\":\"\xff\"}".to_vec(), 400),
        (gitea_headers("push", 1, b"{\"a\":1,\"a\":1}"), b"{\"a\":1,\"a\":1}".to_vec(), 400),
        (gitea_headers("push", 1, b"{}"), b"{}".to_vec(), 422),
        (gitea_headers("teleported", 2, b"{}"), b"{}".to_vec(), 200),
        (right.clone(), body.clone(), 202),
    ];
    for (headers, body, expected) in cases {
        let reply = ingest.post("/webhooks/gitea", &headers, &body).await;
        assert_eq!(reply.status, expected, "{reply:?} {headers:?}");
        assert!(!reply.body.to_string().contains(SECRET));
    }
    assert_eq!(ingest.jobs().await.len(), 1);
    ingest.stop().await;
}

#[tokio::test]
async fn other_methods_and_other_paths() {
    let ingest = Ingest::start(CONFIG).await;
    for (request, status) in [
        ("GET /webhooks/gitea?payload=%7B%7D HTTP/1.1\r\nHost: t\r\n\r\n", 405),
        ("PUT /webhooks/plane HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", 405),
        ("POST /webhooks HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", 404),
        ("GET / HTTP/1.1\r\nHost: t\r\n\r\n", 404),
        ("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n", 200),
        ("GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n", 200),
    ] {
        assert_eq!(ingest.send(request.as_bytes()).await.status, status, "{request}");
    }
    ingest.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length_and_by_its_bytes() {
    let ingest = Ingest::start(CONFIG).await;
    let declared = "POST /webhooks/gitea HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
                    Content-Length: 31457280\r\n\r\n";
    assert_eq!(ingest.send(declared.as_bytes()).await.status, 413);

    let head = "POST /webhooks/plane HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let mut chunked = head.as_bytes().to_vec();
    for _ in 0..30 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.resize(chunked.len() + 0x10_0000, b'a');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(ingest.send(&chunked).await.status, 413);
    ingest.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let ingest = Ingest::start(CONFIG).await;
    let request = "POST /webhooks/gitea HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
                   Content-Length: 1000\r\n\r\n{";
    assert_eq!(ingest.send(request.as_bytes()).await.status, 408);
    ingest.stop().await;
}

#[tokio::test]
async fn secrets_may_be_missing_or_in_change() {
    let mut settings = settings();
    settings.plane_webhook_secret = SecretSetting::of(None);
    settings.gitea_webhook_secret = SecretSetting::of(Some(Secret::new("new")));
    settings.gitea_webhook_secret_previous = SecretSetting::of(Some(Secret::new(SECRET)));
    let ingest = Ingest::start_with(CONFIG, &settings).await;
    assert_eq!(gitea(&ingest, "push", 1, &push()).await.status, 202);
    assert_eq!(
        plane(&ingest, 2, &comment()).await,
        refused(503, "no secret is configured for this webhook: set ORCH_PLANE_WEBHOOK_SECRET")
    );
    ingest.stop().await;
}

#[tokio::test]
async fn gitea_signs_the_json_inside_a_form() {
    let ingest = Ingest::start(CONFIG).await;
    let document = push().to_string();
    let mut form = "payload=".to_owned();
    for byte in document.bytes() {
        write!(form, "%{byte:02X}").unwrap();
    }
    let signed_over = |signed: &[u8]| {
        headers(&[
            ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8".to_owned()),
            ("X-Gitea-Delivery", uuid(1)),
            ("X-Gitea-Event", "push".to_owned()),
            ("X-Gitea-Signature", sign(SECRET, signed)),
        ])
    };
    let over_form = ingest.post("/webhooks/gitea", &signed_over(form.as_bytes()), form.as_bytes()).await;
    assert_eq!(over_form.status, 401);
    let without = ingest.post("/webhooks/gitea", &signed_over(b""), b"foo=bar").await;
    assert_eq!(without.status, 400);
    let right = ingest.post("/webhooks/gitea", &signed_over(document.as_bytes()), form.as_bytes()).await;
    assert_eq!(right.status, 202);
    ingest.stop().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_said_and_nothing_is_kept() {
    let ingest = Ingest::start(CONFIG).await;
    ingest.store.close().await;
    let reply = gitea(&ingest, "push", 1, &push()).await;
    assert_eq!(reply, refused(503, "the event could not be stored: send it again later"));
    ingest.stop().await;
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orch.toml");
    std::fs::write(&path, "[[project]]\nnmae = \"shop\"\n").unwrap();
    let refused = ingest::load_pipeline(&path).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "{}: line 2, column 1: unknown key `nmae` in [[project]]: did you mean `name`?",
            path.display()
        )
    );
    assert!(ingest::load_pipeline(&folder.path().join("absent.toml")).is_ok());
    assert!(ingest::load_pipeline(folder.path()).is_err(), "a folder is no file");
}
