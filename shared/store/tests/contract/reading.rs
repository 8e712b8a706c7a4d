//! What people and services read.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::account::AccountRecord;
use domain::admission::WaitReason;
use domain::containment::{Containment, Tier};
use domain::delivery::NewJob;
use domain::overview::{CountByStatus, ReaperRecord, RunTally};
use domain::runner::{Node, NodeState, Preflight};
use domain::transition::Event;
use domain::{Account, Class, Incarnation, JobId, NodeId, PermanentReason, RunId, Status};
use store::{Applied, Generation, JobFilter, Schema, Store};

use super::values::{T0, claim, ended, failure, fleet, fresh_run, happen, job, later, request};

fn node(id: &str) -> Node {
    Node {
        id: NodeId(id.into()),
        incarnation: Incarnation(3),
        boot_id: "5d0b".into(),
        advertise_url: "http://127.0.0.1:7071".into(),
        state: NodeState::Ready,
        slots: 4,
        labels: vec!["arm64".into(), "gpu \"big\"".into()],
        account: Account("default".into()),
        preflight: Preflight {
            ok: true,
            version: Some("2.1.330 (Claude Code)".into()),
            checked_at: later(1),
            error: None,
            program: Some("/usr/bin/claude".into()),
            note: Some("newer than known".into()),
        },
        containment: Containment {
            tier: Tier::Limits,
            lacks: Some("no landlock".into()),
            note: Some("own users".into()),
        },
        last_seen_at: later(2),
    }
}

/// A node is one row, the newest word counts, and its account is known from then on.
pub(crate) async fn nodes_are_kept(store: Arc<dyn Store>) {
    store.save_node(node("node-b")).await.unwrap();
    store.save_node(node("node-a")).await.unwrap();
    let newer = Node {
        incarnation: Incarnation(4),
        state: NodeState::Draining,
        labels: vec![],
        preflight: Preflight { ok: false, error: Some("no such file".into()), ..Preflight::default() },
        containment: Containment::default(),
        last_seen_at: later(9),
        ..node("node-b")
    };
    store.save_node(newer.clone()).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), vec![node("node-a"), newer.clone()]);
    // A scheduler that has not heard of it yet does not bring the older incarnation back.
    store.save_node(node("node-b")).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), vec![node("node-a"), newer]);
    let accounts = store.overview(T0).await.unwrap().accounts;
    let account = Account("default".into());
    assert_eq!(accounts, vec![AccountRecord::new(account)]);
}

/// Runs are counted by class and reason, with what they cost, from the instant on at which they were claimed.
pub(crate) async fn runs_are_tallied_by_how_they_ended(store: Arc<dyn Store>) {
    for n in 0..4 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let mut asked = request(T0, fleet(4), 0);
    asked.run_ids = [1, 5, 6, 7].map(|ms| RunId::lowest_at(later(ms))).to_vec();
    let starts = store.claim(asked).await.unwrap().starts;
    for (start, class) in starts.iter().zip([Class::Success, Class::Success, Class::Success]) {
        let event = ended(start.run.id, class);
        assert_eq!(happen(&store, start.job.id, &event, later(10)).await, Applied::Done);
    }
    let tally = |class: Option<&str>, reason: Option<&str>, runs| RunTally {
        class: class.map(str::to_owned),
        reason: reason.map(str::to_owned),
        runs,
        ..RunTally::default()
    };
    let done = |runs| tally(Some("success"), Some("none"), runs);
    let live = tally(None, None, 1);
    assert_eq!(store.tally(later(0)).await.unwrap(), [done(3), live.clone()]);
    assert_eq!(store.tally(later(5)).await.unwrap(), [done(2), live.clone()]);
    assert_eq!(store.tally(later(7)).await.unwrap(), [live]);
    assert_eq!(store.tally(later(8)).await.unwrap(), []);
}

