//! A system with a history, an agent that lives and work that waits is moved from SQLite to PostgreSQL, and goes on there.

use anyhow::ensure;
use e2e::harness::{Service, Stack, get, until};
use postgres_server::Server;

use crate::shop::{Ledger, WITHIN, enqueue, shop, verdicts};

const ALL: [Service; 4] = [Service::Ingest, Service::Console, Service::Scheduler, Service::Runner(0)];

/// Runs `orch` with these words; gives its exit code and what it said on both streams.
async fn orch(
    stack: &Stack,
    database: &str,
    words: &[&str],
) -> anyhow::Result<(Option<i32>, String, String)> {
    let mut command = stack.command("orch")?;
    let output = command.env("ORCH_DATABASE_URL", database).args(words).output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[tokio::test]
async fn a_system_with_history_and_living_state_moves_to_postgres() -> anyhow::Result<()> {
    let database = Server::shared().database();
    let mut stack = shop()
        .env("ORCH_RUNNER_LEASE_SECONDS", "4")
        .env("ORCH_KILL_GRACE_SECONDS", "1")
        .env("ORCH_LEASE_SECONDS", "8")
        .env("ORCH_RENEW_SECONDS", "1")
        .env("ORCH_RUNNER_SLOTS", "1")
        .start()
        .await?;
    let ledger = Ledger::of(&stack);
    let over = enqueue(&stack, "fake: tool=1 then=success:The+total+is+right").await?;
    stack.until_status(over, "done", WITHIN).await?;
    let log_before = stack.orch_output(&["logs", &over.to_string()]).await?.stdout;
    ensure!(!log_before.is_empty(), "there is a log to move");

    let door = stack.folder().join("door");
    let living = enqueue(&stack, &format!("{} say=1 await={}", ledger.step(), door.display())).await?;
    until("an agent", WITHIN, || async { Ok((ledger.starts().len() == 1).then_some(())) }).await?;
    let waiting = enqueue(&stack, &format!("{} say=1", ledger.step())).await?;

    let from = format!("sqlite://{}", stack.folder().join("orch.db").display());
    let to = database.url();
    let words = ["migrate", "--from", &from, "--to", &to, "--json"];
    let (code, _, said) = orch(&stack, &from, &words).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is in use: stop ingest, the scheduler and the console first"), "{said}");

    for service in ALL {
        let ended = stack.process(service).terminate().await?;
        assert!(ended.success(), "{service:?}: {ended}");
    }
    assert!(ledger.starts().iter().all(e2e::shop::Spawn::lives), "the agent lives on");
    let (code, told, said) = orch(&stack, &from, &words).await?;
    assert_eq!(code, Some(0), "{said}");
    let told: serde_json::Value = serde_json::from_str(&told)?;
    assert_eq!(
        (&told["tables"]["jobs"], &told["tables"]["runs"], &told["violations"]),
        (&3.into(), &2.into(), &0.into())
    );
    ensure!(
        told["logs"].as_u64() >= Some(1) && told["log_bytes"].as_u64() >= Some(log_before.len() as u64),
        "{told:#}"
    );
    let (code, _, said) = orch(&stack, &from, &words).await?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("the target is not empty"), "{said}");

    for service in ALL {
        stack.process(service).set_env("ORCH_DATABASE_URL", &to);
        stack.process(service).start().await?;
    }
    std::fs::write(&door, b"")?;
    for id in [living, waiting] {
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(verdicts(&job).last(), Some(&("success", "none")), "{job:#}");
    }
    assert_eq!(ledger.doubles(), 0);
    let log_after = stack.orch_output(&["logs", &over.to_string()]).await?.stdout;
    assert_eq!(String::from_utf8(log_after)?, String::from_utf8(log_before)?, "the log came with its run");
    let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
    assert_eq!(queue["counts"]["done"], 3, "{queue:#}");
    let fourth = enqueue(&stack, &format!("{} say=1", ledger.step())).await?;
    assert_eq!(fourth, waiting + 1, "numbers go on");
    stack.until_status(fourth, "done", WITHIN).await?;
    let (code, told, said) = orch(&stack, &to, &["doctor"]).await?;
    assert_eq!(code, Some(0), "{told}{said}");
    stack.finish().await
}
