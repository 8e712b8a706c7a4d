//! The agent's folder before the agent: made, prepared by git where the project has a repository, and what the project's own
//! commands around an agent are given.
//!
//! A worktree may take minutes. Meanwhile the run is held and renewed like any other, its end may be asked for, and its lease may
//! end. No intent is journaled yet: what is cut off is begun again by the next incarnation, which asks for the start again.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::outcome::EndedBy;

use super::{Held, Node};
use crate::contain::belongings;
use crate::files;
use crate::run_dir::ProgramKind;
use crate::shim::{self, Wish};
use crate::workspace::{self, Surroundings, Unprepared, Wanted};

/// The longest sleep: after a suspend the clock is looked at within this time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What came of it.
pub(super) enum Prepared {
    Folder(PathBuf),
    /// There will be no agent.
    Not(EndedBy),
    /// The run no longer owns its job.
    Fenced,
    /// The runner stops.
    Stopped,
}

/// Notes that the item's folders are lived in, before they are made. An offer whose start is refused lives nowhere once it is
/// forgotten.
pub(super) async fn move_in(node: &Node, held: &Held) -> Result<(), EndedBy> {
    let (options, assignment) = (&node.options, &held.assignment);
    let (project, work_item) = (&assignment.project, &assignment.work_item);
    let moved_in = node.workspaces.moves_in(project, work_item, &options.account, held.dir.path());
    moved_in.await.map_err(unprepared)
}

/// Makes the agent's folder. The run's lock must be held.
pub(super) async fn workspace(
    node: &Arc<Node>,
    held: &Arc<Held>,
    deadline_boot_ms: i64,
) -> io::Result<Prepared> {
    let (options, assignment) = (&node.options, &held.assignment);
    let work = workspace::folder(&options.workspace_dir, &assignment.project, &assignment.work_item);
    let (home, plain) = (node.home(held), assignment.repository.is_none().then(|| work.clone()));
    let (user, users) = (node.user_of(assignment.run), options.limits.fence.users);
    let (state, root) = (options.state_dir.clone(), options.workspace_dir.clone());
    service::blocking(move || {
        for (root, folder) in [(&state, Some(home)), (&root, plain)] {
            let Some(folder) = folder else { continue };
            files::create_private_dir(&folder)?;
            if let (Some(user), Some(users)) = (user, users) {
                belongings::open_way(root, &folder)?;
                belongings::hand_over(&folder, user, users)?;
            }
        }
        Ok(())
    })
    .await?;
    let Some(spec) = &assignment.repository else { return Ok(Prepared::Folder(work)) };
    let wanted = Wanted {
        project: &assignment.project,
        work_item: &assignment.work_item,
        run: assignment.run,
        run_dir: held.dir.path(),
        job: assignment.job,
        resumed: assignment.resume_session.is_some(),
        spec,
    };
    // An incarnation before may have been killed in the middle of this.
    node.sweep(held).await;
    let (stop, surroundings) = (node.tasks.token(), node.surroundings(held, &work));
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(Prepared::Stopped),
        wish = unwanted(node, held, deadline_boot_ms) => Err(wish),
        prepared = Box::pin(node.workspaces.prepare(&wanted, &surroundings)) => Ok(prepared),
    };
    node.sweep(held).await;
    Ok(match prepared {
        Ok(Ok(workspace)) => {
            let dir = held.dir.clone();
            service::blocking(move || dir.write_workspace(&workspace)).await?;
            Prepared::Folder(work)
        }
        Ok(Err(error)) => Prepared::Not(unprepared(error)),
        Err(None) => Prepared::Not(EndedBy::SelfFenced),
        Err(Some(Wish::Fence)) => Prepared::Fenced,
        Err(Some(wish)) => Prepared::Not(wish.ended_by()),
    })
}

fn unprepared(Unprepared { fault, error }: Unprepared) -> EndedBy {
    tracing::warn!(fault = fault.as_str(), error, "could not prepare the workspace");
    EndedBy::Workspace { fault, error }
}

/// Returns when the run is not to go on: with the wish for its end, or without one when its lease is over.
async fn unwanted(node: &Node, held: &Held, deadline_boot_ms: i64) -> Option<Wish> {
    let mut wish = held.wish.subscribe();
    loop {
        let wished = *wish.borrow_and_update();
        if wished.is_some() {
            return wished;
        }
        let left_ms = deadline_boot_ms.max(*node.lease.borrow()) - node.clock.boot_ms();
        let Ok(left_ms @ 1..) = u64::try_from(left_ms) else { return None };
        let _ = tokio::time::timeout(Duration::from_millis(left_ms).min(LOOK_EVERY), wish.changed()).await;
    }
}

impl Node {
    /// The HOME of the run's agent.
    pub(super) fn home(&self, held: &Held) -> PathBuf {
        let (options, assignment) = (&self.options, &held.assignment);
        workspace::home(&options.state_dir, &options.account, &assignment.project, &assignment.work_item)
    }

    /// The agent's own environment, and where it works for whom: nothing that the agent may not know.
    pub(crate) fn surroundings(&self, held: &Held, workspace: &Path) -> Surroundings {
        let (options, assignment) = (&self.options, &held.assignment);
        let user = self.user_of(assignment.run);
        let mut environment = shim::environment(
            assignment,
            ProgramKind::Agent,
            &self.home(held),
            &options.agent_env,
            &options.permission_mode,
            user.is_none() && rustix::process::geteuid().is_root(),
            |name| std::env::var_os(name),
        );
        let texts = [("ORCH_PROJECT", &assignment.project), ("ORCH_WORK_ITEM", &assignment.work_item)];
        environment.extend(texts.map(|(name, value)| (OsString::from(name), OsString::from(value))));
        environment.push(("ORCH_WORKSPACE".into(), workspace.as_os_str().to_owned()));
        let timeout_ms = assignment.repository.as_ref().map_or(1, |repository| repository.hooks.timeout_ms);
        let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(1));
        Surroundings { environment, user, timeout }
    }

    /// Kills what commands around a run left behind; only before its agent is spawned, or after it is gone.
    pub(crate) async fn sweep(&self, held: &Held) {
        let (shims, marker) = (self.shims.clone(), held.assignment.marker());
        let swept = service::blocking(move || Ok(shims.kill_leftovers(None, &marker))).await;
        if !matches!(swept, Ok(true)) {
            tracing::error!(run.id = %held.assignment.run, "something that a hook started does not die");
        }
    }
}
