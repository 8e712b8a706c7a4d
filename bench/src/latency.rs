//! From the webhook's first byte to the first instruction of the agent, one at a time on an idle system, and where the time goes:
//! the moments between are those of the services' own log lines.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use e2e::harness::{Service, Stack, until};
use serde_json::Value;

use crate::bare::{LEDGER, last_entry, monotonic_ns, since, spawn_latencies};
use crate::load::{Connection, ORCH_TOML, SECRET, push_to};
use crate::report::{keep_latencies, quantile_ms, row};

const SAMPLES: usize = 100;
/// Before them: connections are made, pages and files are warm.
const WARM_UP: usize = 5;
/// Before each: the system is idle, and what the run before left is done.
const REST: Duration = Duration::from_millis(250);
const RUN_WITHIN: Duration = Duration::from_secs(20);
const DAY_US: i128 = 86_400_000_000;
/// The log lines on the way: who writes them, what they say, and what the moment is called here.
const MOMENTS: [(Service, &str, &str); 3] = [
    (Service::Scheduler, "job claimed", "claim_committed"),
    (Service::Runner(0), "offered", "launch_received"),
    (Service::Runner(0), "spawned", "shim_has_run"),
];

/// One webhook and the run that followed.
struct Sample {
    job: i64,
    begun_us: i128,
    answered: Duration,
    agent: Duration,
}

/// Ours beside a bare spawn of the same program.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let agent = std::env::current_exe()?;
    let stack = Stack::builder().orch_toml(ORCH_TOML).env("ORCH_GITEA_WEBHOOK_SECRET", SECRET);
    let stack = stack.env("ORCH_CLAUDE_BIN", &agent.display().to_string()).env("ORCH_LOG_FORMAT", "json");
    let folder = tempfile::tempdir()?;
    let (ledger, bare_ledger) = (folder.path().join("ledger"), folder.path().join("bare"));
    std::fs::write(&ledger, "")?;
    let mut stack = stack
        .env(LEDGER, &ledger.display().to_string())
        .env("ORCH_AGENT_ENV", &format!("ORCH_E2E,{LEDGER}"))
        .start()
        .await?;
    std::fs::write(stack.folder().join("review.md"), "Review {{ title }}.\n")?;
    let mut connection = Connection::open(stack.addr(Service::Ingest)).await?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for number in 0..WARM_UP + SAMPLES {
        tokio::time::sleep(REST).await;
        let webhook = push_to(&format!("feature-{number}"));
        let (begun, begun_us) = (monotonic_ns(), wall_us());
        let answer = connection.post(&webhook).await?;
        let answered = since(begun, monotonic_ns());
        until("the agent started", RUN_WITHIN, || async {
            Ok((std::fs::read_to_string(&ledger)?.lines().count() > number).then_some(()))
        })
        .await?;
        let job = answer["job_ids"][0].as_i64().unwrap_or_default();
        if number >= WARM_UP {
            samples.push(Sample { job, begun_us, answered, agent: since(begun, last_entry(&ledger)?) });
        }
        stack.until_status(job, "done", RUN_WITHIN).await?;
    }
    let mut answered: Vec<Duration> = samples.iter().map(|sample| sample.answered).collect();
    quantiles("webhook_to_answer", &mut answered, None);
    for (service, message, name) in MOMENTS {
        let moments = moments(&stack.process(service).log(), message);
        let reached = |sample: &Sample| {
            let at_us = moments.get(&sample.job)?;
            let us = (at_us - sample.begun_us).rem_euclid(DAY_US);
            Some(Duration::from_micros(u64::try_from(us).ok()?))
        };
        let reached: Option<Vec<Duration>> = samples.iter().map(reached).collect();
        let mut reached = reached.with_context(|| format!("a job has no line {message:?} in a log"))?;
        quantiles(&format!("webhook_to_{name}"), &mut reached, None);
    }
    let mut bare = spawn_latencies(&bare_ledger, SAMPLES).await?;
    quantiles("agent_exec_limit_bare_spawn", &mut bare, None);
    let mut agents: Vec<Duration> = samples.iter().map(|sample| sample.agent).collect();
    quantiles("webhook_to_agent_exec", &mut agents, Some(&mut bare));
    keep_latencies("latency_agent", &mut [("webhook to agent", agents), ("bare spawn", bare)])?;
    stack.finish().await
}

fn quantiles(metric: &str, samples: &mut [Duration], mut limit: Option<&mut [Duration]>) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let limit = limit.as_mut().map(|limit| quantile_ms(limit, share));
        row(&format!("{metric}_{name}"), quantile_ms(samples, share), "ms", limit);
    }
}

/// When each job's line of this message was written, in microseconds of the day.
fn moments(log: &str, message: &str) -> BTreeMap<i64, i128> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_message = lines.filter(|line| line["message"] == message);
    let moment = |line: Value| {
        let job =
            [&line["job.id"], &line["span"]["job.id"]].into_iter().find_map(Value::as_str)?.parse().ok()?;
        Some((job, time_of_day_us(line["timestamp"].as_str()?)?))
    };
    of_message.filter_map(moment).collect()
}

/// Of `2026-11-22T15:04:05.123456Z`.
fn time_of_day_us(timestamp: &str) -> Option<i128> {
    let (_, time) = timestamp.trim_end_matches('Z').split_once('T')?;
    let mut parts = time.split([':', '.']).map(|part| part.parse::<i128>().ok());
    let [hours, minutes, seconds, us] = [parts.next()??, parts.next()??, parts.next()??, parts.next()??];
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + us)
}

fn wall_us() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    (i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000).rem_euclid(DAY_US)
}
