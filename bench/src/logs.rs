//! The way of an agent's output: child, shim, spool, runner, scheduler, log file, `orch logs`, at the child's full speed.
//!
//! Beside it two limits of the same bytes in the same run: a pipe that somebody reads, and a bare gRPC stream from a file of
//! one process to a file of another. An agent prints no more than a spool keeps, so that nothing is dropped, and then waits
//! to be let go, so that the memory of all parts can be read while they live.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::harness::{Service, Stack};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

use crate::bare::{last_entry, monotonic_ns};
use crate::bare_log;
use crate::load::ORCH_TOML;
use crate::proc::Usage;
use crate::report::{median, pair, row};

/// Names the folder in which an agent that prints finds its door and notes when it began; passed on by `ORCH_AGENT_ENV`.
pub(crate) const FOLDER: &str = "ORCH_BENCH_PRINTS";
/// What an agent prints: less than a spool keeps.
const PRINTED_BYTES: usize = 60 * 1024 * 1024;
const MIB: f64 = 1024.0 * 1024.0;
const WITHIN: Duration = Duration::from_mins(3);

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Lines that are no events.
    Text,
    /// Events of the CLI, as long as usual ones, each of which is read for what it says.
    Events,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Events => "events",
        }
    }

    fn line(self) -> String {
        match self {
            Self::Text => format!("{}\n", "0123456789abcdef".repeat(64)),
            Self::Events => format!(
                "{{\"type\":\"assistant\",\"message\":{{\"id\":\"m\",\"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"{}\"}}],\
                 \"usage\":{{\"input_tokens\":3,\"output_tokens\":7}}}},\"parent_tool_use_id\":null,\"session_id\":\"s\"}}\n",
                "the quick brown fox ".repeat(50)
            ),
        }
    }
}

/// Measures.
pub(crate) async fn measure(short: bool) -> anyhow::Result<()> {
    let repetitions = if short { 2 } else { 5 };
    let agent = std::env::current_exe()?;
    let folder = tempfile::tempdir()?;
    let mut stack = Stack::builder()
        .orch_toml(ORCH_TOML)
        .file("review.md", "Review {{ title }}.\n")
        .env("ORCH_CLAUDE_BIN", &agent.display().to_string())
        .env("ORCH_AGENT_ENV", &format!("ORCH_E2E,{FOLDER}"))
        .env(FOLDER, &folder.path().display().to_string())
        .start()
        .await?;
    for kind in [Kind::Text, Kind::Events] {
        let (mut pipe, mut stream, mut path, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut memory = Memory::default();
        for repetition in 0..repetitions {
            let place = folder.path().join(format!("{}-{repetition}", kind.name()));
            std::fs::create_dir(&place)?;
            pipe.push(through_a_pipe(kind)?);
            stream
                .push(bare_log::rate(&place, &kind.line().repeat(PRINTED_BYTES / kind.line().len())).await?);
            let printed = printed(&mut stack, kind, &place).await?;
            path.push(printed.rate);
            again.push(printed.again);
            memory = memory.most(printed.memory);
        }
        let name = |what: &str| format!("log_{}_{what}", kind.name());
        row(&name("limit_pipe"), median(pipe), "MB/s", None);
        pair(&name("child_to_orch_logs"), &path, "MB/s", &name("limit_bare_stream"), &stream);
        row(&name("child_to_orch_logs_of_100"), median(path), "MB/s", Some(100.0));
        row(&name("orch_logs_after_the_end"), median(again), "MB/s", None);
        for (part, most) in memory.parts() {
            row(&name(&format!("memory_{part}")), most, "MiB", None);
        }
    }
    stack.finish().await
}

struct Printed {
    rate: f64,
    again: f64,
    memory: Memory,
}

/// The most memory that each part had, in MiB.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    shim: f64,
    runner: f64,
    scheduler: f64,
    orch: f64,
}

impl Memory {
    fn most(self, other: Self) -> Self {
        Self {
            shim: self.shim.max(other.shim),
            runner: self.runner.max(other.runner),
            scheduler: self.scheduler.max(other.scheduler),
            orch: self.orch.max(other.orch),
        }
    }

