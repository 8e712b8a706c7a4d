//! Hours of faults in minutes: a fleet of real processes under load, faults drawn from a seed, and afterwards the
//! history of every job replayed against the rules of [`crate::history`].

mod driver;
mod load;
mod plan;
mod report;
mod watcher;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Outside, Service, Stack, until};
use crate::history::{self, History, Records};
use crate::scenario::SHORT;
use load::Notes;
use plan::Fleet;
use postgres_server::Server;
pub use report::Report;
use watcher::Seen;

const HOSTS: usize = 4;
const ALONE: Fleet = Fleet { hosts: HOSTS, schedulers: 1, ingests: 1, server: false };
/// Where the database lets there be more than one.
const SCHEDULERS: usize = 3;
const INGESTS: usize = 2;
const SLOTS: &str = "4";
const CONCURRENCY: &str = "12";
/// How long after the last fault the queue may take to be empty: a job may wait for two leases of the scheduler, and
/// then for its agent.
const EMPTY_WITHIN: Duration = Duration::from_mins(3);

/// What a soak is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long the faults go on.
    pub length: Duration,
    /// Where faults and load are drawn from.
    pub seed: u64,
    /// Between two webhooks.
    pub pause: Duration,
    /// On PostgreSQL, with several schedulers and ingests.
    pub postgres: bool,
}

/// Plays a soak to its end and reports on it. Violations are in the report; an error says that it could not be played.
///
/// # Errors
/// The stack did not start, a fault could not be done, or the history cannot be read.
pub async fn soak(options: Options) -> anyhow::Result<Report> {
    // It outlives whoever uses it.
    let server = options.postgres.then(|| Arc::new(Server::start(true)));
    let database = server.as_ref().map(Server::database);
    let fleet = match &server {
        Some(_) => Fleet { schedulers: SCHEDULERS, ingests: INGESTS, server: true, ..ALONE },
        None => ALONE,
    };
    let mut stack = SHORT
        .shop(HOSTS)
        .fleet(fleet.schedulers, fleet.ingests)
        .env("ORCH_RUNNER_SLOTS", SLOTS)
        .env("ORCH_MAX_CONCURRENCY", CONCURRENCY)
        .env("ORCH_BREAKER_PAUSE_SECONDS", "2");
    if let Some(database) = &database {
        stack = stack.env("ORCH_DATABASE_URL", &database.url());
    }
    let mut stack = stack.start().await?;
    std::fs::create_dir(stack.folder().join("counts"))?;
    let nodes = nodes(&stack).await?;
    let plan = plan::plan(options.seed, options.length, fleet, SHORT);

    let records = match &database {
        Some(database) => Records::Server(database.url()),
        None => Records::File(stack.folder().join("orch.db")),
    };

    let (enough, is_enough) = watch::channel(false);
    let (book, seen) = (Notes::default(), Arc::<Mutex<Vec<Seen>>>::default());
    let (mut watching, mut sending) = (JoinSet::new(), JoinSet::new());
    watching.spawn(watcher::watch(stack.addr(Service::Console), seen.clone()));
    sending.spawn(load::press(Outside::clone(&stack), options.seed, options.pause, is_enough, book.clone()));
    let done = driver::drive(&mut stack, server.as_deref(), &nodes, plan).await?;

    let calm = Instant::now();
    enough.send_replace(true);
    let mut broken = Vec::new();
    let empty = async {
        while sending.join_next().await.is_some() {}
        until("an empty queue", EMPTY_WITHIN, || empty(&records)).await
    };
    if let Err(error) = tokio::time::timeout(EMPTY_WITHIN, empty).await.map_err(Into::into).flatten() {
        broken.push(format!("the queue is not empty {EMPTY_WITHIN:?} after the last fault: {error:#}"));
    }
    let emptied_in = calm.elapsed();
    drop(watching);
    let book = std::mem::take(&mut *book.lock().unwrap_or_else(PoisonError::into_inner));
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let history = read(&records, stack.folder(), book).await?;
    broken.extend(history::check(&history).iter().map(ToString::to_string));
    if !broken.is_empty() {
        stack.keep_folder();
        broken.push(format!("database, logs and ledger are kept in {}", stack.folder().display()));
    }
    if let Err(error) = stack.finish().await {
        broken.push(format!("{error:#}"));
    }
    Ok(Report { history, nodes, done, seen, emptied_in, broken })
}

/// The nodes' ids, by the number of their host.
async fn nodes(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let listed = stack.orch(&["runners"]).await?;
    let runners = listed["runners"].as_array().cloned().unwrap_or_default();
    let node = |host: usize| {
        let addr = stack.addr(Service::Runner(host)).to_string();
        let here = |runner: &&Value| runner["advertise_url"].as_str().is_some_and(|url| url.ends_with(&addr));
        let id = runners.iter().find(here).and_then(|runner| runner["id"].as_str());
        id.map(str::to_owned).with_context(|| format!("nobody listens at {addr}: {listed:#}"))
    };
    (0..HOSTS).map(node).collect()
}

/// Some when no job is queued or running.
async fn empty(records: &Records) -> anyhow::Result<Option<()>> {
    let unfinished = history::unfinished(records).await?;
    Ok((unfinished == 0).then_some(()))
}

async fn read(records: &Records, folder: &Path, book: load::Book) -> anyhow::Result<History> {
    history::read(records, &folder.join("ledger"), book.acks, book.orders).await
}
