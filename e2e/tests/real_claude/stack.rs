//! The pinned real CLI through the whole stack: from an enqueued job over scheduler, runner and shim to the
//! recorded outcome. It reaches the stub on loopback and nothing else.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Context;
use e2e::harness::claude::{real_claude, stub_settings};
use e2e::harness::{Stack, until};
use e2e::stub_api::{Credential, StubApi, parse_script};
use serde_json::Value;
use uuid::Uuid;

/// Longest wait for a job; the CLI takes a second or two to start.
const WITHIN: Duration = Duration::from_secs(90);
const ORCH_TOML: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\n";

/// A stack whose agents are the real CLI, with a stub of the API.
struct Real {
    stack: Stack,
    stub: StubApi,
}

impl Real {
    async fn start(script: &str, credential: Credential) -> anyhow::Result<Self> {
        let stub = StubApi::start((Ipv4Addr::LOCALHOST, 0).into(), parse_script(script)?).await?;
        let settings = stub_settings(&stub, credential);
        let names: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        let passed = format!("ORCH_E2E,{}", names.join(","));
        let mut builder = Stack::builder()
            .orch_toml(ORCH_TOML)
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

    async fn finish(self) -> anyhow::Result<()> {
        assert!(!self.stub.requests().is_empty(), "the CLI asked somebody else");
        self.stack.finish().await
    }
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
async fn a_rate_limit_is_waited_out() -> anyhow::Result<()> {
    // The CLI itself tries twice before it gives up.
    let real = Real::start("429:1,429:1,ok", Credential::Key).await?;
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 1, vec![("transient", "rate_limit"), ("success", "none")]), "{job:#}");
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
    let job = real.run("done").await?;
    assert_eq!(told(&job), (0, 1, vec![("transient", "usage_limit"), ("success", "none")]), "{job:#}");
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
    commands.filter(|command| !command.contains("/orch-")).collect()
}
