//! Runs one target for a while: picks, changes, tries, and keeps what was answered as nothing before.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::time::{ClockId, clock_gettime};
use service::Clock;

use crate::corpus;
use crate::mutate::{Dictionary, mutate};
use crate::targets::Target;

/// How long one input may take of a core: a busy machine is no finding.
const INPUT_MS_MAX: i64 = 2_000;
/// When an input is given up that does not return: nothing ends it but the end of the process.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// The most inputs that are kept in memory.
const KEPT_MAX: usize = 20_000;

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// Inputs tried.
    pub executions: u64,
    /// Answers that differ.
    pub answers: usize,
    /// Seconds.
    pub took: f64,
}

/// An input that must not be.
#[derive(Debug)]
pub struct Finding {
    /// What happened.
    pub what: String,
    /// With which bytes.
    pub input: Vec<u8>,
}

/// Tries one input.
///
/// # Errors
/// What it did that it must not do.
pub fn try_one(target: &Target, input: &[u8]) -> Result<String, Finding> {
    let finding = |what| Finding { what, input: input.to_vec() };
    let begun_ms = core_ms();
    let answer = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took_ms = core_ms() - begun_ms;
    if took_ms > INPUT_MS_MAX {
        return Err(finding(format!("took {took_ms} ms of a core")));
    }
    answer.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        finding(text.or_else(|| panic.downcast_ref().copied()).unwrap_or("panicked").to_owned())
    })
}

/// What this thread has had of a core.
fn core_ms() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

/// Runs a target for `length`, from `seed`.
///
/// # Errors
/// The first finding, or a corpus that cannot be read.
pub fn run(target: &'static Target, length: Duration, seed: u64) -> Result<Report, Finding> {
    let clock = Clock::system();
    let none = |error: std::io::Error| Finding { what: format!("no corpus: {error}"), input: Vec::new() };
    let mut inputs: Vec<Vec<u8>> =
        corpus::read(target.name).map_err(none)?.into_iter().map(|(_, input)| input).collect();
    if inputs.is_empty() {
        return Err(Finding { what: "the corpus is empty".to_owned(), input: Vec::new() });
    }
    let watch = Watch::start(target.name);
    let mut answers = BTreeSet::new();
    for input in &inputs {
        watch.tell(input);
        answers.insert(try_one(target, input)?);
    }
    let dictionary = Dictionary::of(inputs.iter().map(Vec::as_slice));
    let mut random = StdRng::seed_from_u64(seed);
    let (begun_ms, mut executions) = (clock.boot_ms(), 0);
    let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    while clock.boot_ms() - begun_ms < length_ms {
        let (Some(input), Some(other)) = (inputs.choose(&mut random), inputs.choose(&mut random)) else {
            break;
        };
        let input = mutate(input, other, &dictionary, &mut random);
        watch.tell(&input);
        let answer = try_one(target, &input)?;
        executions += 1;
        if inputs.len() < KEPT_MAX && answers.insert(answer) {
            inputs.push(input);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run")]
    let took = (clock.boot_ms() - begun_ms) as f64 / 1000.0;
    Ok(Report { executions, answers: answers.len(), took })
}

/// Ends the process, with the input kept, when an input does not return.
struct Watch(mpsc::SyncSender<Vec<u8>>);

impl Watch {
    fn start(target: &'static str) -> Self {
        let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(64);
        std::thread::spawn(move || {
            let mut last = Vec::new();
            loop {
                match receiver.recv_timeout(GIVEN_UP) {
                    Ok(input) => last = input,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let kept = corpus::keep(target, "hang", &last);
                        eprintln!("{target}: an input did not return within {GIVEN_UP:?}: {kept:?}");
                        std::process::exit(1);
                    }
                }
            }
        });
        Self(sender)
    }

    fn tell(&self, input: &[u8]) {
        // A full channel waits for the watch, which only ever copies.
        let _ = self.0.send(input.to_vec());
    }
}
