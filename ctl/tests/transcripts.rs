//! Every command as people and scripts meet it, against a real `orch dev`: what is typed, what is printed, the exit code.
//!
//! The transcripts are files to be read. `ORCH_UPDATE_TRANSCRIPTS=1 cargo test -p ctl --test transcripts` writes them anew;
//! ids, instants and places are replaced by words.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use clap::CommandFactory as _;
use common::Dev;
use regex::Regex;

/// In the order in which they are played: later ones go on with the jobs of earlier ones.
const ORDER: [&str; 34] = [
    "config",
    "classify",
    "migrate",
    "enqueue",
    "jobs",
    "job",
    "why",
    "logs",
    "pause",
    "queue",
    "cancel",
    "resume",
    "retry",
    "items",
    "approve",
    "reject",
    "budget",
    "account",
    "breaker",
    "audit",
    "runners",
    "doctor",
    "backup",
    "restore",
    "import",
    "requeue",
    "ca",
    "join",
    "drain",
    "lost",
    "top",
    "completions",
    "man",
    "dev",
];
/// Commands that have nothing to say in JSON.
const WITHOUT_JSON: [&str; 4] = ["completions", "man", "dev", "config schema"];

#[test]
fn every_command_says_what_its_transcript_says() {
    let dev = Dev::start();
    dev.wait_until("orch runners", "2.1.330");
    let words = Words::new(&dev);
    let update = std::env::var_os("ORCH_UPDATE_TRANSCRIPTS").is_some();
    let mut wrong = Vec::new();
    for name in ORDER {
        let kept = read(name);
        let played = play(&dev, &words, &kept);
        assert!(!played.contains('\x1b'), "{name}: colours in a pipe");
        if update {
            fs::write(path(name), &played).expect("a transcript is written");
        } else if played != kept {
            let differs = kept.lines().zip(played.lines()).find(|(kept, played)| kept != played);
            wrong.push(format!("{name}.txt: {differs:#?}\nplayed:\n{played}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_has_a_transcript_with_json_and_with_a_failure() {
    let told: String = ORDER.iter().map(|name| read(name)).collect();
    let steps: Vec<(&str, bool)> = told
        .split("\n$ ")
        .map(|step| {
            (step.lines().next().unwrap_or_default(), step.lines().any(|line| line.starts_with("? ")))
        })
        .collect();
    let mut missing = Vec::new();
    for command in leaves(&ctl::Cli::command(), "") {
        let own = |line: &str| {
            let mut words = line.split_whitespace().skip_while(|word| *word != "orch").skip(1);
            command.split(' ').all(|name| words.next() == Some(name))
        };
        let steps: Vec<_> = steps.iter().filter(|(line, _)| own(line)).collect();
        if !steps.iter().any(|(_, failed)| !failed) && command != "top" {
            missing.push(format!("{command}: nothing that goes well"));
        }
        if !steps.iter().any(|(_, failed)| *failed) {
            missing.push(format!("{command}: nothing that fails"));
        }
        if !steps.iter().any(|(line, _)| line.contains("--json")) && !WITHOUT_JSON.contains(&command.as_str())
        {
            missing.push(format!("{command}: no --json"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Every command that does something, by its words.
fn leaves(command: &clap::Command, above: &str) -> Vec<String> {
    let shown = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    shown
        .flat_map(|inner| {
            let name = format!("{above}{}", inner.get_name());
            let below = leaves(inner, &format!("{name} "));
            let itself = (!inner.is_subcommand_required_set()).then_some(name);
            itself.into_iter().chain(below)
        })
        .collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/transcripts/{name}.txt"))
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}.txt: {error}"))
}

/// Runs what a transcript types, and writes down what comes of it. Its other lines are kept: words (`#`), and waits
/// (`% COMMAND => TEXT`: until COMMAND prints TEXT).
fn play(dev: &Dev, words: &Words, transcript: &str) -> String {
    let mut played = String::new();
    for line in transcript.lines() {
        if line.starts_with('#') || (line.is_empty() && played.ends_with('\n')) {
            played += line;
        } else if let Some(wait) = line.strip_prefix("% ") {
            let (command, text) = wait.split_once(" => ").expect("% COMMAND => TEXT");
            dev.wait_until(command, text);
            played += line;
        } else if let Some(command) = line.strip_prefix("$ ") {
            played += line;
            played.push('\n');
            played += &words.of(&dev.output(command));
            continue;
        } else {
            continue;
        }
        played.push('\n');
    }
    // One empty line between steps, whatever was there.
    let mut tidy = String::new();
    for line in played.lines() {
        let starts = line.starts_with('$') || line.starts_with('#') || line.starts_with('%');
        let follows = tidy.lines().last().is_some_and(|last| last.starts_with('#') || last.starts_with('%'));
        if starts && !tidy.is_empty() && !follows && !tidy.ends_with("\n\n") {
            tidy.push('\n');
        }
        if !(line.is_empty() && tidy.ends_with("\n\n")) {
            tidy += line;
            tidy.push('\n');
        }
    }
    tidy.trim_end().to_owned() + "\n"
}

/// What is different at every run, and the word for it.
struct Words {
    folder: String,
    rules: Vec<(Regex, &'static str)>,
}

impl Words {
    fn new(dev: &Dev) -> Self {
        let rules = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8000-000000000000", "<session>"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<run>"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<runner>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
            (r"\d{4}-\d\d-\d\d", "<day>"),
            (r"\b(\d+[dhms] )?\d+[dhms] ago", "<ago>"),
            (r"\bin (\d+[dhms] )?\d+[dhms]\b", "in <a while>"),
            (r"waits for (\d+[dhms] )?\d+[dhms]\b", "waits for <a while>"),
            (r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:<port>"),
            (r#""oldest_ready_seconds": [0-9.]+"#, r#""oldest_ready_seconds": <seconds>"#),
            (r#""trace_id": "[0-9a-f]{32}""#, r#""trace_id": "<trace>""#),
            (r"\d+ bytes and \d+ in its log", "<size>"),
            (r"\d+ finished jobs are kept", "<some> finished jobs are kept"),
            (r"\d+ bytes, and is whole", "<size>, and is whole"),
            (r#""bytes": \d+"#, r#""bytes": <bytes>"#),
            (r"before-\d+", "before-<time>"),
            (r"@\d{13}", "@<instant>"),
            (r"orch-join-1\.[0-9A-Za-z_-]+", "orch-join-1.<secret>"),
            (r#""id": "[0-9a-f]{16}""#, r#""id": "<id>""#),
            (r"generation \d{9,}", "generation <number>"),
            (r#""database_generation": \d{9,}"#, r#""database_generation": <number>"#),
            (r#""log_bytes": "?\d+"?"#, r#""log_bytes": <bytes>"#),
            // Columns are as wide as what was replaced.
            (r"  +(\S)", "  $1"),
            (r" +\n", "\n"),
        ];
        let rules = rules.map(|(pattern, word)| (Regex::new(pattern).expect("a pattern"), word)).into();
        Self { folder: dev.folder.path().display().to_string(), rules }
    }

    /// What a command printed and how it ended.
    fn of(&self, output: &Output) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let mut told = text(&output.stdout);
        if !told.is_empty() && !told.ends_with('\n') {
            told.push('\n');
        }
        for line in text(&output.stderr).lines() {
            let _ = writeln!(told, "! {line}");
        }
        match output.status.code() {
            Some(0) => {}
            Some(code) => {
                let _ = writeln!(told, "? {code}");
            }
            None => told += "? a signal\n",
        }
        told = told.replace(&self.folder, "<folder>");
        // Indented JSON and help stay as they are: only what follows a word is a column.
        let (columns, others) = self.rules.split_at(self.rules.len() - 2);
        for (pattern, word) in columns {
            told = pattern.replace_all(&told, *word).into_owned();
        }
        let lines = told.lines().map(|line| {
            let body = line.trim_start();
            let indent = &line[..line.len() - body.len()];
            let body = others[0].0.replace_all(body, others[0].1);
            format!("{indent}{}\n", body.trim_end())
        });
        lines.collect()
    }
}
