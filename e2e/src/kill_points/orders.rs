//! The preloaded library and the file that tells it what to do.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::point::{Moment, Victim};

const SOURCE: &str = include_str!("steps.c");

/// Compiles the library into `folder`.
///
/// # Errors
/// There is no C compiler, or it complains.
pub(super) fn compile(folder: &Path) -> anyhow::Result<PathBuf> {
    let library = folder.join("steps.so");
    let mut compiler = Command::new("cc")
        .args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-xc", "-", "-o"])
        .arg(&library)
        .stdin(Stdio::piped())
        .spawn()
        .context("could not start cc: install a C compiler")?;
    compiler.stdin.take().context("stdin is piped")?.write_all(SOURCE.as_bytes())?;
    ensure!(compiler.wait()?.success(), "cc could not compile the library");
    Ok(library)
}

/// What the processes of one stack are told.
#[derive(Debug)]
pub(super) struct Orders {
    path: PathBuf,
    last_id: u64,
}

impl Orders {
    /// Orders for the processes that have this path in `ORCH_STEPS`; none are given yet.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, last_id: 0 }
    }

    /// From now on every step of the victim is listed.
    pub(super) fn list(&mut self, victim: Victim) -> anyhow::Result<()> {
        self.give(|id| format!("list {id} {}", victim.program()))
    }

    /// The victim dies at its `nth` such step from now on.
    pub(super) fn kill(
        &mut self,
        victim: Victim,
        moment: Moment,
        nth: usize,
        step: &str,
    ) -> anyhow::Result<()> {
        self.give(|id| format!("kill {id} {} {} {nth} {step}", victim.program(), moment.word()))
    }

    fn give(&mut self, text: impl Fn(u64) -> String) -> anyhow::Result<()> {
        self.withdraw()?;
        self.last_id += 1;
        // Under its name it is whole.
        let unfinished = self.beside("tmp");
        std::fs::write(&unfinished, text(self.last_id) + "\n")?;
        Ok(std::fs::rename(unfinished, &self.path)?)
    }

    /// Whether somebody has died of them, or is about to.
    pub(super) fn landed(&self) -> bool {
        self.beside("landed").exists()
    }

    /// Takes them back; false when there are none, or somebody has taken them and dies.
    pub(super) fn withdraw(&self) -> anyhow::Result<bool> {
        let withdrawn = remove(&self.path)?;
        remove(&self.beside("landed"))?;
        remove(&self.beside("listed"))?;
        Ok(withdrawn)
    }

    /// How often each step was listed, by the process that did it most often, in the order of their first times.
    pub(super) fn listed(&self) -> Vec<(String, usize)> {
        let text = std::fs::read_to_string(self.beside("listed")).unwrap_or_default();
        let mut order: Vec<&str> = Vec::new();
        let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (pid, step) in text.lines().filter_map(|line| line.split_once(' ')) {
            if !counts.contains_key(step) {
                order.push(step);
            }
            *counts.entry(step).or_default().entry(pid).or_default() += 1;
        }
        let most = |step: &str| counts[step].values().copied().max().unwrap_or(0);
        order.into_iter().map(|step| (step.to_owned(), most(step))).collect()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.path.with_extension(suffix)
    }
}

/// False when the file is not there.
fn remove(path: &Path) -> anyhow::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("could not remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::{Command, ExitStatus};

    use super::super::point::Moment;
    use super::{Orders, compile};

    struct Told {
        folder: tempfile::TempDir,
        orders: Orders,
    }

    impl Told {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            compile(folder.path()).unwrap();
            let orders = Orders::at(folder.path().join("orders"));
            Self { folder, orders }
        }

        fn run(&self, program: &str, arguments: &[&str]) -> ExitStatus {
            Command::new(program)
                .args(arguments)
                .env("LD_PRELOAD", self.folder.path().join("steps.so"))
                .env("ORCH_STEPS", &self.orders.path)
                .current_dir(&self.folder)
                .status()
                .unwrap()
        }

        /// Whether it died and what it left: the size, for a file.
        fn after(
            &mut self,
            moment: Moment,
            step: &str,
            program: &str,
            arguments: &[&str],
            trace: &Path,
        ) -> (bool, Option<u64>) {
            self.orders.give(|id| format!("kill {id} {program} {} 1 {step}", moment.word())).unwrap();
            let killed = self.run(program, arguments).signal() == Some(9);
            assert_eq!(self.orders.landed(), killed);
            assert_eq!(self.orders.withdraw().unwrap(), !killed);
            let trace = self.folder.path().join(trace);
            let Ok(left) = std::fs::metadata(&trace) else { return (killed, None) };
            if left.is_dir() {
                std::fs::remove_dir(trace).unwrap();
                return (killed, Some(0));
            }
            std::fs::remove_file(trace).unwrap();
            (killed, Some(left.len()))
        }
    }

    #[test]
    fn a_process_dies_before_or_after_the_call_and_only_of_its_own_orders() {
        let mut told = Told::new();
        let mut make = |moment, step| told.after(moment, step, "mkdir", &["made"], Path::new("made"));
        assert_eq!(make(Moment::Before, "mkdir made"), (true, None));
        assert_eq!(make(Moment::After, "mkdir made"), (true, Some(0)));
        assert_eq!(make(Moment::Before, "mkdir other"), (false, Some(0)));
        told.orders.give(|id| format!("kill {id} rmdir before 1 mkdir made")).unwrap();
        assert!(told.run("mkdir", &["made"]).success());
        assert!(told.orders.withdraw().unwrap());
    }

    #[test]
    fn a_torn_write_has_written_half() {
        let mut told = Told::new();
        let sql = ["t.db", "PRAGMA journal_mode = MEMORY; CREATE TABLE t (x)"];
        let mut write = |moment| told.after(moment, "pwrite t.db", "sqlite3", &sql, Path::new("t.db"));
        assert_eq!(write(Moment::Before), (true, Some(0)));
        assert_eq!(write(Moment::Torn), (true, Some(2048)));
        assert_eq!(write(Moment::After), (true, Some(4096)));
    }

    #[test]
    fn steps_are_listed_with_their_counts() {
        let mut told = Told::new();
        told.orders.give(|id| format!("list {id} mkdir")).unwrap();
        assert!(told.run("mkdir", &["-p", "a/b", "c"]).success());
        assert!(told.run("mkdir", &["d"]).success());
        let listed = told.orders.listed();
        let count = |step: &str| listed.iter().find(|(name, _)| name == step).map(|(_, count)| *count);
        assert_eq!(
            (count("mkdir a"), count("mkdir c"), count("mkdir d"), count("mkdir e")),
            (Some(1), Some(1), Some(1), None),
            "{listed:?}"
        );
    }
}
