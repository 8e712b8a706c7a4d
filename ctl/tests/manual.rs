//! Completions and man pages as people use them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn orch(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orch"));
    let output = command.args(args).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").output();
    output.expect("orch starts")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn present(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

#[test]
fn completions_are_scripts_that_know_the_commands_and_not_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&orch(&["completions", shell]));
        for word in ["why", "drain", "scheduler-url", "breaker"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("demo-agent"), "{shell} completes what is hidden");
        if present(shell) {
            let file = folder.path().join(shell);
            fs::write(&file, &script).unwrap();
            let read = Command::new(shell).arg("-n").arg(&file).output().unwrap();
            assert!(read.status.success(), "{shell}: {read:?}");
        }
    }
}

#[test]
fn bash_completes_commands_and_their_words() {
    if !present("bash") {
        eprintln!("skipped: no bash");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("orch.bash");
    fs::write(&script, text(&orch(&["completions", "bash"]))).unwrap();
    let completed = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let ask = format!(
            "source {}; COMP_WORDS=({line}); [ -n '{}' ] || COMP_WORDS+=(''); COMP_CWORD={}; _orch orch '{}' '{}'; \
             echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.last().unwrap(),
            words.len() - 1,
            words.last().unwrap(),
            words[words.len() - 2],
        );
        text(&Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap())
    };
    assert_eq!(completed("orch wh").trim(), "why");
    assert_eq!(completed("orch jobs --status q").trim(), "queued");
    assert!(completed("orch breaker ").contains("reset"));
}

#[test]
fn every_command_has_a_man_page_that_man_reads() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let said = text(&orch(&["man", pages.to_str().unwrap()]));
    assert!(said.contains("man1"), "{said}");
    for name in ["orch", "orch-why", "orch-breaker-reset", "orch-dev", "orch-logs"] {
        assert!(pages.join(format!("{name}.1")).is_file(), "{name}");
    }
    assert!(!pages.join("orch-demo-agent.1").exists());
    let own = fs::read_to_string(pages.join("orch.1")).unwrap();
    assert_eq!(own, text(&orch(&["man"])));
    assert!(own.contains("Exit codes"), "{own}");
    read_by_man(&pages);
    let unwritable = orch(&["man", "/proc/no-folder"]);
    assert_eq!(unwritable.status.code(), Some(1), "{unwritable:?}");
    assert!(String::from_utf8_lossy(&unwritable.stderr).contains("could not write"), "{unwritable:?}");
}

/// Wide enough for the longest word: a line that cannot be broken is no fault of a page.
fn read_by_man(pages: &Path) {
    if !present("man") {
        eprintln!("skipped: no man");
        return;
    }
    for page in fs::read_dir(pages).expect("a folder") {
        let page = page.expect("a page").path();
        let read = Command::new("man")
            .args(["--warnings", "-l"])
            .arg(&page)
            .env("LC_ALL", "C")
            .env("MANWIDTH", "200")
            .output()
            .expect("man runs");
        assert!(read.status.success() && read.stderr.is_empty(), "{}: {read:?}", page.display());
    }
}
