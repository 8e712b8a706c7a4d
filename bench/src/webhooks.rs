//! Durable webhook acknowledgements per second: signature, dedupe, delivery, payload and job, fsynced.
//!
//! Ours beside the same rows over the raw driver, in turn, each in a process of its own on a file of its own, under the
//! same load. The processor time of each answer stands beside the rate: what else the machine does moves it least.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use e2e::harness::{Service, Stack};

use crate::bare::BareHandler;
use crate::limit::{LimitHandler, Synchronous};
use crate::load::{Load, ORCH_TOML, SECRET};
use crate::proc::Usage;
use crate::raw::post_pushes;
use crate::report::{REPETITIONS, beside, keep_latencies, median, quantile_ms, row};
use crate::two::{self, Work};

const LENGTH: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

/// One side of the comparison.
struct Side {
    name: &'static str,
    addr: SocketAddr,
    pid: u32,
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu_us: Vec<f64>,
    latencies: Vec<Duration>,
}

impl Side {
    fn new(name: &'static str, addr: SocketAddr, pid: Option<u32>) -> anyhow::Result<Self> {
        let pid = pid.with_context(|| format!("{name} has ended"))?;
        let (rates, p50, p99, cpu_us, latencies) = Default::default();
        Ok(Self { name, addr, pid, rates, p50, p99, cpu_us, latencies })
    }

    async fn measure(&mut self, connections: usize) -> anyhow::Result<()> {
        let before = Usage::of(self.pid)?.cpu;
        let load = post_pushes(self.addr, connections, LENGTH).await?;
        let cpu = Usage::of(self.pid)?.cpu.saturating_sub(before);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        self.cpu_us.push(cpu.as_secs_f64() * 1e6 / load.latencies.len() as f64);
        self.add(load);
        Ok(())
    }

    fn add(&mut self, mut load: Load) {
        self.rates.push(load.per_second);
        self.p50.push(quantile_ms(&mut load.latencies, 0.5));
        self.p99.push(quantile_ms(&mut load.latencies, 0.99));
        self.latencies.extend(load.latencies);
    }
}

/// Ours, the limit at both durabilities, and the handler that keeps nothing.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut stack =
        Stack::builder().orch_toml(ORCH_TOML).env("ORCH_GITEA_WEBHOOK_SECRET", SECRET).lay_out()?;
    stack.process(Service::Ingest).start().await?;
    let full = LimitHandler::start(&folder.path().join("full.db"), Synchronous::Full).await?;
    let normal = LimitHandler::start(&folder.path().join("normal.db"), Synchronous::Normal).await?;
    let bare = BareHandler::start().await?;
    for connections in [1, 32] {
        let mut sides = [
            Side::new("limit_sqlite_full", full.addr, full.pid())?,
            Side::new("sqlite_full", stack.addr(Service::Ingest), stack.process(Service::Ingest).pid())?,
            Side::new("limit_sqlite_normal", normal.addr, normal.pid())?,
            Side::new("limit_no_store", bare.addr, bare.pid())?,
        ];
        for side in &sides {
            post_pushes(side.addr, connections, WARM_UP).await?;
        }
        for _ in 0..REPETITIONS {
            for side in &mut sides {
                side.measure(connections).await?;
            }
        }
        print(&sides, connections)?;
    }
    beside_claims(&mut stack, &full).await?;
    stack.finish().await
}

/// Ours while another process claims and ends jobs of the same file as fast as it can, beside the limit that has its file alone.
async fn beside_claims(stack: &mut Stack, full: &LimitHandler) -> anyhow::Result<()> {
    let mut limit = Side::new("limit_sqlite_full", full.addr, full.pid())?;
    let mut ours =
        Side::new("sqlite_full", stack.addr(Service::Ingest), stack.process(Service::Ingest).pid())?;
    let database = stack.folder().join("orch.db");
    let mut claims = Vec::new();
    for _ in 0..REPETITIONS {
        limit.measure(32).await?;
        let (told, measured) = tokio::join!(two::run(&database, Work::Claim), ours.measure(32));
        measured?;
        claims.push(told?["per_second"].as_f64().context("the claims say no rate")?);
    }
    beside("webhook_acks_c32_beside_claims", &ours.rates, "acks/s", &limit.rates);
    row("webhook_p99_c32_beside_claims", median(ours.p99), "ms", None);
    row("claims_beside_webhooks_c32", median(claims), "jobs/s", None);
    Ok(())
}

fn print(sides: &[Side], connections: usize) -> anyhow::Result<()> {
    let Some(limit) = sides.first() else { return Ok(()) };
    for side in sides {
        let name = |what| format!("webhook_{what}_c{connections}_{}", side.name);
        if side.name == limit.name {
            row(&name("acks"), median(side.rates.clone()), "acks/s", None);
        } else {
            beside(&name("acks"), &side.rates, "acks/s", &limit.rates);
        }
        row(&name("p50"), median(side.p50.clone()), "ms", None);
        row(&name("p99"), median(side.p99.clone()), "ms", None);
        row(&name("cpu"), median(side.cpu_us.clone()), "us", None);
    }
    let mut drawn: Vec<_> = sides.iter().map(|side| (side.name, side.latencies.clone())).collect();
    keep_latencies(&format!("webhooks-latency-c{connections}"), &mut drawn)
}
