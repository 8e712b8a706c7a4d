//! The targets: a name, and a function from bytes to an answer in a few words.

use std::sync::LazyLock;

use domain::agent_output::Reader;
use domain::classify::{Patterns, conclude, outcome_of_text};
use domain::outcome::Exit;
use domain::pipeline::Pipeline;
use domain::verdict::{final_message, read};
use domain::{Outcome, Timestamp, pipeline};
use http::{HeaderMap, HeaderValue};
use ingest::fuzz::{self as webhooks, Sender};
use prost::Message as _;
use proto::convert;
use proto::v1;
use service::server::{Network, Proxies};
use service::settings::{Mask, Secret, Veil};

/// A parser of bytes from outside.
#[derive(Debug)]
pub struct Target {
    /// As it is called, and its corpus.
    pub name: &'static str,
    /// Takes the bytes and says what became of them: much the same for much the same way through the code.
    pub run: fn(&[u8]) -> String,
}

/// All of them.
pub const TARGETS: [Target; 9] = [
    Target { name: "webhook", run: webhook },
    Target { name: "signature", run: signature },
    Target { name: "stream_json", run: stream_json },
    Target { name: "frames", run: frames },
    Target { name: "messages", run: messages },
    Target { name: "reset_text", run: reset_text },
    Target { name: "orch_toml", run: orch_toml },
    Target { name: "addresses", run: addresses },
    Target { name: "secrets", run: secrets },
];

/// Projects and triggers for what the corpus tells of.
static PIPELINE: LazyLock<Pipeline> =
    LazyLock::new(|| pipeline::parse(include_str!("../orch.toml")).expect("the file beside is read"));

/// 2026-11-20T09:15:00Z.
const NOW: Timestamp = Timestamp::from_ms(1_795_166_100_000);

/// The first line is `gitea` or `plane` and the event's name, the rest the body. What is taken as JSON here is JSON for
/// everybody, and a form carries the very bytes that were put into it.
fn webhook(input: &[u8]) -> String {
    let (head, body) = split(input, b'\n');
    let head = String::from_utf8_lossy(head);
    let (sender, event) = head.split_once(' ').unwrap_or(("gitea", &head));
    let sender = if sender == "plane" { Sender::Plane } else { Sender::Gitea };
    let form = [b"payload=", webhooks::form_encoded(body).as_bytes(), b"&other=1"].concat();
    assert_eq!(webhooks::form_payload(&form).as_deref(), Some(body), "a form carries what was put into it");
    let answer = webhooks::take(&PIPELINE, sender, event, body);
    if answer.is_ok() {
        serde_json::from_slice::<serde_json::Value>(body).expect("what is taken is JSON");
    }
    shape(&format!("{sender:?} {answer:?}"))
}

/// A signature in a line of its own, then the body: only the right one passes.
fn signature(input: &[u8]) -> String {
    let (line, body) = split(input, b'\n');
    let Ok(value) = HeaderValue::from_bytes(line) else { return "no header".to_owned() };
    let right = webhooks::sign("a secret", body);
    let mut answers = String::new();
    for (name, expected) in
        [("x-gitea-signature", right.clone()), ("x-hub-signature-256", format!("sha256={right}"))]
    {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.clone());
        let passes = webhooks::verify("a secret", &headers, body);
        let is_right = match (value.to_str(), expected.split_once('=')) {
            (Ok(text), Some((prefix, digits))) => {
                text.split_once('=').is_some_and(|(p, d)| p == prefix && d.eq_ignore_ascii_case(digits))
            }
            (Ok(text), None) => text.eq_ignore_ascii_case(&expected),
            (Err(_), _) => false,
        };
        assert_eq!(passes, is_right, "{name}: {value:?}");
        headers.insert(name, HeaderValue::from_str(&expected).expect("hex"));
        assert!(webhooks::verify("a secret", &headers, body), "the right one passes");
        answers.push(if passes { '+' } else { '-' });
    }
    format!("{answers} {}", line.len().min(130))
}

