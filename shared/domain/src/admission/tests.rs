use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::account::{AccountRecord, Hold, HoldReason};
use crate::breaker::Breaker;
use crate::budget::Amount;
use crate::containment::Tier;
use crate::outcome::RateLimit;

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

fn job(id: i64, project: &str, work_item: &str) -> Candidate {
    Candidate {
        job: JobId(id),
        project: project.to_owned(),
        work_item: work_item.to_owned(),
        chain: String::new(),
        stage: "review".to_owned(),
        own_prompt: false,
        priority: 0,
        available_at: Timestamp::from_ms(id),
        early: false,
        prefers: None,
    }
}

fn prefers(node: &str, wait_until: Option<Timestamp>, job: Candidate) -> Candidate {
    Candidate { prefers: Some(Preference { node: NodeId(node.to_owned()), wait_until }), ..job }
}

fn node(name: &str, slots: u32) -> NodeFacts {
    NodeFacts {
        node: NodeId(name.to_owned()),
        incarnation: Incarnation(1),
        account: Account("default".to_owned()),
        slots,
        tier: crate::containment::Tier::Sealed,
        blocked: None,
        blocked_until: None,
    }
}

fn blocked(name: &str, reason: WaitReason) -> NodeFacts {
    NodeFacts { blocked: Some(reason), blocked_until: Some(NOW), ..node(name, 4) }
}

fn live(id: i64, project: &str, work_item: &str, node: &str) -> LiveFacts {
    LiveFacts {
        job: JobId(id),
        project: project.to_owned(),
        work_item: work_item.to_owned(),
        chain: String::new(),
        node: NodeId(node.to_owned()),
        account: Account("default".to_owned()),
        aside: Amount::default(),
        opening: Opening::default(),
        offered_at: NOW,
    }
}

fn account(name: &str) -> AccountRecord {
    AccountRecord::new(Account(name.to_owned()))
}

fn open_facts(projects: &[&str], serial: Serial) -> Facts {
    let limits = ProjectLimits { concurrency_max: None, serial, ..ProjectLimits::default() };
    Facts {
        concurrency_max: 100,
        projects: projects.iter().map(|name| ((*name).to_owned(), limits.clone())).collect(),
        stages: BTreeMap::from([("review".to_owned(), None)]),
        nodes: vec![node("n1", 100)],
        ..Facts::default()
    }
}

fn started(admission: &Admission) -> Vec<i64> {
    admission.starts.iter().map(|(job, _)| job.0).collect()
}

#[test]
fn priority_goes_before_fairness_and_fairness_before_age() {
    let facts = open_facts(&["a", "b"], Serial::None);
    let urgent = Candidate { priority: 5, ..job(9, "a", "i") };
    let jobs = vec![
        job(1, "a", "i"),
        job(2, "a", "i"),
        job(3, "a", "i"),
        job(4, "b", "i"),
        urgent,
        job(5, "b", "i"),
    ];
    assert_eq!(started(&admit(jobs, &facts)), [9, 4, 1, 5, 2, 3]);
}

#[test]
fn a_project_with_ten_thousand_jobs_delays_nobody_elses_first() {
    let mut jobs: Vec<Candidate> = (1..=10_000).map(|id| job(id, "big", &format!("i{id}"))).collect();
    jobs.push(job(20_000, "small", "i"));
    let facts = Facts { concurrency_max: 2, ..open_facts(&["big", "small"], Serial::WorkItem) };
    let admission = admit(jobs.clone(), &facts);
    assert_eq!((started(&admission), admission.waits.len()), (vec![1, 20_000], 9_999));

    // One place at a time and nothing else alive: whoever was served least recently has the turn.
    let served_at = BTreeMap::from([("big".to_owned(), NOW)]);
    let facts = Facts { concurrency_max: 1, served_at, ..facts };
    assert_eq!(started(&admit(jobs, &facts)), [20_000]);
}

