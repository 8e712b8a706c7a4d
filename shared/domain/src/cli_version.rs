//! Which versions of the `claude` CLI an agent may be: what `--version` printed in, a verdict out.
//!
//! The range is that of the output shapes that `classify` was measured against. How the answer is got is the runner's.

use std::fmt;

/// The oldest version that is run: the first stable one. What came before printed no stream-json.
pub const OLDEST: CliVersion = CliVersion(1, 0, 0);

/// The oldest and the newest version whose output was measured.
pub const MEASURED: (CliVersion, CliVersion) = (CliVersion(1, 0, 84), CliVersion(2, 1, 330));

/// Major, minor and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CliVersion(pub u32, pub u32, pub u32);

impl fmt::Display for CliVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl CliVersion {
    /// Reads the first word of a line that is a version: `2.1.330 (Claude Code)`, `claude v2.1.330-beta.1`.
    pub fn find(line: &str) -> Option<Self> {
        line.split_whitespace().find_map(Self::of_word)
    }

    fn of_word(word: &str) -> Option<Self> {
        let numbers = word.strip_prefix('v').unwrap_or(word);
        let numbers = numbers.split_once(['-', '+']).map_or(numbers, |(numbers, _)| numbers);
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }
}

/// A version that agents cannot be run with, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The line names no version.
    #[error("it says {0:?}, which names no version: it is not the claude CLI")]
    Unreadable(String),
    /// The version is older than [`OLDEST`].
    #[error("it is version {0}, older than {OLDEST}, the oldest that is supported: update it")]
    TooOld(CliVersion),
}

/// Judges the first line of what `--version` printed; gives what a person should know of a version that is taken.
///
/// # Errors
/// Agents cannot be run with it.
pub fn check(line: &str) -> Result<Option<String>, Unsupported> {
    let version = CliVersion::find(line).ok_or_else(|| Unsupported::Unreadable(line.to_owned()))?;
    let (oldest, newest) = MEASURED;
    if version < OLDEST {
        return Err(Unsupported::TooOld(version));
    }
    if version > newest {
        return Ok(Some(format!("newer than {newest}, the newest version whose output was measured")));
    }
    Ok((version < oldest)
        .then(|| format!("older than {oldest}, the oldest version whose output was measured")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_taken_as_it_is_and_its_neighbours_with_a_note() {
        for measured in ["2.1.330 (Claude Code)", "2.1.197 (Claude Code)", "2.0.55 (Claude Code)", "1.0.84"] {
            assert_eq!(check(measured), Ok(None), "{measured}");
        }
        for (line, word) in [
            ("2.1.331 (Claude Code)", "newer"),
            ("10.0.0", "newer"),
            ("claude v3.0.0-beta.1+5", "newer"),
            ("1.0.83 (Claude Code)", "older"),
            ("1.0.0", "older"),
        ] {
            assert!(check(line).unwrap().is_some_and(|note| note.starts_with(word)), "{line}");
        }
    }

    #[test]
    fn what_is_too_old_or_no_version_is_refused_with_words_that_help() {
        assert_eq!(
            check("0.2.125 (Claude Code)").unwrap_err().to_string(),
            "it is version 0.2.125, older than 1.0.0, the oldest that is supported: update it"
        );
        for line in ["", "hello", "2.1", "2.1.x", "2.1.330.4", "1.2.99999999999", "error: 429"] {
            assert_eq!(check(line), Err(Unsupported::Unreadable(line.to_owned())), "{line}");
        }
    }
}
