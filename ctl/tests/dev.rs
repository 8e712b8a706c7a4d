//! `orch dev` as people start it: a real process in a folder of its own, on ports that are free.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// For a machine that does much else.
const SOON: Duration = Duration::from_mins(1);

const ANY_PORTS: [&str; 8] = [
    "--ingest-addr",
    "127.0.0.1:0",
    "--scheduler-addr",
    "127.0.0.1:0",
    "--runner-addr",
    "127.0.0.1:0",
    "--console-addr",
    "127.0.0.1:0",
];

fn orch(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orch"));
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder);
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    orch(folder, args).output().expect("orch starts")
}

/// A running `orch dev`; killed when the test fails.
struct Dev {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Dev {
    fn start(folder: &Path, args: &[&str]) -> Self {
        let mut command = orch(folder, &["dev"]);
        let mut child =
            command.args(ANY_PORTS).args(args).stdout(Stdio::piped()).spawn().expect("orch starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a line with this text.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let line =
                self.lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("no `{text}` in {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Asks it to stop, as an init system does, and returns its exit code.
    fn stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(asked.success());
        // Its end closes the pipe.
        while self.lines.recv_timeout(SOON).is_ok() {}
        let mut code = None;
        wait_until("its end", || match self.child.try_wait().expect("it can be waited for") {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !holds() {
        assert!(waited < SOON, "{what} did not come");
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes whose working directory lies in `folder`.
fn processes_in(folder: &Path) -> usize {
    let folder = folder.canonicalize().expect("the folder is there");
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder)))
        .count()
}

#[test]
fn it_starts_says_where_things_are_and_ends_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), &["--claude-bin", "no-such-agent"]);
    let webhooks = dev.wait_for("webhooks");
    let scheduler = dev.wait_for("scheduler");
    dev.wait_for("MISSING    no-such-agent");
    dev.wait_for("Ctrl-C");
    assert!(dev.seen.len() <= 11, "{:#?}", dev.seen);
    assert!(webhooks.contains("/webhooks/gitea") && webhooks.contains("/webhooks/plane"), "{webhooks}");

    let data = folder.path().join("orch-data");
    for secret in ["gitea-webhook-secret", "plane-webhook-secret"] {
        assert_eq!(fs::metadata(data.join(secret)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let checked = run(folder.path(), &["config", "check", "orch-data/orch.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");

    let addr = scheduler.split_whitespace().nth(1).unwrap();
    let url = format!("--scheduler-url=http://{addr}");
    let enqueued = run(
        folder.path(),
        &["enqueue", &url, "--project", "demo", "--stage", "review", "--prompt", "hello", "--json"],
    );
    assert_eq!(
        String::from_utf8_lossy(&enqueued.stdout),
        "{\n  \"id\": 1,\n  \"created\": true\n}\n",
        "{enqueued:?}"
    );
    let ingest = webhooks
        .split_whitespace()
        .find_map(|word| word.strip_suffix("/webhooks/gitea"))
        .expect("an address");
    first_webhooks(folder.path(), &data.join("first-webhook.sh"), ingest);

    let unknown = run(folder.path(), &["job", "99", &url]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    assert_eq!(dev.stop(), Some(0));
    let gone = run(folder.path(), &["queue", &url]);
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("start everything with `orch dev`"), "{gone:?}");
    let doctor = run(folder.path(), &["doctor", &url]);
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
}

/// The script that `dev` wrote, and the lines of the README as they stand there, but for the port.
fn first_webhooks(folder: &Path, script: &Path, ingest: &str) {
    let present = |tool: &str, ask: &str| Command::new(tool).arg(ask).stdout(Stdio::null()).status().is_ok();
    if !present("curl", "--version") || !present("openssl", "version") {
        eprintln!("skipped: the first webhook needs curl and openssl");
        return;
    }
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("a README");
    let blocks = readme.split("```sh\n").filter_map(|rest| rest.split("```").next());
    let lines = blocks.filter(|block| block.contains("openssl dgst")).collect::<String>();
    let lines = lines.replace("http://127.0.0.1:8080", ingest);
    let answer = |args: &[&str]| {
        let output = Command::new("sh").args(args).current_dir(folder).output().expect("sh starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let script = script.to_str().expect("a path in UTF-8");
    assert_eq!(answer(&[script]), r#"{"decision":"enqueued","job_ids":[2]}"#);
    assert_eq!(answer(&[script]), r#"{"decision":"duplicate","job_ids":[2]}"#);
    assert_eq!(answer(&["-c", &lines]), r#"{"decision":"enqueued","job_ids":[3]}"#);
    assert_eq!(answer(&["-c", &lines]), r#"{"decision":"duplicate","job_ids":[3]}"#);
}

#[test]
fn the_demo_shows_success_a_limit_a_retry_and_a_failure_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), &["--demo", "--data-dir", "d"]);
    dev.wait_for("DEMO        all jobs came to their end");
    for told in ["met a limit", "failed at try 1", "failed for good", "is done, at its second chance"] {
        assert!(
            dev.seen.iter().any(|line| line.starts_with("DEMO") && line.contains(told)),
            "{told}: {:#?}",
            dev.seen
        );
    }
    assert_eq!(dev.stop(), Some(0));
    let doctor = run(folder.path(), &["doctor", "--database-url", "sqlite://d/orch.db"]);
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
    nothing_is_left_in(folder.path());
}

/// A shim whose report is kept may be a moment behind the program that started it.
fn nothing_is_left_in(folder: &Path) {
    wait_until("the end of all processes", || processes_in(folder) == 0);
}

#[test]
fn stopping_ends_agents_and_records_that() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), &["--demo", "--data-dir", "d"]);
    dev.wait_for("runs");
    assert_eq!(dev.stop(), Some(0));
    nothing_is_left_in(folder.path());
    let doctor = run(folder.path(), &["doctor", "--database-url", "sqlite://d/orch.db"]);
    assert_eq!(doctor.status.code(), Some(0), "{doctor:?}");
}

#[test]
fn kept_agents_live_on_and_the_next_start_ends_them_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path(), &["--demo", "--data-dir", "d", "--keep-agents"]);
    dev.wait_for("runs");
    // The process itself is in the folder, too.
    wait_until("an agent", || processes_in(folder.path()) > 1);
    assert_eq!(dev.stop(), Some(0));
    assert!(processes_in(folder.path()) > 0);

    let mut dev = Dev::start(folder.path(), &["--demo", "--data-dir", "d"]);
    dev.wait_for("is queued");
    assert_eq!(dev.stop(), Some(0));
    nothing_is_left_in(folder.path());
}

#[test]
fn a_taken_port_is_named_with_its_setting() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut args = vec!["dev"];
    args.extend(ANY_PORTS);
    args[8] = &addr;
    let refused = run(folder.path(), &args);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ORCH_CONSOLE_ADDR"), "{refused:?}");
}
