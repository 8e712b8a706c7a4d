use std::time::Duration;

use super::*;
use crate::budget::Amount;
use crate::run::RunUsage;
use crate::{Epoch, Incarnation, JobId, RunId, RunState, TransientReason};

fn run(epoch: i64, class: &str, reason: &str, session: Option<&str>) -> Run {
    Run {
        id: RunId(uuid::Uuid::from_u128(u128::try_from(epoch).unwrap())),
        job: JobId(1),
        epoch: Epoch(epoch),
        node: NodeId(format!("n{epoch}")),
        incarnation: Incarnation(1),
        account: Account("default".to_owned()),
        opening: crate::breaker::Opening::default(),
        probe: false,
        state: RunState::Ended,
        offered_at: Timestamp::from_ms(0),
        started_at: None,
        ended_at: Some(Timestamp::from_ms(1)),
        class: Some(class.to_owned()),
        reason: Some(reason.to_owned()),
        evidence: None,
        resumed_session: None,
        usage: RunUsage { session_id: session.map(str::to_owned), ..RunUsage::default() },
        exit_code: None,
        tail: None,
        aside: Amount::default(),
        stop: None,
        log_bytes: 0,
        steps: Vec::new(),
    }
}

/// The node and session to go on with after these runs.
fn next(runs: &[Run]) -> Option<(String, String)> {
    let resume = LastTry::of(runs.iter())?.resume()?;
    Some((resume.node.0, resume.session))
}

#[test]
fn what_was_cut_off_from_outside_goes_on_and_what_went_wrong_inside_does_not() {
    for reason in TransientReason::ALL {
        assert!(next(&[run(1, "transient", reason.as_str(), Some("s"))]).is_some(), "{reason:?}");
    }
    for reason in PermanentReason::ALL {
        let goes_on = matches!(reason, PermanentReason::Auth | PermanentReason::Billing);
        assert_eq!(next(&[run(1, "permanent", reason.as_str(), Some("s"))]).is_some(), goes_on, "{reason:?}");
    }
    for class in ["success", "lost", "drained", "cancelled"] {
        assert_eq!(next(&[run(1, class, "any", Some("s"))]), None, "{class}");
    }
    assert_eq!(next(&[]), None);
    assert_eq!(next(&[run(1, "transient", "overloaded", None)]), None);
}

#[test]
fn offers_that_came_to_nothing_are_passed_by_and_a_refusal_is_not() {
    let cut_off = run(1, "transient", "rate_limit", Some("s"));
    let withdrawn = run(2, "withdrawn", "no_capacity", None);
    let found = Some(("n1".to_owned(), "s".to_owned()));
    assert_eq!(next(&[cut_off.clone(), withdrawn.clone()]), found);
    let refused = run(3, "withdrawn", "session_refused", Some("s"));
    assert_eq!(next(&[cut_off.clone(), refused.clone()]), None);
    assert_eq!(next(&[cut_off.clone(), refused.clone(), withdrawn]), None);
    let fresh = run(4, "transient", "rate_limit", Some("t"));
    assert_eq!(next(&[cut_off, refused, fresh]), Some(("n4".to_owned(), "t".to_owned())));
}

#[test]
fn what_could_be_anything_but_the_value_of_a_flag_is_no_session() {
    let long = "a".repeat(SESSION_BYTES_MAX + 1);
    for odd in ["", "-p", "--dangerously-skip-permissions", "a b", "a/../b", "é", "a\n", &long] {
        assert_eq!(next(&[run(1, "transient", "overloaded", Some(odd))]), None, "{odd:?}");
    }
    assert!(
        next(&[run(1, "transient", "overloaded", Some("9a15f593-7196-4556-85b4-ccbca393236b"))]).is_some()
    );
}

#[test]
fn the_wait_for_a_node_ends() {
    let (at, wait) = (Timestamp::from_ms(1_000), Duration::from_mins(1));
    assert_eq!(wait_until(at, wait, at), Some(Timestamp::from_ms(61_000)));
    assert_eq!(wait_until(at, wait, Timestamp::from_ms(61_000)), None);
    assert_eq!(wait_until(at, Duration::ZERO, at), None);
}

#[test]
fn a_run_spares_what_its_conversation_had_cost_before() {
    let spent = |run: Run, resumed: Option<&str>, input: u64, output: u64| Run {
        resumed_session: resumed.map(str::to_owned),
        usage: RunUsage { input_tokens: Some(input), output_tokens: Some(output), ..run.usage },
        ..run
    };
    let cut_off = |epoch, session| run(epoch, "transient", "overloaded", Some(session));
    let refused = Run { reason: Some("session_refused".to_owned()), ..run(3, "withdrawn", "", Some("s")) };
    let runs = [
        spent(cut_off(1, "s"), None, 1_000, 100),
        spent(cut_off(2, "s"), Some("s"), 500, 50),
        spent(refused, Some("s"), 0, 0),
        spent(cut_off(4, "t"), None, 70, 7),
        spent(run(5, "success", "none", Some("t")), Some("t"), 30, 3),
    ];
    assert_eq!(tokens_saved(&runs), [0, 1_100, 0, 0, 77]);
    // Of three tries in one conversation the third spares both before it.
    let third = spent(run(3, "success", "none", Some("s")), Some("s"), 1, 1);
    assert_eq!(tokens_saved(&[runs[0].clone(), runs[1].clone(), third]), [0, 1_100, 1_650]);
    // One that never got to name its session has gone on with nothing.
    let silent = spent(run(2, "lost", "lease_expired", None), Some("s"), 0, 0);
    assert_eq!(tokens_saved(&[runs[0].clone(), silent]), [0, 0]);
}

#[test]
fn a_run_costs_what_its_conversation_had_not_cost_before() {
    let cost =
        |run: Run, cost_usd: f64| Run { usage: RunUsage { cost_usd: Some(cost_usd), ..run.usage }, ..run };
    let earlier = [
        cost(run(1, "transient", "overloaded", Some("s")), 0.5),
        cost(run(2, "transient", "overloaded", Some("s")), 0.25),
        cost(run(3, "transient", "overloaded", Some("t")), 8.0),
        run(4, "withdrawn", "no_capacity", None),
    ];
    let costs = |reported: f64| (own_cost(reported, "s", &earlier) * 100.0).round();
    assert_eq!((costs(1.0).to_bits(), costs(0.75).to_bits()), (25.0_f64.to_bits(), 0.0_f64.to_bits()));
    assert_eq!(costs(0.1).to_bits(), 10.0_f64.to_bits(), "it counted for itself");
    assert_eq!(own_cost(0.5, "s", &[]).to_bits(), 0.5_f64.to_bits());
}
