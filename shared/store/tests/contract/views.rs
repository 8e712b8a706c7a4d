//! What people look at beyond the queue, and the audit.

use std::sync::Arc;

use domain::admission::{Part, WaitReason};
use domain::budget::{Amount, Purse, Scope};
use domain::delivery::NewJob;
use domain::job::Origin;
use domain::overview::{CountByStatus, HourTally, StageRecord};
use domain::{Class, Event, JobId, Outcome, PermanentReason, Status};
use store::{Act, ActFilter, Actor, Applied, Audit, GivenUp, JobFilter, Store};

use super::values::{T0, change, claim, ended, failure, fleet, happen, job, later, outcome, read};

/// The counts say what a scan of the rows says, after every kind of move.
pub(crate) async fn counts_are_those_of_the_rows(store: Arc<dyn Store>) {
    for n in 0..6_u64 {
        store.enqueue(NewJob { available_at: later(n), ..job(&format!("A-{n}")) }, later(n)).await.unwrap();
    }
    let other = NewJob { project: "tools".into(), stage: "deploy".into(), ..job("T-1") };
    store.enqueue(other, later(9)).await.unwrap();
    agree(&store).await;
    let starts = claim(&store, later(10), fleet(4), 4).await.starts;
    agree(&store).await;
    let moves = [
        (starts[0].job.id, ended(starts[0].run.id, Class::Success)),
        (starts[1].job.id, ended(starts[1].run.id, failure(PermanentReason::MaxTurns))),
        (starts[2].job.id, Event::Withdrawn { run: starts[2].run.id, why: "no_capacity" }),
        (JobId(6), Event::CancelRequested),
        (starts[1].job.id, Event::Retried),
    ];
    for (id, event) in moves {
        assert_eq!(happen(&store, id, &event, later(20)).await, Applied::Done);
        agree(&store).await;
    }
    let stale = change(&read(&store, starts[3].job.id).await, &Event::CancelRequested, later(30));
    assert_eq!(store.apply(stale.clone()).await.unwrap(), Applied::Done);
    assert_eq!(store.apply(stale).await.unwrap(), Applied::Conflict);
    agree(&store).await;
    let shop = CountByStatus { queued: 3, running: 1, done: 1, failed: 0, cancelled: 1 };
    let tools = CountByStatus { queued: 1, ..CountByStatus::default() };
    let record = |project: &str, stage: &str, counts, oldest| StageRecord {
        project: project.into(),
        stage: stage.into(),
        counts,
        oldest_queued_at: Some(later(oldest)),
        bounces: 0,
    };
    let expected = [record("shop", "review", shop, 1), record("tools", "deploy", tools, 9)];
    assert_eq!(store.stage_records().await.unwrap(), expected);
}

async fn agree(store: &Arc<dyn Store>) {
    let mut scanned = CountByStatus::default();
    for entry in store.jobs(JobFilter::newest(1000)).await.unwrap() {
        *scanned.of(entry.job.state.status()) += 1;
    }
    assert_eq!(store.overview(T0).await.unwrap().counts, scanned);
    let mut by_stage = CountByStatus::default();
    for mut record in store.stage_records().await.unwrap() {
        for status in Status::ALL {
            *by_stage.of(status) += *record.counts.of(status);
        }
    }
    assert_eq!(by_stage, scanned);
    assert_eq!(store.violations().await.unwrap(), []);
}

/// Runs are counted in the hour of their end, with what they cost.
pub(crate) async fn ends_are_counted_by_their_hour(store: Arc<dyn Store>) {
    const HOUR_MS: i64 = 3_600_000;
    for n in 0..3 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let starts = claim(&store, T0, fleet(3), 3).await.starts;
    let ends = [later(10), later(20), later(3_600_010)];
    for (start, at) in starts.iter().zip(ends) {
        let event = ended(start.run.id, Class::Success);
        let mut change = change(&read(&store, start.job.id).await, &event, at);
        change.outcome = Some(Outcome { ended_at: at, ..outcome() });
        assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
    }
    let hour_of = |at: domain::Timestamp| domain::Timestamp::from_ms(at.as_ms() / HOUR_MS * HOUR_MS);
    let tally = |at, runs, cost_usd| HourTally {
        hour: hour_of(at),
        class: "success".into(),
        reason: "none".into(),
        runs,
        cost_usd,
    };
    let (first, second) = (tally(later(10), 2, 0.5), tally(later(3_600_010), 1, 0.25));
    assert_eq!(store.ended_since(later(15)).await.unwrap(), [first, second.clone()]);
    assert_eq!(store.ended_since(later(3_600_000)).await.unwrap(), [second]);
    assert_eq!(store.ended_since(later(7_200_000)).await.unwrap(), []);
}

