use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(text: &str) -> Reader {
    let mut reader = Reader::new();
    reader.push(text.as_bytes());
    reader.finish();
    reader
}

fn stream() -> String {
    [
        json!({"type":"system","subtype":"init","session_id":"s-1","claude_code_version":"2.1.330"}),
        json!({"type":"system","subtype":"api_retry","attempt":1,"retry_delay_ms":535.6,"error":"overloaded"}),
        json!({"type":"assistant","session_id":"s-1","parent_tool_use_id":null,
               "message":{"content":[{"type":"text","text":"é"},{"type":"tool_use","id":"t1"},{"type":"tool_use","id":"t2"}]}}),
        json!({"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1"}]}}),
        json!({"type":"rate_limit_event","rate_limit_info":{"status":"allowed","resetsAt":1_795_399_915,
               "rateLimitType":"five_hour","utilization":0.25}}),
        json!({"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1_795_399_999,
               "rateLimitType":"five_hour","unifiedWindows":{"seven_day":{"utilization":1,"status":"allowed"}}}}),
        json!({"type":"assistant","error":"rate_limit","message":{"model":"<synthetic>","content":[]}}),
        json!({"type":"result","subtype":"success","is_error":true,"api_error_status":429,"api_error":"usage_limit_reached",
               "terminal_reason":"api_error","stop_reason":"stop_sequence","result":"You've hit it","errors":["a","b"],
               "num_turns":3,"total_cost_usd":0.5,"session_id":"s-1",
               "usage":{"input_tokens":2,"cache_read_input_tokens":40,"output_tokens":7}}),
    ]
    .map(|event| format!("{event}\n"))
    .concat()
}

#[test]
fn a_whole_stream_is_reported() {
    let reader = read(&stream());
    assert_eq!((reader.open_tool_calls(), reader.result_seen(), reader.progress()), (0, true, 8));
    insta::assert_json_snapshot!(reader.report(), @r#"
{
  "result": {
    "subtype": "success",
    "is_error": true,
    "api_error_status": 429,
    "api_error_type": null,
    "api_error": "usage_limit_reached",
    "terminal_reason": "api_error",
    "stop_reason": "stop_sequence",
    "text": "You've hit it",
    "errors": "a\nb"
  },
  "assistant_error": "rate_limit",
  "rate_limits": [
    {
      "window": "seven_day",
      "status": "allowed",
      "utilization": 1.0,
      "resets_at": null
    },
    {
      "window": "five_hour",
      "status": "rejected",
      "utilization": null,
      "resets_at": 1795399999000
    }
  ],
  "api_retry_delay_ms": 536,
  "api_retry_attempt": 1,
  "cli_version": "2.1.330",
  "usage": {
    "session_id": "s-1",
    "cost_usd": 0.5,
    "turns": 3,
    "input_tokens": 42,
    "output_tokens": 7,
    "cache_read_tokens": 40,
    "api_retries": 1
  },
  "model": null
}
"#);
}

#[test]
fn messages_add_up_once_each_until_the_result_has_the_sums() {
    let message = |id: &str, parent: Value, output: u64, text: &str| {
        json!({"type":"assistant","parent_tool_use_id":parent,"message":{"id":id,"model":"claude-opus-4-8",
               "content":[{"type":"text","text":text}],
               "usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":100,"output_tokens":output}}})
    };
    let long = "x".repeat(400);
    let events = [
        json!({"type":"system","subtype":"init","model":"claude-opus-4-8"}),
        message("m1", Value::Null, 1, "short"),
        // The same message once more, for its next block, with the same usage.
        message("m1", Value::Null, 1, &long),
        message("sub", json!("toolu_1"), 30, ""),
        message("m1", Value::Null, 1, ""),
        json!({"type":"assistant","message":{"id":"s","model":"<synthetic>","content":[],"usage":{"input_tokens":999}}}),
    ];
    let text = events.map(|event| format!("{event}\n")).concat();
    let reader = read(&text);
    let usage = &reader.report().usage;
    assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.turns), (Some(230), Some(200), Some(1)));
    assert_eq!(
        usage.output_tokens,
        Some(405 / 4 + 30),
        "what the blocks hold, and the subagent's own figure"
    );
    assert_eq!((usage.cost_usd, reader.report().model.as_deref()), (None, Some("claude-opus-4-8")));

    let result = json!({"type":"result","is_error":false,"num_turns":7,"total_cost_usd":0.25,
                        "usage":{"input_tokens":1,"output_tokens":2}});
    let settled = read(&format!("{text}{result}\n")).into_report().usage;
    assert_eq!((settled.input_tokens, settled.output_tokens, settled.turns), (Some(1), Some(2), Some(7)));
    assert_eq!(settled.cost_usd, Some(0.25));
}

