//! The claim: exactly once, in order, past what is blocked, with reasons.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::admission::{Facts, Serial, WaitReason};
use domain::delivery::{NewJob, Payload};
use domain::job::{JobKind, Origin};
use domain::transition::{Conclusion, Event, NotTried};
use domain::{Class, JobId, RunId};
use store::{Applied, JobFilter, Store};

use super::values::{
    T0, change, claim, delivery, ended, fleet, happen, job, later, limits, one_running, outcome, read,
};

async fn enqueue(store: &Arc<dyn Store>, jobs: impl IntoIterator<Item = NewJob>) -> Vec<JobId> {
    let jobs = jobs.into_iter().map(|job| store.enqueue(job, T0));
    futures::future::join_all(jobs).await.into_iter().map(|enqueued| enqueued.unwrap().job).collect()
}

fn serial(facts: Facts, serial: Serial) -> Facts {
    Facts { projects: [("shop".to_owned(), limits(serial))].into(), ..facts }
}

async fn claimed(store: &Arc<dyn Store>, facts: Facts, count: usize) -> Vec<JobId> {
    claim(store, later(10), facts, count).await.starts.iter().map(|start| start.job.id).collect()
}

async fn reason_of(store: &Arc<dyn Store>, id: JobId) -> Option<WaitReason> {
    let filter = JobFilter { before: Some(JobId(id.0 + 1)), ..JobFilter::newest(1) };
    let found = store.jobs(filter).await.unwrap().remove(0);
    assert_eq!(found.job.id, id);
    found.waiting.map(|waiting| waiting.reason)
}

/// Eight claimers at once, a thousand jobs: each job once, each with a run of its own.
pub(crate) async fn every_job_is_claimed_once(store: Arc<dyn Store>) {
    let ids = enqueue(&store, (0..1_000).map(|n| job(&format!("A-{n}")))).await;
    let claimers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        async move {
            let mut mine: Vec<(JobId, RunId)> = Vec::new();
            loop {
                let starts = claim(&store, later(10), fleet(2_000), 20).await.starts;
                if starts.is_empty() {
                    return mine;
                }
                mine.extend(starts.iter().map(|start| (start.job.id, start.run.id)));
            }
        }
    });
    let claimed: Vec<_> = futures::future::join_all(claimers).await.into_iter().flatten().collect();
    let jobs: BTreeSet<JobId> = claimed.iter().map(|(job, _)| *job).collect();
    let runs: BTreeSet<RunId> = claimed.iter().map(|(_, run)| *run).collect();
    assert_eq!((claimed.len(), runs.len()), (1_000, 1_000));
    assert_eq!(jobs, ids.into_iter().collect());
    assert_eq!(store.live_runs().await.unwrap().len(), 1_000);
}

/// Priority first, then age; no more than there are run ids.
pub(crate) async fn jobs_start_in_order(store: Arc<dyn Store>) {
    let mut ids = Vec::new();
    for (priority, available) in [(0, 5), (0, 3), (7, 9), (-1, 0), (0, 4)] {
        let new = NewJob { priority, available_at: later(available), ..job(&format!("A-{available}")) };
        ids.push(store.enqueue(new, later(10)).await.unwrap().job);
    }
    assert_eq!(claimed(&store, fleet(9), 2).await, [ids[2], ids[1]]);
    assert_eq!(claimed(&store, fleet(9), 9).await, [ids[4], ids[0], ids[3]]);
}

/// A delayed job is not started before its time, is announced, and is started then.
pub(crate) async fn a_delayed_job_waits_for_its_time(store: Arc<dyn Store>) {
    let at = later(60_000);
    let ids = enqueue(&store, [NewJob { available_at: at, ..job("A") }]).await;
    assert_eq!(store.next_due_at(T0).await.unwrap(), Some(at));
    assert!(claim(&store, later(59_999), fleet(4), 4).await.starts.is_empty());
    assert_eq!(reason_of(&store, ids[0]).await, Some(WaitReason::NotDue));
    assert_eq!(claim(&store, at, fleet(4), 4).await.starts[0].job.id, ids[0]);
    assert_eq!(store.next_due_at(T0).await.unwrap(), None);
    assert_eq!(reason_of(&store, ids[0]).await, None);
}

