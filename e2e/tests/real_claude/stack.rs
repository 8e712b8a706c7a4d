//! The pinned real CLI through the whole stack: from an enqueued job over scheduler, runner and shim to the
//! recorded outcome. It reaches the stub on loopback and nothing else.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use e2e::harness::claude::{real_claude, stub_settings};
use e2e::harness::{Stack, StackBuilder, Tiers, until};
use e2e::stub_api::{Behaviour, Credential, StubApi, parse_script};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// Longest wait for a job; the CLI takes a second or two to start.
pub(crate) const WITHIN: Duration = Duration::from_secs(90);
const ORCH_TOML: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\n";

/// A stack whose agents are the real CLI, with a stub of the API.
pub(crate) struct Real {
    pub(crate) stack: Stack,
    stub: StubApi,
}

impl Real {
    async fn start(script: &str, credential: Credential) -> anyhow::Result<Self> {
        Self::with(ORCH_TOML, parse_script(script)?, credential).await
    }

    pub(crate) async fn with(
        orch_toml: &str,
        script: Vec<Behaviour>,
        credential: Credential,
    ) -> anyhow::Result<Self> {
        Self::build(Stack::builder().orch_toml(orch_toml), script, credential).await
    }

    /// With a stack that is laid out as a test wants it.
    pub(crate) async fn build(
        builder: StackBuilder,
        script: Vec<Behaviour>,
        credential: Credential,
    ) -> anyhow::Result<Self> {
        let stub = StubApi::start((Ipv4Addr::LOCALHOST, 0).into(), script).await?;
        Self::around(builder, stub, credential).await
    }

    /// With a stub that stands already.
    async fn around(builder: StackBuilder, stub: StubApi, credential: Credential) -> anyhow::Result<Self> {
        let settings = stub_settings(&stub, credential);
        let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        let passed = format!("ORCH_E2E,{}", names.join(","));
        let mut builder = builder
            .env("ORCH_CLAUDE_BIN", &real_claude()?.to_string_lossy())
            .env("ORCH_AGENT_ENV", &passed)
            .env("ORCH_BACKOFF_BASE_SECONDS", "1")
            .env("ORCH_BACKOFF_MAX_SECONDS", "2")
            .env("ORCH_KILL_GRACE_SECONDS", "5");
        for (name, value) in &settings {
            builder = builder.env(name, value);
        }
        Ok(Self { stack: builder.start().await?, stub })
    }

    async fn enqueue(&self) -> anyhow::Result<i64> {
        let made = self
            .stack
            .orch(&["enqueue", "--project", "shop", "--stage", "development", "--prompt", "Say hello."])
            .await?;
        made["id"].as_i64().with_context(|| format!("no job id: {made}"))
    }

    /// Queues a job, waits for its status, and returns its record.
    async fn run(&self, status: &str) -> anyhow::Result<Value> {
        let id = self.enqueue().await?;
        self.stack.until_status(id, status, WITHIN).await
    }

    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        assert!(!self.stub.requests().is_empty(), "the CLI asked somebody else");
        self.stack.finish().await
    }
}

fn instant(value: &Value) -> anyhow::Result<Timestamp> {
    Ok(value.as_str().with_context(|| format!("no instant: {value}"))?.parse()?)
}

/// `attempts` and `transient_attempts`, and class and reason of each run.
fn told(job: &Value) -> (u64, u64, Vec<(&str, &str)>) {
    let count = |name: &str| job["job"][name].as_u64().unwrap_or(u64::MAX);
    let runs = job["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let verdicts =
        runs.iter().map(|run| (run["class"].as_str().unwrap_or("-"), run["reason"].as_str().unwrap_or("-")));
    (count("attempts"), count("transient_attempts"), verdicts.collect())
}

#[tokio::test]
async fn success_with_its_output_cost_turns_and_session() -> anyhow::Result<()> {
    let real = Real::start("ok:All+is+well.", Credential::Key).await?;
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 0, vec![("success", "none")]), "{job:#}");
    let run = &job["runs"][0];
    assert!(run["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0), "{run:#}");
    assert!(run["session_id"].as_str().is_some_and(|id| Uuid::parse_str(id).is_ok()), "{run:#}");
    assert_eq!(run["turns"], 1, "{run:#}");
    assert!(run["output_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{run:#}");
    let logs = real.stack.orch_output(&["logs", &job["job"]["id"].to_string()]).await?;
    let text = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(text.contains("All is well.") && text.contains("\"subtype\":\"init\""), "{text}");
    real.finish().await
}

#[tokio::test]
async fn tool_use_takes_another_turn() -> anyhow::Result<()> {
    let real = Real::start("tool:echo+hi", Credential::Key).await?;
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 0, vec![("success", "none")]), "{job:#}");
    assert_eq!(job["runs"][0]["turns"], 2, "{job:#}");
    let logs = real.stack.orch_output(&["logs", &job["job"]["id"].to_string()]).await?;
    assert!(String::from_utf8_lossy(&logs.stdout).contains("\"tool_result\""));
    real.finish().await
}

#[tokio::test]
async fn sealed_it_works_as_ever_and_gets_out_to_its_api_alone() -> anyhow::Result<()> {
    let script = parse_script("tool:echo+hi,ok:All+is+well.")?;
    let stub = StubApi::start((Ipv4Addr::LOCALHOST, 0).into(), script).await?;
    let api = stub.base_url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let toml = format!("{ORCH_TOML}containment = \"sealed\"\negress = [\"{api}\"]\n");
    let builder = Stack::builder().orch_toml(&toml).env("ORCH_CONTAINMENT", "sealed");
    let real = Real::around(builder, stub, Credential::Key).await?;
    if !Tiers::probed(&real.stack).await?.or_skip("the real CLI", "sealed")? {
        return real.finish().await;
    }
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 0, vec![("success", "none")]), "{job:#}");
    assert_eq!(job["runs"][0]["turns"], 2, "its shell had a turn of its own: {job:#}");
    let logs = real.stack.orch_output(&["logs", &job["job"]["id"].to_string()]).await?;
    let text = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert!(text.contains("\"tool_result\"") && text.contains("All is well."), "{text}");
    real.finish().await
}

