//! A real ingest on port 0 with a real database, and a client that sends exactly the bytes it is given.

#![expect(dead_code, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

pub(crate) mod documents;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::overview::WaitingJob;
use hmac::{Hmac, KeyInit, Mac};
use ingest::{Nudge, Parts, Settings};
use serde_json::{Value, json};
use service::health::{Metrics, Readiness};
use service::settings::{ListenerSettings, Secret, SecretSetting, TlsSettings};
use service::{Clock, Tasks};
use sha2::Sha256;
use store::{Access, JobFilter, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// Names and values.
pub(crate) type Headers = Vec<(String, String)>;

pub(crate) const SECRET: &str = "test-secret";
/// The longest any answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Ingest {
    pub(crate) addr: SocketAddr,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: PathBuf,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Ingest {
    /// Starts on an empty database with this `orch.toml`.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, &settings()).await
    }

    pub(crate) async fn start_with(config: &str, settings: &Settings) -> Self {
        Self::start_all(config, settings, ListenerSettings::default(), None).await
    }

    /// Believes the proxy at `proxy` who sends.
    pub(crate) async fn start_behind(config: &str, settings: &Settings, proxy: &str) -> Self {
        let trusted_proxies = vec![proxy.parse().unwrap()];
        let listener = ListenerSettings { trusted_proxies, ..ListenerSettings::default() };
        Self::start_all(config, settings, listener, None).await
    }

    /// Tells the scheduler at `url` of new jobs.
    pub(crate) async fn start_nudging(config: &str, url: &str) -> Self {
        Self::start_all(config, &settings(), ListenerSettings::default(), Some(url)).await
    }

    async fn start_all(
        config: &str,
        settings: &Settings,
        grants: ListenerSettings,
        scheduler: Option<&str>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config_path = folder.path().join("orch.toml");
        std::fs::write(&config_path, config).unwrap();
        let url = format!("sqlite://{}", folder.path().join("orch.db").display());
        let store = store::open(&url, Access::Write).await.unwrap();
        let tasks = Tasks::new();
        let pipeline = ingest::load_pipeline(&config_path).unwrap();
        pipeline.spawn(&tasks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let nudge = scheduler.map_or_else(Nudge::default, |url| {
            Nudge::spawn(service::grpc::channel(url, &TlsSettings::default()).unwrap(), &tasks)
        });
        let parts = Parts {
            store: store.clone(),
            pipeline,
            clock: Clock::system(),
            nudge,
            readiness: Readiness::new(&[ingest::SCHEMA]),
            metrics: Metrics::new(),
            listener: grants,
        };
        let (settings, serving) = (settings.clone(), tasks.clone());
        tasks.spawn("ingest", async move { ingest::serve(listener, &settings, parts, &serving).await });
        Self { addr, store, config: config_path, tasks, _folder: folder }
    }

    pub(crate) async fn stop(self) {
        self.tasks.stop();
        assert!(self.tasks.finished(PATIENCE).await, "ingest stops");
        self.store.close().await;
    }

    /// All jobs, the newest first.
    pub(crate) async fn jobs(&self) -> Vec<WaitingJob> {
        self.store.jobs(JobFilter::newest(1000)).await.unwrap()
    }

    /// Sends a POST with these headers and body, the length declared.
    pub(crate) async fn post(&self, path: &str, headers: &[(String, String)], body: &[u8]) -> Reply {
        self.post_from(1, path, headers, body).await
    }

    /// As [`Self::post`], from the loopback address 127.0.0.`host`.
    pub(crate) async fn post_from(
        &self,
        host: u8,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> Reply {
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("Connection: close\r\n\r\n");
        self.send_from(host, &[head.as_bytes(), body].concat()).await
    }

    /// Sends these bytes and reads the answer.
    pub(crate) async fn send(&self, request: &[u8]) -> Reply {
        self.send_from(1, request).await
    }

    async fn send_from(&self, host: u8, request: &[u8]) -> Reply {
        let exchange = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, host], 0).into()).unwrap();
            let (mut reading, mut writing) = socket.connect(self.addr).await.unwrap().into_split();
            // A server that has answered may close before everything is sent.
            let (_, reply) = tokio::join!(writing.write_all(request), read_reply(&mut reading));
            reply
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time")
    }
}

