//! Carries a plan out: steps, then the end. The only place that sleeps, signals or starts a process.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Signal, getpid, kill_process, setsid};

use crate::cli::Invocation;
use crate::directive::{Ending, Plan, Step};
use crate::flood;
use crate::marks::{self, Ledger};
use crate::stream::{ApiError, Stream, raw_line};
use crate::{ending, stream};

/// The hidden flag of the child that outlives its parent.
pub(crate) const ORPHAN_FLAG: &str = "--fake-orphan-seconds";

/// What the shell and the real CLI report for SIGTERM.
const EXIT_TERMINATED: u8 = 143;

/// Pause between two looks for an awaited file.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the SIGTERM watcher shares with the steps.
#[derive(Debug, Default)]
struct Shared {
    deaf: AtomicBool,
    ledger: Mutex<Option<Ledger>>,
    /// Held until the process is gone.
    lock: Mutex<Option<File>>,
}

impl Shared {
    /// The ledger, for a step that writes into it.
    fn ledger(&self) -> io::Result<Ledger> {
        let ledger = self.ledger.lock().map_err(|_| io::Error::other("the ledger's lock is poisoned"))?;
        ledger.clone().ok_or_else(|| io::Error::other("name a ledger first"))
    }

    /// Takes the job's lock, or notes that another agent of the job lives.
    fn be_alone(&self, folder: &Path) -> io::Result<()> {
        match marks::lock_job(folder)? {
            None => self.ledger()?.double(),
            taken => {
                *self.lock.lock().map_err(|_| io::Error::other("the lock's lock is poisoned"))? = taken;
                Ok(())
            }
        }
    }

    fn close_ledger(&self, exit: &str) {
        let ledger = self.ledger.lock().ok().and_then(|mut ledger| ledger.take());
        if let Some(Err(error)) = ledger.map(|ledger| ledger.end(exit)) {
            complain(&format!("could not close the ledger: {error}"));
        }
    }
}

/// Executes the plan and returns the exit code, if there is to be one.
pub(crate) fn run(invocation: &Invocation, prompt: &str, plan: &Plan) -> ExitCode {
    let shared = Arc::new(Shared::default());
    if let Err(error) = watch_sigterm(Arc::clone(&shared)) {
        complain(&format!("could not watch for SIGTERM: {error}"));
        return ExitCode::FAILURE;
    }
    match perform(invocation, prompt, plan, &shared) {
        Ok(code) => {
            shared.close_ledger(&code.to_string());
            ExitCode::from(code)
        }
        Err(error) => {
            complain(&error.to_string());
            shared.close_ledger("io");
            ExitCode::FAILURE
        }
    }
}

