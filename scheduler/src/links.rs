//! Connections to runners: one per address, shared by all calls.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proto::v1::runner_service_client::RunnerServiceClient;
use service::grpc::{self, MESSAGE_BYTES_MAX, SendTrace};
use service::settings::TlsSettings;
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
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Links {
    pub(crate) fn new(tls: TlsSettings) -> Self {
        Self { tls, channels: Mutex::default() }
    }

    /// A client of the runner at `url`; connects at its first call.
    pub(crate) fn to(&self, url: &str) -> Result<Runner, Status> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = if let Some(channel) = channels.get(url) {
            channel.clone()
        } else {
            let channel =
                grpc::channel(url, &self.tls).map_err(|refused| Status::unavailable(refused.to_string()))?;
            channels.insert(url.to_owned(), channel.clone());
            channel
        };
        Ok(RunnerServiceClient::with_interceptor(channel, SendTrace)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Closes the connection to an address nobody is at any more.
    pub(crate) fn forget(&self, url: &str) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(url);
    }
}
