//! Figures, each beside its limit measured in the same run, as one TSV: `metric value unit ratio_to_limit`.
//!
//! `./dev bench [name]` builds everything in release mode and calls this. The services are real processes on
//! `SQLite` with `synchronous=FULL`; the load comes from this process over loopback. Nothing here passes or fails:
//! it measures. A new measurement is a file with a `measure`, a word in [`What`] and its place in [`ALL`]; processes of
//! its own that it starts are words in [`Part`].
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod bare;
mod bare_log;
mod cancel;
mod churn;
mod claims;
mod console;
mod day;
mod fleet;
mod flood;
mod latency;
mod limit;
mod load;
mod logs;
mod plot;
mod proc;
mod raw;
mod report;
mod restart;
mod runs;
mod simulated;
mod store_call;
mod traffic;
mod two;
mod webhooks;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::limit::Synchronous;
use crate::two::Work;

/// Measures Orch on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Measure(What),
    #[command(flatten)]
    Part(Part),
}

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
enum What {
    /// Durable webhook acknowledgements per second, at 1 and 32 connections.
    Webhooks,
    /// The store's call behind it alone, at 1 and 32 callers.
    StoreCall,
    /// Two processes on one file: deliveries beside claims.
    Two,
    /// Jobs per second through claim, Start and finalize, by what else is in the database.
    Claims(claims::Claims),
    /// From a webhook to the first instruction of the agent, on an idle system.
    Latency,
    /// Whole runs per second with `/bin/true` as the agent.
    Runs,
    /// The console with 100,000 jobs beside an empty one.
    Console,
    /// Good webhooks beside 20,000 bad ones a second.
    Flood,
    /// 500 browsers that follow one chatty log.
    Followers,
    /// A day's worth of rows in compressed time; not among what is measured when nothing is named.
    Day(day::Day),
    /// 30 minutes of jobs beside a pinned snapshot on PostgreSQL; not among what is measured when nothing is named.
    Churn(churn::Churn),
    /// 1,000 simulated runners with 10,000 live runs: the scheduler's cost, and how soon a dead runner is found.
    Fleet(FleetSize),
    /// A restart of the scheduler with 10,000 live runs.
    Restart(FleetSize),
    /// The way of an agent's output to `orch logs`, at the agent's full speed.
    Logs(Length),
    /// From `orch cancel` to the agent's death.
    Cancel(Length),
}

/// How long a measurement that takes minutes lasts.
#[derive(Args, Clone, Copy, Debug)]
struct Length {
    /// The same in two or three minutes, with fewer repetitions
    #[arg(long)]
    short: bool,
}

/// How large a fleet is looked at, and for how long.
#[derive(Args, Clone, Copy, Debug)]
struct FleetSize {
    #[command(flatten)]
    length: Length,
    /// Nodes; fewer where the machine has other work
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Live runs of all of them together
    #[arg(long, default_value_t = 10_000)]
    runs: usize,
}

const SHORT: Length = Length { short: true };
const SHORT_FLEET: FleetSize = FleetSize { length: SHORT, nodes: 1000, runs: 10_000 };

/// What is measured when nothing is named, in this order.
fn all() -> [What; 13] {
    [
        What::Webhooks,
        What::StoreCall,
        What::Two,
        What::Claims(claims::Claims::default()),
        What::Latency,
        What::Runs,
        What::Console,
        What::Followers,
        What::Flood,
        What::Fleet(SHORT_FLEET),
        What::Restart(SHORT_FLEET),
        What::Logs(SHORT),
        What::Cancel(SHORT),
    ]
}

impl What {
    /// Measures, and keeps the rows and their plot.
    async fn measure(self) -> anyhow::Result<()> {
        report::load_average("before");
        let (name, measured) = match self {
            Self::Webhooks => ("webhooks", webhooks::measure().await),
            Self::StoreCall => ("store-call", store_call::measure().await),
            Self::Two => ("two", two::measure().await),
            Self::Claims(chosen) => ("claims", claims::measure(&chosen).await),
            Self::Latency => ("latency", latency::measure().await),
            Self::Runs => ("runs", runs::measure().await),
            Self::Console => ("console", console::pages().await),
            Self::Followers => ("followers", console::followers().await),
            Self::Flood => ("flood", flood::measure().await),
            Self::Day(day) => ("day", day::measure(day).await),
            Self::Churn(churn) => ("churn", churn::measure(churn).await),
            Self::Fleet(size) => ("fleet", fleet::measure(size.into()).await),
            Self::Restart(size) => ("restart", restart::measure(size.into()).await),
            Self::Logs(length) => ("logs", logs::measure(length.short).await),
            Self::Cancel(length) => ("cancel", cancel::measure(length.short).await),
        };
        report::load_average("after");
        report::keep(name)?;
        measured
    }
}

/// A process that a measurement starts.
#[derive(Debug, Subcommand)]
enum Part {
    /// The HTTP handler without a store; prints its address.
    #[command(hide = true)]
    BareHandler,
    /// One of two processes on a file; prints what it saw.
    #[command(hide = true)]
    StoreLoop {
        /// The database.
        #[arg(long)]
        path: PathBuf,
        /// What it does.
        #[arg(long)]
        work: Work,
    },
    /// The HTTP handler over the raw driver; prints its address.
    #[command(hide = true)]
    LimitHandler {
        /// The database, made anew.
        #[arg(long)]
        path: PathBuf,
        /// Its durability.
        #[arg(long)]
        synchronous: Synchronous,
    },
    /// A file over gRPC; prints its address.
    #[command(hide = true)]
    BareLog {
        /// The file.
        file: PathBuf,
    },
    /// What an agent prints, and nothing else.
    #[command(hide = true)]
    Print {
        /// What lines it prints: text or events.
        kind: String,
    },
    /// A process that takes no notice of SIGTERM.
    #[command(hide = true)]
    Deaf,
}

impl Part {
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::BareHandler => bare::handler().await,
            Self::StoreLoop { path, work } => two::work(path, work).await,
            Self::BareLog { file } => bare_log::serve(file).await,
            Self::Print { kind } => logs::print(logs::kind(&kind).context("text or events")?),
            Self::Deaf => cancel::deaf().await,
            Self::LimitHandler { path, synchronous } => limit::handler(path, synchronous).await,
        }
    }
}

fn main() -> anyhow::Result<()> {
    // As an agent it must reach its first line before anything else is set up.
    if bare::is_agent() {
        return bare::agent();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let named = match Cli::parse().command {
            Some(Command::Part(part)) => return part.run().await,
            Some(Command::Measure(what)) => Some(what),
            None => None,
        };
        report::head();
        for what in named.map_or_else(|| Vec::from(all()), |named| vec![named]) {
            what.measure().await?;
        }
        Ok(())
    })
}
