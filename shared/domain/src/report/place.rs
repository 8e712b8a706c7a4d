//! Where on the tracker and the forge a work item is found, as far as is known when something is to be told.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::delivery::Payload;
use crate::pipeline::Project;
use crate::workspace;

/// An issue of the project's tracker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueRef {
    /// By its id.
    Id(Uuid),
    /// By its key, such as `SHOP-12`.
    Key(String),
}

/// A pull request of the project's repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullRef {
    /// By its number.
    Number(u64),
    /// The open one of this branch, if there is one when it is looked for.
    Branch(String),
}

impl IssueRef {
    /// The issue that a work item is; `None`: it is none, or the project has no tracker that can be called.
    pub(super) fn of(project: &Project, work_item: &str, payload: &Payload) -> Option<Self> {
        project.plane_workspace.as_ref().zip(project.plane_project_id)?;
        if let Ok(id) = Uuid::try_parse(work_item) {
            return Some(Self::Id(id));
        }
        let number = work_item.strip_prefix(project.plane_identifier.as_deref()?)?.strip_prefix('-')?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let id = payload.facts.get("issue_id").and_then(|id| Uuid::try_parse(id).ok());
        Some(id.map_or_else(|| Self::Key(work_item.to_owned()), Self::Id))
    }
}

impl PullRef {
    /// The pull request that a work item is or has; `None`: it can have none.
    pub(super) fn of(project: &Project, work_item: &str, payload: &Payload) -> Option<Self> {
        let repo = project.gitea_repo.as_deref()?;
        let of_repo = work_item.strip_prefix(repo);
        let by_event = payload.facts.get("pull_request").map(String::as_str);
        let number = by_event.or_else(|| of_repo?.strip_prefix('#')).and_then(|text| text.parse().ok());
        match number {
            Some(number) if number > 0 => Some(Self::Number(number)),
            // A branch or commit of nobody's.
            _ if of_repo.is_some_and(|rest| rest.starts_with('@')) => None,
            _ => Some(Self::Branch(workspace::branch(work_item))),
        }
    }
}
