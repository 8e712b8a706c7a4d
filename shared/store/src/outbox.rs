//! What a store does for the outbox; part of every [`crate::Store`].

use async_trait::async_trait;
use domain::outbox::{Message, Settlement, Sink, SinkRecord, Take};
use domain::{Alert, Timestamp};

use crate::Error;

/// Messages to the outside: written with their fact, taken under a lease, settled. What the tracker and the forge are
/// told is written by [`crate::Store::apply`] and [`crate::Store::decide`].
#[async_trait]
pub trait Outbox {
    /// Writes alerts whose fact is nowhere else in the database. Alerts of transitions and repairs are written by
    /// [`crate::Store::apply`] and [`crate::Store::sanitize`] themselves.
    async fn push_alerts(&self, alerts: Vec<Alert>, now: Timestamp) -> Result<(), Error>;

    /// Keeps whether a condition holds, and tells `alert` when that is news; false when it is not. It is told once,
    /// however many ask and whatever restarts.
    async fn set_condition(
        &self,
        name: String,
        holds: bool,
        alert: Alert,
        now: Timestamp,
    ) -> Result<bool, Error>;

    /// Reads which conditions hold.
    async fn conditions(&self) -> Result<Vec<String>, Error>;

    /// Addresses every pending alert whose sink is not among `sinks` to each of them; nothing when there are none. An
    /// alert is kept until there is a sink for it, and one for a sink that is gone finds another.
    async fn address_alerts(&self, sinks: Vec<Sink>, now: Timestamp) -> Result<(), Error>;

    /// Takes the pending messages at the head of a sink's lane that is due, the oldest first, under a lease. Work
    /// grows with what is pending; no lock is taken when nothing is due.
    async fn take_messages(&self, take: Take) -> Result<Vec<Message>, Error>;

    /// Says how messages fared that were taken.
    async fn settle_messages(&self, settlement: Settlement) -> Result<(), Error>;

    /// Folds the alerts of a sink's due lane by [`domain::alert::fold`] when more than `over` are pending; tells whether
    /// they were.
    async fn fold_alerts(&self, sink: Sink, over: u32, now: Timestamp) -> Result<bool, Error>;

    /// Reads what waits, by sink; none of a sink that has nothing to show.
    async fn sinks(&self) -> Result<Vec<SinkRecord>, Error>;

    /// Forgets some of the messages settled before an instant; false once there are none left.
    async fn prune_messages(&self, before: Timestamp) -> Result<bool, Error>;

    /// Keeps that the other side moved a destination.
    async fn move_destination(
        &self,
        sink: Sink,
        destination: String,
        moved_to: String,
        now: Timestamp,
    ) -> Result<(), Error>;

    /// Where a configured destination is now: itself, unless it was moved.
    async fn destination(&self, sink: Sink, configured: &str) -> Result<String, Error>;

    /// Reads when each source last delivered a webhook, to a second.
    async fn sources(&self) -> Result<Vec<(String, Timestamp)>, Error>;
}
