//! The caller's side: a connection to somebody in particular, known by the name in its certificate rather than by
//! where it was reached.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::credentials::{Credentials, stranger};
use super::peer::{PeerName, Role};
use crate::lifecycle::Refused;

/// Who must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Anybody of a role.
    Any(Role),
    /// One peer.
    One(PeerName),
}

impl Expected {
    fn is(&self, name: &PeerName) -> bool {
        match self {
            Self::Any(role) => name.role() == *role,
            Self::One(expected) => name == expected,
        }
    }
}

/// Makes connections with the certificate that holds at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    config: Config,
    expected: Expected,
}

#[derive(Clone, Debug)]
enum Config {
    Ours(Credentials),
    Fixed(Arc<ClientConfig>),
}

impl Connector {
    pub(crate) fn new(credentials: Credentials, expected: Expected) -> Self {
        Self { config: Config::Ours(credentials), expected }
    }

    /// For somebody who has no certificate yet, and trusts this CA (PEM).
    pub(crate) fn of_stranger(ca: &[u8], expected: Expected) -> Result<Self, Refused> {
        let config = stranger(ca, &expected)?;
        Ok(Self { config: Config::Fixed(Arc::new(config)), expected })
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let unfit = || io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no host and port"));
        let host = uri.host().ok_or_else(unfit)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        let config = match &self.config {
            Config::Ours(credentials) => {
                Arc::new(credentials.current().client(&self.expected).map_err(io::Error::other)?)
            }
            Config::Fixed(config) => config.clone(),
        };
        let name = ServerName::try_from(host).map_err(|_| unfit())?;
        TlsConnector::from(config).connect(name, stream).await.map(TokioIo::new)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Checks that a certificate is of our CA, counts now, and names whom we expect.
pub(super) struct PeerVerifier {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: Expected,
}

impl PeerVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider, expected: Expected) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms, expected }
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        match PeerName::of(end_entity) {
            Some(name) if self.expected.is(&name) => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
