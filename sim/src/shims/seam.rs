//! The machine's keepers, as the runner on it sees them: the seam at which they stand in for real processes.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use domain::runner::Preflight;
use domain::{RunId, Timestamp};
use runner::run_dir::{Assignment, RunDir};
use runner::shim::Ask;
use runner::shim::watchdog::Seen;
use runner::{ShimLink, Shims, Spawned, Waiting};
use service::Clock;
use tokio::sync::watch;

use super::{Machine, SLOW_SPAWN_MS, Shim};
use crate::broken::Broken;

/// The machine, as the runner on it sees it.
#[derive(Debug)]
pub(crate) struct Keepers(pub(crate) Arc<Machine>);

#[async_trait::async_trait]
impl Shims for Keepers {
    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot-{}-{}", self.0.node, self.0.state().boot))
    }

    fn program(&self) -> Option<runner::Program> {
        // Agents are no processes here; any file that stays the same will do.
        runner::Program::find(Path::new("/proc/self/exe"))
    }

    async fn preflight(&self, _home: &Path, _user: Option<runner::User>, clock: &Clock) -> Preflight {
        let checked_at = Timestamp::from_ms(clock.now_ms());
        Preflight {
            ok: true,
            version: Some("2.1.330".to_owned()),
            checked_at,
            error: None,
            ..Preflight::default()
        }
    }

    fn spawn(&self, dir: &RunDir, lock: File, _waiting: Option<Waiting>) -> io::Result<Spawned> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the run's journal is missing");
        let assignment = dir.assignment()?.ok_or_else(missing)?;
        let mut intent = dir.intent()?.ok_or_else(missing)?;
        let mut state = self.0.state();
        let now_ms = self.0.clock.boot_ms();
        intent.lease_deadline_boot_ms = self.0.deadline(intent.lease_deadline_boot_ms);
        let stalls = state.stalls_per_mille;
        let wait_ms = if state.dice.happens(stalls) {
            self.0.judge.saw("fault keeper that comes late");
            state.dice.of_range(0..self.0.terms.scheduler_lease_ms)
        } else {
            state.dice.of_range(0..SLOW_SPAWN_MS)
        };
        if state.dice.happens(5) {
            self.0.judge.saw("fault spawn fails");
            return Err(io::Error::other("no more processes"));
        }
        let (gone, mut is_gone) = watch::channel(false);
        let run = assignment.run;
        self.0.judge.note(&format!("shim of run {run} on runner {}", self.0.node));
        state.shims.insert(
            run,
            Shim {
                dir: dir.clone(),
                seen: Seen::spawned(&intent, now_ms),
                assignment,
                intent,
                spawns_at_ms: now_ms + wait_ms,
                agent: None,
                _lock: lock,
                gone,
            },
        );
        let gone = Box::pin(async move {
            // The sender goes with the keeper, which is the same news.
            let _ = is_gone.wait_for(|gone| *gone).await;
        });
        Ok(Spawned { pid: None, gone })
    }

    async fn connect(&self, _dir: &RunDir, assignment: &Assignment) -> io::Result<Box<dyn ShimLink>> {
        let state = self.0.state();
        let shim = state.shims.get(&assignment.run).ok_or(io::ErrorKind::ConnectionRefused)?;
        if shim.assignment.nonce != assignment.nonce {
            return Err(io::Error::other("meant for another run"));
        }
        Ok(Box::new(Link { machine: self.0.clone(), run: assignment.run, gone: shim.gone.subscribe() }))
    }

    fn kill_leftovers(&self, _cgroup: Option<&Path>, marker: &str) -> bool {
        if self.0.is(Broken::LeftoversIgnored) {
            return true;
        }
        let mut state = self.0.state();
        if state.orphans.remove(marker).is_some() {
            self.0.judge.saw("leftovers killed");
        }
        // A keeper that is late with its agent's end is spared; its agent is not.
        let late = state.shims.values_mut().filter(|shim| shim.assignment.marker() == marker);
        for agent in late.filter_map(|shim| shim.agent.as_mut()) {
            agent.agent.kill();
        }
        true
    }
}

/// A connection to one keeper.
#[derive(Debug)]
struct Link {
    machine: Arc<Machine>,
    run: RunId,
    gone: watch::Receiver<bool>,
}

#[async_trait::async_trait]
impl ShimLink for Link {
    async fn ask(&mut self, ask: Ask) -> io::Result<()> {
        let mut state = self.machine.state();
        let shim = state.shims.get_mut(&self.run).ok_or(io::ErrorKind::BrokenPipe)?;
        shim.seen.heed(match ask {
            Ask::Lease { deadline_boot_ms } => {
                Ask::Lease { deadline_boot_ms: self.machine.deadline(deadline_boot_ms) }
            }
            Ask::Hello | Ask::Cancel | Ask::Drain | Ask::Fence => ask,
        });
        Ok(())
    }

    async fn closed(&mut self) {
        // The sender goes with the keeper, which is the same news.
        let _ = self.gone.wait_for(|gone| *gone).await;
    }
}
