//! From the webhook's first byte to the first instruction of the agent, one at a time on an idle system.

use std::time::Duration;

use e2e::harness::{Service, Stack, until};

use crate::bare::{LEDGER, last_entry, monotonic_ns, since, spawn_latencies};
use crate::load::{Connection, ORCH_TOML, SECRET, push};
use crate::report::{quantile_ms, row};

const SAMPLES: usize = 100;
const RUN_WITHIN: Duration = Duration::from_secs(20);

/// Ours beside a bare spawn of the same program.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let agent = std::env::current_exe()?;
    let stack = Stack::builder().orch_toml(ORCH_TOML).env("ORCH_GITEA_WEBHOOK_SECRET", SECRET);
    let stack = stack.env("ORCH_CLAUDE_BIN", &agent.display().to_string());
    let folder = tempfile::tempdir()?;
    let (ledger, bare_ledger) = (folder.path().join("ledger"), folder.path().join("bare"));
    std::fs::write(&ledger, "")?;
    let stack = stack
        .env(LEDGER, &ledger.display().to_string())
        .env("ORCH_AGENT_ENV", &format!("ORCH_E2E,{LEDGER}"))
        .start()
        .await?;
    std::fs::write(stack.folder().join("review.md"), "Review {{ title }}.\n")?;
    let mut connection = Connection::open(stack.addr(Service::Ingest)).await?;
    let mut latencies = Vec::with_capacity(SAMPLES);
    for sample in 0..SAMPLES {
        let webhook = push();
        let begun = monotonic_ns();
        let answer = connection.post(&webhook).await?;
        until("the agent started", RUN_WITHIN, || async {
            Ok((std::fs::read_to_string(&ledger)?.lines().count() > sample).then_some(()))
        })
        .await?;
        latencies.push(since(begun, last_entry(&ledger)?));
        let id = answer["job_ids"][0].as_i64().unwrap_or_default();
        stack.until_status(id, "done", RUN_WITHIN).await?;
    }
    let mut bare = spawn_latencies(&bare_ledger, SAMPLES).await?;
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let limit = quantile_ms(&mut bare, share);
        row(&format!("agent_exec_limit_bare_spawn_{name}"), limit, "ms", None);
        row(&format!("webhook_to_agent_exec_{name}"), quantile_ms(&mut latencies, share), "ms", Some(limit));
    }
    stack.finish().await
}
