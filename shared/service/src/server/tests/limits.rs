//! Time, number and end of connections.

use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::routing::get;
use tokio::sync::{Notify, mpsc};

use super::*;

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_cut() {
    let server = start(hello(), Limits { header_read: SHORT, ..Limits::default() }, None).await;
    let answer = server.exchange("GET / HTTP/1.1\r\nHost:").await;
    assert!(answer.is_empty() || status(&answer) == "408", "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_or_half_an_http2_preface_is_cut() {
    let server = start(hello(), Limits { first_request: SHORT, ..Limits::default() }, None).await;
    assert_eq!(server.exchange("").await, "");
    assert_eq!(server.exchange("PRI * HTTP/2.0\r\n").await, "");
    server.stop().await;
}

#[tokio::test]
async fn an_http2_client_that_no_longer_answers_pings_is_cut() {
    let limits = Limits { keepalive_interval: SHORT, keepalive_timeout: SHORT, ..Limits::default() };
    let server = start(hello(), limits, None).await;
    let empty_settings = "\0\0\0\u{4}\0\0\0\0\0";
    server.exchange(&format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{empty_settings}")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_connection_at_rest_is_closed() {
    let server = start(hello(), Limits { idle: SHORT, ..Limits::default() }, None).await;
    let answer = server.exchange(GET).await;
    assert!(status(&answer) == "200" && answer.ends_with("hello"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_slow_answer_is_not_idle() {
    let app = Router::new().route(
        "/",
        get(async || {
            tokio::time::sleep(SHORT * 3).await;
            "hello"
        }),
    );
    let server = start(app, Limits { idle: SHORT, first_request: SHORT, ..Limits::default() }, None).await;
    assert_eq!(status(&server.exchange(GET).await), "200");
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let server = start(hello(), Limits { connections_max: 1, ..Limits::default() }, None).await;
    let mut first = server.connect().await;
    first.write_all(GET.as_bytes()).await.unwrap();
    read_answer(&mut first, "hello").await;
    let mut second = server.connect().await;
    second.write_all(GET.as_bytes()).await.unwrap();
    let early = tokio::time::timeout(SHORT, second.readable()).await;
    assert!(early.is_err(), "no answer while the place is taken");
    drop(first);
    read_answer(&mut second, "hello").await;
    drop(second);
    server.stop().await;
}

#[tokio::test]
async fn a_graceful_stop_finishes_the_request_in_progress_and_closes_resting_connections() {
    let (entered, mut entries) = mpsc::channel(1);
    let release = Arc::new(Notify::new());
    let released = release.clone();
    let app = hello().route(
        "/slow",
        get(async move || {
            entered.send(()).await.unwrap();
            released.notified().await;
            "done"
        }),
    );
    let server = start(app, Limits::default(), None).await;
    let mut resting = server.connect().await;
    resting.write_all(GET.as_bytes()).await.unwrap();
    read_answer(&mut resting, "hello").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    entries.recv().await.unwrap();

    server.tasks.stop();
    assert_eq!(read_to_close(&mut resting).await, "");
    release.notify_one();
    let answer = read_to_close(&mut busy).await;
    assert!(status(&answer) == "200" && answer.ends_with("done"), "{answer}");
    let addr = server.addr;
    server.stop().await;
    assert!(TcpStream::connect(addr).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_does_not_end_by_itself_is_cut_at_the_drain_deadline() {
    let (entered, mut entries) = mpsc::channel::<()>(1);
    let app = Router::new().route(
        "/",
        get(async move || {
            entered.send(()).await.unwrap();
            std::future::pending::<()>().await;
        }),
    );
    let server = start(app, Limits { drain: SHORT, ..Limits::default() }, None).await;
    let mut stream = server.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    entries.recv().await.unwrap();
    server.stop().await;
    assert_eq!(read_to_close(&mut stream).await, "");
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_connection() {
    let endless = async || {
        let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 65_536]));
        axum::body::Body::from_stream(chunks)
    };
    let limits = Limits { unread: SHORT, connections_max: 1, ..Limits::default() };
    let server = start(hello().route("/endless", get(endless)), limits, None).await;
    let mut deaf = server.connect().await;
    deaf.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // The only place becomes free although the deaf client is still there.
    assert_eq!(status(&server.exchange(GET_AND_CLOSE).await), "200");
    drop(deaf);
    server.stop().await;
}

#[tokio::test]
async fn a_panicking_handler_answers_500_and_the_process_goes_on() {
    let app = hello().route("/bug", get(async || -> &'static str { panic!("bug") }));
    let server = start(app, Limits::default(), None).await;
    let answer = server.exchange("GET /bug HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), "500");
    assert_eq!(status(&server.exchange(GET_AND_CLOSE).await), "200");
    assert_eq!(server.tasks.panicked(), None);
    server.stop().await;
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let server = start(hello(), Limits::default(), None).await;
    let many = "x: y\r\n".repeat(200);
    let answer = server.exchange(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert_eq!(status(&answer), "431");
    server.stop().await;
}

#[tokio::test]
async fn handlers_see_the_peer() {
    let whoami = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| format!("peer={peer};");
    let server = start(Router::new().route("/", get(whoami)), Limits::default(), None).await;
    let mut stream = server.connect().await;
    stream.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    let me = stream.local_addr().unwrap();
    assert!(read_to_close(&mut stream).await.ends_with(&format!("peer={me};")));
    server.stop().await;
}

#[tokio::test]
async fn a_source_that_holds_its_share_is_closed_and_others_are_served() {
    let limits = Limits { connections_per_source_max: 2, ..Limits::default() };
    let server = start(hello(), limits, None).await;
    let mut held = [server.connect_from(2).await, server.connect_from(2).await];
    for stream in &mut held {
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_answer(stream, "hello").await;
    }
    assert_eq!(read_to_close(&mut server.connect_from(2).await).await, "");
    let mut other = server.connect_from(3).await;
    other.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    assert_eq!(status(&read_to_close(&mut other).await), "200");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn held_connections_of_one_source_give_way_to_another_source() {
    let limits = Limits { connections_max: 4, ..Limits::default() };
    let server = start(hello(), limits, None).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = server.connect_from(2).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_answer(&mut stream, "hello").await;
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Le").await.unwrap();
        slow.push(stream);
    }
    let mut other = server.connect_from(3).await;
    other.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    assert_eq!(status(&read_to_close(&mut other).await), "200");
    assert_eq!(read_to_close(&mut slow[3]).await, "", "the newest was cut");
    server.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_may_hold_any_number() {
    let proxies = Proxies::new(vec!["127.0.0.2".parse().unwrap()]);
    let limits = Limits { connections_per_source_max: 1, proxies, ..Limits::default() };
    let server = start(hello(), limits, None).await;
    let mut held = [server.connect_from(2).await, server.connect_from(2).await];
    for stream in &mut held {
        stream.write_all(GET.as_bytes()).await.unwrap();
        read_answer(stream, "hello").await;
    }
    drop(held);
    server.stop().await;
}
