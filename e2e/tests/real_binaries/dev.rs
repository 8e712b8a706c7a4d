//! `orch dev` as a person starts it: one process, one folder, the words it prints, and nothing left behind.

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use e2e::harness::{Service, Stack, get, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::shop::{Ledger, WITHIN, spent};

/// The process, on the ports and in the folder of a stack whose own services are never started.
struct Dev {
    stack: Stack,
    process: Process,
}

struct Process {
    child: Child,
    welcome: String,
    _reader: JoinSet<()>,
}

impl Dev {
    async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(arguments, &[]).await
    }

    /// With more in its environment.
    async fn start_with(arguments: &[&str], more: &[(&str, &str)]) -> anyhow::Result<Self> {
        let stack = more.iter().fold(Stack::builder(), |stack, (name, value)| stack.env(name, value));
        let stack = stack.lay_out()?;
        let process = spawn(&stack, arguments).await?;
        Ok(Self { stack, process })
    }

    async fn again(&mut self) -> anyhow::Result<()> {
        self.process = spawn(&self.stack, &[]).await?;
        Ok(())
    }

    async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        // It has not been waited for, so its number is still its own.
        let pid =
            self.process.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("it runs")?;
        kill_process(pid, Signal::TERM)?;
        Ok(tokio::time::timeout(WITHIN, self.process.child.wait()).await.context("it did not end")??)
    }

    /// Ends it and checks that it went cleanly.
    async fn finish(mut self) -> anyhow::Result<()> {
        // A demo keeps to a folder of its own below the one it is given.
        let folders = ["data/demo/orch.db", "data/orch.db"].map(|path| self.stack.folder().join(path));
        let database = folders.iter().find(|path| path.exists()).context("no database")?;
        let database = format!("sqlite://{}", database.display());
        self.stack.orch(&["doctor", "--database-url", &database]).await.context("an invariant is broken")?;
        let status = self.terminate().await?;
        assert!(status.success(), "{status}");
        self.stack.finish().await
    }
}

/// Starts it and reads what it says until it has said everything.
async fn spawn(stack: &Stack, arguments: &[&str]) -> anyhow::Result<Process> {
    let mut command = stack.command("orch")?;
    // What `--data-dir` is to imply.
    for name in ["DATABASE_URL", "CONFIG", "GITEA_WEBHOOK_SECRET", "PLANE_WEBHOOK_SECRET", "SCHEDULER_URL"] {
        command.env_remove(format!("ORCH_{name}"));
    }
    for (service, name) in [
        (Service::Ingest, "ORCH_INGEST_ADDR"),
        (Service::Scheduler, "ORCH_SCHEDULER_ADDR"),
        (Service::Runner(0), "ORCH_RUNNER_ADDR"),
        (Service::Console, "ORCH_CONSOLE_ADDR"),
    ] {
        command.env(name, stack.addr(service).to_string());
    }
    if arguments.contains(&"--demo") {
        command.env_remove("ORCH_CLAUDE_BIN");
    }
    let log = std::fs::OpenOptions::new().create(true).append(true).open(stack.folder().join("dev.log"))?;
    let mut child = command.args(["dev", "--data-dir", "data"]).args(arguments).stderr(log).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    let mut welcome = String::new();
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            welcome.push_str(&line);
            welcome.push('\n');
            if line.contains("Ctrl-C") {
                return anyhow::Ok(());
            }
        }
        anyhow::bail!("it ended: {}", std::fs::read_to_string(stack.folder().join("dev.log"))?)
    };
    tokio::time::timeout(WITHIN, reading).await.context("it said nothing")??;
    // Whatever it says later is read away, so that it never waits for a reader.
    let mut reader = JoinSet::new();
    reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok(Process { child, welcome, _reader: reader })
}

