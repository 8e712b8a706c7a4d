use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::post;
use domain::delivery::{About, NewJob, Payload};
use domain::job::Origin;
use domain::{Budgets, Timestamp};
use proto::v1;
use serde_json::{Value, json};
use service::server::Limits;
use store::{Access, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Status;

use super::*;

const NOW_MS: i64 = 1_795_317_438_000;
const SOON: Duration = Duration::from_secs(10);
const RUN: &str = "0192f0c1-2b3c-7d4e-8f50-616263646566";

/// A console on a database in its own folder.
struct Console {
    addr: SocketAddr,
    url: String,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Console {
    async fn start(token: Option<&str>, scheduler: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/orch.db", folder.path().display());
        let tasks = Tasks::new();
        let scheduler = scheduler.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 1)));
        let options = Options {
            addr: "127.0.0.1:0".parse().unwrap(),
            token: token.map(Secret::new),
            read_token: token.map(|_| Secret::new("look")),
            database_url: DatabaseUrl::new(&url),
            scheduler_url: format!("http://{scheduler}"),
            tls: TlsSettings::default(),
            listener: ListenerSettings::default(),
            queue: QueueSettings { concurrency_max: 4, sanitize_enabled: true, breaker_threshold: 5 },
            clock: Clock::manual(NOW_MS),
        };
        let addr = start(options, tasks.clone()).await.unwrap().addr;
        Self { addr, url, tasks, _folder: folder }
    }

    async fn ask(&self, path: &str, header: &str) -> (u16, String) {
        let (head, body) = self.whole("GET", path, header, "").await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// The answer's head and body; HTTP/1.0, so that it ends with the connection.
    async fn whole(&self, method: &str, path: &str, header: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {}\r\n{header}\r\n{body}", self.addr);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // An answer that breaks off resets the connection; what came is what counts.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.ask(path, "").await;
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")))
    }

    /// Creates the database and waits until the console has found it.
    async fn with_database(&self) -> std::sync::Arc<dyn Store> {
        let store = store::open(&self.url, Access::Write).await.unwrap();
        let ready = async {
            while self.ask("/readyz", "").await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, ready).await.expect("the console finds the database");
        store
    }

    async fn stop(self) {
        self.tasks.stop();
        assert!(self.tasks.finished(SOON).await);
    }
}

