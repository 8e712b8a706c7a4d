//! Every program with secrets in its settings, and every place where one could come to light.

use std::path::Path;

use anyhow::{Context as _, ensure};
use e2e::collector::Collector;
use e2e::harness::{Service, get, until};

use crate::shop::{WITHIN, enqueue, shop};

/// What each program is given; none of them is a word of anything else.
const PLANTED: [(&str, &str); 8] = [
    ("ORCH_GITEA_WEBHOOK_SECRET", "planted-7f3a-gitea-webhook"),
    ("ORCH_GITEA_WEBHOOK_SECRET_PREVIOUS", "planted-7f3a-gitea-before"),
    ("ORCH_PLANE_WEBHOOK_SECRET", "planted-7f3a-plane-webhook"),
    ("ORCH_CONSOLE_TOKEN", "planted-7f3a-console-token"),
    ("ORCH_CONSOLE_READ_TOKEN", "planted-7f3a-console-reader"),
    ("ORCH_TELEGRAM_BOT_TOKEN", "1234:planted-7f3a-telegram"),
    ("ORCH_ALERT_WEBHOOK_SECRET", "planted-7f3a-alert-webhook"),
    ("ORCH_GIT_TOKEN", "planted-7f3a-git-token"),
];
/// A part of each.
const MARK: &str = "planted-7f3a";
/// What the agent has, and its runner therefore in its environment.
const AGENT: &str = "planted-7f3a-agent-credential";

const SERVICES: [Service; 4] = [Service::Ingest, Service::Scheduler, Service::Runner(0), Service::Console];

#[tokio::test]
async fn no_secret_comes_to_light_anywhere() -> anyhow::Result<()> {
    let collector = Collector::start().await?;
    let mut stack = shop()
        .env("ORCH_MAX_ATTEMPTS", "1")
        .env("ORCH_TELEGRAM_CHAT_ID", "1")
        .env("ORCH_TELEGRAM_API_URL", "http://127.0.0.1:9")
        .env("ORCH_ALERT_WEBHOOK_URL", "http://127.0.0.1:9/planted-7f3a-in-a-url")
        .env("ORCH_AGENT_ENV", "ORCH_E2E,PLANTED_API_KEY")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("RUST_LOG", "debug");
    for (name, value) in PLANTED {
        stack = stack.env(name, value);
    }
    let mut stack = stack.lay_out()?;
    stack.process(Service::Runner(0)).set_env("PLANTED_API_KEY", AGENT);
    for service in [Service::Scheduler, Service::Ingest, Service::Runner(0), Service::Console] {
        stack.process(service).start().await?;
    }

    // An agent that prints the credential it has and tokens that it should not have, whole and in two pieces.
    let file = stack.folder().join("home/found");
    let found = format!("{AGENT} planted-7f3a-git-token 1234:planted-7f3a-telegram {AGENT}");
    std::fs::write(&file, found)?;
    let id = enqueue(&stack, &format!("reveal={0} reveal={0} then=crash:3", file.display())).await?;
    stack.until_status(id, "failed", WITHIN).await?;
    let log = stack.orch_output(&["logs", &id.to_string()]).await?;
    let log = String::from_utf8_lossy(&log.stdout).into_owned();
    ensure!(log.contains(&"*".repeat(AGENT.len())), "the agent said so: {log}");

    let mut seen: Vec<(String, Vec<u8>)> = vec![("orch logs".to_owned(), log.into_bytes())];
    for command in [vec!["job"], vec!["why"]] {
        let id = id.to_string();
        let output = stack.orch_output(&[command.as_slice(), &[id.as_str()]].concat()).await?;
        seen.push((format!("orch {command:?}"), [output.stdout, output.stderr].concat()));
    }
    for service in SERVICES {
        let pid = stack.process(service).pid().context("it runs")?;
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}"))?;
            let mut text = String::from_utf8_lossy(&text).into_owned();
            if matches!(service, Service::Runner(_)) {
                text = text.replacen(AGENT, "", 1);
            }
            seen.push((format!("{file} of {service:?}"), text.into_bytes()));
        }
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        ensure!(core.split_whitespace().nth(4) == Some("0"), "{service:?} may leave a core file: {core}");
        let metrics = get(stack.addr(service), "/metrics").await?;
        ensure!(metrics.status.is_success(), "{metrics:?}");
        seen.push((format!("metrics of {service:?}"), metrics.body.to_vec()));
        seen.push((format!("log of {service:?}"), stack.process(service).log().into_bytes()));
    }
    for program in ["orch-ingest", "orch-scheduler", "orch-runner", "orch-console"] {
        for args in [["--print-config"], ["--no-such-flag"], ["--help"]] {
            let output = stack.command(program)?.args(args).output().await?;
            seen.push((format!("{program} {args:?}"), [output.stdout, output.stderr].concat()));
        }
    }
    until("traces arrived", WITHIN, || async { Ok((!collector.spans().is_empty()).then_some(())) }).await?;
    seen.push(("traces".to_owned(), format!("{:?}", collector.spans()).into_bytes()));
    // Everything that is stored: the database, its log, the logs of runs; not the spool, which is the runner's own.
    for file in files(stack.folder(), &["home", "tmp", "runner-0", "workspaces"])? {
        seen.push((file.display().to_string(), std::fs::read(&file)?));
    }
    for (place, text) in &seen {
        ensure!(
            memchr::memmem::find(text, MARK.as_bytes()).is_none(),
            "a secret is in {place}: {}",
            around(text)
        );
    }
    stack.finish().await
}

fn around(text: &[u8]) -> String {
    let at = memchr::memmem::find(text, MARK.as_bytes()).unwrap_or(0);
    let (from, to) = (at.saturating_sub(200), (at + 60).min(text.len()));
    String::from_utf8_lossy(&text[from..to]).into_owned()
}

fn files(folder: &Path, except: &[&str]) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if except.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            files.extend(self::files(&entry.path(), except)?);
        } else if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}
