//! What an agent does at the moment, in a few words for people.

use serde_json::Value;

use super::{blocks, event};
use crate::text::line;

/// The longest phrase, in bytes.
const PHRASE_BYTES_MAX: usize = 120;
/// Lines looked at from the end; the newest that says something counts.
const LINES_MAX: usize = 20;

/// Puts the end of an agent's output in a few clean words; `None`: no whole line of it says anything.
///
/// The first line may be cut and is then no event; one that is not ended yet is not looked at.
pub fn phrase(output: &[u8]) -> Option<String> {
    let ended = memchr::memrchr(b'\n', output)?;
    output[..ended].rsplit(|byte| *byte == b'\n').take(LINES_MAX).find_map(of_line)
}

fn of_line(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.trim_ascii();
    if bytes.first() != Some(&b'{') {
        return None;
    }
    let event = event::parse(bytes)?;
    let said = match event.get("type").and_then(Value::as_str)? {
        "assistant" => blocks(&event).filter_map(of_block).last(),
        "system" if event["subtype"] == "init" => Some("begins".to_owned()),
        "system" if event["subtype"] == "api_retry" => {
            Some("waits for the provider, which failed".to_owned())
        }
        "result" => Some("has finished".to_owned()),
        _ => None,
    }?;
    let said = line(&said, PHRASE_BYTES_MAX);
    (!said.is_empty()).then_some(said)
}

fn of_block(block: &Value) -> Option<String> {
    match block["type"].as_str()? {
        "text" => Some(block["text"].as_str()?.trim().to_owned()).filter(|text| !text.is_empty()),
        "thinking" => Some("thinks".to_owned()),
        "tool_use" => {
            let (name, input) = (block["name"].as_str()?, &block["input"]);
            let about = ["command", "file_path", "pattern", "description", "url", "query"];
            let about = about.iter().find_map(|field| input[*field].as_str());
            Some(about.map_or_else(|| name.to_owned(), |about| format!("{name}: {about}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_line_that_says_something_counts() {
        let told = |output: &str| phrase(output.as_bytes());
        let text = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"Looking\nat it"}]}}"#;
        let tool = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"Bash","input":{"command":"cargo test"}}]}}"#;
        let other = r#"{"type":"assistant","message":{"content":[{"type":"tool_use","name":"TodoWrite","input":{}}]}}"#;
        let thought =
            r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"secret"}]}}"#;
        let result = r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"ok"}]}}"#;
        assert_eq!(told(&format!("{text}\n")).unwrap(), "Looking at it");
        assert_eq!(told(&format!("{text}\n{tool}\n{result}\nplain\n")).unwrap(), "Bash: cargo test");
        assert_eq!(told(&format!("{tool}\n{other}\n")).unwrap(), "TodoWrite");
        assert_eq!(told(&format!("{thought}\n{text}")).unwrap(), "thinks", "the last line is not ended");
        assert_eq!(told(&format!("cut\":1}}\n{}", r#"{"type":"result"}"#)), None);
        for nothing in ["", "\n", "plain\n", "{\n", "{\"type\":7}\n", "{\"type\":\"assistant\"}\n"] {
            assert_eq!(told(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn it_is_short_and_has_no_hidden_letters() {
        let hostile = serde_json::json!({"type": "assistant", "message": {"content": [
            {"type": "text", "text": format!("\u{1b}[31m\u{202e}<script>{}", "x".repeat(10_000))}
        ]}});
        let told = phrase(format!("{hostile}\n").as_bytes()).unwrap();
        assert!(told.len() <= PHRASE_BYTES_MAX && told.starts_with("[31m<script>xxx"), "{told}");
        assert_eq!(phrase(&[0xff, b'{', b'\n', 0xfe, b'\n']), None);
    }
}
