//! The end of an agent's log in a line for each thing it said or did: its stream-json is for programs.

use serde_json::Value;

use crate::print::plain;

/// The lines of a log's end. The first one may be cut, and is left out when it cannot be read.
pub(super) fn phrases(end: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(end);
    text.lines().filter_map(phrase).collect()
}

fn phrase(line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let Ok(event) = serde_json::from_str::<Value>(line) else {
        let is_cut_json = line.starts_with('{') || line.ends_with('}');
        return (!is_cut_json).then(|| plain(line));
    };
    let said = match event["type"].as_str()? {
        "assistant" | "user" => {
            let blocks = event["message"]["content"].as_array()?;
            blocks.iter().filter_map(block).collect::<Vec<_>>().join("  ")
        }
        "result" => {
            let result = event["result"].as_str().or(event["subtype"].as_str())?;
            format!("result: {result}")
        }
        "system" if event["subtype"] == "api_retry" => {
            format!("the provider is asked again, try {}", event["attempt"])
        }
        "system" => event["subtype"].as_str()?.to_owned(),
        _ => return None,
    };
    (!said.is_empty()).then(|| plain(&said))
}

fn block(block: &Value) -> Option<String> {
    match block["type"].as_str()? {
        "text" => block["text"].as_str().map(str::to_owned),
        "tool_use" => Some(format!("[{}] {}", block["name"].as_str()?, block["input"])),
        "tool_result" => {
            let content = &block["content"];
            let shown = content.as_str().or(content[0]["text"].as_str()).unwrap_or("done");
            Some(format!("-> {shown}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_lines_and_nothing_reaches_the_terminal_as_an_order() {
        let log = concat!(
            "cut\"}\n",
            r#"{"type":"system","subtype":"init"}"#,
            "\n",
            r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I look\u001b[2J"},{"type":"tool_use","name":"Bash","input":{"command":"ls"}}]}}"#,
            "\n",
            r#"{"type":"user","message":{"content":[{"type":"tool_result","content":"a b"}]}}"#,
            "\nplain \x1b[31mred\n\n",
            r#"{"type":"result","subtype":"success","result":"all is well"}"#,
            "\n",
        );
        assert_eq!(
            phrases(log.as_bytes()),
            [
                "init",
                "I look [2J  [Bash] {\"command\":\"ls\"}",
                "-> a b",
                "plain  [31mred",
                "result: all is well"
            ]
        );
    }
}
