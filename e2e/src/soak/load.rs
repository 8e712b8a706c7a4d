//! What comes in while the faults go on: webhooks at a steady rate, some of them more than once, and people who
//! cancel and retry. Everything that was acknowledged or granted is noted.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::harness::{Outside, Webhook};
use crate::history::{Ack, Order, Wanted, utc_ms};
use crate::shop::webhook;

/// Between two tries to deliver, or to give an order.
const AGAIN: Duration = Duration::from_millis(500);
/// How often a sender or a person tries before giving up: minutes.
const TRIES_MAX: usize = 600;
/// The exit code of `orch` for "the answer is no".
const EXIT_NO: i32 = 1;

/// What was acknowledged and granted.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) acks: Vec<Ack>,
    pub(super) orders: Vec<Order>,
}

/// Where the notes go.
pub(super) type Notes = Arc<Mutex<Book>>;

/// What is in store for one delivery.
#[derive(Debug)]
struct Fate {
    number: u64,
    webhook: Webhook,
    may_fail: bool,
    repeated: bool,
    cancel_after: Option<Duration>,
    retry_after: Option<Duration>,
}

/// Sends a webhook every `pause` until told to stop, then sees through what it began.
pub(super) async fn press(
    stack: Outside,
    seed: u64,
    pause: Duration,
    mut stop: watch::Receiver<bool>,
    notes: Notes,
) {
    let mut rng = StdRng::seed_from_u64(seed ^ u64::MAX);
    let mut sending = JoinSet::new();
    for number in 1.. {
        let fate = fate(&stack, number, &mut rng);
        sending.spawn(see_through(stack.clone(), fate, notes.clone()));
        let stopped = tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await;
        if stopped.is_ok() {
            break;
        }
        while sending.try_join_next().is_some() {}
    }
    while sending.join_next().await.is_some() {}
}

fn fate(stack: &Outside, number: u64, rng: &mut StdRng) -> Fate {
    let choice = rng.random_range(0..100);
    let counter = stack.folder().join(format!("counts/{number}"));
    let text = format!("fake: {} {}", marks(stack.folder()), work(choice, &counter, rng));
    let points = ["gitea.pull_request", "plane.issue_created", "plane.comment", "gitea.push", "gitea.review"];
    let point = points[rng.random_range(0..points.len())];
    let within = |rng: &mut StdRng, seconds: f64| Duration::from_secs_f64(rng.random_range(0.0..seconds));
    let may_fail = choice >= 98;
    let cancel_after = rng.random_bool(0.05).then(|| within(rng, 8.0));
    let wanted_again = if may_fail {
        0.5
    } else if cancel_after.is_some() {
        0.3
    } else {
        0.0
    };
    Fate {
        number,
        webhook: webhook(stack, point, number, &text),
        may_fail,
        repeated: rng.random_bool(0.1),
        cancel_after,
        retry_after: rng.random_bool(wanted_again).then(|| within(rng, 20.0)),
    }
}

/// The steps by which an agent shows when it lived, and whether it was alone.
fn marks(folder: &Path) -> String {
    format!("ledger={} alone={} beat=200", folder.join("ledger").display(), folder.join("locks").display())
}

/// What an agent does: mostly short and well, some long, some deaf and with children, some ending badly.
fn work(choice: u32, counter: &Path, rng: &mut StdRng) -> String {
    let counter = counter.display();
    let mut sleep = |from: f64, to: f64| format!("say=2 sleep={:.2}", rng.random_range(from..to));
    match choice {
        0..50 => sleep(0.1, 2.0),
        50..70 => format!("tool=3 {}", sleep(2.0, 6.0)),
        70..80 => format!("opentool=1 {}", sleep(8.0, 20.0)),
        80..88 => format!("deaf=1 child=600 {}", sleep(0.5, 5.0)),
        88..92 => format!("chatty=300000 {}", sleep(0.1, 1.0)),
        92..95 => format!("{} first=1:{counter}:529", sleep(0.1, 1.0)),
        95..98 => format!("{} first=1:{counter}:crash:1", sleep(0.1, 1.0)),
        _ => format!("{} then=crash:3", sleep(0.1, 1.0)),
    }
}

async fn see_through(stack: Outside, fate: Fate, notes: Notes) {
    let Some(job) = deliver(&stack, &fate, &notes).await else { return };
    if fate.repeated {
        deliver(&stack, &fate, &notes).await;
    }
    for (after, wanted) in [(fate.cancel_after, Wanted::Cancel), (fate.retry_after, Wanted::Retry)] {
        if let Some(after) = after {
            tokio::time::sleep(after).await;
            order(&stack, job, wanted, &notes).await;
        }
    }
}

/// Delivers until it is acknowledged.
async fn deliver(stack: &Outside, fate: &Fate, notes: &Notes) -> Option<i64> {
    for _ in 0..TRIES_MAX {
        let answer = stack.deliver(&fate.webhook).await;
        if let Some(answer) = answer.ok().filter(|answer| answer.status.is_success()) {
            let body = answer.json().unwrap_or_default();
            let named = body["job_ids"].as_array().cloned().unwrap_or_default();
            let jobs: Vec<i64> = named.iter().filter_map(serde_json::Value::as_i64).collect();
            let job = jobs.first().copied();
            let ack = Ack { delivery: fate.number, jobs, may_fail: fate.may_fail };
            notes.lock().unwrap_or_else(PoisonError::into_inner).acks.push(ack);
            return job;
        }
        tokio::time::sleep(AGAIN).await;
    }
    None
}

/// Gives an order until the answer is known. One that is refused after a try that was not answered may have been
/// carried out by that try: it is noted as granted at the end of all time, which proves nothing and excuses nothing
/// but the budgets.
async fn order(stack: &Outside, job: i64, wanted: Wanted, notes: &Notes) {
    let command = match wanted {
        Wanted::Cancel => "cancel",
        Wanted::Retry => "retry",
    };
    let asked_at = utc_ms();
    let mut unknown = false;
    for _ in 0..TRIES_MAX {
        let output = stack.orch_output(&[command, &job.to_string()]).await;
        let code = output.ok().and_then(|output| output.status.code());
        let granted_at = match code {
            Some(0) => utc_ms(),
            Some(EXIT_NO) if unknown => i64::MAX,
            Some(EXIT_NO) => return,
            _ => {
                unknown = true;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let order = Order { job, wanted, asked_at, granted_at };
        notes.lock().unwrap_or_else(PoisonError::into_inner).orders.push(order);
        return;
    }
}
