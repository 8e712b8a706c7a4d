//! The push: the branch's commit goes to the forge, on the condition that the forge's branch is what it was.
//!
//! The commit and the condition are journaled first, so that whoever does it again does the same. What is on the forge
//! already is not pushed again; what somebody else pushed meanwhile is never written over.

use std::io;
use std::time::Duration;

use domain::steps::retry::{self, Found};
use domain::steps::{StepFault, StepKind, StepState};
use domain::workspace::{WorkspaceFault, is_object_id, is_own_pull_request, is_ref_safe};
use serde::{Deserialize, Serialize};

use super::Did;
use super::forge::{Forge, Told};
use super::persist::{Attempt, Tried, persist};
use crate::node::{Held, Node};
use crate::workspace::Workspace;
use crate::workspace::git::{Git, GitError, plain_url};
use crate::workspace::lfs;

/// How long one call may take that only asks.
const ASK_WITHIN: Duration = Duration::from_mins(1);
/// How long one may take that moves objects.
const MOVE_WITHIN: Duration = Duration::from_mins(10);

/// What git says when the branch is no longer what it was.
const MOVED: [&str; 4] = ["stale info", "[rejected]", "fetch first", "non-fast-forward"];
/// What it says when another push to the branch was faster by a moment: perhaps ours, of an incarnation that has died since.
const RACED: [&str; 4] =
    ["reference already exists", "but expected", "incorrect old value", ".lock': File exists"];
/// What it says when the forge does not take the commit.
const REFUSED: [&str; 4] = ["[remote rejected]", "hook declined", "protected branch", "not allowed to push"];

/// What is meant to be pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// The commit.
    pub(super) head: String,
    /// Where to, without `refs/heads/`.
    pub(super) branch: String,
    /// What the forge's branch was when the workspace was prepared; none: it did not exist.
    pub(super) expected: Option<String>,
    /// The pull request that the work item is, whose own branch it goes to.
    pub(super) pull_request: Option<u64>,
}

/// Pushes, or goes on with what an earlier incarnation meant to push.
pub(super) async fn pass(node: &Node, held: &Held) -> io::Result<Did> {
    let dir = held.dir.clone();
    let (workspace, known) =
        service::blocking(move || Ok((dir.workspace()?, dir.step_intent::<Intent>(StepKind::Push)?))).await?;
    let Some(workspace) = workspace else {
        return Ok(Did::failed(StepFault::Workspace, "the run has no git workspace"));
    };
    let intent = if let Some(intent) = known {
        intent
    } else {
        let intent = match intend(node, held, &workspace).await? {
            Ok(intent) => intent,
            Err(did) => return Ok(did),
        };
        let (dir, written) = (held.dir.clone(), intent.clone());
        service::blocking(move || dir.write_step_intent(StepKind::Push, &written)).await?;
        intent
    };
    let (project, work_item) = (&held.assignment.project, &held.assignment.work_item);
    // Before it goes out: whoever finds it on the forge later knows that it is no work of somebody else's.
    let own = node.workspaces.pushes(project, work_item, &intent.head).await;
    let own = own.map_err(|unprepared| io::Error::other(unprepared.error))?;
    let git = node.workspaces.git();
    let mut asked = Push { git, workspace: &workspace, intent: &intent, own: &own };
    let did = persist(node, held, StepKind::Push, &mut asked).await?;
    let commit = Some(intent.head).filter(|_| did.state == StepState::Done);
    Ok(Did { branch: Some(intent.branch), head: commit, ..did })
}

async fn intend(node: &Node, held: &Held, workspace: &Workspace) -> io::Result<Result<Intent, Did>> {
    let intent = match intended(node.workspaces.git(), workspace).await {
        Ok(intent) => intent,
        Err(did) => return Ok(Err(did)),
    };
    match (&node.forge, own_pull_request(held)) {
        (Some(forge), Some((repo, number))) => own_branch(node, held, forge, &repo, number, intent).await,
        (_, _) => Ok(Ok(intent)),
    }
}

