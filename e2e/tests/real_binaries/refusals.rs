//! What is missing, wrong, locked or too new: refused with words that help, and mended without a restart
//! where that is possible.

use std::process::Stdio;

use anyhow::Context;
use e2e::harness::{Service, Stack, get, program, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::shop::{WITHIN, enqueue, shop, spent, start, webhook};

#[tokio::test]
async fn without_claude_jobs_wait_and_say_why_and_start_once_it_is_there() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let later = folder.path().join("claude-to-come");
    let mut stack = shop().env("ORCH_CLAUDE_BIN", &later.to_string_lossy()).lay_out()?;
    for service in [Service::Scheduler, Service::Ingest, Service::Console] {
        stack.process(service).start().await?;
    }
    stack.process(Service::Runner(0)).spawn()?;
    let runner = stack.addr(Service::Runner(0));
    answers(runner, "/healthz", 200).await?;
    answers(runner, "/readyz", 503).await?;
    let id = start(&stack, "gitea.push", 1, "please").await?;
    let waiting = until("the reason", WITHIN, || async {
        let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
        let reason = queue["recent"][0]["waiting"]["reason"].as_str().unwrap_or_default().to_owned();
        Ok(reason.contains("claude").then_some((reason, queue)))
    });
    let (reason, queue) = waiting.await?;
    assert_eq!(queue["recent"][0]["status"], "queued");
    let preflight = &queue["resilience"]["preflight"][0];
    assert_eq!(preflight["ok"], false);
    let error = preflight["error"].as_str().context("a preflight error")?;
    let why = stack.orch_output(&["why", &id.to_string()]).await?;
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    for text in [&reason, error, &why] {
        assert!(text.contains("claude-to-come") && text.contains("ORCH_CLAUDE_BIN"), "{text}");
    }
    let job = stack.job(id).await?;
    assert_eq!(spent(&job), [0, 0, 0, 0], "{job:#}");

    std::os::unix::fs::symlink(program("fake-claude")?, &later)?;
    answers(runner, "/readyz", 200).await?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
    stack.finish().await
}

#[tokio::test]
async fn an_orch_toml_that_cannot_be_read_refuses_the_start_and_names_the_place() -> anyhow::Result<()> {
    let broken = "[[project]]\nname = \"shop\"\nmax_concurency = 3\n";
    let mut stack = Stack::builder().orch_toml(broken).lay_out()?;
    for service in [Service::Scheduler, Service::Ingest] {
        stack.process(service).spawn()?;
        let status = stack.process(service).ended(WITHIN).await?;
        let log = stack.process(service).log();
        assert_eq!(status.code(), Some(2), "{log}");
        for word in ["orch.toml", "line 3", "max_concurency", "max_concurrency"] {
            assert!(log.contains(word), "{word} is not in {log}");
        }
    }
    let check = stack.orch_output(&["config", "check"]).await?;
    assert!(!check.status.success());
    stack.finish().await
}

#[tokio::test]
async fn signed_but_for_no_project_of_ours_is_forbidden_and_unsigned_is_not_even_read() -> anyhow::Result<()>
{
    let stack = shop().runners(0).start().await?;
    let foreign = json!({"ref": "refs/heads/main", "before": "1".repeat(40), "after": "2".repeat(40), "commits": [],
        "repository": {"id": 3, "full_name": "other/place"}, "sender": {"id": 5, "login": "jane"}});
    let answer = stack.deliver(&stack.gitea("push", "push", &foreign)).await?;
    assert_eq!(answer.status, 403, "{:?}", answer.body);
    let mut unsigned = webhook(&stack, "gitea.push", 1, "please");
    unsigned.headers.remove("x-gitea-signature");
    assert_eq!(stack.deliver(&unsigned).await?.status, 401);
    assert_eq!(stack.orch(&["jobs"]).await?["jobs"], json!([]));
    stack.finish().await
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() -> anyhow::Result<()> {
    let mut stack = shop().lay_out()?;
    stack.process(Service::Scheduler).start().await?;
    stack.process(Service::Scheduler).terminate().await?;
    let mut sqlite = Sqlite::open(&stack).await?;
    sqlite.ask("UPDATE meta SET schema = schema + 1000; SELECT 'newer';").await?;
    sqlite.close().await?;
    for service in [Service::Scheduler, Service::Ingest] {
        stack.process(service).spawn()?;
        let status = stack.process(service).ended(WITHIN).await?;
        let log = stack.process(service).log();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains("newer"), "{log}");
    }
    // The console stays up to say so.
    stack.process(Service::Console).spawn()?;
    let console = stack.addr(Service::Console);
    answers(console, "/healthz", 200).await?;
    answers(console, "/readyz", 503).await?;
    stack.finish().await
}

