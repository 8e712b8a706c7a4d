//! Whatever happens in whatever order, no invariant breaks, and the store in memory says what this one says.

use std::fmt::Debug;
use std::sync::Arc;

use domain::admission::{Facts, Serial};
use domain::delivery::NewJob;
use domain::transition::{Conclusion, Event, LostHow};
use domain::{
    Account, Chance, Class, Job, JobId, PermanentReason, Policy, RunId, Timestamp, TransientReason,
};
use proptest::prelude::*;
use store::memory::Disk;
use store::{Change, Error, JobFilter, Store};

use super::contract::values::{
    delivery, failure, fleet, fresh_run, job, keyed, later, limits, outcome, request, usage_limit,
};
use super::{CASES, fresh};

/// One step: which of a few things it is about, what happens, and whether it is told from an older reading.
type Step = (u8, u8, bool);

/// The same verbs on both stores, whose answers must not differ.
struct Both {
    kept: Arc<dyn Store>,
    memory: Arc<dyn Store>,
}

fn event(pick: u8, run: RunId) -> Event {
    let judged = |class| Event::Ended { run, conclusion: Conclusion::Judged { class } };
    match pick % 13 {
        0 | 1 => Event::Confirmed { run },
        2 => Event::Withdrawn { run, why: "no_capacity" },
        3 => judged(Class::Success),
        4 => judged(usage_limit(later(40))),
        5 => judged(failure(PermanentReason::Crash)),
        6 => judged(failure(PermanentReason::ContextLength)),
        7 => Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } },
        8 => Event::Ended { run, conclusion: Conclusion::Drained },
        9 => Event::CancelRequested,
        10 => judged(failure(PermanentReason::Auth)),
        11 => judged(Class::Transient { reason: TransientReason::Overloaded, retry_at: None }),
        _ => Event::Retried,
    }
}

/// A fleet with one project's rules, and sometimes a stage that is not there.
fn facts(which: u8) -> Facts {
    let serial = [Serial::None, Serial::WorkItem, Serial::Project][usize::from(which % 3)];
    let mut facts = fleet(3 + u32::from(which % 2));
    facts.projects.insert("shop".into(), limits(serial));
    if which.is_multiple_of(7) {
        facts.stages.clear();
    }
    facts
}

impl Both {
    /// Asks one store and then the other.
    async fn ask<T: Debug>(&self, verb: impl AsyncFn(&dyn Store) -> Result<T, Error>) -> T {
        let (one, other) = (verb(&*self.kept).await.unwrap(), verb(&*self.memory).await.unwrap());
        assert_eq!(format!("{one:?}"), format!("{other:?}"));
        one
    }

    async fn job(&self, id: JobId) -> Job {
        self.ask(async |store| store.job(id).await).await.unwrap()
    }

    async fn step(&self, step: Step, seen: &mut [Job], now: Timestamp) {
        let (which, pick, stale) = step;
        let item = format!("A-{}", which % 3);
        match pick % 26 {
            11..=13 => {
                let request = request(now, facts(which), 2);
                self.ask(async |store| store.claim(request.clone()).await).await;
            }
            14 => {
                let available_at = if stale { later(900_000) } else { now };
                let new = NewJob { available_at, priority: i32::from(which % 3), ..job(&item) };
                self.ask(async |store| store.enqueue(new.clone(), now).await).await;
            }
            15 => {
                self.ask(async |store| store.enqueue(keyed(&item, &item), now).await).await;
            }
            16 => {
                let jobs = if stale { vec![] } else { vec![job(&item), keyed(&item, "one")] };
                let mut new = delivery(&format!("d{}", which % 5), char::from(b'a' + which % 4), jobs);
                new.received_at = now;
                self.ask(async |store| store.accept(new.clone()).await).await;
            }
            17 => self.ask(async |store| store.set_paused(stale, now).await).await,
            18 => {
                let account = Account("default".into());
                self.ask(async |store| store.resume_account(account.clone(), now).await).await;
            }
            19 => self.ask(async |store| store.note_tick(now, u32::from(which)).await).await,
            20 => {
                let run = seen[usize::from(which % 4)].state.run().unwrap_or_else(fresh_run);
                self.ask(async |store| store.record_late_outcome(run, outcome(), now).await).await;
            }
            21 => {
                let account = Account("default".into());
                self.ask(async |store| store.reset_breaker(account.clone(), now).await).await;
            }
            _ => self.happen(step, seen, now).await,
        }
    }

    async fn happen(&self, (which, pick, stale): Step, seen: &mut [Job], now: Timestamp) {
        let index = usize::from(which % 4);
        if !stale {
            seen[index] = self.job(seen[index].id).await;
        }
        let run = seen[index].state.run().unwrap_or_else(fresh_run);
        let event = event(pick, run);
        if let Ok(transition) = domain::next(&seen[index], &event, now, &Policy::default(), Chance::new(0.3))
        {
            let change = Change {
                outcome: Some(outcome()),
                evidence: Some("line 3".into()),
                ..Change::new(transition, now)
            };
            // A stale reading meets a conflict, which is right.
            let _ = self.ask(async |store| store.apply(change.clone()).await).await;
        }
    }

    /// Reads everything there is to read.
    async fn compare(&self, now: Timestamp) {
        assert_eq!(self.ask(async |store| store.violations().await).await, vec![]);
        let all = JobFilter::newest(1_000);
        for waiting in self.ask(async |store| store.jobs(all).await).await {
            let id = waiting.job.id;
            self.ask(async |store| store.runs_of(id).await).await;
            self.ask(async |store| store.late_outcomes_of(id).await).await;
            self.ask(async |store| store.payload(id).await).await;
        }
        self.ask(async |store| store.overview(now).await).await;
        self.ask(async |store| store.next_due_at(now).await).await;
        self.ask(async |store| store.live_runs().await).await;
        self.ask(async |store| store.live_jobs().await).await;
    }
}

async fn play(steps: Vec<Step>) {
    let (_place, kept) = fresh().await;
    let both = Both { kept, memory: Disk::default().open("scheduler") };
    let mut seen = Vec::new();
    for n in 0..4 {
        let new = job(&format!("A-{}", n % 2));
        let id = both.ask(async |store| store.enqueue(new.clone(), later(0)).await).await.job;
        seen.push(both.job(id).await);
    }
    for (tick, step) in steps.into_iter().enumerate() {
        // The clock steps back now and then.
        let now = later((tick as u64 * 25_000).saturating_sub(u64::from(step.0) * 200));
        both.step(step, &mut seen, now).await;
        both.compare(now).await;
    }
    both.kept.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_invariant_breaks_and_both_stores_say_the_same(steps in prop::collection::vec(any::<Step>(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
