//! How often live runs were renewed: kept where several schedulers may use one database, so that each sees what the
//! others heard (PROTOCOL.md, "Lease"). A scheduler that is alone for certain keeps it in memory and asks for none of this.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use domain::{Epoch, NodeId, RunId};

use crate::Error;

/// The counts, by run; part of every [`crate::Store`].
#[async_trait]
pub trait Renewals {
    /// Counts one renewal of each of these runs that is live and the node's, and says which are.
    async fn renew(&self, node: NodeId, held: Vec<(RunId, Epoch)>) -> Result<BTreeSet<RunId>, Error>;

    /// Reads how often each live run was renewed; one that never was is not named.
    async fn renewals(&self) -> Result<BTreeMap<RunId, u64>, Error>;
}
