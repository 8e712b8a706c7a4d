//! Requests to services of others, over HTTP/1.1 and TLS: one deadline for all of a call, a bounded answer, and errors
//! that never name the URL, since the URL may be the secret.
//!
//! Certificates are checked against the host's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are heard), so that a service
//! behind an operator's own CA is reached. Redirects are not followed and proxies not used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::lifecycle::Refused;

/// The most that is read of an answer.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Calls services of others. Clones share the client.
#[derive(Clone)]
pub struct Outbound(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// Why there was no answer. Its text and causes name no URL.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nothing came in time; the request may have arrived.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Deadline(Duration),
    /// The connection could not be made, or broke.
    #[error("could not connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer broke off, or is longer than what may be read of it.
    #[error("the answer could not be read")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Outbound {
    /// A client that trusts the host's roots.
    ///
    /// # Errors
    /// `urls` has an `https` one, and this host has no roots.
    pub fn new<'a>(urls: impl IntoIterator<Item = &'a Uri>) -> Result<Self, Refused> {
        let needs_roots = urls.into_iter().any(|url| url.scheme_str() == Some("https"));
        let config = client_config()?;
        let config = match config.with_native_roots() {
            Ok(config) => config.with_no_client_auth(),
            Err(error) if needs_roots => {
                return Err(Refused::new(format!(
                    "no certificates to check https with: install ca-certificates or set SSL_CERT_FILE ({error})"
                )));
            }
            Err(_) => client_config()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        Ok(Self::of(config))
    }

    fn of(config: ClientConfig) -> Self {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
        // A request now and then: a kept connection would mostly be found closed.
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    /// Posts `body`, and waits at most `deadline` for the whole answer.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn post(
        &self,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        self.send(Method::POST, url, headers, body, deadline).await
    }

    /// Asks for what is at `url`, and waits at most `deadline` for the whole answer.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn get(&self, url: &Uri, headers: HeaderMap, deadline: Duration) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, url, headers, Bytes::new(), deadline).await
    }

    async fn send(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, url.clone());
        *request.headers_mut() = headers;
        self.call(request, deadline, ANSWER_BYTES_MAX).await
    }

    /// Sends any request, and waits at most `deadline` for the whole answer of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn call(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Duration,
        bytes_max: usize,
    ) -> Result<Answer, NoAnswer> {
        let call = async {
            let answer = self.0.request(request).await.map_err(|error| NoAnswer::Connect(error.into()))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, bytes_max).collect().await.map_err(NoAnswer::Answer)?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::time::timeout(deadline, call).await.map_err(|_| NoAnswer::Deadline(deadline))?
    }
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

type Unrooted = tokio_rustls::rustls::ConfigBuilder<ClientConfig, tokio_rustls::rustls::WantsVerifier>;

fn client_config() -> Result<Unrooted, Refused> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Refused::new)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    const SECRET: &str = "hunter2";
    const SOON: Duration = Duration::from_secs(10);

    /// What an error says, with all its causes and its debug form.
    fn all_of(error: &NoAnswer) -> String {
        let mut text = format!("{error:?}");
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            text = format!("{text} {error}");
            cause = error.source();
        }
        text
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn url(scheme: &str, port: u16) -> Uri {
        format!("{scheme}://localhost:{port}/bot{SECRET}/send?key={SECRET}").parse().unwrap()
    }

    async fn post(client: &Outbound, url: &Uri, deadline: Duration) -> Result<Answer, NoAnswer> {
        client.post(url, HeaderMap::new(), Bytes::from_static(b"{}"), deadline).await
    }

    #[tokio::test]
    async fn https_is_checked_against_the_roots() {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let (listener, port) = listener().await;
        let serve = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = [0_u8; 4096];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"POST /bothunter2/send?key=hunter2 HTTP/1.1\r\n"));
                stream.write_all(b"HTTP/1.1 429 Slow\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        };
        let call = async {
            let mut roots = RootCertStore::empty();
            let stranger = Outbound::of(
                client_config().unwrap().with_root_certificates(roots.clone()).with_no_client_auth(),
            );
            let refused = post(&stranger, &url("https", port), SOON).await.unwrap_err();
            assert!(all_of(&refused).contains("UnknownIssuer"), "{}", all_of(&refused));
            assert!(!all_of(&refused).contains(SECRET), "{}", all_of(&refused));
            roots.add(cert.der().clone()).unwrap();
            let friend =
                Outbound::of(client_config().unwrap().with_root_certificates(roots).with_no_client_auth());
            let answer = post(&friend, &url("https", port), SOON).await.unwrap();
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (429, &b"no"[..]));
        };
        tokio::select! { () = serve => {}, () = call => {} }
    }

    #[tokio::test]
    async fn no_failure_names_the_url() {
        let (listener, port) = listener().await;
        let client = Outbound::new([]).unwrap();
        // Takes the connection and says nothing.
        let hung = post(&client, &url("http", port), Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(hung, NoAnswer::Deadline(_)), "{hung:?}");
        // Says too much.
        let endless = async {
            // The first connection is the one that hung.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0_u8; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", ANSWER_BYTES_MAX + 1);
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&vec![b'x'; ANSWER_BYTES_MAX + 1]).await;
            }
            std::future::pending::<()>().await;
        };
        let endless_url = url("http", port);
        let long = tokio::select! {
            () = endless => unreachable!(),
            long = post(&client, &endless_url, SOON) => long.unwrap_err(),
        };
        assert!(matches!(long, NoAnswer::Answer(_)), "{long:?}");
        drop(listener);
        let gone = post(&client, &url("http", port), SOON).await.unwrap_err();
        assert!(matches!(gone, NoAnswer::Connect(_)), "{gone:?}");
        let nowhere: Uri = format!("http://nowhere.invalid/bot{SECRET}").parse().unwrap();
        let unknown = post(&client, &nowhere, SOON).await.unwrap_err();
        for error in [&hung, &long, &gone, &unknown] {
            assert!(!all_of(error).contains(SECRET), "{}", all_of(error));
        }
    }
}
