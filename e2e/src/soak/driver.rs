//! Does to a stack what the plan says, and notes when.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use postgres_server::{Server, Stop};
use rustix::process::Signal;
use tokio::time::Instant;

use super::plan::{Act, Memory, Step};
use crate::harness::{Service, Stack};
use crate::history::utc_ms;

/// How long a service may take to end after SIGTERM, as the harness has it.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);

/// A step that was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) utc_ms: i64,
    pub(super) act: Act,
    pub(super) fault: Option<String>,
    /// False: there was nothing to do it to, such as no shim.
    pub(super) hit: bool,
}

/// Plays the steps at their times.
///
/// # Errors
/// A step that cannot fail did, or a service did not end cleanly on SIGTERM.
pub(super) async fn drive(
    stack: &mut Stack,
    server: Option<&Server>,
    nodes: &[String],
    steps: Vec<Step>,
) -> anyhow::Result<Vec<Done>> {
    let (began, mut done) = (Instant::now(), Vec::new());
    let mut driver = Driver { stack, server, nodes, stopped: BTreeMap::new() };
    for Step { at, act, fault } in steps {
        tokio::time::sleep_until(began + at).await;
        let utc_ms = utc_ms();
        let hit = driver.perform(act).await.with_context(|| format!("{act:?}"))?;
        done.push(Done { utc_ms, act, fault, hit });
    }
    Ok(done)
}

struct Driver<'a> {
    stack: &'a mut Stack,
    server: Option<&'a Server>,
    nodes: &'a [String],
    /// The shim that stands still, by its host.
    stopped: BTreeMap<usize, i32>,
}

impl Driver<'_> {
    /// Does it; false when there was nothing to do it to.
    async fn perform(&mut self, act: Act) -> anyhow::Result<bool> {
        let stack = &mut *self.stack;
        match act {
            Act::Kill(part) => stack.process(part).kill().await?,
            Act::Terminate(part) => stack.process(part).signal(Signal::TERM)?,
            Act::Start(part) => start(stack, part).await?,
            Act::Stop(part) => stack.process(part).signal(Signal::STOP)?,
            Act::Continue(part) => stack.process(part).signal(Signal::CONT)?,
            Act::Cut(host, direction) => stack.host(host).cut(direction)?,
            Act::Heal(host) => stack.host(host).heal()?,
            Act::PowerOff(host) => stack.power_off(host).await?,
            Act::PowerOn(host, memory) => power_on(stack, host, memory)?,
            // Neither takes longer than a moment, and nothing else is to happen meanwhile.
            Act::KillDatabase => self.server.context("no server")?.stop(Stop::Kill),
            Act::StartDatabase => self.server.context("no server")?.start_again(),
            Act::Drain(host) => return Ok(stack.orch(&["drain", &self.nodes[host]]).await.is_ok()),
            Act::KillShim(host, choice) => {
                return Ok(shim(stack, host, choice).is_some_and(|pid| stack.kill_process(pid)));
            }
            Act::StopShim(host, choice) => {
                let shim = shim(stack, host, choice).filter(|pid| stack.signal_process(*pid, Signal::STOP));
                self.stopped.extend(shim.map(|pid| (host, pid)));
                return Ok(shim.is_some());
            }
            Act::ContinueShim(host) => {
                let shim = self.stopped.remove(&host);
                return Ok(shim.is_some_and(|pid| stack.signal_process(pid, Signal::CONT)));
            }
        }
        Ok(true)
    }
}

/// Starts a service, once it has ended where it was told to.
async fn start(stack: &mut Stack, part: Service) -> anyhow::Result<()> {
    let process = stack.process(part);
    if process.runs() {
        let status = process.ended(STOPPED_WITHIN).await?;
        ensure!(status.success(), "it ended with {status} on SIGTERM\n{}", process.log_tail());
    }
    process.spawn()
}

fn power_on(stack: &mut Stack, host: usize, memory: Memory) -> anyhow::Result<()> {
    match memory {
        Memory::NewBoot => stack.host(host).power_on()?,
        Memory::SameBoot | Memory::EmptyJournal => stack.host(host).power_on_same_boot()?,
    }
    if memory == Memory::EmptyJournal {
        fs::remove_dir_all(stack.folder().join(format!("runner-{host}/state/node-0/runs")))?;
    }
    stack.process(Service::Runner(host)).spawn()
}

/// One of a host's shims.
fn shim(stack: &Stack, host: usize, choice: usize) -> Option<i32> {
    let mut shims = stack.shims();
    shims.retain(|pid| stack.host_of(*pid) == Some(host));
    (!shims.is_empty()).then(|| shims[choice % shims.len()])
}