/// Live runs count against every limit until they end.
pub(crate) async fn limits_hold_across_claims(store: Arc<dyn Store>) {
    let ids = enqueue(&store, (0..10).map(|n| job(&format!("A-{n}")))).await;
    assert_eq!(claimed(&store, fleet(3), 9).await, ids[..3]);
    let full = claim(&store, later(10), fleet(3), 9).await;
    assert!(full.starts.is_empty());
    assert_eq!(full.waits[0].1.reason, WaitReason::ConcurrencyLimit { max: 3 });
    assert_eq!(reason_of(&store, ids[3]).await, Some(WaitReason::ConcurrencyLimit { max: 3 }));

    let run = store.live_runs().await.unwrap().remove(0);
    assert_eq!(happen(&store, run.job, &ended(run.id, Class::Success), later(20)).await, Applied::Done);
    assert_eq!(claimed(&store, fleet(3), 9).await, [ids[3]]);
    let mut two = fleet(9);
    two.projects.insert(
        "shop".into(),
        domain::admission::ProjectLimits {
            concurrency_max: Some(2),
            serial: Serial::None,
            ..domain::admission::ProjectLimits::default()
        },
    );
    assert_eq!(claimed(&store, two, 9).await, []);
    assert_eq!(reason_of(&store, ids[4]).await, Some(WaitReason::ProjectLimit { max: 2 }));
}

/// A work item with a live run does not starve the ones behind it, however many jobs it has queued in front.
pub(crate) async fn a_blocked_work_item_starves_nobody(store: Arc<dyn Store>) {
    let running = one_running(&store).await;
    let blocked = enqueue(&store, (0..150).map(|_| job("SHOP-1"))).await;
    let twins = enqueue(&store, (0..150).map(|_| job("SHOP-2"))).await;
    let behind = enqueue(&store, (3..6).map(|n| job(&format!("SHOP-{n}")))).await;
    let facts = serial(fleet(20), Serial::WorkItem);
    let mut expected = vec![twins[0]];
    expected.extend(&behind);
    assert_eq!(claimed(&store, facts, 10).await, expected);
    assert_eq!(reason_of(&store, blocked[0]).await, Some(WaitReason::Serial { behind: running.job.id }));
    assert_eq!(claimed(&store, serial(fleet(20), Serial::Project), 10).await, []);
}

/// Jobs of a stage that cannot start do not starve those behind them; one that brings its prompt needs no template.
pub(crate) async fn a_blocked_stage_starves_nobody(store: Arc<dyn Store>) {
    let gone = enqueue(&store, (0..100).map(|_| NewJob { stage: "gone".into(), ..job("A") })).await;
    let broken = enqueue(&store, (0..100).map(|_| NewJob { stage: "broken".into(), ..job("A") })).await;
    let mut behind = enqueue(&store, (0..3).map(|n| job(&format!("B-{n}")))).await;
    let payload = Payload { prompt: Some("Say hello.".into()), ..Payload::default() };
    behind.extend(enqueue(&store, [NewJob { stage: "broken".into(), payload, ..job("C") }]).await);
    let mut facts = serial(fleet(20), Serial::WorkItem);
    facts.stages.insert("broken".into(), Some(WaitReason::Prompt { error: "no such file".into() }));
    assert_eq!(claimed(&store, facts, 10).await, behind);
    let unknown = WaitReason::UnknownStage { stage: "gone".into() };
    assert_eq!(reason_of(&store, gone[0]).await, Some(unknown));
    assert_eq!(reason_of(&store, broken[99]).await, Some(WaitReason::NotLooked));
}

/// A project with a long queue leaves room to the others, and unknown projects stop nobody.
pub(crate) async fn projects_take_turns(store: Arc<dyn Store>) {
    enqueue(&store, (0..200).map(|n| job(&format!("A-{n}")))).await;
    let other = |n: usize| NewJob { project: "tools".into(), ..job(&format!("T-{n}")) };
    let tools = enqueue(&store, (0..3).map(other)).await;
    let lost = enqueue(&store, [NewJob { project: "lost".into(), ..job("L") }]).await;
    let mut facts = fleet(6);
    facts.projects.insert("tools".into(), limits(Serial::None));
    let started: BTreeSet<JobId> = claimed(&store, facts, 6).await.into_iter().collect();
    assert_eq!(started.len(), 6);
    assert!(tools.iter().all(|id| started.contains(id)), "{started:?}");
    assert_eq!(reason_of(&store, lost[0]).await, Some(WaitReason::UnknownProject));
}

