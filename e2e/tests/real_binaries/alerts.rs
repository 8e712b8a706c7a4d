//! What people are told: once for each job that is given up, through faults and a killed scheduler, and never the token.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use e2e::harness::{Service, get, until};
use e2e::receiver::{Receiver, Reply, Seen};

use crate::shop::{run, shop};

const TOKEN: &str = "7777:hunter2-TOKEN-of-a-bot";
/// Longer than the lease of whoever was killed with a message in its hands.
const TOLD_WITHIN: Duration = Duration::from_mins(3);

/// The jobs that a message names, in its order.
fn jobs_of(seen: &Seen) -> Vec<i64> {
    let text = seen.field("text");
    let ids = text.split("Job ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok());
    ids.collect()
}

#[tokio::test]
async fn every_job_that_is_given_up_is_told_in_order_whatever_happens_and_the_token_never()
-> anyhow::Result<()> {
    let telegram = Receiver::start().await?;
    let slow = Reply::refused(429, "Too Many Requests: retry after 1", r#"{"retry_after":1}"#);
    telegram.answer_with([Reply::refused(500, TOKEN, "{}"), Reply::Dropped, slow, Reply::Hung]);
    let mut stack = shop()
        .env("ORCH_MAX_ATTEMPTS", "1")
        .env("ORCH_TELEGRAM_BOT_TOKEN", TOKEN)
        .env("ORCH_TELEGRAM_CHAT_ID", "-42")
        .env("ORCH_TELEGRAM_API_URL", &telegram.url())
        .env("RUST_LOG", "info,scheduler=trace,service=trace,hyper=trace,hyper_util=trace,hyper_rustls=trace")
        .start()
        .await?;
    let mut given_up = Vec::new();
    for _ in 0..3 {
        let job = run(&stack, "then=crash:1", "failed").await?;
        given_up.push(job["job"]["id"].as_i64().context("a job has an id")?);
    }
    let done = run(&stack, "then=success", "done").await?["job"]["id"].as_i64();

    // Killed with a request in its hands that nobody answers.
    let hung = || async { Ok(telegram.seen().iter().any(|seen| seen.reply == Reply::Hung).then_some(())) };
    until("a request that hangs", TOLD_WITHIN, hung).await?;
    stack.process(Service::Scheduler).kill().await?;
    assert_eq!(telegram.taken().len(), 0);
    stack.process(Service::Scheduler).start().await?;
    let told = || async {
        let told: Vec<i64> = telegram.taken().iter().flat_map(jobs_of).collect();
        Ok((told.len() >= given_up.len()).then_some(told))
    };
    let told = until("every alert", TOLD_WITHIN, told).await?;
    assert_eq!(told, given_up);
    assert!(telegram.seen().iter().all(|seen| seen.path == format!("/bot{TOKEN}/sendMessage")));

    // Settled once it was answered; a job that is done is nobody's alert.
    let queue = || async {
        let queue = stack.orch(&["queue"]).await?;
        Ok((queue["alerts"]["pending"] == 0).then_some(queue))
    };
    let queue = until("an empty outbox", TOLD_WITHIN, queue).await?;
    assert_eq!(queue["alerts"]["last_error"], serde_json::Value::Null, "{queue:#}");
    assert!(done.is_some_and(|done| !told.contains(&done)));

    let printed = stack.command("orch-scheduler")?.arg("--print-config").output().await?;
    let mut outputs = vec![
        ("--print-config", printed.stdout),
        ("GET /metrics", get(stack.addr(Service::Scheduler), "/metrics").await?.body.to_vec()),
        ("GET /queue", get(stack.addr(Service::Console), "/queue").await?.body.to_vec()),
    ];
    outputs.push(("orch doctor", stack.orch_output(&["doctor"]).await?.stdout));
    outputs.push(("argv", format!("{:?}", stack.processes()).into_bytes()));
    for (name, bytes) in &outputs {
        assert!(!bytes.is_empty() && !has_token(bytes), "{name}: {}", String::from_utf8_lossy(bytes));
    }
    assert!(String::from_utf8_lossy(&outputs[0].1).contains("ORCH_TELEGRAM_BOT_TOKEN=<redacted>\n"));
    let mut files = 0;
    look_for_token(stack.folder(), &mut files)?;
    assert!(files > 5, "logs and the database were looked at: {files} files");
    let log = stack.process(Service::Scheduler).log();
    assert!(log.contains("could not deliver alerts yet"), "what fails is in the log");
    stack.finish().await
}

fn has_token(bytes: &[u8]) -> bool {
    bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
}

/// Logs, the database, spools and workspaces.
fn look_for_token(folder: &Path, files: &mut usize) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
            look_for_token(&path, files)?;
        } else if kind.is_ok_and(|kind| kind.is_file()) {
            // A file may go while it is looked at.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            *files += 1;
            assert!(!has_token(&bytes), "{} has the token", path.display());
        }
    }
    Ok(())
}
