//! A stand-in for Plane's public API (community edition 1.3.1) and its v1 webhooks.

mod api;
mod state;
mod view;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::api::Api;
use self::state::{Changed, State};
use super::hooks::Sender;
use super::log::{Entry, Log};
use super::{Asked, Faults, Hooks, serve};

pub use state::{Comment, Issue, Project, StateGroup, User};

/// Requests per minute and key, as Plane ships.
pub const RATE_LIMIT: u32 = 60;

/// What was written through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A comment.
    Commented {
        /// Of which issue, such as `SHOP-12`.
        issue: String,
        /// The comment.
        id: Uuid,
        /// Its HTML.
        html: String,
        /// `external_source` and `external_id`.
        external: Option<(String, String)>,
    },
    /// An issue's state.
    Moved {
        /// Of which issue, such as `SHOP-12`.
        issue: String,
        /// The state's name before.
        from: String,
        /// The state's name since.
        to: String,
    },
    /// An issue's labels.
    Labelled {
        /// Of which issue, such as `SHOP-12`.
        issue: String,
        /// Their names since.
        labels: Vec<String>,
    },
}

/// A running stand-in; dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Plane {
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
    started_at: tokio::time::Instant,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before the lock goes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells webhooks, and the log of writes when the API made the change.
    fn tell(&self, state: &State, by: &User, changes: &[Changed], through_api: bool) {
        for change in changes {
            if through_api && let Some(write) = change.write(state) {
                self.writes.add(&by.name, write);
            }
            self.hooks.push(view::webhook(state, by, change, through_api));
        }
    }
}

impl Plane {
    /// Serves one project on a free port of loopback, with Plane's five states, a person `jane` and Orch's own account
    /// `orch`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(project: Project) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, mut serving) = (listener.local_addr()?, JoinSet::new());
        let hooks = Hooks::start(Sender::Plane, &mut serving);
        let inner = Arc::new(Inner {
            state: Mutex::new(State::new(project)),
            hooks: hooks.clone(),
            faults: Faults::default(),
            writes: Log::default(),
            requests: Log::default(),
            started_at: tokio::time::Instant::now(),
        });
        serving.spawn(serve::accept(listener, Arc::new(Api(Arc::clone(&inner)))));
        Ok(Self { addr, hooks, inner, _serving: serving })
    }

    /// What `ORCH_PLANE_API_URL` is.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What goes wrong with answers.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Where webhooks go and how.
    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// How many requests a key has in a window; `None`: as many as it likes. [`RATE_LIMIT`] a minute from the start.
    pub fn set_rate_limit(&self, limit: Option<(u32, Duration)>) {
        self.inner.lock().limit = limit;
    }

    /// The account Orch writes with.
    pub fn orch(&self) -> User {
        self.user("orch")
    }

    /// A person.
    pub fn jane(&self) -> User {
        self.user("jane")
    }

    /// The account of that name, which is made when there is none.
    pub fn user(&self, name: &str) -> User {
        self.inner.lock().user_named(name)
    }

    /// The id of a state by its name, such as `In Progress`.
    ///
    /// # Panics
    /// There is none.
    pub fn state_id(&self, name: &str) -> Uuid {
        self.inner.lock().state_named(name).expect("a state of the project").id
    }

    /// A person opens an issue; gives its key, such as `SHOP-1`.
    pub fn create_issue(&self, by: &User, title: &str, html: &str) -> String {
        self.change(by, |state, now| state.create_issue(by, title, html, now)).expect("a new issue")
    }

    /// A person moves an issue to the state of that name.
    ///
    /// # Panics
    /// There is no such issue or state.
    pub fn move_issue(&self, by: &User, key: &str, state_name: &str) {
        self.change(by, |state, now| {
            let to = state.state_named(state_name)?.id;
            state.move_issue(by, key, to, now)
        })
        .expect("an issue and a state of the project");
    }

    /// A person sets an issue's labels, which are made when there are none of that name.
    ///
    /// # Panics
    /// There is no such issue.
    pub fn label_issue(&self, by: &User, key: &str, names: &[&str]) {
        self.change(by, |state, now| {
            let labels = names.iter().map(|name| state.label_named(name)).collect();
            state.label_issue(by, key, labels, now)
        })
        .expect("an issue of the project");
    }

    /// A person comments on an issue.
    ///
    /// # Panics
    /// There is no such issue.
    pub fn comment(&self, by: &User, key: &str, html: &str) -> Uuid {
        self.change(by, |state, now| state.comment(by, key, html, None, now))
            .expect("an issue of the project")
    }

    /// A person deletes an issue, of which no webhook tells.
    ///
    /// # Panics
    /// There is no such issue.
    pub fn delete_issue(&self, key: &str) {
        self.inner.lock().delete_issue(key).expect("an issue of the project");
    }

    /// An issue as it is.
    ///
    /// # Panics
    /// There is none.
    pub fn issue(&self, key: &str) -> Issue {
        self.inner.lock().issue_of_key(key).expect("an issue of the project").clone()
    }

    /// The name of the state an issue is in.
    ///
    /// # Panics
    /// There is no such issue.
    pub fn state_of(&self, key: &str) -> String {
        let state = self.inner.lock();
        let issue = state.issue_of_key(key).expect("an issue of the project");
        state.state_name(issue.state)
    }

    /// The comments of an issue, the oldest first.
    pub fn comments(&self, key: &str) -> Vec<Comment> {
        let state = self.inner.lock();
        let id = state.issue_of_key(key).map(|issue| issue.id);
        state.comments.iter().filter(|comment| Some(comment.issue) == id).cloned().collect()
    }

    /// What was written through the API, the oldest first.
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
