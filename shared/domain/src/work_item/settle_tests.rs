//! Items that wait for the outside: for the tests of a commit, a state on Plane, a label; and what moves them.

use std::time::Duration;

use super::arrival::{arrive, is_uninvited};
use super::settle::{Settlement, settle};
use super::step::{JobEnd, Scene, step};
use super::tests::{H1, H2, NOW, item, job, new_job, pass, told};
use super::*;
use crate::Job;
use crate::delivery::{About, NewJob, Payload};
use crate::job::Origin;
use crate::pipeline::{Pipeline, parse};
use crate::sighting::{Aspect, Seen, Sighting, Teller, Word};

const PIPELINE: &str = r#"
[[project]]
name = "shop"
trust = "member"
trust_label = "let-in"
approve_state = "Approved"
reject_state = "Rejected"
[[stage]]
name = "development"
role = "developer"
prompt = "p.md"
gate = ["ci"]
ci_timeout = "1h"
on_pass = "review"
[[stage]]
name = "review"
role = "reviewer"
prompt = "p.md"
gate = ["verdict", "ci", "approval"]
on_pass = "deploy"
on_fail = "development"
[[stage]]
name = "deploy"
role = "deployer"
prompt = "p.md"
"#;

fn pipeline() -> Pipeline {
    parse(PIPELINE).unwrap()
}

fn job_for(stage: &str, head: &str) -> Job {
    Job { origin: Origin { head: Some(head.to_owned()), ..Origin::default() }, ..job(stage) }
}

fn ended(item: &WorkItem, job: &Job, end: JobEnd<'_>) -> WorkItem {
    let (pipeline, payload) = (pipeline(), Payload::default());
    let scene = Scene { item, job, payload: &payload, pipeline: &pipeline, now: NOW };
    WorkItem { revision: item.revision + 1, ..step(&scene, end).after }
}

fn passed(item: &WorkItem, job: &Job) -> WorkItem {
    ended(item, job, JobEnd::Done { verdict: pass(), message: "", steps: &[] })
}

fn at(stage: &str, head: &str) -> WorkItem {
    WorkItem { head: Some(head.to_owned()), ..item(stage) }
}

fn settled(item: &WorkItem, job: &Job, seen: &[Seen], now: Timestamp) -> Option<Settlement> {
    let (pipeline, payload) = (pipeline(), Payload::default());
    settle(&Scene { item, job, payload: &payload, pipeline: &pipeline, now }, seen)
}

fn saw(sighting: Sighting) -> Seen {
    Seen {
        project: "shop".to_owned(),
        sighting,
        teller: Teller::Webhook,
        at: NOW.plus(Duration::from_secs(5)),
    }
}

fn status(head: &str, context: &str, value: &str) -> Seen {
    saw(Sighting::of(&format!("acme/shop@{head}"), Aspect::Status(context.to_owned()), value))
}

fn words(aspect: Aspect, name: &str) -> Sighting {
    let word = Word { id: format!("id-of-{name}"), name: Some(name.to_owned()) };
    Sighting::of_ids("issue", aspect, vec![word])
}

fn waiting_for_ci() -> (WorkItem, Job) {
    let job = job_for("review", H1);
    let waiting = passed(&at("review", H1), &job);
    let wait = waiting.state.waits_for_ci().unwrap();
    assert_eq!((wait.head.as_str(), wait.stage.as_str()), (H1, "review"));
    (waiting, job)
}

#[test]
fn a_stage_that_passed_waits_for_the_tests_of_its_commit() {
    let (waiting, job) = waiting_for_ci();
    assert_eq!(settled(&waiting, &job, &[], NOW), None);
    let mixed = [status(H1, "build", "success"), status(H1, "lint", "pending")];
    assert_eq!(settled(&waiting, &job, &mixed, NOW), None);
    let green = settled(&waiting, &job, &[status(H1, "build", "success")], NOW).unwrap();
    assert_eq!((green.verb, green.change.expected), ("ci_passed", waiting.revision));
    assert_eq!(
        green.change.after.state.needs().unwrap().why,
        Why::Approval,
        "the gates that are left hold too"
    );
}

#[test]
fn the_tests_of_another_commit_and_orchs_own_say_nothing() {
    let (waiting, job) = waiting_for_ci();
    assert_eq!(settled(&waiting, &job, &[status(H2, "build", "failure")], NOW), None);
    assert_eq!(settled(&waiting, &job, &[status(H1, "orch/review", "success")], NOW), None);
}

#[test]
fn a_red_test_sends_it_back_with_what_failed() {
    let (waiting, job) = waiting_for_ci();
    let red = settled(&waiting, &job, &[status(H1, "build", "failure")], NOW).unwrap();
    assert_eq!((red.verb, red.note.as_str()), ("ci_failed", "ci: build: failure"));
    assert_eq!(told(&red.change), "stage development after:7:development");
    let next = red.change.next.unwrap();
    let result = &next.payload.results[0];
    assert_eq!(
        (result.verdict.as_str(), result.findings.last().unwrap().as_str()),
        ("fail", "ci: build: failure")
    );
    assert_eq!(red.change.after.bounces["review"], 1);
}

