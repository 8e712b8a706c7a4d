//! What several schedulers on one database know of each other: which session speaks for a node and to whom, and who leads
//! what is done once for all of them (`domain::term`). A scheduler that is alone for certain asks for none of this.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use domain::term::Term;
use domain::{Incarnation, NodeId};

use crate::Error;

/// A runner's session, and the scheduler it speaks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The runner's start.
    pub incarnation: Incarnation,
    /// What tells it from others of the same incarnation.
    pub nonce: String,
    /// The scheduler, by the name it gave itself at its start.
    pub home: String,
}

/// The session that speaks for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaking {
    /// The session.
    pub session: Session,
    /// How often anything was heard of the node; rises whoever speaks for it.
    pub heard: u64,
}

/// Who is called when work was announced.
pub struct Heard(pub Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Heard").finish_non_exhaustive()
    }
}

/// Sessions, the term and announcements; part of every [`crate::Store`].
#[async_trait]
pub trait Fleet {
    /// Makes a session the one that speaks for a node; gives how often the node was heard, `None` when a newer
    /// incarnation spoke before: then nothing was written.
    async fn open_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error>;

    /// Counts that a session was heard by its home, which may be another than before; gives how often the node was
    /// heard, `None` when another session speaks for the node: then nothing was written.
    async fn hear_session(&self, node: NodeId, session: Session) -> Result<Option<u64>, Error>;

    /// Reads which session speaks for each node.
    async fn sessions(&self) -> Result<BTreeMap<NodeId, Speaking>, Error>;

    /// Reads who leads.
    async fn term(&self) -> Result<Term, Error>;

    /// Writes `next` over the term if that is still `seen`, by number and beat; false: it is not, nothing was written.
    async fn write_term(&self, seen: Term, next: Term) -> Result<bool, Error>;

    /// Calls `heard` whenever a process announces that there may be work, until it is dropped; returns at once where
    /// nobody announces anything. Whoever hears nothing finds the work at its next poll.
    ///
    /// `direct` is the url of the database without a proxy in between, where `open` was given that of a proxy.
    async fn listen(&self, _direct: Option<String>, _heard: Heard) {}
}
