//! Figures, each beside its limit measured in the same run, as one TSV: `metric value unit ratio_to_limit`.
//!
//! `./dev bench [name]` builds everything in release mode and calls this. The services are real processes on
//! `SQLite` with `synchronous=FULL`; the load comes from this process over loopback. Nothing here passes or fails:
//! it measures. A new measurement is a file with a `measure`, a word in [`What`] and its place in [`ALL`]; processes of
//! its own that it starts are words in [`Part`].
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod bare;
mod churn;
mod claims;
mod console;
mod day;
mod flood;
mod latency;
mod limit;
mod load;
mod plot;
mod raw;
mod report;
mod runs;
mod store_call;
mod traffic;
mod two;
mod webhooks;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Durable webhook acknowledgements per second, at 1 and 32 connections.
    Webhooks,
    /// The store's call behind it alone, at 1 and 32 callers.
    StoreCall,
    /// Two processes on one file: deliveries beside claims.
    Two,
    /// Jobs per second through claim, Start and finalize, by what else is in the database.
    Claims,
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
}

/// What is measured when nothing is named, in this order.
const ALL: [What; 9] = [
    What::Webhooks,
    What::StoreCall,
    What::Two,
    What::Claims,
    What::Latency,
    What::Runs,
    What::Console,
    What::Followers,
    What::Flood,
];

impl What {
    /// Measures, and keeps the rows and their plot.
    async fn measure(self) -> anyhow::Result<()> {
        report::load_average("before");
        let (name, measured) = match self {
            Self::Webhooks => ("webhooks", webhooks::measure().await),
            Self::StoreCall => ("store-call", store_call::measure().await),
            Self::Two => ("two", two::measure().await),
            Self::Claims => ("claims", claims::measure().await),
            Self::Latency => ("latency", latency::measure().await),
            Self::Runs => ("runs", runs::measure().await),
            Self::Console => ("console", console::pages().await),
            Self::Followers => ("followers", console::followers().await),
            Self::Flood => ("flood", flood::measure().await),
            Self::Day(day) => ("day", day::measure(day).await),
            Self::Churn(churn) => ("churn", churn::measure(churn).await),
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
}

impl Part {
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::BareHandler => bare::handler().await,
            Self::StoreLoop { path, work } => two::work(path, work).await,
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
        for what in named.as_ref().map_or(ALL.as_slice(), std::slice::from_ref) {
            what.measure().await?;
        }
        Ok(())
    })
}
