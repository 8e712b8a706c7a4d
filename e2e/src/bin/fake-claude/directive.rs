//! The grammar of `fake:` directives (see the program's head): text in, steps out. Does nothing itself.

use std::path::PathBuf;
use std::time::Duration;

/// The steps before the end, and the end.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Plan {
    /// Executed in the order in which they stand in the prompt.
    pub(crate) steps: Vec<Step>,
    /// How the program ends.
    pub(crate) ending: Ending,
    /// For the first spawns another end.
    pub(crate) first: Option<First>,
}

/// One step.
#[derive(Debug, PartialEq, Clone)]
pub(crate) enum Step {
    Sleep(Duration),
    Await(PathBuf),
    Say(u32),
    Spend { times: u32, tokens: u64, every: Duration },
    Quota { used: f64, resets_in_s: i64 },
    Tool(u32),
    OpenTool(u32),
    Chatty(usize),
    Flood(u64),
    LongLine(usize),
    Zeros(usize),
    Garbage(u32),
    Stderr(usize),
    Retry { times: u32, status: u16 },
    Deaf,
    Child(Duration),
    Dump(PathBuf),
    Ledger(PathBuf),
    Beat(Duration),
    Alone(PathBuf),
    Reveal(PathBuf),
    Write(PathBuf),
    Commit(PathBuf),
}

/// The first `times` spawns counted in `counter` end with `ending`.
#[derive(Debug, PartialEq)]
pub(crate) struct First {
    pub(crate) times: u64,
    pub(crate) counter: PathBuf,
    pub(crate) ending: Ending,
}

/// How the program ends.
#[derive(Debug, PartialEq, Clone)]
pub(crate) enum Ending {
    Success(String),
    RateLimit { wait_s: Option<u64> },
    UsageLimit { resets_in_s: i64, window: String },
    Failure(Failure),
    MaxTurns,
    Crash(u8),
    NoResult,
    Signal(i32),
    HangAfterResult,
    Hang,
}

/// The API failures that need no number.
#[derive(Debug, PartialEq, Clone, Copy)]
pub(crate) enum Failure {
    Overloaded,
    ServerError,
    Authentication,
    Billing,
    ContextLength,
    Network,
}

impl Default for Ending {
    fn default() -> Self {
        Self::Success("Hello from the fake.".into())
    }
}

/// Reads every directive of a prompt.
///
/// # Errors
/// Names the step whose value cannot be understood: a typing error in a test must not pass as a success.
pub(crate) fn parse(prompt: &str) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for line in prompt.lines() {
        let Some((_, directive)) = line.split_once("fake:") else { continue };
        for word in directive.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else { break };
            if !plan.take(name, value).map_err(|why| format!("bad step {word}: {why}"))? {
                break;
            }
        }
    }
    Ok(plan)
}

