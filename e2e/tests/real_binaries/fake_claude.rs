//! The stand-in keeps what its head promises about signals, children and marks: other tests lean on it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use e2e::harness::claude::{agent_command, events};
use e2e::harness::{leftovers_of, program, until};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

const WITHIN: Duration = Duration::from_secs(10);

async fn start(folder: &Path, prompt: &str) -> anyhow::Result<Child> {
    let mut child = agent_command(&program("fake-claude")?, folder).env("ORCH_RUN_ID", "run-1").spawn()?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(prompt.as_bytes()).await?;
    Ok(child)
}

async fn until_file(path: &Path) -> anyhow::Result<()> {
    until(&path.display().to_string(), WITHIN, || async { Ok(path.exists().then_some(())) }).await
}

fn terminate(child: &Child) -> anyhow::Result<()> {
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("the child runs");
    Ok(kill_process(pid, Signal::TERM)?)
}

#[tokio::test]
async fn sigterm_ends_it_with_143_and_the_ledger_tells_both_ends() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let child = start(folder.path(), "fake: ledger=ledger write=ready then=hang").await?;
    let pid = child.id().expect("the child runs");
    until_file(&folder.path().join("ready")).await?;
    terminate(&child)?;
    let output = child.wait_with_output().await?;
    assert_eq!(output.status.code(), Some(143));
    assert!(events(&output.stdout).iter().all(|event| event["type"] != "result"));

    let ledger = std::fs::read_to_string(folder.path().join("ledger"))?;
    let lines: Vec<Vec<&str>> = ledger.lines().map(|line| line.split(' ').collect()).collect();
    let pid = pid.to_string();
    let (start, end) = (&lines[0], &lines[1]);
    assert_eq!(
        (lines.len(), start[0], end[0], start[1], start[3]),
        (2, "start", "end", pid.as_str(), "run-1")
    );
    assert_eq!((&start[1..5], end[6]), (&end[1..5], "143"));
    assert!(start[5].parse::<u64>()? <= end[5].parse()?, "{lines:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_agent_of_a_job_is_found_out_until_the_first_one_is_dead() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let count = |kind: &str| {
        let ledger = std::fs::read_to_string(folder.path().join("ledger")).unwrap_or_default();
        ledger.lines().filter(|line| line.starts_with(kind)).count()
    };
    let mut first =
        start(folder.path(), "fake: ledger=ledger alone=locks beat=20 write=ready then=hang").await?;
    until_file(&folder.path().join("ready")).await?;
    let second = start(folder.path(), "fake: ledger=ledger alone=locks").await?;
    assert!(second.wait_with_output().await?.status.success());
    assert_eq!(count("double"), 1);
    until("signs of life", WITHIN, || async { Ok((count("beat") > 2).then_some(())) }).await?;

    first.kill().await?;
    let third = start(folder.path(), "fake: ledger=ledger alone=locks").await?;
    assert!(third.wait_with_output().await?.status.success());
    assert_eq!(count("double"), 1);
    Ok(())
}

#[tokio::test]
async fn told_to_be_deaf_it_outlives_sigterm() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let child = start(folder.path(), "fake: deaf=1 write=ready sleep=0.2 then=success:still+here").await?;
    until_file(&folder.path().join("ready")).await?;
    terminate(&child)?;
    let output = child.wait_with_output().await?;
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(events(&output.stdout).last().expect("a result")["result"], "still here");
    Ok(())
}

#[tokio::test]
async fn its_child_lives_on_in_a_session_of_its_own() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().canonicalize()?;
    let child = start(&root, "fake: child=1 then=success").await?;
    assert!(child.wait_with_output().await?.status.success());
    let left = || leftovers_of("no marker is set here", &root, &BTreeSet::new()).processes;
    let (pid, command) = left().pop().expect("the child has outlived its parent");
    assert!(command.starts_with("fake-claude-orphan"), "{command}");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let session = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(3));
    assert_eq!(session, Some(pid.to_string().as_str()));
    until("the child's end", WITHIN, || async { Ok(left().is_empty().then_some(())) }).await
}