/// What an agent printed: however it is cut, it says the same, and nothing of it grows beyond its bounds.
fn stream_json(input: &[u8]) -> String {
    let whole = reading(input.len().max(1), input);
    assert_eq!(reading(7, input), whole, "however it is cut");
    let report = serde_json::to_string(&whole).expect("a report is JSON");
    assert!(report.len() <= 4 * 1024 * 1024, "{} bytes of a report", report.len());
    shape(&report)
}

fn reading(size: usize, input: &[u8]) -> domain::outcome::AgentReport {
    let mut reader = Reader::new();
    for piece in input.chunks(size) {
        reader.push(piece);
    }
    reader.finish();
    reader.into_report()
}

/// What a node sends of a run: frames of the log and the outcome, which is read, judged and told again.
fn frames(input: &[u8]) -> String {
    use v1::watch_frame::Frame;
    let frame = v1::WatchFrame::decode(input).ok().and_then(|frame| frame.frame);
    let outcome = match frame {
        Some(Frame::Outcome(frame)) => convert::read_outcome(&frame).ok(),
        Some(frame) => return shape(&format!("{frame:?}")),
        None => serde_json::from_slice::<Outcome>(input).ok(),
    };
    let Some(outcome) = outcome else { return "unreadable".to_owned() };
    let told = convert::read_outcome(&convert::outcome_frame(&outcome, "")).expect("what was told is read");
    assert_eq!(told.report, outcome.report);
    let (conclusion, evidence) = conclude(&outcome, false, &Patterns::default(), NOW);
    let verdict = read(final_message(&outcome));
    shape(&format!("{conclusion:?} {} {verdict:?}", evidence.len().min(8)))
}

/// The messages of both services: the first byte says which.
fn messages(input: &[u8]) -> String {
    let Some((which, bytes)) = input.split_first() else { return String::new() };
    match which % 10 {
        0 => decoded::<v1::LaunchRequest>(bytes, |launch| {
            let spec = launch.spec.unwrap_or_default();
            let read = (
                convert::read_run_steps(spec.steps).is_ok(),
                convert::read_repository(spec.repository).is_ok(),
            );
            format!("{read:?} {}", convert::read_run_key(launch.run.as_ref()).is_ok())
        }),
        1 => decoded::<v1::RegisterRequest>(bytes, |register| {
            let node = register.node.unwrap_or_default();
            format!("{:?}", convert::read_preflight(node.preflight.as_ref()).ok)
        }),
        2 => decoded::<v1::RenewRequest>(bytes, |renew| {
            let runs = renew.held.iter().map(|held| convert::read_run_key(held.run.as_ref()).is_ok());
            format!("{:?}", runs.take(4).collect::<Vec<_>>())
        }),
        3 => decoded::<v1::StartRequest>(bytes, |start| {
            format!("{:?}", convert::read_run_key(start.run.as_ref()).is_ok())
        }),
        4 => decoded::<v1::EnqueueRequest>(bytes, |_| String::new()),
        5 => decoded::<v1::WatchRequest>(bytes, |watch| {
            format!("{:?}", convert::read_run_key(watch.run.as_ref()).is_ok())
        }),
        6 => decoded::<v1::SettledRequest>(bytes, |_| String::new()),
        7 => decoded::<v1::JoinRequest>(bytes, |join| {
            let token = String::from_utf8_lossy(bytes);
            format!("{:?} {}", token.parse::<pki::JoinToken>().is_ok(), format!("{join:?}").len().min(99))
        }),
        8 => decoded::<v1::StreamLogsRequest>(bytes, |_| String::new()),
        _ => decoded::<v1::ListJobsRequest>(bytes, |_| String::new()),
    }
}

