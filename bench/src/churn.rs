//! Churn beside a pinned snapshot on PostgreSQL: somebody's transaction stays open, so that no dead row can be taken away, while
//! jobs come, run, end and are forgotten at a steady pace. Claims and webhooks must not become slower for it.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use domain::Timestamp;
use domain::retention::Terms;
use postgres_server::Server;
use store::{Access, Store};
use tokio::time::{Instant, MissedTickBehavior};

use crate::plot::{self, Series};
use crate::report::{self, median, quantile_ms, row};
use crate::traffic::{beat, forget};

/// Jobs that come together, and how often.
const TOGETHER: usize = 32;
const EVERY: Duration = Duration::from_millis(100);
/// Finished jobs are forgotten after so much of the rows' clock, which runs 60 times as fast as ours.
const FASTER: u32 = 60;
const KEPT: Duration = Duration::from_hours(1);
const SAMPLES: u32 = 60;

/// For how long.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Churn {
    /// Minutes that the snapshot stays
    #[arg(long, default_value_t = 30)]
    minutes: u32,
}

/// A session whose transaction sees the database as it was when it began.
struct Pinned(Child);

impl Pinned {
    fn open(url: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(postgres_server::binaries().join("psql"))
            .args(["-qXAt", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start psql")?;
        let mut ask = child.stdin.take().context("psql has an input")?;
        writeln!(ask, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM jobs;")?;
        ask.flush()?;
        child.stdin = Some(ask);
        Ok(Self(child))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Runs for the minutes asked for; prints the last third beside the first.
pub(crate) async fn measure(churn: Churn) -> anyhow::Result<()> {
    let server = Arc::new(Server::start(true));
    let database = server.database();
    let store = store::open(&database.url(), Access::Write).await?;
    // Something to be seen by the snapshot, and prepared caches.
    for first in 0..20 {
        beat(&store, first * TOGETHER as u64, TOGETHER, Timestamp::from_ms(0)).await?;
    }
    let pinned = Pinned::open(&database.url())?;
    let samples = live(&store, Duration::from_mins(1) * churn.minutes).await?;
    drop(pinned);
    let violations = store.violations().await?.len();
    store.close().await;
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    row("churn_violations", violations as f64, "rows", None);
    let third = samples.len() / 3;
    for (place, (name, unit)) in NAMES.iter().enumerate() {
        let of = |some: &[[f64; 6]]| median(some.iter().map(|sample| sample[place]).collect());
        row(
            &format!("churn_{name}_late"),
            of(&samples[samples.len() - third..]),
            unit,
            Some(of(&samples[..third])),
        );
    }
    let line = |place: usize| Series {
        name: NAMES[place].0.to_owned(),
        points: samples.iter().map(|sample| (sample[0], sample[place])).collect(),
    };
    report::write(
        "churn.svg",
        &plot::lines(
            "churn beside a pinned snapshot on PostgreSQL",
            "minutes",
            "ms",
            &[line(1), line(2), line(3), line(4)],
        ),
    )
}

const NAMES: [(&str, &str); 6] = [
    ("elapsed", "min"),
    ("accept_p50", "ms"),
    ("claim_p50", "ms"),
    ("claim_p99", "ms"),
    ("forget_step_p50", "ms"),
    ("database", "MB"),
];

async fn live(store: &Arc<dyn Store>, length: Duration) -> anyhow::Result<Vec<[f64; 6]>> {
    let terms = Terms { jobs: KEPT, deliveries: 2 * KEPT, logs: KEPT, ..Terms::default() };
    let begun = Instant::now();
    let clock = || Timestamp::from_ms(1_795_317_438_042).plus(begun.elapsed() * FASTER);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut accepts, mut claims, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut samples, mut number, mut forgotten_at) = (Vec::new(), 1_000_000_u64, Instant::now());
    while begun.elapsed() < length {
        ticks.tick().await;
        let took = beat(store, number, TOGETHER, clock()).await?;
        number += TOGETHER as u64;
        accepts.push(took.accept);
        claims.push(took.claim);
        if forgotten_at.elapsed() > Duration::from_secs(1) {
            steps.extend(forget(store, &terms, clock()).await?.1);
            forgotten_at = Instant::now();
        }
        let due = length * (u32::try_from(samples.len()).unwrap_or(u32::MAX) + 1) / SAMPLES;
        if begun.elapsed() >= due {
            let bytes = store.stats().await?.file_bytes;
            #[expect(clippy::cast_precision_loss, reason = "a size")]
            samples.push([
                begun.elapsed().as_secs_f64() / 60.0,
                quantile_ms(&mut accepts, 0.5),
                quantile_ms(&mut claims, 0.5),
                quantile_ms(&mut claims, 0.99),
                quantile_ms(&mut steps, 0.5),
                bytes as f64 / 1e6,
            ]);
            (accepts, claims, steps) = (Vec::new(), Vec::new(), Vec::new());
        }
    }
    Ok(samples)
}
