use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::{AgentCommand, Cli, Options};
use crate::shims::HostShims;

/// A program that is a shell script, in a folder that is its home too.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, script: &str) {
        let path = self.dir.path().join("agent");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    }

    fn preflights(&self) -> Preflights {
        let cli = service::settings::try_parse_from::<Cli>(["orch-runner"]).unwrap();
        let agent =
            AgentCommand { program: self.dir.path().join("agent"), leading_args: vec!["lead".to_owned()] };
        let options = Options { agent, ..Options::from(cli) };
        Preflights::new(Arc::new(HostShims::new(&options)), Clock::manual(7))
    }

    async fn look(&self, preflights: &Preflights) -> Preflight {
        preflights.look(self.dir.path(), None).await;
        preflights.report().unwrap()
    }
}

#[tokio::test]
async fn only_the_version_is_asked_for_and_the_first_line_counts() {
    let place = Place::new();
    place.write("echo \"$@\" >> $HOME/asked; echo \"$1 2.1.330 (Claude Code)\"; echo more");
    let preflights = place.preflights();
    let program = Some(place.dir.path().join("agent").display().to_string());
    let version = Some("lead 2.1.330 (Claude Code)".to_owned());
    let checked_at = Timestamp::from_ms(7);
    let expected = Preflight { ok: true, version, checked_at, program, ..Preflight::default() };
    assert_eq!(place.look(&preflights).await, expected);
    assert_eq!(place.look(&preflights).await, expected);
    assert!(preflights.program().is_some());
    assert_eq!(
        std::fs::read_to_string(place.dir.path().join("asked")).unwrap(),
        "lead --version\n".repeat(2)
    );
}

#[tokio::test]
async fn a_failure_says_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    let preflights = place.preflights();
    let error = async |script: &str| {
        place.write(script);
        let preflight = place.look(&preflights).await;
        assert!(!preflight.ok && preflights.program().is_none(), "{script}");
        preflight.error.unwrap()
    };
    let cases = [
        ("exit 3", "agent --version failed (exit status: 3): reinstall it, or set ORCH_CLAUDE_BIN"),
        ("kill -9 $$", "agent --version failed (signal: 9 (SIGKILL)): reinstall it, or set ORCH_CLAUDE_BIN"),
        ("exit 0", "agent --version printed nothing: reinstall it, or set ORCH_CLAUDE_BIN"),
        (
            "echo hello",
            "it says \"hello\", which names no version: it is not the claude CLI, or set ORCH_CLAUDE_BIN",
        ),
        ("echo 0.2.9", "the oldest that is supported: update it, or set ORCH_CLAUDE_BIN"),
    ];
    for (script, words) in cases {
        let said = error(script).await;
        assert!(said.ends_with(words), "{script}: {said}");
    }
    std::fs::remove_file(place.dir.path().join("agent")).unwrap();
    let missing = place.look(&preflights).await.error.unwrap();
    assert!(missing.ends_with("was not found as an executable file: install it (npm install -g @anthropic-ai/claude-code) or set ORCH_CLAUDE_BIN"), "{missing}");
}

#[tokio::test]
async fn a_version_that_was_never_measured_is_taken_with_a_note() {
    let place = Place::new();
    place.write("echo 99.0.0");
    let preflight = place.look(&place.preflights()).await;
    assert!(preflight.ok && preflight.note.is_some_and(|note| note.starts_with("newer than 2.1.330")));
}

#[tokio::test]
async fn an_answer_holds_for_one_file_and_is_taken_back_with_it() {
    let place = Place::new();
    place.write("echo 2.1.330");
    let preflights = place.preflights();
    place.look(&preflights).await;
    assert!(preflights.program().is_some_and(|program| program.is_unchanged()));
    place.write("echo 2.1.330 ");
    assert_eq!(preflights.program(), None);
    let error = preflights.report().unwrap().error.unwrap();
    assert!(error.contains("has changed since it was looked at"), "{error}");
    // The look that was asked for does not wait for its time.
    tokio::time::timeout(Duration::from_mins(1), preflights.due(Duration::from_hours(1))).await.unwrap();
    assert!(place.look(&preflights).await.ok);
    assert!(preflights.program().is_some());
}

#[tokio::test]
async fn whoever_hangs_is_ended_with_all_it_started() {
    let place = Place::new();
    place.write("sleep 600 & echo $! > $HOME/child; wait");
    let preflights = place.preflights();
    let child = place.dir.path().join("child");
    let look = preflights.look(place.dir.path(), None);
    let begun = async {
        while !std::fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n')) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // Cut in the middle of the question, as when the runner stops.
    tokio::select! {
        _ = look => panic!("it does not answer"),
        () = begun => {}
    }
    let pid = std::fs::read_to_string(&child).unwrap();
    let stat = Path::new("/proc").join(pid.trim()).join("stat");
    let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    while lives() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
