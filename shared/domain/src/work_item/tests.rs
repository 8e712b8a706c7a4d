mod pushed;

use std::time::Duration;

use super::arrival::{CHAIN_REST, arrive, hops, stopped};
use super::decision::{Refused, Word, decide, decide_alone};
use super::step::{JobEnd, Scene, step};
use super::*;
use crate::alert::Alert;
use crate::budget::{Exceeded, Purse, Scope, Unit};
use crate::delivery::{About, NewJob, Payload, Reformat};
use crate::job::{Budgets, JobKind, JobState, Origin};
use crate::pipeline::{Pipeline, parse};
use crate::verdict::{Report, Verdict, read};
use crate::{Epoch, Job};

pub(super) const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_042);
pub(super) const H1: &str = "1111111111111111111111111111111111111111";
pub(super) const H2: &str = "2222222222222222222222222222222222222222";

const PIPELINE: &str = r#"
[[project]]
name = "shop"
max_hops = 5
[[stage]]
name = "development"
role = "developer"
prompt = "p.md"
gate = ["verdict"]
on_pass = "review"
[[stage]]
name = "review"
role = "reviewer"
prompt = "p.md"
gate = ["verdict"]
on_pass = "deploy"
on_fail = "development"
max_bounces = 2
[[stage]]
name = "deploy"
role = "deployer"
prompt = "p.md"
gate = ["verdict", "approval"]
[[stage]]
name = "notes"
role = "writer"
prompt = "p.md"
on_pass = "deploy"
"#;

fn pipeline() -> Pipeline {
    parse(PIPELINE).unwrap()
}

