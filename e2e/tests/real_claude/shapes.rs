//! The stub draws from the real CLI what the API's faults would, and the fake CLI says the same: every
//! field on which an outcome is judged is compared between the two.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use e2e::harness::claude::{agent_command, events, real_claude, stub_settings};
use e2e::harness::{program, until};
use e2e::stub_api::{Credential, StubApi, parse_script};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

/// Longest run of the CLI; none of these cases waits for anything.
const WITHIN: Duration = Duration::from_mins(1);

/// What an outcome is judged on.
async fn judged(child: Child) -> anyhow::Result<Value> {
    let output =
        tokio::time::timeout(WITHIN, child.wait_with_output()).await.context("the CLI did not end")??;
    let events = events(&output.stdout);
    let result = events.iter().rfind(|event| event["type"] == "result").cloned().unwrap_or_default();
    let label = events.iter().rfind(|event| event["type"] == "assistant").map(|event| event["error"].clone());
    let limit = events.iter().find(|event| event["type"] == "rate_limit_event");
    let limit = limit.map(|event| &event["rate_limit_info"]);
    Ok(json!({
        "exit": output.status.code(),
        "types": kinds(&events),
        "subtype": result["subtype"], "is_error": result["is_error"], "terminal_reason": result["terminal_reason"],
        "api_error_status": result["api_error_status"], "api_error_type": result["api_error_type"],
        "api_error": result["api_error"], "assistant_error": label, "num_turns": result["num_turns"],
        "limit": limit.map(|limit| json!([limit["status"], limit["rateLimitType"]])),
        "resets_at_is_a_number": limit.map(|limit| limit["resetsAt"].is_i64()),
        "cost_is_a_number": result["total_cost_usd"].is_number(),
        "session_is_named": result["session_id"].is_string(),
        "usage": result["usage"]["output_tokens"].is_u64(),
    }))
}

/// The kinds of events in order; retries are the CLI's own affair and left out.
fn kinds(events: &[Value]) -> Vec<String> {
    let kind = |event: &Value| {
        format!("{}/{}", event["type"].as_str().unwrap_or("?"), event["subtype"].as_str().unwrap_or("-"))
    };
    events.iter().map(kind).filter(|kind| kind != "system/api_retry").collect()
}

async fn start_real(stub: &StubApi, credential: Credential, folder: &Path) -> anyhow::Result<Child> {
    let mut command = agent_command(&real_claude()?, folder);
    command.envs(stub_settings(stub, credential));
    let mut child = command.spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(b"hi").await?;
    Ok(child)
}

async fn start_fake(directive: &str, folder: &Path) -> anyhow::Result<Child> {
    let mut child = agent_command(&program("fake-claude")?, folder).spawn()?;
    child.stdin.take().context("stdin is piped")?.write_all(directive.as_bytes()).await?;
    Ok(child)
}

async fn stub(script: &str) -> anyhow::Result<StubApi> {
    Ok(StubApi::start((Ipv4Addr::LOCALHOST, 0).into(), parse_script(script)?).await?)
}

/// Runs both and compares.
async fn same(script: &str, credential: Credential, directive: &str) -> anyhow::Result<()> {
    let (real_folder, fake_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let stub = stub(script).await?;
    let real = judged(start_real(&stub, credential, real_folder.path()).await?).await?;
    let fake = judged(start_fake(directive, fake_folder.path()).await?).await?;
    assert_eq!(real, fake, "real (left) and fake (right) differ for {script}");
    assert!(stub.requests().iter().all(|request| request.credential == credential), "{:?}", stub.requests());
    Ok(())
}

#[tokio::test]
async fn success() -> anyhow::Result<()> {
    same("ok", Credential::Key, "fake: then=success").await
}

#[tokio::test]
async fn tool_use() -> anyhow::Result<()> {
    same("tool:echo+hi", Credential::Key, "fake: say=1 tool=1 then=success").await
}

#[tokio::test]
async fn rate_limit_of_a_key() -> anyhow::Result<()> {
    same("429:1", Credential::Key, "fake: then=429:1").await
}

#[tokio::test]
async fn usage_limit_of_a_subscription() -> anyhow::Result<()> {
    same("429_unified:3600", Credential::Bearer, "fake: then=usage:3600").await
}

#[tokio::test]
async fn overloaded() -> anyhow::Result<()> {
    same("529", Credential::Key, "fake: then=529").await
}

#[tokio::test]
async fn server_error() -> anyhow::Result<()> {
    same("500", Credential::Key, "fake: then=500").await
}

#[tokio::test]
async fn key_refused() -> anyhow::Result<()> {
    same("401", Credential::Key, "fake: then=401").await
}

#[tokio::test]
async fn context_too_long() -> anyhow::Result<()> {
    same("400_context", Credential::Key, "fake: then=400_context").await
}

#[tokio::test]
async fn connection_reset() -> anyhow::Result<()> {
    same("reset", Credential::Key, "fake: then=network").await
}

#[tokio::test]
async fn sigterm_while_the_api_is_silent() -> anyhow::Result<()> {
    let (real_folder, fake_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let stub = stub("hang").await?;
    let real = start_real(&stub, Credential::Key, real_folder.path()).await?;
    until("the request", WITHIN, || async { Ok((!stub.requests().is_empty()).then_some(())) }).await?;
    let fake = start_fake("fake: write=ready then=hang", fake_folder.path()).await?;
    let ready = fake_folder.path().join("ready");
    until("the fake", WITHIN, || async { Ok(ready.exists().then_some(())) }).await?;
    for child in [&real, &fake] {
        let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("it runs")?;
        kill_process(pid, Signal::TERM)?;
    }
    assert_eq!(judged(real).await?, judged(fake).await?);
    Ok(())
}
