//! The binary itself: it says where it listens, stops cleanly, and refuses what cannot work.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The longest wait for a start or an end.
const DEADLINE: Duration = Duration::from_secs(20);

fn spawn(folder: &Path, settings: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_orch-scheduler"))
        .current_dir(folder)
        .env("ORCH_SCHEDULER_ADDR", "127.0.0.1:0")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn listening(child: &mut Child) {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let seen = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("listening") {
                return;
            }
        }
        panic!("it ended before it listened");
    };
    tokio::time::timeout(DEADLINE, seen).await.unwrap();
    // Kept open and read, so that the process never blocks on its own log.
    child.stderr = Some(lines.into_inner().into_inner());
}

async fn refused(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    tokio::time::timeout(DEADLINE, stderr.read_to_string(&mut said)).await.unwrap().unwrap();
    (child.wait().await.unwrap().code(), said)
}

#[tokio::test]
async fn it_stops_cleanly_on_sigterm_and_a_second_one_beside_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = spawn(folder.path(), &[]);
    listening(&mut first).await;

    let (code, said) = refused(spawn(folder.path(), &[])).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another scheduler runs on orch-data/orch.db"), "{said}");

    let pid = Pid::from_raw(i32::try_from(first.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = tokio::time::timeout(DEADLINE, first.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_lease_too_short_and_a_broken_orch_toml_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = refused(spawn(folder.path(), &[("ORCH_LEASE_SECONDS", "300")])).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("ORCH_LEASE_SECONDS is 300.0, too short"), "{said}");

    std::fs::write(folder.path().join("orch.toml"), "[[project]]\nnam = \"shop\"\n").unwrap();
    let (code, said) = refused(spawn(folder.path(), &[])).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("orch.toml: line 2, column 1: unknown key `nam`"), "{said}");
}
