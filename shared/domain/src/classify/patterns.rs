//! Extra patterns from `orch.toml`: what a gateway or a wrapper of one's own prints, and only its owner knows.
//!
//! They are asked where a verdict would rest on words alone, before our own words are: never about a success, and never
//! against a field of the stream, an exit by a signal, or who ended the run.

use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::fault::{Fault, Message};
use super::squeeze::without_escapes;
use super::text::{last_lines, unframed};
use crate::{PermanentReason, Timestamp, TransientReason};

/// How many of the last lines are matched.
const LINES_MAX: usize = 20;
/// How many lines a statement may be wrapped to.
const WRAPPED_LINES_MAX: usize = 4;
/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_000;
/// The most memory one compiled pattern may take, in bytes; and its cache while it matches.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// What any agent may print without meaning an error by it.
const ORDINARY: &[&str] = &[
    "",
    "429",
    "529",
    "All 429 tests pass.",
    "See README.md:529 for the rate limit.",
    "I fixed the error and the build is green.",
];

/// All patterns of a configuration, in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

/// A regular expression that must match from the start of one of the last lines, and what it means.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    regex: Regex,
    meaning: Meaning,
}

/// What a pattern concludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It passes.
    Transient {
        /// Which fault.
        reason: TransientReason,
        /// How long to wait where the line itself names no time.
        retry_after: Option<Duration>,
    },
    /// Waiting does not mend it.
    Permanent {
        /// Which failure.
        reason: PermanentReason,
    },
}

/// Why a pattern is refused, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It is longer than is taken.
    #[error("is longer than {PATTERN_BYTES_MAX} bytes: name only the words that tell the error")]
    TooLong,
    /// It is no regular expression, or takes too much memory.
    #[error("is not a pattern that can be used: {0}")]
    Invalid(String),
    /// It would take ordinary output for an error.
    #[error("matches ordinary output such as {0:?}: name more of the words that tell the error")]
    TooWide(&'static str),
}

impl Patterns {
    /// Takes the patterns of a file.
    pub const fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// All of them, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    /// The fault that the last matching line of a failed program's output stands for, and that line.
    pub(super) fn find(&self, text: &str, now: Timestamp) -> Option<Found> {
        if self.0.is_empty() {
            return None;
        }
        let text = without_escapes(text);
        let lines = last_lines(&text);
        let lines = &lines[lines.len().saturating_sub(LINES_MAX)..];
        (0..lines.len()).rev().find_map(|at| {
            let statements = statements(&lines[at..]);
            let (pattern, line) = statements
                .iter()
                .find_map(|line| Some((self.0.iter().find(|pattern| pattern.regex.is_match(line))?, line)))?;
            Some(pattern.found(line, now))
        })
    }
}

/// A match.
pub(super) struct Found {
    pub(super) fault: Fault,
    pub(super) message: Message,
    /// The pattern, for people.
    pub(super) field: String,
}

impl Pattern {
    /// Compiles a pattern; it is anchored whether it says so or not.
    ///
    /// # Errors
    /// It is too long, no regular expression, or matches what anybody may print.
    pub fn new(source: &str, meaning: Meaning) -> Result<Self, BadPattern> {
        if source.len() > PATTERN_BYTES_MAX {
            return Err(BadPattern::TooLong);
        }
        // Compiled alone first, so that an error shows the pattern as it was written, and no bracket closes ours.
        let compile = |source: &str| {
            RegexBuilder::new(source)
                .size_limit(COMPILED_BYTES_MAX)
                .dfa_size_limit(COMPILED_BYTES_MAX)
                .build()
                .map_err(|error| BadPattern::Invalid(in_one_line(&error)))
        };
        compile(source)?;
        let regex = compile(&format!("^(?:{source})"))?;
        if let Some(ordinary) = ORDINARY.iter().find(|line| regex.is_match(line)) {
            return Err(BadPattern::TooWide(ordinary));
        }
        Ok(Self { source: source.to_owned(), regex, meaning })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The reason's word.
    pub const fn reason(&self) -> &'static str {
        match self.meaning {
            Meaning::Transient { reason, .. } => reason.as_str(),
            Meaning::Permanent { reason } => reason.as_str(),
        }
    }

    fn found(&self, line: &str, now: Timestamp) -> Found {
        let mut message = Message::new(line, now);
        let fault = match self.meaning {
            Meaning::Transient { reason, retry_after } => {
                if message.reset.is_none() {
                    let seconds = retry_after.map(|wait| wait.as_secs());
                    message.retry_after_s = message.retry_after_s.or(seconds);
                }
                Fault::Transient(reason)
            }
            Meaning::Permanent { reason } => Fault::Permanent(reason),
        };
        Found { fault, message, field: format!("[[classify]] {:?}", self.source) }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.meaning) == (&other.source, other.meaning)
    }
}

impl Eq for Pattern {}

/// The first of `lines` as it stands, and with what it may have been wrapped from: between words, then anywhere.
fn statements(lines: &[&str]) -> Vec<String> {
    let first = unframed(lines[0]).trim_end().to_owned();
    let rest = || lines[1..].iter().take(WRAPPED_LINES_MAX - 1).map(|line| line.trim());
    let joined = |between: &str| rest().fold(first.clone(), |whole, line| whole + between + line);
    let (folded, wrapped) = (joined(" "), joined(""));
    vec![first, folded, wrapped]
}

/// The compiler's complaint without the drawing above it.
fn in_one_line(error: &regex::Error) -> String {
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return "it takes too much memory; use fewer repetitions".to_owned();
    }
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.trim().trim_start_matches("error: ").to_owned()
}
