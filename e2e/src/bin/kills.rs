//! Kills each service at every step that leaves a trace and looks whether all promises hold after it; `./dev kills`
//! builds and starts it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use e2e::kill_points::{Kills, spread};
use tokio::time::Instant;

/// What is to be played.
#[derive(Debug, Parser)]
struct Cli {
    /// So many points, spread evenly over all; all of them when not given
    #[arg(long, value_name = "N")]
    points: Option<usize>,
    /// Only points whose description has this in it
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Stacks that play side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    lanes: u16,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let (mut out, lanes, begun) = (std::io::stdout(), usize::from(cli.lanes), Instant::now());
    let kills = Kills::prepare()?;
    let mut points = kills.points(lanes).await?;
    let all = points.len();
    points.retain(|point| point.to_string().contains(&cli.only));
    let points = spread(points, cli.points.unwrap_or(all));
    writeln!(out, "{} of {all} points, listed in {:.0?}", points.len(), begun.elapsed())?;
    let begun = Instant::now();
    let table = kills.run(points, lanes).await?;
    writeln!(out, "{table}in {:.0?}", begun.elapsed())?;
    Ok(if table.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
