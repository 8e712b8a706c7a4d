//! The load of the webhook figures: a closed loop over kept connections that costs the machine as little as it can.
//!
//! One push is made and laid out as bytes; each request after it patches the commit, the delivery id and the signature.
//! Load and service share the cores, so what the load spends is missing from both sides of every ratio.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use uuid::Uuid;

use crate::load::{Load, SECRET, push, spawn};

/// An answer is shorter; a longer one is a mistake.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
const SIGNATURE: &[u8] = b"x-gitea-signature: ";
const DELIVERY: &[u8] = b"x-gitea-delivery: ";
const HEX: usize = 32;

/// Posts distinct pushes to `addr` over `connections` connections for `length`; every answer must be 202.
pub(crate) async fn post_pushes(
    addr: SocketAddr,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Load> {
    let mut posters = Vec::with_capacity(connections);
    for _ in 0..connections {
        posters.push(Poster::open(addr).await?);
    }
    let begun = Instant::now();
    let until = begun + length;
    // Tasks of their own, so that the load may use both cores.
    let tasks = posters.into_iter().map(|mut poster| {
        spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                poster.request.renew();
                let sent = Instant::now();
                poster.post().await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for poster in try_join_all(tasks).await? {
        latencies.extend(poster?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let per_second = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Load { per_second, latencies })
}

struct Poster {
    stream: TcpStream,
    request: Pushes,
    answer: Vec<u8>,
}

impl Poster {
    async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Pushes::new(addr)?, answer: vec![0; ANSWER_BYTES_MAX] })
    }

    async fn post(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.request.bytes).await?;
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.answer[read..]).await?;
            ensure!(more > 0, "the connection was closed, or the answer is too long");
            read += more;
            if is_whole(&self.answer[..read])? {
                break;
            }
        }
        let answer = &self.answer[..read];
        ensure!(answer.starts_with(b"HTTP/1.1 202"), "answered {}", String::from_utf8_lossy(answer));
        Ok(())
    }
}

/// Whether a head and the body it announces are there.
fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    let Some(head) = find(answer, b"\r\n\r\n", 0) else { return Ok(false) };
    let name = find(&answer[..head], b"content-length: ", 0).context("an answer without a length")?;
    let digits = answer[name + 16..head].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Ok(answer.len() >= head + 4 + length)
}

/// Requests that differ in commit, delivery and signature.
struct Pushes {
    bytes: Vec<u8>,
    body: usize,
    /// Where the first digits of the commit are.
    commits: Vec<usize>,
    delivery: usize,
    signature: usize,
    last: u128,
    key: Hmac<Sha256>,
}

impl Pushes {
    fn new(addr: SocketAddr) -> anyhow::Result<Self> {
        let webhook = push();
        let mut bytes = format!("POST {} HTTP/1.1\r\nhost: {addr}\r\n", webhook.path).into_bytes();
        for (name, value) in &webhook.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", webhook.body.len()).as_bytes());
        let body = bytes.len();
        bytes.extend_from_slice(&webhook.body);
        let after = find(&bytes, b"\"after\":\"", body).context("a push without a commit")? + 9;
        let commit = bytes[after..after + HEX].to_vec();
        let mut commits = Vec::new();
        let mut from = body;
        while let Some(place) = find(&bytes, &commit, from) {
            commits.push(place);
            from = place + 1;
        }
        Ok(Self {
            delivery: find(&bytes, DELIVERY, 0).context("a push without a delivery")? + DELIVERY.len(),
            signature: find(&bytes, SIGNATURE, 0).context("a push without a signature")? + SIGNATURE.len(),
            bytes,
            body,
            commits,
            last: Uuid::new_v4().as_u128(),
            key: Hmac::new_from_slice(SECRET.as_bytes()).context("HMAC takes a key of any length")?,
        })
    }

    /// Makes the next request of the last one.
    fn renew(&mut self) {
        self.last = (self.last & !0xffff_ffff_ffff) | ((self.last + 1) & 0xffff_ffff_ffff);
        let id = Uuid::from_u128(self.last);
        let mut digits = [0; HEX];
        id.as_simple().encode_lower(&mut digits);
        for &place in &self.commits {
            self.bytes[place..place + HEX].copy_from_slice(&digits);
        }
        id.as_hyphenated().encode_lower(&mut self.bytes[self.delivery..self.delivery + 36]);
        let signature = self.key.clone().chain_update(&self.bytes[self.body..]).finalize().into_bytes();
        let place = &mut self.bytes[self.signature..self.signature + 64];
        // The place has the right length, which is the one thing that can be wrong.
        let _ = hex::encode_to_slice(signature, place);
    }
}

fn find(within: &[u8], what: &[u8], from: usize) -> Option<usize> {
    within[from..].windows(what.len()).position(|window| window == what).map(|place| place + from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use e2e::harness::sign;

    use super::*;

    #[test]
    fn each_request_is_another_push_rightly_signed() {
        let mut pushes = Pushes::new(([127, 0, 0, 1], 80).into()).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            pushes.renew();
            let text = String::from_utf8(pushes.bytes.clone()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let push: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(push["after"], push["commits"][0]["id"]);
            assert!(head.contains(&sign(SECRET, body.as_bytes())), "{text}");
            assert!(seen.insert(push["after"].to_string()));
        }
    }

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}";
        assert!(is_whole(answer).unwrap());
        assert!(!is_whole(&answer[..answer.len() - 1]).unwrap());
        assert!(!is_whole(&answer[..20]).unwrap());
        assert!(is_whole(b"HTTP/1.1 202 Accepted\r\n\r\n").is_err());
    }
}
