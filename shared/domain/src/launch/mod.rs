//! What an event from outside starts: the stages of every trigger that matches it.
//!
//! Events arrive here in one form, whoever sent them. Reading a sender's body is `ingest`'s work, and whether
//! the same event was seen before is the store's.

mod matching;
mod work_item;

use uuid::Uuid;

use crate::pipeline::{
    CiResult, Identity, LaunchPoint, Pipeline, Project, PullRequestAction, ReviewVerdict, Stage, Trust,
};
use crate::sighting::SightingName;

pub use work_item::{Subject, about, semantic_key, work_item_key};

/// Something that happened outside, at one of the eight launch points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchEvent {
    /// The kind of event.
    pub point: LaunchPoint,
    /// What it happened to.
    pub subject: Subject,
    /// Who did it, when the sender says.
    pub actor: Option<Actor>,
    /// How far its author is trusted.
    pub trust: Trust,
    /// What conditions are asked of.
    pub facts: Facts,
    /// The commit it speaks of, a whole object id.
    pub head: Option<String>,
    /// Two events with one key are one event, whatever their bodies; defined per kind of event.
    pub semantic_key: String,
    /// The sighting that it is, where the reconciler can find it, too.
    pub sighting: Option<SightingName>,
}

/// Where an event belongs, as `orch.toml` names projects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A repository on the forge, `owner/name`; case does not matter.
    Repo(String),
    /// A project on the tracker.
    PlaneProject {
        /// Its workspace.
        workspace: Uuid,
        /// Its own id.
        project: Uuid,
    },
}

impl LaunchEvent {
    /// Whether its commit is the newest of its work item, rather than one that something is said of.
    pub fn moves_head(&self) -> bool {
        let moves = match (self.point, self.facts.action) {
            (LaunchPoint::GiteaPush, _) => true,
            (LaunchPoint::GiteaPullRequest, action) => action != Some(PullRequestAction::Merged),
            _ => false,
        };
        moves && self.head.is_some()
    }
}

/// An account on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// On Gitea or Forgejo; built-in users have negative ids.
    Gitea(i64),
    /// On Plane.
    Plane(Uuid),
}

impl Actor {
    /// Whether this is Orch's own account.
    pub fn is(self, identity: &Identity) -> bool {
        match self {
            Self::Gitea(id) => identity.gitea_user_id == Some(id),
            Self::Plane(id) => identity.plane_user_id == Some(id),
        }
    }
}

/// What the conditions of a trigger are asked of; a fact that is missing meets no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The branch pushed to or tested, or the pull request's target.
    pub branch: Option<String>,
    /// What happened to the pull request.
    pub action: Option<PullRequestAction>,
    /// What the review said.
    pub review: Option<ReviewVerdict>,
    /// The final result.
    pub ci: Option<CiResult>,
    /// The group of the state.
    pub state_group: Option<String>,
    /// The id of the state.
    pub state_id: Option<Uuid>,
    /// The labels; at `plane.labels_changed` those that were added.
    pub labels: Vec<Label>,
    /// The comment's text, one line for each of its paragraphs.
    pub comment: Option<String>,
    /// The field that changed: `state`, `labels` or `assignees`.
    pub field: Option<&'static str>,
}

/// A label of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its id.
    pub id: String,
    /// Its name, when the sender says.
    pub name: Option<String>,
}

/// What an event starts, or why nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// These stages, each once, in the order of their triggers; never empty.
    Launch(Vec<&'a Stage>),
    /// The same, and its author has less trust than the project asks for.
    Restricted(Vec<&'a Stage>),
    /// Orch did it itself.
    OwnActor,
    /// The author has less trust than the project asks for.
    Untrusted,
    /// No trigger matches.
    NoTrigger,
}

/// Finds the project an event belongs to.
pub fn project_of<'a>(pipeline: &'a Pipeline, scope: &Scope) -> Option<&'a Project> {
    pipeline.projects.iter().find(|project| match scope {
        Scope::Repo(repo) => project.gitea_repo.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(repo)),
        Scope::PlaneProject { workspace, project: id } => {
            project.plane_workspace_id == Some(*workspace) && project.plane_project_id == Some(*id)
        }
    })
}

/// Whether any project lives in this Plane workspace.
pub fn knows_workspace(pipeline: &Pipeline, workspace: Uuid) -> bool {
    pipeline.projects.iter().any(|project| project.plane_workspace_id == Some(workspace))
}

/// Decides what an event of `project` starts.
pub fn decide<'a>(pipeline: &'a Pipeline, project: &Project, event: &LaunchEvent) -> Decision<'a> {
    if event.actor.is_some_and(|actor| actor.is(&pipeline.identity)) {
        return Decision::OwnActor;
    }
    let untrusted = project.trust.is_some_and(|least| event.trust < least);
    if untrusted && project.trust_label.is_none() {
        return Decision::Untrusted;
    }
    let mut stages: Vec<&Stage> = Vec::new();
    for trigger in pipeline.triggers.iter().filter(|trigger| matching::matches(trigger, event)) {
        if let Some(stage) = pipeline.stage(&trigger.stage)
            && !stages.contains(&stage)
        {
            stages.push(stage);
        }
    }
    match (stages.is_empty(), untrusted) {
        (true, _) => Decision::NoTrigger,
        (false, false) => Decision::Launch(stages),
        (false, true) => Decision::Restricted(stages),
    }
}

#[cfg(test)]
mod tests;
