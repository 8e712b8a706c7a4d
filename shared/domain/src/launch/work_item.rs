//! Which work item an event belongs to, and the key it goes by.

use uuid::Uuid;

use crate::pipeline::Project;

/// Branches of this prefix belong to the work item named by the rest.
const OWN_BRANCH_PREFIX: &str = "orch/";
/// Longest work item key that a branch may name, in bytes.
const KEY_BYTES_MAX: usize = 100;
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
            own_head.as_deref().and_then(named_by_branch).unwrap_or_else(|| format!("{repo}#{number}"))
        }
        Subject::Branch(branch) => named_by_branch(branch).unwrap_or_else(|| format!("{repo}@{branch}")),
        Subject::Commit(sha) => format!("{repo}@{}", sha.get(..SHA_DIGITS).unwrap_or(sha)),
        Subject::Issue { id, sequence } => match (&project.plane_identifier, sequence) {
            (Some(identifier), Some(sequence)) => format!("{identifier}-{sequence}"),
            (None, _) | (_, None) => id.to_string(),
        },
    }
}

fn named_by_branch(branch: &str) -> Option<String> {
    let key = branch.strip_prefix(OWN_BRANCH_PREFIX)?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.#/@".contains(letter);
    (!key.is_empty() && key.len() <= KEY_BYTES_MAX && key.chars().all(plain)).then(|| key.to_owned())
}
