//! Which work item an event belongs to, and the key it goes by.

use uuid::Uuid;

use super::LaunchEvent;
use crate::delivery::About;
use crate::pipeline::{Gate, LaunchPoint, Outdated, Project, PullRequestAction, Stage};
use crate::work_item::{head_key, said_key};
use crate::workspace::key_of_branch;

/// How much of a commit's id stands in a key.
const SHA_DIGITS: usize = 12;

/// What an event happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A pull request.
    PullRequest {
        /// Its number.
        number: u64,
        /// Its head branch, when that lies in the repository itself: a fork's branch names no work item of ours.
        own_head: Option<String>,
    },
    /// A branch of the repository.
    Branch(String),
    /// A commit of which no branch or pull request is known.
    Commit(String),
    /// An issue on Plane.
    Issue {
        /// Its id.
        id: Uuid,
        /// Its number within the project, when the sender says.
        sequence: Option<u64>,
    },
}

/// The key of the work item that `subject` belongs to (DESIGN.md section 9).
pub fn work_item_key(project: &Project, subject: &Subject) -> String {
    let repo = project.gitea_repo.as_deref().unwrap_or(&project.name);
    match subject {
        Subject::PullRequest { number, own_head } => {
            own_head.as_deref().and_then(key_of_branch).unwrap_or_else(|| format!("{repo}#{number}"))
        }
        Subject::Branch(branch) => key_of_branch(branch).unwrap_or_else(|| format!("{repo}@{branch}")),
        Subject::Commit(sha) => format!("{repo}@{}", sha.get(..SHA_DIGITS).unwrap_or(sha)),
        Subject::Issue { id, sequence } => match (&project.plane_identifier, sequence) {
            (Some(identifier), Some(sequence)) => format!("{identifier}-{sequence}"),
            (None, _) | (_, None) => id.to_string(),
        },
    }
}

/// The semantic key of the job that does `stage` for an event. A pull request's commit has that of the pipeline's own
/// advance: the one that comes second finds the job of the first. A test's result has one of that family, so that it joins
/// what is under way for its commit ([`crate::work_item::joining`]).
pub fn semantic_key(project: &Project, event: &LaunchEvent, work_item: &str, stage: &Stage) -> String {
    match &event.head {
        Some(head) if announces_commit(event) => head_key(&project.name, work_item, &stage.name, head),
        Some(head) if event.point == LaunchPoint::GiteaCi => {
            said_key(&project.name, work_item, &stage.name, head, &event.semantic_key)
        }
        Some(_) | None => format!("{}:{}:{}", project.name, event.semantic_key, stage.name),
    }
}

/// A pull request that is opened again is looked at again, though its commit is known.
fn announces_commit(event: &LaunchEvent) -> bool {
    event.point == LaunchPoint::GiteaPullRequest
        && event.moves_head()
        && event.facts.action != Some(PullRequestAction::Reopened)
}

/// By which names the event's work item may be known, and which names the event teaches (DESIGN.md section 9, end).
///
/// A status names a commit alone and belongs to the pull request of that commit, a comment of Plane's v1 an issue without
/// its number, and some test results the number of a pull request whose branch makes it an issue's.
pub fn about(project: &Project, event: &LaunchEvent, stage: &Stage) -> About {
    let repo = project.gitea_repo.as_deref().unwrap_or(&project.name);
    let commit = event.head.as_ref().map(|head| format!("{repo}@{head}"));
    let (known_as, aliases) = match &event.subject {
        Subject::PullRequest { number, own_head: Some(_) } => {
            (Vec::new(), [Some(format!("{repo}#{number}")), commit].into_iter().flatten().collect())
        }
        Subject::PullRequest { .. } if event.moves_head() => (Vec::new(), commit.into_iter().collect()),
        Subject::Commit(_) | Subject::Branch(_) if !event.moves_head() => {
            (commit.into_iter().collect(), Vec::new())
        }
        Subject::Issue { id, sequence: Some(_) } => (Vec::new(), vec![id.to_string()]),
        Subject::PullRequest { .. } | Subject::Commit(_) | Subject::Branch(_) | Subject::Issue { .. } => {
            (Vec::new(), Vec::new())
        }
    };
    let moves_head = event.moves_head();
    let replaces_older = moves_head && stage.gates.contains(&Gate::Verdict);
    let cancels_older = moves_head && stage.judges() && stage.outdated == Outdated::Cancel;
    About {
        known_as,
        aliases,
        moves_head,
        replaces_older,
        cancels_older,
        untrusted: false,
        cause: event.sighting.clone(),
        hops_max: project.max_hops,
    }
}