async fn read_reply(reading: &mut (impl AsyncReadExt + Unpin)) -> Reply {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(bytes @ 1..) = reading.read(&mut chunk).await {
        answer.extend_from_slice(&chunk[..bytes]);
        if let Some(reply) = Reply::parse(&answer) {
            return reply;
        }
    }
    panic!("no whole answer: {}", String::from_utf8_lossy(&answer));
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// A whole answer with a declared length, or none yet.
    fn parse(answer: &[u8]) -> Option<Self> {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = str::from_utf8(&answer[..end]).unwrap().to_ascii_lowercase();
        let status = head.get(9..12)?.parse().unwrap();
        let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().unwrap();
        let body = answer.get(end..end + length)?;
        Some(Self { status, body: serde_json::from_slice(body).unwrap_or(Value::Null) })
    }

    pub(crate) fn decision(&self) -> &str {
        self.body["decision"].as_str().unwrap_or_default()
    }

    pub(crate) fn jobs(&self) -> usize {
        self.body["job_ids"].as_array().map_or(0, Vec::len)
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        ingest_addr: "127.0.0.1:0".parse().unwrap(),
        max_body_bytes: 26_214_400,
        refused_burst: 1000,
        refused_per_second: 50,
        gitea_webhook_secret: SecretSetting::of(Some(Secret::new(SECRET))),
        gitea_webhook_secret_previous: SecretSetting::of(None),
        plane_webhook_secret: SecretSetting::of(Some(Secret::new(SECRET))),
        plane_webhook_secret_previous: SecretSetting::of(None),
    }
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    hex::encode(mac.chain_update(body).finalize().into_bytes())
}

/// The headers of a signed Gitea request.
pub(crate) fn gitea_headers(event: &str, delivery: u128, body: &[u8]) -> Headers {
    headers(&[
        ("Content-Type", "application/json".to_owned()),
        ("X-Gitea-Delivery", uuid(delivery)),
        ("X-Gitea-Event", event.to_owned()),
        ("X-Gitea-Event-Type", event.to_owned()),
        ("X-Gitea-Signature", sign(SECRET, body)),
        ("X-Hub-Signature-256", format!("sha256={}", sign(SECRET, body))),
    ])
}

/// The headers of a signed Plane request.
pub(crate) fn plane_headers(event: &str, delivery: u128, body: &[u8]) -> Headers {
    headers(&[
        ("Content-Type", "application/json".to_owned()),
        ("X-Plane-Delivery", uuid(delivery)),
        ("X-Plane-Event", event.to_owned()),
        ("X-Plane-Signature", sign(SECRET, body)),
    ])
}

pub(crate) fn headers(pairs: &[(&str, String)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(crate) fn uuid(number: u128) -> String {
    uuid::Uuid::from_u128(number).to_string()
}

/// The folder of recorded webhooks beside the workspace, when it is there.
pub(crate) fn fixtures() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/webhooks");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no {}", folder.display());
    None
}

/// Reads a `.headers` file.
pub(crate) fn headers_of(path: &Path) -> Headers {
    let text = std::fs::read_to_string(path).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Posts a signed Gitea event.
pub(crate) async fn gitea(ingest: &Ingest, event: &str, delivery: u128, document: &Value) -> Reply {
    let body = document.to_string().into_bytes();
    ingest.post("/webhooks/gitea", &gitea_headers(event, delivery, &body), &body).await
}

pub(crate) async fn plane(ingest: &Ingest, delivery: u128, document: &Value) -> Reply {
    let body = document.to_string().into_bytes();
    let event = document["event"].as_str().unwrap();
    ingest.post("/webhooks/plane", &plane_headers(event, delivery, &body), &body).await
}

pub(crate) fn refused(status: u16, error: &str) -> Reply {
    Reply { status, body: json!({ "error": error }) }
}
