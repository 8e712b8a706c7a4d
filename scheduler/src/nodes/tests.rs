use super::*;
use domain::Account;

fn terms() -> LeaseTerms {
    LeaseTerms {
        scheduler: Duration::from_mins(7),
        runner: Duration::from_mins(5),
        renew: Duration::from_secs(5),
        unreachable: Duration::from_secs(20),
        kill_grace: Duration::from_secs(10),
    }
}

fn at(boot_ms: i64) -> Moment {
    Moment { now: Timestamp::from_ms(1_000_000 + boot_ms), boot_ms }
}

fn row(incarnation: i64) -> Node {
    Node {
        id: NodeId("n".to_owned()),
        incarnation: Incarnation(incarnation),
        boot_id: "boot".to_owned(),
        advertise_url: "http://127.0.0.1:1".to_owned(),
        state: NodeState::Ready,
        slots: 2,
        labels: Vec::new(),
        account: Account("default".to_owned()),
        preflight: good(0),
        containment: Containment::default(),
        last_seen_at: at(0).now,
    }
}

fn good(boot_ms: i64) -> Preflight {
    Preflight { ok: true, version: Some("1".to_owned()), checked_at: at(boot_ms).now, ..Preflight::default() }
}

fn renewed(number: u64) -> Renewed {
    Renewed { number, draining: false, preflight: good(0), containment: Containment::default() }
}

fn blocked(nodes: &Nodes, boot_ms: i64) -> Option<WaitReason> {
    nodes.facts(at(boot_ms)).pop().unwrap().blocked
}

fn state(nodes: &Nodes, boot_ms: i64) -> NodeState {
    nodes.row(&NodeId("n".to_owned()), at(boot_ms)).unwrap().state
}

#[test]
fn silence_blocks_a_node_and_a_whole_lease_of_it_loses_it() {
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    nodes.register(row(1), "s".to_owned(), None, at(0)).unwrap();
    // It takes half a second at most to write that it is silent, and twenty were promised.
    assert_eq!((blocked(&nodes, 19_500), state(&nodes, 19_500)), (None, NodeState::Ready));
    assert_eq!(
        [nodes.changes(0), nodes.changes(19_500), nodes.changes(19_501)],
        [[19_501], [19_501], [420_001]]
    );
    assert_eq!(
        (blocked(&nodes, 19_501), state(&nodes, 19_501)),
        (Some(WaitReason::Unreachable), NodeState::Unreachable)
    );
    assert_eq!(state(&nodes, 420_001), NodeState::Lost);
    let node = NodeId("n".to_owned());
    assert_eq!(nodes.renew(&node, Incarnation(1), "s", renewed(1), at(420_002)), Ok(true));
    assert_eq!((blocked(&nodes, 420_003), state(&nodes, 420_003)), (None, NodeState::Ready));
}

#[test]
fn after_a_start_a_node_takes_no_work_until_it_registers() {
    let nodes = Nodes::new(terms(), vec![row(3)], &[], 0);
    assert_eq!((blocked(&nodes, 1), state(&nodes, 1)), (Some(WaitReason::Unreachable), NodeState::Ready));
    let node = NodeId("n".to_owned());
    let unregistered = NotHeard::NotRegistered { node: node.clone() };
    assert_eq!(nodes.check(&node, Incarnation(3), "s"), Err(unregistered));
    assert_eq!(nodes.check(&node, Incarnation(2), "s"), Err(NotHeard::Fenced { node }));
    nodes.register(row(3), "s".to_owned(), None, at(2)).unwrap();
    assert_eq!(blocked(&nodes, 3), None);
}

#[test]
fn the_later_session_wins_and_an_older_incarnation_never_does() {
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    let node = NodeId("n".to_owned());
    let fenced = || NotHeard::Fenced { node: node.clone() };
    nodes.register(row(2), "one".to_owned(), None, at(0)).unwrap();
    nodes.register(row(2), "two".to_owned(), None, at(1)).unwrap();
    assert_eq!(nodes.check(&node, Incarnation(2), "one"), Err(fenced()));
    assert_eq!(nodes.check(&node, Incarnation(2), "two"), Ok(()));
    assert_eq!(nodes.register(row(1), "old".to_owned(), None, at(2)), Err(fenced()));
    let moved =
        Node { boot_id: "other".to_owned(), advertise_url: "http://127.0.0.1:2".to_owned(), ..row(3) };
    let left_url = Some("http://127.0.0.1:1".to_owned());
    assert_eq!(
        nodes.register(moved.clone(), "three".to_owned(), None, at(3)),
        Ok(Before { rebooted: true, left_url })
    );
    // What was connected to the third incarnation is not to the fourth, wherever that is.
    let restarted = Node { incarnation: Incarnation(4), ..moved.clone() };
    let left_url = Some(moved.advertise_url);
    let before = nodes.register(restarted.clone(), "four".to_owned(), None, at(4));
    assert_eq!(before, Ok(Before { rebooted: false, left_url }));
    let again = nodes.register(restarted, "five".to_owned(), None, at(5));
    assert_eq!(again, Ok(Before { rebooted: false, left_url: None }));
}

#[test]
fn a_repeated_renew_is_no_news() {
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    let node = NodeId("n".to_owned());
    nodes.register(row(1), "s".to_owned(), None, at(0)).unwrap();
    let renew = |number, boot_ms| nodes.renew(&node, Incarnation(1), "s", renewed(number), at(boot_ms));
    assert_eq!(
        [renew(2, 5_000), renew(2, 9_000), renew(1, 9_000), renew(3, 9_000)].map(Result::unwrap),
        [true, false, false, true]
    );
}

