//! Extra patterns: what they decide, and what they never touch.

use super::*;
use crate::classify::patterns::{BadPattern, Meaning, Pattern};

fn transient(source: &str, reason: TransientReason, seconds: Option<u64>) -> Pattern {
    let retry_after = seconds.map(Duration::from_secs);
    Pattern::new(source, Meaning::Transient { reason, retry_after }).unwrap()
}

fn patterns() -> Patterns {
    Patterns::new(vec![
        transient(r"(?i)corp-gateway: team quota .* spent", TransientReason::RateLimit, Some(600)),
        transient(r"corp-gateway: maintenance", TransientReason::ServerError, None),
        Pattern::new(r"corp-gateway: no contract", Meaning::Permanent { reason: PermanentReason::Billing })
            .unwrap(),
        // What our own words know as something else.
        transient(r"curl: \(6\) .*internal\.example", TransientReason::ServerError, Some(5)),
    ])
}

fn shown(text: &str, exit: i32) -> String {
    let judged = classify(&outcome_of_text(text, Exit::from_number(exit), NOW), &patterns(), NOW);
    let wait = judged.retry_after_s.map(|seconds| format!(" after {seconds} s")).unwrap_or_default();
    let reset = judged.resets_at.map(|at| format!(" until {at}")).unwrap_or_default();
    format!("{}/{}{wait}{reset}", judged.class.as_str(), judged.class.reason().as_str())
}

#[test]
fn they_decide_where_words_alone_would() {
    let cases = [
        ("starting\nCorp-Gateway: team quota of shop is spent\n", "transient/rate_limit after 600 s"),
        // Framed, coloured, wrapped between words and within one.
        ("[ERROR] stderr: corp-gateway: team quota of shop is spent", "transient/rate_limit after 600 s"),
        (
            "\u{1b}[31m│ corp-gateway: team quota of shop is spent\u{1b}[0m",
            "transient/rate_limit after 600 s",
        ),
        ("corp-gateway: team quota of\nshop is spent", "transient/rate_limit after 600 s"),
        ("corp-gateway: team quo\nta of shop is spent", "transient/rate_limit after 600 s"),
        // A time in the line is the better one.
        ("corp-gateway: team quota is spent, try again in 30 seconds", "transient/rate_limit after 30 s"),
        ("corp-gateway: maintenance", "transient/server_error"),
        ("corp-gateway: no contract", "permanent/billing"),
        // The last line that matches counts.
        ("corp-gateway: no contract\ncorp-gateway: maintenance", "transient/server_error"),
        // They come before our own words, but only from the start of a line.
        ("curl: (6) Could not resolve host: api.internal.example", "transient/server_error after 5 s"),
        ("curl: (6) Could not resolve host: api.example", "transient/network"),
        ("the log says corp-gateway: maintenance", "permanent/agent_failure"),
    ];
    let wrong: Vec<_> = cases.iter().filter(|(text, want)| shown(text, 1) != *want).collect();
    assert!(
        wrong.is_empty(),
        "{:#?}",
        wrong.iter().map(|(text, want)| (text, want, shown(text, 1))).collect::<Vec<_>>()
    );
    let far_above = format!("corp-gateway: maintenance\n{}", "working\n".repeat(20));
    assert_eq!(shown(&far_above, 1), "permanent/agent_failure");
    // A program of the user's may end with 0 and no result.
    let no_result = outcome(EndedBy::Agent, Some(Exit::Code(0)), &[]);
    let no_result = Outcome { tail: "corp-gateway: maintenance\n".to_owned(), ..no_result };
    assert_eq!(classify(&no_result, &patterns(), NOW).class.as_str(), "transient");
    // And the CLI may pass a gateway's words on.
    let passed_on = failed(&json!({"result":"corp-gateway: no contract"}));
    let judged = classify(&outcome(EndedBy::Agent, Some(Exit::Code(1)), &[passed_on]), &patterns(), NOW);
    assert_eq!(judged.class, Class::Permanent { reason: PermanentReason::Billing });
    assert_eq!(judged.evidence, "[[classify]] \"corp-gateway: no contract\": corp-gateway: no contract");
}