#[tokio::test]
async fn a_first_webhook_by_its_own_script_ends_done_and_nothing_is_left() -> anyhow::Result<()> {
    let mut dev = Dev::start(&[]).await?;
    for service in [Service::Ingest, Service::Scheduler, Service::Runner(0), Service::Console] {
        let addr = dev.stack.addr(service);
        assert!(
            dev.process.welcome.contains(&addr.to_string()),
            "{service:?} on {addr}: {}",
            dev.process.welcome
        );
        until("readiness", WITHIN, || async {
            Ok((get(addr, "/readyz").await?.status == 200).then_some(()))
        })
        .await?;
    }
    let first = first_webhook(&dev.stack).await?;
    assert_eq!(first["decision"], "enqueued", "{first}");
    let id = first["job_ids"][0].as_i64().context("a job")?;
    let job = dev.stack.until_status(id, "done", WITHIN).await?;
    assert_eq!((spent(&job), &job["job"]["stage"]), ([0, 0, 0, 1], &json!("review")), "{job:#}");
    assert_eq!(first_webhook(&dev.stack).await?, json!({"decision": "duplicate", "job_ids": [id]}));
    // The built-in review asks for a verdict: prose is none, is asked for the form once, and then a person is.
    let needs_you = until("the work item's need", WITHIN, || async {
        let queue = get(dev.stack.addr(Service::Console), "/queue").await?.json()?;
        Ok(queue["needs_you"].get(0).cloned().filter(|_| queue["counts"]["done"] == 2))
    });
    assert_eq!(needs_you.await?["needs"]["why"], "unreadable");

    // An agent that runs at the end goes with it, and its job is there at the next start.
    let ledger = Ledger::of(&dev.stack);
    let door = dev.stack.folder().join("door");
    let prompt = format!("fake: {} await={}", ledger.step(), door.display());
    let enqueue = ["enqueue", "--project", "demo", "--stage", "review", "--prompt", &prompt];
    let id = dev.stack.orch(&enqueue).await?["id"].as_i64().context("a job")?;
    let agent = until("the agent", WITHIN, || async { Ok(ledger.starts().first().cloned()) }).await?;
    let status = dev.terminate().await?;
    assert!(status.success() && !agent.lives(), "{status}");
    std::fs::write(&door, b"")?;
    dev.again().await?;
    let job = dev.stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(job["job"]["attempts"], 0, "a stop of ours spends no attempt: {job:#}");
    dev.finish().await
}

#[tokio::test]
async fn the_demo_shows_a_success_a_limit_a_failure_and_a_retry_within_two_minutes() -> anyhow::Result<()> {
    let dev = Dev::start(&["--demo"]).await?;
    assert!(dev.process.welcome.contains("DEMO"), "{}", dev.process.welcome);
    let story = until("the whole story", Duration::from_mins(2), || async {
        let listed = dev.stack.orch(&["jobs"]).await?;
        let jobs = listed["jobs"].as_array().cloned().unwrap_or_default();
        let seen = |status: &str, spent: &dyn Fn(u64, u64) -> bool| {
            let count = |job: &Value, name: &str| job[name].as_u64().unwrap_or_default();
            jobs.iter().any(|job| {
                job["status"] == status && spent(count(job, "attempts"), count(job, "transient_attempts"))
            })
        };
        let all = seen("done", &|attempts, transient| (attempts, transient) == (0, 0))
            && seen("done", &|_, transient| transient > 0)
            && seen("done", &|attempts, _| attempts > 0)
            && seen("failed", &|attempts, _| attempts > 0);
        Ok(all.then_some(()))
    });
    story.await?;
    dev.finish().await
}

/// It hosts agents of its own user: what it was given is nowhere in `/proc`, and is heeded all the same.
#[tokio::test]
async fn its_secrets_leave_its_environment() -> anyhow::Result<()> {
    const PLANTED: &str = "planted-7c1d9e";
    let secrets = ["ORCH_GIT_TOKEN", "ORCH_CONSOLE_TOKEN"].map(|name| (name, PLANTED));
    let dev = Dev::start_with(&[], &secrets).await?;
    let pid = dev.process.child.id().context("it runs")?;
    for file in ["environ", "cmdline"] {
        match std::fs::read(format!("/proc/{pid}/{file}")) {
            Ok(shown) => assert!(!String::from_utf8_lossy(&shown).contains(PLANTED), "{file}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{file}"),
        }
    }
    let console = dev.stack.addr(Service::Console);
    let refused = until("the console", WITHIN, || async { Ok(get(console, "/queue").await.ok()) }).await?;
    assert_eq!(refused.status, 401, "the console heeds its token");
    let printed = dev.stack.command("orch")?.args(["dev", "--print-config"]).output().await?;
    let printed = String::from_utf8(printed.stdout)?;
    for (name, _) in secrets {
        assert!(printed.lines().any(|line| line == format!("{name}=<redacted>")), "{name}: {printed}");
    }
    assert!(!printed.contains(PLANTED), "{printed}");
    dev.finish().await
}

/// Runs the script that `orch dev` has written for a first webhook; it signs with openssl and posts with curl.
async fn first_webhook(stack: &Stack) -> anyhow::Result<Value> {
    let script = stack.folder().join("data/first-webhook.sh");
    let output = tokio::process::Command::new("sh").arg(&script).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}