/// Says that there is no such conversation, as the real CLI does.
pub(crate) fn refuse_session(invocation: &Invocation) -> ExitCode {
    let error = format!("No conversation found with session ID: {}", invocation.session_id);
    complain_as_it_is(&error);
    match Stream::new(invocation).session_refused(&error) {
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn perform(invocation: &Invocation, prompt: &str, plan: &Plan, shared: &Shared) -> io::Result<u8> {
    let mut stream = Stream::new(invocation);
    let early =
        |step: &&Step| matches!(step, Step::Ledger(_) | Step::Beat(_) | Step::Alone(_) | Step::Dump(_));
    // Marks come first, so that even a child killed at once has left them.
    for step in plan.steps.iter().filter(early) {
        perform_step(step, &mut stream, prompt, shared)?;
    }
    stream.init()?;
    for step in plan.steps.iter().filter(|step| !early(step)) {
        perform_step(step, &mut stream, prompt, shared)?;
    }
    let mut chosen = &plan.ending;
    if let Some(first) = &plan.first
        && marks::count_spawn(&first.counter)? <= first.times
    {
        chosen = &first.ending;
    }
    finish(chosen, &mut stream, &invocation.model, shared)
}

fn perform_step(step: &Step, stream: &mut Stream<'_>, prompt: &str, shared: &Shared) -> io::Result<()> {
    match step {
        Step::Sleep(time) => std::thread::sleep(*time),
        Step::Await(path) => {
            while !path.exists() {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Step::Say(times) => {
            for _ in 0..*times {
                stream.text("I will run a command.")?;
            }
        }
        Step::Spend { times, tokens, every } => {
            for _ in 0..*times {
                stream.spend(*tokens)?;
                std::thread::sleep(*every);
            }
        }
        Step::Quota { used, resets_in_s } => {
            stream.allowed("five_hour", *used, epoch_s() + resets_in_s)?;
        }
        Step::Tool(times) => {
            for _ in 0..*times {
                let id = stream.open_tool()?;
                stream.close_tool(&id)?;
            }
        }
        Step::OpenTool(times) => {
            for _ in 0..*times {
                stream.open_tool()?;
            }
        }
        Step::Chatty(bytes) => {
            const PART: &str =
                "The quick brown fox jumps over the lazy dog, and 429 or 529 in a text means nothing. ";
            let text = PART.repeat(12);
            for _ in 0..bytes.div_ceil(text.len()) {
                stream.text(&text)?;
            }
        }
        Step::Flood(bytes) => {
            let ledger = shared.ledger()?;
            let flood = flood::pour(*bytes)?;
            ledger.flood(*bytes, flood)?;
        }
        Step::LongLine(bytes) => stream.text(&"x".repeat(*bytes))?,
        Step::Zeros(bytes) => {
            let zeros = "0,".repeat(bytes / 2);
            raw_line(format!("{{\"type\":\"user\",\"message\":{{\"content\":[{zeros}0]}}}}").as_bytes())?;
        }
        Step::Garbage(lines) => {
            for _ in 0..*lines {
                raw_line(b"\x1b[31m\xff\xfe\x00 not json \xc3\x28 {\"type\":\"result\",\"is_error\":fal")?;
            }
        }
        Step::Stderr(bytes) => {
            const LINE: &str = "warning: something worth a line on stderr\n";
            io::stderr().write_all(LINE.repeat(bytes.div_ceil(LINE.len())).as_bytes())?;
        }
        Step::Retry { times, status } => {
            for attempt in 1..=*times {
                stream.api_retry(attempt, *times, *status, 608)?;
            }
        }
        Step::Deaf => shared.deaf.store(true, Ordering::SeqCst),
        Step::Child(lifetime) => leave_orphan(*lifetime)?,
        Step::Dump(path) => marks::dump(path, prompt)?,
        Step::Ledger(path) => {
            let ledger = Ledger::start(path)?;
            *shared.ledger.lock().map_err(|_| io::Error::other("the ledger's lock is poisoned"))? =
                Some(ledger);
        }
        Step::Beat(every) => beat(shared.ledger()?, *every)?,
        Step::Alone(folder) => shared.be_alone(folder)?,
        Step::Reveal(path) => {
            let text = std::fs::read_to_string(path)?;
            stream.text(&text)?;
            let (head, rest) = text.as_bytes().split_at(text.len() / 2);
            for piece in [head, rest, b"\n"] {
                io::stderr().write_all(piece)?;
                std::thread::sleep(LOOK_EVERY);
            }
        }
        Step::Write(path) => std::fs::write(path, b"written by the fake\n")?,
        Step::Commit(path) => commit(path)?,
    }
    Ok(())
}

fn finish(end: &Ending, stream: &mut Stream<'_>, model: &str, shared: &Shared) -> io::Result<u8> {
    let fail = |stream: &mut Stream<'_>, error: &ApiError| stream.failure(error).map(|()| 1);
    match end {
        Ending::Success(text) => stream.success(text).map(|()| 0),
        Ending::RateLimit { wait_s } => {
            if let Some(wait_s) = wait_s {
                stream.api_retry(1, 1, 429, wait_s * 1000)?;
            }
            fail(stream, &ending::rate_limit(model))
        }
        Ending::UsageLimit { resets_in_s, window } => {
            let resets_at_s = epoch_s() + resets_in_s;
            stream.rejected(window, resets_at_s)?;
            fail(stream, &ending::usage_limit(window, resets_at_s))
        }
        Ending::Failure(failure) => fail(stream, &ending::failure(*failure)),
        Ending::MaxTurns => {
            stream.open_tool()?;
            stream.max_turns().map(|()| 1)
        }
        Ending::Crash(code) => {
            io::stderr().write_all(b"TypeError: undefined is not a function\n    at main (cli.js:1:1)\n")?;
            Ok(*code)
        }
        Ending::NoResult => Ok(0),
        Ending::Signal(number) => {
            let signal = Signal::from_named_raw(*number).ok_or_else(|| io::Error::other("no such signal"))?;
            shared.close_ledger(&format!("-{number}"));
            kill_process(getpid(), signal)?;
            hang()
        }
        Ending::HangAfterResult => {
            stream.success("Hello from the fake.")?;
            hang()
        }
        Ending::Hang => hang(),
    }
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Writes a sign of life until the process is gone.
fn beat(ledger: Ledger, every: Duration) -> io::Result<()> {
    std::thread::Builder::new().name("beat".into()).spawn(move || {
        while ledger.beat().is_ok() {
            std::thread::sleep(every);
        }
    })?;
    Ok(())
}

/// Ends the process with 143 on SIGTERM, unless it has been told to be deaf.
fn watch_sigterm(shared: Arc<Shared>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminated = {
        let _entered = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?
    };
    std::thread::Builder::new().name("sigterm".into()).spawn(move || {
        while runtime.block_on(terminated.recv()).is_some() {
            if !shared.deaf.load(Ordering::SeqCst) {
                shared.close_ledger(&EXIT_TERMINATED.to_string());
                std::process::exit(EXIT_TERMINATED.into());
            }
        }
    })?;
    Ok(())
}

/// Starts the child that lives on in its own session, and waits until it is deaf to SIGTERM.
fn leave_orphan(lifetime: Duration) -> io::Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg0("fake-claude-orphan")
        .arg(ORPHAN_FLAG)
        .arg(lifetime.as_secs_f64().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let ready = child.stdout.take().ok_or_else(|| io::Error::other("the child has no stdout"))?;
    io::BufRead::read_line(&mut io::BufReader::new(ready), &mut String::new())?;
    Ok(())
}

/// The child's whole life.
pub(crate) fn live_as_orphan(lifetime: Duration) -> ExitCode {
    let shared = Arc::new(Shared::default());
    shared.deaf.store(true, Ordering::SeqCst);
    let ready = setsid()
        .map_err(io::Error::from)
        .and_then(|_session| watch_sigterm(shared))
        .and_then(|()| stream::raw_line(b"ready"));
    match ready {
        Ok(()) => {
            std::thread::sleep(lifetime);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a stand-alone program; the reset it prints is a wall-clock time"
)]
fn epoch_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(crate) fn complain(message: &str) {
    complain_as_it_is(&format!("fake-claude: {message}"));
}

fn complain_as_it_is(message: &str) {
    // With stderr gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{message}");
}

fn commit(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(b"written by the fake\n")?;
    for arguments in [&["add", "--all"][..], &["commit", "--quiet", "--message", "by the fake"]] {
        let done = Command::new("git").args(arguments).output()?;
        if !done.status.success() {
            let words = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(io::Error::other(format!("git {arguments:?}: {words}")));
        }
    }
    Ok(())
}