#[test]
fn serial_modes_keep_apart_what_they_name() {
    let jobs = || vec![job(1, "p", "x"), job(2, "p", "x"), job(3, "p", "y"), job(4, "q", "x")];
    let mut rows = Vec::new();
    for serial in [Serial::None, Serial::WorkItem, Serial::Project] {
        let facts = Facts { live: vec![live(7, "p", "y", "n1")], ..open_facts(&["p", "q"], serial) };
        let admission = admit(jobs(), &facts);
        let behind: Vec<(i64, WaitReason)> =
            admission.waits.iter().map(|(job, waiting)| (job.0, waiting.reason.clone())).collect();
        rows.push((started(&admission), behind));
    }
    let wait = |behind: i64| WaitReason::Serial { behind: JobId(behind) };
    assert_eq!(
        rows,
        [
            (vec![4, 1, 2, 3], vec![]),
            (vec![4, 1], vec![(2, wait(1)), (3, wait(7))]),
            (vec![4], vec![(1, wait(7)), (2, wait(7)), (3, wait(7))]),
        ]
    );
}

#[test]
fn every_refusal_has_its_reason() {
    let reason_with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = open_facts(&["p"], Serial::WorkItem);
        change(&mut facts);
        let admission = admit(vec![job(1, "p", "x")], &facts);
        assert_eq!(admission.starts, []);
        admission.waits[0].1.reason.to_string()
    };
    let held =
        AccountRecord { hold: Some(Hold { reason: HoldReason::Auth, until: None }), ..account("default") };
    let rows = [
        reason_with(&|facts| facts.paused = true),
        reason_with(&|facts| facts.paused_parts = [Part::Project("p".to_owned())].into()),
        reason_with(&|facts| facts.paused_parts = [Part::Stage("review".to_owned())].into()),
        reason_with(&|facts| facts.projects.clear()),
        reason_with(&|facts| facts.stages.clear()),
        reason_with(&|facts| {
            facts
                .stages
                .insert("review".to_owned(), Some(WaitReason::Prompt { error: "no such file".to_owned() }));
        }),
        reason_with(&|facts| facts.concurrency_max = 0),
        reason_with(&|facts| {
            facts.projects.insert(
                "p".to_owned(),
                ProjectLimits { concurrency_max: Some(0), serial: Serial::None, ..ProjectLimits::default() },
            );
        }),
        reason_with(&|facts| facts.live.push(live(3, "p", "x", "n1"))),
        reason_with(&|facts| facts.nodes.clear()),
        reason_with(&|facts| facts.nodes = vec![node("n1", 0), blocked("n2", WaitReason::Resting)]),
        reason_with(&|facts| {
            facts.nodes = vec![blocked("n1", WaitReason::Unreachable), blocked("n2", WaitReason::Draining)];
        }),
        reason_with(&|facts| {
            let preflight = WaitReason::Preflight { error: "claude: not found".to_owned() };
            facts.nodes = vec![blocked("n1", preflight), blocked("n2", WaitReason::Draining)];
        }),
        reason_with(&|facts| facts.take_accounts([&held], NOW)),
    ];
    insta::assert_snapshot!(rows.join("\n"), @r#"
paused by an operator: `orch resume` goes on
project p is paused by an operator: `orch resume --project p` goes on
stage review is paused by an operator: `orch resume --stage review` goes on
its project is not in orch.toml: add it, or cancel the job
its stage review is not in orch.toml: add it, or cancel the job
its prompt could not be made: no such file
0 runs live, as many as ORCH_MAX_CONCURRENCY allows
0 runs of its project live, as many as its max_concurrency allows
waits for job 3: one at a time (serial)
no runner has registered: start orch-runner
every slot of every runner is taken
the runners are draining
no runner can start an agent: claude: not found
account default is held (auth): mend it, then `orch account resume default`
"#);
}

#[test]
fn a_job_that_brings_its_prompt_needs_no_template_but_a_stage() {
    let own = Candidate { own_prompt: true, ..job(1, "p", "x") };
    let mut facts = open_facts(&["p"], Serial::None);
    let broken = WaitReason::Prompt { error: "no such file".to_owned() };
    facts.stages.insert("review".to_owned(), Some(broken));
    assert_eq!(started(&admit(vec![own.clone()], &facts)), [1]);
    facts.stages.clear();
    assert_eq!(started(&admit(vec![own], &facts)), [0_i64; 0]);
}

/// Nodes of two accounts, with what is known of the first one.
fn two_accounts(record: &AccountRecord, now: Timestamp) -> Facts {
    let spare = NodeFacts { account: Account("spare".to_owned()), ..node("n2", 1) };
    let mut facts = Facts { nodes: vec![node("n1", 9), spare], ..open_facts(&["p"], Serial::None) };
    facts.take_accounts([record], now);
    facts
}

