//! gRPC and plain HTTP on one port, in plaintext and over mutual TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::grpc::{
    SendTrace, call, channel, channel_in_turn, channel_of_stranger, channel_to_node, trace_layer,
};
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

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap())
    }

    /// Settings with a certificate for whoever the names name.
    fn issue(&self, folder: &Path, names: &[&str]) -> TlsSettings {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names =
            names.iter().map(|name| SanType::URI((*name).to_owned().try_into().unwrap())).collect();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let write = |name: &str, pem: String| {
            let path = folder.join(name);
            std::fs::write(&path, pem).unwrap();
            Some(path)
        };
        TlsSettings {
            tls_ca: write("ca.pem", self.0.pem()),
            tls_cert: write("cert.pem", cert.pem()),
            tls_key: write("key.pem", key.serialize_pem()),
            ..TlsSettings::default()
        }
    }
}

const SCHEDULER: &str = "orch://scheduler/main";

/// A CA of its own, and settings with a certificate it signed for a scheduler.
fn certificates(folder: &Path) -> TlsSettings {
    Ca::new().issue(folder, &[SCHEDULER])
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

/// An app that says which one it is.
fn named(name: &'static str) -> Router {
    let (reporter, health) = tonic_health::server::health_reporter();
    let app = Routes::new(health).into_axum_router();
    // Set before anybody asks: the reporter's lock is free.
    futures::executor::block_on(reporter.set_service_status(name, tonic_health::ServingStatus::Serving));
    app
}

/// Which of the places answers.
async fn who(
    client: &mut HealthClient<tonic::transport::Channel>,
    names: &[&'static str],
) -> Option<&'static str> {
    for name in names {
        let request = HealthCheckRequest { service: (*name).to_owned() };
        match call(DEADLINE, client.check(request)).await {
            Ok(_) => return Some(name),
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(_) => return None,
        }
    }
    None
}

#[tokio::test]
async fn of_several_places_the_first_that_answers_is_used_until_it_is_lost_or_left() {
    let (folder, names) = (tempfile::tempdir().unwrap(), ["a", "b"]);
    for tls in [TlsSettings::default(), certificates(folder.path())] {
        let a = start(named("a"), Limits::default(), tls.acceptor().unwrap()).await;
        let b = start(named("b"), Limits::default(), tls.acceptor().unwrap()).await;
        let url = |port: u16| format!("{}://localhost:{port}", tls.scheme());
        // Nobody is at the first.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let urls = [nobody, a.addr.port(), b.addr.port()].map(url).join(",");
        let (channel, elsewhere) = channel_in_turn(&urls, &tls).unwrap();
        let mut client = HealthClient::new(channel);
        assert_eq!(who(&mut client, &names).await, Some("a"));
        assert_eq!(who(&mut client, &names).await, Some("a"), "it stays");
        // Whoever leaves may lose a call, and finds the next place after it.
        let mut answers = Vec::new();
        elsewhere.go();
        while answers.len() < 100 && answers.last() != Some(&Some("b")) {
            answers.push(who(&mut client, &names).await);
        }
        assert_eq!(answers.last(), Some(&Some("b")), "{answers:?}");
        b.stop().await;
        let mut answers = Vec::new();
        while answers.len() < 100 && answers.last() != Some(&Some("a")) {
            answers.push(who(&mut client, &names).await);
        }
        assert_eq!(answers.last(), Some(&Some("a")), "{answers:?}");
        a.stop().await;
        let nowhere = call(DEADLINE, client.check(HealthCheckRequest::default())).await.unwrap_err();
        assert_eq!(nowhere.code(), tonic::Code::Unavailable);
    }
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
async fn whoever_answers_must_be_whom_the_caller_expects_and_a_caller_must_be_somebody() {
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let ca = Ca::new();
    let [scheduler, node, other, two] = [
        (&folders[0], &[SCHEDULER][..]),
        (&folders[1], &["orch://node/a"]),
        (&folders[2], &["https://example.org"]),
        (&folders[3], &["orch://node/a", "orch://node/b"]),
    ]
    .map(|(folder, names)| ca.issue(folder.path(), names));
    let server = start(app(), Limits::default(), node.acceptor().unwrap()).await;
    let url = format!("https://127.0.0.1:{}", server.addr.port());
    check(&url, &scheduler).await.expect_err("a node is no scheduler");
    let ask = async |tls: &TlsSettings, expected: &str| {
        let mut client = HealthClient::new(channel_to_node(&url, tls, expected).unwrap());
        call(DEADLINE, client.check(HealthCheckRequest { service: String::new() })).await
    };
    ask(&scheduler, "a").await.expect("the node itself");
    ask(&scheduler, "b").await.expect_err("another node");
    for nobody in [&other, &two] {
        ask(nobody, "a").await.expect_err("its certificate names nobody, or two");
    }
    let ca = std::fs::read(node.tls_ca.as_ref().unwrap()).unwrap();
    let stranger = channel_of_stranger(&url, &ca).unwrap();
    let mut stranger = HealthClient::new(stranger);
    call(DEADLINE, stranger.check(HealthCheckRequest { service: String::new() })).await.expect_err("a node");
    server.stop().await;

    let server = start(app(), Limits::default(), scheduler.acceptor().unwrap()).await;
    let url = format!("https://127.0.0.1:{}", server.addr.port());
    let mut stranger = HealthClient::new(channel_of_stranger(&url, &ca).unwrap());
    let refused = call(DEADLINE, stranger.check(HealthCheckRequest { service: String::new() })).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::Unauthenticated);
    server.stop().await;
    let opening =
        scheduler.acceptor().unwrap().map(|acceptor| acceptor.opening("/grpc.health.v1.Health/Check"));
    let server = start(app(), Limits::default(), opening).await;
    let url = format!("https://127.0.0.1:{}", server.addr.port());
    let mut stranger = HealthClient::new(channel_of_stranger(&url, &ca).unwrap());
    call(DEADLINE, stranger.check(HealthCheckRequest { service: String::new() }))
        .await
        .expect("it is opened");
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_replaced_counts_from_the_next_connection_on() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (before, after) = (Ca::new(), Ca::new());
    let tls = before.issue(folder.path(), &[SCHEDULER]);
    let server = start(app(), Limits::default(), tls.acceptor().unwrap()).await;
    let url = format!("https://127.0.0.1:{}", server.addr.port());
    let new = after.issue(elsewhere.path(), &[SCHEDULER]);
    check(&url, &tls).await.expect("of the same CA");
    check(&url, &new).await.expect_err("of another CA");
    after.issue(folder.path(), &[SCHEDULER]);
    check(&url, &new).await.expect("the files of the server were replaced");
    // What does not fit together leaves what was.
    std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
    check(&url, &new).await.expect("a half of a new one changes nothing");
    server.stop().await;
}

#[tokio::test]
async fn tls_settings_that_do_not_fit_together_are_refused_by_name() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (tls, foreign) = (certificates(one.path()), certificates(other.path()));
    let reason = |tls: TlsSettings| tls.acceptor().expect_err("a refusal").to_string();
    let missing = reason(TlsSettings { tls_key: None, ..tls.clone() });
    assert!(missing.contains("give all three or none"), "{missing}");
    let mixed = reason(TlsSettings { tls_key: foreign.tls_key, ..tls.clone() });
    assert!(mixed.starts_with("ORCH_TLS_CERT and ORCH_TLS_KEY do not fit"), "{mixed}");
    let swapped = reason(TlsSettings { tls_ca: tls.tls_key.clone(), ..tls.clone() });
    assert!(swapped.starts_with("ORCH_TLS_CA"), "{swapped}");
    let absent = reason(TlsSettings { tls_cert: Some("/nonexistent/cert".into()), ..tls });
    assert!(absent.starts_with("ORCH_TLS_CERT: could not read /nonexistent/cert"), "{absent}");
}