/// Each runner's live runs are counted, those that ended are not, and one without any is read as well.
pub(crate) async fn nodes_are_read_with_their_live_runs(store: Arc<dyn Store>) {
    let busy = async || -> Vec<(String, u32)> {
        let nodes = store.busy_nodes().await.unwrap();
        assert_eq!(nodes, store.overview(later(9)).await.unwrap().nodes);
        nodes.into_iter().map(|(node, runs)| (node.id.0, runs)).collect()
    };
    let counted = |counts: [(&str, u32); 3]| counts.map(|(id, runs)| (id.to_owned(), runs));
    assert_eq!(busy().await, []);
    for id in ["node-c", "node-a", "node-b"] {
        store.save_node(node(id)).await.unwrap();
    }
    assert_eq!(busy().await, counted([("node-a", 0), ("node-b", 0), ("node-c", 0)]));
    for n in 0..5 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let ended_one = claim(&store, later(1), fleet(9), 2).await.starts[0].run.id;
    let mut elsewhere = fleet(9);
    elsewhere.nodes[0].node = NodeId("node-c".into());
    assert_eq!(claim(&store, later(2), elsewhere, 3).await.starts.len(), 3);
    assert_eq!(busy().await, counted([("node-a", 2), ("node-b", 0), ("node-c", 3)]));
    assert_eq!(happen(&store, JobId(1), &ended(ended_one, Class::Success), later(3)).await, Applied::Done);
    assert_eq!(busy().await, counted([("node-a", 1), ("node-b", 0), ("node-c", 3)]));
    // Its row is as it was saved, and as it is read without the count.
    let nodes: Vec<Node> = store.busy_nodes().await.unwrap().into_iter().map(|(node, _)| node).collect();
    assert_eq!(nodes, ["node-a", "node-b", "node-c"].map(node));
    assert_eq!(nodes, store.nodes().await.unwrap());
}

/// Counts, oldest due job, the newest jobs and busy runners, of one moment.
pub(crate) async fn the_overview_is_whole(store: Arc<dyn Store>) {
    store.save_node(node("node-a")).await.unwrap();
    store.save_node(node("node-z")).await.unwrap();
    for n in 0..60 {
        let mut new = job(&format!("A-{n}"));
        new.available_at = later(n);
        store.enqueue(new, later(100)).await.unwrap();
    }
    let starts = claim(&store, later(100), fleet(5), 5).await.starts;
    let ends = [
        ended(starts[0].run.id, Class::Success),
        ended(starts[1].run.id, failure(PermanentReason::MaxTurns)),
    ];
    for (start, event) in starts.iter().zip(&ends) {
        assert_eq!(happen(&store, start.job.id, event, later(200)).await, Applied::Done);
    }
    let cancelled = JobId(60);
    assert_eq!(happen(&store, cancelled, &Event::CancelRequested, later(201)).await, Applied::Done);
    let mut delayed = job("B");
    delayed.available_at = later(5_000);
    store.enqueue(delayed, later(202)).await.unwrap();

    let overview = store.overview(later(300)).await.unwrap();
    let counts = CountByStatus { queued: 55, running: 3, done: 1, failed: 1, cancelled: 1 };
    assert_eq!(overview.counts, counts);
    assert_eq!(overview.oldest_ready_at, Some(later(5)));
    assert_eq!(overview.recent.len(), 50);
    assert_eq!(overview.recent[0].waiting.as_ref().unwrap().reason, WaitReason::NotDue);
    assert_eq!(overview.recent[0].waiting.as_ref().unwrap().until, Some(later(5_000)));
    assert_eq!(overview.recent[1].job.id, cancelled);
    assert_eq!(overview.recent[1].waiting, None);
    let busy: Vec<(&str, u32)> =
        overview.nodes.iter().map(|(node, busy)| (node.id.0.as_str(), *busy)).collect();
    assert_eq!(busy, [("node-a", 3), ("node-z", 0)]);
}