/// Where the jobs 1 to 4 start, and what the first that does not start waits for.
fn spread(facts: &Facts) -> (Vec<&str>, Option<(WaitReason, Option<Timestamp>)>) {
    let admission = admit((1..=4).map(|id| job(id, "p", "x")).collect(), facts);
    let nodes = admission.starts.iter().map(|(_, index)| facts.nodes[*index].node.0.as_str()).collect();
    let waits = admission.waits.first().map(|(_, waiting)| (waiting.reason.clone(), waiting.until));
    assert_eq!(
        admission.fleet.map(|fleet| (fleet.reason, fleet.until)),
        waits,
        "any further one waits alike"
    );
    (nodes, waits)
}

#[test]
fn a_hold_ends_at_its_time_and_touches_its_account_alone() {
    let hold = Some(Hold { reason: HoldReason::UsageLimit, until: Some(NOW) });
    let record = AccountRecord { hold, ..account("default") };
    let before = two_accounts(&record, Timestamp::from_ms(NOW.as_ms() - 1));
    assert_eq!(before.accounts_change_at(), Some(NOW));
    assert_eq!(spread(&before), (vec!["n2"], Some((WaitReason::NoSlot, None))));
    let alone = Facts { nodes: vec![node("n1", 9)], ..before };
    let reason = WaitReason::AccountHeld { account: record.account.clone(), reason: HoldReason::UsageLimit };
    assert_eq!(spread(&alone), (vec![], Some((reason, Some(NOW)))));

    // Then one at a time for a moment, and as ever.
    let resumed = two_accounts(&record, NOW);
    assert_eq!(spread(&resumed).0, ["n1", "n2"]);
    assert_eq!(resumed.accounts_change_at(), Some(Timestamp::from_ms(NOW.as_ms() + 250)));
    let free = two_accounts(&record, Timestamp::from_ms(NOW.as_ms() + 2_000));
    assert_eq!((spread(&free), free.accounts_change_at()), ((vec!["n1"; 4], None), None));
}

#[test]
fn an_open_breaker_lets_nothing_start_and_a_half_open_one_a_probe_where_no_other_account_has_room() {
    let breaker = Breaker { consecutive_transient: 5, opening: Opening(2), open_until: Some(NOW) };
    let record = AccountRecord { breaker, ..account("default") };
    let open = two_accounts(&record, Timestamp::from_ms(NOW.as_ms() - 1));
    assert_eq!(
        (spread(&open).0, open.wants_probe(), open.accounts_change_at()),
        (vec!["n2"], false, Some(NOW))
    );
    let half_open = two_accounts(&record, NOW);
    assert_eq!((spread(&half_open).0, half_open.wants_probe()), (vec!["n2", "n1"], true));

    let mut probing = half_open;
    probing.live.push(LiveFacts { opening: Opening(2), ..live(9, "q", "z", "n1") });
    probing.take_accounts([&record], NOW);
    assert_eq!((spread(&probing).0, probing.wants_probe()), (vec!["n2"], false));
    probing.live[0].opening = Opening(1);
    probing.take_accounts([&record], NOW);
    assert!(probing.wants_probe(), "a run of before the opening is no probe");
}

#[test]
fn the_probe_is_the_earliest_job_that_is_put_off_when_none_is_due() {
    let breaker = Breaker { consecutive_transient: 5, opening: Opening(1), open_until: Some(NOW) };
    let mut facts = open_facts(&["p"], Serial::WorkItem);
    facts.take_accounts([&AccountRecord { breaker, ..account("default") }], NOW);
    facts.live.push(LiveFacts { account: Account("spare".to_owned()), ..live(99, "p", "taken", "n9") });
    let early = |id: i64, item: &str, seconds: u64| Candidate {
        available_at: NOW.plus(std::time::Duration::from_secs(seconds)),
        early: true,
        ..job(id, "p", item)
    };
    let put_off = vec![early(1, "x", 30), early(2, "taken", 5), early(3, "y", 10)];
    let admission = admit(put_off.clone(), &facts);
    assert_eq!((started(&admission), admission.waits), (vec![3], vec![]));
    let with_due: Vec<Candidate> = put_off.into_iter().chain([job(4, "p", "z")]).collect();
    assert_eq!(started(&admit(with_due.clone(), &facts)), [4]);
    facts.accounts.clear();
    assert_eq!(started(&admit(with_due, &facts)), [4], "a closed breaker starts nothing before its time");
}

