//! `./dev fuzz`: runs targets for a while each, two at a time.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use clap::Parser;
use fuzz::{TARGETS, Target, corpus, engine};

/// How many targets run at once.
const AT_ONCE: usize = 2;

/// Tries mutations of the kept corpus on every parser of bytes from outside
#[derive(Debug, Parser)]
#[command(name = "fuzz")]
struct Cli {
    /// The targets; all when none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// How long each, in minutes
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// Where chance begins; another one each time unless given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(unknown) = cli.targets.iter().find(|name| TARGETS.iter().all(|target| target.name != **name))
    {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("there is no target {unknown}: {}", known.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |target: &&'static Target| {
        cli.targets.is_empty() || cli.targets.iter().any(|name| name == target.name)
    };
    let length = Duration::from_secs(cli.minutes.map_or(cli.seconds, |minutes| minutes * 60));
    let seed = cli.seed.unwrap_or_else(rand::random);
    let queue: Mutex<VecDeque<&'static Target>> = Mutex::new(TARGETS.iter().filter(wanted).collect());
    println!("target\texecutions\tper_second\tanswers\tfinding\tseed");
    std::panic::set_hook(Box::new(|_| {}));
    let worker = || {
        let mut found = 0;
        loop {
            let target = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(target) = target else { return found };
            found += u8::from(!run(target, length, seed));
        }
    };
    let found: u8 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(1)).sum()
    });
    if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether nothing was found.
fn run(target: &'static Target, length: Duration, seed: u64) -> bool {
    match engine::run(target, length, seed) {
        Ok(report) => {
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let rate = report.executions as f64 / report.took;
            println!("{}\t{}\t{rate:.0}\t{}\tnone\t{seed}", target.name, report.executions, report.answers);
            true
        }
        Err(finding) => {
            let kept = corpus::keep(target.name, "found", &finding.input);
            println!("{}\t-\t-\t-\t{}: {kept:?}\t{seed}", target.name, finding.what);
            false
        }
    }
}