#[tokio::test]
async fn a_store_locked_past_the_deadline_answers_503_with_nothing_half_written() -> anyhow::Result<()> {
    let mut stack = shop().start().await?;
    stack.orch(&["pause"]).await?;
    let before = start(&stack, "gitea.push", 1, "please").await?;
    let mut sqlite = Sqlite::open(&stack).await?;
    sqlite.ask("BEGIN EXCLUSIVE; SELECT 'held';").await?;
    let refused = webhook(&stack, "gitea.push", 2, "please");
    let answer = stack.deliver(&refused).await?;
    assert_eq!(answer.status, 503, "{:?}", answer.body);
    assert_eq!(get(stack.addr(Service::Console), "/queue").await?.status, 200, "readers go on");
    let counts =
        sqlite.ask("SELECT (SELECT count(*) FROM jobs) || ' ' || (SELECT count(*) FROM deliveries);").await?;
    assert_eq!(counts, "1 1");
    sqlite.ask("COMMIT; SELECT 'free';").await?;
    sqlite.close().await?;

    let again = until("the sender's second try", WITHIN, || async {
        let answer = stack.deliver(&refused).await?;
        Ok(answer.status.is_success().then_some(answer))
    });
    let again = again.await?.json()?;
    let after = again["job_ids"][0].as_i64().context("a job")?;
    stack.orch(&["resume"]).await?;
    for id in [before, after] {
        assert_eq!(spent(&stack.until_status(id, "done", WITHIN).await?), [0, 0, 0, 1]);
    }
    assert_eq!(stack.orch(&["queue"]).await?["counts"]["done"], 2, "one job for each delivery");
    for service in [Service::Scheduler, Service::Ingest, Service::Runner(0), Service::Console] {
        assert!(stack.process(service).runs());
        stack.process(service).ready().await?;
    }
    stack.finish().await
}

#[tokio::test]
async fn a_second_scheduler_on_one_sqlite_database_ends_with_a_clear_message() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let second = stack.command("orch-scheduler")?.env("ORCH_SCHEDULER_ADDR", "127.0.0.1:0").output();
    let second = tokio::time::timeout(WITHIN, second).await.context("the second scheduler did not end")??;
    let log =
        format!("{}{}", String::from_utf8_lossy(&second.stdout), String::from_utf8_lossy(&second.stderr));
    assert!(second.status.code().is_some_and(|code| code != 0), "{log}");
    assert!(log.contains("another scheduler") || log.contains("already"), "{log}");
    let id = enqueue(&stack, "then=success").await?;
    stack.until_status(id, "done", WITHIN).await?;
    stack.finish().await
}

#[tokio::test]
async fn the_console_comes_up_without_a_database_and_is_ready_once_there_is_one() -> anyhow::Result<()> {
    let mut stack = shop().lay_out()?;
    stack.process(Service::Console).spawn()?;
    let console = stack.addr(Service::Console);
    answers(console, "/healthz", 200).await?;
    assert_eq!(get(console, "/readyz").await?.status, 503);
    let queue = get(console, "/queue").await?;
    assert_eq!(queue.status, 503);
    assert!(queue.json()?["error"].as_str().is_some_and(|error| !error.is_empty()));
    stack.process(Service::Scheduler).start().await?;
    answers(console, "/readyz", 200).await?;
    assert_eq!(get(console, "/queue").await?.json()?["recent"], Value::Array(Vec::new()));
    stack.finish().await
}

/// Waits until a page answers with that status.
async fn answers(addr: std::net::SocketAddr, path: &str, status: u16) -> anyhow::Result<()> {
    until(&format!("{path} says {status}"), WITHIN, || async move {
        Ok(get(addr, path).await.ok().filter(|answer| answer.status.as_u16() == status).map(|_| ()))
    })
    .await
}

/// SQLite's own shell on the stack's database: another process, as an operator's would be.
struct Sqlite {
    child: tokio::process::Child,
    stdin: tokio::process::ChildStdin,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Sqlite {
    async fn open(stack: &Stack) -> anyhow::Result<Self> {
        let mut child = tokio::process::Command::new("sqlite3")
            .arg(stack.folder().join("orch.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("could not start sqlite3")?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let mut shell = Self { child, stdin, lines };
        shell.ask("PRAGMA busy_timeout = 10000;").await?;
        Ok(shell)
    }

    /// Executes statements whose last one yields one row, and returns that.
    async fn ask(&mut self, sql: &str) -> anyhow::Result<String> {
        self.stdin.write_all(format!("{sql}\n").as_bytes()).await?;
        let line =
            tokio::time::timeout(WITHIN, self.lines.next_line()).await.context("sqlite3 is silent")??;
        line.context("sqlite3 has ended")
    }

    async fn close(mut self) -> anyhow::Result<()> {
        drop(self.stdin);
        self.child.wait().await?;
        Ok(())
    }
}
