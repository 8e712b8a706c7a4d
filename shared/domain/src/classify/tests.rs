mod known;
mod patterns;
mod variants;

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::agent_output::Reader;

/// 2026-11-22T02:00:00Z, a Sunday.
const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

fn outcome(ended_by: EndedBy, exit: Option<Exit>, events: &[Value]) -> Outcome {
    let mut reader = Reader::new();
    for event in events {
        reader.push(format!("{event}\n").as_bytes());
    }
    Outcome {
        ended_by,
        exit,
        report: reader.into_report(),
        tail: String::new(),
        log_bytes: 0,
        spawned_at: None,
        ended_at: NOW,
        steps: Vec::new(),
    }
}

fn success() -> Value {
    json!({"type":"result","subtype":"success","is_error":false,"stop_reason":"end_turn","result":"API Error: 529"})
}

fn judged(events: &[Value]) -> String {
    let judgement =
        classify(&outcome(EndedBy::Agent, Some(Exit::Code(1)), events), &Patterns::default(), NOW);
    let time = judgement.resets_at.map(|at| format!(" until {at}")).unwrap_or_default();
    let wait = judgement.retry_after_s.map(|seconds| format!(" after {seconds} s")).unwrap_or_default();
    format!("{}{time}{wait} [{}]", judgement.class.reason().as_str(), judgement.evidence)
}

fn failed(fields: &Value) -> Value {
    let mut event = json!({"type":"result","subtype":"success","is_error":true});
    for (name, value) in fields.as_object().into_iter().flatten() {
        event[name.as_str()] = value.clone();
    }
    event
}

