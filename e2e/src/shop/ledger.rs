//! The ledger that the fakes write: who was spawned, and who came to an end of its own.

use std::path::PathBuf;

use crate::harness::Stack;

/// What the fakes of a stack wrote into their ledger.
#[derive(Debug)]
pub struct Ledger(PathBuf);

impl Ledger {
    /// The stack's ledger.
    pub fn of(stack: &Stack) -> Self {
        Self(stack.folder().join("ledger"))
    }

    /// The step that writes into it.
    pub fn step(&self) -> String {
        format!("ledger={}", self.0.display())
    }

    /// Every spawn: process id, start time and run id.
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
            })
            .collect()
    }

    /// How many came to an end that they could still write down.
    pub fn ends(&self) -> usize {
        self.lines("end").len()
    }

    fn lines(&self, kind: &str) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        text.lines().map(words).filter(|words| words[0] == kind).collect()
    }
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
}

impl Spawn {
    /// Whether this very process still runs: the number alone may have gone to another.
    pub fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let mut after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let state = after_name.next();
        state.is_some_and(|state| state != "Z" && state != "X") && after_name.nth(18) == Some(&self.started)
    }
}
