//! Durable webhook acknowledgements per second: signature, dedupe, delivery, payload and job, fsynced.

use std::time::Duration;

use e2e::harness::{Service, Stack};

use crate::bare::BareHandler;
use crate::load::{ORCH_TOML, SECRET, post_pushes};
use crate::report::{median, quantile_ms, row};

const LENGTH: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);
const REPETITIONS: usize = 3;

/// Ours and the same handler without the store in turn, the median of three; ingest alone on its file.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let mut stack =
        Stack::builder().orch_toml(ORCH_TOML).env("ORCH_GITEA_WEBHOOK_SECRET", SECRET).lay_out()?;
    stack.process(Service::Ingest).start().await?;
    let ingest = stack.addr(Service::Ingest);
    let bare = BareHandler::start().await?;
    for connections in [1, 32] {
        post_pushes(ingest, connections, WARM_UP).await?;
        let (mut ours, mut limit, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            limit.push(post_pushes(bare.addr, connections, LENGTH).await?.per_second);
            let load = post_pushes(ingest, connections, LENGTH).await?;
            ours.push(load.per_second);
            latencies.extend(load.latencies);
        }
        let limit = median(limit);
        let name = |what| format!("webhook_{what}_c{connections}_sqlite_full");
        row(&name("limit_no_store"), limit, "acks/s", None);
        row(&name("acks"), median(ours), "acks/s", Some(limit));
        row(&name("p50"), quantile_ms(&mut latencies, 0.5), "ms", None);
        row(&name("p99"), quantile_ms(&mut latencies, 0.99), "ms", None);
    }
    stack.finish().await
}
