//! Texts with the verdict they deserve: ours, and the recorded ones where they are at hand.

use std::path::Path;

use super::*;

#[derive(serde::Deserialize)]
struct Case {
    id: String,
    tail: String,
    exit_code: i32,
    class: String,
    reason: String,
    retry_after_s: Option<f64>,
    resets_at: Option<String>,
}

/// What was printed, the exit code, `class/reason`, and the time named: a wait in seconds or a reset.
pub(super) type Known = (&'static str, i32, &'static str, &'static str);

pub(super) const KNOWN: &[Known] = &[
    // successes, however much they speak of errors
    (
        "The retry loop now waits on 429 and 529; \"API Error: 529 Overloaded\" is no longer fatal.",
        0,
        "success/none",
        "",
    ),
    (
        "API Error: 529 Overloaded is what the stub answers first.\nI made the client wait for it.",
        0,
        "success/none",
        "",
    ),
    (
        "You've hit your session limit · resets 3pm (UTC) is the line our parser now reads.",
        0,
        "success/none",
        "",
    ),
    (
        "Summary:\n- added a test\n\nAPI Error: Rate limit reached\n\nThat was the message before the fix.",
        0,
        "success/none",
        "",
    ),
    (r#"An example event: {"type":"result","is_error":true,"api_error_status":429}"#, 0, "success/none", ""),
    (
        "Here is a failing event:\n{\"type\":\"result\",\"is_error\":true,\"result\":\"API Error: 529\"}\nNow it is handled.",
        0,
        "success/none",
        "",
    ),
    // limits
    (
        "You've hit your weekly limit · resets Nov 24, 8:44am (Asia/Kolkata)",
        1,
        "transient/usage_limit",
        "2026-11-24T03:14:00.000Z",
    ),
    (
        "You\u{2019}ve hit your Fable limit ∙ resets 1am (UTC)",
        1,
        "transient/usage_limit",
        "2026-11-23T01:00:00.000Z",
    ),
    ("You've hit your session limit · resets 2:30am", 1, "transient/usage_limit", "2026-11-22T02:30:00.000Z"),
    (
        "You've reached your 5-hour limit. It resets at 15:04 (UTC+2)",
        1,
        "transient/usage_limit",
        "2026-11-22T13:04:00.000Z",
    ),
    (
        "You've hit your limit · resets tomorrow at 9am (America/New_York)",
        1,
        "transient/usage_limit",
        "2026-11-22T14:00:00.000Z",
    ),
    (
        "You've hit your limit · resets Monday 7am (Europe/Berlin)",
        1,
        "transient/usage_limit",
        "2026-11-23T06:00:00.000Z",
    ),
    ("You've hit your limit · resets in 2h 15m", 1, "transient/usage_limit", "2026-11-22T04:15:00.000Z"),
    (
        "You've hit your limit · resets Feb 29, noon (UTC)",
        1,
        "transient/usage_limit",
        "2028-02-29T12:00:00.000Z",
    ),
    (
        "You've hit your limit · resets Nov 2 4pm (UTC)",
        1,
        "transient/usage_limit",
        "2027-11-02T16:00:00.000Z",
    ),
    (
        "You've hit your limit · resets 3am (Mars/Olympus)",
        1,
        "transient/usage_limit",
        "2026-11-22T03:00:00.000Z",
    ),
    ("You've hit your session limit", 1, "transient/usage_limit", ""),
    (
        "Weekly limit reached · resets Jan 2, 2027, 10pm (Australia/Lord_Howe)",
        1,
        "transient/usage_limit",
        "2027-01-02T11:00:00.000Z",
    ),
    ("Claude AI usage limit reached|1795320000", 1, "transient/usage_limit", "2026-11-22T04:00:00.000Z"),
    ("Claude AI usage limit reached|1795320000", 0, "transient/usage_limit", "2026-11-22T04:00:00.000Z"),
    (
        "[WARN] attempt 1\n[ERROR] stderr: You've hit your session limit · resets 5pm (America/Lima)\n[INFO] bye",
        1,
        "transient/usage_limit",
        "2026-11-22T22:00:00.000Z",
    ),
    (
        "API Error: 400 You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC.",
        1,
        "transient/usage_limit",
        "2027-01-01T00:00:00.000Z",
    ),
    (
        "API Error: Request rejected (429) · Too many requests, try again in 20 seconds.",
        1,
        "transient/rate_limit",
        "20",
    ),
    ("API Error: Rate limit reached", 0, "transient/rate_limit", ""),
    (
        "openai.RateLimitError: Error code: 429 - {'error': {'message': 'slow down', 'retry_after': 7}}",
        1,
        "transient/rate_limit",
        "7",
    ),
    // money
    ("You're out of extra usage. Add more to go on.", 1, "permanent/billing", ""),
    (
        "API Error: Request rejected (429) · Extra usage is required for long context requests.",
        1,
        "permanent/billing",
        "",
    ),
    (
        "API Error: 429 {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"You exceeded your monthly spend limit\"}}",
        1,
        "permanent/billing",
        "",
    ),
    (
        "API Error: 403 {\"error\":{\"type\":\"billing_error\",\"message\":\"no\"}}",
        1,
        "permanent/billing",
        "",
    ),
    // the provider and the way to it
    (
        "API Error: 529 {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
        1,
        "transient/overloaded",
        "",
    ),
    ("API Error: Repeated 529 Overloaded errors. The API is at capacity.", 1, "transient/overloaded", ""),
    (
        "API Error: 502 Bad gateway. If it persists, check your inference gateway (10.0.0.7:4290).",
        1,
        "transient/server_error",
        "",
    ),
    (
        "API Error: 503 Service Unavailable. Check your inference gateway (localhost:5299).",
        1,
        "transient/server_error",
        "",
    ),
    (
        "API Error: gateway.example | 524: A timeout occurred. This is a server-side issue, usually temporary.",
        1,
        "transient/server_error",
        "",
    ),
    (
        "API Error: 524 {\"status\":524,\"retryable\":true,\"retry_after\":60}",
        1,
        "transient/server_error",
        "60",
    ),
    (
        "API Error: Connection lost mid-response. The response above may be incomplete.",
        1,
        "transient/network",
        "",
    ),
    (
        "API Error: Can't reach the API server — check your internet or DNS (EAI_AGAIN)",
        1,
        "transient/network",
        "",
    ),
    ("curl: (7) Failed to connect to api.example port 4290: Connection refused", 7, "transient/network", ""),
    ("Request timed out", 1, "transient/timeout", ""),
    (
        "API Error: Unable to connect to API: unable to verify the first certificate",
        1,
        "permanent/network",
        "",
    ),
    (
        "fatal: unable to access 'https://forge.example/a/b.git/': Failed to connect to forge.example port 429",
        128,
        "transient/network",
        "",
    ),
    (
        "warning: spurious network error (2 tries remaining): [7] Could not connect to server",
        101,
        "transient/network",
        "",
    ),
    (
        "Traceback (most recent call last):\n  File \"a.py\", line 1\nsocket.gaierror: [Errno -3] Temporary failure in name resolution",
        1,
        "transient/network",
        "",
    ),
    ("API Error: Stream idle timeout - partial response received", 1, "transient/timeout", ""),
    ("API Error: 408 The request took too long", 1, "transient/timeout", ""),
    (
        "anthropic._exceptions.OverloadedError: Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}",
        1,
        "transient/overloaded",
        "",
    ),
    (
        "fatal: unable to access 'https://forge.example/': SSL certificate problem: self-signed certificate",
        128,
        "permanent/network",
        "",
    ),
    ("fatal: Authentication failed for 'https://forge.example/a/b.git/'", 128, "permanent/auth", ""),
    ("API Error: The response exceeded the 64000 output token maximum.", 1, "permanent/invalid_request", ""),
    (
        "FAIL: test_429\nTraceback (most recent call last):\n  File \"t.py\", line 4\nAssertionError: 529 != 200\n\nFAILED (failures=1)",
        1,
        "permanent/agent_failure",
        "",
    ),
    // what waiting does not mend
    ("Invalid API key · Fix external API key", 1, "permanent/auth", ""),
    (
        "Failed to authenticate. API Error: 403 {\"error\":{\"type\":\"permission_error\"}}",
        1,
        "permanent/auth",
        "",
    ),
    ("Prompt is too long", 1, "permanent/context_length", ""),
    (
        "API Error: 400 {\"error\":{\"type\":\"invalid_request_error\",\"message\":\"input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000\"}}",
        1,
        "permanent/context_length",
        "",
    ),
    (
        "API Error: 400 {\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages.4: 429 items, at most 100\"}}",
        1,
        "permanent/invalid_request",
        "",
    ),
    ("Error: Reached max turns (12)", 1, "permanent/max_turns", ""),
    ("Error: Exceeded USD budget (0.5)", 1, "permanent/max_turns", ""),
    ("Error: Session ID 0b5c is already in use.", 1, "permanent/invalid_request", ""),
    (
        "const a=1;var b=429;\nconst c=529;\nError: option '--max-budget-usd <amount>' argument '0' is invalid.",
        1,
        "permanent/invalid_request",
        "",
    ),
    (
        "API Error: 529 Overloaded\nAPI Error: Operation aborted\nInterrupted by user",
        1,
        "permanent/agent_failure",
        "",
    ),
    (
        "The deploy answered 503 and then 429, so I stopped: overloaded_error, it says.",
        1,
        "permanent/agent_failure",
        "",
    ),
    ("rate_limit = 429\nusage_limit = 529\noverloaded = true", 1, "permanent/agent_failure", ""),
    ("", 1, "permanent/agent_failure", ""),
    ("", 0, "permanent/agent_failure", ""),
    // the program died
    ("sh: 1: claude: not found", 127, "permanent/crash", ""),
    ("API Error: 529 Overloaded", 137, "permanent/crash", ""),
    ("API Error: 529 Overloaded", -9, "permanent/crash", ""),
    (
        "Traceback (most recent call last):\n  File \"run.py\", line 3, in <module>\nValueError: 429",
        1,
        "permanent/crash",
        "",
    ),
    ("tee: /var/log/agent: No space left on device", 1, "permanent/crash", ""),
];

pub(super) fn shown_judgement(text: &str, exit: i32) -> (String, String) {
    let judged = classify(&outcome_of_text(text, Exit::from_number(exit), NOW), &Patterns::default(), NOW);
    let time = match (judged.resets_at, judged.retry_after_s) {
        (Some(at), _) => at.to_string(),
        (None, Some(seconds)) => seconds.to_string(),
        (None, None) => String::new(),
    };
    (format!("{}/{}", judged.class.as_str(), judged.class.reason().as_str()), time)
}

#[test]
fn known_outcomes_keep_their_verdict() {
    let wrong: Vec<_> = all()
        .map(|(text, exit, verdict, time)| {
            (text, shown_judgement(text, *exit), ((*verdict).to_owned(), (*time).to_owned()))
        })
        .filter(|(_, got, want)| got != want)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn recorded_outcomes_are_judged_as_people_judged_them() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/claude/outcomes.jsonl");
    let Ok(lines) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no {}", path.display());
        return;
    };
    let cases: Vec<Case> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a case a line")).collect();
    let (mut classes, mut reasons, mut wrong) = (0_usize, 0_usize, Vec::new());
    for case in &cases {
        let outcome = outcome_of_text(&case.tail, Exit::from_number(case.exit_code), NOW);
        let judged = classify(&outcome, &Patterns::default(), NOW);
        let class_fits = judged.class.as_str() == case.class;
        let reason_fits = judged.class.reason().as_str() == case.reason;
        classes += usize::from(class_fits);
        reasons += usize::from(class_fits && reason_fits);
        let wait_fits = judged.retry_after_s
            == case.retry_after_s.map(|seconds| Duration::from_secs_f64(seconds).as_secs());
        let reset_fits =
            judged.resets_text == case.resets_at && judged.resets_at.is_some() == case.resets_at.is_some();
        if !(class_fits && reason_fits && wait_fits && reset_fits) {
            wrong.push(format!(
                "{}: {}/{} {:?} {:?} but {judged:?}",
                case.id, case.class, case.reason, case.retry_after_s, case.resets_at
            ));
        }
    }
    eprintln!("{classes} classes, {reasons} reasons of {}\n{}", cases.len(), wrong.join("\n"));
    assert!(wrong.is_empty());
}
