//! The certificate and key of this process, which may change while it runs: from files that are looked at again, or
//! given anew by the process itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::client::{Resumption, WantsClientCert};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};

use super::connect::{Expected, PeerVerifier};
use super::peer::{Lifetime, lifetime};
use crate::lifecycle::Refused;

/// A certificate, its key and the CA, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    /// The CA's certificate.
    pub ca: Vec<u8>,
    /// The certificate chain.
    pub cert: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

/// Where a process's certificate is kept. Clones share it.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    files: Option<Files>,
    current: Mutex<Arc<Loaded>>,
}

struct Files {
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// What connections are made from.
pub(super) struct Loaded {
    material: Material,
    pub(super) server: Arc<ServerConfig>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    lifetime: Option<Lifetime>,
}

impl Credentials {
    /// Takes what is given; it holds until [`Credentials::replace`].
    ///
    /// # Errors
    /// It holds no usable certificate or key, or they do not fit.
    pub fn new(material: Material) -> Result<Self, Refused> {
        Ok(Self::of(Loaded::new(material)?, None))
    }

    /// Reads the files, which are looked at again before each handshake.
    ///
    /// # Errors
    /// A file cannot be read; else as for [`Credentials::new`].
    pub(super) fn from_files(ca: &Path, cert: &Path, key: &Path) -> Result<Self, Refused> {
        let files = Files { ca: ca.to_owned(), cert: cert.to_owned(), key: key.to_owned() };
        let loaded = Loaded::new(files.read()?)?;
        Ok(Self::of(loaded, Some(files)))
    }

    fn of(loaded: Loaded, files: Option<Files>) -> Self {
        Self(Arc::new(Shared { files, current: Mutex::new(Arc::new(loaded)) }))
    }

    /// Uses other material from the next handshake on. Connections that stand go on until their certificate ends.
    ///
    /// # Errors
    /// As for [`Credentials::new`]; the material of before stays.
    pub fn replace(&self, material: Material) -> Result<(), Refused> {
        *self.0.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Loaded::new(material)?);
        Ok(())
    }

    /// How long the certificate counts.
    pub fn lifetime(&self) -> Option<Lifetime> {
        self.current().lifetime
    }

    /// What holds now.
    pub(super) fn current(&self) -> Arc<Loaded> {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = &self.0.files {
            match files.read() {
                Ok(material) if material == current.material => {}
                Ok(material) => match Loaded::new(material) {
                    Ok(loaded) => {
                        tracing::info!(path = %files.cert.display(), "another certificate is used from now on");
                        *current = Arc::new(loaded);
                    }
                    // The three are not replaced in one step.
                    Err(refused) => tracing::warn!(%refused, "the certificate of before is kept"),
                },
                Err(refused) => tracing::warn!(%refused, "the certificate of before is kept"),
            }
        }
        current.clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("lifetime", &self.lifetime()).finish_non_exhaustive()
    }
}

impl Files {
    fn read(&self) -> Result<Material, Refused> {
        Ok(Material {
            ca: read(&self.ca, "ORCH_TLS_CA")?,
            cert: read(&self.cert, "ORCH_TLS_CERT")?,
            key: read(&self.key, "ORCH_TLS_KEY")?,
        })
    }
}

impl Loaded {
    fn new(material: Material) -> Result<Self, Refused> {
        let provider = Arc::new(ring::default_provider());
        let roots = roots(&material.ca)?;
        // A caller may come without a certificate, not with a foreign one: what it may do then is the listener's business.
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| Refused::new(format!("ORCH_TLS_CA: {error}")))?;
        let chain = certificates(&material.cert, "ORCH_TLS_CERT")?;
        let lifetime = chain.first().and_then(lifetime);
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(Refused::new)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key(&material.key)?)
            .map_err(|error| Refused::new(format!("ORCH_TLS_CERT and ORCH_TLS_KEY do not fit: {error}")))?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would carry a certificate past its end.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { material, server: Arc::new(server), roots, provider, lifetime })
    }

    /// For calling somebody in particular.
    pub(super) fn client(&self, expected: &Expected) -> Result<ClientConfig, Refused> {
        let client = expecting(self.roots.clone(), &self.provider, expected)?
            .with_client_auth_cert(
                certificates(&self.material.cert, "ORCH_TLS_CERT")?,
                key(&self.material.key)?,
            )
            .map_err(|error| Refused::new(format!("ORCH_TLS_CERT and ORCH_TLS_KEY do not fit: {error}")))?;
        Ok(over_http2(client))
    }
}

/// For calling without a certificate.
pub(super) fn stranger(ca: &[u8], expected: &Expected) -> Result<ClientConfig, Refused> {
    let provider = Arc::new(ring::default_provider());
    Ok(over_http2(expecting(roots(ca)?, &provider, expected)?.with_no_client_auth()))
}

fn expecting(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    expected: &Expected,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Refused> {
    let verifier = PeerVerifier::new(roots, provider, expected.clone());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Refused::new)?;
    // What is checked in place of a host's name is the peer's.
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)))
}

fn over_http2(mut client: ClientConfig) -> ClientConfig {
    client.alpn_protocols = vec![b"h2".to_vec()];
    client.resumption = Resumption::disabled();
    client
}

fn roots(ca: &[u8]) -> Result<Arc<RootCertStore>, Refused> {
    let mut roots = RootCertStore::empty();
    for cert in certificates(ca, "ORCH_TLS_CA")? {
        roots.add(cert).map_err(|error| Refused::new(format!("ORCH_TLS_CA: {error}")))?;
    }
    Ok(Arc::new(roots))
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>, Refused> {
    std::fs::read(path)
        .map_err(|error| Refused::new(format!("{setting}: could not read {}: {error}", path.display())))
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Refused> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| Refused::new(format!("ORCH_TLS_KEY: not a private key in PEM: {error}")))
}

pub(super) fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Refused::new(format!("{setting}: not certificates in PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(Refused::new(format!("{setting}: no certificate in the file")));
    }
    Ok(certificates)
}