#[test]
fn tool_calls_are_open_until_their_result() {
    let lines: Vec<String> = stream().lines().map(|line| format!("{line}\n")).collect();
    let mut reader = Reader::new();
    let open: Vec<usize> = lines
        .iter()
        .map(|line| {
            reader.push(line.as_bytes());
            reader.open_tool_calls()
        })
        .collect();
    assert_eq!(open, [0, 0, 2, 1, 1, 1, 1, 0]);
}

#[test]
fn the_last_result_counts_and_a_conversation_may_go_on_after_one() {
    let first = json!({"type":"result","subtype":"success","is_error":false,"result":"first"});
    let more = json!({"type":"assistant","message":{"content":[]}});
    let last = json!({"type":"result","subtype":"error_max_turns","is_error":true});
    let mut reader = read(&format!("{first}\n{more}"));
    assert!(!reader.result_seen());
    reader.push(format!("{last}\n").as_bytes());
    assert!(reader.result_seen());
    assert_eq!(
        reader.report().result.as_ref().map(|result| result.subtype.as_str()),
        Some("error_max_turns")
    );
}

#[test]
fn what_is_no_event_is_ignored() {
    let reader =
        read("warning: {\"type\":\"result\"}\n[1]\n{\"type\":3}\n{\"typ\n\n{}\n\"x\"\n{\"type\":\"result\"");
    assert_eq!((reader.progress(), reader.report()), (0, &AgentReport::default()));
}

#[test]
fn a_subagents_error_is_not_the_runs() {
    let inner = json!({"type":"assistant","error":"rate_limit","parent_tool_use_id":"t1","message":{}});
    assert_eq!(read(&inner.to_string()).report().assistant_error, None);
}

#[test]
fn an_overlong_line_is_skipped_and_counted_and_its_memory_given_back() {
    let mut reader = Reader::new();
    reader.push(b"{\"type\":\"result\",\"pad\":\"");
    for _ in 0..=LINE_BYTES_MAX / (64 * 1024) {
        reader.push(&vec![b'x'; 64 * 1024]);
        assert!(reader.line.capacity() <= 2 * LINE_BYTES_MAX);
    }
    reader.push(b"\"}\n");
    reader.push(stream().as_bytes());
    assert_eq!(
        (reader.lines_skipped(), reader.progress(), reader.line.capacity() <= LINE_BYTES_KEPT),
        (1, 8, true)
    );
}

#[test]
fn texts_are_cut_between_characters() {
    let event = json!({"type":"result","result":"é".repeat(RESULT_TEXT_BYTES_MAX),"subtype":"é".repeat(WORD_BYTES_MAX)});
    let report = read(&event.to_string()).into_report();
    let result = report.result.expect("the event is a result");
    assert_eq!((result.text.len(), result.subtype.len()), (RESULT_TEXT_BYTES_MAX, WORD_BYTES_MAX));
    assert_eq!((cut("aé", 2), cut_front("éa", 2)), ("a".to_owned(), "a".to_owned()));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut reader = Reader::new();
        reader.push(&bytes);
        reader.finish();
    }

    #[test]
    fn pieces_make_no_difference(cuts in proptest::collection::vec(0_usize..400, 0..60)) {
        let text = stream();
        let (mut reader, mut rest) = (Reader::new(), text.as_bytes());
        for at in cuts {
            let (piece, tail) = rest.split_at(at.min(rest.len()));
            reader.push(piece);
            rest = tail;
        }
        reader.push(rest);
        reader.finish();
        prop_assert_eq!(reader.into_report(), read(&text).into_report());
    }

    #[test]
    fn any_json_shape_is_read_without_panic(
        kind in "system|assistant|user|result|rate_limit_event",
        field in "subtype|message|rate_limit_info|usage|errors|is_error|resetsAt|session_id",
        number in any::<i64>(),
        text in ".{0,40}",
    ) {
        for value in [json!(number), json!(text), json!([number]), json!({"content": text}), json!({"resetsAt": number, "rateLimitType": text})] {
            let mut event = json!({"type": kind});
            event[field.as_str()] = value;
            prop_assert_eq!(read(&event.to_string()).progress(), 1);
        }
    }
}