    fn parts(self) -> [(&'static str, f64); 4] {
        [
            ("shim", self.shim),
            ("runner", self.runner),
            ("scheduler", self.scheduler),
            ("orch_logs", self.orch),
        ]
    }
}

/// Has an agent print, and reads it as it comes.
async fn printed(stack: &mut Stack, kind: Kind, place: &Path) -> anyhow::Result<Printed> {
    let prompt = format!("print {} {}", kind.name(), place.display());
    let made =
        stack.orch(&["enqueue", "--project", "shop", "--stage", "review", "--prompt", &prompt]).await?;
    let id = made["id"].as_i64().context("a job id")?;
    let mut logs = follow(stack, id)?;
    let pid = logs.id().context("it runs")?;
    let mut stdout = logs.stdout.take().context("its output is piped")?;
    let total = kind.line().len() * (PRINTED_BYTES / kind.line().len());
    let ended = tokio::time::timeout(WITHIN, read_exactly(&mut stdout, total))
        .await
        .context("the log is short")??;
    let begun = last_entry(&place.join("begun"))?;
    let shim = stack.shims().first().copied().context("the shim lives")?;
    let of = |pid: u32| anyhow::Ok(Usage::of(pid)?.rss_most_mib);
    let (runner, scheduler) =
        (stack.process(Service::Runner(0)).pid(), stack.process(Service::Scheduler).pid());
    let memory = Memory {
        shim: of(u32::try_from(shim)?)?,
        runner: of(runner.context("it runs")?)?,
        scheduler: of(scheduler.context("it runs")?)?,
        orch: of(pid)?,
    };
    std::fs::write(place.join("door"), "")?;
    stack.until_status(id, "done", WITHIN).await?;
    // The agent's last word follows, and nothing else.
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).await?;
    ensure!(rest.ends_with(b"\n") && rest.len() < 1024, "{} bytes follow", rest.len());
    logs.wait().await?;
    let again = again(stack, id, total).await?;
    Ok(Printed { rate: megabytes(total, begun, ended), again, memory })
}

fn follow(stack: &Stack, id: i64) -> anyhow::Result<Child> {
    let mut command = stack.command("orch")?;
    command.args(["logs", &id.to_string(), "--follow"]).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Reads the whole log of a job that is over.
async fn again(stack: &Stack, id: i64, total: usize) -> anyhow::Result<f64> {
    let begun = monotonic_ns();
    let mut command = stack.command("orch")?;
    let mut logs = command.args(["logs", &id.to_string()]).stderr(Stdio::null()).spawn()?;
    let mut stdout = logs.stdout.take().context("its output is piped")?;
    let ended = read_exactly(&mut stdout, total).await?;
    tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await?;
    logs.wait().await?;
    Ok(megabytes(total, begun, ended))
}

/// Reads so many bytes; says when the last one came.
async fn read_exactly(from: &mut (impl tokio::io::AsyncRead + Unpin), total: usize) -> anyhow::Result<i128> {
    let (mut buffer, mut read) = (vec![0; 256 * 1024], 0);
    while read < total {
        let length = from.read(&mut buffer).await?;
        ensure!(length > 0, "the log ended after {read} of {total} bytes");
        read += length;
    }
    Ok(monotonic_ns())
}

#[expect(clippy::cast_precision_loss, reason = "sizes and times")]
pub(crate) fn megabytes(bytes: usize, begun_ns: i128, ended_ns: i128) -> f64 {
    bytes as f64 / MIB / ((ended_ns - begun_ns).max(1) as f64 / 1e9)
}

/// The same bytes by the same program into a pipe that is read and thrown away.
fn through_a_pipe(kind: Kind) -> anyhow::Result<f64> {
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["print", kind.name()])
        .stdout(Stdio::piped())
        .spawn()?;
    let begun = monotonic_ns();
    let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
    let mut stdout = child.stdout.take().context("its output is piped")?;
    loop {
        let length = stdout.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        read += length;
    }
    child.wait()?;
    Ok(megabytes(read, begun, monotonic_ns()))
}

/// The kind of this name.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    [Kind::Text, Kind::Events].into_iter().find(|kind| kind.name() == name)
}

/// Prints all of it to the standard output.
pub(crate) fn print(kind: Kind) -> anyhow::Result<()> {
    let line = kind.line();
    let lines = PRINTED_BYTES / line.len();
    // Many lines at once, as much as a pipe takes.
    let at_once = 64 * 1024 / line.len();
    let many = line.repeat(at_once);
    let mut stdout = std::fs::File::options().write(true).open("/proc/self/fd/1")?;
    for _ in 0..lines / at_once {
        stdout.write_all(many.as_bytes())?;
    }
    Ok(stdout.write_all(line.repeat(lines % at_once).as_bytes())?)
}

/// What an agent does whose prompt says `print KIND PLACE`: notes when it begins, prints, and waits for its door.
pub(crate) fn agent(prompt: &str) -> anyhow::Result<()> {
    let mut words = prompt.split_whitespace().skip(1);
    let kind = words.next().and_then(kind).context("a kind")?;
    let place = PathBuf::from(words.next().context("a place")?);
    std::fs::write(place.join("begun"), format!("{}\n", monotonic_ns()))?;
    print(kind)?;
    while !place.join("door").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The address that a part of this program prints first.
pub(crate) async fn address(part: &mut Child) -> anyhow::Result<std::net::SocketAddr> {
    let stdout = part.stdout.take().context("its output is piped")?;
    let line = BufReader::new(stdout).lines().next_line().await?.context("it printed no address")?;
    Ok(line.parse()?)
}
