//! Plays the worst days of an installation with real binaries; `./dev chaos` builds and starts it.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use e2e::harness::Network;
use e2e::soak::{Options, soak};
use e2e::{pid_reuse, scenario};

/// Plays the worst days of an installation with real binaries.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    #[command(flatten)]
    what: What,
    /// What the random faults and the load are drawn from; a new one, told at the end, when not given
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Webhooks per second under random faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1.5)]
    rate: f64,
    /// The random faults on PostgreSQL, with three schedulers and two ingests; its server is killed, too
    #[arg(long)]
    postgres: bool,
    /// Said by itself, to itself: it runs in a process id namespace of its own
    #[arg(long, hide = true)]
    inside: bool,
}

/// What is to be played.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Rounds in which a dead run's process id goes to a stranger
    #[arg(long, value_name = "ROUNDS")]
    pid_reuse: Option<usize>,
    /// One scenario with hosts of their own for runners (blackhole, reboot, hang, cancel, rolling), or all
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Minutes of random faults under load, and the history of every job checked afterwards
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: Option<u64>,
    /// Nothing; only says whether there can be such hosts here
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli { what, seed, rate, postgres, inside } = Cli::parse();
    if let Some(rounds) = what.pid_reuse {
        return reuse(rounds, inside).await;
    }
    if let Some(missing) = Network::missing() {
        let names: Vec<_> = scenario::names().collect();
        writeln!(std::io::stderr(), "there can be no hosts here, so not {}: {missing}", names.join(", "))?;
        return Ok(ExitCode::FAILURE);
    }
    if let Some(name) = what.scenario {
        let all: Vec<_> = if name == "all" { scenario::names().collect() } else { vec![name.as_str()] };
        for name in all {
            let told = scenario::play(name).await?;
            write!(std::io::stdout(), "{name}\n{told}")?;
        }
    }
    if let Some(minutes) = what.minutes {
        let seed = seed.unwrap_or_else(rand::random);
        let pause = Duration::try_from_secs_f64(1.0 / rate).context("--rate has to be above 0")?;
        let report = soak(Options { length: Duration::from_mins(minutes), seed, pause, postgres }).await;
        let report = report.with_context(|| format!("with --seed {seed}"))?;
        writeln!(std::io::stdout(), "seed: {seed}\n{report}")?;
        return Ok(if report.broken().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    Ok(ExitCode::SUCCESS)
}

async fn reuse(rounds: usize, inside: bool) -> anyhow::Result<ExitCode> {
    ensure!(rounds > 0, "no round proves nothing: say --pid-reuse 1 or more");
    if inside {
        writeln!(std::io::stdout(), "{}", pid_reuse::rounds(rounds).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(why) = pid_reuse::why_not() {
        bail!("{why}: it takes root and a Linux with CONFIG_CHECKPOINT_RESTORE");
    }
    let own = std::env::current_exe()?;
    let status = pid_reuse::enter(own).args(["--pid-reuse", &rounds.to_string(), "--inside"]).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
