//! The ledger that the fakes write: who was spawned, and who came to an end of its own.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::task::JoinHandle;

use super::WITHIN;
use crate::harness::{Outside, boot_ms};

/// What the fakes of a stack wrote into their ledger.
#[derive(Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// The stack's ledger.
    pub fn of(stack: &Outside) -> Self {
        Self(stack.folder().join("ledger"))
    }

    /// The step that writes into it.
    pub fn step(&self) -> String {
        format!("ledger={}", self.0.display())
    }

    /// Every spawn.
    ///
    /// # Panics
    /// The ledger holds something that is none.
    pub fn starts(&self) -> Vec<Spawn> {
        self.lines("start")
            .into_iter()
            .map(|words| Spawn {
                pid: words[1].parse().expect("a process id"),
                started: words[2].clone(),
                run: words[3].clone(),
                job: words[4].parse().expect("a job id"),
                boot_ms: words[5].parse().expect("milliseconds"),
            })
            .collect()
    }

    /// How many came to an end that they could still write down.
    pub fn ends(&self) -> usize {
        self.lines("end").len()
    }

    /// How often an agent found another one of its job alive.
    pub fn doubles(&self) -> usize {
        self.lines("double").len()
    }

    /// Every flood that was printed to its end.
    ///
    /// # Panics
    /// The ledger holds something that is none.
    pub fn floods(&self) -> Vec<Poured> {
        let number = |word: &str| word.parse().expect("a number");
        self.lines("flood")
            .into_iter()
            .map(|words| Poured {
                job: words[4].parse().expect("a job id"),
                bytes: number(&words[6]),
                longest_write: Duration::from_micros(number(&words[7])),
                all: Duration::from_millis(number(&words[8])),
            })
            .collect()
    }

    fn lines(&self, kind: &str) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(words).filter(|words| words[0] == kind).collect()
    }
}

/// One flood of the fake, by its own word.
#[derive(Debug, Clone, Copy)]
pub struct Poured {
    /// The job it works for.
    pub job: i64,
    /// What it printed.
    pub bytes: u64,
    /// The longest write of 64 KiB.
    pub longest_write: Duration,
    /// From the first write to the end of the last.
    pub all: Duration,
}

/// One spawn of the fake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spawn {
    /// Process id.
    pub pid: i32,
    /// Start in clock ticks after boot, as `/proc` shows it.
    pub started: String,
    /// Run id.
    pub run: String,
    /// The job it works for.
    pub job: i64,
    /// When it was spawned, in milliseconds of boot time.
    pub boot_ms: i64,
}

impl Spawn {
    /// Waits until this very process is gone, on a thread of its own, and says when that was, in milliseconds of boot
    /// time: at that instant or a moment later, never before. An error when it lives on for [`WITHIN`].
    pub fn death(&self) -> JoinHandle<io::Result<i64>> {
        let spawn = self.clone();
        tokio::task::spawn_blocking(move || {
            let pid = Pid::from_raw(spawn.pid).ok_or(io::ErrorKind::InvalidInput)?;
            // Opened first and looked at behind it: the number alone may have gone to another.
            let held = match pidfd_open(pid, PidfdFlags::empty()) {
                Err(Errno::SRCH) => return Ok(boot_ms()),
                held => held?,
            };
            let limit = Timespec { tv_sec: WITHIN.as_secs().cast_signed(), tv_nsec: 0 };
            if spawn.lives() && poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&limit))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the agent lives on"));
            }
            Ok(boot_ms())
        })
    }

    /// Whether this very process still runs: the number alone may have gone to another.
    pub fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let mut after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let state = after_name.next();
        state.is_some_and(|state| state != "Z" && state != "X") && after_name.nth(18) == Some(&self.started)
    }
}
