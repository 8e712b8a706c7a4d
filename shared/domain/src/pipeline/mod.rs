//! What `orch.toml` says: who Orch is, its projects, the stages of the pipeline and the triggers that start them.
//!
//! `parse` turns the text into a [`Pipeline`] or says line, column, what is wrong and what to do.
//! Reading the file, and reloading it, is somebody else's work; so is deciding what an event starts ([`crate::launch`]).

mod builtin;
mod error;
mod file;
mod reporting;
mod schema;
mod section;
mod words;

use std::time::Duration;

use uuid::Uuid;

pub use error::{ConfigError, remedy};
pub use file::parse;
pub use reporting::{Reporting, StateChoice};
pub use schema::schema;
pub use words::{CiResult, Gate, LaunchPoint, Outdated, PullRequestAction, ReviewVerdict, Trust};

use crate::admission::{ProjectLimits, Serial};
use crate::budget::{Budget, Terms};
use crate::classify::Patterns;
use crate::containment::{Destination, EGRESS_DEFAULT, Tier};
use crate::steps::{GateCommand, PullRequestAsk, Steps};

/// A whole configuration: what `orch.toml` says, or the built-in default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pipeline {
    /// Who Orch is on the other side; its own events start nothing.
    pub identity: Identity,
    /// The repositories and tracker projects Orch works for, in the file's order.
    pub projects: Vec<Project>,
    /// The steps of the pipeline, in the file's order; names are unique.
    pub stages: Vec<Stage>,
    /// What starts a stage; every stage named here is in `stages`.
    pub triggers: Vec<Trigger>,
    /// What a failed agent's words mean, beyond what is known anyway.
    pub patterns: Patterns,
    /// What all projects may spend, and each where its own table says nothing.
    pub budget: Budget,
}

impl Pipeline {
    /// Finds the stage of this name.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The limits of what may be spent, as admission needs them.
    pub fn budget_terms(&self) -> Terms {
        let of_project = |project: &Project| (project.name.clone(), project.budget.of_project(self.budget));
        Terms { day: self.budget.day, projects: self.projects.iter().map(of_project).collect() }
    }

    /// Finds the project of this name.
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.name == name)
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        builtin::pipeline()
    }
}

/// The accounts Orch itself acts with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user id of Orch's account on Gitea or Forgejo.
    pub gitea_user_id: Option<i64>,
    /// The user id of Orch's account on Plane.
    pub plane_user_id: Option<Uuid>,
}

/// A repository and its tracker project, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Unique name, as in `/queue` and `orch enqueue --project`.
    pub name: String,
    /// `owner/name` of the repository on the forge.
    pub gitea_repo: Option<String>,
    /// The Plane workspace's name in addresses, such as `acme` in `/acme/projects/…`: Plane's API knows no other.
    pub plane_workspace: Option<String>,
    /// The Plane workspace its issues live in.
    pub plane_workspace_id: Option<Uuid>,
    /// The Plane project its issues live in.
    pub plane_project_id: Option<Uuid>,
    /// The prefix of issue keys, such as `SHOP` in `SHOP-12`.
    pub plane_identifier: Option<String>,
    /// Where to clone from; without it a work item gets a plain folder and nothing is pushed.
    pub clone_url: Option<String>,
    /// The branch that work begins from; unset: what the remote's HEAD names.
    pub base: Option<String>,
    /// What is run around its runs, in their workspace.
    pub hooks: Hooks,
    /// How many of its jobs may run at once; unset: only the global limit holds.
    pub max_concurrency: Option<u32>,
    /// What may not run side by side.
    pub serial: Serial,
    /// How far its agents must be contained.
    pub containment: Tier,
    /// Where its agents of the strictest tier get to; unset: [`crate::containment::EGRESS_DEFAULT`].
    pub egress: Option<Vec<Destination>>,
    /// The least trust its event authors need; unset: every author is admitted.
    pub trust: Option<Trust>,
    /// The label, by name or id, by which a maintainer lets the work of an author with less trust go further; unset: such
    /// an author starts nothing at all.
    pub trust_label: Option<String>,
    /// The state on Plane, by name or id, that approves a work item which waits for a person.
    pub approve_state: Option<String>,
    /// The state on Plane, by name or id, that rejects one.
    pub reject_state: Option<String>,
    /// How many jobs may follow from each other before a person is asked; unset: [`crate::work_item::HOPS_MAX`].
    pub max_hops: Option<u32>,
    /// What the tracker and the forge are told of its work items.
    pub report: Reporting,
    /// What it may spend.
    pub budget: Budget,
}

impl Project {
    /// Whether what its agents commit can be pushed and shown as a pull request.
    pub const fn can_push(&self) -> bool {
        self.clone_url.is_some() && self.gitea_repo.is_some()
    }

    /// Where its agents of the strictest tier get to.
    pub fn egress(&self) -> Vec<Destination> {
        let default = || Destination::parse(EGRESS_DEFAULT).ok().into_iter().collect();
        self.egress.clone().unwrap_or_else(default)
    }

