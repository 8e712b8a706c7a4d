//! 1,000 runner nodes with 10,000 live runs that renew and log: what they cost the scheduler, and how soon a dead one is found.

use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::harness::{Service, Stack, get, until};
use proto::v1::admin_service_client::AdminServiceClient;
use proto::v1::{ListRunnersRequest, WatchJobsRequest};
use service::grpc;
use service::settings::TlsSettings;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::FleetSize;
use crate::load::{ORCH_TOML, spawn};
use crate::proc::{Usage, open_many_files};
use crate::report::{median, quantile_ms, row};
use crate::simulated::{Fleet, Pace};

/// How long leases are in these measurements: the shortest that the other terms allow.
const LEASE: Duration = Duration::from_secs(30);
const RUNNER_LEASE: Duration = Duration::from_secs(18);
/// Jobs that wait for the scheduler, to see claims flow.
const QUEUED: usize = 20;
/// Runs beyond those of the start that may live.
const ROOM: usize = 1000;
const WITHIN: Duration = Duration::from_mins(2);
/// One after the other, so that it does not look as if the scheduler itself had stalled.
const DEATHS_APART: Duration = Duration::from_millis(2700);

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) runs: usize,
    pub(crate) pace: Pace,
    /// How long it is looked at.
    pub(crate) window: Duration,
    pub(crate) deaths: usize,
    pub(crate) restarts: usize,
}

impl From<FleetSize> for Size {
    fn from(asked: FleetSize) -> Self {
        let short = asked.length.short;
        Self {
            nodes: asked.nodes,
            runs: asked.runs,
            pace: Pace { line_bytes: 512, every: Duration::from_secs(1) },
            window: Duration::from_secs(if short { 15 } else { 60 }),
            deaths: if short { 3 } else { 7 },
            restarts: if short { 1 } else { 5 },
        }
    }
}

/// A stack whose database holds the fleet's runs; only its scheduler is to be started.
pub(crate) async fn laid_out(size: Size) -> anyhow::Result<(Stack, Fleet)> {
    open_many_files()?;
    let seconds = |duration: Duration| duration.as_secs().to_string();
    let mut stack = Stack::builder()
        .orch_toml(ORCH_TOML)
        .file("review.md", "Review {{ title }}.\n")
        .runners(0)
        .env("ORCH_MAX_CONCURRENCY", &(size.runs + ROOM).to_string())
        .env("ORCH_LEASE_SECONDS", &seconds(LEASE))
        .env("ORCH_RUNNER_LEASE_SECONDS", &seconds(RUNNER_LEASE))
        // As the packages and images start it.
        .env("MALLOC_ARENA_MAX", "1")
        .lay_out()?;
    // The first start makes the database.
    stack.process(Service::Scheduler).start().await?;
    stack.process(Service::Scheduler).terminate().await?;
    let fleet = Fleet::bind(stack.addr(Service::Scheduler), size.nodes, size.runs, size.pace).await?;
    let url = format!("sqlite://{}", stack.folder().join("orch.db").display());
    store::force::execute(&url, &fleet.rows(size.runs, QUEUED)).await?;
    Ok((stack, fleet))
}

/// Adds jobs that are due while no scheduler runs.
pub(crate) async fn enqueue(stack: &Stack) -> anyhow::Result<()> {
    let url = format!("sqlite://{}", stack.folder().join("orch.db").display());
    let rows = format!(
        "INSERT INTO jobs (project, work_item, stage, role, priority, own_prompt, status, due, available_at, epoch, created_at, updated_at)
        SELECT 'shop', 'MORE-' || (id + (SELECT max(id) FROM jobs)), 'review', 'reviewer', 0, 0, 'queued', 1,
               unixepoch() * 1000, 0, unixepoch() * 1000, unixepoch() * 1000 FROM jobs LIMIT {QUEUED}"
    );
    Ok(store::force::execute(&url, &rows).await?)
}

/// Waits until every run is watched and every node is registered.
pub(crate) async fn all_watched(fleet: &Fleet, size: Size) -> anyhow::Result<()> {
    until("every run is watched", WITHIN, || async {
        let watches = fleet.tally.watches.load(std::sync::atomic::Ordering::Relaxed);
        Ok((watches >= size.runs && fleet.tally.registered() == size.nodes).then_some(()))
    })
    .await
}

/// Measures.
pub(crate) async fn measure(size: Size) -> anyhow::Result<()> {
    let (mut stack, fleet) = laid_out(size).await?;
    stack.process(Service::Scheduler).start().await?;
    fleet.begin();
    all_watched(&fleet, size).await?;
    // Until claims have flowed and what was allocated for the start is settled.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let steady = steady(&mut stack, &fleet, size).await?;
    steady.tell();
    deaths(&stack, &fleet, size).await?;
    let most = Usage::of(stack.process(Service::Scheduler).pid().context("the scheduler runs")?)?;
    row("fleet_scheduler_memory_most", most.rss_most_mib, "MiB", Some(300.0));
    check_logs(&stack)?;
    fleet.end().await;
    stack.finish().await
}

/// What a window showed, per second where it is a rate.
struct Steady {
    cores: f64,
    own_cores: f64,
    rss_mib: f64,
    threads: f64,
    commits: f64,
    written_mib: f64,
    chunks: f64,
    renewals: f64,
    renewal_times: Vec<Duration>,
}