#[test]
fn while_failures_are_counted_no_more_runs_are_out_than_open_the_breaker() {
    let faltering = |count: u32, out: usize, age_s: u64| {
        let breaker = Breaker { consecutive_transient: count, ..Breaker::default() };
        let mut facts = open_facts(&["p", "q"], Serial::None);
        let offered_at = Timestamp::from_ms(NOW.as_ms() - i64::try_from(age_s * 1000).expect("small"));
        let run = |id| LiveFacts { offered_at, ..live(id, "q", "z", "n1") };
        facts.live = (0..out).map(|n| run(100 + i64::try_from(n).expect("small"))).collect();
        facts.take_accounts([&AccountRecord { breaker, ..account("default") }], NOW);
        spread(&facts).0.len()
    };
    assert_eq!(faltering(0, 30, 1), 4, "nothing failed");
    assert_eq!(
        [faltering(2, 0, 1), faltering(2, 1, 1), faltering(2, 3, 1), faltering(4, 30, 1)],
        [3, 2, 0, 0]
    );
    assert_eq!(faltering(4, 30, 301), 1, "runs that outlived a pause were answered");
    assert_eq!(
        [faltering(7, 0, 1), faltering(7, 1, 1)],
        [1, 0],
        "a threshold lowered meanwhile blocks nobody"
    );
}

#[test]
fn the_reserve_of_a_quota_is_left_to_essential_stages() {
    let window = RateLimit {
        window: "five_hour".to_owned(),
        status: "allowed".to_owned(),
        utilization: Some(0.93),
        resets_at: Some(NOW.plus(std::time::Duration::from_mins(10))),
    };
    let until = window.resets_at;
    let record = AccountRecord { windows: vec![window], ..account("default") };
    let mut facts = open_facts(&["p"], Serial::None);
    facts.stages.insert("deploy".to_owned(), None);
    facts.essential_stages.insert("deploy".to_owned());
    let jobs = || vec![job(1, "p", "x"), Candidate { stage: "deploy".to_owned(), ..job(2, "p", "y") }];
    facts.take_accounts([&record], NOW);
    assert_eq!(started(&admit(jobs(), &facts)), [1, 2], "no reserve is asked for");

    facts.account_terms.quota_reserve = Some(0.1);
    facts.take_accounts([&record], NOW);
    let admission = admit(jobs(), &facts);
    assert_eq!((started(&admission), facts.accounts_change_at()), (vec![2], until));
    assert_eq!(
        admission.waits[0].1.reason.to_string(),
        "the rest of window five_hour of account default is kept for essential stages (ORCH_QUOTA_RESERVE)"
    );
    assert!(facts.check_stage("review", false).is_err() && facts.check_stage("deploy", false).is_ok());
    facts.nodes.push(NodeFacts { account: Account("spare".to_owned()), ..node("n2", 4) });
    assert!(facts.check_stage("review", false).is_ok(), "another account has more");
}

#[test]
fn work_spreads_to_the_emptiest_node() {
    let facts = Facts {
        nodes: vec![node("n1", 2), node("n2", 3), blocked("n3", WaitReason::Draining)],
        live: vec![live(90, "q", "z", "n1")],
        ..open_facts(&["p", "q"], Serial::None)
    };
    let jobs = (1..=5).map(|id| job(id, "p", "x")).collect();
    let admission = admit(jobs, &facts);
    let nodes: Vec<usize> = admission.starts.iter().map(|(_, node)| *node).collect();
    assert_eq!((nodes, admission.waits.len()), (vec![1, 1, 0, 1], 1));
}

