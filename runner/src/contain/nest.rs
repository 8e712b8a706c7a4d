//! A cgroup in which a process stands for a while, so that the child it makes is born there.
//!
//! To move a process the kernel waits until every CPU has passed by, which takes ten milliseconds and more; to be born in a place
//! costs nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rustix::fs::Access;

use super::Cgroup;
use super::cgroup::own_folder;

/// The calling process stands in it.
#[derive(Debug)]
pub(crate) struct Nest {
    path: PathBuf,
    way_back: PathBuf,
}

impl Nest {
    /// Makes the cgroup at `path` and enters it.
    pub(crate) fn enter(path: PathBuf) -> io::Result<Self> {
        let own = own_folder().ok_or_else(|| io::Error::other("the own cgroup is not in sight"))?;
        let way_back = own.join("cgroup.procs");
        rustix::fs::access(&way_back, Access::WRITE_OK)?;
        let cgroup = Cgroup::at(path.clone());
        cgroup.create()?;
        if let Err(error) = cgroup.join() {
            cgroup.kill_and_remove();
            return Err(error);
        }
        Ok(Self { path, way_back })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it and removes it; no child was made.
    pub(crate) fn abandon(self) -> io::Result<()> {
        fs::write(&self.way_back, "0")?;
        Cgroup::at(self.path).kill_and_remove();
        Ok(())
    }

    /// Leaves it to the child, while the caller goes on.
    pub(crate) fn leave(self) -> Contained {
        let leaving = thread::spawn(move || fs::write(&self.way_back, "0"));
        Contained { cgroup: Cgroup::at(self.path), leaving: Some(leaving), left: true }
    }
}

/// The cgroup of a run, as its keeper has it.
#[derive(Debug)]
pub(crate) struct Contained {
    cgroup: Cgroup,
    leaving: Option<JoinHandle<io::Result<()>>>,
    left: bool,
}

impl Contained {
    /// One that the caller never stood in.
    pub(crate) fn of(cgroup: Cgroup) -> Self {
        Self { cgroup, leaving: None, left: true }
    }

    /// The cgroup, which no longer holds the caller; none where it could not be left, for killing it would end the caller too.
    pub(crate) fn without_us(&mut self) -> Option<&Cgroup> {
        if let Some(leaving) = self.leaving.take() {
            self.left = matches!(leaving.join(), Ok(Ok(())));
        }
        self.left.then_some(&self.cgroup)
    }
}