#[expect(clippy::cast_precision_loss, reason = "counts")]
async fn steady(stack: &mut Stack, fleet: &Fleet, size: Size) -> anyhow::Result<Steady> {
    use std::sync::atomic::Ordering::Relaxed;
    let pid = stack.process(Service::Scheduler).pid().context("the scheduler runs")?;
    let look =
        || anyhow::Ok((Usage::of(pid)?, Usage::of(std::process::id())?, fleet.tally.chunks.load(Relaxed)));
    fleet.tally.take_renewals();
    let (begun, commits, before) = (Instant::now(), commits(stack).await?, look()?);
    tokio::time::sleep(size.window).await;
    let (after, seconds) = (look()?, begun.elapsed().as_secs_f64());
    let commits = self::commits(stack).await? - commits;
    let renewal_times = fleet.tally.take_renewals();
    Ok(Steady {
        cores: after.0.cpu.saturating_sub(before.0.cpu).as_secs_f64() / seconds,
        own_cores: after.1.cpu.saturating_sub(before.1.cpu).as_secs_f64() / seconds,
        rss_mib: after.0.rss_mib,
        threads: after.0.threads as f64,
        commits: commits / seconds,
        written_mib: (after.0.written_mib - before.0.written_mib) / seconds,
        chunks: (after.2 - before.2) as f64 / seconds,
        renewals: renewal_times.len() as f64 / seconds,
        renewal_times,
    })
}

impl Steady {
    fn tell(mut self) {
        row("fleet_renewals", self.renewals, "/s", None);
        row("fleet_log_lines", self.chunks, "/s", None);
        row("fleet_scheduler_cpu", self.cores, "cores", Some(1.0));
        row("fleet_simulated_runners_cpu", self.own_cores, "cores", None);
        row("fleet_scheduler_memory", self.rss_mib, "MiB", Some(300.0));
        row("fleet_scheduler_threads", self.threads, "threads", None);
        row("fleet_database_writes", self.commits, "/s", None);
        row("fleet_disk", self.written_mib, "MiB/s", None);
        row("fleet_renewal_p50", quantile_ms(&mut self.renewal_times, 0.5), "ms", None);
        row("fleet_renewal_p99", quantile_ms(&mut self.renewal_times, 0.99), "ms", None);
    }
}

/// How many writes the scheduler asked its database for so far.
async fn commits(stack: &Stack) -> anyhow::Result<f64> {
    let text = get(stack.addr(Service::Scheduler), "/metrics").await?.body;
    let text = String::from_utf8_lossy(&text).into_owned();
    let count = text.lines().find_map(|line| line.strip_prefix("orch_store_commit_seconds_count "));
    count.and_then(|count| count.trim().parse().ok()).context("no count of commits in /metrics")
}

/// Kills nodes one by one: how long until each gets no more work, and until its jobs are given to others.
async fn deaths(stack: &Stack, fleet: &Fleet, size: Size) -> anyhow::Result<()> {
    let url = format!("http://{}", stack.addr(Service::Scheduler));
    let admin = AdminServiceClient::new(grpc::channel(&url, &TlsSettings::default())?);
    let mut deaths = Vec::new();
    for number in 0..size.deaths {
        let node = fleet.nodes[number * (size.nodes / size.deaths)].clone();
        let (id, job) = (node.id(), node.jobs().first().copied().context("it holds a run")?);
        let (admin, died) = (admin.clone(), Instant::now());
        node.die();
        deaths.push(spawn(async move {
            let given_up = spawn(given_up(admin.clone(), job, died));
            let unreachable = unreachable(admin, id, died).await?;
            anyhow::Ok((unreachable, given_up.await??))
        }));
        tokio::time::sleep(DEATHS_APART).await;
    }
    let (mut unreachable, mut given_up) = (Vec::new(), Vec::new());
    for death in deaths {
        let (first, second) = death.await??;
        unreachable.push(first.as_secs_f64());
        given_up.push(second.as_secs_f64());
    }
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let lease = LEASE.as_secs_f64();
    row("fleet_dead_unreachable_p50", median(unreachable.clone()), "s", Some(20.0));
    row("fleet_dead_unreachable_most", most(&unreachable), "s", Some(20.0));
    row("fleet_dead_given_up_p50", median(given_up.clone()), "s", Some(lease));
    row("fleet_dead_given_up_most", most(&given_up), "s", Some(lease));
    Ok(())
}

async fn unreachable(
    admin: AdminServiceClient<Channel>,
    id: String,
    died: Instant,
) -> anyhow::Result<Duration> {
    until("the dead runner is unreachable", WITHIN, || async {
        let runners = admin.clone().list_runners(ListRunnersRequest::default()).await?.into_inner().runners;
        let state = runners.into_iter().find(|runner| runner.id == id).map(|runner| runner.state);
        Ok(state.is_some_and(|state| state != "ready").then(|| died.elapsed()))
    })
    .await
}

async fn given_up(
    mut admin: AdminServiceClient<Channel>,
    job: i64,
    died: Instant,
) -> anyhow::Result<Duration> {
    let request = WatchJobsRequest { job_id: Some(job), ..WatchJobsRequest::default() };
    let mut events = admin.watch(request).await?.into_inner();
    let ended = async {
        while let Some(event) = events.message().await? {
            if event.kind == "run_ended" {
                ensure!(event.class.as_deref() == Some("lost"), "it ended otherwise: {event:?}");
                return Ok(died.elapsed());
            }
        }
        anyhow::bail!("the events ended")
    };
    tokio::time::timeout(WITHIN, ended).await.context("its run is not given up")?
}

/// Every log is whole lines.
fn check_logs(stack: &Stack) -> anyhow::Result<()> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(stack.folder().join("run-logs"))?.take(200) {
        let text = std::fs::read(entry?.path())?;
        let whole = text
            .split_inclusive(|byte| *byte == b'\n')
            .all(|line| line.starts_with(b"{\"type\":\"assistant\"") && line.ends_with(b"\"}]}}\n"));
        ensure!(whole, "a log holds something that nobody printed");
        bytes += text.len();
    }
    ensure!(bytes > 0, "nothing was logged");
    Ok(())
}
