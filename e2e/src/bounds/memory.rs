//! What the runner and its shims hold in memory, looked at again and again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::harness::{Service, Stack};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What a process may ever have held, its program included: the runner beside [`RUN_KIB_MAX`] for each of its runs, and
/// each shim for its one.
const BASE_KIB_MAX: u64 = 64 * 1024;
const RUN_KIB_MAX: u64 = 1024;

/// Looks until it is told to end.
#[derive(Debug)]
pub(super) struct Sampler {
    runs: usize,
    enough: Arc<AtomicBool>,
    looking: Option<JoinHandle<Memory>>,
}

/// The highest figures seen, in KiB.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Memory {
    looks: u32,
    /// The most that the runner's process ever had resident.
    runner_kib: u64,
    /// The most that any shim ever had.
    shim_kib: u64,
    /// The most of any shim that it shared with nobody.
    shim_own_kib: u64,
    /// The most of all together at a look, pages that are shared counted once.
    all_kib: u64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { looks, runner_kib, shim_kib, shim_own_kib, all_kib } = self;
        write!(
            f,
            "memory at its highest: runner {runner_kib} KiB, any shim {shim_kib} KiB ({shim_own_kib} KiB its own at one \
             of {looks} looks), all together {all_kib} KiB"
        )
    }
}

impl Memory {
    fn look(&mut self, runner: u32, shims: &[u32]) {
        let Some(of_runner) = Process::read(runner) else { return };
        self.looks += 1;
        self.runner_kib = self.runner_kib.max(of_runner.highest_kib);
        let mut all_kib = of_runner.share_kib;
        for shim in shims.iter().filter_map(|pid| Process::read(*pid)) {
            self.shim_kib = self.shim_kib.max(shim.highest_kib);
            self.shim_own_kib = self.shim_own_kib.max(shim.own_kib);
            all_kib += shim.share_kib;
        }
        self.all_kib = self.all_kib.max(all_kib);
    }

    fn check(&self, runs: usize) -> anyhow::Result<()> {
        let runner_kib_max = BASE_KIB_MAX + RUN_KIB_MAX * runs as u64;
        ensure!(self.looks > 0, "nothing was seen");
        ensure!(self.runner_kib <= runner_kib_max, "more than {runner_kib_max} KiB for {runs} runs: {self}");
        let shim_kib_max = BASE_KIB_MAX + RUN_KIB_MAX;
        ensure!(self.shim_kib <= shim_kib_max, "more than {shim_kib_max} KiB for one run: {self}");
        Ok(())
    }
}

impl Sampler {
    /// Looks at the runner of a stack and at the shims of its `runs` runs.
    pub(super) fn start(stack: &mut Stack, runs: usize) -> anyhow::Result<Self> {
        let runner = stack.process(Service::Runner(0)).pid().context("the runner does not run")?;
        let shims: Vec<u32> = stack.shims().into_iter().filter_map(|pid| pid.try_into().ok()).collect();
        ensure!(shims.len() == runs, "{} shims for {runs} runs", shims.len());
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let looking = std::thread::Builder::new().name("memory".into()).spawn(move || {
            let mut memory = Memory::default();
            while !told.load(Ordering::Relaxed) {
                memory.look(runner, &shims);
                std::thread::sleep(LOOK_EVERY);
            }
            memory
        })?;
        Ok(Self { runs, enough, looking: Some(looking) })
    }

    /// Ends the looking.
    ///
    /// # Errors
    /// More was held than its runs may.
    pub(super) fn finish(mut self) -> anyhow::Result<Memory> {
        self.enough.store(true, Ordering::Relaxed);
        let looked = self.looking.take().and_then(|looking| looking.join().ok());
        let memory = looked.context("the sampler is gone")?;
        memory.check(self.runs)?;
        Ok(memory)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
    }
}

/// A process's memory, in KiB.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "a quantity's name ends with its unit")]
struct Process {
    /// The most it ever had resident.
    highest_kib: u64,
    /// Its part of what it shares, and all that is its own.
    share_kib: u64,
    own_kib: u64,
}

impl Process {
    /// None when it is gone.
    fn read(pid: u32) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let (status, maps) = (read("status")?, read("smaps_rollup")?);
        Some(Self {
            highest_kib: kib(&status, "VmHWM")?,
            share_kib: kib(&maps, "Pss")?,
            own_kib: kib(&maps, "Private_Clean")? + kib(&maps, "Private_Dirty")?,
        })
    }
}

/// The number of a line `name: number kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
