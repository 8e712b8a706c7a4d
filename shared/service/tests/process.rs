//! Whole processes: exit codes, signals, settings from the environment, and what reaches a collector.
//! They run `examples/hello.rs`, which cargo builds with the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
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
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let addr = format!("127.0.0.1:{port}");
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
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "no-url"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            "OTLP endpoint `no-url/v1/traces`",
        ),
        (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "http/protobuf"),
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
         OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=\nOTEL_EXPORTER_OTLP_PROTOCOL=grpc\nOTEL_EXPORTER_OTLP_TRACES_PROTOCOL=\n\
         OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=\nOTEL_TRACES_EXPORTER=otlp\nOTEL_METRICS_EXPORTER=otlp\nOTEL_SERVICE_NAME=\nOTEL_SDK_DISABLED=false\nORCH_TLS_CA=\n\
         ORCH_TLS_CERT=\nORCH_TLS_KEY=\nORCH_ALLOW_PLAINTEXT=true\nORCH_HELLO_PASSWORD=<redacted>\n\
         ORCH_HELLO_PASSWORD_FILE=\nORCH_HELLO_ADDR=127.0.0.1:0\n"
    );
    let help = hello(&settings).arg("--help").output().await.unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("xyzzy"));
}

/// Variables of an environment.
type Variables<'a> = &'a [(&'a str, &'a str)];
/// An export as a collector saw it: its path, a header, its body.
type Export = (String, Option<String>, Bytes);

/// Listens like a collector and keeps what it was sent.
async fn collector(tasks: &Tasks) -> (String, Arc<Mutex<Vec<Export>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = received.clone();
    let app = Router::new().fallback(async move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let tenant = headers.get("x-tenant").map(|value| value.to_str().unwrap().to_owned());
        kept.lock().unwrap().push((uri.path().to_owned(), tenant, body));
        ([("content-type", "application/grpc"), ("grpc-status", "0")], ())
    });
    let serving = tasks.clone();
    tasks.spawn("collector", async move { serve(listener, app, Limits::default(), None, &serving).await });
    (endpoint, received)
}

#[tokio::test]
async fn the_standard_variables_say_what_reaches_a_collector_and_how() {
    const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let tasks = Tasks::new();
    let (endpoint, received) = collector(&tasks).await;
    let own = format!("{endpoint}/here");
    let cases: &[(Variables<'_>, &[&str])] = &[
        (&[], &[GRPC]),
        (&[("OTEL_SDK_DISABLED", "true")], &[]),
        (&[("OTEL_TRACES_EXPORTER", "none")], &[]),
        (&[("OTEL_METRICS_EXPORTER", "none")], &[GRPC]),
        (&[("OTEL_TRACES_SAMPLER", "always_off")], &[]),
        (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], &["/v1/traces"]),
        (
            &[
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &own),
                ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ],
            &["/here"],
        ),
    ];
    for (settings, expected) in cases {
        let all = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_SERVICE_NAME", "hello-from-the-test"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=the-test-bench"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=acme"),
        ];
        let running = Running::start(&[all.as_slice(), settings].concat()).await;
        running.get("/").await.read_to_string(&mut String::new()).await.unwrap();
        running.signal(Signal::TERM);
        assert_eq!(running.ended().await, Some(0), "{settings:?}");
        let received = std::mem::take(&mut *received.lock().unwrap());
        let holds = |body: &Bytes, text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
        let words = ["hello-from-the-test", "the-test-bench", "service.instance.id", "GET /"];
        let traces: Vec<_> =
            received.iter().filter(|(.., body)| words.iter().all(|word| holds(body, word))).collect();
        let paths: Vec<_> = traces.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(paths, *expected, "{settings:?}");
        assert!(traces.iter().all(|(_, tenant, _)| tenant.as_deref() == Some("acme")), "{settings:?}");
    }
    tasks.stop();
    assert!(tasks.finished(DEADLINE).await);
}

/// What a process has in memory, in KiB.
fn resident_kib(running: &Running) -> u64 {
    let pid = running.child.id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nobody_and_fills_no_memory() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (mut held, mut accepted) = (Vec::new(), 0);
    for protocol in ["grpc", "http/protobuf"] {
        let running = Running::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ])
        .await;
        let mut grown_from = 0;
        // More than twice what the queue of spans holds, before and after it is full.
        for round in 0..10_000 {
            let mut answer = String::new();
            running.get("/").await.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            if round == 5_000 {
                grown_from = resident_kib(&running);
            }
        }
        let grown_kib = resident_kib(&running).saturating_sub(grown_from);
        assert!(grown_kib < 8 * 1024, "{grown_kib} KiB more after another 5000 spans over {protocol}");
        while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::from_millis(1), silent.accept()).await
        {
            held.push(stream);
            accepted += 1;
        }
        assert!(accepted > 0, "nothing was ever sent over {protocol}");
        accepted = 0;
        running.signal(Signal::TERM);
        assert_eq!(running.ended().await, Some(0), "{protocol}");
    }
}

#[tokio::test]
async fn log_lines_of_a_request_carry_the_id_of_its_trace() {
    for (format, field) in [("json", "\"trace_id\":\""), ("text", " trace_id=")] {
        let mut running = Running::start(&[("ORCH_LOG_FORMAT", format)]).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            running.get("/log").await.read_to_string(&mut String::new()).await.unwrap();
            let line = wait_for(&mut running.log, "as asked").await;
            let id = line.split(field).nth(1).unwrap_or_else(|| panic!("no trace in {line}"));
            ids.push(id.chars().take_while(char::is_ascii_hexdigit).collect::<String>());
            if format == "json" {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(
                    (&line["job.id"], &line["trace_id"]),
                    (&7.into(), &ids.last().unwrap().as_str().into())
                );
            }
        }
        assert!(ids.iter().all(|id| id.len() == 32) && ids[0] != ids[1], "{ids:?}");
        running.signal(Signal::TERM);
        assert_eq!(running.ended().await, Some(0));
    }
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
