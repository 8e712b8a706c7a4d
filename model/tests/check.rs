//! The protocol holds in every state that can be reached, and every broken variant is found.

mod explore;

use explore::{ADOPTED, explore, faithful, hold, list, say, violated};
use model::{Fault, Limits, Protocol, Variant};

const ONE: &str = "at most one live agent";
const LEASED: &str = "I6 spawned inside a committed lease";

#[test]
fn the_protocol_holds() {
    use Fault::{Host, Runner, Scheduler, Shim};
    hold("a crash of the scheduler", &faithful(2, 2, 1, &[Scheduler]), &[ADOPTED]);
    hold("a crash of a runner", &faithful(2, 2, 1, &[Runner]), &[]);
    hold("a crash of a host", &faithful(2, 2, 1, &[Host]), &[]);
    hold("a crash of a shim", &faithful(2, 2, 1, &[Shim]), &[ADOPTED]);
    hold("three epochs", &faithful(3, 3, 0, &[]), &[ADOPTED]);
    let at_work = Protocol { at_work: true, ..faithful(2, 1, 0, &[Scheduler, Runner, Shim, Host]) };
    hold("an agent at work, then a crash of each part", &at_work, &[]);
}

#[test]
fn without_further_faults_every_state_comes_to_rest() {
    use Fault::{Host, Runner, Scheduler, Shim};
    for (fault, renews, unseen) in
        [(Scheduler, 0, &[ADOPTED][..]), (Runner, 1, &[]), (Host, 1, &[]), (Shim, 1, &[ADOPTED])]
    {
        let protocol = Protocol { healing: true, ..faithful(2, 2, renews, &[fault]) };
        hold(&format!("rest after a crash: {fault:?}"), &protocol, unseen);
    }
}

/// Where a variant is looked for, and what it violates.
struct Case {
    variant: Variant,
    faults: &'static [Fault],
    starts: u8,
    renews: u8,
    violates: &'static str,
}

#[test]
fn every_broken_variant_is_found() {
    use Fault::{Host, Runner, Scheduler, Shim};
    use Variant as V;
    let case = |variant, faults, starts, renews, violates| Case { variant, faults, starts, renews, violates };
    let cases: [Case; 17] = [
        case(V::SpawnOnLaunch, &[], 2, 0, LEASED),
        case(V::OutcomeNotFenced, &[], 2, 0, "I5 only the owner's first outcome moves the job"),
        case(V::LeaseFromReceipt, &[], 2, 0, LEASED),
        case(V::RunnerLeaseNotShorter, &[], 2, 0, ONE),
        case(V::NoDeadMan, &[Runner], 2, 0, ONE),
        case(V::AgentOutlivesShim, &[Shim, Runner], 2, 0, ONE),
        case(V::JournalNotDurable, &[Runner], 2, 0, ONE),
        case(
            V::PidTrusted,
            &[Host],
            2,
            0,
            "liveness: without further faults the job ends and nothing is left",
        ),
        case(V::RequeueKeepsOwnership, &[], 2, 0, "I1 queued owns nothing"),
        case(V::AckBeforeCommit, &[Scheduler], 2, 0, "I10 an outcome is kept until it is committed"),
        case(V::AbsenceIsLoss, &[], 2, 1, LEASED),
        case(V::ReaperJoinsRunners, &[Scheduler], 2, 0, LEASED),
        case(V::RespawnFromIntent, &[Runner], 2, 0, "I6 spawned once for a run"),
        case(V::RepeatedStartRefused, &[], 2, 0, LEASED),
        case(V::ExtendAfterAnswer, &[], 3, 0, LEASED),
        case(V::StragglerCounts, &[Scheduler], 1, 2, ONE),
        case(V::NoGraceAtStart, &[Scheduler], 2, 0, LEASED),
    ];
    assert_eq!(cases.each_ref().map(|case| case.variant), Variant::BROKEN);
    for case in cases {
        let name = format!("{:?}", case.variant);
        let limits =
            Limits { runs: 2, starts: case.starts, renews: case.renews, faults: case.faults.to_vec() };
        let healing = case.violates.starts_with("liveness");
        let at_work = case.variant == Variant::StragglerCounts;
        // One thread, so that it is always the same shortest way.
        let checker = explore(&name, Protocol { variant: case.variant, limits, at_work, healing }, 1);
        let found = violated(&checker);
        for (property, steps) in &found {
            say(&format!("  violated: {property}, in {} steps{}", steps.len(), list(steps)));
        }
        let names: Vec<_> = found.iter().map(|(property, _)| *property).collect();
        assert!(names.contains(&case.violates), "{name} should violate {}, found {names:?}", case.violates);
    }
}
