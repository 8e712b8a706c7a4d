use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

fn job(id: i64, project: &str, work_item: &str) -> Candidate {
    Candidate {
        job: JobId(id),
        project: project.to_owned(),
        work_item: work_item.to_owned(),
        stage: "review".to_owned(),
        own_prompt: false,
        priority: 0,
        available_at: Timestamp::from_ms(id),
    }
}

fn node(name: &str, slots: u32) -> NodeFacts {
    NodeFacts {
        node: NodeId(name.to_owned()),
        incarnation: Incarnation(1),
        account: Account("default".to_owned()),
        slots,
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
        node: NodeId(node.to_owned()),
    }
}

fn open_facts(projects: &[&str], serial: Serial) -> Facts {
    let limits = ProjectLimits { concurrency_max: None, serial };
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
    let held = AccountHold { account: Account("default".to_owned()), reason: "auth".to_owned(), until: None };
    let rows = [
        reason_with(&|facts| facts.paused = true),
        reason_with(&|facts| facts.projects.clear()),
        reason_with(&|facts| facts.stages.clear()),
        reason_with(&|facts| {
            facts
                .stages
                .insert("review".to_owned(), Some(WaitReason::Prompt { error: "no such file".to_owned() }));
        }),
        reason_with(&|facts| facts.concurrency_max = 0),
        reason_with(&|facts| {
            facts
                .projects
                .insert("p".to_owned(), ProjectLimits { concurrency_max: Some(0), serial: Serial::None });
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
        reason_with(&|facts| facts.block_held_accounts(std::slice::from_ref(&held), NOW)),
    ];
    insta::assert_snapshot!(rows.join("\n"), @r#"
paused by an operator: `orch resume` goes on
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

#[test]
fn a_hold_ends_at_its_time_and_touches_its_account_alone() {
    let hold = AccountHold {
        account: Account("default".to_owned()),
        reason: "usage_limit".to_owned(),
        until: Some(NOW),
    };
    let mut facts = open_facts(&["p"], Serial::None);
    facts.nodes.push(NodeFacts { account: Account("spare".to_owned()), ..node("n2", 1) });
    let mut before = facts.clone();
    before.block_held_accounts(std::slice::from_ref(&hold), Timestamp::from_ms(NOW.as_ms() - 1));
    let shown: Vec<_> =
        before.nodes.iter().map(|node| (node.blocked.is_some(), node.blocked_until)).collect();
    assert_eq!(shown, [(true, Some(NOW)), (false, None)]);
    let untouched = facts.clone();
    facts.block_held_accounts(&[hold], NOW);
    assert_eq!(facts, untouched);
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
        .prop_map(|(concurrency_max, serial)| ProjectLimits { concurrency_max, serial });
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