fn decoded<M: prost::Message + Default + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(M) -> String,
) -> String {
    let Ok(message) = M::decode(bytes) else { return format!("{}: no", std::any::type_name::<M>()) };
    let again = M::decode(message.encode_to_vec().as_slice()).expect("what was written is read");
    assert!(again == message || format!("{again:?}") == format!("{message:?}"), "and is the same");
    let length = format!("{message:?}").len().ilog2();
    format!("{}: {length} {}", std::any::type_name::<M>(), read(message))
}

/// What an agent or its provider wrote: judged the same twice, put off no further than the rules allow, and a verdict is
/// read from it.
fn reset_text(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let mut answers = String::new();
    for exit in [Exit::Code(0), Exit::Code(1)] {
        let outcome = outcome_of_text(&text, exit, NOW);
        let judged = conclude(&outcome, false, &Patterns::default(), NOW);
        assert_eq!(judged, conclude(&outcome, false, &Patterns::default(), NOW), "judged the same twice");
        answers.push_str(&shape(&format!("{:?} ", judged.0)));
    }
    answers + &shape(&format!("{:?}", read(&text)))
}

/// `orch.toml`: an error names its place, and what is taken is taken again.
fn orch_toml(input: &[u8]) -> String {
    let Ok(text) = str::from_utf8(input) else { return "no text".to_owned() };
    match pipeline::parse(text) {
        Ok(pipeline) => {
            format!("{} {} {}", pipeline.projects.len(), pipeline.stages.len(), pipeline.triggers.len())
        }
        Err(error) => shape(&error.to_string()),
    }
}

/// Lines: the trusted proxies, the peer, and what `X-Forwarded-For` says. Whom nobody trusts is the client himself.
fn addresses(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let networks: Result<Vec<Network>, _> =
        lines.next().unwrap_or_default().split(',').map(str::parse).collect();
    let Ok(peer) = lines.next().unwrap_or_default().parse() else { return "no peer".to_owned() };
    let Ok(networks) = networks else { return "no networks".to_owned() };
    let proxies = Proxies::new(networks);
    let mut headers = HeaderMap::new();
    for value in lines.filter_map(|line| HeaderValue::from_str(line).ok()).take(100) {
        headers.append("x-forwarded-for", value);
    }
    let client = proxies.client(peer, &headers);
    assert!(proxies.trusts(peer) || client == peer.to_canonical(), "nobody names another");
    format!("{} {} {}", proxies.trusts(peer), proxies.trusts(client), headers.len().min(4))
}

/// The secret in the first line is nowhere in the rest after it was covered, however the rest is cut.
fn secrets(input: &[u8]) -> String {
    let (secret, rest) = split(input, b'\n');
    let Ok(secret) = str::from_utf8(secret) else { return "no secret".to_owned() };
    let secret = Secret::new(secret);
    let mask = Mask::new([&secret]);
    let mut whole = rest.to_vec();
    let found = mask.cover(&mut whole);
    let mut veil = Veil::new(mask.clone(), 0);
    let (mut shown, mut at) = (Vec::new(), 0);
    for piece in rest.chunks(5) {
        shown.extend(veil.take(at, piece.to_vec()).1);
        at += piece.len() as u64;
    }
    shown.extend(veil.finish().map(|(_, bytes)| bytes).unwrap_or_default());
    assert_eq!(shown.len(), rest.len(), "offsets stay true");
    if !secret.expose().contains('*') {
        assert!(!mask.cover(&mut whole.clone()), "nothing is left to cover");
        assert!(!mask.cover(&mut shown), "however it is cut");
    }
    format!("{} {found} {}", mask.is_empty(), secret.expose().len().min(40))
}

fn split(input: &[u8], at: u8) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == at).unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// A text without its numbers and quoted words, cut: what is told apart are ways, not values.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut last = ' ';
    for c in text.chars() {
        let c = if c.is_ascii_digit() {
            '0'
        } else if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        };
        if c != last || c.is_ascii_alphabetic() {
            shape.push(c);
        }
        last = c;
        if shape.len() >= 400 {
            break;
        }
    }
    shape
}
