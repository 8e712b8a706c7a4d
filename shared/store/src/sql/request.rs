//! What whoever writes may be asked, and its answers.

use std::collections::BTreeSet;

use domain::delivery::{Accepted, NewDelivery, NewJob};
use domain::runner::Node;
use domain::sanitize::{Repair, Rules};
use domain::work_item::ItemChange;
use domain::{Account, Epoch, Incarnation, NodeId, Outcome, RunId, Timestamp};

use super::{fleet, outbox, outside, retention, spending, views};
use crate::{Applied, Audit, Change, ClaimRequest, Claimed, Enqueued, Forgotten};

/// What can be asked of the writer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "an operation is boxed whole on its way")]
pub(crate) enum Request {
    Accept(NewDelivery),
    Enqueue(NewJob, Timestamp),
    Claim(ClaimRequest),
    Apply(Change),
    LateOutcome(RunId, Outcome, Timestamp),
    SaveNode(Node),
    DeclareLost(NodeId, Incarnation, Timestamp),
    NoteGeneration(i64),
    NoteTick(Timestamp, u32),
    NoteConfig(Option<String>),
    Renew(NodeId, Vec<(RunId, Epoch)>),
    Fleet(fleet::Ask),
    Decide(Box<ItemChange>, Audit),
    Sanitize(Rules),
    Outbox(outbox::Ask),
    Outside(outside::Ask),
    Purses(spending::Ask),
    Retention(retention::Ask),
    Views(views::Ask),
    SetPaused(bool, Timestamp),
    ResumeAccount(Account, Timestamp),
    ResetBreaker(Account, Timestamp),
}

/// The answer to the request of the same name.
#[derive(Debug)]
pub(crate) enum Answer {
    Accepted(Accepted),
    Enqueued(Enqueued),
    Claimed(Claimed),
    Applied(Applied),
    Done,
    /// Whether there was what was asked for.
    Found(bool),
    /// How many rows were forgotten.
    Pruned(u64),
    Forgotten(Forgotten),
    Repaired(Vec<Repair>),
    Renewed(BTreeSet<RunId>),
    /// How often a node was heard; none: another session speaks for it.
    Heard(Option<u64>),
    Outbox(outbox::Told),
}

impl Answer {
    /// Whether something was made that a scheduler may want to look at.
    pub(crate) const fn makes_work(&self) -> bool {
        match self {
            Self::Accepted(accepted) => matches!(accepted, Accepted::Enqueued { .. }),
            Self::Enqueued(enqueued) => enqueued.fresh,
            Self::Claimed(_)
            | Self::Applied(_)
            | Self::Done
            | Self::Found(_)
            | Self::Pruned(_)
            | Self::Forgotten(_)
            | Self::Repaired(_)
            | Self::Renewed(_)
            | Self::Heard(_)
            | Self::Outbox(_) => false,
        }
    }
}
