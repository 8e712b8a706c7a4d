//! The gate `command`: a program in the workspace, kept as the agent was, by a shim of its own. So it is contained, ends with
//! its lease, outlives the runner, and is found again by the next incarnation, which never starts it beside itself.

use std::fs::File;
use std::io;
use std::path::Path;

use domain::outcome::{EndedBy, Exit, Outcome};
use domain::steps::{GateCommand, StepFault, StepState, Undone};

use super::{Did, fence};
use crate::node::{Held, Node, keeper};
use crate::preflight::Program;
use crate::run_dir::{Assignment, Intent, ProgramKind, RunDir};

/// How often it is started when its shim is lost, by a crash of the host or a person's hand.
const TRIES_MAX: u32 = 3;
/// The first and the last bytes of its output that are kept.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// The gates of a run that may live: their folders and what they were started for.
pub(crate) fn gates(run: &RunDir) -> Vec<(RunDir, Assignment)> {
    let found = |tries| {
        let dir = run.gate(tries);
        let assignment = dir.assignment().ok().flatten()?;
        Some((dir, assignment))
    };
    (1..=TRIES_MAX).filter_map(found).collect()
}

/// Runs the command to its end, or goes on with one that an earlier incarnation started.
pub(super) async fn pass(node: &Node, held: &Held, command: &GateCommand) -> io::Result<Did> {
    for tries in 1..=TRIES_MAX {
        let dir = held.dir.gate(tries);
        let looked = dir.clone();
        let (intent, known) = service::blocking(move || Ok((looked.intent()?, looked.assignment()?))).await?;
        let assignment = if let Some(assignment) = known.filter(|_| intent.is_some()) {
            assignment
        } else {
            if let Err(why) = fence::pass(node, held).await {
                return Ok(Did::not(why));
            }
            match start(node, held, command, &dir).await? {
                Ok(assignment) => assignment,
                Err(unusable) => return Ok(Did::failed(StepFault::CommandUnusable, &unusable)),
            }
        };
        let beside = held.beside(assignment, dir);
        let Some(outcome) = keeper::attend(node, &beside, &node.tasks.token()).await else {
            return Err(io::Error::other("the runner stops; the gate goes on without it"));
        };
        if let Some(did) = judge(&outcome) {
            return Ok(did);
        }
        tracing::warn!(run.id = %held.assignment.run, tries, "the gate's shim was lost");
    }
    Ok(Did::failed(StepFault::CommandUnusable, &format!("its keeper was lost {TRIES_MAX} times")))
}

/// Journals and spawns one try; the inner error: there is no such program.
async fn start(
    node: &Node,
    held: &Held,
    command: &GateCommand,
    dir: &RunDir,
) -> io::Result<Result<Assignment, String>> {
    let assignment = Assignment {
        nonce: node.options.random.id().simple().to_string(),
        prompt: String::new(),
        max_runtime_ms: command.timeout_ms,
        idle_ms: command.timeout_ms,
        idle_in_tool_ms: command.timeout_ms,
        ..held.assignment.clone()
    };
    let (run, gate, argv) = (held.dir.clone(), dir.clone(), command.argv.clone());
    let (journaled, boot_id) = (assignment.clone(), node.identity.boot_id.clone());
    let terms = *node.terms.borrow();
    let terms = terms.ok_or_else(|| io::Error::other("the scheduler has not said its terms yet"))?;
    let (deadline_boot_ms, grace_ms) = (*node.lease.borrow(), terms.kill_grace_ms);
    let prepared = service::blocking(move || {
        let Some(agents) = run.intent()? else {
            return Err(io::Error::other("the agent's journal is missing"));
        };
        prepare(&gate, &journaled, agents, &argv, boot_id, deadline_boot_ms, grace_ms)
    });
    let lock = match prepared.await? {
        Ok(lock) => lock,
        Err(unusable) => return Ok(Err(unusable)),
    };
    let shim = node.shims.spawn(dir, lock, None)?;
    tracing::info!(run.id = %held.assignment.run, shim.pid = shim.pid, "gate spawned");
    let stop = node.tasks.token();
    node.tasks.spawn("shim", async move {
        let _ = stop.run_until_cancelled(shim.gone).await;
    });
    Ok(Ok(assignment))
}

fn prepare(
    dir: &RunDir,
    assignment: &Assignment,
    agents: Intent,
    argv: &[String],
    boot_id: String,
    lease_deadline_boot_ms: i64,
    kill_grace_ms: i64,
) -> io::Result<Result<File, String>> {
    let Some((name, arguments)) = argv.split_first() else {
        return Ok(Err("it names no program".to_owned()));
    };
    // A path is meant from the workspace, a name is looked up in PATH.
    let path = if name.contains('/') { agents.workspace.join(name) } else { Path::new(name).to_owned() };
    let Some(program) = Program::find(&path) else {
        return Ok(Err(format!("{name} is no executable file in the workspace or on the runner's PATH")));
    };
    dir.journal(assignment)?;
    let lock = dir.try_lock()?.ok_or_else(|| io::Error::other("the gate has a shim already"))?;
    dir.write_intent(&Intent {
        boot_id,
        lease_deadline_boot_ms,
        kill_grace_ms,
        program,
        leading_args: arguments.to_vec(),
        kind: ProgramKind::Gate,
        agent_env: Vec::new(),
        spool_head_bytes: OUTPUT_BYTES_MAX,
        spool_tail_bytes: OUTPUT_BYTES_MAX,
        // The agent's own is empty by now, and whatever finds a run's leftovers looks there.
        ..agents
    })?;
    Ok(Ok(lock))
}

/// What its end says; none: nothing, and it is worth another try.
fn judge(outcome: &Outcome) -> Option<Did> {
    let tail = |end: &str| format!("{}\n{end}", outcome.tail.trim_end());
    Some(match (&outcome.ended_by, outcome.exit) {
        (EndedBy::Agent | EndedBy::AfterResult, Some(Exit::Code(0))) => {
            Did::new(StepState::Done, &outcome.tail)
        }
        (EndedBy::Agent | EndedBy::AfterResult, Some(Exit::Code(code))) => {
            Did::failed(StepFault::CommandFailed, &tail(&format!("exit code {code}")))
        }
        (EndedBy::Agent | EndedBy::AfterResult, Some(Exit::Signal(signal))) => {
            Did::failed(StepFault::CommandFailed, &tail(&format!("ended by signal {signal}")))
        }
        (EndedBy::DiskLimit { limit_bytes }, _) => {
            let words = format!("it was ended because its folders took more than {limit_bytes} bytes");
            Did::failed(StepFault::CommandFailed, &tail(&words))
        }
        (EndedBy::MemoryLimit { .. }, _) => {
            Did::failed(StepFault::CommandFailed, &tail("it wanted more memory than it may have"))
        }
        (EndedBy::MaxRuntime | EndedBy::Idle, _) => {
            Did::failed(StepFault::CommandTimeout, &tail("it was ended because its time was over"))
        }
        (EndedBy::Cancelled, _) => Did::not(Undone::Cancelled),
        (EndedBy::Drained, _) => Did::not(Undone::Drained),
        (EndedBy::SelfFenced, _) => Did::not(Undone::Fenced),
        (
            EndedBy::SpawnFailed { error } | EndedBy::Unready { error } | EndedBy::Workspace { error, .. },
            _,
        ) => Did::failed(StepFault::CommandUnusable, error),
        (EndedBy::ShimLost, _) | (EndedBy::Agent | EndedBy::AfterResult, None) => return None,
    })
}
