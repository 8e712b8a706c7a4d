//! Jobs per second through claim, run row, Start and finalize, by what else is in the database.
//!
//! The store is driven as the scheduler drives it: claims of at most 64 while up to 256 runs live, each run confirmed and ended by a
//! task of its own. Beside it the very statements that it ran, replayed in their transactions on a copy of the database by SQLite or
//! PostgreSQL alone: what lies between is ours.

mod plant;
mod raw;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use domain::admission::{Facts, NodeFacts, ProjectLimits, Serial};
use domain::containment::Tier;
use domain::outcome::{AgentReport, EndedBy, Exit};
use domain::run::RunUsage;
use domain::transition::{Conclusion, Event};
use domain::{
    Account, Chance, Class, Incarnation, Job, NodeId, Outcome, Policy, RunId, Timestamp, Transition,
};
use store::{Access, Applied, Change, ClaimRequest, Start, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::load::track;
use crate::report::{beside, pair, row};
use plant::{PROJECT, STAGE, Stock};

/// Runs that live at once.
const LIVE_MAX: usize = 256;
/// Claims of one transaction, as the scheduler bounds them.
const CLAIMS_MAX: usize = 64;
/// Jobs of one window.
const JOBS: usize = 1_000;
/// Windows measured after one that is not.
const WINDOWS: usize = 5;

/// What of it is measured: everything where nothing is named.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Claims {
    /// The databases
    #[arg(long, value_delimiter = ',')]
    on: Vec<Kept>,
    /// What is in them
    #[arg(long, value_delimiter = ',')]
    stock: Vec<Stock>,
}

/// How safe commits are, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kept {
    SqliteFull,
    SqliteNormal,
    Postgres,
}

impl Kept {
    const fn name(self) -> &'static str {
        match self {
            Self::SqliteFull => "sqlite_full",
            Self::SqliteNormal => "sqlite_normal",
            Self::Postgres => "postgres",
        }
    }
}

/// Every stock of rows on every database, each in turn with 1,000 ready rows alone on a database of their own.
pub(crate) async fn measure(chosen: &Claims) -> anyhow::Result<()> {
    let is_chosen = |kept, stock| {
        (chosen.on.is_empty() || chosen.on.contains(&kept))
            && (chosen.stock.is_empty() || chosen.stock.contains(&stock))
    };
    for kept in [Kept::SqliteFull, Kept::SqliteNormal, Kept::Postgres] {
        for stock in Stock::ALL.into_iter().filter(|stock| is_chosen(kept, *stock)) {
            let measured = match kept {
                Kept::Postgres => postgres(stock).await,
                Kept::SqliteFull | Kept::SqliteNormal => sqlite(kept, stock).await,
            };
            let Measured { rates, alone } =
                measured.with_context(|| format!("{} with {}", kept.name(), stock.name()))?;
            beside(&format!("claims_flatness_{}_{}", stock.name(), kept.name()), &rates, "jobs/s", &alone);
        }
    }
    Ok(())
}

/// The rates with a stock, and each beside it with 1,000 ready rows alone.
struct Measured {
    rates: Vec<f64>,
    alone: Vec<f64>,
}

/// A database that holds no more than the jobs of one window.
struct Alone {
    store: Arc<dyn Store>,
    url: String,
}

impl Alone {
    async fn open(url: String) -> anyhow::Result<Self> {
        Ok(Self { store: store::open(&url, Access::Write).await?, url })
    }

    async fn rate(&self, refill: &str) -> anyhow::Result<f64> {
        store::force::execute(&self.url, refill).await?;
        drain(&self.store, JOBS).await
    }
}

