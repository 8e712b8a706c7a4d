//! A flood of bad webhooks and of connections that are only held, and the good webhooks beside them.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use anyhow::ensure;
use e2e::harness::{Service, Stack};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::shop::{shop, webhook};

/// Connections that ingest may have in this test.
const PLACES: usize = 64;
/// Refusals before 429.
const BURST: usize = 100;

#[tokio::test]
async fn good_webhooks_are_taken_beside_held_connections_and_a_flood_of_bad_ones() -> anyhow::Result<()> {
    let mut stack = shop()
        .env("ORCH_CONNECTIONS_MAX", &PLACES.to_string())
        .env("ORCH_REFUSED_BURST", &BURST.to_string())
        .env("ORCH_REFUSED_PER_SECOND", "1")
        .runners(0)
        .lay_out()?;
    stack.process(Service::Ingest).start().await?;
    let ingest = stack.addr(Service::Ingest);
    // As many as there are places, each with half a head or half a body.
    let mut held = Vec::new();
    for number in 0..PLACES {
        let mut stream = connect(2, ingest).await?;
        let half = if number % 2 == 0 { "POST /webhooks/gitea HTTP/1.1\r\nHost" } else { HALF_A_BODY };
        stream.write_all(half.as_bytes()).await?;
        held.push(stream);
    }
    let flood = try_join_all((0..BURST * 5).map(|_| refused_status(ingest)));
    let (refused, ()) = tokio::try_join!(flood, deliver(&stack, 1..=200))?;
    let too_many = refused.iter().filter(|status| **status == Some(429)).count();
    let unsigned = refused.iter().filter(|status| **status == Some(401)).count();
    ensure!(
        too_many > 0 && (1..=BURST * 2).contains(&unsigned),
        "{unsigned} times 401, {too_many} times 429"
    );
    ensure!(refused.iter().flatten().all(|status| [401, 429].contains(status)), "{refused:?}");
    deliver(&stack, 201..=201).await?;
    let log = stack.process(Service::Ingest).log();
    let complaints = log.matches("webhook refused").count();
    ensure!(complaints <= BURST * 2, "{complaints} lines of a flood");
    ensure!(log.contains("too much from here was refused"), "{log}");
    drop(held);
    stack.finish().await
}

const HALF_A_BODY: &str = "POST /webhooks/gitea HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";

/// Good webhooks, one after the other; each must be taken.
async fn deliver(stack: &Stack, numbers: RangeInclusive<u64>) -> anyhow::Result<()> {
    for number in numbers {
        let answer = stack.deliver(&webhook(stack, "gitea.push", number, "please")).await?;
        ensure!(answer.status == 202, "{answer:?}");
    }
    Ok(())
}

/// What an unsigned webhook is answered; none where the connection was closed without a word.
async fn refused_status(ingest: SocketAddr) -> anyhow::Result<Option<u16>> {
    let mut stream = connect(3, ingest).await?;
    let request = "POST /webhooks/gitea HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                   Connection: close\r\nContent-Length: 2\r\n\r\n{}";
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_err() || stream.read_to_end(&mut answer).await.is_err() {
        return Ok(None);
    }
    Ok(String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok()))
}

async fn connect(host: u8, ingest: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    Ok(socket.connect(ingest).await?)
}
