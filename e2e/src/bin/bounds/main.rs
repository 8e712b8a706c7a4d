//! Many agents that print gigabytes while the scheduler is away; `./dev bounds` builds and starts it.

use std::io::Write as _;
use std::time::Duration;

use clap::Parser;
use e2e::bounds::{Away, Size, play};

/// Many agents print gigabytes while the scheduler is away.
#[derive(Debug, Parser)]
#[command(name = "bounds")]
struct Cli {
    /// The short form, as `./dev test` plays it
    #[arg(long)]
    short: bool,
    /// The scheduler is killed and started anew instead of stopped
    #[arg(long)]
    killed: bool,
    /// Agents at once
    #[arg(long, value_name = "COUNT")]
    agents: Option<usize>,
    /// What the first of them prints, in MiB
    #[arg(long, value_name = "MIB")]
    flood: Option<u64>,
    /// What each of the others prints, in MiB
    #[arg(long, value_name = "MIB")]
    each: Option<u64>,
    /// How long the scheduler is away, in seconds
    #[arg(long, value_name = "SECONDS")]
    away: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let usual = if cli.short { Size::SHORT } else { Size::LONG };
    let size = Size {
        agents: cli.agents.unwrap_or(usual.agents),
        flood_bytes: cli.flood.map_or(usual.flood_bytes, |mib| mib << 20),
        each_bytes: cli.each.map_or(usual.each_bytes, |mib| mib << 20),
        away: cli.away.map_or(usual.away, Duration::from_secs),
        how: if cli.killed { Away::Killed } else { usual.how },
        ..usual
    };
    let report = play(size).await?;
    write!(std::io::stdout(), "{report}")?;
    Ok(())
}
