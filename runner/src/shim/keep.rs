//! The shim's life: spawn, one loop around `poll`, the end of everything, the outcome.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use domain::Timestamp;
use domain::outcome::{EndedBy, Exit, Outcome, Progress};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper, setsid,
    wait,
};
use service::Clock;

use super::control::Control;
use super::disk::Watched;
use super::output::Output;
use super::step::{Order, Step};
use super::watchdog::{self, Limits, Seen};
use super::{agent, room};
use crate::contain::{Cgroup, Controller, sweep};
use crate::identity;
use crate::run_dir::{Assignment, Intent, ProgramKind, RunDir};

/// The longest sleep: after a suspend the clock is looked at within this time.
const LOOK_EVERY_MS: i64 = 1000;
/// How often what the agent reported of itself is told, at most.
const PROGRESS_EVERY_MS: i64 = 1000;
/// How long the pipes may stay open once everything that is known to hold them is dead.
const DRAIN_MS: i64 = 2000;
/// How often the outcome is tried to be written, a second apart, before the shim gives up.
const WRITE_TRIES: usize = 60;
/// Preferred victim order when memory runs out: agents go first.
const OOM_SCORE: &str = "-500";

/// Keeps the run of `dir` until its outcome is durable.
pub(super) fn run(dir: &RunDir) -> io::Result<()> {
    detach()?;
    keep(dir, None)
}

/// Makes this process one that outlives the runner.
pub(super) fn detach() -> io::Result<()> {
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    // Needs a privilege that not every runner has.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    Ok(())
}

/// As [`run`], in a process that is detached. Its standard input is the locked file: the lock is free when, and only when, this
/// process is dead. A `step` that waits must stand in the cgroup of the run's intent.
pub(super) fn keep(dir: &RunDir, step: Option<Step>) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "the run's journal is missing");
    let assignment = dir.assignment()?.ok_or_else(missing)?;
    let intent = dir.intent()?.ok_or_else(missing)?;
    dir.reserve_outcome()?;
    let control = Control::bind(dir)?;
    let clock = Clock::system();
    let mut output = Output::new(dir.spool(), intent.spool_head_bytes, intent.spool_tail_bytes);

    let in_lease = intent.boot_id == identity::boot_id()? && clock.boot_ms() < intent.lease_deadline_boot_ms;
    let fitting = step.as_ref().is_none_or(|step| step.cgroup() == intent.cgroup.as_deref());
    if !in_lease {
        abandon(step);
        return record(dir, &outcome(&mut output, EndedBy::SelfFenced, None, None, &clock));
    }
    if !fitting {
        abandon(step);
        return Err(io::Error::other("the run is meant for another cgroup"));
    }
    if !intent.program.is_unchanged() {
        abandon(step);
        let error = format!("{} has changed since it was looked at", intent.program.path.display());
        return record(dir, &outcome(&mut output, EndedBy::Unready { error }, None, None, &clock));
    }
    let spawned_at = Timestamp::from_ms(clock.now_ms());
    let ended_by = match stand_by(step, &intent) {
        Ok(step) => match room::make(dir, &intent) {
            Ok(()) => {
                let order = order(dir, &assignment, &intent).to_bytes()?;
                let mut keeper = Keeper::new(dir, assignment, &intent, control, output, step, order, clock)?;
                keeper.watch()?;
                return keeper.end(spawned_at);
            }
            Err(error) => {
                step.abandon();
                EndedBy::Unready { error: format!("the agent cannot be contained: {error}") }
            }
        },
        Err(error) => {
            if let Some(cgroup) = &intent.cgroup {
                Cgroup::at(cgroup.clone()).kill_and_remove();
            }
            EndedBy::SpawnFailed { error: error.to_string() }
        }
    };
    room::give_back(&intent);
    record(dir, &outcome(&mut output, ended_by, None, None, &clock))
}

fn abandon(step: Option<Step>) {
    if let Some(step) = step {
        step.abandon();
    }
}

/// The step that waited, if it still does, or another in the run's cgroup.
fn stand_by(step: Option<Step>, intent: &Intent) -> io::Result<Step> {
    if let Some(mut step) = step
        && step.waits()
    {
        return Ok(step);
    }
    let is_made = |path: &PathBuf| Cgroup::at(path.clone()).create().is_ok();
    Step::start(&intent.shim_args, intent.cgroup.clone().filter(is_made), intent.kind)
}

fn order(dir: &RunDir, assignment: &Assignment, intent: &Intent) -> Order {
    let root = rustix::process::geteuid().is_root() && intent.user.is_none();
    let environment = agent::environment(
        assignment,
        intent.kind,
        &intent.home,
        &intent.agent_env,
        &intent.permission_mode,
        root,
        |name| std::env::var_os(name),
    );
    Order {
        dir: dir.path().to_owned(),
        is_confined: intent.confinement.is_some() || intent.user.is_some(),
        workspace: intent.workspace.clone(),
        program: intent.program.path.clone(),
        arguments: agent::arguments(assignment, intent),
        environment,
    }
}

