//! Two processes on one SQLite file: deliveries in a tight loop beside claims and ends of runs in a tight loop.
//!
//! Each is measured alone and then both together, in turn. Neither may starve, and nobody may see the file locked.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use domain::transition::{Conclusion, Event};
use domain::{Chance, Class, Policy, RunId, Timestamp};
use futures::future::{join_all, try_join};
use serde_json::{Value, json};
use store::{Access, Applied, Change, ClaimRequest, Store};
use tokio::process::Command;
use tokio::time::Instant;
use uuid::Uuid;

use crate::load::Load;
use crate::report::{REPETITIONS, beside, median, quantile_ms, row};
use crate::{store_call, traffic};

const LENGTH: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(200);
/// Deliveries under way at once, and jobs claimed and ended together.
const CALLERS: usize = 16;
const TOGETHER: usize = 16;
/// Due jobs before each repetition: more than can be claimed in it.
const BACKLOG: u32 = 80_000;

/// What a process does in its loop.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Work {
    /// What ingest asks of the store.
    Accept,
    /// What the scheduler asks of it.
    Claim,
}

impl Work {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Claim => "claim",
        }
    }
}

/// Rates and latencies of one kind of work, by repetition.
#[derive(Debug, Default)]
struct Figures {
    rates: Vec<f64>,
    p99: Vec<f64>,
    max: Vec<f64>,
    errors: f64,
}

impl Figures {
    fn add(&mut self, told: &Value) -> anyhow::Result<()> {
        let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name} in {told}"));
        self.rates.push(number("per_second")?);
        self.p99.push(number("p99_ms")?);
        self.max.push(number("max_ms")?);
        self.errors += number("errors")?;
        Ok(())
    }
}

/// Each alone, and both together.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let mut alone = [Figures::default(), Figures::default()];
    let mut both = [Figures::default(), Figures::default()];
    for _ in 0..REPETITIONS {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("orch.db");
        lay_out(&path).await?;
        alone[0].add(&run(&path, Work::Accept).await?)?;
        alone[1].add(&run(&path, Work::Claim).await?)?;
        let (accepts, claims) = try_join(run(&path, Work::Accept), run(&path, Work::Claim)).await?;
        both[0].add(&accepts)?;
        both[1].add(&claims)?;
    }
    for (work, (alone, both)) in [Work::Accept, Work::Claim].into_iter().zip(alone.iter().zip(&both)) {
        let name = |what: &str| format!("two_processes_{}_{what}", work.as_str());
        row(&name("alone"), median(alone.rates.clone()), "jobs/s", None);
        beside(&name("both"), &both.rates, "jobs/s", &alone.rates);
        row(&name("alone_p99"), median(alone.p99.clone()), "ms", None);
        row(&name("both_p99"), median(both.p99.clone()), "ms", None);
        row(&name("both_max"), both.max.iter().copied().fold(0.0, f64::max), "ms", None);
        row(&name("errors"), alone.errors + both.errors, "errors", None);
    }
    Ok(())
}

/// A database with a backlog.
async fn lay_out(path: &Path) -> anyhow::Result<()> {
    let url = format!("sqlite://{}", path.display());
    store::open(&url, Access::Write).await?.close().await;
    let rows = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BACKLOG})
         INSERT INTO jobs (project, work_item, stage, role, priority, own_prompt, status, due, available_at, created_at, updated_at)
         SELECT 'shop', 'SHOP-' || i, 'review', 'reviewer', 0, 0, 'queued', 1, i, i, i FROM n"
    );
    Ok(store::force::execute(&url, &rows).await?)
}

/// The work in a process of its own.
pub(crate) async fn run(path: &Path, work: Work) -> anyhow::Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .args(["store-loop", "--work", work.as_str(), "--path"])
        .arg(path)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "the {} loop failed", work.as_str());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The process: works for its time and prints what it saw.
pub(crate) async fn work(path: PathBuf, work: Work) -> anyhow::Result<()> {
    let store = store::open(&format!("sqlite://{}", path.display()), Access::Write).await?;
    let (mut load, errors) = match work {
        Work::Accept => {
            let delivery = Arc::new(store_call::delivery()?);
            store_call::accept(&store, &delivery, CALLERS, WARM_UP).await?;
            (store_call::accept(&store, &delivery, CALLERS, LENGTH).await?, 0)
        }
        Work::Claim => {
            claims(&store, WARM_UP).await?;
            claims(&store, LENGTH).await?
        }
    };
    store.close().await;
    let told = json!({
        "per_second": load.per_second,
        "p99_ms": quantile_ms(&mut load.latencies, 0.99),
        "max_ms": quantile_ms(&mut load.latencies, 1.0),
        "errors": errors,
    });
    println!("{told}");
    Ok(())
}

/// Claims a few jobs, then ends their runs, again and again; the latencies are those of both calls.
async fn claims(store: &Arc<dyn Store>, length: Duration) -> anyhow::Result<(Load, u32)> {
    let begun = Instant::now();
    let (mut latencies, mut done, mut errors) = (Vec::new(), 0, 0);
    while begun.elapsed() < length {
        let asked = Instant::now();
        let claimed = match store.claim(request()).await {
            Ok(claimed) => claimed,
            Err(store::Error::Unavailable(_)) => {
                errors += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        latencies.push(asked.elapsed());
        ensure!(!claimed.starts.is_empty(), "the backlog was too small, or something holds it");
        let ends = claimed.starts.iter().map(|start| async {
            let over =
                Event::Ended { run: start.run.id, conclusion: Conclusion::Judged { class: Class::Success } };
            let transition = domain::next(&start.job, &over, now(), &Policy::default(), Chance::new(0.5));
            let Ok(transition) = transition else { bail!("a run that was claimed cannot end") };
            let asked = Instant::now();
            let applied = store.apply(Change::new(transition, now())).await?;
            ensure!(applied == Applied::Done, "a run's end was not written: {applied:?}");
            Ok(asked.elapsed())
        });
        for ended in join_all(ends).await {
            latencies.push(ended?);
            done += 1;
        }
    }
    let per_second = f64::from(done) / begun.elapsed().as_secs_f64();
    Ok((Load { per_second, latencies }, errors))
}

fn request() -> ClaimRequest {
    let facts = traffic::fleet(TOGETHER);
    let run_ids = std::iter::repeat_with(|| RunId(Uuid::now_v7())).take(TOGETHER).collect();
    ClaimRequest { now: now(), facts, run_ids, policy: Policy::default() }
}

fn now() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000)
}
