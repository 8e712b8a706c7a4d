//! `orch classify`: judges what an agent printed, as a run would be judged.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use domain::classify::{Patterns, classify, outcome_of_text};
use domain::outcome::Exit;
use domain::{Timestamp, pipeline};
use serde::Serialize;

use crate::exit::Failure;
use crate::print::{Output, plain};

/// The most output that is judged; agents' own output is cut to far less.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What is judged.
#[derive(Args, Clone, Debug)]
pub(crate) struct Classify {
    /// What the agent printed, in stream-json, json or text; `-`, or nothing, reads stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// How the agent ended; a negative number is a signal
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    exit_code: i32,
    /// Instant at which it ended (RFC 3339), which printed times such as `resets 3am` count from; now when not given
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    now: Option<Timestamp>,
    /// An orch.toml whose `[[classify]]` patterns count too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn parse_instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| format!("`{text}` is not an instant: write 2026-11-22T03:00:00Z"))
}

/// The verdict as scripts read it.
#[derive(Debug, PartialEq, Serialize)]
struct Verdict {
    class: &'static str,
    reason: &'static str,
    retry_after_s: Option<u64>,
    resets_at: Option<String>,
    resets_text: Option<String>,
    evidence: String,
}

/// `orch classify`.
pub(crate) fn run(ask: &Classify, output: Output, now: Timestamp) -> Result<(), Failure> {
    let text = read(&ask.file)?;
    let patterns = ask.config.as_deref().map(patterns).transpose()?.unwrap_or_default();
    let verdict = judge(&text, ask.exit_code, &patterns, ask.now.unwrap_or(now));
    output.show(&verdict, |_| shown(&verdict))
}

/// The patterns of a configuration that would be taken.
fn patterns(file: &Path) -> Result<Patterns, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("could not read {}: {error}", file.display())))?;
    let pipeline = pipeline::parse(&text);
    pipeline
        .map(|pipeline| pipeline.patterns)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

fn judge(text: &str, exit_code: i32, patterns: &Patterns, now: Timestamp) -> Verdict {
    let judgement = classify(&outcome_of_text(text, Exit::from_number(exit_code), now), patterns, now);
    Verdict {
        class: judgement.class.as_str(),
        reason: judgement.class.reason().as_str(),
        retry_after_s: judgement.retry_after_s,
        resets_at: judgement.resets_at.map(|at| at.to_string()),
        resets_text: judgement.resets_text,
        evidence: judgement.evidence,
    }
}

fn shown(verdict: &Verdict) -> String {
    let mut lines = vec![format!("{} ({})", verdict.class, verdict.reason)];
    lines.extend(verdict.retry_after_s.map(|seconds| format!("try again after: {seconds}s")));
    lines.extend(verdict.resets_at.as_ref().map(|at| format!("resets at:       {at}")));
    lines.extend(verdict.resets_text.as_ref().map(|text| format!("in its words:    {}", plain(text))));
    lines.push(format!("because of:      {}", plain(&verdict.evidence)));
    lines.join("\n") + "\n"
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::Usage(format!("could not read {}: {error}", file.display())))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::Usage(format!("{} has more than {INPUT_BYTES_MAX} bytes", file.display())));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_transient_and_says_when_it_resets() {
        let now = Timestamp::parse("2026-11-22T02:00:00Z").unwrap();
        let verdict =
            judge("You've hit your session limit · resets 3:11am (UTC)\n", 1, &Patterns::default(), now);
        assert_eq!((verdict.class, verdict.reason), ("transient", "usage_limit"));
        assert_eq!(verdict.resets_at.as_deref(), Some("2026-11-22T03:11:00.000Z"));
    }

    #[test]
    fn a_signal_is_a_negative_exit_code() {
        let verdict = judge("", -11, &Patterns::default(), Timestamp::from_ms(0));
        assert_eq!((verdict.class, verdict.reason), ("permanent", "crash"));
    }

    #[test]
    fn patterns_come_from_a_configuration_that_would_be_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orch.toml");
        let write = |class: &str| {
            let table = "[[classify]]\npattern = \"gateway: quota spent\"\n";
            std::fs::write(&file, format!("{table}class = \"{class}\"\nreason = \"rate_limit\"\n")).unwrap();
        };
        write("transient");
        let patterns = patterns(&file).unwrap();
        let judged = |exit| judge("gateway: quota spent\n", exit, &patterns, Timestamp::from_ms(0)).reason;
        assert_eq!((judged(1), judged(0)), ("rate_limit", "none"));
        write("transent");
        let Err(Failure::Usage(error)) = super::patterns(&file) else { panic!("it would be refused") };
        assert!(
            error.contains("orch.toml: line 3, column 9") && error.contains("did you mean `transient`?"),
            "{error}"
        );
    }
}
