//! From an accepted offer to a living shim: asks the scheduler to start, and spawns only on its committed word,
//! inside the lease that the word grants.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::outcome::{AgentReport, EndedBy, Outcome};
use proto::v1::{RunPhase, StartRequest, StartStatus};
use service::{grpc, telemetry::trace_context};
use tonic::Code;
use tracing::Instrument as _;

use super::prepare::{self, Prepared};
use super::{Held, Node, Terms, keeper};
use crate::contain::{Own, Version, probe};
use crate::preflight::Program;
use crate::run_dir::{Intent, ProgramKind};
use crate::shim::Wish;
use crate::workspace::Workspace;

/// How long one Start may take.
const START_WITHIN: Duration = Duration::from_secs(5);
/// How long an offer waits for the first preflight: longer than one may take.
const FIRST_LOOK_WAIT: Duration = Duration::from_secs(15);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The scheduler's word.
enum Word {
    /// Started, until this instant of boot time.
    Granted { deadline_boot_ms: i64 },
    /// Not ours.
    Refused,
}

/// Begins to ask for a run's start.
pub(crate) fn begin(node: &Arc<Node>, held: Arc<Held>) {
    let span = tracing::info_span!("start", run.id = %held.assignment.run, job.id = %held.assignment.job);
    if let Some(parent) = &held.assignment.trace_context {
        trace_context::set_parent(&span, parent);
    }
    let node = node.clone();
    node.tasks.clone().spawn(
        "start",
        async move {
            if let Err(error) = start(&node, &held).await {
                tracing::error!(%error, "could not start a run");
            }
        }
        .instrument(span),
    );
}

async fn start(node: &Arc<Node>, held: &Arc<Held>) -> io::Result<()> {
    let stop = node.tasks.token();
    // After a restart an offer may be here before the first look at the agent's program is over.
    let looked = stop.run_until_cancelled(node.preflights.first(FIRST_LOOK_WAIT)).await;
    let terms = stop.run_until_cancelled(node.registered()).await;
    let (Some(()), Some(terms)) = (looked, terms) else { return Ok(()) };
    // Only asking is given up when the runner stops: what follows is short, and half of it would be a lost run.
    let asked = stop.run_until_cancelled(granted(node, held, terms));
    let (asked, moved_in) = tokio::join!(asked, prepare::move_in(node, held));
    let deadline_boot_ms = match asked {
        Some(Some(deadline_boot_ms)) => deadline_boot_ms,
        Some(None) => {
            tracing::info!("start refused, nothing was spawned");
            return node.forget(held).await;
        }
        None => return Ok(()),
    };
    let wish = *held.wish.borrow();
    match wish {
        Some(Wish::Fence) => node.forget(held).await,
        Some(wish @ (Wish::Cancel | Wish::Drain)) => end_unspawned(node, held, wish.ended_by()).await,
        None if node.draining() => end_unspawned(node, held, EndedBy::Drained).await,
        None => match moved_in {
            Ok(()) => spawn(node, held, terms, deadline_boot_ms).await,
            Err(ended_by) => end_unspawned(node, held, ended_by).await,
        },
    }
}

/// Until when the run may live, in boot time; none where its start is refused.
async fn granted(node: &Node, held: &Held, terms: Terms) -> Option<i64> {
    loop {
        match ask(node, held, terms).await {
            Word::Refused => return None,
            // An answer that took longer than the lease it grants is none.
            Word::Granted { deadline_boot_ms } if node.clock.boot_ms() < deadline_boot_ms => {
                return Some(deadline_boot_ms);
            }
            Word::Granted { .. } => {}
        }
    }
}

