use proptest::prelude::*;

use super::*;

const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";
const GOOD: &str = "```json\n{\"verdict\":\"pass\",\"summary\":\"all is well\"}\n```";

fn report(summary: &str) -> Report {
    Report { summary: summary.to_owned(), ..Report::default() }
}

fn fenced(json: &str) -> String {
    format!("```json\n{json}\n```")
}

#[test]
fn the_instructions_show_what_is_taken() {
    let from = INSTRUCTIONS.find("```json").unwrap();
    let to = INSTRUCTIONS.rfind("```").unwrap() + 3;
    let Verdict::Pass(report) = read(&INSTRUCTIONS[from..to]) else { panic!("the example is a pass") };
    assert_eq!((report.findings.len(), report.head), (0, None));
    assert_eq!(read(INSTRUCTIONS), Verdict::Unreadable(Unreadable::NoBlock));
    assert_eq!(read(&format!("{INSTRUCTIONS}\n{GOOD}")), Verdict::Unreadable(Unreadable::Several));
}

#[test]
fn what_is_in_form_is_read() {
    let pass = Verdict::Pass(report("all is well"));
    let messages = [
        GOOD.to_owned(),
        format!("{GOOD}\n\n  \n"),
        GOOD.replace('\n', "\r\n"),
        format!("I looked at everything.\n\n{GOOD}"),
        format!("It does not fail any more.\n{GOOD}"),
        format!("```rust\nfn main() {{}}\n```\nThat is the change.\n{GOOD}"),
        format!("~~~~\nlog\n~~~~\n{GOOD}"),
        fenced("{\n  \"summary\": \"all is well\",\n  \"verdict\": \"pass\"\n}"),
        fenced("{\"verdict\":\"pass\",\"summary\":\" all is well\\u200b \",\"findings\":[],\"head\":null}"),
        fenced("{\"verdict\":\"pass\",\"summary\":\"all is well\",\"findings\":[\" \\n\"],\"head\":\"\"}"),
    ];
    for message in messages {
        assert_eq!(read(&message), pass, "{message}");
    }
    let failed = fenced(&format!(
        "{{\"verdict\":\"fail\",\"summary\":\"two things\",\"findings\":[\"src/a.rs:3 panics\",\"no\\ntest\"],\"head\":\"{HEAD}\"}}"
    ));
    let expected = Report {
        summary: "two things".to_owned(),
        findings: vec!["src/a.rs:3 panics".to_owned(), "no test".to_owned()],
        head: Some(HEAD.to_owned()),
    };
    assert_eq!(read(&failed), Verdict::Fail(expected));
}

#[test]
fn a_message_that_was_cut_is_not_read() {
    let long = |bytes: usize| format!("{}\n{GOOD}", "x".repeat(bytes - GOOD.len() - 1));
    assert!(matches!(read(&long(RESULT_TEXT_BYTES_MAX - 4)), Verdict::Pass(_)));
    for bytes in [RESULT_TEXT_BYTES_MAX - 3, RESULT_TEXT_BYTES_MAX] {
        assert_eq!(read(&long(bytes)), Verdict::Unreadable(Unreadable::TooLong));
    }
}

#[test]
fn a_verdict_about_another_commit_is_none() {
    let about = |head: Option<&str>| Verdict::Pass(Report { head: head.map(str::to_owned), ..report("s") });
    let other = HEAD.replace('0', "f");
    for (asked, judged) in [(None, None), (None, Some(HEAD)), (Some(HEAD), None), (Some(HEAD), Some(HEAD))] {
        assert_eq!(about(judged).bound_to(asked), about(judged));
    }
    assert_eq!(about(Some(&other)).bound_to(Some(HEAD)), Verdict::Unreadable(Unreadable::OtherHead));
}

proptest! {
    /// Text that is not in form never becomes one by what stands around it.
    #[test]
    fn text_around_makes_no_pass(before in any::<String>(), after in "[^\\s]{1,40}", line in "[ -~]{0,60}") {
        let fail = GOOD.replace("pass", "fail");
        let none_passes = [
            before.clone(),
            format!("{GOOD}\n{after}"),
            format!("{before}\n{line}\n{fail}"),
            format!("{fail}\n{before}\n{line}\n{GOOD}"),
            format!("{GOOD}\n{before}\n{line}\n{fail}"),
        ];
        for message in none_passes {
            prop_assert!(!matches!(read(&message), Verdict::Pass(_)), "{}", message);
        }
    }

    /// One changed letter makes at most another text of a pass, never a pass of a fail.
    #[test]
    fn a_fail_with_a_slip_is_no_pass(at in 0_usize..60, letter in any::<char>()) {
        let fail = GOOD.replace("pass", "fail");
        let mut letters: Vec<char> = fail.chars().collect();
        let place = at % letters.len();
        letters[place] = letter;
        let slipped: String = letters.into_iter().collect();
        prop_assert!(!matches!(read(&slipped), Verdict::Pass(_)), "{}", slipped);
    }

    /// Every summary, finding and head comes through, bounded and visible.
    #[test]
    fn what_is_said_is_read(summary in "[a-z][^\\x00]{0,80}", findings in proptest::collection::vec(any::<String>(), 0..5)) {
        let block = serde_json::json!({"verdict": "fail", "summary": summary, "findings": findings, "head": HEAD});
        let Verdict::Fail(report) = read(&fenced(&block.to_string())) else {
            return Err(TestCaseError::fail("it is a fail"));
        };
        prop_assert!(report.summary.starts_with(&summary[..1]));
        prop_assert!(report.findings.len() <= findings.len());
        prop_assert_eq!(report.head.as_deref(), Some(HEAD));
    }
}