#[test]
fn tests_that_say_nothing_in_time_need_a_person() {
    let job = job_for("development", H1);
    let waiting = passed(&at("development", H1), &job);
    let hour = Duration::from_hours(1);
    assert_eq!(waiting.state.waits_for_ci().unwrap().until, NOW.plus(hour));
    let before = NOW.plus(Duration::from_millis(3_599_999));
    assert_eq!(settled(&waiting, &job, &[], before), None);
    let silent = settled(&waiting, &job, &[], NOW.plus(hour)).unwrap();
    let said = format!("no test has said anything of commit {H1}");
    assert_eq!(silent.change.after.state.needs().unwrap().why, Why::Ci { said });
    let slow = settled(&waiting, &job, &[status(H1, "e2e", "pending")], NOW.plus(hour)).unwrap();
    assert!(slow.note.ends_with("are not over: e2e"), "{}", slow.note);
    let no_commit = passed(&item("development"), &super::tests::job("development"));
    assert_eq!(no_commit.state.needs().map(|needs| needs.why.as_str()), Some("ci"), "never passed over");
}

#[test]
fn a_newer_commit_ends_the_wait() {
    let (waiting, _) = waiting_for_ci();
    let moving = NewJob { about: About { moves_head: true, ..About::default() }, ..new_job(None, true) };
    let moved = arrive(Some(&waiting), &moving, NOW);
    assert_eq!((moved.state, moved.head.as_deref()), (ItemState::Active, Some(H2)));
}

#[test]
fn the_end_of_a_review_of_an_outdated_commit_ends_nothing() {
    let outdated = ended(&at("review", H2), &job_for("review", H1), JobEnd::Cancelled);
    assert_eq!((outdated.state, outdated.stage.as_str()), (ItemState::Active, "review"));
    let newest = ended(&at("review", H2), &job_for("review", H2), JobEnd::Cancelled);
    assert_eq!(newest.state, ItemState::Cancelled);
}

#[test]
fn a_state_on_plane_is_a_persons_word_when_it_is_entered_while_one_is_asked() {
    let (waiting, job) = waiting_for_ci();
    let waiting = settled(&waiting, &job, &[status(H1, "build", "success")], NOW).unwrap().change.after;
    let state = |name: &str| saw(words(Aspect::State, name));
    assert_eq!(settled(&waiting, &job, &[state("In Progress")], NOW), None);
    let approved = settled(&waiting, &job, &[state("approved")], NOW).unwrap();
    assert_eq!((approved.by, approved.verb), ("plane", "approve"));
    assert_eq!(told(&approved.change), format!("stage deploy head:shop:SHOP-1:deploy:{H1}"));
    let rejected = settled(&waiting, &job, &[state("Rejected")], NOW).unwrap();
    assert_eq!(told(&rejected.change), "stage development after:7:development");
    let before = Seen { at: waiting.updated_at, ..state("Approved") };
    assert_eq!(settled(&waiting, &job, &[before], NOW), None, "it was there before anybody was asked");
    let own = saw(Sighting { own: true, ..words(Aspect::State, "Approved") });
    assert_eq!(settled(&waiting, &job, &[own], NOW), None, "Orch moved it itself");
}

#[test]
fn an_outsiders_item_goes_no_further_than_its_stage_before_a_maintainers_label() {
    let invited = NewJob { about: About { untrusted: true, ..About::default() }, ..new_job(None, true) };
    let begun = arrive(None, &invited, NOW);
    assert_eq!(begun.standing, Standing::Outsider);
    assert!(!is_uninvited(Some(&begun), &invited) && is_uninvited(Some(&item("review")), &invited));

    let outsider = WorkItem { standing: Standing::Outsider, ..at("review", H1) };
    let job = job_for("review", H1);
    let failed =
        ended(&outsider, &job, JobEnd::Done { verdict: super::tests::fail(), message: "", steps: &[] });
    let needs = failed.state.needs().unwrap();
    assert_eq!(needs.why, Why::Trust { to: "development".to_owned(), label: Some("let-in".to_owned()) });
    assert_eq!(settled(&failed, &job, &[saw(words(Aspect::Labels, "bug"))], NOW), None);
    let lifted = settled(&failed, &job, &[saw(words(Aspect::Labels, "Let-In"))], NOW).unwrap();
    assert_eq!((lifted.by, lifted.verb), ("label", "trust"));
    assert_eq!(told(&lifted.change), "stage development after:7:development");
    assert_eq!(lifted.change.after.standing, Standing::Lifted);
    assert!(!is_uninvited(Some(&lifted.change.after), &invited), "its author may go on");
}
