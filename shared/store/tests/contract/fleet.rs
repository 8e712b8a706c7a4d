//! What several schedulers know of each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::term::{Candidate, Term};
use domain::{Incarnation, NodeId};
use store::{Session, Speaking, Store};

use super::values::later;

fn session(incarnation: i64, nonce: &str, home: &str) -> Session {
    Session { incarnation: Incarnation(incarnation), nonce: nonce.to_owned(), home: home.to_owned() }
}

/// The newest session speaks, whichever scheduler hears it; an older one is not heard by any.
pub(crate) async fn one_session_speaks_for_a_node(store: Arc<dyn Store>) {
    let node = NodeId("node-a".into());
    let open = |session| store.open_session(node.clone(), session);
    let hear = |session| store.hear_session(node.clone(), session);
    assert_eq!(store.sessions().await.unwrap(), BTreeMap::new());
    assert_eq!(hear(session(3, "one", "a")).await.unwrap(), None, "nobody opened it");
    assert_eq!(open(session(3, "one", "a")).await.unwrap(), Some(1));
    assert_eq!(hear(session(3, "one", "a")).await.unwrap(), Some(2));
    assert_eq!(hear(session(3, "one", "b")).await.unwrap(), Some(3), "it speaks to another scheduler now");
    let speaking = Speaking { session: session(3, "one", "b"), heard: 3 };
    assert_eq!(store.sessions().await.unwrap(), BTreeMap::from([(node.clone(), speaking)]));
    // Of two of one incarnation the later one wins; a newer incarnation wins over both.
    assert_eq!(open(session(3, "two", "a")).await.unwrap(), Some(4));
    assert_eq!(hear(session(3, "one", "b")).await.unwrap(), None);
    assert_eq!(open(session(4, "three", "b")).await.unwrap(), Some(5));
    for older in [session(3, "two", "a"), session(4, "two", "a")] {
        assert_eq!(hear(older).await.unwrap(), None);
    }
    assert_eq!(open(session(3, "two", "a")).await.unwrap(), None);
    let speaking = Speaking { session: session(4, "three", "b"), heard: 5 };
    assert_eq!(store.sessions().await.unwrap(), BTreeMap::from([(node, speaking)]));
}

/// A term that moved since it was read is left alone.
pub(crate) async fn a_term_is_written_over_what_was_seen_alone(store: Arc<dyn Store>) {
    let nobody = store.term().await.unwrap();
    assert_eq!(nobody, Term::default());
    let held = |number, beat| Term { holder: Some("a".into()), number, beat, deadline: later(10) };
    assert!(store.write_term(nobody.clone(), held(1, 1)).await.unwrap());
    assert_eq!(store.term().await.unwrap(), held(1, 1));
    for moved in [nobody, held(2, 1), held(1, 2)] {
        assert!(!store.write_term(moved, held(7, 7)).await.unwrap());
    }
    let left = Term { holder: None, ..held(1, 2) };
    assert!(store.write_term(held(1, 1), left.clone()).await.unwrap());
    assert_eq!(store.term().await.unwrap(), left);
}

/// However many ask at once, one of them leads.
pub(crate) async fn one_of_many_candidates_leads(store: Arc<dyn Store>) {
    for round in 0..10_i64 {
        let seen = store.term().await.unwrap();
        let tries = (0..8).map(|n| {
            let mut candidate = Candidate::new(format!("{round}/{n}"), Duration::from_secs(9));
            let (store, seen) = (store.clone(), seen.clone());
            async move {
                // All of them saw it as it was long ago.
                candidate.look(&seen, 0, later(0));
                let next = candidate.look(&seen, 10_000, later(10)).unwrap();
                if store.write_term(seen, next).await.unwrap() {
                    candidate.written(10_000);
                }
                candidate.leads(10_001)
            }
        });
        let leads = futures::future::join_all(tries).await;
        assert_eq!(leads.iter().filter(|leads| **leads).count(), 1);
        assert_eq!(store.term().await.unwrap().number, round.unsigned_abs() + 1);
    }
}
