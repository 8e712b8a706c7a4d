//! Connections to runners: one per node and address, shared by all calls.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::NodeId;
use pki::Revoked;
use proto::v1::runner_service_client::RunnerServiceClient;
use service::grpc::{self, MESSAGE_BYTES_MAX, SendTrace};
use service::settings::TlsSettings;
use service::tls::{PeerName, Role};
use service::watched::Watched;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// The whole-call deadline of every unary call to a runner.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// A runner's client.
pub(crate) type Runner = RunnerServiceClient<InterceptedService<Channel, SendTrace>>;

#[derive(Debug)]
pub(crate) struct Links {
    tls: TlsSettings,
    /// Nodes that are not called any more.
    revoked: Option<Watched<Revoked>>,
    channels: Mutex<BTreeMap<(NodeId, String), Link>>,
}

/// How many streams of one node are asked for at once: after a start a fleet's runs are watched side by side, and each of
/// those calls has its deadline.
const OPENINGS_MAX: usize = 4;

/// A way to a runner.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) runner: Runner,
    /// Cancelled when [`Links::forget`] closes the connection: a stream on it would hang until its silence is noticed.
    pub(crate) closed: CancellationToken,
    /// A place in it is held while a stream is asked for.
    pub(crate) opening: Arc<Semaphore>,
}

#[derive(Debug)]
struct Link {
    channel: Channel,
    opening: Arc<Semaphore>,
    /// Cancelled when the connection leads nowhere any more.
    closed: CancellationToken,
}

impl Links {
    pub(crate) fn new(tls: TlsSettings, revoked: Option<Watched<Revoked>>) -> Self {
        Self { tls, revoked, channels: Mutex::default() }
    }

    /// A client of a node at `url`; connects at its first call.
    pub(crate) fn to(&self, node: &NodeId, url: &str) -> Result<Runner, Status> {
        self.way(node, url).map(|way| way.runner)
    }

    /// The same, with what a stream needs.
    pub(crate) fn way(&self, node: &NodeId, url: &str) -> Result<Way, Status> {
        if self.is_revoked(node) {
            return Err(Status::permission_denied(format!("node {node} is revoked")));
        }
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let link = match channels.entry((node.clone(), url.to_owned())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let channel = grpc::channel_to_node(url, &self.tls, &node.0)
                    .map_err(|refused| Status::unavailable(refused.to_string()))?;
                let opening = Arc::new(Semaphore::new(OPENINGS_MAX));
                unknown.insert(Link { channel, opening, closed: CancellationToken::new() })
            }
        };
        let runner = RunnerServiceClient::with_interceptor(link.channel.clone(), SendTrace)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Way { runner, closed: link.closed.clone(), opening: link.opening.clone() })
    }

    /// Closes the connections to nodes that were revoked, as often as some are.
    pub(crate) async fn close_revoked(&self) {
        let Some(mut lists) = self.revoked.as_ref().map(Watched::subscribe) else { return };
        while lists.changed().await.is_ok() {
            let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
            channels.retain(|(node, _), link| {
                let revoked = self.is_revoked(node);
                if revoked {
                    tracing::warn!(runner = %node, "a node was revoked: its connection is closed");
                    link.closed.cancel();
                }
                !revoked
            });
        }
    }

    fn is_revoked(&self, node: &NodeId) -> bool {
        let Some(revoked) = &self.revoked else { return false };
        PeerName::new(Role::Node, node.0.clone()).is_ok_and(|name| revoked.get().contains(&name))
    }

    /// Closes the connection to an address where a node is no more.
    pub(crate) fn forget(&self, node: &NodeId, url: &str) {
        let place = (node.clone(), url.to_owned());
        let link = self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
        if let Some(link) = link {
            link.closed.cancel();
        }
    }
}
