//! Agents that are not there: what each kind prints, how it takes a signal, and when and how it ends.

use domain::outcome::Exit;

/// SIGTERM and SIGKILL.
const TERM: i32 = 15;
const KILL: i32 = 9;
/// How long an agent takes to end after a signal it heeds, in milliseconds.
const DYING_MS: i64 = 40;
/// How often a chatty one prints, in milliseconds.
const CHATTER_MS: i64 = 100;

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Says what it must and succeeds.
    Quiet,
    /// Prints more than the spool keeps, and succeeds.
    Chatty,
    /// Prints nothing and does not end.
    Silent,
    /// Does not end.
    Hung,
    /// As `Hung`, and SIGTERM does nothing to it.
    Deaf,
    /// Succeeds, and leaves a child behind.
    Forking,
    /// Prints its result and does not exit.
    Lingering,
    /// Exits with 1 and no result.
    Fails,
    /// Dies of a signal.
    Crashes,
    /// Its prompt is too long: certain to repeat.
    TooLong,
    /// The provider is overloaded.
    Overloaded,
    /// The account's window is spent for a few seconds.
    Limited,
    /// The account's credential is refused.
    Unauthorized,
}

impl Kind {
    pub(crate) const ALL: [(Self, &'static str); 13] = [
        (Self::Quiet, "quiet"),
        (Self::Chatty, "chatty"),
        (Self::Silent, "silent"),
        (Self::Hung, "hung"),
        (Self::Deaf, "deaf"),
        (Self::Forking, "forking"),
        (Self::Lingering, "lingering"),
        (Self::Fails, "fails"),
        (Self::Crashes, "crashes"),
        (Self::TooLong, "too_long"),
        (Self::Overloaded, "overloaded"),
        (Self::Limited, "limited"),
        (Self::Unauthorized, "unauthorized"),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(kind, _)| *kind)
    }
}

/// One try: the kind of agent, and how long it lives if nobody ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Try {
    pub(crate) kind: Kind,
    pub(crate) life_ms: i64,
}

/// The prompt that makes the agents of a job's tries these; the last one stands for all further tries.
pub(crate) fn prompt(tries: &[Try]) -> String {
    let words: Vec<String> =
        tries.iter().map(|one| format!("{}:{}", one.kind.as_str(), one.life_ms)).collect();
    words.join(" ")
}

/// The agent of the try with this epoch.
pub(crate) fn of_prompt(prompt: &str, epoch: i64) -> Try {
    let quiet = Try { kind: Kind::Quiet, life_ms: 1000 };
    let tries: Vec<Try> = prompt
        .split(' ')
        .filter_map(|word| {
            let (kind, life_ms) = word.split_once(':')?;
            Some(Try { kind: Kind::parse(kind)?, life_ms: life_ms.parse().ok()? })
        })
        .collect();
    let at = usize::try_from(epoch - 1).unwrap_or(0);
    tries.get(at).or(tries.last()).copied().unwrap_or(quiet)
}

/// A living agent. Instants are milliseconds of its host's boot clock.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) kind: Kind,
    /// Whether a child of its lives, too.
    pub(crate) has_child: bool,
    ends_ms: i64,
    speaks_ms: i64,
    spoken: bool,
    dies: Option<(i64, Exit)>,
}

impl Agent {
    pub(crate) fn spawned(of: Try, now_ms: i64) -> Self {
        Self {
            kind: of.kind,
            has_child: of.kind == Kind::Forking,
            ends_ms: now_ms + of.life_ms,
            speaks_ms: now_ms,
            spoken: false,
            dies: None,
        }
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&mut self, now_ms: i64) {
        if self.kind != Kind::Deaf {
            self.dies.get_or_insert((now_ms + DYING_MS, Exit::Signal(TERM)));
        }
    }

    /// Sends it SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.dies = Some((i64::MIN, Exit::Signal(KILL)));
    }

    /// Lives on to `now_ms`: prints into `output`; says how it ended once it has. `wall_ms` is the host's wall time.
    pub(crate) fn turn(&mut self, now_ms: i64, wall_ms: i64, output: &mut Vec<u8>) -> Option<Exit> {
        if let Some((at_ms, exit)) = self.dies
            && now_ms >= at_ms
        {
            return Some(exit);
        }
        if !self.spoken && self.kind != Kind::Silent {
            self.spoken = true;
            line(
                output,
                r#"{"type":"system","subtype":"init","session_id":"s","claude_code_version":"2.1.330"}"#,
            );
        }
        if self.kind == Kind::Chatty {
            while self.speaks_ms < now_ms.min(self.ends_ms) {
                self.speaks_ms += CHATTER_MS;
                line(output, &"chatter ".repeat(256));
            }
        } else if self.kind != Kind::Silent && now_ms >= self.speaks_ms + 1000 {
            self.speaks_ms = now_ms;
            line(output, "still here");
        }
        (now_ms >= self.ends_ms).then(|| self.end(wall_ms, output)).flatten()
    }

    fn end(&mut self, wall_ms: i64, output: &mut Vec<u8>) -> Option<Exit> {
        const SUCCESS: &str = r#"{"type":"result","subtype":"success","is_error":false,"stop_reason":"end_turn","num_turns":1,"result":"done"}"#;
        let error = |field: &str, text: &str| {
            format!(r#"{{"type":"result","subtype":"success","is_error":true,{field},"result":"{text}"}}"#)
        };
        match self.kind {
            Kind::Silent | Kind::Hung | Kind::Deaf => return None,
            Kind::Quiet | Kind::Chatty | Kind::Forking => {
                line(output, SUCCESS);
                return Some(Exit::Code(0));
            }
            Kind::Lingering => {
                line(output, SUCCESS);
                self.ends_ms = i64::MAX;
                return None;
            }
            Kind::Crashes => return Some(Exit::Signal(11)),
            Kind::Fails => line(output, "something went wrong"),
            Kind::TooLong => {
                line(output, &error(r#""terminal_reason":"prompt_too_long""#, "Prompt is too long"));
            }
            Kind::Overloaded => {
                line(output, &error(r#""api_error_status":529"#, "API Error: 529 Overloaded"));
            }
            Kind::Unauthorized => {
                line(output, &error(r#""api_error_status":401"#, "Invalid API key · Please run /login"));
            }
            Kind::Limited => {
                let resets_s = wall_ms / 1000 + 3;
                line(
                    output,
                    &format!(
                        r#"{{"type":"rate_limit_event","rate_limit_info":{{"status":"rejected","resetsAt":{resets_s},"rateLimitType":"five_hour","isUsingOverage":false}}}}"#
                    ),
                );
                line(
                    output,
                    &error(
                        r#""api_error":"usage_limit_reached","api_error_status":429"#,
                        "You've hit your session limit",
                    ),
                );
            }
        }
        Some(Exit::Code(1))
    }
}

fn line(output: &mut Vec<u8>, text: &str) {
    output.extend_from_slice(text.as_bytes());
    output.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_names_the_agent_of_each_try_and_the_last_stands_for_the_rest() {
        let tries = [Try { kind: Kind::Fails, life_ms: 5 }, Try { kind: Kind::Deaf, life_ms: 7 }];
        let prompt = prompt(&tries);
        assert_eq!([1, 2, 3].map(|epoch| of_prompt(&prompt, epoch)), [tries[0], tries[1], tries[1]]);
    }
}