#[test]
fn what_keeps_a_node_from_work_is_named() {
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    let node = NodeId("n".to_owned());
    nodes.register(row(1), "s".to_owned(), None, at(0)).unwrap();
    nodes.rest(&node, Incarnation(1), 1_000);
    let facts = nodes.facts(at(1_500)).pop().unwrap();
    assert_eq!((facts.blocked, facts.blocked_until), (Some(WaitReason::Resting), Some(at(3_000).now)));
    assert_eq!(blocked(&nodes, 3_000), None);

    let missing = Preflight { ok: false, error: Some("claude: not found".to_owned()), ..good(0) };
    let renew = Renewed { preflight: missing, ..renewed(1) };
    nodes.renew(&node, Incarnation(1), "s", renew, at(4_000)).unwrap();
    let error = "claude: not found (runner n)".to_owned();
    assert_eq!(blocked(&nodes, 4_000), Some(WaitReason::Preflight { error }));

    assert!(nodes.drain(&node) && !nodes.drain(&NodeId("m".to_owned())));
    assert_eq!(blocked(&nodes, 4_000), Some(WaitReason::Draining));
    nodes.register(row(2), "s2".to_owned(), None, at(5_000)).unwrap();
    assert_eq!(blocked(&nodes, 5_000), None);
}

#[test]
fn a_node_that_started_again_has_no_rest_for_what_its_last_incarnation_refused() {
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    let node = NodeId("n".to_owned());
    nodes.register(row(2), "s".to_owned(), None, at(0)).unwrap();
    // The offer had gone to the incarnation before, which this one says it is not.
    nodes.rest(&node, Incarnation(1), 1_000);
    assert_eq!(blocked(&nodes, 1_001), None);
    nodes.rest(&node, Incarnation(2), 1_000);
    assert_eq!(blocked(&nodes, 1_001), Some(WaitReason::Resting));
}

#[test]
fn a_row_is_written_when_it_changes_and_now_and_then() {
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    let node = NodeId("n".to_owned());
    nodes.register(row(1), "s".to_owned(), None, at(0)).unwrap();
    let write = |boot_ms| {
        let rows = nodes.unsaved(Neighbours::None, true, boot_ms);
        let count = rows.len();
        for row in rows {
            nodes.saved(row, boot_ms);
        }
        count
    };
    assert_eq!([write(0), write(1)], [1, 0]);
    nodes.renew(&node, Incarnation(1), "s", renewed(1), at(5_000)).unwrap();
    assert_eq!([write(5_000), write(15_000), write(15_001)], [0, 1, 0]);
    // The change to unreachable is written at once.
    assert_eq!([write(25_001), write(25_002)], [1, 0]);
}

#[test]
fn work_goes_to_a_node_that_another_scheduler_hears_and_it_speaks_to_one_of_them() {
    let node = NodeId("n".to_owned());
    let speaking = |incarnation, home: &str, heard| {
        let session = store::Session {
            incarnation: Incarnation(incarnation),
            nonce: "s".to_owned(),
            home: home.to_owned(),
        };
        BTreeMap::from([(node.clone(), Speaking { session, heard })])
    };
    let nodes = Nodes::new(terms(), Vec::new(), &[], 0);
    let learn = |row: Node, speaking: &BTreeMap<NodeId, Speaking>, boot_ms| {
        nodes.learn(vec![row], speaking, &[], "here", boot_ms)
    };
    // One count may be of long ago; the next one is of now.
    assert_eq!(learn(row(1), &speaking(1, "there", 7), 1_000), []);
    assert_eq!(blocked(&nodes, 1_000), Some(WaitReason::Unreachable));
    learn(row(1), &speaking(1, "there", 8), 2_000);
    // A second of the twenty may have passed until the count was read.
    assert_eq!((blocked(&nodes, 20_500), nodes.speaks_here(&node)), (None, false));
    assert_eq!(blocked(&nodes, 20_501), Some(WaitReason::Unreachable), "the count stood still");
    let silent = nodes.unsaved(Neighbours::Perhaps, true, 22_001);
    assert_eq!(silent.iter().map(|row| row.state).collect::<Vec<_>>(), [NodeState::Unreachable]);
    assert_eq!(nodes.unsaved(Neighbours::Perhaps, false, 22_001), [], "whoever leads writes that");

    // It comes here, and what was read before says nothing of it.
    nodes.register(row(1), "s".to_owned(), Some(9), at(30_000)).unwrap();
    let moved = nodes.moved();
    learn(row(1), &speaking(1, "there", 8), 30_001);
    assert!(nodes.speaks_here(&node));
    nodes.heard(&node, 10);
    learn(row(1), &speaking(1, "here", 10), 30_002);
    assert!(nodes.speaks_here(&node) && !moved.has_changed().unwrap());

    // It goes away, with a new incarnation at another place.
    let newer = Node { advertise_url: "http://127.0.0.1:2".to_owned(), ..row(2) };
    let left = learn(newer, &speaking(2, "there", 11), 31_000);
    assert_eq!(left, [(node.clone(), "http://127.0.0.1:1".to_owned())]);
    assert!(!nodes.speaks_here(&node) && moved.has_changed().unwrap());
    assert_eq!(blocked(&nodes, 31_000), None);
    assert_eq!(nodes.check(&node, Incarnation(1), "s"), Err(NotHeard::Fenced { node: node.clone() }));
    let not_here = NotHeard::NotRegistered { node: node.clone() };
    assert_eq!(nodes.check(&node, Incarnation(2), "s"), Err(not_here));
    // A person's word of it, given to the other one.
    let lost = [(node.clone(), Incarnation(2))];
    nodes.learn(vec![row(2)], &speaking(2, "there", 11), &lost, "here", 32_000);
    assert_eq!(
        (blocked(&nodes, 32_000), nodes.declared_lost()),
        (Some(WaitReason::Unreachable), lost.to_vec())
    );
}
