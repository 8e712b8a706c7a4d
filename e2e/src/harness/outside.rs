//! What people and other systems do with a stack: webhooks in, `orch` commands. It outlives restarts of the services.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::{Answer, Webhook, post, program, until};

/// Longest run of one `orch` command.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);
/// The secret of both webhooks.
pub const SECRET: &str = "a secret of the end-to-end tests";

/// The way into a stack for those outside of it; clones are of the same stack.
#[derive(Debug, Clone)]
pub struct Outside {
    pub(super) root: PathBuf,
    /// What all services of the stack are told.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) ingests: Vec<SocketAddr>,
    /// Whose turn it is among them.
    pub(super) turn: Arc<AtomicUsize>,
}

impl Outside {
    /// The stack's folder: database, logs, workspaces, and room for a test's own files.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// A signed Gitea delivery.
    pub fn gitea(&self, event: &str, kind: &str, body: &Value) -> Webhook {
        Webhook::gitea(SECRET, event, kind, body.to_string())
    }

    /// A signed Plane delivery.
    pub fn plane(&self, event: &str, body: &Value) -> Webhook {
        Webhook::plane(SECRET, event, body.to_string())
    }

    /// Posts a delivery to ingest, of several to each in its turn.
    ///
    /// # Errors
    /// No whole answer.
    pub async fn deliver(&self, webhook: &Webhook) -> anyhow::Result<Answer> {
        let ingest = self.ingests[self.turn.fetch_add(1, Ordering::Relaxed) % self.ingests.len()];
        post(ingest, webhook.path, webhook.headers.clone(), webhook.body.clone()).await
    }

    /// A program of the workspace with the settings that all services of this stack share, in its folder.
    ///
    /// # Errors
    /// It has not been built.
    pub fn command(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(program(name)?);
        command
            .env_clear()
            .envs(&self.settings)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs `orch ARGUMENTS` to its end.
    ///
    /// # Errors
    /// It took longer than 30 s.
    pub async fn orch_output<S: AsRef<OsStr> + std::fmt::Debug>(
        &self,
        arguments: &[S],
    ) -> anyhow::Result<Output> {
        let output = self.command("orch")?.args(arguments).output();
        let output = tokio::time::timeout(COMMAND_WITHIN, output)
            .await
            .with_context(|| format!("orch {arguments:?} took longer than {COMMAND_WITHIN:?}"))??;
        Ok(output)
    }

    /// Runs `orch ARGUMENTS --json` and parses what it prints.
    ///
    /// # Errors
    /// It failed, took longer than 30 s, or printed no JSON.
    pub async fn orch(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.orch_output(&[arguments, &["--json"]].concat()).await?;
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "orch {arguments:?}: {}\n{stdout}{stderr}", output.status);
        serde_json::from_str(&stdout).with_context(|| format!("orch {arguments:?} printed no JSON: {stdout}"))
    }

    /// The job's record from `orch job ID`.
    ///
    /// # Errors
    /// As for [`Self::orch`].
    pub async fn job(&self, id: i64) -> anyhow::Result<Value> {
        self.orch(&["job", &id.to_string()]).await
    }

    /// Waits until the job has that status, and returns its record.
    ///
    /// # Errors
    /// Not within the deadline; the message shows the record.
    pub async fn until_status(&self, id: i64, status: &str, deadline: Duration) -> anyhow::Result<Value> {
        let what = format!("job {id} {status}");
        let reached = until(&what, deadline, || async {
            let job = self.job(id).await?;
            Ok(find_status(&job).is_some_and(|found| found == status).then_some(job))
        });
        match reached.await {
            Ok(job) => Ok(job),
            Err(error) => Err(error.context(format!("{:#}", self.job(id).await.unwrap_or_default()))),
        }
    }
}

/// The `status` of a job's record, wherever the record puts the job itself.
fn find_status(record: &Value) -> Option<&str> {
    record["status"].as_str().or_else(|| record["job"]["status"].as_str())
}
