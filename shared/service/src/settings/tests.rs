use std::time::Duration;

use clap::CommandFactory as _;

use super::print::redact_password;
use super::*;

crate::secret! {
    /// Token for a test.
    Token = "ORCH_TEST_SERVICE_TOKEN";
}

#[derive(Debug, Parser)]
#[command(name = "orch-test")]
struct Settings {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    tls: TlsSettings,
    #[command(flatten)]
    token: SecretSetting<Token>,
    /// How long to wait | at most
    #[arg(long, env = "ORCH_TEST_SERVICE_WAIT", value_parser = duration, default_value = "1s")]
    wait: Duration,
}

fn parsed(args: &[&str]) -> Result<Settings, clap::Error> {
    try_parse_from(std::iter::once("orch-test").chain(args.iter().copied()))
}

fn printed(args: &[&str]) -> String {
    let (command, matches) =
        matches(Settings::command(), std::iter::once("orch-test").chain(args.iter().copied())).unwrap();
    asked_to_print(&command, &matches).expect("--print-config is given")
}

#[test]
fn durations_are_read_as_people_write_them() {
    let read = |text: &str| duration(text).ok().map(|read| read.as_millis());
    let good = ["500ms", "1s", "2m", "1h", "1d", "30", "0.5", "1.5s", "0", " 7 "];
    assert_eq!(
        good.map(read),
        [500, 1_000, 120_000, 3_600_000, 86_400_000, 30_000, 500, 1_500, 0, 7_000].map(Some)
    );
    let bad = ["", "s", "-1", "+1", "1y", "1e3", "1h30m", "inf", "NaN", ".", "1.", "99999999999999999999"];
    assert_eq!(bad.map(read), [None; 12]);
    for text in ["1500ms", "90s", "2m", "1h", "7d", "0ms"] {
        assert_eq!(format_duration(duration(text).unwrap()), text);
    }
}

#[test]
fn a_secret_is_never_shown() {
    let args =
        ["--test-service-token=hunter2", "--database-url=postgres://orch:hunter2@db/orch", "--print-config"];
    let settings = parsed(&args).unwrap();
    assert_eq!(settings.token.get().map(Secret::expose), Some("hunter2"));
    let secret = Secret::new("hunter2");
    let everything = format!("{settings:?} {settings:#?} {secret:?} {secret}");
    assert!(!everything.contains("hunter2"), "{everything}");
    assert_eq!(
        printed(&args),
        "ORCH_DATABASE_URL=postgres://orch:<redacted>@db/orch\nORCH_TLS_CA=\nORCH_TLS_CERT=\nORCH_TLS_KEY=\n\
         ORCH_ALLOW_PLAINTEXT=false\nORCH_TEST_SERVICE_TOKEN=<redacted>\nORCH_TEST_SERVICE_TOKEN_FILE=\n\
         ORCH_TEST_SERVICE_WAIT=1s\n"
    );
}

#[test]
fn passwords_inside_urls_are_redacted() {
    let cases = [
        ("sqlite://orch-data/orch.db", "sqlite://orch-data/orch.db"),
        ("postgres://u:p@h/d?sslmode=require", "postgres://u:<redacted>@h/d?sslmode=require"),
        ("postgres://u:a/b@c@h/d", "postgres://u:<redacted>@h/d"),
        ("postgres:///d?user=u&password=p", "postgres:///d?user=u&password=<redacted>"),
        ("postgres://u@h:5432/d", "postgres://u@h:5432/d"),
        ("plain", "plain"),
    ];
    for (url, shown) in cases {
        assert_eq!(redact_password(url), shown);
    }
}

#[test]
fn a_secret_comes_from_a_file_and_loses_its_last_newline_only() {
    let folder = tempfile::tempdir().unwrap();
    let read = |content: &str| {
        let path = folder.path().join("secret");
        std::fs::write(&path, content).unwrap();
        let settings = parsed(&[&format!("--test-service-token-file={}", path.display())]).unwrap();
        settings.token.get().map(|secret| secret.expose().to_owned())
    };
    assert_eq!(
        ["abc\n", "abc\r\n", "abc\n\n", " abc ", "", "\n"].map(read),
        [
            Some("abc".to_owned()),
            Some("abc".to_owned()),
            Some("abc\n".to_owned()),
            Some(" abc ".to_owned()),
            None,
            None
        ]
    );
}

#[test]
fn both_ways_at_once_and_unreadable_files_are_refused_by_name() {
    let both = parsed(&["--test-service-token=a", "--test-service-token-file=b"]).unwrap_err().to_string();
    assert!(
        both.contains("ORCH_TEST_SERVICE_TOKEN and ORCH_TEST_SERVICE_TOKEN_FILE are both given"),
        "{both}"
    );
    let missing = parsed(&["--test-service-token-file=/nonexistent/x"]).unwrap_err().to_string();
    assert!(missing.contains("ORCH_TEST_SERVICE_TOKEN_FILE: could not read /nonexistent/x"), "{missing}");
    assert_eq!(parsed(&["--test-service-token="]).unwrap().token.get(), None);
}

#[test]
fn the_reference_has_one_row_per_setting_and_names_who_reads_it() {
    #[derive(Parser)]
    struct Other {
        #[command(flatten)]
        _database: DatabaseSettings,
        #[command(flatten)]
        _telemetry: TelemetrySettings,
    }
    let text = reference(&[("one", Settings::command()), ("other", Other::command())]);
    let row =
        |name: &str| text.lines().filter(|line| line.starts_with(&format!("| `{name}`"))).collect::<Vec<_>>();
    assert_eq!(
        row("ORCH_DATABASE_URL"),
        ["| `ORCH_DATABASE_URL` | `sqlite://orch-data/orch.db` | \
         Database: `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/NAME` | one, other |"]
    );
    assert_eq!(
        row("ORCH_TEST_SERVICE_WAIT"),
        ["| `ORCH_TEST_SERVICE_WAIT` | `1s` | How long to wait \\| at most | one |"]
    );
    assert_eq!(
        row("ORCH_TEST_SERVICE_TOKEN"),
        ["| `ORCH_TEST_SERVICE_TOKEN` | – | Token for a test | one |"]
    );
    assert_eq!(
        row("ORCH_LOG_FORMAT"),
        ["| `ORCH_LOG_FORMAT` | `text` | Form of the log lines on stderr (`text`, `json`) | other |"]
    );
}

#[test]
fn switches_take_a_value_or_none() {
    let plaintext = |args: &[&str]| parsed(args).map(|settings| settings.tls.allow_plaintext).ok();
    assert_eq!(plaintext(&[]), Some(false));
    assert_eq!(plaintext(&["--allow-plaintext"]), Some(true));
    assert_eq!(plaintext(&["--allow-plaintext=no"]), Some(false));
    assert_eq!(plaintext(&["--allow-plaintext=maybe"]), None);
}

#[test]
fn the_scheduler_is_reached_at_its_url_or_where_it_listens() {
    let reached = |url: Option<&str>, addr: &str, tls: &TlsSettings| {
        let endpoint = SchedulerEndpointSettings { scheduler_url: url.map(str::to_owned) };
        endpoint.url_or(addr.parse().unwrap(), tls)
    };
    let none = TlsSettings::default();
    let on = TlsSettings { tls_ca: Some("ca.pem".into()), ..TlsSettings::default() };
    assert_eq!(reached(Some("http://far:1"), "127.0.0.1:7070", &none), "http://far:1");
    assert_eq!(reached(None, "0.0.0.0:7070", &none), "http://127.0.0.1:7070");
    assert_eq!(reached(None, "[::]:7070", &on), "https://[::1]:7070");
}
