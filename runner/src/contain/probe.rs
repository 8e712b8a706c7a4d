//! What this node can give, found by trying: the agent's own program is asked for its version by a whole run of each tier, with
//! shim, controllers, sandbox and network, the strictest tier first.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::containment::{Containment, Destination, EGRESS_DEFAULT, Tier};
use domain::outcome::{EndedBy, Exit, Outcome};
use domain::steps::Steps;
use domain::{Epoch, JobId, RunId};
use tokio::sync::{Notify, watch};

use super::{Confinement, Controller, Own, Resource, View, belongings, control};
use crate::files;
use crate::node::Node;
use crate::preflight::Program;
use crate::run_dir::{Assignment, Intent, ProgramKind, RunDir};

/// Where tries have their folders, in the runner's state folder.
const PROBES: &str = "probes";
/// And their workspaces, where workspaces are; no encoded project begins with a dot.
const WORKS: &str = ".probes";
/// How often it is tried again what was found.
const AGAIN_AFTER: Duration = Duration::from_mins(10);
/// How soon, where something was lacking or the agent's program is not there yet.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// How long one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The most of a program's last words that is told.
const WORDS_BYTES_MAX: usize = 300;

/// What is known of it. Shared by the loop that tries and those who need the answer.
#[derive(Debug, Default)]
pub(crate) struct Probed {
    found: watch::Sender<Option<Containment>>,
    again: Notify,
}

impl Probed {
    /// What was last found; none before the first try is over.
    pub(crate) fn report(&self) -> Option<Containment> {
        self.found.borrow().clone()
    }

    /// Whether agents can be contained this far, as far as is known.
    pub(crate) fn gives(&self, tier: Tier) -> bool {
        tier == Tier::Environment || self.found.borrow().as_ref().is_some_and(|found| found.tier >= tier)
    }

    /// A run could not be contained: nothing strict is promised until it was tried again.
    pub(crate) fn failed(&self, error: &str) {
        let lost = Containment { lacks: Some(error.to_owned()), ..Containment::default() };
        self.found.send_replace(Some(lost));
        self.again.notify_one();
    }
}

