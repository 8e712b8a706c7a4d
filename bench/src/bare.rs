//! The things that bound us, without Orch around them: the handler with no store, the spawn with no shim.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::load::SECRET;

/// Names the file in which the agent notes its first instruction; passed on by `ORCH_AGENT_ENV`.
pub(crate) const LEDGER: &str = "ORCH_BENCH_LEDGER";

/// Whether this process was started as an agent: with the flags of the `claude` CLI.
pub(crate) fn is_agent() -> bool {
    std::env::args().nth(1).is_some_and(|first| first == "-p" || first == "--version")
}

/// Notes the time on the monotonic clock, which all processes share, and reports success in the CLI's shape.
pub(crate) fn agent() -> anyhow::Result<()> {
    let now = monotonic_ns();
    if std::env::args().nth(1).is_some_and(|first| first == "--version") {
        println!("2.1.330 (Claude Code)");
        return Ok(());
    }
    if let Some(ledger) = std::env::var_os(LEDGER) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(ledger)?;
        writeln!(file, "{now}")?;
    }
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt)?;
    if prompt.contains("print ") {
        crate::logs::agent(&prompt[prompt.find("print ").unwrap_or(0)..])?;
    }
    println!(r#"{{"type":"result","subtype":"success","is_error":false,"result":"measured","num_turns":1}}"#);
    Ok(())
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// Serves webhooks like ingest, down to the signature and the parse, and keeps nothing.
pub(crate) async fn handler() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    let app = Router::new().route("/webhooks/gitea", post(acknowledge));
    axum::serve(listener, app).await?;
    Ok(())
}

async fn acknowledge(headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let signed = headers.get("x-gitea-signature").and_then(|value| hex::decode(value.as_bytes()).ok());
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()) else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    mac.update(&body);
    let right: bool = mac.finalize().into_bytes().ct_eq(signed.unwrap_or_default().as_slice()).into();
    if !right {
        return (StatusCode::UNAUTHORIZED, "");
    }
    match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(_) => (StatusCode::ACCEPTED, r#"{"decision":"enqueued","job_ids":[1]}"#),
        Err(_) => (StatusCode::BAD_REQUEST, ""),
    }
}

/// A bare handler in a process of its own; ends with its handle.
#[derive(Debug)]
pub(crate) struct BareHandler {
    /// Where it listens.
    pub(crate) addr: std::net::SocketAddr,
    process: Child,
}

impl BareHandler {
    /// Starts it.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("bare-handler")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("its output is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?.context("it printed no address")?;
        Ok(Self { addr: line.parse()?, process })
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }
}

/// Spawns `program` `count` times, `concurrency` at once, with piped output, and gives the rate per second.
pub(crate) async fn spawn_rate(program: &Path, count: usize, concurrency: usize) -> anyhow::Result<f64> {
    use futures::{StreamExt, TryStreamExt, stream};
    let begun = Instant::now();
    stream::iter(0..count)
        .map(|_| async { anyhow::Ok(Command::new(program).stdin(Stdio::null()).output().await?) })
        .buffer_unordered(concurrency)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// The time from `spawn` to the agent's first instruction, with nothing between.
pub(crate) async fn spawn_latencies(ledger: &PathBuf, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(count);
    let environment = BTreeMap::from([(LEDGER, ledger)]);
    for _ in 0..count {
        let begun = monotonic_ns();
        let mut agent = Command::new(std::env::current_exe()?);
        agent.arg("-p").env_clear().envs(&environment).stdin(Stdio::null()).output().await?;
        latencies.push(since(begun, last_entry(ledger)?));
    }
    Ok(latencies)
}

/// The newest instant in a ledger, in nanoseconds.
pub(crate) fn last_entry(ledger: &Path) -> anyhow::Result<i128> {
    let text = std::fs::read_to_string(ledger)?;
    Ok(text.lines().last().context("the ledger is empty")?.parse()?)
}

/// The time between two instants in nanoseconds.
pub(crate) fn since(earlier: i128, later: i128) -> Duration {
    Duration::from_nanos(u64::try_from(later - earlier).unwrap_or(0))
}
