//! Plays the worst days of an installation with real binaries; `./dev chaos` builds and starts it.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Parser;
use e2e::pid_reuse;

/// What is to be played.
#[derive(Debug, Parser)]
struct Cli {
    /// Rounds in which a dead run's process id goes to a stranger
    #[arg(long, value_name = "ROUNDS")]
    pid_reuse: usize,
    /// Said by itself, to itself: it runs in a process id namespace of its own
    #[arg(long, hide = true)]
    inside: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    ensure!(cli.pid_reuse > 0, "no round proves nothing: say --pid-reuse 1 or more");
    if cli.inside {
        writeln!(std::io::stdout(), "{}", pid_reuse::rounds(cli.pid_reuse).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(why) = pid_reuse::why_not() {
        bail!("{why}: it takes root and a Linux with CONFIG_CHECKPOINT_RESTORE");
    }
    let own = std::env::current_exe()?;
    let rounds = cli.pid_reuse.to_string();
    let status = pid_reuse::enter(own).args(["--pid-reuse", &rounds, "--inside"]).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