fn outcome(
    output: &mut Output,
    ended_by: EndedBy,
    exit: Option<Exit>,
    spawned_at: Option<Timestamp>,
    clock: &Clock,
) -> Outcome {
    output.finish();
    Outcome {
        ended_by,
        exit,
        report: output.reader.report().clone(),
        tail: output.tail(),
        log_bytes: output.log_bytes(),
        spawned_at,
        ended_at: Timestamp::from_ms(clock.now_ms()),
        steps: Vec::new(),
    }
}

fn record(dir: &RunDir, outcome: &Outcome) -> io::Result<()> {
    let mut result = dir.write_outcome(outcome);
    for _ in 1..WRITE_TRIES {
        let Err(error) = &result else { break };
        eprintln!("shim: could not write the outcome: {error}");
        std::thread::sleep(Duration::from_secs(1));
        result = dir.write_outcome(outcome);
    }
    result
}

/// A run whose agent was spawned.
struct Keeper<'a> {
    dir: &'a RunDir,
    assignment: Assignment,
    cgroup: Option<Cgroup>,
    control: Control,
    output: Output,
    clock: Clock,
    /// The run's folders of the controllers.
    controls: Vec<Controller>,
    /// How much memory it may have.
    memory_bytes: Option<u64>,
    /// Looks at what it takes of the disk.
    disk: Option<Watched>,
    /// Whether its standard output is an agent's stream of events.
    has_events: bool,
    limits: Limits,
    seen: Seen,
    grace_ms: i64,
    pid: Pid,
    pidfd: OwnedFd,
    stdin: Option<OwnedFd>,
    /// The order by which it becomes the agent and the agent's prompt; what of it is still to be written.
    prompt: Vec<u8>,
    written: usize,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    ending: Option<Ending>,
    exit: Option<Exit>,
    /// What was last told of the agent's progress, and when.
    told: Progress,
    told_ms: i64,
}

/// We have asked the agent to end.
struct Ending {
    by: EndedBy,
    kill_ms: i64,
}

impl<'a> Keeper<'a> {
    #[expect(clippy::too_many_arguments, reason = "built in one place, from parts that live apart before")]
    fn new(
        dir: &'a RunDir,
        mut assignment: Assignment,
        intent: &Intent,
        control: Control,
        output: Output,
        step: Step,
        order: Vec<u8>,
        clock: Clock,
    ) -> io::Result<Self> {
        let cgroup = step.cgroup().map(|path| Cgroup::at(path.to_owned()));
        let Step { child, stdout, stderr, .. } = step;
        let pid = Pid::from_child(&child);
        // Nobody has waited for the child yet, so its pid is still its own.
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let now_ms = clock.boot_ms();
        let (limits, seen) = (Limits::of(&assignment, intent), Seen::spawned(intent, now_ms));
        let mut prompt = order;
        prompt.append(&mut std::mem::take(&mut assignment.prompt).into_bytes());
        let bounds = intent.confinement.as_ref().map(|confinement| confinement.bounds);
        Ok(Self {
            dir,
            assignment,
            cgroup,
            controls: room::controllers(intent).to_vec(),
            memory_bytes: bounds.map(|bounds| bounds.memory_bytes),
            disk: intent.confinement.as_ref().map(|confinement| Watched::begin(intent, confinement)),
            control,
            output,
            clock,
            has_events: intent.kind == ProgramKind::Agent,
            limits,
            seen,
            grace_ms: intent.kill_grace_ms,
            pid,
            pidfd,
            stdin: child.stdin.map(|pipe| nonblocking(pipe.into())).transpose()?,
            prompt,
            written: 0,
            stdout: Some(nonblocking(stdout)?),
            stderr: stderr.map(nonblocking).transpose()?,
            ending: None,
            exit: None,
            told: Progress::default(),
            told_ms: now_ms,
        })
    }

    /// Records how it ended, once it has.
    fn end(mut self, spawned_at: Timestamp) -> io::Result<()> {
        let ended_by = self.finish();
        let exit =
            self.exit.filter(|_| !matches!(ended_by, EndedBy::SpawnFailed { .. } | EndedBy::Unready { .. }));
        let Self { dir, mut output, clock, control, .. } = self;
        let result = record(dir, &outcome(&mut output, ended_by, exit, Some(spawned_at), &clock));
        // Its connections close only now: who sees that finds the outcome.
        drop(control);
        result
    }

    /// Returns when the agent's process has ended.
    fn watch(&mut self) -> io::Result<()> {
        loop {
            self.reap();
            if self.exit.is_some() {
                return Ok(());
            }
            let now_ms = self.clock.boot_ms();
            self.tell_progress(now_ms);
            let wake_ms = self.decide(now_ms);
            self.turn((wake_ms - now_ms).clamp(0, LOOK_EVERY_MS))?;
        }
    }

