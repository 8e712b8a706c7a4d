//! A runner node as the scheduler and the store see it.

use serde::{Deserialize, Serialize};

use crate::containment::Containment;
use crate::{Account, Incarnation, NodeId, Timestamp};

/// A node's row: what it said when it registered and last renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// The host's boot id at registration.
    pub boot_id: String,
    /// Where the scheduler reaches it.
    pub advertise_url: String,
    /// Whether it may be given work.
    pub state: NodeState,
    /// How many agents it runs at once.
    pub slots: u32,
    /// Its labels, sorted.
    pub labels: Vec<String>,
    /// The account its agents use.
    pub account: Account,
    /// What the preflight of its agent binary said.
    pub preflight: Preflight,
    /// How far it can contain agents.
    pub containment: Containment,
    /// When it was last heard of.
    pub last_seen_at: Timestamp,
}

/// A node's state, as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Takes work.
    Ready,
    /// Takes no new work; its agents end by themselves.
    Draining,
    /// Silent for a while: no new work, its runs keep their lease.
    Unreachable,
    /// Silent for a whole lease, or gone.
    Lost,
}

impl NodeState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Draining, Self::Unreachable, Self::Lost];

    /// The word used everywhere outside.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Whether the binary that would really be spawned exists and answers `--version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Whether agents can be spawned.
    pub ok: bool,
    /// What `--version` printed.
    pub version: Option<String>,
    /// When it was looked at.
    pub checked_at: Timestamp,
    /// What is wrong and what to do.
    pub error: Option<String>,
    /// The file that is executed, as it was found.
    pub program: Option<String>,
    /// What a person should know though it is ok, such as a version newer than any that was measured.
    pub note: Option<String>,
}