#[tokio::test]
async fn it_lives_without_a_database_and_recovers_when_one_appears() {
    let console = Console::start(None, None).await;
    assert_eq!(console.ask("/healthz", "").await, (200, "ok\n".to_owned()));
    assert_eq!(console.ask("/readyz", "").await.0, 503);
    let (status, problem) = console.json("/queue").await;
    assert_eq!((status, problem["error"].is_string()), (503, true));

    let store = console.with_database().await;
    let empty = json!({
        "counts": {"queued": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0},
        "paused": false, "max_concurrency": 4, "oldest_ready_seconds": null, "recent": [],
        "alerts": {"pending": 0, "last_error": null, "set_aside": 0, "sinks": []}, "needs_you": [],
        "config_error": null, "paused_parts": [],
        "resilience": {
            "breaker": [{
                "account": "default", "state": "closed", "consecutive_transient": 0, "threshold": 5, "open_until": null
            }],
            "preflight": [], "quota": []
        },
        "reaper": {
            "last_tick_at": null, "reaped_total": 0, "impossible_queued_total": 0, "sanitize_enabled": true,
            "impossible_running_total": 0, "impossible_finished_total": 0, "orphaned_runs_total": 0
        },
        "runners": [],
    });
    assert_eq!(console.json("/queue").await, (200, empty));
    assert!(console.ask("/metrics", "").await.1.contains(r#"{route="/queue",status="200"} 1"#));
    store.close().await;
    console.stop().await;
}

#[tokio::test]
async fn a_job_is_shown_with_its_runs_and_the_reason_why_it_waits() {
    let console = Console::start(None, None).await;
    let store = console.with_database().await;
    let job = NewJob {
        project: "shop".to_owned(),
        work_item: "SHOP-12".to_owned(),
        stage: "review".to_owned(),
        role: "reviewer".to_owned(),
        priority: 3,
        available_at: Timestamp::from_ms(NOW_MS - 5_000),
        semantic_key: None,
        payload: Payload { facts: BTreeMap::new(), ..Payload::default() },
        trace_context: None,
        origin: Origin::default(),
        about: About::default(),
        budgets: Budgets::default(),
    };
    store.enqueue(job, Timestamp::from_ms(NOW_MS - 5_000)).await.unwrap();

    let (status, detail) = console.json("/jobs/1").await;
    assert_eq!((status, &detail["runs"]), (200, &json!([])));
    let shown = ["id", "project", "work_item", "stage", "status", "attempts", "priority", "run_id"]
        .map(|field| detail["job"][field].clone());
    let expected = [
        json!(1),
        json!("shop"),
        json!("SHOP-12"),
        json!("review"),
        json!("queued"),
        json!(0),
        json!(3),
        json!(null),
    ];
    assert_eq!(shown, expected);
    let (_, queue) = console.json("/queue").await;
    assert_eq!((&queue["oldest_ready_seconds"], &queue["recent"][0]), (&json!(5.0), &detail["job"]));
    for path in ["/jobs/2", "/jobs/x", "/jobs/-1", "/nothing"] {
        assert_eq!(console.ask(path, "").await.0, 404, "{path}");
    }
    store.close().await;
    console.stop().await;
}

#[tokio::test]
async fn with_a_token_only_who_shows_it_is_answered() {
    let console = Console::start(Some("s3cret"), None).await;
    for header in ["", "Authorization: Bearer nope\r\n", "Authorization: Basic s3cret\r\n"] {
        assert_eq!(console.ask("/queue", header).await.0, 401, "{header}");
    }
    // 503: past the door, and there is no database.
    assert_eq!(console.ask("/queue", "Authorization: Bearer s3cret\r\n").await.0, 503);
    assert_eq!(console.ask("/healthz", "").await.0, 200);
    console.stop().await;
}

#[test]
fn off_loopback_it_refuses_to_start_without_a_token() {
    let checked = |addr: &str, token: Option<&Secret>| check_listen(addr.parse().unwrap(), token).is_ok();
    let addrs = ["127.0.0.1:8081", "[::1]:8081", "0.0.0.0:8081", "10.0.0.1:8081"];
    assert_eq!(addrs.map(|addr| checked(addr, None)), [true, true, false, false]);
    assert_eq!(addrs.map(|addr| checked(addr, Some(&Secret::new("t")))), [true; 4]);
}

/// Of the admin service, the log of one run.
#[derive(Clone)]
struct StubLogs;

impl tonic::server::ServerStreamingService<v1::StreamLogsRequest> for StubLogs {
    type Response = v1::LogFrame;
    type ResponseStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::LogFrame, Status>>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::StreamLogsRequest>) -> Self::Future {
        let v1::StreamLogsRequest { of, follow, .. } = request.into_inner();
        if of != Some(v1::stream_logs_request::Of::RunId(RUN.to_owned())) {
            return std::future::ready(Err(Status::not_found("there is no such run")));
        }
        let frame = |offset, data: &str, gap_bytes| {
            Ok(v1::LogFrame { run_id: RUN.to_owned(), offset, data: data.to_owned().into(), gap_bytes })
        };
        let mut frames = vec![frame(0, "one\n", 0), frame(4, "", 9), frame(13, "two\n", 0)];
        if follow {
            frames.push(Err(Status::unavailable("stopping")));
        }
        std::future::ready(Ok(tonic::Response::new(tokio_stream::iter(frames))))
    }
}

/// Of the admin service, the end of one job.
#[derive(Clone)]
struct StubCancel;

impl tonic::server::UnaryService<v1::CancelJobRequest> for StubCancel {
    type Response = v1::JobReply;
    type Future = std::future::Ready<Result<tonic::Response<v1::JobReply>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::CancelJobRequest>) -> Self::Future {
        let id = request.into_inner().id;
        std::future::ready(if id == 7 {
            Ok(tonic::Response::new(v1::JobReply { job: Some(v1::Job { id, ..v1::Job::default() }) }))
        } else {
            Err(Status::not_found(format!("there is no job {id}")))
        })
    }
}

async fn stub_scheduler(tasks: &Tasks) -> SocketAddr {
    let answer = async |request: Request| {
        let codec = tonic_prost::ProstCodec::<v1::LogFrame, v1::StreamLogsRequest>::default();
        tonic::server::Grpc::new(codec).server_streaming(StubLogs, request).await.map(Body::new)
    };
    let end = async |request: Request| {
        let codec = tonic_prost::ProstCodec::<v1::JobReply, v1::CancelJobRequest>::default();
        tonic::server::Grpc::new(codec).unary(StubCancel, request).await.map(Body::new)
    };
    let app = Router::new()
        .route("/orch.v1.AdminService/StreamLogs", post(answer))
        .route("/orch.v1.AdminService/CancelJob", post(end));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tasks.clone();
    tasks.spawn("stub", async move {
        service::server::serve(listener, app, Limits::default(), None, &serving).await;
    });
    addr
}

#[tokio::test]
async fn a_log_is_passed_on_with_its_gaps_and_breaks_off_visibly() {
    let tasks = Tasks::new();
    let console = Console::start(None, Some(stub_scheduler(&tasks).await)).await;
    let whole = "one\n\n[... 9 bytes dropped ...]\ntwo\n";
    assert_eq!(console.ask(&format!("/runs/{RUN}/log"), "").await, (200, whole.to_owned()));
    let broken = format!("{whole}\n[log broken off: stopping]\n");
    assert_eq!(console.ask(&format!("/runs/{RUN}/log?follow=true"), "").await, (200, broken));
    let other = RUN.replace("0192", "0193");
    let unknown = json!({"error": "there is no such run"});
    assert_eq!(console.json(&format!("/runs/{other}/log")).await, (404, unknown));
    assert_eq!(console.ask("/runs/7/log", "").await.0, 404);

    tasks.stop();
    assert!(tasks.finished(SOON).await);
    let (status, problem) = console.json(&format!("/runs/{RUN}/log")).await;
    assert_eq!(status, 503);
    assert!(
        problem["error"].as_str().unwrap().starts_with("the scheduler, which keeps the logs"),
        "{problem}"
    );
    console.stop().await;
}

mod acting;
mod pages;
