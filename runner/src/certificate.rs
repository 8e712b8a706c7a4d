//! The node's own certificate: joins with a token where there is none, keeps it in the node's folder, and has it replaced
//! long before it is over. The key is made here and never leaves the host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pki::{JoinToken, Request};
use proto::v1::join_service_client::JoinServiceClient;
use proto::v1::{JoinRequest, RotateRequest};
use serde::{Deserialize, Serialize};
use service::settings::{Secret, TlsSettings};
use service::tls::{Credentials, Lifetime, Material};
use service::{Refused, blocking, grpc};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::files;
use crate::identity::Identity;
use crate::node::Node;

/// The certificate, its key and whom to trust, in one file: they are replaced in one step.
const FILE: &str = "certificate.json";
/// The key that joins, kept before it is first shown: an answer that got lost is asked for again with the same.
const KEY_FILE: &str = "joining.key";
/// How long one call may take.
const CALL_WITHIN: Duration = Duration::from_secs(10);
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// The longest wait between two looks at the certificate's age.
const LOOK_EVERY_MAX: Duration = Duration::from_mins(10);
/// The shortest.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    scheduler_url: String,
    ca: String,
    cert: String,
    key: String,
}

/// A node's own certificate, and where it holds.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) credentials: Credentials,
    pub(crate) scheduler_url: String,
}

/// What the node got before; else joins with the token, for as long as the scheduler is away. None without either.
///
/// A certificate that is over is worth nothing: then the token counts.
pub(crate) async fn take(
    identity: &Identity,
    token: Option<&Secret>,
    now_ms: i64,
) -> Result<Option<Own>, Refused> {
    let dir = identity.dir();
    if let Some(kept) = read(dir)? {
        let own = kept.own()?;
        let counts = own.credentials.lifetime().is_some_and(|lifetime| now_ms < lifetime.until_ms);
        if counts || token.is_none() {
            return Ok(Some(own));
        }
        tracing::warn!("the node's certificate is over: it joins anew");
    }
    let Some(token) = token else { return Ok(None) };
    let token: JoinToken =
        token.expose().parse().map_err(|wrong| Refused::new(format!("ORCH_JOIN_TOKEN is {wrong}")))?;
    let request = joining_request(dir).map_err(|error| could_not_keep(dir, &error))?;
    let kept = join(identity, &token, &request).await?;
    let own = kept.own()?;
    kept.write(dir).map_err(|error| could_not_keep(dir, &error))?;
    // The next certificate has another key; this one has done its work.
    let _ = std::fs::remove_file(dir.join(KEY_FILE));
    Ok(Some(own))
}

/// Has the certificate replaced whenever a third of its life is over.
pub(crate) async fn stay_young(node: Arc<Node>, own: Own, tls: TlsSettings) {
    let mut retry = RETRY_MIN;
    loop {
        let due_ms = own.credentials.lifetime().map_or(0, Lifetime::replace_at_ms);
        let left_ms = u64::try_from(due_ms.saturating_sub(node.clock.now_ms())).unwrap_or(0);
        if left_ms > 0 {
            tokio::time::sleep(Duration::from_millis(left_ms).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)).await;
            continue;
        }
        match rotate(&node, &own, &tls).await {
            Ok(()) => {
                tracing::info!(node.id = %node.identity.node, "the node has a new certificate");
                retry = RETRY_MIN;
                tokio::time::sleep(LOOK_EVERY_MIN).await;
            }
            Err(error) => {
                tracing::warn!(error, "could not replace the node's certificate yet");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn rotate(node: &Arc<Node>, own: &Own, tls: &TlsSettings) -> Result<(), String> {
    let request = Request::new().map_err(|error| error.to_string())?;
    let channel = grpc::channel(&own.scheduler_url, tls).map_err(|refused| refused.to_string())?;
    let mut client = JoinServiceClient::new(channel);
    let ask = client.rotate(RotateRequest { request_pem: request.pem });
    let reply =
        grpc::call(CALL_WITHIN, ask).await.map_err(|status| status.message().to_owned())?.into_inner();
    let kept = Kept {
        scheduler_url: own.scheduler_url.clone(),
        ca: reply.ca_pem,
        cert: reply.certificate_pem,
        key: request.key.expose().to_owned(),
    };
    let material = kept.material();
    let dir = node.identity.dir().to_owned();
    blocking(move || kept.write(&dir)).await.map_err(|error| format!("could not keep it: {error}"))?;
    own.credentials.replace(material).map_err(|refused| refused.to_string())
}

async fn join(identity: &Identity, token: &JoinToken, request: &Request) -> Result<Kept, Refused> {
    let channel = grpc::channel_of_stranger(&token.url, token.ca.as_bytes())?;
    let mut retry = RETRY_MIN;
    loop {
        match ask_to_join(channel.clone(), identity, token, request).await {
            Ok((cert, ca)) => {
                tracing::info!(node.id = %identity.node, scheduler = token.url, "joined");
                let key = request.key.expose().to_owned();
                return Ok(Kept { scheduler_url: token.url.clone(), ca, cert, key });
            }
            Err(status) if is_final(status.code()) => {
                return Err(Refused::new(format!("could not join {}: {}", token.url, status.message())));
            }
            Err(status) => {
                tracing::warn!(scheduler = token.url, error = status.message(), "could not join yet");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn ask_to_join(
    channel: Channel,
    identity: &Identity,
    token: &JoinToken,
    request: &Request,
) -> Result<(String, String), Status> {
    let mut client = JoinServiceClient::new(channel);
    let ask = client.join(JoinRequest {
        token_id: token.id.clone(),
        token_secret: token.secret().expose().to_owned(),
        node_id: identity.node.0.clone(),
        request_pem: request.pem.clone(),
    });
    let reply = grpc::call(CALL_WITHIN, ask).await?.into_inner();
    Ok((reply.certificate_pem, reply.ca_pem))
}

/// What asking again would not change.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::PermissionDenied | Code::InvalidArgument | Code::Unauthenticated | Code::Unimplemented
    )
}

fn joining_request(dir: &Path) -> std::io::Result<Request> {
    if let Some(key) = files::read_if_there(&dir.join(KEY_FILE))? {
        return Request::with_key(&String::from_utf8_lossy(&key)).map_err(std::io::Error::other);
    }
    let request = Request::new().map_err(std::io::Error::other)?;
    files::write_durable(dir, KEY_FILE, request.key.expose().as_bytes())?;
    Ok(request)
}

fn read(dir: &Path) -> Result<Option<Kept>, Refused> {
    let path = dir.join(FILE);
    let bytes = files::read_if_there(&path)
        .map_err(|error| Refused::new(format!("could not read {}: {error}", path.display())))?;
    let damaged = |error| {
        Refused::new(format!(
            "{} cannot be read ({error}): remove it and join anew with `orch join-token`",
            path.display()
        ))
    };
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(damaged)).transpose()
}

fn could_not_keep(dir: &Path, error: &std::io::Error) -> Refused {
    Refused::new(format!("could not keep the node's certificate in {}: {error}", dir.display()))
}

impl Kept {
    fn material(&self) -> Material {
        let bytes = |text: &String| text.clone().into_bytes();
        Material { ca: bytes(&self.ca), cert: bytes(&self.cert), key: bytes(&self.key) }
    }

    fn own(&self) -> Result<Own, Refused> {
        let credentials = Credentials::new(self.material())?;
        Ok(Own { credentials, scheduler_url: self.scheduler_url.clone() })
    }

    fn write(&self, dir: &Path) -> std::io::Result<()> {
        files::write_durable(dir, FILE, &serde_json::to_vec(self)?)
    }
}
