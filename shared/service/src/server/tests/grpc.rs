//! gRPC and plain HTTP on one port, in plaintext and over mutual TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::grpc::{SendTrace, call, channel, trace_layer};
use crate::health::{Metrics, Readiness, router};
use crate::settings::TlsSettings;

fn app() -> Router {
    let (_reporter, health) = tonic_health::server::health_reporter();
    router(Readiness::new(&[]), Metrics::new())
        .merge(Routes::new(health).into_axum_router())
        .layer(trace_layer())
}

async fn check(url: &str, tls: &TlsSettings) -> Result<i32, Status> {
    let mut client = HealthClient::with_interceptor(channel(url, tls).unwrap(), SendTrace);
    let request = HealthCheckRequest { service: String::new() };
    Ok(call(DEADLINE, client.check(request)).await?.into_inner().status)
}

/// A CA of its own, and settings with a certificate it signed for `localhost`.
fn certificates(folder: &Path) -> TlsSettings {
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let write = |name: &str, pem: String| {
        let path = folder.join(name);
        std::fs::write(&path, pem).unwrap();
        Some(path)
    };
    TlsSettings {
        tls_ca: write("ca.pem", ca.pem()),
        tls_cert: write("cert.pem", cert.pem()),
        tls_key: write("key.pem", key.serialize_pem()),
        allow_plaintext: false,
    }
}

#[tokio::test]
async fn grpc_and_health_share_a_port() {
    let server = start(app(), Limits::default(), None).await;
    let status_of = check(&format!("http://{}", server.addr), &TlsSettings::default()).await.unwrap();
    assert_eq!(status_of, ServingStatus::Serving as i32);
    let answer = server.exchange("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), "200");
    server.stop().await;
}

#[tokio::test]
async fn mutual_tls_serves_our_own_and_refuses_strangers() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = certificates(ours.path());
    let server = start(app(), Limits::default(), tls.acceptor().unwrap()).await;
    let url = format!("{}://localhost:{}", tls.scheme(), server.addr.port());
    assert_eq!(check(&url, &tls).await.unwrap(), ServingStatus::Serving as i32);

    // It trusts our CA, but its own certificate is signed by another one.
    let stranger = TlsSettings { tls_ca: tls.tls_ca.clone(), ..certificates(theirs.path()) };
    check(&url, &stranger).await.expect_err("the server refuses a stranger");
    // It is signed by our CA, but trusts another one.
    let distrusting = TlsSettings { tls_ca: certificates(theirs.path()).tls_ca, ..tls.clone() };
    check(&url, &distrusting).await.expect_err("the client refuses the server");
    let plaintext = format!("http://localhost:{}", server.addr.port());
    check(&plaintext, &TlsSettings::default()).await.expect_err("there is no way round TLS");
    server.stop().await;
}

#[tokio::test]
async fn tls_settings_that_do_not_fit_together_are_refused_by_name() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tls, foreign) = (certificates(one.path()), certificates(other.path()));
    let reason = |tls: TlsSettings| tls.acceptor().err().expect("a refusal").to_string();
    let missing = reason(TlsSettings { tls_key: None, ..tls.clone() });
    assert!(missing.contains("give all three or none"), "{missing}");
    let mixed = reason(TlsSettings { tls_key: foreign.tls_key, ..tls.clone() });
    assert!(mixed.starts_with("ORCH_TLS_CERT and ORCH_TLS_KEY do not fit"), "{mixed}");
    let swapped = reason(TlsSettings { tls_ca: tls.tls_key.clone(), ..tls.clone() });
    assert!(swapped.starts_with("ORCH_TLS_CA"), "{swapped}");
    let absent = reason(TlsSettings { tls_cert: Some("/nonexistent/cert".into()), ..tls });
    assert!(absent.starts_with("ORCH_TLS_CERT: could not read /nonexistent/cert"), "{absent}");
}
