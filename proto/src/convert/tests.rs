use domain::outcome::{AgentReport, EndedBy, Exit};
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn run_keys_survive_the_wire(id in any::<u128>(), epoch in any::<i64>()) {
        let key = run_key(RunId(uuid::Uuid::from_u128(id)), Epoch(epoch));
        prop_assert_eq!(read_run_key(Some(&key)).unwrap(), (RunId(uuid::Uuid::from_u128(id)), Epoch(epoch)));
    }

    #[test]
    fn outcomes_survive_the_wire(tail in ".*", number in any::<i16>(), log_bytes in any::<u64>(), at in any::<i64>()) {
        let outcome = Outcome {
            ended_by: EndedBy::SpawnFailed { error: tail.clone() },
            exit: Some(Exit::from_number(i32::from(number))),
            report: AgentReport::default(),
            tail,
            log_bytes,
            spawned_at: None,
            ended_at: Timestamp::from_ms(at),
            steps: Vec::new(),
        };
        prop_assert_eq!(read_outcome(&outcome_frame(&outcome, "token")).unwrap(), outcome);
    }

    #[test]
    fn preflights_survive_the_wire(ok in any::<bool>(), version in any::<Option<String>>(), at in any::<i64>(), note in any::<Option<String>>()) {
        let (error, program) = (version.clone(), note.clone());
        let preflight = Preflight { ok, version, checked_at: Timestamp::from_ms(at), error, program, note };
        prop_assert_eq!(read_preflight(Some(&preflight_report(&preflight))), preflight);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    assert_eq!(read_run_key(None).unwrap_err().to_string(), "run is missing");
    let key = v1::RunKey { run_id: "7".to_owned(), epoch: 1, token: String::new() };
    assert_eq!(read_run_key(Some(&key)).unwrap_err().to_string(), "run_id is not a UUID");
    let frame = v1::OutcomeFrame { outcome_json: "{}".to_owned(), token: String::new() };
    assert_eq!(read_outcome(&frame).unwrap_err().to_string(), "outcome_json is not an outcome");
}