/// Ours and the replay in turn, each on its own copy of one file.
async fn sqlite(kept: Kept, stock: Stock) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let [ours, bare, small] = ["orch.db", "bare.db", "alone.db"].map(|name| folder.path().join(name));
    let url = |path: &Path| format!("sqlite://{}", path.display());
    store::open(&url(&ours), Access::Write).await?.close().await;
    store::force::execute(&url(&ours), &stock.sql()).await?;
    std::fs::copy(&ours, &bare)?;
    store::force::set_hasty(kept == Kept::SqliteNormal);
    let store = store::open(&url(&ours), Access::Write).await?;
    let small = Alone::open(url(&small)).await?;
    let mut replay = raw::sqlite::Replay::open(&bare, kept == Kept::SqliteFull)?;
    let (mut rates, mut limits, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for window in 0..=WINDOWS {
        let beside = small.rate(&plant::ready(JOBS)).await?;
        if stock.is_refilled() {
            for path in [&ours, &bare] {
                store::force::execute(&url(path), &plant::ready(JOBS)).await?;
            }
        }
        store::force::begin_recording();
        let rate = drain(&store, JOBS).await?;
        let statements = store::force::end_recording();
        let (limit, transactions) = tokio::task::block_in_place(|| replay.run(&statements, JOBS))?;
        if window > 0 {
            rates.push(rate);
            limits.push(limit);
            alone.push(beside);
        } else {
            per_job("statements", statements.len(), stock, kept);
            per_job("transactions", transactions, stock, kept);
        }
    }
    store.close().await;
    small.store.close().await;
    store::force::set_hasty(false);
    drop(replay);
    ensure_alike(&raw::sqlite::counts(&ours)?, &raw::sqlite::counts(&bare)?)?;
    folder.close()?;
    let name = |what| format!("claims_{what}_{}_{}", stock.name(), kept.name());
    pair(&name("done"), &rates, "jobs/s", &name("limit_bare_sqlite"), &limits);
    Ok(Measured { rates, alone })
}

