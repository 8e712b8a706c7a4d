//! What the node says of itself and does on the scheduler's word, and what it shows to whoever asks.

mod common;

use std::time::Duration;

use common::*;
use domain::outcome::EndedBy;
use proto::v1::{InfoRequest, LaunchStatus, ListRequest, RunPhase, WatchRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One HTTP/1 request; status line and body.
#[expect(clippy::unwrap_used, reason = "part of the tests")]
async fn get(addr: std::net::SocketAddr, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: runner\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_node_describes_itself_and_shows_its_health_on_the_same_port() {
    let place = Place::new("");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let options = runner::Options { labels: vec!["gpu".to_owned()], slots: 3, ..place.options(&scheduler) };
    let mut runner = InProcess::start(options, &scheduler).await;
    let node = scheduler.script().node.clone().unwrap();
    assert_eq!(
        (node.slots, node.labels.clone(), node.account.as_str()),
        (3, vec!["gpu".to_owned()], "default")
    );
    assert_eq!(node.advertise_url, format!("http://{}", runner.handle.addr));
    assert_eq!(node.node_id, runner.handle.node.0);
    assert_eq!(
        node.preflight.as_ref().map(|it| (it.ok, it.version.clone())),
        Some((true, Some("2.1.330".to_owned())))
    );
    let info = runner.client.info(InfoRequest {}).await.unwrap().into_inner().node.unwrap();
    assert_eq!(
        (info.node_id, info.incarnation, info.boot_id),
        (node.node_id, node.incarnation, node.boot_id)
    );

    assert!(get(runner.handle.addr, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(get(runner.handle.addr, "/metrics").await.contains("orch_runner_slots 3"));
    eventually("readiness", async || {
        get(runner.handle.addr, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    scheduler.script().renew_unavailable = true;
    eventually("unreadiness", async || {
        let answer = get(runner.handle.addr, "/readyz").await;
        (answer.starts_with("HTTP/1.1 503") && answer.contains("could not renew")).then_some(())
    })
    .await;
    runner.stop().await;
}

#[tokio::test]
async fn a_scheduler_that_forgot_the_node_is_told_again_with_what_is_held() {
    let place = Place::new("until [ -e $HERE/go ]; do sleep 0.05; done");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    eventually("the spawn", async || (place.spawns() == 1).then_some(())).await;
    scheduler.script().renew_error = Some(tonic::Code::FailedPrecondition);
    let again = eventually("a second registration", async || {
        let script = scheduler.script();
        (script.registrations.len() > 1).then(|| script.registrations[1].clone())
    })
    .await;
    assert_eq!(
        again.held.iter().map(|held| (held.run.clone().unwrap(), held.phase())).collect::<Vec<_>>(),
        [(run.clone(), RunPhase::Started)]
    );
    assert_eq!(again.session, scheduler.script().registrations[0].session);
    scheduler.script().renew_error = None;
    std::fs::write(place.file("go"), "").unwrap();
    assert_eq!(watch(&mut runner.client, &run, 0).await.outcome.ended_by, EndedBy::Agent);
    runner.stop().await;
}

#[tokio::test]
async fn a_superseded_session_takes_no_more_work() {
    let place = Place::new("");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    scheduler.script().renew_error = Some(tonic::Code::Aborted);
    let mut epoch = 0;
    eventually("the end of work", async || {
        epoch += 1;
        let status = launch(&mut runner.client, runner.incarnation, &key(epoch), spec("")).await;
        (status == LaunchStatus::Draining).then_some(())
    })
    .await;
    runner.stop().await;
}

#[tokio::test]
async fn another_database_generation_ends_what_is_held() {
    let place = Place::new("sleep 608");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    eventually("the spawn", async || (place.spawns() == 1).then_some(())).await;
    {
        let mut script = scheduler.script();
        script.generation = 2;
        script.renew_error = Some(tonic::Code::FailedPrecondition);
    }
    assert_eq!(watch(&mut runner.client, &run, 0).await.outcome.ended_by, EndedBy::SelfFenced);
    runner.stop().await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_up_nobody() {
    let place = Place::new("head -c 30000000 /dev/zero");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let idle = runner.client.watch(WatchRequest { run: Some(run.clone()), offset: 0 }).await.unwrap();
    eventually("the end of the run", async || {
        let runs = runner.client.list(ListRequest {}).await.unwrap().into_inner().runs;
        (runs.first()?.phase() == RunPhase::Ended).then_some(())
    })
    .await;
    drop(idle);
    assert_eq!(watch(&mut runner.client, &run, 0).await.bytes.len(), 30_000_000);
    runner.stop().await;
}

#[tokio::test]
async fn a_silent_run_shows_that_its_stream_lives() {
    let place = Place::new("sleep 609");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    eventually("the spawn", async || (place.spawns() == 1).then_some(())).await;
    let mut stream =
        runner.client.watch(WatchRequest { run: Some(run.clone()), offset: 0 }).await.unwrap().into_inner();
    let frame =
        tokio::time::timeout(Duration::from_secs(8), stream.message()).await.unwrap().unwrap().unwrap();
    let heartbeat = proto::v1::Heartbeat { phase: RunPhase::Started.into(), progress_json: None };
    assert_eq!(frame.frame, Some(proto::v1::watch_frame::Frame::Heartbeat(heartbeat)));
    assert_eq!(runner.handle.end_agents(SOON).await, 0);
    runner.stop().await;
}