#[tokio::test]
async fn a_rate_limit_is_waited_out() -> anyhow::Result<()> {
    // The CLI itself tries twice before it gives up.
    let real = Real::start("429:1,429:1,ok", Credential::Key).await?;
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 1, vec![("transient", "rate_limit"), ("success", "none")]), "{job:#}");
    real.finish().await
}

#[tokio::test]
async fn what_was_begun_before_a_rate_limit_is_gone_on_with() -> anyhow::Result<()> {
    let real = Real::start("tool:echo+hi,429:1,429:1,ok:All+done.", Credential::Key).await?;
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 1, vec![("transient", "rate_limit"), ("success", "none")]), "{job:#}");
    let (first, second) = (&job["runs"][0], &job["runs"][1]);
    assert_eq!(second["resumed_session"], first["session_id"], "{job:#}");
    assert_eq!(second["session_id"], first["session_id"], "{job:#}");
    assert_eq!(first["api_retries"], 1, "{job:#}");
    assert!(second["tokens_saved"].as_u64().is_some_and(|tokens| tokens > 0), "{job:#}");
    // The CLI counts what the conversation has cost; each run has its own.
    let costs = [first, second].map(|run| run["cost_usd"].as_f64().unwrap_or_default());
    assert!(costs[0] > 0.0 && costs[1] > 0.0 && costs[1] < costs[0] * 1.5, "{costs:?}");
    // The whole conversation came along: the task, the tool call, its result, and the word to go on.
    let messages: Vec<_> = real.stub.requests().iter().map(|request| request.messages).collect();
    assert!(messages.last() >= messages.get(1), "{messages:?}");
    assert!(messages[0] < messages[1], "{messages:?}");
    let logs = real.stack.orch_output(&["logs", &job["job"]["id"].to_string()]).await?;
    assert!(String::from_utf8_lossy(&logs.stdout).contains("All done."));
    real.finish().await
}

#[tokio::test]
async fn a_conversation_the_cli_no_longer_has_is_begun_afresh() -> anyhow::Result<()> {
    let real = Real::start("tool:echo+hi,429:4,429:4,ok", Credential::Key).await?;
    let id = real.enqueue().await?;
    until("the first try's end", WITHIN, || async {
        let job = real.stack.job(id).await?;
        Ok((job["job"]["transient_attempts"] == 1).then_some(()))
    })
    .await?;
    let homes = real.stack.folder().join("runner-0/state/homes");
    let sessions: Vec<_> = files_below(&homes)?.into_iter().filter(|path| is_session(path)).collect();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    std::fs::remove_file(&sessions[0])?;
    let job = real.stack.until_status(id, "done", WITHIN).await?;
    let verdicts = vec![("transient", "rate_limit"), ("withdrawn", "session_refused"), ("success", "none")];
    assert_eq!(told(&job), (0, 1, verdicts), "{job:#}");
    assert!(job["runs"][2]["resumed_session"].is_null(), "{job:#}");
    real.finish().await
}

fn is_session(path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    path.extension().is_some_and(|kind| kind == "jsonl") && Uuid::parse_str(name).is_ok()
}

fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn two_rate_limits_are_two_waits_of_the_promised_length() -> anyhow::Result<()> {
    const RETRY_AFTER_MS: i64 = 3_000;
    // The CLI tries once more by itself; what it then waits is all that tells of the header.
    let real = Real::start("429:3,429:3,429:3,429:3,ok", Credential::Key).await?;
    let id = real.enqueue().await?;
    for spent in [1, 2] {
        let job = until("a try's end", WITHIN, || async {
            let job = real.stack.job(id).await?;
            let is_put_off = job["job"]["status"] == "queued" && job["job"]["transient_attempts"] == spent;
            Ok(is_put_off.then_some(job))
        })
        .await?;
        let ended_at =
            instant(&job["runs"].as_array().and_then(|runs| runs.last()).context("a run")?["ended_at"])?;
        let wait_ms = instant(&job["job"]["available_at"])?.as_millisecond() - ended_at.as_millisecond();
        // Never sooner; the CLI's own jitter is a fifth, ours at most a second, and a busy machine takes its time.
        assert!(
            (RETRY_AFTER_MS..RETRY_AFTER_MS * 6 / 5 + 4_000).contains(&wait_ms),
            "waits {wait_ms} ms: {job:#}"
        );
    }
    let job = real.stack.until_status(id, "done", WITHIN).await?;
    assert_eq!((told(&job).0, told(&job).1), (0, 2), "{job:#}");
    assert_eq!(told(&job).2.last(), Some(&("success", "none")));
    real.finish().await
}