#[test]
fn ten_thousand_candidates_of_a_thousand_projects_are_each_decided_once() {
    let names: Vec<String> = (0..1_000).map(|index| format!("p{index}")).collect();
    let facts = Facts {
        concurrency_max: 500,
        nodes: vec![node("n1", 10_000)],
        ..open_facts(&names.iter().map(String::as_str).collect::<Vec<_>>(), Serial::WorkItem)
    };
    let jobs: Vec<Candidate> = (0..10_000)
        .map(|id| job(id, &names[usize::try_from(id % 1_000).expect("small")], &format!("i{id}")))
        .collect();
    let admission = admit(jobs, &facts);
    let projects: BTreeSet<i64> = started(&admission).into_iter().map(|id| id % 1_000).collect();
    assert_eq!((admission.starts.len(), projects.len(), admission.waits.len()), (500, 500, 9_500));
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let limits = (
        proptest::option::of(0_u32..4),
        prop::sample::select(vec![Serial::None, Serial::WorkItem, Serial::Project]),
    )
        .prop_map(|(concurrency_max, serial)| ProjectLimits {
            concurrency_max,
            serial,
            ..ProjectLimits::default()
        });
    let projects = proptest::collection::btree_map("[a-d]", limits, 0..4);
    let nodes = proptest::collection::vec((0_u32..4, any::<bool>()), 0..4).prop_map(|nodes| {
        let facts = |(index, (slots, open)): (usize, (u32, bool))| {
            let name = format!("n{index}");
            if open { node(&name, slots) } else { blocked(&name, WaitReason::Draining) }
        };
        nodes.into_iter().enumerate().map(facts).collect::<Vec<_>>()
    });
    (0_u32..8, projects, nodes).prop_map(|(concurrency_max, projects, nodes)| Facts {
        concurrency_max,
        projects,
        nodes,
        ..open_facts(&[], Serial::None)
    })
}

/// How many of `runs` there are of each key.
fn counted<K: Ord>(runs: &[LiveFacts], key: impl Fn(&LiveFacts) -> K) -> BTreeMap<K, u32> {
    let mut counts = BTreeMap::new();
    for run in runs {
        *counts.entry(key(run)).or_default() += 1;
    }
    counts
}

#[test]
fn a_job_goes_where_its_conversation_lies_and_waits_for_a_busy_node_only_so_long() {
    let mut facts = open_facts(&["p"], Serial::None);
    facts.nodes = vec![node("n1", 1), node("n2", 9)];
    let at = |admission: &Admission| -> Vec<(i64, usize)> {
        admission.starts.iter().map(|(job, node)| (job.0, *node)).collect()
    };
    // Where it lies, though another node is emptier; a second one waits, a third one has waited enough.
    let jobs = vec![
        prefers("n1", Some(NOW), job(1, "p", "a")),
        prefers("n1", Some(NOW), job(2, "p", "b")),
        prefers("n1", None, job(3, "p", "c")),
        prefers("gone", Some(NOW), job(4, "p", "d")),
        job(5, "p", "e"),
    ];
    let admission = admit(jobs, &facts);
    assert_eq!(at(&admission), [(1, 0), (3, 1), (4, 1), (5, 1)]);
    let reason = WaitReason::Session { node: NodeId("n1".to_owned()) };
    assert_eq!(admission.waits, [(JobId(2), Waiting { reason, until: Some(NOW) })]);

    // A node that may be back in a moment is waited for, one that takes no more work or no account's is not.
    let broken = WaitReason::Preflight { error: "claude: not found".to_owned() };
    for (reason, waited_for) in [
        (WaitReason::Resting, true),
        (WaitReason::Unreachable, true),
        (broken, true),
        (WaitReason::Draining, false),
    ] {
        facts.nodes[0] = blocked("n1", reason.clone());
        let admission = admit(vec![prefers("n1", Some(NOW), job(1, "p", "a"))], &facts);
        assert_eq!(admission.starts.is_empty(), waited_for, "{reason:?}");
        // With no node to go to, what keeps all of them is shown.
        let alone = Facts { nodes: vec![facts.nodes[0].clone()], ..facts.clone() };
        let admission = admit(vec![prefers("n1", Some(NOW), job(1, "p", "a"))], &alone);
        assert_eq!(admission.waits[0].1.reason, reason);
    }
    facts.nodes[0] = NodeFacts { account: Account("held".to_owned()), ..node("n1", 1) };
    let hold = Hold { reason: HoldReason::Auth, until: None };
    let record = AccountRecord { hold: Some(hold), ..account("held") };
    facts.take_accounts([&record], NOW);
    let admission = admit(vec![prefers("n1", Some(NOW), job(1, "p", "a"))], &facts);
    assert_eq!(at(&admission), [(1, 1)]);
}

