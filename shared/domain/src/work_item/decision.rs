//! A person's word on a work item that needs one.

use super::step::Scene;
use super::{ItemChange, ItemState, NeedsYou, Standing, Why, WorkItem, after_key, head_key};
use crate::delivery::StageResult;
use crate::pipeline::Stage;

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Go on.
    Approve,
    /// Go back, or end it.
    Reject,
}

impl Word {
    /// The word in the audit, JSON and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// Why a person's word does nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody is asked.
    #[error("work item {key} is {state} and waits for nobody")]
    NotAsked {
        /// Its key.
        key: String,
        /// Its state's word.
        state: &'static str,
    },
    /// Something else has to be done.
    #[error("work item {key} cannot be approved: {needs}")]
    Otherwise {
        /// Its key.
        key: String,
        /// What it needs.
        needs: Box<NeedsYou>,
    },
}

/// What a person's word does to an item of which no job is known, such as one that was stopped by an event from outside.
///
/// # Errors
/// See [`Refused`].
pub fn decide_alone(item: &WorkItem, word: Word) -> Result<ItemState, Refused> {
    let needs = asked(item)?;
    match (word, &needs.why) {
        (Word::Reject, _) => Ok(ItemState::Cancelled),
        (Word::Approve, Why::Hops { .. }) => Ok(ItemState::Active),
        (Word::Approve, _) => Err(otherwise(item, needs)),
    }
}

/// What a person's word does, in the scene of the job that brought the item here; `note` is told to the stage that follows.
///
/// # Errors
/// See [`Refused`].
pub fn decide(scene: &Scene<'_>, word: Word, note: Option<&str>) -> Result<ItemChange, Refused> {
    let needs = asked(scene.item)?;
    let stage = scene.pipeline.stage(&needs.stage);
    match (word, stage) {
        (Word::Approve, Some(stage)) => approve(scene, stage, needs, note),
        (Word::Approve, None) => Err(otherwise(scene.item, needs)),
        (Word::Reject, stage) => Ok(reject(scene, stage, needs, note)),
    }
}

fn approve(
    scene: &Scene<'_>,
    stage: &Stage,
    needs: &NeedsYou,
    note: Option<&str>,
) -> Result<ItemChange, Refused> {
    let mut item = scene.item.clone();
    match &needs.why {
        Why::Approval | Why::Unreadable { .. } | Why::Failed | Why::Ci { .. } => {
            Ok(scene.go_on(stage, item, result(scene, needs, "approved", note)))
        }
        Why::Bounces { .. } => {
            let Some(back) = stage.on_fail.as_deref() else { return Err(otherwise(&item, needs)) };
            item.bounces.insert(stage.name.clone(), 1);
            let result = noted(needs.result.clone(), note);
            Ok(scene.start_after(back, after_key(back, scene.job.id), 0, item, result))
        }
        Why::Hops { to, .. } | Why::Trust { to, .. } => {
            if item.standing == Standing::Outsider {
                item.standing = Standing::Lifted;
            }
            let key = match &item.head {
                Some(head) if stage.on_pass.as_ref() == Some(to) => {
                    head_key(&item.project, &item.key, to, head)
                }
                Some(_) | None => after_key(to, scene.job.id),
            };
            Ok(scene.start_after(to, key, 0, item, noted(needs.result.clone(), note)))
        }
        Why::JobFailed { .. } | Why::Budget { .. } | Why::StageGone => Err(otherwise(&item, needs)),
    }
}

fn reject(scene: &Scene<'_>, stage: Option<&Stage>, needs: &NeedsYou, note: Option<&str>) -> ItemChange {
    match (&needs.why, stage) {
        (Why::Approval | Why::Unreadable { .. } | Why::Ci { .. }, Some(stage)) if stage.on_fail.is_some() => {
            scene.go_back(stage, result(scene, needs, "rejected", note))
        }
        _ => scene.change(WorkItem { state: ItemState::Cancelled, ..scene.item.clone() }, None),
    }
}

/// What the stage said, with the person's word in the verdict's place.
fn result(scene: &Scene<'_>, needs: &NeedsYou, verdict: &str, note: Option<&str>) -> StageResult {
    let said = needs.result.clone().unwrap_or_else(|| StageResult {
        stage: needs.stage.clone(),
        text: scene.payload.reformat.as_ref().map(|reformat| reformat.message.clone()).unwrap_or_default(),
        ..StageResult::default()
    });
    let result = StageResult { verdict: verdict.to_owned(), ..said };
    noted(Some(result.clone()), note).unwrap_or(result)
}

fn noted(result: Option<StageResult>, note: Option<&str>) -> Option<StageResult> {
    let note = note.map(str::trim).filter(|note| !note.is_empty());
    result.map(|mut result| {
        result.findings.extend(note.map(str::to_owned));
        result
    })
}

fn asked(item: &WorkItem) -> Result<&NeedsYou, Refused> {
    item.state.needs().ok_or_else(|| Refused::NotAsked { key: item.key.clone(), state: item.state.as_str() })
}

fn otherwise(item: &WorkItem, needs: &NeedsYou) -> Refused {
    Refused::Otherwise { key: item.key.clone(), needs: Box::new(needs.clone()) }
}
