//! A day's worth of rows in compressed time: inserted, finished and forgotten through the store's own verbs, while the size of
//! the database, the latency of claims and this process's memory are watched.
//!
//! The clock of the rows runs over [`DAYS`] days, of which jobs are kept one and what makes repeats known two: from the third
//! day on as much goes as comes, and whatever grows then would grow for ever.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use clap::{Args, ValueEnum};
use domain::Timestamp;
use domain::retention::Terms;
use postgres_server::Server;
use store::{Access, Store};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::plot::{self, Series};
use crate::report::{self, median, quantile_ms, row};
use crate::traffic::{ROWS_PER_JOB, beat, forget};

/// The clock's days, and how many of the first are not judged: until then less goes than comes.
const DAYS: u64 = 10;
const DAYS_TO_FILL: f64 = 4.0;
const DAY_MS: u64 = 86_400_000;
const T0_MS: i64 = 1_795_317_438_042;
/// Deliveries that come at once.
const TOGETHER: usize = 256;
/// Points of the plot.
const SAMPLES: u64 = 100;
/// Between two passes of forgetting.
const PAUSE: Duration = Duration::from_millis(200);

/// How much, and where.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Day {
    /// Rows of deliveries, jobs, payloads and runs that are written
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// Only this store
    #[arg(long)]
    on: Option<On>,
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

/// What is seen at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Of the rows' clock.
    days: f64,
    elapsed_s: f64,
    jobs_there: f64,
    database_mb: f64,
    memory_mb: f64,
    jobs_per_s: f64,
    accept_p50_ms: f64,
    claim_p50_ms: f64,
    claim_p99_ms: f64,
    forget_p50_ms: f64,
}

/// Both stores, one after the other.
pub(crate) async fn measure(day: Day) -> anyhow::Result<()> {
    if day.on != Some(On::Postgres) {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite://{}", folder.path().join("orch.db").display());
        on("sqlite", &url, day.rows).await?;
    }
    if day.on != Some(On::Sqlite) {
        let server = Arc::new(Server::start(true));
        let database = server.database();
        on("postgres", &database.url(), day.rows).await?;
    }
    Ok(())
}

async fn on(name: &str, url: &str, rows: u64) -> anyhow::Result<()> {
    let store = store::open(url, Access::Write).await?;
    let begun = Instant::now();
    let samples = live(&store, rows / ROWS_PER_JOB).await?;
    let violations = store.violations().await?.len();
    store.close().await;
    row(&format!("day_{name}_rows"), count(rows), "rows", None);
    row(&format!("day_{name}_took"), begun.elapsed().as_secs_f64(), "s", None);
    row(&format!("day_{name}_violations"), count(violations as u64), "rows", None);
    judge(name, &samples);
    keep(name, &samples)
}

/// Plays all days; gives what was seen.
async fn live(store: &Arc<dyn Store>, jobs: u64) -> anyhow::Result<Vec<Sample>> {
    let clock = Arc::new(AtomicI64::new(T0_MS));
    let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let forgetting = {
        let (store, clock, stop, steps) =
            (Arc::clone(store), Arc::clone(&clock), Arc::clone(&stop), Arc::clone(&steps));
        crate::load::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let now = Timestamp::from_ms(clock.load(Ordering::SeqCst));
                let (_, took) = forget(&store, &terms(), now).await?;
                steps.lock().await.extend(took);
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(())
        })
    };
    let beats = jobs.div_ceil(TOGETHER as u64);
    let (mut samples, mut part, begun) = (Vec::new(), Part::new(), Instant::now());
    for number in 0..beats {
        let now_ms = T0_MS + i64::try_from(number * (DAYS * DAY_MS) / beats)?;
        clock.store(now_ms, Ordering::SeqCst);
        let took = beat(store, number * TOGETHER as u64, TOGETHER, Timestamp::from_ms(now_ms)).await?;
        part.accepts.push(took.accept);
        part.claims.push(took.claim);
        if number * SAMPLES / beats != (number + 1) * SAMPLES / beats {
            let steps = std::mem::take(&mut *steps.lock().await);
            let days = count(number + 1) / count(beats) * count(DAYS);
            samples.push(part.sample(store, days, begun.elapsed(), steps).await?);
            part = Part::new();
        }
    }
    stop.store(true, Ordering::SeqCst);
    forgetting.await??;
    Ok(samples)
}