proptest! {
    #[test]
    fn no_limit_is_ever_exceeded(
        facts in any_facts(),
        jobs in proptest::collection::vec(("[a-e]", "[x-z]", -1_i32..2), 0..30),
    ) {
        let candidates: Vec<Candidate> = (1_i64..)
            .zip(&jobs)
            .map(|(id, (project, item, priority))| Candidate { priority: *priority, ..job(id, project, item) })
            .collect();
        // Two claims in a row: the second finds the first's runs alive.
        let mut facts = facts;
        let mut rest = candidates.clone();
        for size in [rest.len() / 2, rest.len()] {
            let batch: Vec<Candidate> = rest.drain(..size.min(rest.len())).collect();
            let admission = admit(batch.clone(), &facts);
            let mut decided: Vec<JobId> = admission.starts.iter().map(|(job, _)| *job).collect();
            decided.extend(admission.waits.iter().map(|(job, _)| *job));
            decided.sort_unstable();
            prop_assert_eq!(decided, batch.iter().map(|candidate| candidate.job).collect::<Vec<_>>());
            for (id, index) in admission.starts {
                let candidate = batch.iter().find(|candidate| candidate.job == id).expect("a start is a candidate");
                let node = &facts.nodes[index];
                prop_assert!(node.blocked.is_none());
                facts.live.push(live(id.0, &candidate.project, &candidate.work_item, &node.node.0));
            }
        }
        let runs = &facts.live;
        prop_assert!(runs.len() <= facts.concurrency_max as usize);
        for (name, count) in counted(runs, |run| run.node.clone()) {
            prop_assert!(facts.nodes.iter().any(|node| node.node == name && count <= node.slots));
        }
        for (project, count) in counted(runs, |run| run.project.clone()) {
            let limits = facts.projects.get(&project).expect("only known projects start");
            prop_assert!(limits.concurrency_max.is_none_or(|max| count <= max));
            prop_assert!(limits.serial != Serial::Project || count <= 1);
        }
        for ((project, _), count) in counted(runs, |run| (run.project.clone(), run.work_item.clone())) {
            prop_assert!(facts.projects[&project].serial != Serial::WorkItem || count <= 1);
        }
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(jobs in Just((1_i64..20).collect::<Vec<_>>()).prop_shuffle()) {
        let facts = Facts { concurrency_max: 5, ..open_facts(&["p0", "p1", "p2"], Serial::WorkItem) };
        let of = |ids: &[i64]| {
            let candidates = ids.iter().map(|id| job(*id, &format!("p{}", id % 3), &format!("i{}", id % 7))).collect();
            admit(candidates, &facts)
        };
        prop_assert_eq!(of(&jobs), of(&(1..20).collect::<Vec<_>>()));
    }
}

#[test]
fn a_job_goes_only_where_its_agent_can_be_contained() {
    let loose = NodeFacts { tier: Tier::Limits, ..node("n1", 9) };
    let mut facts = Facts { nodes: vec![loose, node("n2", 1)], ..open_facts(&["p", "q"], Serial::None) };
    facts.projects.get_mut("q").unwrap().tier = Tier::Sealed;
    let jobs = || vec![job(1, "q", "x"), job(2, "q", "y"), job(3, "p", "z")];
    let admission = admit(jobs(), &facts);
    let places: Vec<(JobId, usize)> = admission.starts;
    assert_eq!(places, [(JobId(1), 1), (JobId(3), 0)]);
    assert_eq!(
        admission.waits,
        [(JobId(2), WaitReason::NoSlot.open_ended())],
        "the other runner is no way out"
    );
    facts.nodes.truncate(1);
    let admission = admit(jobs(), &facts);
    let waits = WaitReason::Containment { tier: Tier::Sealed }.open_ended();
    assert_eq!(admission.waits, [(JobId(1), waits.clone()), (JobId(2), waits)]);
    assert_eq!((started(&admission), &admission.fleet), (vec![3], &None));
    facts.nodes.push(blocked("n2", WaitReason::Unreachable));
    assert_eq!(admit(jobs(), &facts).waits[0].1.reason, WaitReason::Unreachable, "that one may come back");
}
