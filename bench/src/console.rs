//! The console with 100,000 jobs beside an empty one, and 500 browsers that follow one chatty log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use e2e::harness::{Service, Stack, get, until};
use e2e::shop::{enqueue, shop};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::load::{ORCH_TOML, spawn};
use crate::report::{quantile_ms, row};

/// Rows of the large database.
const JOBS: u32 = 100_000;
const RUNNING: u32 = 200;
/// Requests of each kind, one after the other.
const REQUESTS: usize = 300;
/// Browsers on one log, and what its agent prints.
const FOLLOWERS: usize = 500;
const PRINTED_BYTES: usize = 4 * 1024 * 1024;
const WITHIN: Duration = Duration::from_mins(5);

/// Pages of an empty and of a large database.
pub(crate) async fn pages() -> anyhow::Result<()> {
    let mut stack = Stack::builder().orch_toml(ORCH_TOML).runners(0).start().await?;
    stack.orch(&["pause"]).await?;
    let console = stack.addr(Service::Console);
    let empty = [Asked::ask(console, "/queue").await?, Asked::ask(console, "/").await?];
    stack.process(Service::Scheduler).terminate().await?;
    stack.process(Service::Ingest).terminate().await?;
    let url = format!("sqlite://{}", stack.folder().join("orch.db").display());
    store::force::execute(&url, &large()).await?;
    stack.process(Service::Scheduler).start().await?;
    let queue = get(console, "/queue").await?.json()?;
    ensure!(queue["counts"]["running"] == RUNNING, "the rows are not there: {}", queue["counts"]);
    let full = [Asked::ask(console, "/queue").await?, Asked::ask(console, "/").await?];
    for (what, mut empty, mut full) in
        ["queue", "page"].into_iter().zip(empty).zip(full).map(|((what, empty), full)| (what, empty, full))
    {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let limit = quantile_ms(&mut empty.times, share);
            row(&format!("console_{what}_empty_{name}"), limit, "ms", None);
            let value = quantile_ms(&mut full.times, share);
            row(&format!("console_{what}_100k_jobs_{name}"), value, "ms", Some(limit));
        }
        row(&format!("console_{what}_empty_bytes"), empty.kib, "KiB", None);
        row(&format!("console_{what}_100k_jobs_bytes"), full.kib, "KiB", Some(empty.kib));
    }
    stack.finish().await
}

/// What a series of requests took.
struct Asked {
    times: Vec<Duration>,
    /// The size of the last answer.
    kib: f64,
}

impl Asked {
    async fn ask(console: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut asked = Self { times: Vec::with_capacity(REQUESTS), kib: 0.0 };
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(console).await?;
            let request = format!("GET {path} HTTP/1.0\r\nHost: {console}\r\nAccept: text/html\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            asked.times.push(begun.elapsed());
            ensure!(
                answer.starts_with(b"HTTP/1.0 200"),
                "{path}: {}",
                String::from_utf8_lossy(&answer[..60])
            );
            #[expect(clippy::cast_precision_loss, reason = "a size")]
            let kib = answer.len() as f64 / 1024.0;
            asked.kib = kib;
        }
        Ok(asked)
    }
}

/// The rows of a large database: a week of work of four projects, the last day of it in the charts.
fn large() -> String {
    format!(
        "BEGIN;
        CREATE TEMP TABLE n AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {JOBS}) SELECT i,
            CASE WHEN i > {JOBS} - {RUNNING} THEN 'running' WHEN i % 10 < 6 THEN 'done' WHEN i % 10 = 6 THEN 'failed' ELSE 'queued' END AS status,
            unixepoch() * 1000 - ({JOBS} - i) * 6000 AS at, printf('%08x-0000-7000-8000-%012d', unixepoch() / 65536, i) AS run FROM n;
        INSERT INTO jobs (id, project, work_item, stage, role, priority, own_prompt, status, due, available_at, epoch, run_id, finished_at,
                          failure_reason, created_at, updated_at)
        SELECT i, 'shop' || (i % 4), 'SHOP-' || i, CASE i % 3 WHEN 0 THEN 'review' WHEN 1 THEN 'testing' ELSE 'development' END, 'reviewer',
               0, 0, status, status = 'queued' AND i % 2, at, status <> 'queued', CASE status WHEN 'running' THEN run END,
               CASE WHEN status IN ('done', 'failed') THEN at END, CASE status WHEN 'failed' THEN 'failed 3 times: the agent ended with exit code 3' END,
               at, at FROM n;
        INSERT INTO runs (id, job_id, epoch, node, incarnation, account, state, offered_at, started_at, cost_usd, turns, input_tokens, output_tokens)
        SELECT run, i, 1, 'node-' || (i % 20), 1, 'default', 'started', at, at, 0.25, 12, 34567, 890 FROM n WHERE status <> 'queued';
        UPDATE runs SET state = 'ended', ended_at = offered_at + 1000, class = CASE job_id % 10 WHEN 6 THEN 'permanent' ELSE 'success' END,
               reason = CASE job_id % 10 WHEN 6 THEN 'agent_failed' ELSE 'none' END
        WHERE job_id <= {JOBS} - {RUNNING};
        INSERT INTO work_items (project, key, stage, state, bounces, hops, created_at, updated_at)
        SELECT project, work_item, stage, 'active', CASE id % 50 WHEN 0 THEN '{{\"review\":1}}' ELSE '{{}}' END, 0, created_at, updated_at
        FROM jobs WHERE status IN ('queued', 'running');
        COMMIT;"
    )
}