/// Repeats Start until it is answered, or nobody can want the answer any more.
async fn ask(node: &Node, held: &Held, terms: Terms) -> Word {
    let request = StartRequest {
        run: Some(held.assignment.key()),
        node_id: node.identity.node.to_string(),
        incarnation: node.identity.incarnation.0,
        session: node.identity.session.clone(),
    };
    let (mut wish, mut backoff) = (held.wish.subscribe(), BACKOFF_MIN);
    let give_up_ms = node.clock.boot_ms().saturating_add(terms.lease_ms);
    loop {
        if *wish.borrow_and_update() == Some(Wish::Fence) || node.clock.boot_ms() >= give_up_ms {
            return Word::Refused;
        }
        let sent_ms = node.clock.boot_ms();
        let mut scheduler = node.scheduler.clone();
        match grpc::call(START_WITHIN, scheduler.start(request.clone())).await {
            Ok(reply) => match reply.get_ref().status() {
                StartStatus::Ok => {
                    let deadline_boot_ms = sent_ms.saturating_add(reply.get_ref().lease_ms);
                    return Word::Granted { deadline_boot_ms };
                }
                StartStatus::Refused => return Word::Refused,
                StartStatus::Unspecified => {
                    tracing::warn!("an answer to start that this version does not know");
                }
            },
            Err(status) if status.code() == Code::Aborted => return Word::Refused,
            Err(status) => {
                if status.code() == Code::FailedPrecondition {
                    node.register_again.notify_one();
                }
                tracing::debug!(%status, "could not ask for a start, asking again");
            }
        }
        // Whoever wants the end of this run wants the answer now.
        let _ = tokio::time::timeout(backoff, wish.changed()).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Ends a run that was confirmed and never spawned.
async fn end_unspawned(node: &Node, held: &Held, ended_by: EndedBy) -> io::Result<()> {
    let outcome = Outcome {
        ended_by,
        exit: None,
        report: AgentReport::default(),
        tail: String::new(),
        log_bytes: 0,
        spawned_at: None,
        ended_at: Timestamp::from_ms(node.clock.now_ms()),
        steps: Vec::new(),
    };
    let (dir, written) = (held.dir.clone(), outcome.clone());
    service::blocking(move || dir.write_outcome(&written)).await?;
    held.ended(&outcome);
    Ok(())
}

async fn spawn(node: &Arc<Node>, held: &Arc<Held>, terms: Terms, deadline_boot_ms: i64) -> io::Result<()> {
    // The shim's from before it exists: whoever finds it free knows that no agent of this run works in its workspace.
    let dir = held.dir.clone();
    let lock = match service::blocking(move || dir.try_lock()).await {
        Ok(Some(lock)) => lock,
        Ok(None) => return spawn_failed(node, held, &io::Error::other("the run has a shim already")).await,
        Err(error) => return spawn_failed(node, held, &error).await,
    };
    if let Err(error) = lend_user(node, held).await {
        tracing::warn!(%error, "nothing was spawned");
        return end_unspawned(node, held, EndedBy::Unready { error: error.to_string() }).await;
    }
    let work = match prepare::workspace(node, held, deadline_boot_ms).await {
        Ok(Prepared::Folder(work)) => work,
        Ok(Prepared::Not(ended_by)) => return end_unspawned(node, held, ended_by).await,
        Ok(Prepared::Fenced) => return node.forget(held).await,
        Ok(Prepared::Stopped) => return Ok(()),
        Err(error) => return spawn_failed(node, held, &error).await,
    };
    if !node.probed.gives(held.assignment.tier) {
        let error = format!("the agent cannot be contained in tier {}", held.assignment.tier.as_str());
        tracing::warn!(error, "nothing was spawned");
        return end_unspawned(node, held, EndedBy::Unready { error }).await;
    }
    // What was acknowledged meanwhile counts.
    let deadline_boot_ms = deadline_boot_ms.max(*node.lease.borrow());
    let Some(program) = node.preflights.program() else {
        let error = node.preflights.report().and_then(|preflight| preflight.error).unwrap_or_default();
        tracing::warn!(error, "nothing was spawned: the preflight no longer holds");
        return end_unspawned(node, held, EndedBy::Unready { error }).await;
    };
    let waiting = node.shims.waiting();
    let cgroup = match &waiting {
        Some(waiting) => waiting.cgroup().map(Path::to_path_buf),
        None => node.cgroups.as_ref().map(|place| place.join(held.assignment.run.to_string())),
    };
    let (preparing, run) = (node.clone(), held.clone());
    let intended =
        service::blocking(move || intend(&preparing, &run, program, work, cgroup, terms, deadline_boot_ms))
            .await;
    let spawned = match intended {
        Ok(()) => node.shims.spawn(&held.dir, lock, waiting),
        Err(error) => Err(error),
    };
    match spawned {
        Ok(shim) => {
            held.phase.send_replace(RunPhase::Started);
            tracing::info!(shim.pid = shim.pid, "spawned");
            let stop = node.tasks.token();
            node.tasks.spawn("shim", async move {
                let _ = stop.run_until_cancelled(shim.gone).await;
            });
            keeper::begin(node, held.clone());
            Ok(())
        }
        Err(error) => spawn_failed(node, held, &error).await,
    }
}

/// Sees to it that the agent's user, where it has one of its own, is nobody else's.
async fn lend_user(node: &Arc<Node>, held: &Arc<Held>) -> io::Result<()> {
    if node.looks_as().is_none() {
        return Ok(());
    }
    let (node, held) = (node.clone(), held.clone());
    service::blocking(move || {
        let before = fs::symlink_metadata(node.home(&held)).ok().map(|found| found.uid());
        match node.lend_user(held.assignment.run, before).map_err(io::Error::other)? {
            Some(user) if !user.clear() => {
                Err(io::Error::other(format!("something of user {} does not die", user.uid)))
            }
            Some(_) | None => Ok(()),
        }
    })
    .await
}

async fn spawn_failed(node: &Node, held: &Held, error: &io::Error) -> io::Result<()> {
    tracing::error!(%error, "could not spawn");
    end_unspawned(node, held, EndedBy::SpawnFailed { error: error.to_string() }).await
}

/// What is an agent's own: its folders, and where the commands of its worktree put commits. It reads the clone's configuration and
/// hooks, and writes neither.
fn own(work: &Path, home: &Path, workspace: Option<&Workspace>) -> Own {
    let mut own = Own { read: Vec::new(), write: vec![work.to_owned(), home.to_owned()] };
    if let Some(workspace) = workspace {
        own.read.push(workspace.clone.clone());
        own.write.extend(["objects", "refs", "logs"].map(|name| workspace.clone.join(name)));
        own.write.push(workspace.git_dir.clone());
    }
    own
}

/// Journals what is about to be spawned.
fn intend(
    node: &Node,
    held: &Held,
    program: Program,
    work: PathBuf,
    cgroup: Option<PathBuf>,
    terms: Terms,
    deadline_boot_ms: i64,
) -> io::Result<()> {
    let (options, assignment) = (&node.options, &held.assignment);
    let home = node.home(held);
    let own = own(&work, &home, held.dir.workspace()?.as_ref());
    let run = assignment.run.to_string();
    let mut confinement =
        probe::confinement(node, assignment.tier, &run, &program, own, assignment.egress.clone());
    if let (Some(confinement), Some(cgroup)) = (&mut confinement, &cgroup) {
        // Controllers of version 2 are in the run's cgroup, whatever that is called.
        for controller in confinement.controls.iter_mut().filter(|one| one.version == Version::V2) {
            controller.path.clone_from(cgroup);
        }
    }
    held.dir.write_intent(&Intent {
        boot_id: node.identity.boot_id.clone(),
        lease_deadline_boot_ms: deadline_boot_ms,
        kill_grace_ms: terms.kill_grace_ms,
        after_result_ms: i64::try_from(options.limits.after_result.as_millis()).unwrap_or(i64::MAX),
        shim_args: options.shim.leading_args.clone(),
        program,
        leading_args: options.agent.leading_args.clone(),
        kind: ProgramKind::Agent,
        permission_mode: options.permission_mode.clone(),
        agent_env: options.agent_env.clone(),
        workspace: work,
        home,
        confinement,
        user: node.user_of(assignment.run),
        spool_head_bytes: options.limits.spool_head_bytes,
        spool_tail_bytes: options.limits.spool_tail_bytes,
        cgroup,
    })
}
