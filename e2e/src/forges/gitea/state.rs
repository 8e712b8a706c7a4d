//! What the stand-in keeps of its one repository: branches, issues and pull requests, comments, statuses, reviews.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Write, ZERO};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: i64,
    /// Its login.
    pub login: String,
    /// Its access token.
    pub token: String,
}

/// An issue or the issue half of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Its text.
    pub body: String,
    /// Whether it is open.
    pub open: bool,
    /// Whether nobody comments on it any more.
    pub locked: bool,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// Who opened it: a login.
    pub by: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// What makes it a pull request.
    pub pull: Option<PullRequest>,
}

/// The other half of a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// Its branch.
    pub head: String,
    /// The newest commit of its branch.
    pub head_sha: String,
    /// Where it goes.
    pub base: String,
    /// The commit of that branch when it was opened.
    pub base_sha: String,
    /// The commit that merged it.
    pub merged: Option<String>,
    /// Who reviewed it, how, in which words, of which commit.
    pub reviews: Vec<(String, ReviewState, String, String)>,
}

/// What a review says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewState {
    /// It may be merged.
    Approved,
    /// Something must be changed.
    Rejected,
    /// Neither.
    Comment,
}

/// A comment on an issue or pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Its id.
    pub id: i64,
    /// Its issue or pull request.
    pub number: u64,
    /// What it says.
    pub body: String,
    /// Who says it: a login.
    pub by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A commit's status as somebody reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub id: i64,
    /// The commit.
    pub sha: String,
    /// Whose result it is.
    pub context: String,
    /// `pending`, `success`, `failure`, `error`, `warning`, `skipped`.
    pub state: String,
    /// In words.
    pub description: String,
    /// Where more is to be seen.
    pub target_url: String,
    /// Who reported it: a login.
    pub by: String,
    /// When.
    pub created_at: Timestamp,
}

