//! What a new incarnation finds on disk and makes of it, before it registers.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use domain::Timestamp;
use proto::v1::RunPhase;

use super::{Held, Node, keeper, start};
use crate::contain::Cgroup;
use crate::run_dir::{Assignment, RunDir};

/// Takes up every run that the journal knows and kills every cgroup of ours that it does not.
pub(crate) async fn recover(node: &Arc<Node>) -> io::Result<()> {
    let finding = node.clone();
    let found = service::blocking(move || find(&finding)).await?;
    for (held, intended) in found {
        let run = held.assignment.run;
        match (held.phase(), intended) {
            (RunPhase::Ended, _) => {
                tracing::info!(run.id = %run, "holding an outcome that was not acknowledged");
            }
            (RunPhase::Offered, false) => {
                tracing::info!(run.id = %run, "asking again for a start");
                start::begin(node, held);
            }
            (RunPhase::Offered | RunPhase::Started | RunPhase::Unspecified, _) => {
                tracing::info!(run.id = %run, "adopting a run");
                keeper::begin(node, held);
            }
        }
    }
    Ok(())
}

fn find(node: &Node) -> io::Result<Vec<(Arc<Held>, bool)>> {
    empty(&node.identity.trash());
    let mut found = Vec::new();
    for entry in fs::read_dir(node.identity.runs())? {
        let dir = RunDir::at(entry?.path());
        let assignment = match dir.assignment() {
            Ok(Some(assignment)) => assignment,
            // Not journaled to the end, so never answered.
            Ok(None) => {
                dir.remove(&node.identity.trash())?;
                continue;
            }
            Err(error) => {
                tracing::error!(path = %dir.path().display(), %error, "left a run's folder alone that cannot be read");
                continue;
            }
        };
        let intent = dir.intent()?;
        let (intended, user) = (intent.is_some(), intent.and_then(|intent| intent.user));
        if intended {
            settle(node, &dir, &assignment);
        }
        // None also where the agent has ended and steps of the run are not over: the keeper goes on with them.
        let outcome = dir.report()?;
        let phase = match (&outcome, intended) {
            (Some(_), _) => RunPhase::Ended,
            (None, true) => RunPhase::Started,
            (None, false) => RunPhase::Offered,
        };
        let held = Arc::new(Held::new(assignment, dir, phase));
        if let Some(outcome) = outcome {
            held.ended(&outcome);
        }
        if held.is_fenced() {
            held.wish(crate::shim::Wish::Fence);
        }
        node.adopt(held.clone(), user);
        found.push((held, intended));
    }
    if let Some(place) = &node.cgroups {
        kill_unknown(place, &found);
    }
    Ok(found)
}

/// Records the end of a run whose shim died without a word; what cannot be done now is tried again by the keeper.
fn settle(node: &Node, dir: &RunDir, assignment: &Assignment) {
    let settled = keeper::settle(
        node.shims.as_ref(),
        dir,
        &assignment.marker(),
        Timestamp::from_ms(node.clock.now_ms()),
    );
    if let Err(error) = settled {
        tracing::error!(run.id = %assignment.run, %error, "could not settle a run");
    }
}

/// Kills the cgroups in our place whose runs are over or were never heard of.
fn kill_unknown(place: &Path, found: &[(Arc<Held>, bool)]) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let is_live = |held: &Held| {
            let its = || held.dir.intent().ok().flatten().and_then(|intent| intent.cgroup);
            held.phase() == RunPhase::Started && its().as_ref() == Some(&entry.path())
        };
        if !found.iter().any(|(held, _)| is_live(held)) {
            tracing::warn!(cgroup = %entry.path().display(), "killing what an unknown run left");
            Cgroup::at(entry.path()).kill_and_remove();
        }
    }
}

fn empty(trash: &Path) {
    match fs::remove_dir_all(trash) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %trash.display(), %error, "could not remove forgotten runs");
        }
        Ok(()) | Err(_) => {}
    }
}