fn terms() -> Terms {
    let days = |days: u64| Duration::from_millis(days * DAY_MS);
    Terms {
        jobs: days(1),
        jobs_max: 0,
        logs: days(1),
        logs_bytes_max: 0,
        deliveries: days(2),
        deliveries_max: 0,
        messages: days(1),
        acts: days(1),
        items: days(2),
    }
}

/// What came between two samples.
struct Part {
    begun: Instant,
    accepts: Vec<Duration>,
    claims: Vec<Duration>,
}

impl Part {
    fn new() -> Self {
        Self { begun: Instant::now(), accepts: Vec::new(), claims: Vec::new() }
    }

    async fn sample(
        &mut self,
        store: &Arc<dyn Store>,
        days: f64,
        elapsed: Duration,
        mut steps: Vec<Duration>,
    ) -> anyhow::Result<Sample> {
        let stats = store.stats().await?;
        Ok(Sample {
            days,
            elapsed_s: elapsed.as_secs_f64(),
            jobs_there: count(store.kept(0).await?.finished),
            database_mb: count(stats.file_bytes + stats.wal_bytes) / 1e6,
            memory_mb: memory_mb(),
            jobs_per_s: count((self.claims.len() * TOGETHER) as u64) / self.begun.elapsed().as_secs_f64(),
            accept_p50_ms: quantile_ms(&mut self.accepts, 0.5),
            claim_p50_ms: quantile_ms(&mut self.claims, 0.5),
            claim_p99_ms: quantile_ms(&mut self.claims, 0.99),
            forget_p50_ms: quantile_ms(&mut steps, 0.5),
        })
    }
}

/// Resident memory of this process, in MB; 0 where it cannot be read.
fn memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1_024.0 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}

type Column = (&'static str, &'static str, fn(&Sample) -> f64);

const COLUMNS: [Column; 10] = [
    ("days", "d", |sample| sample.days),
    ("elapsed", "s", |sample| sample.elapsed_s),
    ("jobs_there", "jobs", |sample| sample.jobs_there),
    ("database", "MB", |sample| sample.database_mb),
    ("memory", "MB", |sample| sample.memory_mb),
    ("throughput", "jobs/s", |sample| sample.jobs_per_s),
    ("accept_p50", "ms", |sample| sample.accept_p50_ms),
    ("claim_p50", "ms", |sample| sample.claim_p50_ms),
    ("claim_p99", "ms", |sample| sample.claim_p99_ms),
    ("forget_step_p50", "ms", |sample| sample.forget_p50_ms),
];

/// Prints the last third of the full days beside the first: 1.00 is flat.
fn judge(name: &str, samples: &[Sample]) {
    let full: Vec<&Sample> = samples.iter().filter(|sample| sample.days > DAYS_TO_FILL).collect();
    let third = full.len() / 3;
    for (column, unit, read) in COLUMNS.iter().skip(2) {
        let of = |some: &[&Sample]| median(some.iter().map(|sample| read(sample)).collect());
        let (early, late) = (of(&full[..third]), of(&full[full.len() - third..]));
        row(&format!("day_{name}_{column}_late"), late, unit, Some(early));
    }
}

/// Writes what was seen, and the plots of it: each line as a share of its own most.
fn keep(name: &str, samples: &[Sample]) -> anyhow::Result<()> {
    let mut text =
        COLUMNS.map(|(column, unit, _)| format!("{column}_{}", unit.replace('/', "_per_"))).join("\t");
    text.push('\n');
    for sample in samples {
        writeln!(text, "{}", COLUMNS.map(|(.., read)| format!("{:.2}", read(sample))).join("\t"))?;
    }
    report::write(&format!("day-{name}-samples.tsv"), &text)?;
    let line = |index: usize| {
        let (column, unit, read) = COLUMNS[index];
        let most = samples.iter().map(read).fold(f64::MIN_POSITIVE, f64::max);
        Series {
            name: format!("{column}, most {most:.1} {unit}"),
            points: samples.iter().map(|sample| (sample.days, read(sample) / most)).collect(),
        }
    };
    let svg = plot::lines(
        &format!("a day's rows on {name}, in compressed time"),
        "days of the rows' clock; jobs are kept one, what makes repeats known two",
        "share of the line's most",
        &[line(2), line(3), line(4), line(7), line(8)],
    );
    report::write(&format!("day-{name}.svg"), &svg)
}