    /// Says what the agent reported of itself, where that is new. Nothing hangs on it: the outcome has the whole.
    fn tell_progress(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.told_ms) < PROGRESS_EVERY_MS {
            return;
        }
        self.told_ms = now_ms;
        let progress = self.output.reader.report().progress();
        if progress != self.told && self.dir.write_progress(&progress).is_ok() {
            self.told = progress;
        }
    }

    /// Does what the clock demands; tells when to come again.
    fn decide(&mut self, now_ms: i64) -> i64 {
        if self.ending.is_none()
            && let Some(by) = self
                .disk
                .as_ref()
                .and_then(Watched::verdict)
                .or_else(|| watchdog::verdict(self.limits, self.seen, now_ms))
        {
            // After a suspend the grace may be over with the lease.
            let since_ms =
                if by == EndedBy::SelfFenced { now_ms.min(self.seen.lease_deadline_ms) } else { now_ms };
            let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
            self.ending = Some(Ending { by, kill_ms: since_ms.saturating_add(self.grace_ms) });
        }
        let kill_ms = self.ending.as_ref().map(|ending| ending.kill_ms);
        match kill_ms {
            None => watchdog::next_ms(self.limits, self.seen),
            Some(kill_ms) if now_ms < kill_ms => kill_ms,
            Some(_) => {
                let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
                if let Some(cgroup) = &self.cgroup {
                    cgroup.kill();
                }
                now_ms.saturating_add(LOOK_EVERY_MS)
            }
        }
    }

    /// One `poll`, at most `timeout_ms` long, and what it brings.
    fn turn(&mut self, timeout_ms: i64) -> io::Result<()> {
        let timeout = Timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
        let mut fds = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        fds.extend(self.stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        fds.extend(
            [&self.stdout, &self.stderr].into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        let ours = fds.len();
        fds.extend(self.control.fds().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (asked, spoken) = {
            let ready = |fds: &[PollFd<'_>]| fds.iter().any(|fd| !fd.revents().is_empty());
            (ready(&fds[ours..]), ready(&fds[1..ours]))
        };
        drop(fds);
        if spoken {
            self.write_prompt();
            self.read_output();
        }
        if asked {
            let seen = &mut self.seen;
            self.control.turn(&self.assignment, |ask| seen.heed(ask));
        }
        Ok(())
    }

    fn write_prompt(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        match rustix::io::write(stdin, &self.prompt[self.written..]) {
            Ok(length) => self.written += length,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            // An agent that does not want to hear more may still do its work.
            Err(_) => self.written = self.prompt.len(),
        }
        if self.written == self.prompt.len() {
            self.stdin = None;
            self.prompt = Vec::new();
            self.written = 0;
        }
    }

    /// Takes a piece of what each pipe holds; true when there was any.
    fn read_output(&mut self) -> bool {
        let read =
            self.output.take(&mut self.stdout, self.has_events) | self.output.take(&mut self.stderr, false);
        if read {
            let now_ms = self.clock.boot_ms();
            self.seen.output_ms = now_ms;
            self.seen.tool_open = self.output.reader.open_tool_calls() > 0;
            self.seen.result_ms =
                self.output.reader.result_seen().then(|| self.seen.result_ms.unwrap_or(now_ms));
        }
        read
    }

    /// Lets go of every dead child, those that were orphaned below us included, and keeps the agent's exit.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                let signal = status.terminating_signal().map(Exit::Signal);
                self.exit = status.exit_status().map(Exit::Code).or(signal).or(self.exit);
            }
        }
    }

    /// Ends whatever the agent left behind, takes the last of its output, and says who ended the run.
    fn finish(&mut self) -> EndedBy {
        let oom_kills: u64 = self.controls.iter().map(Controller::oom_kills).sum();
        let mut contained = false;
        if let Some(cgroup) = &self.cgroup {
            contained = cgroup.kill_and_remove() && !self.dir.is_uncontained();
        }
        if !contained {
            let marker = self.assignment.marker();
            sweep::kill(&marker, Some(getpid()), || self.reap());
        }
        self.controls.iter().for_each(Controller::remove);
        let end_ms = self.clock.boot_ms() + DRAIN_MS;
        while (self.stdout.is_some() || self.stderr.is_some()) && self.clock.boot_ms() < end_ms {
            self.stdin = None;
            if !self.read_output() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if let Some(error) = self.dir.exec_error() {
            return EndedBy::SpawnFailed { error };
        }
        if let Some(error) = self.dir.unconfined() {
            return EndedBy::Unready { error: format!("the agent cannot be contained: {error}") };
        }
        self.ending.take().map_or_else(|| self.unasked(oom_kills), |ending| ending.by)
    }

    /// Who ended an agent that we did not ask to end. Where we hung beyond its lease, the runner killed it in our place.
    fn unasked(&self, oom_kills: u64) -> EndedBy {
        let killed = self.exit == Some(Exit::Signal(Signal::KILL.as_raw()));
        if killed && self.clock.boot_ms() >= self.seen.lease_deadline_ms {
            return EndedBy::SelfFenced;
        }
        if oom_kills > 0 && self.exit.is_some_and(is_kill) {
            return EndedBy::MemoryLimit { limit_bytes: self.memory_bytes };
        }
        EndedBy::Agent
    }
}

/// Whether it was killed, or is a shell's word for that.
fn is_kill(exit: Exit) -> bool {
    matches!(exit, Exit::Signal(signal) | Exit::Code(signal) if signal % 128 == Signal::KILL.as_raw())
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(fd.as_fd(), flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok(fd)
}