/// The backlog is counted as each of its jobs says for itself.
pub(crate) async fn the_backlog_is_counted_by_why_it_waits(store: Arc<dyn Store>) {
    let counted_as_shown = async || {
        let filter = JobFilter { status: Some(Status::Queued), ..JobFilter::newest(100) };
        let mut shown = BTreeMap::<String, u64>::new();
        for job in store.jobs(filter).await.unwrap() {
            let reason = serde_json::to_value(job.waiting.unwrap().reason).unwrap();
            *shown.entry(reason["code"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let backlog = store.backlog(later(10)).await.unwrap();
        assert_eq!(backlog.by_reason, shown);
        (shown.into_iter().collect::<Vec<_>>(), backlog.oldest_ready_at)
    };
    let count = |word: &str, jobs: u64| (word.to_owned(), jobs);
    assert_eq!(counted_as_shown().await, (vec![], None));
    for n in 0..4 {
        store.enqueue(NewJob { available_at: later(n), ..job(&format!("A-{n}")) }, later(n)).await.unwrap();
    }
    store.enqueue(NewJob { project: "gone".into(), ..job("B") }, T0).await.unwrap();
    store.enqueue(NewJob { available_at: later(60_000), ..job("C") }, T0).await.unwrap();
    assert_eq!(counted_as_shown().await, (vec![count("not_due", 1), count("not_looked", 5)], Some(T0)));
    claim(&store, later(10), fleet(1), 4).await;
    let after = counted_as_shown().await.0;
    assert!(
        after.contains(&count("not_due", 1)) && after.iter().map(|(_, jobs)| jobs).sum::<u64>() == 5,
        "{after:?}"
    );
    assert!(!after.contains(&count("not_looked", 4)), "{after:?}");
    store.set_paused(true, later(10)).await.unwrap();
    assert_eq!(counted_as_shown().await.0, vec![count("not_due", 1), count("paused", 4)]);
}

/// Pages go down by id, each status by itself, down to what was known.
pub(crate) async fn jobs_are_read_in_pages(store: Arc<dyn Store>) {
    for n in 0..7 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    claim(&store, T0, fleet(2), 2).await;
    let page = async |status, before, limit| -> Vec<i64> {
        let jobs = store.jobs(JobFilter { status, before, ..JobFilter::newest(limit) }).await.unwrap();
        jobs.iter().map(|waiting| waiting.job.id.0).collect()
    };
    assert_eq!(page(None, None, 3).await, [7, 6, 5]);
    assert_eq!(page(None, Some(JobId(5)), 9).await, [4, 3, 2, 1]);
    assert_eq!(page(Some(Status::Running), None, 9).await, [2, 1]);
    assert_eq!(page(Some(Status::Queued), Some(JobId(5)), 9).await, [4, 3]);
    assert_eq!(page(Some(Status::Failed), None, 9).await, [0_i64; 0]);
    let new = async |above, status, before| -> Vec<i64> {
        let filter = JobFilter { above: Some(JobId(above)), status, before, ..JobFilter::newest(9) };
        store.jobs(filter).await.unwrap().iter().map(|waiting| waiting.job.id.0).collect()
    };
    assert_eq!(new(5, None, None).await, [7, 6]);
    assert_eq!(new(3, None, Some(JobId(6))).await, [5, 4]);
    assert_eq!(new(1, Some(Status::Running), None).await, [2]);
    assert_eq!(new(7, None, None).await, [0_i64; 0]);
}

/// The generation is 1 until a restore, and noted once claims are made under it.
pub(crate) async fn a_generation_is_noted(store: Arc<dyn Store>) {
    let secret = store.run_secret().await.unwrap();
    assert_eq!((secret.len(), store.run_secret().await.unwrap() == secret), (64, true));
    assert_eq!(store.generation().await.unwrap(), Generation { current: 1, noted: None });
    store.note_generation(1).await.unwrap();
    store.note_generation(2).await.unwrap();
    assert_eq!(store.generation().await.unwrap(), Generation { current: 1, noted: Some(1) });
}

/// An operator's word holds for the newest incarnation it was said of.
pub(crate) async fn a_lost_runner_is_kept(store: Arc<dyn Store>) {
    for (id, incarnation) in [("node-b", 3), ("node-a", 1), ("node-b", 2)] {
        store.declare_lost(NodeId(id.into()), Incarnation(incarnation), T0).await.unwrap();
    }
    let lost = [("node-a", 1), ("node-b", 3)].map(|(id, n)| (NodeId(id.into()), Incarnation(n)));
    assert_eq!(store.declared_lost().await.unwrap(), lost);
}

/// Ticks are counted up, and a clock that steps back does not make the last one older.
pub(crate) async fn the_reaper_is_noted(store: Arc<dyn Store>) {
    assert_eq!(store.overview(T0).await.unwrap().reaper, ReaperRecord::default());
    for (ms, reaped) in [(10, 2), (900, 0), (400, 3)] {
        store.note_tick(later(ms), reaped).await.unwrap();
    }
    let noted = ReaperRecord { last_tick_at: Some(later(900)), reaped_total: 5, ..ReaperRecord::default() };
    assert_eq!(store.overview(T0).await.unwrap().reaper, noted);
}

/// What is wrong with `orch.toml` is kept until it is mended.
pub(crate) async fn a_fault_of_the_configuration_is_kept(store: Arc<dyn Store>) {
    for error in [Some("orch.toml: line 3"), Some("orch.toml: line 4"), None, None] {
        store.note_config(error.map(str::to_owned)).await.unwrap();
        assert_eq!(store.overview(T0).await.unwrap().config_error.as_deref(), error);
    }
}

/// What is not there is `None`, and a fresh store fits.
pub(crate) async fn nothing_is_invented(store: Arc<dyn Store>) {
    assert_eq!(store.job(JobId(1)).await.unwrap(), None);
    assert_eq!(store.run(fresh_run()).await.unwrap(), None);
    assert_eq!(store.runs_of(JobId(1)).await.unwrap(), vec![]);
    assert_eq!(store.next_due_at(T0).await.unwrap(), None);
    let Schema { found, needed } = store.schema().await.unwrap();
    assert!(found == needed && needed >= 1);
    let overview = store.overview(T0).await.unwrap();
    assert_eq!((overview.counts, overview.oldest_ready_at), (CountByStatus::default(), None));
}