/// Browsers that follow one log.
pub(crate) async fn followers() -> anyhow::Result<()> {
    let mut stack = shop().start().await?;
    let alone = chatty(&stack, 0).await?;
    let before = memory(&mut stack);
    let followed = chatty(&stack, FOLLOWERS).await?;
    let after = memory(&mut stack);
    row("agent_prints_followed_by_0", alone.per_second_mib, "MiB/s", None);
    row("agent_prints_followed_by_500", followed.per_second_mib, "MiB/s", Some(alone.per_second_mib));
    row("log_followers_received", followed.received_mib, "MiB", None);
    for ((name, before), (_, after)) in before.into_iter().zip(after) {
        row(&format!("{name}_memory_most_without_followers"), before, "MiB", None);
        row(&format!("{name}_memory_most_with_500_followers"), after, "MiB", Some(before));
    }
    stack.finish().await
}

struct Printed {
    per_second_mib: f64,
    received_mib: f64,
}

/// Has an agent print while so many browsers follow its log, each to the end.
#[expect(clippy::cast_precision_loss, reason = "sizes")]
async fn chatty(stack: &Stack, followers: usize) -> anyhow::Result<Printed> {
    const MIB: f64 = 1024.0 * 1024.0;
    let console = stack.addr(Service::Console);
    let door = stack.folder().join(format!("door-{followers}"));
    let times = stack.folder().join(format!("times-{followers}"));
    let id = enqueue(
        stack,
        &format!(
            "await={} write={times}.begun chatty={PRINTED_BYTES} write={times}.ended then=success",
            door.display(),
            times = times.display()
        ),
    )
    .await?;
    let run = until("the run", WITHIN, || async {
        Ok(get(console, &format!("/jobs/{id}")).await?.json()?["runs"][0]["run_id"]
            .as_str()
            .map(str::to_owned))
    })
    .await?;
    let received = Arc::new(AtomicU64::new(0));
    let open = (0..followers)
        .map(|_| spawn(follow(console, format!("/runs/{run}/log?follow=true"), received.clone())));
    let following: Vec<_> = open.collect();
    // Every follower has the log's beginning before the agent goes on.
    until("all follow", WITHIN, || async {
        Ok((received.load(Ordering::Relaxed) >= followers as u64).then_some(()))
    })
    .await?;
    std::fs::write(&door, "")?;
    stack.until_status(id, "done", WITHIN).await?;
    let modified = |end: &str| std::fs::metadata(format!("{}.{end}", times.display()))?.modified();
    let took = modified("ended")?.duration_since(modified("begun")?)?;
    for follower in try_join_all(following).await? {
        follower?;
    }
    Ok(Printed {
        per_second_mib: PRINTED_BYTES as f64 / MIB / took.as_secs_f64(),
        received_mib: received.load(Ordering::Relaxed) as f64 / MIB,
    })
}

/// Reads a log to its end, and that it is whole.
async fn follow(console: SocketAddr, path: String, received: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(console).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {console}\r\n\r\n").as_bytes()).await?;
    let (mut piece, mut all) = (vec![0; 64 * 1024], 0);
    loop {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            ensure!(all > PRINTED_BYTES as u64, "a follower got {all} bytes only");
            return Ok(());
        }
        all += length as u64;
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// The most memory that scheduler and console ever had, in MiB.
fn memory(stack: &mut Stack) -> Vec<(&'static str, f64)> {
    let mut most = |service| {
        let pid = stack.process(service).pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    let names = [("scheduler", Service::Scheduler), ("console", Service::Console)];
    names.map(|(name, service)| (name, most(service).unwrap_or(0.0))).to_vec()
}
