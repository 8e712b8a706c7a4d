//! A tour through every reason to wait: a real stack is brought into each, and the command, the JSON and the pages must
//! say the same of it. A reason without a stop does not compile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::admission::WaitCode;
use e2e::harness::{Answer, Service, Stack, StackBuilder, get, program, send, until};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;

use crate::shop::{WITHIN, enqueue, run, shop, start};

/// Stacks that stand side by side.
const AT_ONCE: usize = 3;

/// A stack, and a job of it that is to wait.
type Stop = (Stack, i64);

#[tokio::test]
async fn every_reason_to_wait_is_reached_and_said_alike_everywhere() -> anyhow::Result<()> {
    let stops = WaitCode::ALL.iter().map(|code| async move { (code.as_str(), visit(*code).await) });
    let visited: Vec<_> = futures::stream::iter(stops).buffered(AT_ONCE).collect().await;
    let mut said = Vec::new();
    let mut missed = Vec::new();
    for (code, visit) in visited {
        match visit {
            Ok(reason) => said.push(format!("{code}: {reason}")),
            Err(error) => missed.push(format!("{code}: {error:#}")),
        }
    }
    eprintln!("{}", said.join("\n"));
    ensure!(
        missed.is_empty(),
        "{} of {} stops went wrong:\n{}",
        missed.len(),
        WaitCode::ALL.len(),
        missed.join("\n")
    );
    Ok(())
}

async fn visit(code: WaitCode) -> anyhow::Result<String> {
    let (stack, job) = reach(code).await?;
    let reason = agree(&stack, job, code).await?;
    settle(&stack).await?;
    stack.finish().await?;
    Ok(reason)
}

/// Brings a job into the reason.
async fn reach(code: WaitCode) -> anyhow::Result<Stop> {
    match code {
        WaitCode::NotDue => not_due().await,
        WaitCode::Paused => paused(&["pause"]).await,
        WaitCode::PausedPart => paused(&["pause", "--project", "shop"]).await,
        WaitCode::NotLooked => not_looked().await,
        WaitCode::UnknownProject => {
            after_change("orch.toml", &pipeline("elsewhere", "", STAGE), "the project").await
        }
        WaitCode::UnknownStage => {
            after_change("orch.toml", &pipeline("shop", "", &STAGE.replace("pushed", "other")), "the stage")
                .await
        }
        WaitCode::Prompt => after_change("prompt.md", "{{ work_item", "").await,
        WaitCode::QuotaReserve => quota_reserve().await,
        WaitCode::ProjectLimit => {
            behind_another(shop().orch_toml(&pipeline("shop", "max_concurrency = 1", STAGE))).await
        }
        WaitCode::ConcurrencyLimit => behind_another(shop().env("ORCH_MAX_CONCURRENCY", "1")).await,
        WaitCode::Serial => {
            let builder = shop().orch_toml(&pipeline("shop", "serial = \"project\"", STAGE));
            behind_another(builder).await
        }
        WaitCode::BudgetSpent => budget_spent().await,
        WaitCode::BudgetReserved => {
            let budget = "budget = { day_tokens = 5000, run_tokens = 4000 }";
            behind_another(shop().orch_toml(&pipeline("shop", budget, STAGE))).await
        }
        WaitCode::NoRunner => alone(shop().runners(0)).await,
        WaitCode::Restored => restored().await,
        WaitCode::Unreachable => unreachable().await,
        WaitCode::Draining => draining().await,
        WaitCode::Preflight => preflight().await,
        WaitCode::Resting => resting().await,
        WaitCode::Containment => {
            alone(shop().orch_toml(&pipeline("shop", "containment = \"limits\"", STAGE))).await
        }
        WaitCode::AccountHeld => after_an_end(shop(), "then=401", "then=success").await,
        WaitCode::BreakerOpen => {
            after_an_end(shop().env("ORCH_BREAKER_THRESHOLD", "1"), "then=529", "then=success").await
        }
        WaitCode::Probe => probe().await,
        WaitCode::Faltering => faltering().await,
        WaitCode::Resuming => resuming().await,
        WaitCode::NoSlot => behind_another(shop().env("ORCH_RUNNER_SLOTS", "1")).await,
        WaitCode::Session => session().await,
    }
}

// ---- stops -----------------------------------------------------------------------------------------

const STAGE: &str = "[[stage]]\nname = \"pushed\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n";