/// The verdict could not be read: whoever is asked again knows what it did, where it did it; refused, it begins afresh.
pub(crate) async fn a_turn_for_the_form_alone_goes_on_with_what_it_asks_about(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let run = start.run.id;
    assert_eq!(happen(&store, start.job.id, &Event::Confirmed { run }, later(5)).await, Applied::Done);
    let mut done = change(&read(&store, start.job.id).await, &ended(run, Class::Success), later(10));
    done.outcome = Some(outcome());
    assert_eq!(store.apply(done).await.unwrap(), Applied::Done);
    let origin = Origin { kind: JobKind::Reformat, parent: Some(start.job.id), ..Origin::default() };
    let asked = store.enqueue(NewJob { origin, ..job("SHOP-1") }, later(10)).await.unwrap().job;
    let again = claim(&store, later(20), fleet(4), 1).await.starts.remove(0);
    assert_eq!((again.job.id, again.run.resumed_session.as_deref()), (asked, Some("0b6f")));
    let refused = Conclusion::NotTried { why: NotTried::SessionRefused };
    let refused = Event::Ended { run: again.run.id, conclusion: refused };
    assert_eq!(happen(&store, asked, &refused, later(30)).await, Applied::Done);
    let afresh = claim(&store, later(40), fleet(4), 1).await.starts.remove(0);
    assert_eq!((afresh.job.id, afresh.run.resumed_session), (asked, None));
}

/// 10,000 jobs of one project, all older, in all the slots there are: another project's first job starts with the first slot
/// that is given back, however the slots' jobs take turns.
pub(crate) async fn a_flood_of_one_project_delays_nobody_elses_first(store: Arc<dyn Store>) {
    const SLOTS: u32 = 3;
    let flood = (0..10_000).map(|n| job(&format!("A-{n}"))).collect();
    store.accept(delivery("flood", 'f', flood)).await.unwrap();
    let mut facts = fleet(SLOTS);
    facts.projects.insert("tools".into(), limits(Serial::None));
    let busy = claim(&store, T0, facts.clone(), SLOTS as usize).await.starts;
    assert_eq!(busy.len(), SLOTS as usize);
    let other = NewJob { project: "tools".into(), available_at: later(5), ..job("T-1") };
    let other = store.enqueue(other, later(5)).await.unwrap().job;
    assert_eq!(claim(&store, later(6), facts.clone(), 1).await.starts.len(), 0, "every slot is taken");
    let run = busy[0].run.id;
    let withdrawn = Event::Withdrawn { run, why: "no_capacity" };
    assert_eq!(happen(&store, busy[0].job.id, &withdrawn, later(7)).await, Applied::Done);
    let next = claim(&store, later(8), facts, 1).await.starts;
    assert_eq!(next.iter().map(|start| start.job.id).collect::<Vec<_>>(), [other]);
}

/// Paused: nothing starts, every due job says so, and resuming starts them.
pub(crate) async fn a_pause_stops_all_starts(store: Arc<dyn Store>) {
    let ids = enqueue(&store, [job("A"), NewJob { available_at: later(99_000), ..job("B") }]).await;
    store.set_paused(true, T0).await.unwrap();
    assert!(store.overview(T0).await.unwrap().paused);
    let paused = claim(&store, later(10), fleet(4), 4).await;
    assert!(paused.starts.is_empty() && paused.waits.is_empty());
    assert_eq!(reason_of(&store, ids[0]).await, Some(WaitReason::Paused));
    assert_eq!(reason_of(&store, ids[1]).await, Some(WaitReason::NotDue));
    store.set_paused(false, later(20)).await.unwrap();
    assert_eq!(claimed(&store, fleet(4), 4).await, [ids[0]]);
}

/// The last reason is kept per job, follows the facts, and goes with the start.
pub(crate) async fn a_waiting_job_says_why(store: Arc<dyn Store>) {
    let id = enqueue(&store, [job("A")]).await[0];
    assert_eq!(reason_of(&store, id).await, Some(WaitReason::NotLooked));
    let nobody = Facts { nodes: Vec::new(), ..fleet(4) };
    assert_eq!(claimed(&store, nobody.clone(), 4).await, []);
    assert_eq!(reason_of(&store, id).await, Some(WaitReason::NoRunner));
    let mut draining = fleet(4);
    draining.nodes[0].blocked = Some(WaitReason::Draining);
    for _ in 0..2 {
        assert_eq!(claimed(&store, draining.clone(), 4).await, []);
        assert_eq!(reason_of(&store, id).await, Some(WaitReason::Draining));
    }
    assert_eq!(claimed(&store, fleet(4), 4).await, [id]);
    assert_eq!(reason_of(&store, id).await, None);
    let run = read(&store, id).await.state.run().unwrap();
    let withdrawn = Event::Withdrawn { run, why: "no_capacity" };
    assert_eq!(happen(&store, id, &withdrawn, later(30)).await, Applied::Done);
    assert_eq!(reason_of(&store, id).await, Some(WaitReason::NotLooked));
}