async fn intended(git: &Git, workspace: &Workspace) -> Result<Intent, Did> {
    let unreadable = |error: GitError| Did::failed(StepFault::Workspace, &error.to_string());
    let commit = git
        .local(&workspace.git_dir)
        .args(["rev-parse", "--quiet", "--verify", "--end-of-options", "HEAD^{commit}"])
        .run()
        .await
        .map_err(unreadable)?;
    let commit = commit.trim().to_owned();
    if !is_object_id(&commit) {
        return Err(Did::failed(StepFault::Workspace, "the workspace shows no commit"));
    }
    let contained = contains(git, workspace, &workspace.base_commit, &commit).await.map_err(unreadable)?;
    if contained {
        let words = format!("the workspace shows {commit}, which is part of {}", workspace.base);
        return Err(Did::failed(StepFault::NoCommits, &words));
    }
    Ok(Intent {
        head: commit,
        branch: workspace.branch.clone(),
        expected: workspace.remote_head.clone(),
        pull_request: None,
    })
}

/// The pull request that the work item is.
fn own_pull_request(held: &Held) -> Option<(String, u64)> {
    let (repo, key) = (&held.assignment.steps.pull_request.as_ref()?.repo, &held.assignment.work_item);
    let number = key.rsplit_once('#').and_then(|(_, number)| number.parse().ok())?;
    is_own_pull_request(repo, key).then(|| (repo.clone(), number))
}

/// A pull request that a person opened has a branch of its own, and that is where its commits belong.
async fn own_branch(
    node: &Node,
    held: &Held,
    forge: &Forge,
    repo: &str,
    number: u64,
    intent: Intent,
) -> io::Result<Result<Intent, Did>> {
    let mut look = Look { forge, repo, number, found: None };
    let did = persist(node, held, StepKind::Push, &mut look).await?;
    if did.state != StepState::Done {
        return Ok(Err(did));
    }
    let refused = |words: &str| Ok(Err(Did::failed(StepFault::ForgeRefused, words)));
    let Some(there) = look.found else {
        return refused(&format!("there is no pull request {repo}#{number}"));
    };
    if !there.is_in(repo) || !is_ref_safe(&there.head.name) {
        return refused(&format!("{repo}#{number} comes from a fork, whose branch is not ours to push to"));
    }
    // Whatever others have put there by now must be part of what is pushed.
    Ok(Ok(Intent { branch: there.head.name, expected: None, pull_request: Some(number), ..intent }))
}

/// Looks for a pull request.
struct Look<'a> {
    forge: &'a Forge,
    repo: &'a str,
    number: u64,
    found: Option<Told>,
}

#[tonic::async_trait]
impl Attempt for Look<'_> {
    async fn attempt(&mut self) -> Tried {
        match self.forge.pull_request(self.repo, self.number).await {
            Ok(found) => {
                self.found = found;
                Tried::Over(Did::new(StepState::Done, ""))
            }
            Err(refused) => refused.tried(),
        }
    }
}

/// Pushes.
struct Push<'a> {
    git: &'a Git,
    workspace: &'a Workspace,
    intent: &'a Intent,
    /// What was pushed for the same work item before.
    own: &'a [String],
}

#[tonic::async_trait]
impl Attempt for Push<'_> {
    async fn attempt(&mut self) -> Tried {
        self.try_push().await.unwrap_or_else(|error| refused(&error))
    }
}

