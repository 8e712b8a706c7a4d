use super::*;
use crate::outcome::{AgentReport, EndedBy, Exit, ResultEvent};

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);
const HEAD: &str = "1111111111111111111111111111111111111111";

fn outcome(message: &str) -> Outcome {
    let result =
        ResultEvent { subtype: "success".to_owned(), text: message.to_owned(), ..ResultEvent::default() };
    Outcome {
        ended_by: EndedBy::Agent,
        exit: Some(Exit::Code(0)),
        report: AgentReport { result: Some(result), ..AgentReport::default() },
        tail: String::new(),
        log_bytes: 0,
        spawned_at: None,
        ended_at: NOW,
        steps: Vec::new(),
    }
}

fn says(verdict: &str) -> Outcome {
    outcome(&format!(
        "Done.\n```json\n{{\"verdict\": \"{verdict}\", \"summary\": \"made @it <!-- x\"}}\n```\n"
    ))
}

fn facts(step: StepKind, state: StepState) -> StepFacts {
    StepFacts {
        step,
        state,
        evidence: String::new(),
        branch: None,
        head: None,
        pull_request: None,
        began_at: NOW,
        ended_at: NOW,
    }
}

fn failed(step: StepKind, fault: StepFault) -> StepFacts {
    facts(step, StepState::Failed { fault })
}

#[test]
fn only_a_success_that_is_no_fail_is_followed_by_steps() {
    let steps = Steps { push: true, ..Steps::default() };
    let asking = Steps { asks_verdict: true, ..steps.clone() };
    let cancelled = Outcome { ended_by: EndedBy::ShimLost, ..says("pass") };
    let crashed = Outcome { exit: Some(Exit::Signal(9)), report: AgentReport::default(), ..outcome("") };
    let rows = [
        (due(&steps, &outcome("done")), true),
        (due(&asking, &outcome("done")), false),
        (due(&asking, &says("pass")), true),
        (due(&steps, &says("fail")), false),
        (due(&asking, &says("fail")), false),
        (due(&steps, &cancelled), false),
        (due(&steps, &crashed), false),
        (due(&Steps::default(), &says("pass")), false),
    ];
    for (index, (found, expected)) in rows.into_iter().enumerate() {
        assert_eq!(found, expected, "row {index}");
    }
}

#[test]
fn each_fault_is_the_works_or_the_forges_or_a_persons() {
    let mut rows = Vec::new();
    for fault in StepFault::ALL {
        let steps = [failed(StepKind::Push, *fault)];
        let (conclusion, work) = (conclusion(&steps), findings(&steps));
        assert!(conclusion.is_none() || work.is_none(), "{fault:?}");
        let told = match (conclusion, work) {
            (None, Some(_)) => "mend the work",
            (Some((Conclusion::StepFailed { fault }, _)), None) if fault.passes() => "later",
            (Some((Conclusion::StepFailed { .. }, _)), None) => "a person",
            other => panic!("{other:?}"),
        };
        rows.push(format!("{} {told}", fault.as_str()));
    }
    let expected = [
        "command_failed mend the work",
        "command_timeout mend the work",
        "command_unusable a person",
        "no_commits mend the work",
        "workspace a person",
        "remote_moved mend the work",
        "forge_unreachable later",
        "unconfigured a person",
        "forge_auth a person",
        "forge_refused a person",
    ];
    assert_eq!(rows, expected);
}

#[test]
fn what_was_not_done_is_no_success() {
    let concluded = |why| {
        let steps =
            [facts(StepKind::Command, StepState::Done), facts(StepKind::Push, StepState::NotDone { why })];
        conclusion(&steps).unwrap()
    };
    assert_eq!(
        concluded(Undone::Fenced),
        (Conclusion::Lost { how: LostHow::SelfFenced }, "push: fenced:".to_owned())
    );
    assert_eq!(concluded(Undone::Cancelled).0, Conclusion::Cancelled);
    assert_eq!(concluded(Undone::Drained).0, Conclusion::Drained);
    // What is not done because the gate failed is no fault of its own.
    let gate = StepFacts {
        evidence: "first\n\nassertion failed\n".to_owned(),
        ..failed(StepKind::Command, StepFault::CommandFailed)
    };
    let steps = [gate, facts(StepKind::Push, StepState::NotDone { why: Undone::Earlier })];
    assert_eq!(conclusion(&steps), None);
    assert_eq!(findings(&steps).unwrap().findings, ["the gate command failed", "first", "assertion failed"]);
}

#[test]
fn what_was_done_is_known_by_commit_and_number() {
    let push = StepFacts { head: Some(HEAD.to_owned()), ..facts(StepKind::Push, StepState::Done) };
    let opened = PullRequest { repo: "acme/shop".to_owned(), number: 12, url: String::new() };
    let pull =
        StepFacts { pull_request: Some(opened.clone()), ..facts(StepKind::PullRequest, StepState::Done) };
    let steps = [push, pull];
    assert_eq!((pushed_head(&steps), pull_request(&steps)), (Some(HEAD), Some(&opened)));
    assert_eq!((conclusion(&steps), findings(&steps), opened.key()), (None, None, "acme/shop#12".to_owned()));
    let undone = steps.map(|facts| StepFacts { state: StepState::NotDone { why: Undone::Drained }, ..facts });
    assert_eq!((pushed_head(&undone), pull_request(&undone)), (None, None));
}

#[test]
fn a_pull_request_says_what_it_is_and_quotes_the_agent() {
    let ask = PullRequestAsk {
        repo: "acme/shop".to_owned(),
        title: String::new(),
        body: "development of SHOP-1".to_owned(),
        marker: "<!-- orch:pull_request:7 -->".to_owned(),
    };
    let expected = "development of SHOP-1\n\n> made @\u{200b}it &lt;!-- x\n\n<!-- orch:pull_request:7 -->";
    assert_eq!(pull_request_body(&ask, &says("pass")), expected);
    let silent = "development of SHOP-1\n\n<!-- orch:pull_request:7 -->";
    assert_eq!(pull_request_body(&ask, &outcome("done")), silent);
}
