//! `orch demo-agent`: what the demo runs in place of `claude`. It speaks the CLI's stream-json and does nothing.
//!
//! The first line of its prompt chooses what it does. It counts its tries in the work item's folder, so that a second
//! try can go better than the first.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

/// What `--version` prints: the version whose output it imitates.
const VERSION: &str = "2.1.330-demo (Orch DEMO agent, not Claude)";
/// The most read of a prompt.
const PROMPT_BYTES_MAX: u64 = 64 * 1024;
/// The pause between two lines, so that a person can watch.
const PACE: Duration = Duration::from_millis(800);
/// Where tries are counted, in the work item's folder.
const TRIES: &str = ".demo-tries";

/// What a demo job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Works for a while and succeeds.
    Works,
    /// Meets a rate limit at its first try.
    Limit,
    /// Fails at its first try.
    Flaky,
    /// Fails in a way that no other try would mend.
    Hopeless,
}

impl Act {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Works, Self::Limit, Self::Flaky, Self::Hopeless];

    /// Its word in the prompt and in the work item's key.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Works => "ok",
            Self::Limit => "limit",
            Self::Flaky => "flaky",
            Self::Hopeless => "hopeless",
        }
    }

    /// The prompt that asks for it.
    pub(crate) fn prompt(self) -> String {
        format!("DEMO: {}\n\nThis job belongs to the demo of Orch; no model reads it.\n", self.word())
    }

    /// Reads a prompt; anything else just works.
    fn of(prompt: &str) -> Self {
        let word =
            prompt.lines().find_map(|line| line.trim().strip_prefix("DEMO:")).unwrap_or_default().trim();
        Self::ALL.into_iter().find(|act| act.word() == word).unwrap_or(Self::Works)
    }
}

/// Plays the agent.
pub(crate) fn main(args: &[String]) -> ExitCode {
    if args.iter().any(|arg| arg == "--version") {
        return if say(VERSION).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut prompt = String::new();
    // A prompt that cannot be read is no act that is known: the demo then just works.
    let _ = io::stdin().lock().take(PROMPT_BYTES_MAX).read_to_string(&mut prompt);
    let earlier = std::fs::read_to_string(TRIES).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let _ = std::fs::write(TRIES, (earlier + 1_u32).to_string());

    let (events, ends_well) = play(Act::of(&prompt), earlier, &Uuid::new_v4().to_string());
    for event in events {
        if say(&event.to_string()).is_err() {
            return ExitCode::FAILURE;
        }
        sleep(PACE);
    }
    if ends_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Everything one try prints, and whether it ends well.
fn play(act: Act, earlier_tries: u32, session: &str) -> (Vec<Value>, bool) {
    let begin = json!({
        "type": "system", "subtype": "init", "session_id": session, "claude_code_version": "0.0.0-demo",
        "model": "none", "tools": [],
    });
    let say = |text: &str| {
        json!({
            "type": "assistant", "session_id": session, "parent_tool_use_id": null,
            "message": {"role": "assistant", "content": [{"type": "text", "text": format!("DEMO: {text}")}]},
        })
    };
    let end = |fields: Value| {
        let mut event = json!({
            "type": "result", "subtype": "success", "is_error": true, "session_id": session, "num_turns": 1,
            "total_cost_usd": 0.0, "usage": {"input_tokens": 0, "output_tokens": 0}, "stop_reason": "end_turn",
        });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        event
    };
    match (act, earlier_tries) {
        (Act::Limit, 0) => {
            let text = "API Error: Request rejected (429) · DEMO: no real limit was met";
            (
                vec![begin, say("asking the model"), end(json!({"api_error_status": 429, "result": text}))],
                false,
            )
        }
        (Act::Flaky, 0) => {
            let failure =
                json!({"subtype": "error_during_execution", "errors": ["DEMO: the first try fails"]});
            (vec![begin, say("working"), say("something broke"), end(failure)], false)
        }
        (Act::Hopeless, _) => {
            let text = "Prompt is too long · DEMO: every try would end like this";
            let failure = json!({
                "api_error_status": 400, "terminal_reason": "prompt_too_long", "result": text,
            });
            (vec![begin, say("reading"), end(failure)], false)
        }
        (Act::Works, _) | (Act::Limit | Act::Flaky, 1..) => {
            let success = json!({
                "is_error": false, "result": "DEMO: done", "num_turns": 3, "terminal_reason": "completed",
            });
            (vec![begin, say("reading"), say("working"), say("checking"), end(success)], true)
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::classify::{Patterns, classify, outcome_of_text};
    use domain::outcome::Exit;

    use super::*;

    /// What Orch concludes of one try.
    fn verdict(act: Act, earlier_tries: u32) -> (&'static str, &'static str) {
        let (events, ends_well) = play(act, earlier_tries, "s");
        let text: String = events.iter().flat_map(|event| [event.to_string(), "\n".to_owned()]).collect();
        let now = Timestamp::from_ms(1_795_317_438_000);
        let class = classify(
            &outcome_of_text(&text, Exit::Code(i32::from(!ends_well)), now),
            &Patterns::default(),
            now,
        )
        .class;
        (class.as_str(), class.reason().as_str())
    }

    #[test]
    fn every_act_is_judged_as_what_it_shows() {
        assert_eq!(verdict(Act::Works, 0), ("success", "none"));
        assert_eq!(verdict(Act::Limit, 0), ("transient", "rate_limit"));
        assert_eq!(verdict(Act::Limit, 1), ("success", "none"));
        assert_eq!(verdict(Act::Flaky, 0), ("permanent", "agent_failure"));
        assert_eq!(verdict(Act::Flaky, 1), ("success", "none"));
        assert_eq!(verdict(Act::Hopeless, 3), ("permanent", "context_length"));
    }

    #[test]
    fn prompts_are_read_back() {
        assert_eq!(Act::ALL.map(|act| Act::of(&act.prompt())), Act::ALL);
        assert_eq!(Act::of("anything else"), Act::Works);
    }
}