impl Push<'_> {
    async fn try_push(&self) -> Result<Tried, GitError> {
        let Self { git, workspace, intent: Intent { head, branch, expected, .. }, own } = *self;
        let there = remote_head(git, workspace, branch).await?;
        let mut found = Found {
            head,
            expected: expected.as_deref(),
            there: there.as_deref(),
            is_own: there.as_ref().is_some_and(|there| own.contains(there)),
            ..Found::default()
        };
        if let Some(newer) =
            there.as_ref().filter(|there| *there != head && Some(*there) != expected.as_ref())
        {
            fetch(git, workspace, branch).await?;
            found.has_theirs = contains(git, workspace, head, newer).await?;
            found.has_ours = contains(git, workspace, newer, head).await?;
        }
        let lease = match retry::push(&found) {
            retry::Push::On(lease) => lease,
            retry::Push::There => {
                let words = format!("{branch} has {head} on the forge already");
                return Ok(Tried::Over(Did::new(StepState::Done, &words)));
            }
            retry::Push::Moved => {
                let there = there.as_deref().unwrap_or_default();
                let words = format!("{branch} is {there} on the forge, which {head} does not contain");
                return Ok(Tried::Over(Did::failed(StepFault::RemoteMoved, &words)));
            }
        };
        lfs::push(git, workspace, head).await?;
        git.remote(&workspace.transport, &workspace.clone_url)
            .within(MOVE_WITHIN)
            .args(["push", "--quiet", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"])
            .args([format!("--force-with-lease=refs/heads/{branch}:{lease}")])
            .args(["--end-of-options", &plain_url(&workspace.clone_url)])
            .args([format!("{head}:refs/heads/{branch}")])
            .run()
            .await?;
        Ok(Tried::Over(Did::new(StepState::Done, &format!("pushed {head} to {branch}"))))
    }
}

async fn remote_head(git: &Git, workspace: &Workspace, branch: &str) -> Result<Option<String>, GitError> {
    let name = format!("refs/heads/{branch}");
    let told = git
        .remote(&workspace.transport, &workspace.clone_url)
        .within(ASK_WITHIN)
        .args(["ls-remote", "--quiet", "--end-of-options", &plain_url(&workspace.clone_url), &name])
        .run()
        .await?;
    // The pattern may match the end of another name, too.
    let of_branch =
        |line: &str| line.split_once('\t').filter(|(_, found)| *found == name).map(|(id, _)| id.to_owned());
    Ok(told.lines().find_map(of_branch).filter(|commit| is_object_id(commit)))
}

/// Brings the objects of the forge's branch here; no ref of ours moves.
async fn fetch(git: &Git, workspace: &Workspace, branch: &str) -> Result<(), GitError> {
    git.remote(&workspace.transport, &workspace.clone_url)
        .within(MOVE_WITHIN)
        .args(["fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"])
        .args(["--no-recurse-submodules", "--end-of-options", &plain_url(&workspace.clone_url)])
        .args([format!("refs/heads/{branch}")])
        .run()
        .await
        .map(|_| ())
}

/// Whether one commit contains another; the transport has the objects of both.
async fn contains(git: &Git, workspace: &Workspace, commit: &str, other: &str) -> Result<bool, GitError> {
    git.local(&workspace.transport).args(["merge-base", "--is-ancestor", other, commit]).asks().await
}

fn refused(error: &GitError) -> Tried {
    let words = error.to_string();
    let says = |known: &[&str]| known.iter().any(|word| words.contains(word));
    if says(&RACED) {
        return Tried::Again { fault: StepFault::RemoteMoved, words };
    }
    if says(&REFUSED) {
        return Tried::Over(Did::failed(StepFault::ForgeRefused, &words));
    }
    if says(&MOVED) {
        return Tried::Again { fault: StepFault::RemoteMoved, words };
    }
    match error.remote_fault() {
        WorkspaceFault::Auth => Tried::Over(Did::failed(StepFault::ForgeAuth, &words)),
        WorkspaceFault::Missing => Tried::Over(Did::failed(StepFault::ForgeRefused, &words)),
        WorkspaceFault::Network | WorkspaceFault::Broken | WorkspaceFault::Hook | WorkspaceFault::Busy => {
            Tried::Again { fault: StepFault::ForgeUnreachable, words }
        }
    }
}
