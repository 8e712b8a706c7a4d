//! What the kernel counts of a process: processor time, memory, bytes and calls.

use std::time::Duration;

use anyhow::Context;

/// Ticks of `/proc/PID/stat`: the kernel's unit for user space on every platform that Linux runs on today.
const TICKS_PER_SECOND: u64 = 100;

/// A look at a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time of all its threads.
    pub(crate) cpu: Duration,
    /// Memory that is its own or mapped, now and at most.
    pub(crate) rss_mib: f64,
    pub(crate) rss_most_mib: f64,
    /// What went to the disk's queue.
    pub(crate) written_mib: f64,
    pub(crate) threads: u64,
}

impl Usage {
    /// Looks at a process that lives.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        const MIB: f64 = 1024.0 * 1024.0;
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let (stat, status, io) = (read("stat")?, read("status")?, read("io")?);
        // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
        let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
        let number = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        #[expect(clippy::cast_precision_loss, reason = "sizes")]
        let mib = |bytes: u64| bytes as f64 / MIB;
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
            rss_mib: mib(number(&status, "VmRSS") * 1024),
            rss_most_mib: mib(number(&status, "VmHWM") * 1024),
            written_mib: mib(number(&io, "write_bytes")),
            threads: number(&status, "Threads"),
        })
    }
}

/// Lets this process and those it starts open as many files as the host allows.
pub(crate) fn open_many_files() -> anyhow::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