/// Keeps the answer fresh until it is cut.
pub(crate) async fn stay_probed(node: Arc<Node>) {
    let (places, left) = (node.controls.clone(), node.options.state_dir.join(PROBES));
    let works = node.options.workspace_dir.join(WORKS);
    let pruned = service::blocking(move || {
        control::prune(&places);
        // Of a runner that was killed while it tried.
        let _ = std::fs::remove_dir_all(works);
        std::fs::remove_dir_all(left)
    });
    let _ = pruned.await;
    loop {
        let wait = if let Some(program) = node.preflights.program() {
            let found = probe(&node, &program).await;
            let complete = found.lacks.is_none();
            let Containment { tier, lacks, note } = &found;
            if node.probed.report().as_ref() != Some(&found) {
                tracing::info!(tier = tier.as_str(), lacks, note, "looked how far agents can be contained");
                node.probed.found.send_replace(Some(found));
                node.renew_soon.notify_one();
            }
            if complete { AGAIN_AFTER } else { RETRY_AFTER }
        } else {
            node.preflights.first(RETRY_AFTER).await;
            if node.preflights.program().is_some() {
                continue;
            }
            RETRY_AFTER
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = node.probed.again.notified() => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

async fn probe(node: &Node, program: &Program) -> Containment {
    let offer = node.options.limits.fence.offer;
    let mut lacks = (offer < Tier::Sealed)
        .then(|| format!("the runner offers no more (ORCH_CONTAINMENT={})", offer.as_str()));
    for tier in Tier::ALL.iter().rev().copied().filter(|tier| *tier <= offer) {
        if tier == Tier::Environment {
            return Containment { tier, lacks, note: note(node, tier) };
        }
        match attempt(node, program, tier).await {
            Ok(()) => return Containment { tier, lacks, note: note(node, tier) },
            Err(error) => lacks = Some(format!("{}: {error}", tier.as_str())),
        }
    }
    Containment { lacks, ..Containment::default() }
}

/// How it is done here, where that is not the same everywhere.
fn note(node: &Node, tier: Tier) -> Option<String> {
    node.looks_as()?;
    let own = "agents are users of their own";
    let missing: Vec<&str> = [(Resource::Memory, "memory"), (Resource::Pids, "processes")]
        .into_iter()
        .filter(|(resource, _)| tier >= Tier::Limits && !has(node, *resource))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Some(own.to_owned());
    }
    let missing = missing.join(" and ");
    Some(format!(
        "{own}; without cgroup controllers {missing} are bounded by limits of the user and of each process"
    ))
}

fn has(node: &Node, resource: Resource) -> bool {
    node.controls.iter().any(|control| control.resource == resource)
}

/// What a run of this tier gets on this node, with these folders to write.
pub(crate) fn confinement(
    node: &Node,
    tier: Tier,
    run: &str,
    program: &Program,
    own: Own,
    egress: Vec<Destination>,
) -> Option<Confinement> {
    let (options, fence) = (&node.options, &node.options.limits.fence);
    let needed = |place: &&Controller| place.resource != Resource::Cpu || fence.bounds.cpu_percent.is_some();
    let kept_from = [options.state_dir.as_path(), options.workspace_dir.as_path()];
    (tier >= Tier::Limits).then(|| Confinement {
        tier,
        bounds: fence.bounds,
        controls: node.controls.iter().filter(|place| needed(place)).map(|place| place.of_run(run)).collect(),
        view: View::new(&program.path, &fence.read, own, &kept_from),
        egress,
    })
}

async fn attempt(node: &Node, program: &Program, tier: Tier) -> io::Result<()> {
    let lacking = |what: &str| Err(io::Error::other(what.to_owned()));
    let options = &node.options;
    let bounds = options.limits.fence.bounds;
    let controlled = has(node, Resource::Memory) && has(node, Resource::Pids);
    if !controlled && node.looks_as().is_none() {
        return lacking(
            "no cgroup controllers for memory and pids are to be had: run the runner as a service with Delegate=yes, or as root; \
             or give agents users of their own (ORCH_AGENT_USERS), whom the system can bound without",
        );
    }
    if bounds.cpu_percent.is_some() && !has(node, Resource::Cpu) {
        return lacking(
            "no cgroup controller for cpu is to be had: leave ORCH_AGENT_CPU_PERCENT out, or delegate it",
        );
    }
    let random = &options.random;
    let run = RunId(random.id());
    let dir = RunDir::at(options.state_dir.join(PROBES).join(run.to_string()));
    let assignment = assignment(run, random.id().simple().to_string(), tier);
    let intent = intent(node, program, &dir, &assignment)?;
    let (made, kept) = (dir.clone(), assignment.clone());
    let own = [intent.workspace.clone(), intent.home.clone()];
    let roots = [options.workspace_dir.clone(), options.state_dir.clone()];
    let users = options.limits.fence.users;
    let lock = service::blocking(move || {
        for (root, folder) in roots.iter().zip([&intent.workspace, &intent.home]) {
            files::create_private_dir(folder)?;
            if let (Some(user), Some(users)) = (intent.user, users) {
                belongings::open_way(root, folder)?;
                belongings::hand_over(folder, user, users)?;
            }
        }
        made.journal(&kept)?;
        let lock = made.try_lock()?.ok_or_else(|| io::Error::other("the probe has a shim already"))?;
        made.write_intent(&intent)?;
        Ok(lock)
    });
    let spawned = node.shims.spawn(&dir, lock.await?, None)?;
    let gone = tokio::time::timeout(TRY_WITHIN, spawned.gone).await;
    let (looked, trash) = (dir.clone(), node.identity.trash());
    let outcome = service::blocking(move || {
        let outcome = looked.outcome()?;
        looked.remove(&trash)?;
        own.iter().try_for_each(std::fs::remove_dir_all)?;
        Ok(outcome)
    });
    match (gone, outcome.await?) {
        (Err(_), _) => lacking("the agent's program did not answer in time"),
        (Ok(()), None) => lacking("the shim of the try was lost"),
        (Ok(()), Some(outcome)) => judge(&outcome),
    }
}

fn judge(outcome: &Outcome) -> io::Result<()> {
    match (&outcome.ended_by, outcome.exit) {
        (EndedBy::Agent, Some(Exit::Code(0))) => Ok(()),
        (EndedBy::Unready { error } | EndedBy::SpawnFailed { error }, _) => {
            Err(io::Error::other(error.clone()))
        }
        (ended_by, exit) => {
            let words = domain::agent_output::cut_front(outcome.tail.trim(), WORDS_BYTES_MAX);
            Err(io::Error::other(format!("the agent's program said {words:?} ({ended_by:?}, {exit:?})")))
        }
    }
}

fn assignment(run: RunId, nonce: String, tier: Tier) -> Assignment {
    let within_ms = i64::try_from(TRY_WITHIN.as_millis()).unwrap_or(i64::MAX);
    Assignment {
        run,
        epoch: Epoch(0),
        job: JobId(0),
        nonce,
        token: String::new(),
        project: String::new(),
        work_item: String::new(),
        prompt: String::new(),
        model: None,
        max_turns: None,
        max_runtime_ms: within_ms,
        idle_ms: within_ms,
        idle_in_tool_ms: within_ms,
        trace_context: None,
        resume_session: None,
        repository: None,
        steps: Steps::default(),
        untrusted: false,
        tier,
        egress: Vec::new(),
    }
}

fn intent(node: &Node, program: &Program, dir: &RunDir, assignment: &Assignment) -> io::Result<Intent> {
    const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
    let options = &node.options;
    let name = assignment.run.to_string();
    let home = dir.path().with_file_name(format!("home-{name}"));
    let workspace = options.workspace_dir.join(WORKS).join(&name);
    let egress = vec![Destination::parse(EGRESS_DEFAULT).map_err(io::Error::other)?];
    Ok(Intent {
        boot_id: node.identity.boot_id.clone(),
        lease_deadline_boot_ms: node.clock.boot_ms()
            + i64::try_from(TRY_WITHIN.as_millis()).unwrap_or(i64::MAX),
        kill_grace_ms: 0,
        after_result_ms: 0,
        shim_args: options.shim.leading_args.clone(),
        program: program.clone(),
        leading_args: options.agent.leading_args.iter().cloned().chain(["--version".to_owned()]).collect(),
        // Its arguments are its own, and its output is no agent's.
        kind: ProgramKind::Gate,
        permission_mode: String::new(),
        agent_env: Vec::new(),
        spool_head_bytes: OUTPUT_BYTES_MAX,
        spool_tail_bytes: OUTPUT_BYTES_MAX,
        cgroup: node.cgroups.as_ref().map(|place| place.join(&name)),
        confinement: confinement(
            node,
            assignment.tier,
            &name,
            program,
            Own { read: Vec::new(), write: vec![workspace.clone(), home.clone()] },
            egress,
        ),
        workspace,
        home,
        user: node.looks_as(),
    })
}
