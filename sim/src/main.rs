//! `./dev sim`: many seeds, one seed with its trace, or the broken variants.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sim::Broken;
use sim::fleet::{self, COVERING_SEEDS, Sum};

/// How many seeds a broken variant has to be found in.
const BROKEN_SEEDS: u64 = 10_000;
/// How many failing seeds are shown.
const FAILURES_MAX: usize = 5;

/// Runs the real scheduler and runners on a simulated network, from seeds
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Cli {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// How many at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// One seed alone, with everything that happens in it
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// The broken variants, or the one that is named: each must be found
    #[arg(long, value_name = "VARIANT", num_args = 0..=1, default_missing_value = "all")]
    broken: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // In memory where there is such a place: the simulation waits for no disk.
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = base.join(format!("orch-sim-{}", std::process::id()));
    let code = dispatch(&cli, &folder);
    // Each seed removed its own files.
    let _ = fs::remove_dir_all(&folder);
    code
}

fn dispatch(cli: &Cli, folder: &Path) -> ExitCode {
    let variants = match cli.broken.as_deref() {
        None => Vec::new(),
        Some("all") => Broken::ALL.map(|(broken, _)| broken).to_vec(),
        Some(name) => {
            let Some(broken) = Broken::parse(name) else {
                let known = Broken::ALL.map(|(_, name)| name).join(", ");
                eprintln!("sim: there is no variant {name}: {known}");
                return ExitCode::from(2);
            };
            vec![broken]
        }
    };
    match (cli.seed, variants.as_slice()) {
        (Some(seed), []) => one(seed, None, folder),
        (Some(seed), [broken, ..]) => one(seed, Some(*broken), folder),
        (None, []) => many(cli, folder),
        (None, variants) => table(cli, variants, folder),
    }
}

fn one(seed: u64, broken: Option<Broken>, folder: &Path) -> ExitCode {
    let report = sim::run(seed, broken, true, folder);
    for line in &report.trace {
        println!("{line}");
    }
    let verdict = report.violation.as_deref().unwrap_or("everything held");
    println!("seed {seed}: {verdict} (trace {:016x})", report.digest);
    if report.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn many(cli: &Cli, folder: &Path) -> ExitCode {
    let begun = tokio::time::Instant::now();
    let sum = fleet::run_many(cli.from, cli.seeds, cli.jobs, None, FAILURES_MAX, folder);
    for (what, seeds) in &sum.seen {
        println!("{seeds:>8}  {what}");
    }
    println!("{}", rate(&sum, begun.elapsed()));
    for (seed, violation) in &sum.failed {
        println!("FAILED seed {seed}: {violation}");
    }
    if let Some((seed, _)) = sum.failed.first() {
        one(*seed, None, folder);
        println!("alone: ./dev sim --seed {seed}");
        return ExitCode::FAILURE;
    }
    let unseen = sum.unseen();
    for (what, seeds) in &unseen {
        println!("in {seeds} seeds only: {what}");
    }
    if sum.seeds >= COVERING_SEEDS && !unseen.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn rate(sum: &Sum, took: Duration) -> String {
    let (seconds, seeds) = (took.as_secs_f64(), u32::try_from(sum.seeds).map_or(f64::NAN, f64::from));
    format!(
        "{} seeds, {} events, {} h of virtual time, in {seconds:.1} s: {:.1} seeds/s",
        sum.seeds,
        sum.events,
        sum.elapsed_ms / 3_600_000,
        seeds / seconds,
    )
}

fn table(cli: &Cli, variants: &[Broken], folder: &Path) -> ExitCode {
    let mut missed = 0;
    println!("variant                    found in seed  seeds run  what did not hold");
    for broken in variants {
        let sum = fleet::run_many(cli.from, BROKEN_SEEDS, cli.jobs, Some(*broken), 1, folder);
        let name = broken.as_str();
        let (seed, violation) = sum.failed.first().map_or_else(
            || ("-".to_owned(), "NOT FOUND"),
            |(seed, violation)| (seed.to_string(), violation.as_str()),
        );
        println!("{name:<26} {seed:>13}  {:>9}  {violation}", sum.seeds);
        missed += usize::from(sum.failed.is_empty());
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