impl Plan {
    /// Takes one word; false when it is no step.
    fn take(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let step = match name {
            "sleep" => Step::Sleep(seconds(value)?),
            "await" => Step::Await(value.into()),
            "say" => Step::Say(number(value)?),
            "spend" => {
                let mut parts = value.splitn(3, ':');
                let mut next = || parts.next().unwrap_or_default();
                let (times, tokens) = (number(next())?, number(next())?);
                Step::Spend { times, tokens, every: Duration::from_millis(number(next())?) }
            }
            "quota" => {
                let (used, resets_in) = value.split_once(':').ok_or("expected quota=SHARE:SECONDS")?;
                Step::Quota { used: number(used)?, resets_in_s: number(resets_in)? }
            }
            "tool" => Step::Tool(number(value)?),
            "opentool" => Step::OpenTool(number(value)?),
            "chatty" => Step::Chatty(number(value)?),
            "flood" => Step::Flood(number(value)?),
            "longline" => Step::LongLine(number(value)?),
            "zeros" => Step::Zeros(number(value)?),
            "garbage" => Step::Garbage(number(value)?),
            "stderr" => Step::Stderr(number(value)?),
            "retry" => {
                let (times, status) = value.split_once(':').unwrap_or((value, "529"));
                Step::Retry { times: number(times)?, status: number(status)? }
            }
            "deaf" => Step::Deaf,
            "child" => Step::Child(seconds(value)?),
            "dump" => Step::Dump(value.into()),
            "ledger" => Step::Ledger(value.into()),
            "beat" => Step::Beat(Duration::from_millis(number(value)?)),
            "alone" => Step::Alone(value.into()),
            "reveal" => Step::Reveal(value.into()),
            "write" => Step::Write(value.into()),
            "commit" => Step::Commit(value.into()),
            "first" => {
                let mut parts = value.splitn(3, ':');
                let (Some(times), Some(counter), Some(end)) = (parts.next(), parts.next(), parts.next())
                else {
                    return Err("expected first=N:FILE:ENDING".into());
                };
                self.first =
                    Some(First { times: number(times)?, counter: counter.into(), ending: ending(end)? });
                return Ok(true);
            }
            "then" => {
                self.ending = ending(value)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.steps.push(step);
        Ok(true)
    }
}

fn ending(text: &str) -> Result<Ending, String> {
    let (name, argument) = match text.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    Ok(match (name, argument) {
        ("success", None) => Ending::default(),
        ("success", Some(text)) => Ending::Success(text.replace('+', " ")),
        ("429", wait) => Ending::RateLimit { wait_s: wait.map(number).transpose()? },
        ("usage", Some(argument)) => {
            let (seconds, window) = argument.split_once(':').unwrap_or((argument, "five_hour"));
            Ending::UsageLimit { resets_in_s: number(seconds)?, window: window.into() }
        }
        ("529", None) => Ending::Failure(Failure::Overloaded),
        ("500", None) => Ending::Failure(Failure::ServerError),
        ("401", None) => Ending::Failure(Failure::Authentication),
        ("billing", None) => Ending::Failure(Failure::Billing),
        ("400_context", None) => Ending::Failure(Failure::ContextLength),
        ("network", None) => Ending::Failure(Failure::Network),
        ("max_turns", None) => Ending::MaxTurns,
        ("crash", Some(code)) => Ending::Crash(number(code)?),
        ("no_result", None) => Ending::NoResult,
        ("signal", Some(signal)) => Ending::Signal(number(signal)?),
        ("hang_after_result", None) => Ending::HangAfterResult,
        ("hang", None) => Ending::Hang,
        _ => return Err(format!("no such ending: {text}")),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number in range"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value: f64 = number(text)?;
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Ending, First, Plan, Step, parse};
    use std::time::Duration;

    #[test]
    fn steps_keep_their_order_and_the_rest_of_the_prompt_is_ignored() {
        let plan = parse(
            "Do the work.\n> Title: fake: sleep=0.5 tool=2 deaf=1 then=529 and more\nfake: then=crash:3",
        )
        .unwrap();
        assert_eq!(
            plan,
            Plan {
                steps: vec![Step::Sleep(Duration::from_millis(500)), Step::Tool(2), Step::Deaf],
                ending: Ending::Crash(3),
                first: None,
            }
        );
    }

    #[test]
    fn a_prompt_without_a_directive_succeeds() {
        assert_eq!(parse("Review this: a=b").unwrap(), Plan::default());
    }

    #[test]
    fn the_first_spawns_may_end_otherwise() {
        let plan = parse("fake: first=2:/x/count:usage:7:seven_day").unwrap();
        let ending = Ending::UsageLimit { resets_in_s: 7, window: "seven_day".into() };
        assert_eq!(plan.first, Some(First { times: 2, counter: "/x/count".into(), ending }));
    }

    #[test]
    fn a_value_that_cannot_be_understood_is_refused() {
        for bad in ["sleep=soon", "then=explode", "retry=1:x", "first=1:/f", "then=crash:999", "sleep=-1"] {
            assert!(parse(&format!("fake: {bad}")).is_err(), "{bad}");
        }
    }
}
