//! The certificate authority at work: the scheduler's own certificate, the first and the next ones of nodes, and who is
//! out. Only where `ORCH_CA_DIR` is set; who may do what with a certificate is in `doors`.

use std::sync::Arc;
use std::time::Duration;

use domain::NodeId;
use pki::{Authority, REVOKED_FILE, Refusal, Revoked};
use proto::v1::join_service_server::JoinService;
use proto::v1::{CertificateReply, JoinRequest, RotateRequest};
use service::tls::{Caller, Credentials, Lifetime, PeerName, Role};
use service::watched::Watched;
use service::{Clock, Refused, Tasks, blocking};
use tonic::{Request, Response, Status};

use crate::config::Options;
use crate::moves::error_chain;

/// The one call that needs no certificate.
pub(crate) const JOIN: &str = "/orch.v1.JoinService/Join";
/// The longest wait between two looks at the own certificate.
const LOOK_EVERY_MAX: Duration = Duration::from_mins(10);
/// The shortest.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);

/// What all clones share.
#[derive(Clone, Debug)]
pub(crate) struct Ca {
    authority: Arc<Authority>,
    revoked: Watched<Revoked>,
    lifetime: Duration,
    clock: Clock,
    /// The scheduler's own certificate, unless that comes from files.
    own: Option<Credentials>,
}

/// Opens the authority, and gives the scheduler a certificate of it where the settings name none.
pub(crate) fn open(options: &mut Options) -> Result<Option<Ca>, Refused> {
    let Some(ca) = &options.ca else { return Ok(None) };
    let refused = |error: pki::Error| Refused::new(format!("ORCH_CA_DIR: {}", error_chain(&error)));
    let authority = Authority::open(&ca.dir).map_err(refused)?;
    let parse = |_: &std::path::Path, text: &str| Revoked::parse(text);
    let revoked = Watched::load(ca.dir.join(REVOKED_FILE), Revoked::default(), parse)?;
    let mut ca = Ca {
        authority: Arc::new(authority),
        revoked,
        lifetime: ca.lifetime,
        clock: options.clock.clone(),
        own: None,
    };
    if !options.tls.has_files() {
        let credentials = Credentials::new(ca.own_material().map_err(refused)?)?;
        options.tls.own = Some(credentials.clone());
        ca.own = Some(credentials);
    }
    Ok(Some(ca))
}

impl Ca {
    /// Who is out.
    pub(crate) fn revoked(&self) -> Watched<Revoked> {
        self.revoked.clone()
    }

    /// Keeps the list of who is out fresh, and the scheduler's own certificate young.
    pub(crate) fn spawn(self, tasks: &Tasks) {
        self.revoked.spawn(tasks);
        let Some(own) = self.own.clone() else { return };
        let stop = tasks.token();
        tasks.spawn("certificate", async move {
            let _ = stop.run_until_cancelled(self.stay_young(own)).await;
        });
    }

    async fn stay_young(self, own: Credentials) {
        loop {
            let due_ms = own.lifetime().map_or(0, Lifetime::replace_at_ms);
            let left_ms = u64::try_from(due_ms.saturating_sub(self.clock.now_ms())).unwrap_or(0);
            if left_ms > 0 {
                let wait = Duration::from_millis(left_ms);
                tokio::time::sleep(wait.clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX)).await;
                continue;
            }
            let ca = self.clone();
            let made = self.signing(move || ca.own_material().map_err(Refusal::Failed)).await;
            let made = made.map_err(|refusal| error_chain(&refusal));
            match made.and_then(|material| own.replace(material).map_err(|refused| refused.to_string())) {
                Ok(()) => {
                    tracing::info!("the scheduler has a new certificate");
                    tokio::time::sleep(LOOK_EVERY_MIN).await;
                }
                Err(error) => {
                    tracing::error!(error, "could not replace the scheduler's certificate");
                    tokio::time::sleep(LOOK_EVERY_MAX).await;
                }
            }
        }
    }

    /// Works on the folder, off the runtime.
    async fn signing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        match blocking(move || Ok(work())).await {
            Ok(done) => done,
            Err(source) => Err(pki::Error::File { path: "the worker".into(), source }.into()),
        }
    }

    fn own_material(&self) -> Result<service::tls::Material, pki::Error> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let named = |name: &str| PeerName::new(Role::Scheduler, name);
        // A host's name that cannot be a peer's is no reason to have no certificate.
        let name = named(&host).or_else(|_| named("scheduler"));
        let name =
            name.map_err(|error| pki::Error::Damaged { path: "uname".into(), problem: error.to_string() })?;
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        if name.name() == host {
            hosts.push(host);
        }
        self.authority.material(&name, &hosts, self.lifetime, self.clock.now_ms())
    }

    fn reply(
        &self,
        node: &str,
        granted: Result<String, Refusal>,
    ) -> Result<Response<CertificateReply>, Status> {
        match granted {
            Ok(certificate_pem) => {
                let ca_pem = self.authority.ca_pem().to_owned();
                Ok(Response::new(CertificateReply { certificate_pem, ca_pem }))
            }
            Err(refusal) => {
                tracing::warn!(node, reason = error_chain(&refusal), "no certificate is given");
                Err(match refusal {
                    Refusal::Token(_) | Refusal::Taken(_) | Refusal::Revoked(_) => {
                        Status::permission_denied(refusal.to_string())
                    }
                    Refusal::Request(_) => Status::invalid_argument(refusal.to_string()),
                    Refusal::Failed(_) => Status::unavailable(error_chain(&refusal)),
                })
            }
        }
    }
}

#[tonic::async_trait]
impl JoinService for Ca {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<CertificateReply>, Status> {
        let JoinRequest { token_id, token_secret, node_id, request_pem } = request.into_inner();
        let (ca, now_ms, node) = (self.clone(), self.clock.now_ms(), node_id.clone());
        let signing = self.signing(move || {
            let token = (token_id.as_str(), token_secret.as_str());
            ca.authority.join(token, &node_id, &request_pem, ca.lifetime, now_ms)
        });
        let joined = signing.await;
        if joined.is_ok() {
            tracing::info!(node, "a node joined");
        }
        self.reply(&node, joined)
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<CertificateReply>, Status> {
        let Caller::Peer(peer) = Caller::of(request.extensions()) else {
            return Err(Status::unauthenticated("show the certificate that is to be replaced"));
        };
        let RotateRequest { request_pem } = request.into_inner();
        let (ca, now_ms, node) = (self.clone(), self.clock.now_ms(), NodeId(peer.name().to_owned()));
        let signing =
            self.signing(move || ca.authority.rotate(peer.name(), &request_pem, ca.lifetime, now_ms));
        let rotated = signing.await;
        if rotated.is_ok() {
            tracing::info!(%node, "a node's certificate was replaced");
        }
        self.reply(&node.0, rotated)
    }
}