/// A change that webhooks tell.
#[derive(Clone, Debug)]
pub(super) enum Changed {
    Issue { number: u64, action: &'static str },
    Pull { number: u64, action: &'static str },
    Labels { number: u64 },
    Comment { id: i64, action: &'static str },
    Review { number: u64 },
    Status { id: i64 },
    Push { branch: String, before: String, after: String },
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) owner: String,
    pub(super) name: String,
    pub(super) users: Vec<User>,
    pub(super) bare: Option<PathBuf>,
    pub(super) branches: BTreeMap<String, String>,
    /// When each was last pushed to; the others have lain there for ever.
    pub(super) pushed_at: BTreeMap<String, Timestamp>,
    pub(super) issues: Vec<Issue>,
    pub(super) comments: Vec<Comment>,
    pub(super) statuses: Vec<Status>,
    last_number: u64,
    last_id: i64,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    NotFound,
    Locked,
    Exists,
    Nothing,
}

type Made<T> = (T, Vec<Changed>);

impl State {
    pub(super) fn new(repo: &str) -> Self {
        let (owner, name) = repo.split_once('/').expect("a repository is owner/name");
        let mut state = Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            users: Vec::new(),
            bare: None,
            branches: BTreeMap::from([("main".to_owned(), "ba5e".repeat(10))]),
            pushed_at: BTreeMap::new(),
            issues: Vec::new(),
            comments: Vec::new(),
            statuses: Vec::new(),
            last_number: 0,
            last_id: 0,
        };
        for login in [owner, "orch", "jane"] {
            state.user_named(login);
        }
        state
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(super) fn user_named(&mut self, login: &str) -> User {
        if let Some(user) = self.users.iter().find(|user| user.login == login) {
            return user.clone();
        }
        let id = i64::try_from(self.users.len()).unwrap_or(0) + 41;
        let user = User { id, login: login.to_owned(), token: Uuid::new_v4().simple().to_string() };
        self.users.push(user.clone());
        user
    }

    pub(super) fn issue(&self, number: u64) -> Option<&Issue> {
        self.issues.iter().find(|issue| issue.number == number)
    }

    pub(super) fn issue_mut(&mut self, number: u64) -> Option<&mut Issue> {
        self.issues.iter_mut().find(|issue| issue.number == number)
    }

    pub(super) fn comment_of(&self, id: i64) -> Option<&Comment> {
        self.comments.iter().find(|comment| comment.id == id)
    }

    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn add_issue(
        &mut self,
        by: &User,
        title: &str,
        body: &str,
        pull: Option<PullRequest>,
        now: Timestamp,
    ) -> u64 {
        self.last_number += 1;
        self.issues.push(Issue {
            number: self.last_number,
            title: title.to_owned(),
            body: body.to_owned(),
            open: true,
            locked: false,
            labels: Vec::new(),
            by: by.login.clone(),
            created_at: now,
            updated_at: now,
            pull,
        });
        self.last_number
    }

    pub(super) fn create_issue(&mut self, by: &User, title: &str, body: &str, now: Timestamp) -> Made<u64> {
        let number = self.add_issue(by, title, body, None, now);
        (number, vec![Changed::Issue { number, action: "opened" }])
    }

    pub(super) fn open_pull(
        &mut self,
        by: &User,
        head: &str,
        base: &str,
        title: &str,
        body: &str,
        now: Timestamp,
    ) -> Result<Made<u64>, Refused> {
        let sha = |name: &str| self.branches.get(name).cloned().ok_or(Refused::NotFound);
        let (head_sha, base_sha) = (sha(head)?, sha(base)?);
        if self.open_pull_of(head, base).is_some() {
            return Err(Refused::Exists);
        }
        if head_sha == base_sha {
            return Err(Refused::Nothing);
        }
        let pull = PullRequest {
            head: head.to_owned(),
            head_sha,
            base: base.to_owned(),
            base_sha,
            merged: None,
            reviews: Vec::new(),
        };
        let number = self.add_issue(by, title, body, Some(pull), now);
        Ok((number, vec![Changed::Pull { number, action: "opened" }]))
    }

    pub(super) fn open_pull_of(&self, head: &str, base: &str) -> Option<&Issue> {
        self.issues
            .iter()
            .filter(|issue| issue.open)
            .find(|issue| issue.pull.as_ref().is_some_and(|pull| pull.head == head && pull.base == base))
    }

    /// Moves a branch, and what is open from it.
    pub(super) fn push(&mut self, branch: &str, after: &str, now: Timestamp) -> Made<()> {
        self.pushed_at.insert(branch.to_owned(), now);
        let before = if after == ZERO {
            self.branches.remove(branch)
        } else {
            self.branches.insert(branch.to_owned(), after.to_owned())
        };
        let before = before.unwrap_or_else(|| ZERO.to_owned());
        let mut changes = vec![Changed::Push { branch: branch.to_owned(), before, after: after.to_owned() }];
        for issue in self.issues.iter_mut().filter(|issue| issue.open && after != ZERO) {
            let Some(pull) = issue.pull.as_mut().filter(|pull| pull.head == branch) else { continue };
            after.clone_into(&mut pull.head_sha);
            issue.updated_at = now;
            changes.push(Changed::Pull { number: issue.number, action: "synchronized" });
        }
        ((), changes)
    }

    pub(super) fn comment(
        &mut self,
        by: &User,
        number: u64,
        body: &str,
        now: Timestamp,
    ) -> Result<Made<i64>, Refused> {
        let issue = self.issue_mut(number).ok_or(Refused::NotFound)?;
        if issue.locked {
            return Err(Refused::Locked);
        }
        issue.updated_at = now;
        let id = self.next_id();
        let (body, by) = (body.to_owned(), by.login.clone());
        self.comments.push(Comment { id, number, body, by, created_at: now, updated_at: now });
        Ok((id, vec![Changed::Comment { id, action: "created" }]))
    }

    pub(super) fn edit_comment(&mut self, id: i64, body: &str, now: Timestamp) -> Option<Made<()>> {
        let comment = self.comments.iter_mut().find(|comment| comment.id == id)?;
        (comment.body, comment.updated_at) = (body.to_owned(), now);
        Some(((), vec![Changed::Comment { id, action: "edited" }]))
    }

    pub(super) fn status(
        &mut self,
        by: &User,
        sha: &str,
        [context, state, description, target_url]: [&str; 4],
        now: Timestamp,
    ) -> Made<i64> {
        let id = self.next_id();
        self.statuses.push(Status {
            id,
            sha: sha.to_owned(),
            context: context.to_owned(),
            state: state.to_owned(),
            description: description.to_owned(),
            target_url: target_url.to_owned(),
            by: by.login.clone(),
            created_at: now,
        });
        (id, vec![Changed::Status { id }])
    }

    /// The newest status of each context of a commit, in the order of contexts.
    pub(super) fn latest_statuses(&self, sha: &str) -> Vec<&Status> {
        let of = self.statuses.iter().filter(|status| status.sha == sha);
        of.map(|status| (status.context.as_str(), status)).collect::<BTreeMap<_, _>>().into_values().collect()
    }

    pub(super) fn review(
        &mut self,
        by: &User,
        number: u64,
        review: ReviewState,
        body: &str,
        now: Timestamp,
    ) -> Option<Made<()>> {
        let issue = self.issue_mut(number)?;
        issue.updated_at = now;
        let pull = issue.pull.as_mut()?;
        pull.reviews.push((by.login.clone(), review, body.to_owned(), pull.head_sha.clone()));
        Some(((), vec![Changed::Review { number }]))
    }

    pub(super) fn merge(&mut self, number: u64, commit: &str, now: Timestamp) -> Option<Made<()>> {
        let issue = self.issue_mut(number).filter(|issue| issue.open)?;
        let pull = issue.pull.as_mut()?;
        pull.merged = Some(commit.to_owned());
        let base = pull.base.clone();
        (issue.open, issue.updated_at) = (false, now);
        let mut changes = vec![Changed::Pull { number, action: "closed" }];
        changes.extend(self.push(&base, commit, now).1);
        Some(((), changes))
    }

    pub(super) fn set_open(&mut self, number: u64, open: bool, now: Timestamp) -> Option<Made<()>> {
        let issue = self.issue_mut(number)?;
        (issue.open, issue.updated_at) = (open, now);
        let action = if open { "reopened" } else { "closed" };
        let change = if issue.pull.is_some() {
            Changed::Pull { number, action }
        } else {
            Changed::Issue { number, action }
        };
        Some(((), vec![change]))
    }

    pub(super) fn label(&mut self, number: u64, names: &[&str], now: Timestamp) -> Option<Made<()>> {
        let issue = self.issue_mut(number)?;
        issue.labels = names.iter().map(|name| (*name).to_owned()).collect();
        issue.updated_at = now;
        Some(((), vec![Changed::Labels { number }]))
    }

    pub(super) fn delete(&mut self, number: u64) -> Option<()> {
        self.issue(number)?;
        self.issues.retain(|issue| issue.number != number);
        self.comments.retain(|comment| comment.number != number);
        Some(())
    }
}

impl Changed {
    pub(super) fn write(&self, state: &State) -> Option<Write> {
        match self {
            Self::Comment { id, action } => {
                let Comment { number, body, .. } = state.comment_of(*id)?.clone();
                Some(if *action == "created" {
                    Write::Commented { number, id: *id, body }
                } else {
                    Write::Edited { number, id: *id, body }
                })
            }
            Self::Status { id } => {
                let status = state.statuses.iter().find(|status| status.id == *id)?.clone();
                let Status { sha, context, state, description, target_url, .. } = status;
                Some(Write::Status { sha, context, state, description, target_url })
            }
            Self::Pull { number, action: "opened" } => {
                let pull = state.issue(*number)?.pull.clone()?;
                Some(Write::Opened { number: *number, head: pull.head, base: pull.base })
            }
            Self::Push { branch, before, after } => {
                Some(Write::Pushed { branch: branch.clone(), before: before.clone(), after: after.clone() })
            }
            Self::Issue { .. } | Self::Pull { .. } | Self::Labels { .. } | Self::Review { .. } => None,
        }
    }
}