/// The host's clock stepped back: a job that was due is not started before its time after all.
pub(crate) async fn a_clock_that_steps_back_starts_nothing_early(store: Arc<dyn Store>) {
    let at = later(50);
    let id = store.enqueue(NewJob { available_at: at, ..job("A") }, at).await.unwrap().job;
    let early = claim(&store, later(20), fleet(4), 4).await;
    assert!(early.starts.is_empty());
    assert_eq!(reason_of(&store, id).await, Some(WaitReason::NotDue));
    assert_eq!(claim(&store, at, fleet(4), 4).await.starts.len(), 1);
}

/// A job that was put off goes on with its conversation on the node that has it, also past offers that came to
/// nothing; another node, another account, a refusal or a failure of its own lets it begin afresh.
pub(crate) async fn a_job_goes_on_where_its_conversation_lies(store: Arc<dyn Store>) {
    let ids = enqueue(&store, [job("A")]).await;
    let with_session = |session: &str| {
        let mut ended = super::values::outcome();
        ended.report.usage.session_id = Some(session.to_owned());
        Some(ended)
    };
    let end = async |run: RunId, conclusion: Conclusion, outcome: Option<domain::Outcome>| {
        let event = Event::Ended { run, conclusion };
        let change = super::values::change(&read(&store, ids[0]).await, &event, later(20));
        assert_eq!(store.apply(store::Change { outcome, ..change }).await.unwrap(), Applied::Done);
    };
    let start = async |facts: Facts| {
        let starts = claim(&store, later(3_600_000), facts, 1).await.starts;
        assert_eq!(starts.len(), 1);
        let run = &starts[0].run;
        assert_eq!(store.run(run.id).await.unwrap().as_ref(), Some(run));
        assert_eq!(happen(&store, ids[0], &Event::Confirmed { run: run.id }, later(15)).await, Applied::Done);
        run.clone()
    };
    let elsewhere = |node: &str, account: &str| {
        let mut facts = fleet(4);
        facts.nodes[0].node = domain::NodeId(node.to_owned());
        facts.nodes[0].account = domain::Account(account.to_owned());
        facts
    };
    let (node, account) = (fleet(4).nodes[0].node.clone(), fleet(4).nodes[0].account.clone());
    let put_off = || Conclusion::Judged { class: super::values::failure(domain::PermanentReason::Auth) };
    let limited = || Conclusion::Judged {
        class: Class::Transient { reason: domain::TransientReason::Overloaded, retry_at: None },
    };

    let first = start(fleet(4)).await;
    assert_eq!(first.resumed_session, None);
    end(first.id, limited(), with_session("s-1")).await;
    // Its node is there but has no room: it waits, and says for whom and until when.
    let mut busy = elsewhere("another", &account.0);
    busy.nodes.push(domain::admission::NodeFacts { slots: 0, ..fleet(4).nodes[0].clone() });
    busy.resume_wait = std::time::Duration::from_hours(24);
    let claimed = claim(&store, later(3_600_000), busy, 1).await;
    assert!(claimed.starts.is_empty());
    assert_eq!(reason_of(&store, ids[0]).await, Some(WaitReason::Session { node: node.clone() }));

    let second = start(fleet(4)).await;
    assert_eq!(second.resumed_session.as_deref(), Some("s-1"));
    end(second.id, Conclusion::NotTried { why: NotTried::Preflight }, None).await;
    let third = start(fleet(4)).await;
    assert_eq!(third.resumed_session.as_deref(), Some("s-1"), "an offer that came to nothing is passed by");
    end(third.id, limited(), with_session("s-1")).await;
    let other = start(elsewhere("another", &account.0)).await;
    assert_eq!(other.resumed_session, None, "it lies on another node");
    end(other.id, limited(), with_session("s-2")).await;
    let other = start(elsewhere("another", "of somebody else")).await;
    assert_eq!(other.resumed_session, None, "it lies in another account's home");
    end(other.id, limited(), with_session("s-3")).await;
    let resumed = start(elsewhere("another", "of somebody else")).await;
    assert_eq!(resumed.resumed_session.as_deref(), Some("s-3"));
    end(resumed.id, Conclusion::NotTried { why: NotTried::SessionRefused }, with_session("s-3")).await;
    let afresh = start(elsewhere("another", "of somebody else")).await;
    assert_eq!(afresh.resumed_session, None, "it was refused");
    end(afresh.id, put_off(), with_session("s-4")).await;
    store.resume_account(domain::Account("of somebody else".to_owned()), later(30)).await.unwrap();
    let resumed = start(elsewhere("another", "of somebody else")).await;
    assert_eq!(resumed.resumed_session.as_deref(), Some("s-4"), "an account that was held has no part in it");
    let failed = Conclusion::Judged { class: super::values::failure(domain::PermanentReason::AgentFailure) };
    end(resumed.id, failed, with_session("s-4")).await;
    assert_eq!(start(fleet(4)).await.resumed_session, None, "a fresh mind does better");
}
