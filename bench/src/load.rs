//! What every load is made of: the pipeline, a push, a kept connection that posts it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::harness::Webhook;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use uuid::Uuid;

/// The secret both the stack and the bare handler know.
pub(crate) const SECRET: &str = "a secret of the benchmarks";

/// The pipeline of every measurement: one project, one trigger, no gate in the way.
pub(crate) const ORCH_TOML: &str = r#"
[[project]]
name = "shop"
gitea_repo = "acme/shop"
serial = "none"

[[stage]]
name = "review"
role = "reviewer"
prompt = "review.md"

[[trigger]]
on = "gitea.push"
stage = "review"
"#;

/// What a load did.
#[derive(Debug)]
pub(crate) struct Load {
    /// Acknowledgements per second.
    pub(crate) per_second: f64,
    /// The time of each.
    pub(crate) latencies: Vec<Duration>,
}

/// Spawns a task that the caller's set waits for.
pub(crate) fn track<T: Send + 'static>(
    tasks: &mut tokio::task::JoinSet<T>,
    work: impl Future<Output = T> + Send + 'static,
) {
    tasks.spawn(work);
}

#[expect(clippy::disallowed_methods, reason = "a load of fixed length, awaited to its end by the caller")]
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(work)
}

/// A kept HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    addr: SocketAddr,
    sender: SendRequest<Full<bytes::Bytes>>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        spawn(connection);
        Ok(Self { addr, sender })
    }

    /// Posts a webhook and reads the answer, which must be 202.
    pub(crate) async fn post(&mut self, webhook: &Webhook) -> anyhow::Result<serde_json::Value> {
        let mut request = Request::post(webhook.path).body(Full::new(webhook.body.clone()))?;
        *request.headers_mut() = webhook.headers.clone();
        request.headers_mut().insert(http::header::HOST, self.addr.to_string().parse()?);
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == http::StatusCode::ACCEPTED,
            "answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        serde_json::from_slice(&body).context("the answer is no JSON")
    }
}

/// A push of a commit nobody has seen, in the size of a real one (about 1.5 kB).
pub(crate) fn push() -> Webhook {
    push_to("main")
}

/// The same to a branch: what runs goes on with the branch's chain of causes, which may not grow for ever.
pub(crate) fn push_to(branch: &str) -> Webhook {
    let sha = format!("{}{}", Uuid::new_v4().simple(), "0a1b2c3d");
    let user = json!({"id": 7, "login": "jane", "full_name": "Jane Doe", "email": "jane@example.org"});
    let body = json!({
        "ref": format!("refs/heads/{branch}"),
        "before": "1".repeat(40),
        "after": sha,
        "compare_url": "https://git.example/acme/shop/compare/1111111...2222222",
        "commits": [{
            "id": sha,
            "message": "checkout: apply the discount before the tax\n\nThe total ignored it.\n",
            "url": format!("https://git.example/acme/shop/commit/{sha}"),
            "author": {"name": "Jane Doe", "email": "jane@example.org", "username": "jane"},
            "committer": {"name": "Jane Doe", "email": "jane@example.org", "username": "jane"},
            "timestamp": "2026-11-20T09:15:00+02:00",
            "added": ["src/discount.rs"], "removed": [], "modified": ["src/total.rs", "tests/total.rs"],
        }],
        "total_commits": 1,
        "repository": {
            "id": 3, "name": "shop", "full_name": "acme/shop", "default_branch": "main",
            "owner": {"id": 2, "login": "acme"},
            "html_url": "https://git.example/acme/shop",
            "clone_url": "https://git.example/acme/shop.git",
            "description": "x".repeat(300),
        },
        "pusher": user,
        "sender": user,
    });
    Webhook::gitea(SECRET, "push", "push", body.to_string())
}
