//! Whole processes: exit codes, signals, settings from the environment, and what reaches a collector.
//! They run `examples/hello.rs`, which cargo builds with the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::Uri;
use rustix::process::{Pid, Signal, kill_process};
use service::server::{Limits, serve};
use service::{Tasks, lifecycle};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};

const DEADLINE: Duration = Duration::from_secs(20);

/// The program, without any setting of the one who runs the tests.
fn hello(settings: &[(&str, &str)]) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/hello");
    let mut command = Command::new(path);
    command.env_clear().envs(settings.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

struct Running {
    child: Child,
    addr: String,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let mut child =
            hello(settings).env("ORCH_HELLO_PASSWORD", "xyzzy").stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = wait_for(&mut log, "listening").await;
        let addr = line.split("addr=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Self { child, addr, log }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs").cast_signed();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    async fn get(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ended(mut self) -> Option<i32> {
        tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

async fn wait_for(log: &mut Lines<BufReader<ChildStderr>>, text: &str) -> String {
    let search = async {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains(text) {
                return line;
            }
        }
        panic!("the log ended without `{text}`");
    };
    tokio::time::timeout(DEADLINE, search).await.expect("a line of the log")
}

#[tokio::test]
async fn the_first_signal_stops_gracefully() {
    for signal in [Signal::TERM, Signal::INT] {
        let running = Running::start(&[]).await;
        running.signal(signal);
        assert_eq!(running.ended().await, Some(i32::from(lifecycle::EXIT_CLEAN)));
    }
}

#[tokio::test]
async fn the_second_signal_stops_at_once_and_says_which_it_was() {
    for (signal, code) in [(Signal::TERM, lifecycle::EXIT_SIGTERM), (Signal::INT, lifecycle::EXIT_SIGINT)] {
        let mut running = Running::start(&[]).await;
        let _hanging = running.get("/hang").await;
        wait_for(&mut running.log, "hanging").await;
        running.signal(Signal::TERM);
        wait_for(&mut running.log, "stopping on a signal").await;
        running.signal(signal);
        assert_eq!(running.ended().await, Some(i32::from(code)));
    }
}

#[tokio::test]
async fn a_panic_in_a_task_ends_the_process_as_failed() {
    let running = Running::start(&[]).await;
    // The connection stays open: a request whose client has gone may never be looked at.
    let _asking = running.get("/panic").await;
    assert_eq!(running.ended().await, Some(i32::from(lifecycle::EXIT_FAILED)));
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_its_own_code_and_a_reason() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "ORCH_HELLO_PASSWORD is not set"),
        (&[("ORCH_HELLO_PASSWORD", "")], "ORCH_HELLO_PASSWORD is not set"),
        (&[("ORCH_HELLO_PASSWORD", "x"), ("ORCH_HELLO_PASSWORD_FILE", "/x")], "are both given"),
        (&[("ORCH_HELLO_PASSWORD_FILE", "/nonexistent/x")], "could not read /nonexistent/x"),
        (&[("ORCH_HELLO_ADDR", "nowhere")], "nowhere"),
        (&[("RUST_LOG", "a=b=c")], "RUST_LOG"),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "no url")], "OTLP endpoint `no url`"),
        (&[("ORCH_HELLO_PASSWORD", "x"), ("ORCH_HELLO_ADDR", "0.0.0.0:0")], "ORCH_ALLOW_PLAINTEXT"),
    ];
    for (settings, reason) in cases {
        let output = tokio::time::timeout(DEADLINE, hello(settings).output()).await.unwrap().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(lifecycle::EXIT_REFUSED)), "{settings:?}: {stderr}");
        assert!(stderr.contains(reason), "{settings:?}: {stderr}");
    }
}

#[tokio::test]
async fn print_config_shows_every_setting_and_no_secret() {
    let settings = [("ORCH_HELLO_PASSWORD", "xyzzy"), ("ORCH_LOG_FORMAT", "json"), ("ORCH_TLS_CA", "")];
    let output = hello(&settings).arg("--print-config").arg("--allow-plaintext").output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "RUST_LOG=info\nORCH_LOG_FORMAT=json\nOTEL_EXPORTER_OTLP_ENDPOINT=\nOTEL_EXPORTER_OTLP_TRACES_ENDPOINT=\n\
         OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=\nOTEL_SERVICE_NAME=\nOTEL_SDK_DISABLED=false\nORCH_TLS_CA=\n\
         ORCH_TLS_CERT=\nORCH_TLS_KEY=\nORCH_ALLOW_PLAINTEXT=true\nORCH_HELLO_PASSWORD=<redacted>\n\
         ORCH_HELLO_PASSWORD_FILE=\nORCH_HELLO_ADDR=127.0.0.1:0\n"
    );
    let help = hello(&settings).arg("--help").output().await.unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("xyzzy"));
}

/// Listens like a collector and keeps what it was sent.
async fn collector(tasks: &Tasks) -> (String, Arc<Mutex<Vec<(String, Bytes)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = received.clone();
    let app = Router::new().fallback(async move |uri: Uri, body: Bytes| {
        kept.lock().unwrap().push((uri.path().to_owned(), body));
        ([("content-type", "application/grpc"), ("grpc-status", "0")], ())
    });
    let serving = tasks.clone();
    tasks.spawn("collector", async move { serve(listener, app, Limits::default(), None, &serving).await });
    (endpoint, received)
}

#[tokio::test]
async fn traces_and_metrics_reach_a_collector_before_the_process_ends_and_only_when_asked() {
    let tasks = Tasks::new();
    let (endpoint, received) = collector(&tasks).await;
    for (disabled, expected) in [("true", Vec::new()), ("false", vec!["TraceService"])] {
        let running = Running::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_SERVICE_NAME", "hello-from-the-test"),
            ("OTEL_SDK_DISABLED", disabled),
        ])
        .await;
        running.get("/").await.read_to_string(&mut String::new()).await.unwrap();
        running.signal(Signal::TERM);
        assert_eq!(running.ended().await, Some(0));
        let received = std::mem::take(&mut *received.lock().unwrap());
        let holds = |body: &Bytes, text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
        let complete = |body: &Bytes| holds(body, "hello-from-the-test") && holds(body, "GET /");
        let services: Vec<_> = received
            .iter()
            .filter(|(_, body)| complete(body))
            .filter_map(|(path, _)| path.split('/').nth(1)?.rsplit('.').next())
            .collect();
        assert_eq!(services, expected);
    }
    tasks.stop();
    assert!(tasks.finished(DEADLINE).await);
}

#[tokio::test]
async fn json_log_lines_are_objects() {
    let mut child = hello(&[("ORCH_HELLO_PASSWORD", "x"), ("ORCH_LOG_FORMAT", "json")])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = wait_for(&mut BufReader::new(child.stderr.take().unwrap()).lines(), "listening").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("INFO"), Some("listening")));
    child.kill().await.unwrap();
}
