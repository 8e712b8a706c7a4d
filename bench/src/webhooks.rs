//! Durable webhook acknowledgements per second: signature, dedupe, delivery, payload and job, fsynced.

use std::time::Duration;

use e2e::harness::{Service, Stack};

use crate::bare::BareHandler;
use crate::load::{ORCH_TOML, SECRET, post_pushes};
use crate::report::{REPETITIONS, keep_latencies, pair, quantile_ms, row};

const LENGTH: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);

/// Ours and the same handler without the store in turn, five times; ingest alone on its file.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let mut stack =
        Stack::builder().orch_toml(ORCH_TOML).env("ORCH_GITEA_WEBHOOK_SECRET", SECRET).lay_out()?;
    stack.process(Service::Ingest).start().await?;
    let ingest = stack.addr(Service::Ingest);
    let bare = BareHandler::start().await?;
    for connections in [1, 32] {
        post_pushes(ingest, connections, WARM_UP).await?;
        let (mut ours, mut limit) = (Vec::new(), Vec::new());
        let (mut latencies, mut bare_latencies) = (Vec::new(), Vec::new());
        for _ in 0..REPETITIONS {
            let load = post_pushes(bare.addr, connections, LENGTH).await?;
            limit.push(load.per_second);
            bare_latencies.extend(load.latencies);
            let load = post_pushes(ingest, connections, LENGTH).await?;
            ours.push(load.per_second);
            latencies.extend(load.latencies);
        }
        let name = |what| format!("webhook_{what}_c{connections}_sqlite_full");
        pair(&name("acks"), &ours, "acks/s", &name("limit_no_store"), &limit);
        row(&name("p50"), quantile_ms(&mut latencies, 0.5), "ms", None);
        row(&name("p99"), quantile_ms(&mut latencies, 0.99), "ms", None);
        let plot = format!("webhooks-latency-c{connections}");
        keep_latencies(&plot, &mut [("acknowledgement", latencies), ("no store", bare_latencies)])?;
    }
    stack.finish().await
}
