//! How a command ends: its exit code, and what it says on stderr.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The answer is no: nothing of that name, not in this state, an invariant that is broken.
    No(String),
    /// The question was wrong, or the settings are: asking again changes nothing.
    Usage(String),
    /// Somebody who is needed could not be reached.
    Unreachable(String),
    /// Nobody reads any more (`| head`): no failure of ours.
    Unread,
}

/// The exit codes, for `--help`, the man pages and docs/CLI.md.
pub(crate) const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done, or the answer is yes"),
    (
        1,
        "the answer is no: nothing of that name, not in this state, a job that ended badly, a broken invariant",
    ),
    (2, "wrong usage or settings: asking again changes nothing"),
    (3, "the scheduler or the database could not be reached: asking again may help"),
];

/// The exit codes as the end of `--help`.
pub(crate) fn exit_codes_help() -> String {
    let lines = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}"));
    format!("Exit codes:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// SQLite's word for a file of another kind.
const NO_DATABASE: &str = "file is not a database";

impl Failure {
    /// The exit code.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Unread => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No(reason) | Self::Usage(reason) | Self::Unreachable(reason) => f.write_str(reason),
            Self::Unread => Ok(()),
        }
    }
}

impl From<service::Refused> for Failure {
    fn from(refused: service::Refused) -> Self {
        Self::Usage(refused.to_string())
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let text = with_causes(&error);
        match error {
            store::Error::Newer { .. } | store::Error::Older { .. } | store::Error::Setup(_) => {
                Self::Usage(text)
            }
            store::Error::Corrupt(reason) if reason.contains(NO_DATABASE) => {
                Self::Usage("the file is no database: say which one is with ORCH_DATABASE_URL".to_owned())
            }
            store::Error::Corrupt(_) => Self::No(text),
            store::Error::Unavailable(_) | store::Error::Closed => Self::Unreachable(text),
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// Says how it went.
pub(crate) fn conclude(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                eprintln!("orch: {text}");
            }
            ExitCode::from(failure.code())
        }
    }
}