pub(super) fn item(stage: &str) -> WorkItem {
    WorkItem {
        project: "shop".to_owned(),
        key: "SHOP-1".to_owned(),
        title: None,
        stage: stage.to_owned(),
        state: ItemState::Active,
        head: None,
        bounces: BTreeMap::new(),
        hops: 0,
        standing: Standing::Trusted,
        ended_because: None,
        chain: String::new(),
        revision: 4,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub(super) fn job(stage: &str) -> Job {
    Job {
        id: JobId(7),
        project: "shop".to_owned(),
        work_item: "SHOP-1".to_owned(),
        stage: stage.to_owned(),
        role: String::new(),
        priority: 2,
        budgets: Budgets::default(),
        epoch: Epoch(1),
        revision: 3,
        state: JobState::Queued { available_at: NOW },
        created_at: NOW,
        updated_at: NOW,
        trace_context: None,
        origin: Origin::default(),
    }
}

fn report(head: Option<&str>) -> Report {
    Report {
        summary: "said".to_owned(),
        findings: vec!["src/a.rs:3".to_owned()],
        head: head.map(str::to_owned),
    }
}

pub(super) fn pass() -> Verdict {
    Verdict::Pass(report(None))
}

pub(super) fn fail() -> Verdict {
    Verdict::Fail(report(None))
}

/// What an end with this verdict does.
fn ends(item: &WorkItem, job: &Job, payload: &Payload, verdict: Verdict) -> ItemChange {
    let pipeline = pipeline();
    let scene = Scene { item, job, payload, pipeline: &pipeline, now: NOW };
    step(&scene, JobEnd::Done { verdict, message: "the message", steps: &[] })
}

fn end(stage: &str, verdict: Verdict) -> ItemChange {
    ends(&item(stage), &job(stage), &Payload::default(), verdict)
}

/// The stage and key of the job that follows, or what the item needs, or its state.
pub(super) fn told(change: &ItemChange) -> String {
    match (&change.next, change.after.state.needs()) {
        (Some(next), None) => {
            format!(
                "{} {} {}",
                next.origin.kind.as_str(),
                next.stage,
                next.semantic_key.as_deref().unwrap_or("-")
            )
        }
        (None, Some(needs)) => format!("needs_you {}", needs.why.as_str()),
        (None, None) => change.after.state.as_str().to_owned(),
        (Some(next), Some(_)) => panic!("a person is asked and {} starts", next.stage),
    }
}

#[test]
fn a_pass_goes_on_and_takes_along_what_was_said() {
    let payload = Payload { title: Some("Fix".to_owned()), event: Some("e".into()), ..Payload::default() };
    let job = Job {
        origin: Origin { hops: 2, delivery: Some("plane:1".to_owned()), ..Origin::default() },
        ..job("development")
    };
    let change = ends(&item("development"), &job, &payload, pass());
    assert_eq!(told(&change), "stage review after:7:review");
    assert_eq!((change.expected, change.after.stage.as_str(), change.after.hops), (4, "review", 3));
    let next = change.next.unwrap();
    assert_eq!((next.role.as_str(), next.priority, next.available_at), ("reviewer", 2, NOW));
    assert_eq!(
        (next.origin.parent, next.origin.hops, next.origin.delivery.as_deref()),
        (Some(JobId(7)), 3, Some("plane:1"))
    );
    assert_eq!((next.payload.title.as_deref(), next.payload.event), (Some("Fix"), None));
    let [result] = next.payload.results.as_slice() else { panic!("one result") };
    assert_eq!(
        (result.verdict.as_str(), result.summary.as_str(), result.text.as_str()),
        ("pass", "said", "the message")
    );
}

#[test]
fn a_known_commit_is_the_key_of_what_follows() {
    let made =
        ends(&item("development"), &job("development"), &Payload::default(), Verdict::Pass(report(Some(H1))));
    assert_eq!(told(&made), format!("stage review head:shop:SHOP-1:review:{H1}"));
    assert_eq!(made.after.head.as_deref(), Some(H1));
    assert_eq!(made.next.unwrap().origin.head.as_deref(), Some(H1));
}

#[test]
fn a_fail_goes_back_with_its_findings_until_it_went_back_too_often() {
    let first = end("review", fail());
    assert_eq!(told(&first), "stage development after:7:development");
    assert_eq!(first.after.bounces, BTreeMap::from([("review".to_owned(), 1)]));
    assert_eq!(first.next.unwrap().payload.results[0].findings, ["src/a.rs:3"]);
    let worn = WorkItem { bounces: [("review".to_owned(), 2)].into(), ..item("review") };
    assert_eq!(told(&ends(&worn, &job("review"), &Payload::default(), fail())), "needs_you bounces");
    assert_eq!(told(&end("development", fail())), "needs_you failed");
    // A stage that asks for no verdict does not pass one that says fail.
    assert_eq!(told(&end("notes", fail())), "needs_you failed");
}

#[test]
fn what_cannot_be_read_is_asked_for_once_more_and_never_passes() {
    let unreadable = || read("PASS, looks good to me");
    let asked = end("review", unreadable());
    assert_eq!(told(&asked), "reformat review reformat:7");
    let next = asked.next.unwrap();
    assert_eq!(next.payload.reformat.as_ref().map(|reformat| reformat.message.as_str()), Some("the message"));
    assert_eq!(asked.after.stage, "review");

    let again = Job { origin: Origin { kind: JobKind::Reformat, ..Origin::default() }, ..job("review") };
    let payload = Payload { reformat: Some(Reformat::of("what the reviewer wrote")), ..Payload::default() };
    assert_eq!(told(&ends(&item("review"), &again, &payload, unreadable())), "needs_you unreadable");
    let passed = ends(&item("review"), &again, &payload, pass());
    assert_eq!(told(&passed), "stage deploy after:7:deploy");
    let next = passed.next.unwrap();
    assert_eq!(
        (next.payload.reformat, next.payload.results[0].text.as_str()),
        (None, "what the reviewer wrote")
    );
    // Where no verdict is asked for, the success of the run is enough.
    assert_eq!(told(&end("notes", unreadable())), "stage deploy after:7:deploy");
}

#[test]
fn a_persons_own_prompt_asks_for_no_verdict() {
    let payload = Payload { prompt: Some("look at this".to_owned()), ..Payload::default() };
    let told_of = |verdict| ends(&item("review"), &job("review"), &payload, verdict);
    assert_eq!(told(&told_of(read("I looked"))), "done");
    let passed = told_of(pass());
    assert_eq!(told(&passed), "stage deploy after:7:deploy");
    let next = passed.next.unwrap().payload;
    assert_eq!((next.prompt, next.body.as_deref()), (None, Some("look at this")));
}

#[test]
fn a_verdict_is_bound_to_its_commit() {
    let at = |head: &str| Some(head.to_owned());
    let of_h1 = Job { origin: Origin { head: at(H1), ..Origin::default() }, ..job("review") };
    let item_at = |head: &str| WorkItem { head: at(head), ..item("review") };
    for verdict in [pass(), fail()] {
        let stale = ends(&item_at(H2), &of_h1, &Payload::default(), verdict);
        assert_eq!(told(&stale), format!("stage review head:shop:SHOP-1:review:{H2}"));
        assert!(stale.after.bounces.is_empty());
    }
    let fresh = ends(&item_at(H1), &of_h1, &Payload::default(), Verdict::Pass(report(Some(H1))));
    assert_eq!(told(&fresh), format!("stage deploy head:shop:SHOP-1:deploy:{H1}"));
    let other = ends(&item_at(H1), &of_h1, &Payload::default(), Verdict::Pass(report(Some(H2))));
    assert_eq!(told(&other), "reformat review reformat:7");
    // A stage that makes commits is not bound to the one it began with.
    let maker = Job { origin: Origin { head: at(H1), ..Origin::default() }, ..job("development") };
    let made = ends(
        &WorkItem { head: at(H1), ..item("development") },
        &maker,
        &Payload::default(),
        Verdict::Pass(report(Some(H2))),
    );
    assert_eq!(told(&made), format!("stage review head:shop:SHOP-1:review:{H2}"));
}

#[test]
fn bounces_are_counted_until_the_item_is_through_and_not_until_development_ends() {
    let pipeline = Pipeline::default();
    let bounces = BTreeMap::from([("review".to_owned(), 2)]);
    let kept = |stage: &str| {
        let (item, job) = (WorkItem { bounces: bounces.clone(), ..item(stage) }, job(stage));
        let payload = Payload::default();
        let scene = Scene { item: &item, job: &job, payload: &payload, pipeline: &pipeline, now: NOW };
        step(&scene, JobEnd::Done { verdict: pass(), message: "", steps: &[] }).after.bounces
    };
    assert_eq!(kept("development"), bounces);
    assert_eq!(kept("deploy"), BTreeMap::new());
}

#[test]
fn the_end_of_the_line() {
    let pipeline = pipeline();
    let (shown, running) = (item("review"), job("review"));
    let payload = Payload::default();
    let scene = Scene { item: &shown, job: &running, payload: &payload, pipeline: &pipeline, now: NOW };
    assert_eq!(told(&step(&scene, JobEnd::Cancelled)), "cancelled");
    assert_eq!(told(&step(&scene, JobEnd::Failed { reason: "crash" })), "needs_you job_failed");
    assert_eq!(told(&step(&scene, JobEnd::Retried)), "active");
    // The item went on elsewhere: that this job rests does not end it.
    let elsewhere = item("deploy");
    let scene = Scene { item: &elsewhere, ..scene };
    assert_eq!(told(&step(&scene, JobEnd::Cancelled)), "active");
    let gone = job("no such stage");
    let scene = Scene { job: &gone, ..scene };
    let done = JobEnd::Done { verdict: pass(), message: "", steps: &[] };
    assert_eq!(told(&step(&scene, done)), "needs_you stage_gone");
}

#[test]
fn a_chain_that_grows_too_long_needs_a_person() {
    let long = Job { origin: Origin { hops: 5, ..Origin::default() }, ..job("development") };
    let change = ends(&item("development"), &long, &Payload::default(), pass());
    assert_eq!(told(&change), "needs_you hops");
    let waiting = WorkItem { revision: 5, ..change.after };
    let pipeline = pipeline();
    let scene =
        Scene { item: &waiting, job: &long, payload: &Payload::default(), pipeline: &pipeline, now: NOW };
    let approved = decide(&scene, Word::Approve, None).unwrap();
    assert_eq!(told(&approved), "stage review after:7:review");
    let next = approved.next.unwrap();
    assert_eq!((next.origin.hops, next.payload.results.len(), approved.after.hops), (0, 1, 0));
    assert_eq!(told(&decide(&scene, Word::Reject, None).unwrap()), "cancelled");
}

fn waiting_at(stage: &str, verdict: Verdict) -> (WorkItem, Job) {
    let change = end(stage, verdict);
    assert!(change.after.state.needs().is_some(), "{}", told(&change));
    (WorkItem { revision: 5, ..change.after }, job(stage))
}

fn decided(item: &WorkItem, job: &Job, word: Word) -> Result<ItemChange, Refused> {
    let (pipeline, payload) = (pipeline(), Payload::default());
    decide(
        &Scene { item, job, payload: &payload, pipeline: &pipeline, now: NOW },
        word,
        Some(" do it at night "),
    )
}

#[test]
fn an_approval_is_asked_for_and_given_once() {
    let (waiting, job) = waiting_at("deploy", pass());
    assert_eq!(waiting.state.needs().map(|needs| needs.why.as_str()), Some("approval"));
    let approved = decided(&waiting, &job, Word::Approve).unwrap();
    assert_eq!((told(&approved).as_str(), approved.expected), ("done", 5));
    assert_eq!(
        decided(&approved.after, &job, Word::Approve),
        Err(Refused::NotAsked { key: "SHOP-1".to_owned(), state: "done" })
    );
    assert_eq!(told(&decided(&waiting, &job, Word::Reject).unwrap()), "cancelled");
}

#[test]
fn a_person_may_overrule_a_fail_or_grant_another_round() {
    let (failed, job) = waiting_at("development", fail());
    let approved = decided(&failed, &job, Word::Approve).unwrap();
    assert_eq!(told(&approved), "stage review after:7:review");
    let result = &approved.next.unwrap().payload.results[0];
    assert_eq!(
        (result.verdict.as_str(), result.findings.last().map(String::as_str)),
        ("approved", Some("do it at night"))
    );

    let worn = WorkItem { bounces: [("review".to_owned(), 2)].into(), ..item("review") };
    let review = super::tests::job("review");
    let stopped = ends(&worn, &review, &Payload::default(), fail()).after;
    let again = decided(&stopped, &review, Word::Approve).unwrap();
    assert_eq!(told(&again), "stage development after:7:development");
    assert_eq!(again.after.bounces, BTreeMap::from([("review".to_owned(), 1)]));
}

#[test]
fn an_unreadable_verdict_is_a_persons_to_give() {
    let reformat = Job { origin: Origin { kind: JobKind::Reformat, ..Origin::default() }, ..job("review") };
    let stopped = ends(&item("review"), &reformat, &Payload::default(), read("hm")).after;
    assert_eq!(told(&decided(&stopped, &reformat, Word::Approve).unwrap()), "stage deploy after:7:deploy");
    let back = decided(&stopped, &reformat, Word::Reject).unwrap();
    assert_eq!(told(&back), "stage development after:7:development");
    assert_eq!(back.next.unwrap().payload.results[0].findings, ["do it at night"]);
}

#[test]
fn a_failed_job_is_retried_and_not_approved() {
    let pipeline = pipeline();
    let (shown, running, payload) = (item("review"), job("review"), Payload::default());
    let scene = Scene { item: &shown, job: &running, payload: &payload, pipeline: &pipeline, now: NOW };
    let failed = step(&scene, JobEnd::Failed { reason: "crash: failed 3 times" }).after;
    let refused = decided(&failed, &running, Word::Approve).unwrap_err().to_string();
    assert_eq!(
        refused,
        "work item SHOP-1 cannot be approved: job 7 of review was given up (crash: failed 3 times): `orch retry 7`, \
         or reject it to end the item"
    );
    assert_eq!(told(&decided(&failed, &running, Word::Reject).unwrap()), "cancelled");
}

pub(super) fn new_job(parent: Option<i64>, delivery: bool) -> NewJob {
    NewJob {
        project: "shop".to_owned(),
        work_item: "SHOP-1".to_owned(),
        stage: "review".to_owned(),
        role: "reviewer".to_owned(),
        priority: 0,
        available_at: NOW,
        semantic_key: None,
        payload: Payload { title: Some("Fix\n the\u{202e} till".to_owned()), ..Payload::default() },
        trace_context: None,
        origin: Origin {
            parent: parent.map(JobId),
            delivery: delivery.then(|| "gitea:1".to_owned()),
            hops: 2,
            head: Some(H2.to_owned()),
            ..Origin::default()
        },
        about: About { hops_max: Some(5), ..About::default() },
        budgets: Budgets::default(),
    }
}

#[test]
fn a_job_begins_its_item_or_takes_it_along() {
    let begun = arrive(None, &new_job(None, true), NOW);
    assert_eq!(
        (begun.title.as_deref(), begun.hops, begun.head.as_deref()),
        (Some("Fix the till"), 0, Some(H2))
    );
    let known =
        WorkItem { head: Some(H1.to_owned()), hops: 3, state: ItemState::Done, ..item("development") };
    let taken = arrive(Some(&known), &new_job(None, true), NOW);
    assert_eq!((taken.stage.as_str(), &taken.state, taken.hops), ("review", &ItemState::Active, 3));
    assert_eq!(taken.head.as_deref(), Some(H1), "an event about a commit moves no head");
    let moving = NewJob { about: About { moves_head: true, ..About::default() }, ..new_job(None, true) };
    assert_eq!(arrive(Some(&known), &moving, NOW).head.as_deref(), Some(H2));
}

#[test]
fn outside_events_go_on_with_a_chain_and_people_begin_one() {
    let known = WorkItem { hops: 6, ..item("development") };
    let rested = NOW.plus(CHAIN_REST);
    let just_before = NOW.plus(CHAIN_REST.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(hops(Some(&known), &new_job(None, true), just_before), 6);
    assert_eq!(hops(Some(&known), &new_job(None, true), rested), 0);
    assert_eq!(hops(Some(&known), &new_job(None, false), NOW), 0);
    assert_eq!(hops(Some(&known), &new_job(Some(3), true), NOW), 2);
    assert_eq!(stopped(Some(&known), &new_job(None, true), rested), None);
    assert_eq!(stopped(Some(&known), &new_job(Some(3), true), NOW), None);
    let stopped = stopped(Some(&known), &new_job(None, true), NOW).unwrap();
    assert_eq!(stopped.state.needs().map(|needs| needs.why.as_str()), Some("hops"));
    assert_eq!(decide_alone(&stopped, Word::Approve), Ok(ItemState::Active));
    assert_eq!(decide_alone(&stopped, Word::Reject), Ok(ItemState::Cancelled));
}

#[test]
fn a_spent_budget_asks_a_person_once_and_an_echo_starts_nothing() {
    let exceeded = |scope: Scope| Exceeded {
        purse: Purse { scope, key: "plane:1".to_owned() },
        unit: Unit::Runs,
        spent: 200,
        limit: 200,
    };
    let (shown, running, payload, pipeline) = (item("review"), job("review"), Payload::default(), pipeline());
    let scene = Scene { item: &shown, job: &running, payload: &payload, pipeline: &pipeline, now: NOW };
    let spent = exceeded(Scope::Chain);
    let stopped = step(&scene, JobEnd::OverBudget { exceeded: &spent });
    assert_eq!(told(&stopped), "needs_you budget");
    assert_eq!(stopped.alert.as_ref().map(Alert::word), Some("item_needs_you"));
    let reason = stopped.after.state.needs().unwrap().to_string();
    for word in ["200 runs of 200 runs", "orch budget raise chain 'plane:1' --runs 200", "orch retry 7"] {
        assert!(reason.contains(word), "{reason}");
    }
    // A bot answers what the agent wrote, again and again.
    let waiting = stopped.after;
    let again = arrival::stopped(Some(&waiting), &new_job(None, true), NOW).unwrap();
    assert_eq!((&again.state, super::told(Some(&waiting), &again)), (&waiting.state, None));
    assert_eq!(arrival::stopped(Some(&waiting), &new_job(None, true), NOW.plus(CHAIN_REST)), None);
    assert!(decided(&waiting, &running, Word::Approve).is_err(), "it is raised, not approved");
    assert_eq!(told(&decided(&waiting, &running, Word::Reject).unwrap()), "cancelled");
    // Another budget than the chain's lets the next event in.
    let of_item = exceeded(Scope::Item);
    let other = step(&scene, JobEnd::OverBudget { exceeded: &of_item }).after;
    assert_eq!(arrival::stopped(Some(&other), &new_job(None, true), NOW), None);
}

#[test]
fn people_are_told_when_an_item_begins_to_need_one_and_when_no_longer() {
    let words = |change: &ItemChange| change.alert.as_ref().map(Alert::word);
    let (waiting, job) = waiting_at("deploy", pass());
    assert_eq!(words(&end("deploy", pass())), Some("item_needs_you"));
    assert_eq!(words(&decided(&waiting, &job, Word::Approve).unwrap()), Some("item_goes_on"));
    assert_eq!(words(&end("development", pass())), None);
    // A job that was given up is told of by itself.
    let (shown, payload, pipeline) = (item("review"), Payload::default(), pipeline());
    let scene = Scene { item: &shown, job: &job, payload: &payload, pipeline: &pipeline, now: NOW };
    assert_eq!(words(&step(&scene, JobEnd::Failed { reason: "crash" })), None);
    // The same need is told once.
    let renewed = WorkItem { revision: 9, ..waiting.clone() };
    assert_eq!(super::told(Some(&waiting), &renewed), None);
    assert_eq!(super::told(None, &waiting).map(|alert| alert.word()), Some("item_needs_you"));
}

#[test]
fn a_chain_has_the_name_of_its_cause_as_long_as_its_hops_are_counted_on() {
    let begun = arrive(None, &new_job(None, true), NOW);
    assert_eq!(begun.chain, "gitea:1");
    let echo = NewJob {
        origin: Origin { delivery: Some("gitea:2".to_owned()), ..Origin::default() },
        ..new_job(None, true)
    };
    assert_eq!(arrive(Some(&begun), &echo, NOW).chain, "gitea:1", "a bot's answer");
    assert_eq!(arrive(Some(&begun), &echo, NOW.plus(CHAIN_REST)).chain, "gitea:2");
    let person = arrive(Some(&begun), &new_job(None, false), NOW);
    assert_eq!(person.chain, format!("person:shop/SHOP-1@{}", NOW.as_ms()));
    let of_chain =
        Job { origin: Origin { chain: "gitea:1".to_owned(), ..Origin::default() }, ..job("development") };
    let next = ends(&begun, &of_chain, &Payload::default(), pass()).next.unwrap();
    assert_eq!(
        (arrive(Some(&begun), &next, NOW).chain.as_str(), next.origin.chain.as_str()),
        ("gitea:1", "gitea:1")
    );
}
