//! Whatever happens in whatever order, no invariant breaks.

use domain::transition::{Conclusion, Event, LostHow};
use domain::{Chance, Class, JobId, PermanentReason, Policy, RunId};
use proptest::prelude::*;
use store::Change;

use super::contract::values::{claim, failure, fleet, fresh_run, job, later, outcome, usage_limit};
use super::fresh;

/// One step: which job, what happens, and whether it is told from an older reading of the row.
type Step = (u8, u8, bool);

fn event(pick: u8, run: RunId) -> Event {
    let judged = |class| Event::Ended { run, conclusion: Conclusion::Judged { class } };
    match pick % 11 {
        0 | 1 => Event::Confirmed { run },
        2 => Event::Withdrawn { run, why: "no_capacity" },
        3 => judged(Class::Success),
        4 => judged(usage_limit(later(40))),
        5 => judged(failure(PermanentReason::Crash)),
        6 => judged(failure(PermanentReason::ContextLength)),
        7 => Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } },
        8 => Event::Ended { run, conclusion: Conclusion::Drained },
        9 => Event::CancelRequested,
        _ => Event::Retried,
    }
}

async fn play(steps: Vec<Step>) {
    let (_folder, store) = fresh().await;
    let mut seen = Vec::new();
    for n in 0..4 {
        let id = store.enqueue(job(&format!("A-{}", n % 2)), later(0)).await.unwrap().job;
        seen.push(store.job(id).await.unwrap().unwrap());
    }
    for (tick, (which, pick, stale)) in steps.into_iter().enumerate() {
        let now = later(tick as u64 * 25_000);
        if pick % 12 == 11 {
            claim(&store, now, fleet(3), 2).await;
            continue;
        }
        let index = usize::from(which % 4);
        if !stale {
            seen[index] = store.job(JobId(seen[index].id.0)).await.unwrap().unwrap();
        }
        let run = seen[index].state.run().unwrap_or_else(fresh_run);
        let event = event(pick, run);
        if let Ok(transition) = domain::next(&seen[index], &event, now, &Policy::default(), Chance::new(0.3))
        {
            let change = Change { transition, now, outcome: Some(outcome()), evidence: None };
            // A stale reading meets a conflict, which is right.
            let _ = store.apply(change).await.unwrap();
        }
        assert_eq!(store.violations().await.unwrap(), vec![], "after step {tick}");
    }
    store.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_invariant_breaks(steps in prop::collection::vec(any::<Step>(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
