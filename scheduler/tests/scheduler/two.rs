//! Two schedulers on one database, past the lock that forbids it: compare-and-set alone keeps them harmless.

use std::collections::BTreeSet;

use proto::v1::StartStatus;

use crate::fake::{Node, id_of};
use crate::stack::{Stack, eventually};

const JOBS: usize = 6;

#[tokio::test]
async fn one_claim_wins_both_watch_and_one_outcome_is_applied() {
    let first = Stack::start().await;
    let second = first.start_beside().await;
    let node = Node::start(&first, "n").await;
    node.register(&second, &[]).await.unwrap();
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        jobs.push(if n % 2 == 0 { first.enqueue().await } else { second.enqueue().await });
    }
    let mut seen = BTreeSet::new();
    for n in 0..JOBS {
        let run = eventually("another run", async || {
            let state = node.state();
            state
                .launches
                .iter()
                .filter_map(|launch| launch.run.clone())
                .find(|run| !seen.contains(&id_of(run)))
        })
        .await;
        let id = id_of(&run);
        seen.insert(id);
        // Whoever claimed it, each of them can start it; one that has not found it yet says so.
        let asked = if n % 2 == 0 { &second } else { &first };
        eventually("the start", async || {
            let started = node.ask_start(asked, &run).await;
            started.is_ok_and(|reply| reply.status() == StartStatus::Ok).then_some(())
        })
        .await;
        eventually("both watches", async || {
            let state = node.state();
            (state.watches.iter().filter(|(watched, _)| *watched == id).count() >= 2).then_some(())
        })
        .await;
        node.ends(&run, first.success());
        eventually("both acks", async || {
            (node.state().acks.iter().filter(|acked| **acked == id).count() >= 2).then_some(())
        })
        .await;
    }
    for job in jobs {
        first.reaches(job, "done").await;
        assert_eq!(first.ends(job).await, ["success none"]);
        assert_eq!(first.store.late_outcomes_of(job).await.unwrap(), []);
    }
    assert_eq!(seen.len(), JOBS);
    first.check_invariants().await;
    second.stop().await;
    first.stop().await;
}
