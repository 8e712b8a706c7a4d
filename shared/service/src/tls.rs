//! Mutual TLS between our own processes, from the three files of [`TlsSettings`].
//!
//! Both sides show a certificate signed by the one CA; there is no TLS without client certificates here.
//! Browsers and webhook senders are served by a proxy in front, not by this.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::lifecycle::Refused;
use crate::settings::TlsSettings;

/// The contents of the three files.
struct Material {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl TlsSettings {
    /// `https` with certificates, `http` without: for URLs derived from an address.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// Whether certificates are given.
    pub fn is_on(&self) -> bool {
        self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_key.is_some()
    }

    /// What a listener needs; none without certificates.
    ///
    /// # Errors
    /// Not all three are given, a file cannot be read, or it holds no usable certificate or key.
    pub fn acceptor(&self) -> Result<Option<TlsAcceptor>, Refused> {
        let Some(material) = self.material()? else { return Ok(None) };
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for cert in certificates(&material.ca, "ORCH_TLS_CA")? {
            roots.add(cert).map_err(|error| Refused::new(format!("ORCH_TLS_CA: {error}")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .map_err(|error| Refused::new(format!("ORCH_TLS_CA: {error}")))?;
        let chain = certificates(&material.cert, "ORCH_TLS_CERT")?;
        let key = PrivateKeyDer::from_pem_slice(&material.key)
            .map_err(|error| Refused::new(format!("ORCH_TLS_KEY: not a private key in PEM: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Refused::new)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| Refused::new(format!("ORCH_TLS_CERT and ORCH_TLS_KEY do not fit: {error}")))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// What a gRPC client needs; none without certificates. Errors as for [`TlsSettings::acceptor`].
    pub(crate) fn client(&self) -> Result<Option<ClientTlsConfig>, Refused> {
        let Some(material) = self.material()? else { return Ok(None) };
        let identity = Identity::from_pem(&material.cert, &material.key);
        Ok(Some(
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&material.ca)).identity(identity),
        ))
    }

    fn material(&self) -> Result<Option<Material>, Refused> {
        match (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => Ok(Some(Material {
                ca: read(ca, "ORCH_TLS_CA")?,
                cert: read(cert, "ORCH_TLS_CERT")?,
                key: read(key, "ORCH_TLS_KEY")?,
            })),
            (_, _, _) => Err(Refused::new(
                "ORCH_TLS_CA, ORCH_TLS_CERT and ORCH_TLS_KEY belong together: give all three or none",
            )),
        }
    }
}

fn read(path: &Path, setting: &str) -> Result<Vec<u8>, Refused> {
    std::fs::read(path)
        .map_err(|error| Refused::new(format!("{setting}: could not read {}: {error}", path.display())))
}

fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| Refused::new(format!("{setting}: not certificates in PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(Refused::new(format!("{setting}: no certificate in the file")));
    }
    Ok(certificates)
}
