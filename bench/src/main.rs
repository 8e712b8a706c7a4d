//! Figures, each beside its limit measured in the same run, as one TSV: `metric value unit ratio_to_limit`.
//!
//! `./dev bench [name]` builds everything in release mode and calls this. The services are real processes on
//! `SQLite` with `synchronous=FULL`; the load comes from this process over loopback. Nothing here passes or fails:
//! it measures.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

mod bare;
mod console;
mod latency;
mod load;
mod report;
mod runs;
mod webhooks;

use clap::{Parser, Subcommand};

/// Measures Orch on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum What {
    /// Durable webhook acknowledgements per second, at 1 and 32 connections.
    Webhooks,
    /// From a webhook to the first instruction of the agent, on an idle system.
    Latency,
    /// Whole runs per second with `/bin/true` as the agent.
    Runs,
    /// The console with 100,000 jobs beside an empty one.
    Console,
    /// 500 browsers that follow one chatty log.
    Followers,
    /// The HTTP handler without a store, as a process of its own; prints its address.
    #[command(hide = true)]
    BareHandler,
}

fn main() -> anyhow::Result<()> {
    // As an agent it must reach its first line before anything else is set up.
    if bare::is_agent() {
        return bare::agent();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match Cli::parse().what {
            Some(What::Webhooks) => webhooks::measure().await,
            Some(What::Latency) => latency::measure().await,
            Some(What::Runs) => runs::measure().await,
            Some(What::Console) => console::pages().await,
            Some(What::Followers) => console::followers().await,
            Some(What::BareHandler) => bare::handler().await,
            None => {
                webhooks::measure().await?;
                latency::measure().await?;
                runs::measure().await?;
                console::pages().await?;
                console::followers().await
            }
        }
    })
}
