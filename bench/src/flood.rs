//! Bad webhooks at 20,000 a second, and what becomes of the good ones beside them: their p99 with and without the flood.
//!
//! The flood comes from one other address of this host or from 250, over kept connections, into which it writes as long as
//! they take anything, or with a new connection for each webhook. It shares the machine with what it floods.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use e2e::harness::{Service, Stack};
use futures::future::try_join_all;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::load::{Connection, ORCH_TOML, SECRET, push, spawn};
use crate::proc::Usage;
use crate::report::{beside, median, quantile_ms, row};

/// Bad webhooks a second.
const RATE: u64 = 20_000;
/// How often a share of them is sent.
const TICK: Duration = Duration::from_millis(5);
/// Kept connections.
const CONNECTIONS: usize = 256;
/// Connections of the good sender.
const GOOD: usize = 4;
/// Three of these make a minute of each flood.
const LENGTH: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_secs(10);
const REPETITIONS: usize = 3;

/// How the flood comes.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    /// A connection for each webhook.
    fresh: bool,
    /// Addresses it comes from, which are counted and limited each for itself.
    sources: u8,
}

const WAYS: [Way; 4] = [
    Way { name: "kept", fresh: false, sources: 1 },
    Way { name: "fresh", fresh: true, sources: 1 },
    Way { name: "kept_spread", fresh: false, sources: 250 },
    Way { name: "fresh_spread", fresh: true, sources: 250 },
];

/// Quiet and each way in turn, three times; each figure is the median.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let mut stack =
        Stack::builder().orch_toml(ORCH_TOML).env("ORCH_GITEA_WEBHOOK_SECRET", SECRET).lay_out()?;
    stack.process(Service::Ingest).start().await?;
    let pid = stack.process(Service::Ingest).pid().context("ingest has no process")?;
    let ingest = stack.addr(Service::Ingest);
    good(ingest, Duration::from_secs(1)).await?;
    let mut quiet = Figures::default();
    let mut floods = WAYS.map(|way| (way, Figures::default()));
    for _ in 0..REPETITIONS {
        quiet.take(&mut good(ingest, QUIET).await?);
        for (way, figures) in &mut floods {
            let before = Usage::of(pid)?.cpu;
            let flood = Flood::start(ingest, *way)?;
            let mut latencies = good(ingest, LENGTH).await?;
            let sent = flood.stop().await?;
            figures.take(&mut latencies);
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            figures.sent.push(sent as f64 / LENGTH.as_secs_f64());
            let cpu = Usage::of(pid)?.cpu.saturating_sub(before);
            figures.cores.push(cpu.as_secs_f64() / LENGTH.as_secs_f64());
        }
    }
    row("flood_none_good_p50", median(quiet.p50.clone()), "ms", None);
    row("flood_none_good_p99", median(quiet.p99.clone()), "ms", None);
    for (Way { name: way, .. }, figures) in floods {
        row(&format!("flood_{way}_bad_sent"), median(figures.sent), "webhooks/s", None);
        row(&format!("flood_{way}_ingest_cpu"), median(figures.cores), "cores", None);
        beside(&format!("flood_{way}_good_p50"), &figures.p50, "ms", &quiet.p50);
        beside(&format!("flood_{way}_good_p99"), &figures.p99, "ms", &quiet.p99);
    }
    stack.finish().await
}

/// Posts distinct good webhooks, over a few connections one after the other, and times each; all must be taken.
async fn good(ingest: SocketAddr, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let until = Instant::now() + length;
    let senders = (0..GOOD).map(|_| {
        spawn(async move {
            let mut connection = Connection::open(ingest).await?;
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let webhook = push();
                let sent = Instant::now();
                connection.post(&webhook).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        })
    });
    let mut latencies = Vec::new();
    for sender in try_join_all(senders).await? {
        latencies.extend(sender?);
    }
    Ok(latencies)
}

#[derive(Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
    sent: Vec<f64>,
    cores: Vec<f64>,
}

impl Figures {
    fn take(&mut self, latencies: &mut [Duration]) {
        self.p50.push(quantile_ms(latencies, 0.5));
        self.p99.push(quantile_ms(latencies, 0.99));
    }
}

struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// A thread of its own: it does not queue behind the good sender.
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Flood {
    fn start(ingest: SocketAddr, way: Way) -> anyhow::Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, counting) = (stop.clone(), sent.clone());
        let thread = std::thread::Builder::new().spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(flood(ingest, way, &stopping, &counting))
        })?;
        Ok(Self { stop, sent, thread })
    }

    /// How many were sent.
    async fn stop(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await?;
        joined.ok().context("the flood panicked")??;
        Ok(self.sent.load(Ordering::Relaxed))
    }
}

/// A push that is signed with another secret.
fn bad() -> Vec<u8> {
    use std::fmt::Write as _;
    let mut webhook = push();
    webhook.headers.insert("x-gitea-signature", http::HeaderValue::from_static("00"));
    let mut head =
        format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", webhook.path, webhook.body.len());
    for (name, value) in &webhook.headers {
        let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    [head.as_bytes(), b"\r\n", &webhook.body].concat()
}

async fn flood(ingest: SocketAddr, way: Way, stop: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
    let bad = Arc::new(bad());
    let mut kept: Vec<Option<(TcpStream, usize)>> = (0..CONNECTIONS).map(|_| None).collect();
    let (mut at, begun) = (0, Instant::now());
    let (mut due, mut connecting) = (0, Vec::new());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let total = u64::try_from(begun.elapsed().as_millis()).unwrap_or(0) * RATE / 1000;
        // What the machine did not manage in time is not made up for in one go.
        let share = (total - due).min(RATE / 10);
        due = total;
        for _ in 0..share {
            at = (at + 1) % CONNECTIONS;
            let source = source(way, at);
            if way.fresh {
                let bad = bad.clone();
                connecting.push(spawn(async move {
                    let Ok(stream) = connect(source, ingest).await else { return false };
                    stream.writable().await.is_ok() && stream.try_write(&bad).is_ok()
                }));
            } else if write_on(source, ingest, &mut kept[at], &bad).await {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        for one in connecting.drain(..) {
            if one.await? {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// The address that the nth connection comes from.
fn source(way: Way, nth: usize) -> Ipv4Addr {
    let place = u8::try_from(nth % usize::from(way.sources)).unwrap_or(0);
    Ipv4Addr::new(127, 0, 0, 2 + place)
}

/// Writes what the connection takes of the next webhook; whether it was finished. Answers are thrown away.
async fn write_on(
    source: Ipv4Addr,
    ingest: SocketAddr,
    kept: &mut Option<(TcpStream, usize)>,
    bad: &[u8],
) -> bool {
    if kept.is_none() {
        *kept = connect(source, ingest).await.ok().map(|stream| (stream, 0));
    }
    let Some((stream, written)) = kept else { return false };
    let mut answers = [0; 4096];
    while matches!(stream.try_read(&mut answers), Ok(1..)) {}
    match stream.try_write(&bad[*written..]) {
        Ok(bytes) => {
            *written = (*written + bytes) % bad.len();
            *written == 0
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        Err(_) => {
            *kept = None;
            false
        }
    }
}

async fn connect(source: Ipv4Addr, ingest: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    socket.connect(ingest).await
}