/// Ours and the replay in turn, each on its own copy of one database, on one server.
async fn postgres(stock: Stock) -> anyhow::Result<Measured> {
    let server = Arc::new(postgres_server::Server::start(true));
    let (ours, small) = (server.database(), server.database());
    store::open(&ours.url(), Access::Write).await?.close().await;
    store::force::execute(&ours.url(), &stock.postgres_sql()).await?;
    let bare = ours.copy();
    let store = store::open(&ours.url(), Access::Write).await?;
    let small = Alone::open(small.url()).await?;
    let mut replay = raw::postgres::Replay::new(bare.url());
    let (mut rates, mut limits, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for window in 0..=WINDOWS {
        let beside = small.rate(&plant::ready_in_postgres(JOBS)).await?;
        if stock.is_refilled() {
            for database in [&ours, &bare] {
                store::force::execute(&database.url(), &plant::ready_in_postgres(JOBS)).await?;
            }
        }
        store::force::begin_recording();
        let rate = drain(&store, JOBS).await?;
        let transactions = store::force::end_recording_transactions();
        let limit = replay.run(&transactions, JOBS).await?;
        if window > 0 {
            rates.push(rate);
            limits.push(limit);
            alone.push(beside);
        } else {
            let messages = transactions.iter().map(|transaction| transaction.messages.len()).sum();
            per_job("messages", messages, stock, Kept::Postgres);
            per_job("transactions", transactions.len(), stock, Kept::Postgres);
        }
    }
    store.close().await;
    small.store.close().await;
    replay.close().await?;
    ensure_alike(&raw::postgres::counts(&ours.url())?, &raw::postgres::counts(&bare.url())?)?;
    let name = |what| format!("claims_{what}_{}_postgres", stock.name());
    pair(&name("done"), &rates, "jobs/s", &name("limit_bare_postgres"), &limits);
    Ok(Measured { rates, alone })
}

fn per_job(what: &str, count: usize, stock: Stock, kept: Kept) {
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let per = count as f64 / JOBS as f64;
    row(&format!("claims_{what}_{}_{}", stock.name(), kept.name()), per, "per job", None);
}

/// Both databases must say the same, or something else was measured.
fn ensure_alike<T: PartialEq + Debug>(ours: &T, bare: &T) -> anyhow::Result<()> {
    ensure!(ours == bare, "the replay left {bare:?}, the store {ours:?}");
    Ok(())
}

/// Brings so many jobs to their end; gives the rate per second.
async fn drain(store: &Arc<dyn Store>, jobs: usize) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut live = JoinSet::new();
    let (mut claimed, mut done) = (0, 0);
    while done < jobs {
        let most = CLAIMS_MAX.min(LIVE_MAX - live.len()).min(jobs - claimed);
        if most > 0 {
            let starts = store.claim(request(most)).await?.starts;
            ensure!(starts.len() == most, "{} of {most} jobs were claimed", starts.len());
            claimed += starts.len();
            for start in starts {
                track(&mut live, run(Arc::clone(store), start));
            }
        } else if let Some(ended) = live.join_next().await {
            ended??;
            done += 1;
        }
        while let Some(ended) = live.try_join_next() {
            ended??;
            done += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    Ok(jobs as f64 / begun.elapsed().as_secs_f64())
}

fn request(most: usize) -> ClaimRequest {
    let node = NodeFacts {
        node: NodeId("node-a".into()),
        incarnation: Incarnation(1),
        account: Account("default".into()),
        slots: u32::try_from(LIVE_MAX).unwrap_or(u32::MAX),
        tier: Tier::Environment,
        blocked: None,
        blocked_until: None,
    };
    let facts = Facts {
        concurrency_max: node.slots,
        projects: [(
            PROJECT.into(),
            ProjectLimits { concurrency_max: None, serial: Serial::None, tier: Tier::Environment },
        )]
        .into(),
        stages: [(STAGE.into(), None)].into(),
        nodes: vec![node],
        ..Facts::default()
    };
    let run_ids = std::iter::repeat_with(|| RunId(Uuid::now_v7())).take(most).collect();
    ClaimRequest { now: now(), facts, run_ids, policy: Policy::default() }
}

/// One run: its Start, then its end as a success.
async fn run(store: Arc<dyn Store>, start: Start) -> anyhow::Result<()> {
    let (job, run) = (start.job, start.run.id);
    let started = decide(&job, &Event::Confirmed { run })?;
    let job = after(job, &started);
    apply(&store, Change::new(started, now())).await?;
    let conclusion = Conclusion::Judged { class: Class::Success };
    let ended = decide(&job, &Event::Ended { run, conclusion })?;
    let change = Change { outcome: Some(outcome()), ..Change::new(ended, now()) };
    apply(&store, change).await
}

fn decide(job: &Job, event: &Event) -> anyhow::Result<Transition> {
    Ok(domain::next(job, event, now(), &Policy::default(), Chance::new(0.5))?)
}

/// The job as its row is now.
fn after(job: Job, transition: &Transition) -> Job {
    let revision = job.revision + 1;
    Job { state: transition.after.state.clone(), revision, ..job }
}

async fn apply(store: &Arc<dyn Store>, change: Change) -> anyhow::Result<()> {
    ensure!(store.apply(change).await? == Applied::Done, "somebody else moved a job");
    Ok(())
}

fn outcome() -> Outcome {
    let usage = RunUsage {
        session_id: Some(Uuid::now_v7().to_string()),
        cost_usd: Some(0.25),
        turns: Some(7),
        input_tokens: Some(1_200),
        output_tokens: Some(340),
        cache_read_tokens: Some(900),
        api_retries: 0,
    };
    Outcome {
        ended_by: EndedBy::Agent,
        exit: Some(Exit::Code(0)),
        report: AgentReport { usage, ..AgentReport::default() },
        tail: "the work is done\n".repeat(8),
        log_bytes: 4_096,
        spawned_at: Some(now()),
        ended_at: now(),
        steps: Vec::new(),
    }
}

fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Timestamp::from_ms(now.tv_sec * 1_000 + now.tv_nsec / 1_000_000)
}
