//! A stand-in for Gitea's API (1.25) with its webhooks, and for its git over HTTP when a bare repository is attached.

mod api;
mod events;
mod git;
mod listing;
mod state;
mod view;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::api::Api;
use self::state::{Changed, State};
use super::hooks::Sender;
use super::log::{Entry, Log};
use super::{Asked, Faults, Hooks, serve};

pub use state::{Comment, Issue, PullRequest, ReviewState, Status, User};

/// The commit that no branch ever points at: where one begins or ends.
pub const ZERO: &str = "0000000000000000000000000000000000000000";

/// What was written through the API or by a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A comment on an issue or pull request.
    Commented {
        /// Its number.
        number: u64,
        /// The comment.
        id: i64,
        /// What it says.
        body: String,
    },
    /// A comment was changed.
    Edited {
        /// The issue or pull request.
        number: u64,
        /// The comment.
        id: i64,
        /// What it says since.
        body: String,
    },
    /// A commit's status.
    Status {
        /// The commit.
        sha: String,
        /// Whose result it is, such as `orch/review`.
        context: String,
        /// `pending`, `success`, `failure`, `error`, …
        state: String,
        /// In words.
        description: String,
        /// Where more is to be seen.
        target_url: String,
    },
    /// A pull request was opened.
    Opened {
        /// Its number.
        number: u64,
        /// Its branch.
        head: String,
        /// Where it goes.
        base: String,
    },
    /// A branch was pushed.
    Pushed {
        /// Its name.
        branch: String,
        /// Its commit before; [`ZERO`] when it is new.
        before: String,
        /// Its commit since; [`ZERO`] when it is gone.
        after: String,
    },
}

/// A running stand-in; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Gitea {
    addr: SocketAddr,
    hooks: Hooks,
    inner: Arc<Inner>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
pub(super) struct Inner {
    state: Mutex<State>,
    hooks: Hooks,
    faults: Faults,
    writes: Log<Write>,
    requests: Log<Asked>,
    url: String,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock goes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells webhooks, and the log of writes when it was made over the wire.
    fn tell(&self, state: &State, by: &User, changes: &[Changed], over_the_wire: bool) {
        for change in changes {
            if over_the_wire && let Some(write) = change.write(state) {
                self.writes.add(&by.login, write);
            }
            for event in events::webhooks(state, &self.url, by, change) {
                self.hooks.push(event);
            }
        }
    }
}