/// Nothing of a paused project or stage starts and its jobs say so, while all others go on, also behind many of them.
pub(crate) async fn a_paused_part_starts_nothing_and_starves_nobody(store: Arc<dyn Store>) {
    for n in 0..40 {
        store.enqueue(NewJob { stage: "deploy".into(), ..job(&format!("A-{n}")) }, T0).await.unwrap();
    }
    let review = store.enqueue(NewJob { priority: -1, ..job("B") }, T0).await.unwrap().job;
    let tools = store.enqueue(NewJob { project: "tools".into(), ..job("T") }, T0).await.unwrap().job;
    let mut facts = fleet(4);
    facts.stages.insert("deploy".into(), None);
    facts.projects.insert("tools".into(), facts.projects["shop"].clone());
    let (stage, project) = (Part::Stage("deploy".into()), Part::Project("tools".into()));
    assert!(store.set_part_paused(stage.clone(), true, T0).await.unwrap());
    assert!(store.set_part_paused(project.clone(), true, T0).await.unwrap());
    assert!(!store.set_part_paused(project.clone(), true, T0).await.unwrap(), "it was already");
    let both = [stage.clone(), project.clone()].into();
    assert_eq!(store.paused_parts().await.unwrap(), both);
    assert_eq!(store.overview(T0).await.unwrap().paused_parts, both);

    let started = |starts: Vec<store::Start>| starts.iter().map(|start| start.job.id).collect::<Vec<_>>();
    let claimed = claim(&store, later(1), facts.clone(), 4).await;
    assert_eq!(started(claimed.starts), [review]);
    let newest = store.jobs(JobFilter::newest(1)).await.unwrap().remove(0);
    let reason = WaitReason::PausedPart { part: project.clone() };
    assert_eq!((newest.job.id, newest.waiting), (tools, Some(reason.open_ended())));

    assert!(store.set_part_paused(project.clone(), false, later(2)).await.unwrap());
    assert!(!store.set_part_paused(project, false, later(2)).await.unwrap(), "it was not");
    assert_eq!(started(claim(&store, later(3), facts.clone(), 4).await.starts), [tools]);
    assert!(store.set_part_paused(stage, false, later(4)).await.unwrap());
    assert_eq!(claim(&store, later(5), facts, 2).await.starts.len(), 2);
}

/// Failed and cancelled jobs by project, stage, reason and time of their end, the newest first.
pub(crate) async fn what_was_given_up_is_found(store: Arc<dyn Store>) {
    for n in 0..4 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let starts = claim(&store, T0, fleet(3), 3).await.starts;
    for (start, at) in starts.iter().zip([later(10), later(20), later(30)]) {
        let event = ended(start.run.id, failure(PermanentReason::MaxTurns));
        assert_eq!(happen(&store, start.job.id, &event, at).await, Applied::Done);
    }
    assert_eq!(happen(&store, JobId(4), &Event::CancelRequested, later(40)).await, Applied::Done);
    let all =
        GivenUp { status: Status::Failed, project: None, stage: None, reason: None, since: T0, limit: 100 };
    let found = async |filter: GivenUp| -> Vec<i64> {
        store.given_up(filter).await.unwrap().iter().map(|id| id.0).collect()
    };
    assert_eq!(found(all.clone()).await, [3, 2, 1]);
    assert_eq!(found(GivenUp { limit: 2, ..all.clone() }).await, [3, 2]);
    assert_eq!(found(GivenUp { since: later(20), ..all.clone() }).await, [3, 2]);
    assert_eq!(found(GivenUp { reason: Some("TURNS".into()), ..all.clone() }).await, [3, 2, 1]);
    assert_eq!(found(GivenUp { reason: Some("no such".into()), ..all.clone() }).await, [0; 0]);
    assert_eq!(found(GivenUp { project: Some("tools".into()), ..all.clone() }).await, [0; 0]);
    assert_eq!(found(GivenUp { stage: Some("review".into()), ..all.clone() }).await, [3, 2, 1]);
    assert_eq!(found(GivenUp { status: Status::Cancelled, ..all }).await, [4]);
}

/// The jobs that name it as their parent, the oldest first.
pub(crate) async fn what_follows_from_a_job_is_found(store: Arc<dyn Store>) {
    let parent = store.enqueue(job("A"), T0).await.unwrap().job;
    let child = |n: u64| NewJob {
        stage: format!("stage-{n}"),
        origin: Origin { parent: Some(parent), ..Origin::default() },
        ..job("A")
    };
    for n in 0..3 {
        store.enqueue(child(n), later(n)).await.unwrap();
    }
    let found = async |limit| -> Vec<i64> {
        store.follow_ups(parent, limit).await.unwrap().iter().map(|job| job.id.0).collect()
    };
    assert_eq!(found(10).await, [2, 3, 4]);
    assert_eq!(found(2).await, [2, 3]);
    assert_eq!(store.follow_ups(JobId(2), 10).await.unwrap(), []);
}

/// What was done and what was refused, whatever wrote it, the newest first.
pub(crate) async fn acts_are_kept(store: Arc<dyn Store>) {
    let actor = Actor { by: "ada".into(), via: "console".into(), origin: Some("10.1.2.3".into()) };
    let act = Act {
        id: 0,
        at: later(1),
        actor: actor.clone(),
        verb: "cancel".into(),
        subject: "7".into(),
        project: Some("shop".into()),
        work_item: Some("A".into()),
        note: None,
        result: "there is no job 7".into(),
    };
    store.note_act(act.clone()).await.unwrap();
    let purse = Purse { scope: Scope::Job, key: "7".into() };
    let audit = Audit { at: later(2), actor, verb: "raise", note: Some("more".into()), posts: Vec::new() };
    let more = Amount { runs: 1, ..Amount::default() };
    store.raise_budget(purse, more, audit.clone()).await.unwrap();
    let raised = Act {
        id: 2,
        at: later(2),
        verb: "raise".into(),
        subject: "job 7".into(),
        project: None,
        work_item: None,
        note: Some("more".into()),
        result: Act::DONE.into(),
        ..act.clone()
    };
    let refused = Act { id: 1, ..act };
    let page = |before, subject: Option<&str>, limit| ActFilter {
        before,
        subject: subject.map(str::to_owned),
        limit,
    };
    assert_eq!(store.acts(page(None, None, 10)).await.unwrap(), [raised.clone(), refused.clone()]);
    assert_eq!(store.acts(page(None, None, 1)).await.unwrap(), std::slice::from_ref(&raised));
    assert_eq!(store.acts(page(Some(2), None, 10)).await.unwrap(), std::slice::from_ref(&refused));
    assert_eq!(store.acts(page(None, Some("7"), 10)).await.unwrap(), [refused]);
}
