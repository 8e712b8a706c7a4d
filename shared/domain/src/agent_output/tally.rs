//! What an agent's messages add up to while it works: the `result` event, which has the sums, comes only at the end.
//!
//! The CLI prints a message once for each of its blocks, with the same id and the same usage (measured), and those of
//! subagents in between. The output tokens it names are those of the message's beginning, so what the blocks
//! hold is the better figure; four bytes count as a token.

use std::collections::VecDeque;

use serde_json::Value;

use super::{blocks, word};
use crate::run::RunUsage;

/// The most messages remembered; blocks of one message come close together.
const MESSAGES_MAX: usize = 64;
const SYNTHETIC: &str = "<synthetic>";
const BYTES_PER_TOKEN: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    messages: VecDeque<Message>,
}

/// What was counted of a message.
#[derive(Clone, Debug)]
struct Message {
    id: String,
    input: u64,
    cache_read: u64,
    output: u64,
    /// Of the blocks printed so far.
    bytes: usize,
}

impl Tally {
    /// Adds what an `assistant` event says beyond what was counted of its message.
    pub(super) fn take(&mut self, event: &Value, usage: &mut RunUsage) {
        let Some(id) = word(&event["message"]["id"]) else { return };
        let tokens = &event["message"]["usage"];
        // What the CLI says in the agent's place, such as an error, costs nothing.
        if !tokens.is_object() || event["message"]["model"] == SYNTHETIC {
            return;
        }
        let of = |field: &str| tokens[field].as_u64().unwrap_or(0);
        let cache_read = of("cache_read_input_tokens");
        let input =
            of("input_tokens").saturating_add(of("cache_creation_input_tokens")).saturating_add(cache_read);
        if !self.messages.iter().any(|message| message.id == id) {
            // A message of the main conversation is a turn.
            if event["parent_tool_use_id"].is_null() {
                usage.turns = Some(usage.turns.unwrap_or(0).saturating_add(1));
            }
            self.messages.push_back(Message { id: id.clone(), input: 0, cache_read: 0, output: 0, bytes: 0 });
            if self.messages.len() > MESSAGES_MAX {
                self.messages.pop_front();
            }
        }
        let Some(message) = self.messages.iter_mut().find(|message| message.id == id) else { return };
        message.bytes = message.bytes.saturating_add(blocks(event).map(bytes_of).sum());
        let written = u64::try_from(message.bytes / BYTES_PER_TOKEN).unwrap_or(u64::MAX);
        let output = of("output_tokens").max(written);
        grow(&mut message.input, input, &mut usage.input_tokens);
        grow(&mut message.cache_read, cache_read, &mut usage.cache_read_tokens);
        grow(&mut message.output, output, &mut usage.output_tokens);
    }
}

/// Adds to the sum what a message's figure has grown by.
fn grow(counted: &mut u64, now: u64, sum: &mut Option<u64>) {
    let more = now.saturating_sub(*counted);
    *counted = now.max(*counted);
    *sum = Some(sum.unwrap_or(0).saturating_add(more));
}

fn bytes_of(block: &Value) -> usize {
    let text = |field: &str| block[field].as_str().map_or(0, str::len);
    let input = block.get("input").map_or(0, |input| input.to_string().len());
    text("text") + text("thinking") + input
}