impl Gitea {
    /// Serves one repository, `owner/name`, on a free port of loopback, with the branch `main` at a commit, a person
    /// `jane` who may write to it, and Orch's own account `orch`.
    ///
    /// # Errors
    /// No port is free.
    ///
    /// # Panics
    /// `repo` has no slash.
    pub async fn start(repo: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, mut serving) = (listener.local_addr()?, JoinSet::new());
        let hooks = Hooks::start(Sender::Gitea, &mut serving);
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(repo)),
            hooks: hooks.clone(),
            faults: Faults::default(),
            writes: Log::default(),
            requests: Log::default(),
            url: format!("http://{addr}"),
        });
        serving.spawn(serve::accept(listener, Arc::new(Api(Arc::clone(&inner)))));
        Ok(Self { addr, hooks, inner, _serving: serving })
    }

    /// What `ORCH_GITEA_API_URL` is.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where the repository is cloned from; a token is the password of any user.
    pub fn clone_url(&self) -> String {
        format!("http://{}/{}.git", self.addr, self.inner.lock().full_name())
    }

    /// What goes wrong with answers, those of git among them.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Where webhooks go and how.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// The account Orch writes with.
    pub fn orch(&self) -> User {
        self.user("orch")
    }

    /// A person who may write to the repository.
    pub fn jane(&self) -> User {
        self.user("jane")
    }

    /// The account of that login, which is made when there is none.
    pub fn user(&self, login: &str) -> User {
        self.inner.lock().user_named(login)
    }

    /// Serves this bare repository over git's smart HTTP from now on, and takes its branches for the repository's.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn attach(&self, bare: &Path) -> io::Result<()> {
        let branches = git::branches(bare).await?;
        let mut state = self.inner.lock();
        state.bare = Some(bare.to_owned());
        state.branches = branches;
        Ok(())
    }

    /// The attached repository.
    pub fn bare(&self) -> Option<PathBuf> {
        self.inner.lock().bare.clone()
    }

    /// The commit of a branch.
    pub fn branch(&self, name: &str) -> Option<String> {
        self.inner.lock().branches.get(name).cloned()
    }

    /// A person opens an issue; gives its number.
    pub fn create_issue(&self, by: &User, title: &str, body: &str) -> u64 {
        self.change(by, |state, now| Some(state.create_issue(by, title, body, now))).expect("a new issue")
    }

    /// A person opens a pull request from a branch, which must be there; gives its number.
    ///
    /// # Panics
    /// There is no such branch.
    pub fn open_pull_request(&self, by: &User, head: &str, base: &str, title: &str, body: &str) -> u64 {
        self.change(by, |state, now| state.open_pull(by, head, base, title, body, now).ok())
            .expect("two branches with no open pull request between them")
    }

    /// A person moves a branch to a commit, which need not be anywhere; [`ZERO`] deletes it. Without a bare repository
    /// this is the only push there is.
    pub fn push(&self, by: &User, branch: &str, after: &str) {
        self.change(by, |state, now| Some(state.push(branch, after, now)));
    }

    /// A person comments on an issue or pull request.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn comment(&self, by: &User, number: u64, body: &str) -> i64 {
        self.change(by, |state, now| state.comment(by, number, body, now).ok()).expect("an issue, not locked")
    }

    /// A person or a program says how a commit fares.
    pub fn set_status(&self, by: &User, sha: &str, context: &str, status: &str, description: &str) {
        self.change(by, |state, now| Some(state.status(by, sha, [context, status, description, ""], now)));
    }

    /// A person reviews a pull request.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn review(&self, by: &User, number: u64, review: ReviewState, body: &str) {
        self.change(by, |state, now| state.review(by, number, review, body, now))
            .expect("a pull request of the repository");
    }

    /// A person merges a pull request, by a merge commit of this id.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn merge(&self, by: &User, number: u64, commit: &str) {
        self.change(by, |state, now| state.merge(number, commit, now))
            .expect("an open pull request of the repository");
    }

    /// A person closes an issue or pull request, or opens it again.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn set_open(&self, by: &User, number: u64, open: bool) {
        self.change(by, |state, now| state.set_open(number, open, now)).expect("an issue or pull request");
    }

    /// A person sets the labels of an issue or pull request.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn label(&self, by: &User, number: u64, names: &[&str]) {
        self.change(by, |state, now| state.label(number, names, now)).expect("an issue or pull request");
    }

    /// Nobody comments on it any more: the API answers 403.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn lock(&self, number: u64) {
        self.inner.lock().issue_mut(number).expect("an issue or pull request").locked = true;
    }

    /// An issue or pull request is deleted, of which no webhook tells here.
    ///
    /// # Panics
    /// There is no such thing.
    pub fn delete(&self, number: u64) {
        self.inner.lock().delete(number).expect("an issue or pull request");
    }

    /// An issue or the issue half of a pull request.
    ///
    /// # Panics
    /// There is none.
    pub fn issue(&self, number: u64) -> Issue {
        self.inner.lock().issue(number).expect("an issue or pull request").clone()
    }

    /// The pull requests, the oldest first, with their numbers.
    pub fn pull_requests(&self) -> Vec<(u64, PullRequest)> {
        let state = self.inner.lock();
        state.issues.iter().filter_map(|issue| Some((issue.number, issue.pull.clone()?))).collect()
    }

    /// The comments of an issue or pull request, the oldest first.
    pub fn comments(&self, number: u64) -> Vec<Comment> {
        self.inner.lock().comments.iter().filter(|comment| comment.number == number).cloned().collect()
    }

    /// Every status of a commit, the oldest first.
    pub fn statuses(&self, sha: &str) -> Vec<Status> {
        self.inner.lock().statuses.iter().filter(|status| status.sha == sha).cloned().collect()
    }

    /// What was written through the API or by a push, the oldest first.
    pub fn writes(&self) -> Vec<Entry<Write>> {
        self.inner.writes.all()
    }

    /// Every request that came to be answered, the oldest first, the credential left out.
    pub fn requests(&self) -> Vec<Entry<Asked>> {
        self.inner.requests.all()
    }

    fn change<T>(
        &self,
        by: &User,
        change: impl FnOnce(&mut State, Timestamp) -> Option<(T, Vec<Changed>)>,
    ) -> Option<T> {
        let mut state = self.inner.lock();
        let (made, changes) = change(&mut state, Timestamp::now())?;
        self.inner.tell(&state, by, &changes, false);
        Some(made)
    }
}