#[tokio::test]
async fn an_overloaded_api_is_waited_out() -> anyhow::Result<()> {
    let real = Real::start("529,529,529,ok", Credential::Key).await?;
    let job = real.run("done").await?;
    let (attempts, transient, verdicts) = told(&job);
    assert_eq!(attempts, 0, "{job:#}");
    assert!(transient >= 1 && verdicts[0] == ("transient", "overloaded"), "{job:#}");
    real.finish().await
}

#[tokio::test]
async fn a_usage_limit_holds_until_its_reset() -> anyhow::Result<()> {
    let real = Real::start("429_unified:12,ok", Credential::Bearer).await?;
    let id = real.enqueue().await?;
    let reset = until("the hold", WITHIN, || async {
        let listed = real.stack.orch(&["account"]).await?;
        instant(&listed["accounts"][0]["held_until"]).map_or(Ok(None), |at| Ok(Some(at)))
    })
    .await?;
    let job = real.stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(told(&job), (0, 1, vec![("transient", "usage_limit"), ("success", "none")]), "{job:#}");
    let late_ms = instant(&job["runs"][1]["started_at"])?.as_millisecond() - reset.as_millisecond();
    eprintln!("started {late_ms} ms after the reset");
    // Our own spread is at most a second.
    assert!((0..2_000).contains(&late_ms), "started {late_ms} ms after the reset: {job:#}");
    let requests = real.stub.requests();
    assert_eq!(
        requests.iter().filter(|request| request.behaviour.starts_with("429")).count(),
        1,
        "{requests:?}"
    );
    real.finish().await
}

#[tokio::test]
async fn a_refused_key_holds_the_account() -> anyhow::Result<()> {
    let real = Real::start("401", Credential::Key).await?;
    let id = real.enqueue().await?;
    let held = until("the hold", WITHIN, || async {
        let listed = real.stack.orch(&["account"]).await?;
        Ok(listed["accounts"][0]["held_reason"].as_str().map(str::to_owned))
    });
    assert!(held.await?.contains("auth"));
    let job = real.stack.until_status(id, "queued", WITHIN).await?;
    assert_eq!(told(&job), (0, 0, vec![("permanent", "auth")]), "{job:#}");
    let asked = real.stub.requests().len();
    real.stub.set_script(parse_script("ok")?);
    real.stack.orch(&["account", "resume", "default"]).await?;
    let job = real.stack.until_status(id, "done", WITHIN).await?;
    assert_eq!((told(&job).0, told(&job).1), (0, 0), "{job:#}");
    assert!(asked <= 4, "a refused key is not hammered: {asked} requests");
    real.finish().await
}

#[tokio::test]
async fn a_silent_api_and_a_cancel() -> anyhow::Result<()> {
    let real = Real::start("hang", Credential::Key).await?;
    let id = real.enqueue().await?;
    until("the request", WITHIN, || async { Ok((!real.stub.requests().is_empty()).then_some(())) }).await?;
    real.stack.orch(&["cancel", &id.to_string()]).await?;
    let job = real.stack.until_status(id, "cancelled", WITHIN).await?;
    assert_eq!(told(&job).2.len(), 1, "{job:#}");
    assert_eq!(agents(&real.stack), Vec::<String>::new());
    real.finish().await
}

#[tokio::test]
async fn a_cancel_while_a_tool_runs_leaves_no_orphan() -> anyhow::Result<()> {
    // Each tool call has a session of its own: ending a process group would leave it behind.
    let real = Real::start("tool:tail+-f+/dev/null", Credential::Key).await?;
    let id = real.enqueue().await?;
    let tails = || agents(&real.stack).iter().filter(|command| command.contains("tail -f /dev/null")).count();
    until("the running tool", WITHIN, || async { Ok((tails() > 0).then_some(())) }).await?;
    real.stack.orch(&["cancel", &id.to_string()]).await?;
    real.stack.until_status(id, "cancelled", WITHIN).await?;
    assert_eq!(agents(&real.stack), Vec::<String>::new());
    real.finish().await
}

/// Command lines of everything that is neither a service nor a shim.
fn agents(stack: &Stack) -> Vec<String> {
    let commands = stack.processes().into_iter().map(|(_, command)| command);
    commands.filter(|command| !command.contains("/orch-") && !is_shim(command)).collect()
}

/// A shim, or the step that waits below the one that waits: once it is an agent it has the agent's command line.
fn is_shim(command: &str) -> bool {
    ["orch-shim ", "orch-agent shim exec "].iter().any(|of_ours| command.starts_with(of_ours))
}