    /// What admission asks of a project.
    pub fn limits(&self) -> ProjectLimits {
        ProjectLimits { concurrency_max: self.max_concurrency, serial: self.serial, tier: self.containment }
    }
}

/// Commands of a project around its runs. They come from `orch.toml` and are trusted as that file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Once, when a workspace was made.
    pub after_create: Option<CommandLine>,
    /// Before each agent.
    pub before_run: Option<CommandLine>,
    /// After each agent; its failure changes nothing.
    pub after_run: Option<CommandLine>,
    /// The longest that each may take; unset: [`HOOK_TIMEOUT`].
    pub timeout: Option<Duration>,
}

/// The longest a hook may take where its project does not say.
pub const HOOK_TIMEOUT: Duration = Duration::from_mins(10);

/// A command of `orch.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A text for the shell.
    Shell(String),
    /// A program and its arguments.
    Argv(Vec<String>),
}

impl CommandLine {
    /// What is executed.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Shell(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
            Self::Argv(argv) => argv.clone(),
        }
    }
}

/// A step of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Unique name.
    pub name: String,
    /// The agent that does it, such as `reviewer`.
    pub role: String,
    /// The prompt's template.
    pub prompt: Prompt,
    /// The model the agent is started with; unset: the agent's own default.
    pub model: Option<String>,
    /// The most turns of one run; unset: the agent's own limit.
    pub max_turns: Option<u32>,
    /// The longest one run may take; unset: the runner's default.
    pub max_runtime: Option<Duration>,
    /// How long a run may say nothing while no tool call is open; unset: the runner's default.
    pub idle_timeout: Option<Duration>,
    /// How long a run may say nothing while a tool call is open; unset: the runner's default.
    pub tool_idle_timeout: Option<Duration>,
    /// The stage that follows a pass.
    pub on_pass: Option<String>,
    /// The stage that follows a fail.
    pub on_fail: Option<String>,
    /// How many times `on_fail` may send one work item back; unset: the pipeline's default.
    pub max_bounces: Option<u32>,
    /// What must hold before the stage counts as passed.
    pub gates: Vec<Gate>,
    /// The program of the gate `command`.
    pub command: Option<GateCommand>,
    /// Whether what its agent committed is pushed, where the project has a `clone_url`.
    pub push: bool,
    /// Whether what was pushed becomes a pull request, where the project has a `gitea_repo` too; then that is what leads
    /// on to `on_pass`.
    pub pull_request: bool,
    /// How long the gate `ci` waits before a person is asked; unset: [`crate::work_item::ci::CI_TIMEOUT`].
    pub ci_timeout: Option<Duration>,
    /// What becomes of its running job when a newer commit arrives.
    pub outdated: Outdated,
    /// Whether it starts also when only the reserve is left of an account's quota.
    pub essential: bool,
}

impl Stage {
    /// Whether it judges a commit, and sends the work back, rather than making one.
    pub const fn judges(&self) -> bool {
        self.on_fail.is_some() && !self.push
    }

    /// What a run of it does after its agent, for a work item of `project`.
    pub fn steps(&self, project: Option<&Project>, ask: impl FnOnce(&str) -> PullRequestAsk) -> Steps {
        let repo =
            project.filter(|project| project.can_push()).and_then(|project| project.gitea_repo.as_deref());
        Steps {
            asks_verdict: self.gates.contains(&Gate::Verdict),
            command: self.command.clone(),
            push: self.push && project.is_some_and(|project| project.clone_url.is_some()),
            pull_request: repo.filter(|_| self.pull_request).map(ask),
        }
    }
}

/// Where a stage's prompt template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A template of the built-in pipeline.
    BuiltIn(&'static str),
    /// A minijinja template file, relative to the folder of `orch.toml`; not looked at before a job needs it.
    File(String),
}

/// Something that starts a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The launch point it listens to.
    pub on: LaunchPoint,
    /// The stage it starts.
    pub stage: String,
    /// What must hold as well; empty: every event of the launch point.
    pub when: When,
}

/// A trigger's conditions: all that are set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// Plane: the group of the state.
    pub state_group: Option<String>,
    /// Plane: the id of the state.
    pub state_id: Option<Uuid>,
    /// Plane: a label, by name (any case) or id; on `plane.labels_changed` one that was added.
    pub label: Option<String>,
    /// Plane: how a line of the comment begins, such as `/agent developer`.
    pub command: Option<String>,
    /// Plane: the field that changed: `state`, `labels` or `assignees`.
    pub field: Option<String>,
    /// Gitea: the branch pushed to or tested, or the pull request's target; `*` stands for anything.
    pub branch: Option<String>,
    /// Gitea: what happened to the pull request; `merged` must be asked for.
    pub action: Option<PullRequestAction>,
    /// Gitea: what the review said.
    pub review: Option<ReviewVerdict>,
    /// Gitea: the final result.
    pub ci: Option<CiResult>,
    /// Both: the least trust of the author.
    pub trust: Option<Trust>,
}

#[cfg(test)]
mod tests;