#[test]
fn they_never_touch_a_success_a_field_a_signal_or_who_ended_it() {
    let text = "corp-gateway: maintenance";
    let synthetic = json!({"type":"assistant","error":"rate_limit","message":{"model":"<synthetic>"}});
    let structured: Vec<(Option<Exit>, EndedBy, Vec<Value>)> = vec![
        (Some(Exit::Code(0)), EndedBy::Agent, vec![success()]),
        (Some(Exit::Code(1)), EndedBy::Agent, vec![success()]),
        (Some(Exit::Signal(9)), EndedBy::Agent, vec![]),
        (Some(Exit::Code(143)), EndedBy::Agent, vec![]),
        (Some(Exit::Code(127)), EndedBy::Agent, vec![]),
        (None, EndedBy::MaxRuntime, vec![]),
        (None, EndedBy::Idle, vec![]),
        (None, EndedBy::SpawnFailed { error: text.to_owned() }, vec![]),
        (Some(Exit::Code(1)), EndedBy::Agent, vec![failed(&json!({"api_error_status":401,"result":text}))]),
        (
            Some(Exit::Code(1)),
            EndedBy::Agent,
            vec![failed(&json!({"api_error_type":"rate_limit_error","result":text}))],
        ),
        (
            Some(Exit::Code(1)),
            EndedBy::Agent,
            vec![failed(&json!({"terminal_reason":"max_turns","result":text}))],
        ),
        (
            Some(Exit::Code(1)),
            EndedBy::Agent,
            vec![failed(&json!({"subtype":"error_during_execution","errors":[text]}))],
        ),
        (Some(Exit::Code(1)), EndedBy::Agent, vec![synthetic.clone(), failed(&json!({"result":text}))]),
        (Some(Exit::Code(1)), EndedBy::Agent, vec![synthetic]),
    ];
    for (exit, ended_by, events) in structured {
        let outcome = Outcome { tail: text.to_owned(), ..outcome(ended_by, exit, &events) };
        assert_eq!(
            classify(&outcome, &patterns(), NOW),
            classify(&outcome, &Patterns::default(), NOW),
            "{outcome:?}"
        );
    }
}

#[test]
fn what_is_no_pattern_or_too_wide_is_refused() {
    let refused = |source: &str| {
        let meaning = Meaning::Permanent { reason: PermanentReason::Billing };
        Pattern::new(source, meaning).unwrap_err()
    };
    assert_eq!(refused("a(b").to_string(), "is not a pattern that can be used: unclosed group");
    assert_eq!(refused("a)|(b"), BadPattern::Invalid("unopened group".to_owned()));
    assert!(matches!(refused("(a{999}){999}"), BadPattern::Invalid(why) if why.contains("memory")));
    assert_eq!(refused(&"a".repeat(1_001)), BadPattern::TooLong);
    for wide in ["", "a*", ".*429", r"\d+", "(?s).*", "429|529", ".*rate limit", ".*error"] {
        assert!(matches!(refused(wide), BadPattern::TooWide(_)), "{wide}");
    }
}

proptest! {
    #[test]
    fn no_pattern_changes_a_success(
        source in "[a-zA-Z0-9 .*+?|()^$\\[\\]{}-]{0,20}",
        before in "\\PC{0,80}",
        after in "\\PC{0,80}",
        exit in -30_i32..130,
    ) {
        let meaning = Meaning::Transient { reason: TransientReason::Overloaded, retry_after: None };
        let Ok(pattern) = Pattern::new(&source, meaning) else { return Ok(()) };
        let result = json!({"type":"result","subtype":"success","is_error":false,"result":after});
        let outcome = outcome_of_text(&format!("{before}\n{result}\n{after}"), Exit::from_number(exit), NOW);
        prop_assume!(classify(&outcome, &Patterns::default(), NOW).class == Class::Success);
        prop_assert_eq!(classify(&outcome, &Patterns::new(vec![pattern]), NOW).class, Class::Success);
    }
}
