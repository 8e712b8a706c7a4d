//! The forge: what it has, what it refuses, and that the credential stays with the calls that need it.

use std::sync::{Arc, Mutex};

use domain::workspace::WorkspaceFault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const TOKEN: &str = "s3cret-t0ken";
/// `orch:s3cret-t0ken`.
const BASIC: &str = "authorization: basic b3jjadpzm2nyzxqtddbrzw4=";

#[tokio::test]
async fn a_forks_commit_is_fetched_by_its_pull_request() {
    let place = Place::new();
    let head = place.commit("fork", &[("fork.txt", "from a fork\n")]);
    place.git("forge.git", &["update-ref", "refs/pull/7/head", &head]);
    place.git("forge.git", &["update-ref", "-d", "refs/heads/fork"]);
    let key = "acme/shop#7";
    let spec = Spec {
        head: Some(head.clone()),
        head_rule: HeadRule::Exactly,
        pull_request: Some(7),
        ..place.spec(key)
    };
    let made = place.prepare(key, &spec).await.unwrap();
    assert_eq!(
        (made.head.as_str(), read(&made, "fork.txt").as_deref()),
        (head.as_str(), Some("from a fork\n"))
    );
    assert_eq!(made.branch, "orch/acme/shop#7");
    // Without its number the forge is asked for the commit itself, which not every one gives.
    place.git("forge.git", &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let other = place.commit("gone", &[("gone.txt", "x\n")]);
    place.git("forge.git", &["update-ref", "-d", "refs/heads/gone"]);
    let spec = Spec { head: Some(other.clone()), pull_request: None, ..spec };
    assert_eq!(place.prepare_for(key, &spec, run(2), 2, false).await.unwrap().head, other);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let place = Place::new();
    let refusal = async |spec: Spec| place.prepare("SHOP-1", &spec).await.unwrap_err();
    let commit = refusal(Spec { head: Some("a".repeat(40)), ..place.spec("SHOP-1") }).await;
    assert_eq!(commit.fault, WorkspaceFault::Missing);
    assert!(
        commit.error.starts_with(&format!("the commit {} is not in", "a".repeat(40))),
        "{}",
        commit.error
    );
    let base = refusal(Spec { base: Some("trunk".to_owned()), ..place.spec("SHOP-1") }).await;
    assert_eq!(base.fault, WorkspaceFault::Missing);
    assert!(base.error.contains("has no branch trunk: set `base`"), "{}", base.error);
    let url = refusal(Spec { clone_url: "/nowhere.git".to_owned(), ..place.spec("SHOP-1") }).await;
    assert_eq!(url.fault, WorkspaceFault::Missing);
    assert!(url.error.contains("look at `clone_url`"), "{}", url.error);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = refusal(Spec { clone_url: format!("http://{closed}/x.git"), ..place.spec("SHOP-1") }).await;
    assert_eq!(away.fault, WorkspaceFault::Network, "{}", away.error);
}

/// A forge that asks for a password and then answers with `status`; what it was asked, in lower case.
async fn forge(status: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/acme/shop.git", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    let serve = async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut chunk).await {
                    Ok(length @ 1..) => request.extend_from_slice(&chunk[..length]),
                    Ok(0) | Err(_) => break,
                }
            }
            let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let status = if request.contains("authorization:") { status } else { "401 Unauthorized" };
            let head =
                "www-authenticate: Basic realm=\"forge\"\r\ncontent-length: 0\r\nconnection: close\r\n";
            let answer = format!("HTTP/1.1 {status}\r\n{head}\r\n");
            kept.lock().unwrap().push(request);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a stand-in that ends with its test")]
    tokio::spawn(serve);
    (url, asked)
}

#[tokio::test]
async fn the_credential_is_given_to_the_forge_and_shown_nowhere() {
    let place = Place::with_token(Some(TOKEN));
    for (status, fault) in [
        ("403 Forbidden", WorkspaceFault::Auth),
        ("401 Unauthorized", WorkspaceFault::Auth),
        ("503 Service Unavailable", WorkspaceFault::Network),
        ("404 Not Found", WorkspaceFault::Missing),
    ] {
        let (url, asked) = forge(status).await;
        let refused =
            place.prepare("SHOP-1", &Spec { clone_url: url, ..place.spec("SHOP-1") }).await.unwrap_err();
        assert_eq!(refused.fault, fault, "{status}: {}", refused.error);
        assert!(!refused.error.contains(TOKEN), "{}", refused.error);
        let asked = asked.lock().unwrap();
        assert!(!asked[0].contains("authorization"), "only on demand: {}", asked[0]);
        assert!(asked.iter().any(|request| request.contains(BASIC)), "{asked:?}");
    }
    let without = Place::new();
    let (url, asked) = forge("200 OK").await;
    let refused =
        without.prepare("SHOP-1", &Spec { clone_url: url, ..without.spec("SHOP-1") }).await.unwrap_err();
    assert_eq!(refused.fault, WorkspaceFault::Auth);
    assert!(refused.error.contains("look at ORCH_GIT_TOKEN"), "{}", refused.error);
    assert!(asked.lock().unwrap().iter().all(|request| !request.contains("authorization")));
}

#[tokio::test]
async fn nothing_on_disk_has_the_credential() {
    let place = Place::with_token(Some(TOKEN));
    let made = place.prepare("SHOP-1", &place.spec("SHOP-1")).await.unwrap();
    let found = Command::new("grep")
        .args(["--recursive", "--files-with-matches", TOKEN])
        .arg(place.dir.path())
        .output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
    assert_eq!(
        git(&made.path, &["config", "--get-regexp", "user"]),
        "user.name Orch\nuser.email orch@localhost"
    );
}

#[tokio::test]
async fn a_forge_that_hangs_holds_a_preparation_only_until_it_is_dropped() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x.git", listener.local_addr().unwrap());
    let spec = Spec { clone_url: url.clone(), ..place.spec("SHOP-1") };
    tokio::select! {
        made = place.prepare("SHOP-1", &spec) => panic!("{made:?}"),
        accepted = listener.accept() => drop(accepted.unwrap()),
    }
    // Its git was told to go, and with it the lock goes: another item's preparation reaches the forge.
    let spec = Spec { branch: branch("SHOP-2"), ..spec };
    let again = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::select! {
            made = place.prepare("SHOP-2", &spec) => panic!("{made:?}"),
            accepted = listener.accept() => accepted.map(|_| ()),
        }
    });
    again.await.expect("in time").unwrap();
}
