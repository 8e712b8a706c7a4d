//! What the tracker and the forge are told of a work item: a comment where a stage ends, a status of its commit, and the
//! issue's state where a project asks for that.
//!
//! Each [`Post`] is made from a fact and written to the outbox with it. Its key is bound to the fact, so that whoever
//! delivers it twice can be told so. Delivering is the scheduler's; what the services answer is no business of this module.

mod compose;
mod place;
mod words;

use serde::{Deserialize, Serialize};

use crate::outbox::Sink;
use crate::pipeline::StateChoice;

pub use compose::{of_decision, of_end, of_settlement, of_start};
pub use place::{IssueRef, PullRef};

/// `external_source` of everything Orch writes to Plane.
pub const SOURCE: &str = "orch";
/// What the contexts of Orch's own commit statuses begin with; a stage's name follows.
const STATUS_PREFIX: &str = "orch/";
/// The longest description of a commit status, in letters.
const DESCRIPTION_LETTERS_MAX: usize = 140;

/// Whether a commit status is one that Orch itself wrote, whosever token it was written with.
pub fn is_own_status(context: &str) -> bool {
    context.starts_with(STATUS_PREFIX)
}

/// The hidden first line of a comment on the forge, by which a repeat finds it; anywhere else in a text it is just text.
pub fn marker(key: &str) -> String {
    format!("<!-- orch:{key} -->\n")
}

/// What is told where, and what it may show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Whether there is a tracker to tell.
    pub plane: bool,
    /// Whether there is a forge to tell.
    pub gitea: bool,
    /// Where people find the console, without a path.
    pub console_url: Option<&'a str>,
    /// What is shown to nobody.
    pub secrets: &'a [&'a str],
}

/// Something to tell, on its way into the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Who is told.
    pub sink: Sink,
    /// Names the fact; the same fact is told once.
    pub key: String,
    /// What is told.
    pub letter: Letter,
}

impl Post {
    /// The lane it stands in: what is told of one work item is told in order, and no other item waits for it.
    pub fn lane(&self) -> String {
        format!("{}/{}", self.letter.project, self.letter.work_item)
    }
}

/// What is told of which work item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its project.
    pub project: String,
    /// Its key.
    pub work_item: String,
    /// What.
    pub says: Says,
}

/// One thing told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Says {
    /// A comment on the issue.
    IssueComment {
        /// The issue.
        issue: IssueRef,
        /// The comment, escaped.
        html: String,
    },
    /// The issue's state.
    IssueState {
        /// The issue.
        issue: IssueRef,
        /// Where it goes.
        state: StateChoice,
    },
    /// A comment on the pull request, where there is one by then.
    PullComment {
        /// The pull request.
        pull_request: PullRef,
        /// The comment as Markdown, without its marker.
        body: String,
    },
    /// A status of a commit.
    CommitStatus {
        /// The commit, a whole object id.
        sha: String,
        /// `orch/` and the stage.
        context: String,
        /// How the stage fares.
        state: StatusState,
        /// In words.
        description: String,
        /// The job in the console; empty without one.
        target_url: String,
    },
}

/// How a stage fares for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It is under way.
    Pending,
    /// It passed.
    Success,
    /// It failed.
    Failure,
    /// It came to no verdict.
    Error,
}

impl StatusState {
    /// The forge's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests;
