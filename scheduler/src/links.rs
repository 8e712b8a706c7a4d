//! Connections to runners: one per address, shared by all calls.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::v1::runner_service_client::RunnerServiceClient;
use service::grpc::{self, MESSAGE_BYTES_MAX, SendTrace};
use service::settings::TlsSettings;
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
    channels: Mutex<BTreeMap<String, Link>>,
}

#[derive(Debug)]
struct Link {
    channel: Channel,
    /// Cancelled when the connection leads nowhere any more.
    closed: CancellationToken,
}

impl Links {
    pub(crate) fn new(tls: TlsSettings) -> Self {
        Self { tls, channels: Mutex::default() }
    }

    /// A client of the runner at `url`; connects at its first call.
    pub(crate) fn to(&self, url: &str) -> Result<Runner, Status> {
        self.until_closed(url).map(|(runner, _)| runner)
    }

    /// The same, with what is cancelled when [`Links::forget`] closes the connection: a stream on it would hang until
    /// its silence is noticed.
    pub(crate) fn until_closed(&self, url: &str) -> Result<(Runner, CancellationToken), Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let link = match channels.entry(url.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let channel = grpc::channel(url, &self.tls)
                    .map_err(|refused| Status::unavailable(refused.to_string()))?;
                unknown.insert(Link { channel, closed: CancellationToken::new() })
            }
        };
        let runner = RunnerServiceClient::with_interceptor(link.channel.clone(), SendTrace)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok((runner, link.closed.clone()))
    }

    /// Closes the connection to an address where nobody is any more, or somebody else.
    pub(crate) fn forget(&self, url: &str) {
        let link = self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
        if let Some(link) = link {
            link.closed.cancel();
        }
    }
}