#[test]
fn fields_decide_before_words() {
    let synthetic = |error: &str| json!({"type":"assistant","error":error,"message":{"model":"<synthetic>"}});
    let spent = json!({"type":"rate_limit_event","rate_limit_info":
        {"status":"rejected","resetsAt":1_795_320_061,"rateLimitType":"five_hour"}});
    let retrying = json!({"type":"system","subtype":"api_retry","retry_delay_ms":7000});
    let rows = [
        judged(&[success()]),
        judged(&[failed(&json!({"subtype":"error_max_turns","is_error":false}))]),
        judged(&[failed(&json!({"subtype":"error_max_budget_usd","errors":["Reached maximum budget"]}))]),
        judged(&[failed(&json!({"subtype":"error_during_execution","errors":["429"]}))]),
        judged(&[failed(&json!({"api_error_status":429,"result":"API Error: Request rejected (429)"}))]),
        judged(&[retrying.clone(), failed(&json!({"api_error_status":429,"result":"slow down"}))]),
        judged(&[retrying, failed(&json!({"api_error_status":503,"result":"API Error: 503"}))]),
        judged(&[
            spent.clone(),
            failed(&json!({"api_error_status":429,"result":"You've hit it · resets 4am (UTC)"})),
        ]),
        judged(&[spent, failed(&json!({"api_error_status":401,"result":"Invalid API key"}))]),
        judged(&[failed(&json!({"api_error":"usage_limit_reached","api_error_type":"rate_limit_error"}))]),
        judged(&[failed(&json!({"api_error_type":"overloaded_error","api_error_status":500}))]),
        judged(&[failed(&json!({"terminal_reason":"prompt_too_long","api_error_status":400}))]),
        judged(&[
            synthetic("server_error"),
            failed(&json!({"result":"API Error: 529 Overloaded (gateway:4290)"})),
        ]),
        judged(&[synthetic("server_error"), failed(&json!({"result":"Self-signed certificate detected"}))]),
        judged(&[synthetic("server_error"), failed(&json!({"result":"something new"}))]),
        judged(&[synthetic("unknown"), failed(&json!({"result":"API Error: 409 conflict"}))]),
        judged(&[synthetic("billing_error"), failed(&json!({"result":"?"}))]),
        judged(&[synthetic("billing_error")]),
        judged(&[failed(&json!({"is_error":false,"terminal_reason":"completed","stop_reason":null}))]),
        judged(&[failed(&json!({"result":"I could not do it"}))]),
    ];
    insta::assert_snapshot!(rows.join("\n"), @r#"
none [result.subtype success]
max_turns [result.subtype error_max_turns]
max_turns [result.subtype error_max_budget_usd: Reached maximum budget]
agent_failure [result.subtype error_during_execution: 429]
rate_limit [result.api_error_status 429: API Error: Request rejected (429)]
rate_limit after 7 s [result.api_error_status 429: slow down]
server_error [result.api_error_status 503: API Error: 503]
usage_limit until 2026-11-22T04:01:01.000Z [result.api_error_status 429: You've hit it · resets 4am (UTC)]
auth [result.api_error_status 401: Invalid API key]
usage_limit [result.api_error usage_limit_reached]
overloaded [result.api_error_type overloaded_error]
context_length [result.terminal_reason prompt_too_long]
overloaded [assistant.error server_error: API Error: 529 Overloaded (gateway:4290)]
network [assistant.error server_error: Self-signed certificate detected]
server_error [assistant.error server_error: something new]
server_error [result text: API Error: 409 conflict]
billing [assistant.error billing_error: ?]
billing [assistant.error billing_error]
network [result: stop_reason null: the answer was cut off]
agent_failure [result.is_error: I could not do it]
"#);
}

#[test]
fn who_ended_it_overrules_what_it_printed_but_a_limit_of_ours_undoes_no_success() {
    let all = [
        EndedBy::Agent,
        EndedBy::AfterResult,
        EndedBy::Cancelled,
        EndedBy::MaxRuntime,
        EndedBy::Idle,
        EndedBy::DiskLimit { limit_bytes: 1 },
        EndedBy::MemoryLimit { limit_bytes: Some(1) },
        EndedBy::SelfFenced,
        EndedBy::Drained,
        EndedBy::ShimLost,
        EndedBy::SpawnFailed { error: "no such file".to_owned() },
        EndedBy::Unready { error: "has changed".to_owned() },
        EndedBy::Workspace {
            fault: crate::workspace::WorkspaceFault::Network,
            error: "no route to host".to_owned(),
        },
    ];
    let shown = |ended_by: &EndedBy, exit: Option<Exit>, events: &[Value]| {
        let (conclusion, evidence) =
            conclude(&outcome(ended_by.clone(), exit, events), false, &Patterns::default(), NOW);
        let word = match conclusion {
            Conclusion::Judged { class } => format!("{}/{}", class.as_str(), class.reason().as_str()),
            Conclusion::Lost { how } => format!("lost/{}", how.as_str()),
            Conclusion::Drained => "drained".to_owned(),
            Conclusion::NotTried { why } => format!("not tried/{}", why.as_str()),
            Conclusion::Unprepared { fault } => fault.as_str().to_owned(),
            Conclusion::Cancelled => "cancelled".to_owned(),
            Conclusion::StepFailed { fault } => format!("step/{}", fault.as_str()),
            Conclusion::OverBudget { exceeded } => exceeded.to_string(),
        };
        format!("{word} ({evidence})")
    };
    let rows: Vec<String> = all
        .iter()
        .map(|ended_by| {
            let killed = Some(Exit::Signal(15));
            let without = shown(ended_by, killed, &[]);
            format!(
                "{ended_by:?}\n  no result: {without}\n  success:   {}",
                shown(ended_by, killed, &[success()])
            )
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
Agent
  no result: permanent/crash (signal 15 and no result)
  success:   success/none (result.subtype success)
AfterResult
  no result: permanent/crash (signal 15 and no result)
  success:   success/none (result.subtype success)
Cancelled
  no result: cancelled (cancelled)
  success:   success/none (result.subtype success)
MaxRuntime
  no result: permanent/max_runtime (ran longer than its stage allows)
  success:   success/none (result.subtype success)
Idle
  no result: permanent/idle (was silent longer than its stage allows)
  success:   success/none (result.subtype success)
DiskLimit { limit_bytes: 1 }
  no result: permanent/disk_limit (its workspace and HOME took more than 1 bytes (ORCH_AGENT_DISK_BYTES of the runner))
  success:   success/none (result.subtype success)
MemoryLimit { limit_bytes: Some(1) }
  no result: permanent/memory_limit (wanted more than 1 bytes of memory (ORCH_AGENT_MEMORY_BYTES of the runner))
  success:   success/none (result.subtype success)
SelfFenced
  no result: lost/self_fenced (its runner heard nothing of the scheduler for a whole lease and ended it)
  success:   lost/self_fenced (its runner heard nothing of the scheduler for a whole lease and ended it)
Drained
  no result: drained (drained)
  success:   success/none (result.subtype success)
ShimLost
  no result: lost/shim_lost (its keeper was killed or crashed, and its agent was killed with it)
  success:   lost/shim_lost (its keeper was killed or crashed, and its agent was killed with it)
SpawnFailed { error: "no such file" }
  no result: permanent/crash (could not be started: no such file)
  success:   success/none (result.subtype success)
Unready { error: "has changed" }
  no result: not tried/preflight (has changed)
  success:   not tried/preflight (has changed)
Workspace { fault: Network, error: "no route to host" }
  no result: workspace_network (workspace_network: no route to host)
  success:   workspace_network (workspace_network: no route to host)
"#);
}

#[test]
fn a_refused_conversation_is_no_try_of_the_job() {
    let id = "9a15f593-7196-4556-85b4-ccbca393236b";
    let not_found = format!("No conversation found with session ID: {id}");
    let of_errors = |error: &str| {
        let result =
            json!({"subtype":"error_during_execution","num_turns":0,"session_id":id,"errors":[error]});
        outcome(EndedBy::Agent, Some(Exit::Code(1)), &[failed(&result)])
    };
    let odd = "Error: --resume requires a valid session ID or session title when used with --print.";
    let too_long = failed(&json!({"terminal_reason":"prompt_too_long","result":"Prompt is too long"}));
    let refused = Conclusion::NotTried { why: NotTried::SessionRefused };
    for (outcome, afresh) in [
        (of_errors(&not_found), "invalid_request"),
        (of_errors(odd), "invalid_request"),
        // What versions print that give no result.
        (outcome_of_text(&not_found, Exit::Code(1), NOW), "invalid_request"),
        (outcome(EndedBy::Agent, Some(Exit::Code(1)), &[too_long]), "context_length"),
    ] {
        assert_eq!(conclude(&outcome, true, &Patterns::default(), NOW).0, refused);
        let Conclusion::Judged { class } = conclude(&outcome, false, &Patterns::default(), NOW).0 else {
            panic!("{outcome:?}")
        };
        assert_eq!(class.reason().as_str(), afresh);
    }
    for ending in [
        failed(&json!({"api_error_status":429,"result":"slow down"})),
        failed(&json!({"subtype":"error_max_turns"})),
        failed(&json!({"subtype":"error_during_execution","errors":["interrupted"]})),
        success(),
    ] {
        let outcome = outcome(EndedBy::Agent, Some(Exit::Code(1)), &[ending]);
        assert_eq!(
            conclude(&outcome, true, &Patterns::default(), NOW),
            conclude(&outcome, false, &Patterns::default(), NOW)
        );
    }
}

#[test]
fn a_wait_is_capped_but_the_reset_is_told_as_it_is() {
    let far = classify(
        &outcome_of_text("You've hit your limit · resets Oct 1, 3am (UTC)", Exit::Code(1), NOW),
        &Patterns::default(),
        NOW,
    );
    let Class::Transient { retry_at, .. } = far.class else { panic!("transient: {far:?}") };
    assert_eq!(retry_at, Some(NOW.plus(WAIT_MAX)));
    assert_eq!(far.resets_at, Timestamp::parse("2027-10-01T03:00:00Z"));
}

#[test]
fn a_wait_that_only_the_clis_own_pause_tells_of_is_kept() {
    let retry = |attempt: u64, delay_ms: u64| json!({"type":"system","subtype":"api_retry","attempt":attempt,"retry_delay_ms":delay_ms,"error_status":429});
    let waits = |events: &[Value]| {
        let judgement =
            classify(&outcome(EndedBy::Agent, Some(Exit::Code(1)), events), &Patterns::default(), NOW);
        let Class::Transient { retry_at, .. } = judgement.class else { panic!("{judgement:?}") };
        (judgement.retry_after_s, retry_at.map(|at| at.as_ms() - NOW.as_ms()))
    };
    let limited = || failed(&json!({"api_error_status":429,"result":"slow down"}));
    let overloaded = || failed(&json!({"api_error_status":529,"result":"Overloaded"}));
    // With jitter on it (2.1.330), and without (2.1.197).
    assert_eq!(waits(&[retry(1, 3_490), retry(2, 3_178), limited()]), (None, Some(3_178)));
    assert_eq!(waits(&[retry(1, 23_447), overloaded()]), (None, Some(23_447)));
    assert_eq!(waits(&[retry(1, 3_000), limited()]), (Some(3), Some(3_000)));
    // The CLI's own pauses, as measured, say nothing.
    for (attempt, delay_ms) in
        [(1, 608), (2, 1_100), (3, 2_200), (4, 4_600), (5, 9_500), (6, 19_100), (8, 34_000)]
    {
        assert_eq!(waits(&[retry(attempt, delay_ms), overloaded()]), (None, None), "{attempt}");
    }
}

/// Every known text: ours, and more of every kind.
fn all() -> impl Iterator<Item = &'static known::Known> {
    known::KNOWN.iter().chain(variants::VARIANTS)
}

/// Breaks every line after `width` characters, anywhere.
fn wrapped(text: &str, width: usize) -> String {
    let wrap = |line: &str| {
        let chars: Vec<char> = line.chars().collect();
        chars.chunks(width).map(|piece| piece.iter().collect::<String>()).collect::<Vec<_>>().join("\n")
    };
    text.lines().map(wrap).collect::<Vec<_>>().join("\n")
}

/// Breaks lines between words.
fn folded(text: &str, width: usize) -> String {
    let mut folded = String::new();
    for line in text.lines() {
        let mut used = 0;
        for word in line.split(' ') {
            let length = word.chars().count();
            if used > 0 {
                let breaks = used + 1 + length > width;
                folded.push(if breaks { '\n' } else { ' ' });
                used = if breaks { 0 } else { used + 1 };
            }
            folded.push_str(word);
            used += length;
        }
        folded.push('\n');
    }
    folded
}

proptest! {
    #[test]
    fn wrapping_and_colours_change_no_verdict(
        case in 0..all().count(),
        width in 24_usize..120,
        colour in 0_u8..108,
        fold in any::<bool>(),
    ) {
        let (text, exit, verdict, time) = *all().nth(case).expect("a case of this number");
        // A stream that is cut at an end is whole lines of its program's making; no terminal comes between.
        prop_assume!(!text.starts_with(['{', '"']));
        let reflowed = if fold { folded(text, width) } else { wrapped(text, width) };
        let coloured: Vec<String> =
            reflowed.lines().map(|line| format!("\u{1b}[2K\u{1b}[{colour}m{line}\u{1b}[0m\r")).collect();
        let got = known::shown_judgement(&coloured.join("\n"), exit);
        prop_assert_eq!(got, (verdict.to_owned(), time.to_owned()), "{}", reflowed);
    }

    #[test]
    fn nothing_around_a_success_changes_it(
        before in proptest::collection::vec("\\PC{0,60}", 0..4),
        quoted in 0..all().count(),
        after in proptest::collection::vec("\\PC{0,60}", 0..4),
        signal in proptest::option::of(1_i32..32),
    ) {
        let quote = all().nth(quoted).expect("a case of this number").0;
        let result = json!({"type":"result","subtype":"success","is_error":false,"result":quote});
        prop_assume!(!quote.contains("\"type\":\"result\""));
        let text = format!("{}\n{quote}\n{result}\n{}\n{quote}", before.join("\n"), after.join("\n"));
        let exit = signal.map_or(Exit::Code(0), Exit::Signal);
        prop_assert_eq!(classify(&outcome_of_text(&text, exit, NOW), &Patterns::default(), NOW).class, Class::Success);
    }

    #[test]
    fn an_answer_may_quote_any_error(quoted in 0..all().count(), word in "[A-Za-z]{2,12}") {
        let quote = all().nth(quoted).expect("a case of this number").0;
        // An event that names its session is taken for the program's own.
        prop_assume!(!quote.contains("\"session_id\":\""));
        let text = format!("{word} the following was seen, and is handled now:\n\n{quote}\n\n{word} it is done.");
        prop_assert_eq!(classify(&outcome_of_text(&text, Exit::Code(0), NOW), &Patterns::default(), NOW).class, Class::Success);
    }

    #[test]
    fn no_text_does_harm(text in "(resets|reset at|API Error|limit reached\\||retry_after|\u{1b}\\]|\u{1b}\\[|[0-9]{1,20}|am|nov|:|\\(|\\PC){0,40}", exit in -70_i32..300) {
        let judgement = classify(&outcome_of_text(&text, Exit::from_number(exit), NOW), &Patterns::default(), NOW);
        if let Class::Transient { retry_at: Some(at), .. } = judgement.class {
            prop_assert!(at >= NOW && at <= NOW.plus(WAIT_MAX));
        }
    }
}
