//! The limit of a durable acknowledgement: the signature checked and *the same rows in the same transactions*, with
//! nothing of Orch but its schema.
//!
//! A handler of a few lines gives what it read to a group commit over the raw driver. Duplicates are left to the
//! unique indexes; work items, sightings, spans, metrics and refusals are not here.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::ValueEnum;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::load::SECRET;

/// What an fsync is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Synchronous {
    /// At every commit.
    Full,
    /// At checkpoints: a loss of power may take the last commits.
    Normal,
}

impl Synchronous {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

/// The rows of one webhook: a delivery, its job, the job's payload.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) delivery_id: String,
    pub(crate) body_sha256: String,
    pub(crate) work_item: String,
    pub(crate) head: String,
    pub(crate) payload: String,
}

/// What has to be read of a body to know its rows.
#[derive(Debug, Deserialize)]
struct Push<'a> {
    #[serde(rename = "ref")]
    branch: &'a str,
    after: &'a str,
    #[serde(borrow)]
    repository: Repository<'a>,
}

#[derive(Debug, Deserialize)]
struct Repository<'a> {
    full_name: &'a str,
}

impl Rows {
    /// The rows of a push.
    pub(crate) fn of(delivery_id: &str, body: &str) -> Option<Self> {
        let push: Push<'_> = serde_json::from_str(body).ok()?;
        let branch = push.branch.strip_prefix("refs/heads/")?;
        Some(Self {
            delivery_id: delivery_id.to_owned(),
            body_sha256: hex::encode(Sha256::digest(body)),
            work_item: format!("{}@{branch}", push.repository.full_name),
            head: push.after.to_owned(),
            // As much text as ours keeps: the event and a few facts of it.
            payload: format!(
                r#"{{"title":null,"body":"checkout: apply the discount before the tax","url":"https://git.example/acme/shop/compare","author":"Jane Doe","facts":{{"branch":"{branch}","head_sha":"{}"}},"event":{body},"results":[]}}"#,
                push.after
            ),
        })
    }
}

/// Serves webhooks until the process ends; prints its address.
pub(crate) async fn handler(path: PathBuf, synchronous: Synchronous) -> anyhow::Result<()> {
    let writer = sqlite::GroupCommit::start(&path, synchronous)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    let app = Router::new().route("/webhooks/gitea", post(acknowledge)).with_state(writer);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn acknowledge(
    State(writer): State<sqlite::GroupCommit>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, StatusCode> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let signature = header("x-gitea-signature").and_then(|digits| hex::decode(digits).ok());
    let signature = signature.ok_or(StatusCode::UNAUTHORIZED)?;
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes());
    let mac = mac.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?.chain_update(&body);
    mac.verify_slice(&signature).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let text = str::from_utf8(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let delivery = header("x-gitea-delivery").ok_or(StatusCode::BAD_REQUEST)?;
    let rows = Rows::of(delivery, text).ok_or(StatusCode::UNPROCESSABLE_ENTITY)?;
    let job = writer.write(rows).await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let answer = format!(r#"{{"decision":"enqueued","job_ids":[{job}]}}"#);
    Ok((StatusCode::ACCEPTED, answer).into_response())
}

/// The limit in a process of its own; ends with its handle.
#[derive(Debug)]
pub(crate) struct LimitHandler {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    process: Child,
}

impl LimitHandler {
    /// Starts it on a database of its own.
    pub(crate) async fn start(path: &Path, synchronous: Synchronous) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["limit-handler", "--synchronous", synchronous.as_str(), "--path"])
            .arg(path)
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