fn pipeline(project: &str, keys: &str, stage: &str) -> String {
    let serial = if keys.contains("serial") { "" } else { "serial = \"none\"\n" };
    format!("[[project]]\nname = \"{project}\"\n{serial}{keys}\n{stage}")
}

async fn alone(builder: StackBuilder) -> anyhow::Result<Stop> {
    let stack = builder.start().await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// A job that finds another one running, which goes on.
async fn behind_another(builder: StackBuilder) -> anyhow::Result<Stop> {
    let stack = builder.start().await?;
    let first = enqueue(&stack, "then=hang").await?;
    stack.until_status(first, "running", WITHIN).await?;
    let second = enqueue(&stack, "then=success").await?;
    Ok((stack, second))
}

/// A job that comes after one that ended like this, and does that.
async fn after_an_end(builder: StackBuilder, first: &str, then: &str) -> anyhow::Result<Stop> {
    let stack = builder.start().await?;
    let first = enqueue(&stack, first).await?;
    until("the first try's end", WITHIN, || async {
        let job = stack.job(first).await?;
        Ok(job["runs"][0]["ended_at"].is_string().then_some(()))
    })
    .await?;
    let second = enqueue(&stack, then).await?;
    Ok((stack, second))
}

/// A job that was made before a file changed, held back until then.
async fn after_change(file: &str, text: &str, what: &str) -> anyhow::Result<Stop> {
    let stack = shop().start().await?;
    stack.orch(&["pause"]).await?;
    let made = stack.orch(&["enqueue", "--project", "shop", "--stage", "pushed"]).await?;
    let job = made["id"].as_i64().context("a job id")?;
    std::fs::write(stack.folder().join(file), text)?;
    if !what.is_empty() {
        // The scheduler has read the new file once it refuses what only the old one had.
        until(what, WITHIN, || async {
            let asked = ["enqueue", "--project", "shop", "--stage", "pushed", "--key", "asked"];
            Ok((stack.orch_output(&asked).await?.status.code() == Some(2)).then_some(()))
        })
        .await?;
    }
    stack.orch(&["resume"]).await?;
    Ok((stack, job))
}

async fn not_due() -> anyhow::Result<Stop> {
    let builder = shop().env("ORCH_BACKOFF_BASE_SECONDS", "600").env("ORCH_BACKOFF_MAX_SECONDS", "600");
    let stack = builder.start().await?;
    let job = enqueue(&stack, "then=529").await?;
    Ok((stack, job))
}

async fn paused(pause: &[&str]) -> anyhow::Result<Stop> {
    let stack = shop().start().await?;
    stack.orch(pause).await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// A webhook whose nudge reaches nobody, beside a scheduler that looks every ten minutes.
async fn not_looked() -> anyhow::Result<Stop> {
    let mut stack = shop().env("ORCH_QUEUE_POLL_INTERVAL", "10m").start().await?;
    let ingest = stack.process(Service::Ingest);
    ingest.terminate().await?;
    ingest.set_env("ORCH_SCHEDULER_URL", "http://127.0.0.1:1");
    ingest.start().await?;
    let job = start(&stack, "gitea.push", 1, "fake: then=success").await?;
    Ok((stack, job))
}

async fn quota_reserve() -> anyhow::Result<Stop> {
    let stack = shop().env("ORCH_QUOTA_RESERVE", "0.2").start().await?;
    run(&stack, "quota=0.95:3600 then=success", "done").await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

async fn budget_spent() -> anyhow::Result<Stop> {
    let toml = pipeline("shop", "budget = { day_tokens = 5000 }", STAGE);
    let stack = shop().orch_toml(&toml).start().await?;
    let first = enqueue(&stack, "spend=240:1000:200 then=success").await?;
    until("the spending", WITHIN, || async {
        Ok(stack.job(first).await?["job"]["finished_at"].is_string().then_some(()))
    })
    .await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// The database counts as another one than agents were started from.
async fn restored() -> anyhow::Result<Stop> {
    let mut stack = shop().start().await?;
    run(&stack, "then=success", "done").await?;
    stack.process(Service::Scheduler).terminate().await?;
    sql(&stack.folder().join("orch.db"), "UPDATE meta SET database_generation = database_generation + 1")
        .await?;
    stack.process(Service::Scheduler).start().await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

async fn sql(database: &Path, statement: &str) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new("sqlite3");
    let output = command.args(["-cmd", ".timeout 10000"]).arg(database).arg(statement).output().await;
    let output = output.context("could not start sqlite3")?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

async fn unreachable() -> anyhow::Result<Stop> {
    let builder = shop().env("ORCH_RENEW_SECONDS", "1").env("ORCH_UNREACHABLE_SECONDS", "3");
    let mut stack = builder.start().await?;
    stack.process(Service::Runner(0)).kill().await?;
    until("the silence", WITHIN, || async {
        Ok((stack.orch(&["runners"]).await?["runners"][0]["state"] == "unreachable").then_some(()))
    })
    .await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

async fn preflight() -> anyhow::Result<Stop> {
    let mut stack = shop().start().await?;
    let runner = stack.process(Service::Runner(0));
    runner.terminate().await?;
    runner.set_env("ORCH_CLAUDE_BIN", "/no/such/agent");
    // It never says that it is ready.
    runner.spawn()?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// The agent's file changes all the time, so the runner refuses what it is offered between two looks at it.
async fn resting() -> anyhow::Result<Stop> {
    let mut stack = shop().env("ORCH_PREFLIGHT_CACHE_TTL", "10m").start().await?;
    let agent = stack.folder().join("agent");
    std::fs::copy(program("fake-claude")?, &agent)?;
    let runner = stack.process(Service::Runner(0));
    runner.terminate().await?;
    runner.set_env("ORCH_CLAUDE_BIN", &agent.display().to_string());
    runner.start().await?;
    std::thread::spawn(move || {
        // Ends with the stack's folder.
        let mut second = 1_700_000_000;
        while let Ok(file) = std::fs::File::open(&agent) {
            second += 1;
            let changed = std::time::UNIX_EPOCH + Duration::from_secs(second);
            if file.set_modified(changed).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

async fn draining() -> anyhow::Result<Stop> {
    let stack = shop().start().await?;
    run(&stack, "then=success", "done").await?;
    let listed = stack.orch(&["runners"]).await?;
    stack.orch(&["drain", listed["runners"][0]["id"].as_str().context("a runner")?]).await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// The breaker opens at one failure; the job that failed comes back as the probe, and hangs.
async fn probe() -> anyhow::Result<Stop> {
    let builder = shop().env("ORCH_BREAKER_THRESHOLD", "1").env("ORCH_BREAKER_PAUSE_SECONDS", "1");
    let stack = builder.start().await?;
    let counter = stack.folder().join("count");
    let first = enqueue(&stack, &format!("first=1:{}:529 then=hang", counter.display())).await?;
    until("the probe", WITHIN, || async {
        let job = stack.job(first).await?;
        Ok((job["runs"][1]["state"] == "started").then_some(()))
    })
    .await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// Two failures would open the breaker: one was, and one run is out.
async fn faltering() -> anyhow::Result<Stop> {
    let builder = shop().env("ORCH_BREAKER_THRESHOLD", "2").env("ORCH_BACKOFF_BASE_SECONDS", "600");
    let builder = builder.env("ORCH_BACKOFF_MAX_SECONDS", "600");
    let (stack, out) = after_an_end(builder, "then=529", "then=hang").await?;
    stack.until_status(out, "running", WITHIN).await?;
    let job = enqueue(&stack, "then=success").await?;
    Ok((stack, job))
}

/// Whatever starts works for a while and meets the limit again: the account is freed again and again, with many jobs
/// waiting, and is free for long enough to ask around.
async fn resuming() -> anyhow::Result<Stop> {
    let builder = shop().env("ORCH_MAX_CONCURRENCY", "40").env("ORCH_RUNNER_SLOTS", "40");
    let stack = builder.env("ORCH_TRANSIENT_MAX_ATTEMPTS", "1000").start().await?;
    stack.orch(&["pause"]).await?;
    let mut last = 0;
    for _ in 0..20 {
        last = enqueue(&stack, "sleep=3 then=usage:2").await?;
    }
    stack.orch(&["resume"]).await?;
    Ok((stack, last))
}

/// Its conversation lies on a runner that another job took meanwhile; the other runner is free.
async fn session() -> anyhow::Result<Stop> {
    let builder = shop().runners(2).env("ORCH_RUNNER_SLOTS", "1").env("ORCH_RESUME_WAIT", "10m");
    let stack = builder.start().await?;
    let file = |name: &str| stack.folder().join(name);
    let directive = format!("tool=1 await={} first=1:{}:529", file("go").display(), file("count").display());
    let cut_off = enqueue(&stack, &directive).await?;
    stack.until_status(cut_off, "running", WITHIN).await?;
    let other = enqueue(&stack, &format!("await={}", file("other").display())).await?;
    stack.until_status(other, "running", WITHIN).await?;
    let taker = enqueue(&stack, "then=hang").await?;
    std::fs::write(file("go"), "")?;
    stack.until_status(taker, "running", WITHIN).await?;
    std::fs::write(file("other"), "")?;
    stack.until_status(other, "done", WITHIN).await?;
    Ok((stack, cut_off))
}

// ---- what is said ----------------------------------------------------------------------------------

/// Waits until the job waits for this reason, and checks that all who are asked say the same. Returns the reason in words.
///
/// They are asked one after the other, and some reasons last for an instant: what counts is a round in which the reason
/// was the same before and after.
async fn agree(stack: &Stack, job: i64, code: WaitCode) -> anyhow::Result<String> {
    let agreed = until("one answer", WITHIN, || round(stack, job, code)).await;
    match agreed {
        Ok(reason) => Ok(reason),
        Err(error) => Err(error.context(format!("{:#}", stack.job(job).await?["job"]))),
    }
}

async fn round(stack: &Stack, job: i64, code: WaitCode) -> anyhow::Result<Option<String>> {
    let before = in_queue(stack, job).await?;
    if before["code"] != code.as_str() {
        return Ok(None);
    }
    let why = stack.orch(&["why", &job.to_string()]).await?;
    let text = stack.orch_output(&["why", &job.to_string()]).await?;
    let home = page(stack, "/").await?;
    let own = page(stack, &format!("/jobs/{job}")).await?;
    let after = in_queue(stack, job).await?;
    let steady = [&why["job"]["waiting"], &after].map(|waiting| &waiting["reason"]) == [&before["reason"]; 2];
    if !steady {
        return Ok(None);
    }
    let reason = before["reason"].as_str().context("a reason")?.to_owned();
    let instant = |waiting: &Value| waiting["until"].as_str().unwrap_or_default().to_owned();
    let (from, to) = (instant(&before), instant(&after));
    let told = instant(&why["job"]["waiting"]);
    ensure!(from <= told && told <= to, "until {told}, and in /queue {from} to {to}");

    let text = String::from_utf8(text.stdout)?;
    ensure!(text.contains(&reason), "`orch why` says {text}, /queue says {reason}");
    let ends = why["why"]["ends"].as_str().context("what ends the wait")?;
    ensure!(text.contains(ends), "`orch why` does not say `{ends}`: {text}");
    let conditions = why["why"]["conditions"].as_array().context("conditions")?;
    let holding: Vec<&str> = conditions
        .iter()
        .filter(|one| one["state"] == "holds")
        .map(|one| one["name"].as_str().unwrap_or_default())
        .collect();
    ensure!(holding == [code.condition().as_str()], "{holding:?} hold");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("holds ")).collect();
    ensure!(rows.len() == 1 && rows[0].ends_with(code.condition().sentence()), "{rows:?}");

    let html = reason.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    for (name, page) in [("the page", &home), ("the job's page", &own)] {
        ensure!(page.contains(&html), "{name} does not say `{html}`");
        if from == to && !from.is_empty() {
            ensure!(page.contains(&from), "{name} does not say until when: {from}");
        }
    }
    Ok(Some(reason))
}

/// What `GET /queue` says of the job's wait.
async fn in_queue(stack: &Stack, job: i64) -> anyhow::Result<Value> {
    let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
    let jobs = queue["recent"].as_array().context("recent jobs")?;
    let found = jobs.iter().find(|one| one["id"] == job).context("the job is not among the recent ones")?;
    Ok(found["waiting"].clone())
}

async fn page(stack: &Stack, path: &str) -> anyhow::Result<String> {
    let html = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("text/html"))]);
    let addr = stack.addr(Service::Console);
    let Answer { status, body, .. } = send(addr, Method::GET, path, html, bytes::Bytes::new()).await?;
    ensure!(status.is_success(), "{path}: {status}");
    Ok(String::from_utf8(body.to_vec())?)
}

/// Ends every job, so that nothing is left when the services stop.
async fn settle(stack: &Stack) -> anyhow::Result<()> {
    stack.orch(&["pause"]).await?;
    until("the end of all jobs", WITHIN, || async {
        let mut open = 0;
        for status in ["queued", "running"] {
            for job in
                stack.orch(&["jobs", "--status", status]).await?["jobs"].as_array().into_iter().flatten()
            {
                open += 1;
                stack.orch_output(&["cancel", &job["id"].to_string()]).await?;
            }
        }
        Ok((open == 0).then_some(()))
    })
    .await
}
