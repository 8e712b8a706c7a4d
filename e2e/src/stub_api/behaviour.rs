//! The words of a script, and what they mean. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How the stub answers one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// `ok` or `ok:TEXT`: an answer with that text.
    Ok(String),
    /// `tool:COMMAND`: asks for one Bash call; the request that brings its result is answered in words.
    Tool(String),
    /// `429` or `429:SECONDS`: the rate limit of a key, with `retry-after`.
    RateLimit {
        /// Seconds named in `retry-after`.
        retry_after_s: u64,
    },
    /// `429_unified:SECONDS` or `429_unified:SECONDS:CLAIM`: the limit of a subscription.
    UsageLimit {
        /// Seconds until the window resets.
        resets_in_s: u64,
        /// The window: `five_hour`, `seven_day`, `seven_day_opus`, `seven_day_sonnet`.
        claim: String,
    },
    /// `529`: overloaded.
    Overloaded,
    /// `500`: a server error.
    ServerError,
    /// `401`: the key is not accepted.
    Unauthorized,
    /// `400_context`: the prompt is too long.
    ContextLength,
    /// `hang`: accepts the request and never answers.
    Hang,
    /// `hang_mid`: begins to answer, then falls silent.
    HangMid,
    /// `reset`: a TCP reset before any answer.
    Reset,
    /// `slow:SECONDS`: waits, then answers.
    Slow(Duration),
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::Ok("Hello from the stub.".into())
    }
}

/// A word of a script that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no behaviour of the stub: see `stub-api --help`")]
pub struct ScriptError(String);

/// Reads a comma-separated script; `+` stands for a space in texts and commands.
///
/// # Errors
/// Names the first word that means nothing.
pub fn parse_script(text: &str) -> Result<Vec<Behaviour>, ScriptError> {
    text.split(',').map(|word| word.trim().parse()).collect()
}

impl FromStr for Behaviour {
    type Err = ScriptError;

    fn from_str(word: &str) -> Result<Self, ScriptError> {
        let unknown = || ScriptError(word.to_owned());
        let (name, argument) = match word.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (word, None),
        };
        let number = |text: &str| text.parse().map_err(|_| unknown());
        Ok(match (name, argument) {
            ("ok", None) => Self::default(),
            ("ok", Some(text)) => Self::Ok(text.replace('+', " ")),
            ("tool", Some(command)) => Self::Tool(command.replace('+', " ")),
            ("429", argument) => Self::RateLimit { retry_after_s: argument.map_or(Ok(7), number)? },
            ("429_unified", Some(argument)) => {
                let (seconds, claim) = argument.split_once(':').unwrap_or((argument, "five_hour"));
                Self::UsageLimit { resets_in_s: number(seconds)?, claim: claim.into() }
            }
            ("529", None) => Self::Overloaded,
            ("500", None) => Self::ServerError,
            ("401", None) => Self::Unauthorized,
            ("400_context", None) => Self::ContextLength,
            ("hang", None) => Self::Hang,
            ("hang_mid", None) => Self::HangMid,
            ("reset", None) => Self::Reset,
            ("slow", Some(seconds)) => Self::Slow(Duration::from_secs(number(seconds)?)),
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(text) => write!(out, "ok:{}", text.replace(' ', "+")),
            Self::Tool(command) => write!(out, "tool:{}", command.replace(' ', "+")),
            Self::RateLimit { retry_after_s } => write!(out, "429:{retry_after_s}"),
            Self::UsageLimit { resets_in_s, claim } => write!(out, "429_unified:{resets_in_s}:{claim}"),
            Self::Overloaded => out.write_str("529"),
            Self::ServerError => out.write_str("500"),
            Self::Unauthorized => out.write_str("401"),
            Self::ContextLength => out.write_str("400_context"),
            Self::Hang => out.write_str("hang"),
            Self::HangMid => out.write_str("hang_mid"),
            Self::Reset => out.write_str("reset"),
            Self::Slow(wait) => write!(out, "slow:{}", wait.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_script;

    #[test]
    fn a_script_survives_a_round_trip() {
        let script = "ok:all+is+well,tool:echo+hi,429:3,429_unified:60:seven_day,529,500,401,400_context,\
                      hang,hang_mid,reset,slow:2";
        let words: Vec<_> = parse_script(script).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(words.join(","), script);
    }

    #[test]
    fn a_word_that_means_nothing_is_named() {
        assert!(parse_script("ok,429_unified,ok").unwrap_err().to_string().contains("429_unified"));
        assert!(parse_script("").is_err());
    }
}
