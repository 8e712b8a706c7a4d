//! What was seen outside moves an item that waits for it: the tests of its commit, a person's word on Plane, a
//! maintainer's label.

use super::ci::{CiSays, CiWait, says};
use super::decision::{Word, decide};
use super::step::Scene;
use super::{ItemChange, ItemState, NeedsYou, Why, WorkItem};
use crate::delivery::StageResult;
use crate::sighting::{Aspect, Seen};

/// What moves an item, and who is named for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    /// The item afterwards, and what follows.
    pub change: ItemChange,
    /// Who said it: `gitea`, `plane`, or the clock.
    pub by: &'static str,
    /// What, for the audit.
    pub verb: &'static str,
    /// What was seen.
    pub note: String,
}

/// Says what `seen`, of the subjects that the scene's item goes by and of its commits, does to it; the scene's job is the one
/// that brought the item where it waits.
pub fn settle(scene: &Scene<'_>, seen: &[Seen]) -> Option<Settlement> {
    match &scene.item.state {
        ItemState::WaitsForCi(wait) => tests(scene, wait, seen),
        ItemState::NeedsYou(needs) => word(scene, needs, seen),
        ItemState::Active | ItemState::Done | ItemState::Cancelled => None,
    }
}

fn tests(scene: &Scene<'_>, wait: &CiWait, seen: &[Seen]) -> Option<Settlement> {
    let settled = |change, by, verb, note| Some(Settlement { change, by, verb, note });
    let item = WorkItem { state: ItemState::Active, ..scene.item.clone() };
    let Some(stage) = scene.pipeline.stage(&wait.stage) else {
        let change = scene.stop(Why::StageGone, item, Some(wait.result.clone()));
        return settled(change, "orch", "ci_stage_gone", wait.stage.clone());
    };
    let of_commit = format!("@{}", wait.head);
    let of_commit = seen.iter().map(|seen| &seen.sighting).filter(|it| it.name.subject.ends_with(&of_commit));
    match says(of_commit) {
        CiSays::Passed => {
            let change = scene.tested(stage, item, wait.result.clone());
            settled(change, "gitea", "ci_passed", wait.head.clone())
        }
        CiSays::Failed(findings) => {
            let note = findings.join("; ");
            let mut result = StageResult { verdict: "fail".to_owned(), ..wait.result.clone() };
            result.findings.extend(findings);
            let at_rest = Scene { item: &item, ..*scene };
            settled(at_rest.go_back(stage, result), "gitea", "ci_failed", note)
        }
        CiSays::Nothing { .. } if scene.now < wait.until => None,
        CiSays::Nothing { pending } => {
            let said = match pending.as_slice() {
                [] => format!("no test has said anything of commit {}", wait.head),
                pending => format!("tests of commit {} are not over: {}", wait.head, pending.join(", ")),
            };
            let change = scene.stop(Why::Ci { said: said.clone() }, item, Some(wait.result.clone()));
            settled(change, "orch", "ci_timed_out", said)
        }
    }
}

fn word(scene: &Scene<'_>, needs: &NeedsYou, seen: &[Seen]) -> Option<Settlement> {
    let project = scene.pipeline.project(&scene.item.project)?;
    let (word, by, verb, note) = match &needs.why {
        Why::Approval => {
            // A state that the issue was in already is nobody's answer.
            let moved = seen.iter().find(|seen| {
                seen.sighting.name.aspect == Aspect::State
                    && seen.at > scene.item.updated_at
                    && !seen.sighting.own
            })?;
            let is = |wanted: &Option<String>| {
                wanted.as_deref().is_some_and(|wanted| moved.sighting.has_word(wanted))
            };
            if is(&project.approve_state) {
                (Word::Approve, "plane", "approve", project.approve_state.as_ref())
            } else if is(&project.reject_state) {
                (Word::Reject, "plane", "reject", project.reject_state.as_ref())
            } else {
                return None;
            }
        }
        Why::Trust { .. } => {
            let label = project.trust_label.as_deref()?;
            let labelled =
                |seen: &&Seen| seen.sighting.name.aspect == Aspect::Labels && seen.sighting.has_word(label);
            seen.iter().find(labelled)?;
            (Word::Approve, "label", "trust", project.trust_label.as_ref())
        }
        Why::Unreadable { .. }
        | Why::Budget { .. }
        | Why::Failed
        | Why::Bounces { .. }
        | Why::Hops { .. }
        | Why::JobFailed { .. }
        | Why::StageGone
        | Why::Ci { .. } => return None,
    };
    let change = decide(scene, word, None).ok()?;
    Some(Settlement { change, by, verb, note: note.cloned().unwrap_or_default() })
}
