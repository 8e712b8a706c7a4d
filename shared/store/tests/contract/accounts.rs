//! Accounts: holds, breakers and quota windows move with the runs that end, and claims obey them.

use std::sync::Arc;
use std::time::Duration;

use domain::account::{AccountRecord, Hold, HoldReason};
use domain::admission::WaitReason;
use domain::alert::{Alert, Notice};
use domain::breaker::{Breaker, BreakerTerms, Opening};
use domain::delivery::NewJob;
use domain::outbox::{Sink, Take};
use domain::outcome::RateLimit;
use domain::transition::{Conclusion, Event, LostHow};
use domain::{Account, Chance, Class, PermanentReason, Policy, RunId, Status, Timestamp, TransientReason};
use store::{Applied, Change, JobFilter, Start, Store};

use super::values::{
    T0, change, claim, ended, failure, fleet, job, later, one_running, outcome, read, request,
};

const TERMS: BreakerTerms = BreakerTerms { threshold: 5, pause: Duration::from_mins(5) };

pub(crate) fn account() -> Account {
    Account("default".into())
}

pub(crate) fn overloaded() -> Class {
    Class::Transient { reason: TransientReason::Overloaded, retry_at: None }
}

async fn record(store: &Arc<dyn Store>) -> AccountRecord {
    let found = store.accounts().await.unwrap().into_iter().find(|record| record.account == account());
    found.unwrap()
}

/// Ends a run, by a policy under which no budget is ever spent.
pub(crate) async fn end(store: &Arc<dyn Store>, start: &Start, event: &Event, now: Timestamp) {
    let policy =
        Policy { transient_attempts_max: u32::MAX, infra_attempts_max: u32::MAX, ..Policy::default() };
    let job = read(store, start.job.id).await;
    let transition = domain::next(&job, event, now, &policy, Chance::new(0.9)).unwrap();
    let change = Change::new(transition, now);
    assert_eq!(store.apply(change).await.unwrap(), Applied::Done);
}

/// Opens the breaker with as many runs as it takes; gives when it is half open.
pub(crate) async fn open(store: &Arc<dyn Store>, now: Timestamp) -> Timestamp {
    open_by(store, now, |_| overloaded()).await
}

/// The same, with the verdict of each run.
async fn open_by(store: &Arc<dyn Store>, now: Timestamp, class: impl Fn(u64) -> Class) -> Timestamp {
    let jobs = (0..TERMS.threshold).map(|n| job(&format!("OPEN-{n}")));
    for new in jobs {
        store.enqueue(new, T0).await.unwrap();
    }
    let starts = claim(store, now, fleet(50), TERMS.threshold as usize).await.starts;
    assert_eq!(starts.len(), TERMS.threshold as usize);
    for (n, start) in (0_u64..).zip(&starts) {
        end(store, start, &ended(start.run.id, class(n)), now).await;
    }
    record(store).await.breaker.open_until.unwrap()
}

async fn shown(store: &Arc<dyn Store>, start: &Start) -> (Option<WaitReason>, Option<Timestamp>) {
    let filter = JobFilter { status: Some(Status::Queued), ..JobFilter::newest(1_000) };
    let waiting = store.jobs(filter).await.unwrap().into_iter().find(|found| found.job.id == start.job.id);
    let waiting = waiting.and_then(|found| found.waiting);
    (waiting.as_ref().map(|waiting| waiting.reason.clone()), waiting.and_then(|waiting| waiting.until))
}

/// The account of runners that name none is known before any runner is.
pub(crate) async fn the_default_account_is_there_from_the_start(store: Arc<dyn Store>) {
    assert_eq!(store.accounts().await.unwrap(), [AccountRecord::new(account())]);
    assert_eq!(store.overview(T0).await.unwrap().accounts, [AccountRecord::new(account())]);
}

/// Nothing starts while it is open, one probe when it is half open, everything once it is closed; nothing is spent on it.
pub(crate) async fn a_breaker_opens_lets_one_probe_through_and_closes(store: Arc<dyn Store>) {
    let half_open = open(&store, later(10)).await;
    assert_eq!(half_open, later(10).plus(TERMS.pause));
    let opened = Breaker { consecutive_transient: 5, opening: Opening(1), open_until: Some(half_open) };
    assert_eq!(record(&store).await.breaker, opened);
    store.enqueue(job("DUE"), T0).await.unwrap();
    let just_before = Timestamp::from_ms(half_open.as_ms() - 1);
    let refused = claim(&store, just_before, fleet(50), 50).await;
    assert!(refused.starts.is_empty());
    let reason = WaitReason::BreakerOpen { account: account() };
    assert!(
        refused.waits.iter().all(|(_, waiting)| waiting.reason == reason && waiting.until == Some(half_open))
    );
    assert_eq!(refused.accounts_change_at, Some(half_open));

    let starts = claim(&store, half_open, fleet(50), 50).await.starts;
    let [probe] = starts.as_slice() else { panic!("{starts:?}") };
    assert_eq!((probe.run.opening, probe.run.probe), (Opening(1), true));
    assert_eq!(store.run(probe.run.id).await.unwrap(), Some(probe.run.clone()));
    let others = claim(&store, half_open, fleet(50), 50).await;
    assert!(others.starts.is_empty());
    assert!(
        others.waits.iter().all(|(_, waiting)| waiting.reason == WaitReason::Probe { account: account() })
    );

    end(&store, probe, &ended(probe.run.id, failure(PermanentReason::AgentFailure)), half_open).await;
    let closed = Breaker { opening: Opening(1), ..Breaker::default() };
    assert_eq!(record(&store).await.breaker, closed);
    let rest = claim(&store, half_open.plus(Duration::from_hours(1)), fleet(50), 50).await.starts;
    assert_eq!(rest.len(), 6, "all of them");
    assert!(rest.iter().all(|start| !start.run.probe && start.run.opening == Opening(1)));
}

/// However a probe goes without a word of the provider, its place is free at once and the breaker stays half open.
pub(crate) async fn a_probe_that_vanishes_frees_its_place(store: Arc<dyn Store>) {
    let half_open = open(&store, later(10)).await;
    let before = record(&store).await.breaker;
    let ends = [
        |run: RunId| Event::Withdrawn { run, why: "no_capacity" },
        |run| Event::Ended { run, conclusion: Conclusion::Drained },
        |run| Event::Ended { run, conclusion: Conclusion::Cancelled },
        |run| Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } },
        |run| ended(run, failure(PermanentReason::Crash)),
    ];
    for (tick, event) in (0_u64..).zip(ends) {
        let now = half_open.plus(Duration::from_millis(tick));
        let starts = claim(&store, now, fleet(50), 50).await.starts;
        assert_eq!(starts.len(), 1, "after {tick}");
        end(&store, &starts[0], &event(starts[0].run.id), now).await;
        assert_eq!(record(&store).await.breaker, before, "after {tick}");
    }
}

/// When no job is due, the probe is the earliest of those that a limit put off; one that its maker put off is none.
pub(crate) async fn the_earliest_put_off_job_is_the_probe(store: Arc<dyn Store>) {
    let half_open = later(10).plus(TERMS.pause);
    let own = NewJob { available_at: half_open.plus(Duration::from_millis(1)), ..job("OWN") };
    store.enqueue(own, T0).await.unwrap();
    let opened = open_by(&store, later(10), |n| {
        let retry_at = Some(half_open.plus(Duration::from_secs(60 - n)));
        Class::Transient { reason: TransientReason::RateLimit, retry_at }
    });
    assert_eq!(opened.await, half_open);
    let starts = claim(&store, half_open, fleet(50), 50).await.starts;
    let [probe] = starts.as_slice() else { panic!("{starts:?}") };
    assert_eq!(probe.job.work_item, "OPEN-4", "the one that would have been due first");
    assert_eq!(probe.job.budgets.transient_attempts, 1);
    end(&store, probe, &ended(probe.run.id, Class::Success), half_open).await;
    assert!(claim(&store, half_open, fleet(50), 50).await.starts.is_empty(), "the others keep their time");
}

/// The end of a run that was claimed before the opening says nothing of it: not a success, not another failure.
pub(crate) async fn runs_of_before_an_opening_never_move_it(store: Arc<dyn Store>) {
    let long = one_running(&store).await;
    let longer = {
        store.enqueue(job("SHOP-2"), T0).await.unwrap();
        claim(&store, T0, fleet(50), 1).await.starts.remove(0)
    };
    let half_open = open(&store, later(10)).await;
    let opened = record(&store).await.breaker;
    for (start, class, now) in [(&long, Class::Success, later(20)), (&longer, overloaded(), half_open)] {
        end(&store, start, &ended(start.run.id, class), now).await;
        assert_eq!(record(&store).await.breaker, opened);
    }
}

/// A person closes a breaker; of an account nobody knows there is none.
pub(crate) async fn an_operator_resets_a_breaker(store: Arc<dyn Store>) {
    open(&store, later(10)).await;
    assert!(store.reset_breaker(account(), later(20)).await.unwrap());
    assert_eq!(record(&store).await.breaker, Breaker { opening: Opening(1), ..Breaker::default() });
    store.enqueue(job("DUE"), T0).await.unwrap();
    assert_eq!(claim(&store, later(30), fleet(50), 50).await.starts.len(), 1);
    assert!(!store.reset_breaker(Account("nobody".into()), later(20)).await.unwrap());
}

/// One alert when it opens, one when it closes, however often a probe fails in between; a hold is told once too.
pub(crate) async fn people_are_told_once_of_each_turn(store: Arc<dyn Store>) {
    let mut half_open = open(&store, later(10)).await;
    for _ in 0..3 {
        let probe = claim(&store, half_open, fleet(50), 50).await.starts.remove(0);
        end(&store, &probe, &ended(probe.run.id, overloaded()), half_open).await;
        half_open = record(&store).await.breaker.open_until.unwrap();
    }
    let probe = claim(&store, half_open, fleet(50), 50).await.starts.remove(0);
    end(&store, &probe, &ended(probe.run.id, Class::Success), half_open).await;
    let at = half_open.plus(Duration::from_hours(1));
    for start in claim(&store, at, fleet(50), 2).await.starts {
        end(&store, &start, &ended(start.run.id, failure(PermanentReason::Auth)), at).await;
    }
    assert!(store.resume_account(account(), at).await.unwrap());
    let take = Take { sink: Sink::Unrouted, now: at, leased_until: at, limit: 100 };
    let told: Vec<Alert> = store
        .take_messages(take)
        .await
        .unwrap()
        .iter()
        .map(|message| serde_json::from_str::<Notice>(&message.payload).unwrap().alert)
        .collect();
    let opened = Alert::BreakerOpened {
        account: account(),
        consecutive: 5,
        reason: "overloaded".into(),
        until: later(10).plus(TERMS.pause),
    };
    let held = Alert::AccountHeld { account: account(), reason: "auth".into(), until: None };
    let (closed, resumed) =
        (Alert::BreakerClosed { account: account() }, Alert::AccountResumed { account: account() });
    assert_eq!(told, [opened, closed, held, resumed]);
}

/// Windows that runs see are kept, healthy ones too; a rejected one holds the account until it resets, and starts are
/// spread then.
pub(crate) async fn windows_are_kept_and_a_rejected_one_holds(store: Arc<dyn Store>) {
    let window = |name: &str, status: &str, utilization, resets_ms| RateLimit {
        window: name.into(),
        status: status.into(),
        utilization,
        resets_at: Some(later(resets_ms)),
    };
    for n in 0..6 {
        store.enqueue(job(&format!("A-{n}")), T0).await.unwrap();
    }
    let starts = claim(&store, T0, fleet(50), 2).await.starts;
    let finish = async |start: &Start, class: Class, seen: Vec<RateLimit>| {
        let mut outcome = outcome();
        outcome.report.rate_limits = seen;
        let done = Change {
            outcome: Some(outcome),
            ..change(&read(&store, start.job.id).await, &ended(start.run.id, class), later(100))
        };
        assert_eq!(store.apply(done).await.unwrap(), Applied::Done);
    };
    let healthy = window("five_hour", "allowed", Some(0.71), 60_000);
    finish(&starts[0], Class::Success, vec![healthy.clone()]).await;
    assert_eq!((record(&store).await.windows, record(&store).await.hold), (vec![healthy.clone()], None));

    let spent = window("seven_day", "rejected", None, 40_000);
    finish(&starts[1], failure(PermanentReason::AgentFailure), vec![spent.clone()]).await;
    let expected = AccountRecord {
        hold: Some(Hold { reason: HoldReason::UsageLimit, until: Some(later(40_000)) }),
        windows: vec![healthy, spent],
        ..AccountRecord::new(account())
    };
    assert_eq!(record(&store).await, expected, "its breaker's count is untouched");
    let held = claim(&store, later(39_999), fleet(50), 50).await;
    assert_eq!((held.starts.len(), held.accounts_change_at), (0, Some(later(40_000))));
    for step in 0..2 {
        let resumed = claim(&store, later(40_000 + 250 * step), fleet(50), 50).await;
        assert_eq!((resumed.starts.len(), resumed.accounts_change_at), (1, Some(later(40_250 + 250 * step))));
    }
    assert_eq!(claim(&store, later(43_000), fleet(50), 50).await.starts.len(), 3, "as ever");
}

/// Also a job that no claim looked at says what all of them wait for, and until when.
pub(crate) async fn every_due_job_says_what_the_fleet_waits_for(store: Arc<dyn Store>) {
    let half_open = open(&store, later(10)).await;
    for n in 0..100 {
        store.enqueue(job(&format!("A-{n}")), later(20)).await.unwrap();
    }
    assert!(claim(&store, later(30), fleet(50), 50).await.starts.is_empty());
    let filter = JobFilter { status: Some(Status::Queued), ..JobFilter::newest(100) };
    let reason = WaitReason::BreakerOpen { account: account() };
    for found in store.jobs(filter).await.unwrap() {
        let waiting = found.waiting.unwrap();
        assert_eq!((waiting.reason, waiting.until), (reason.clone(), Some(half_open)));
    }
    store.reset_breaker(account(), later(40)).await.unwrap();
    let starts = claim(&store, later(40), fleet(50), 1).await.starts;
    assert_eq!(shown(&store, &starts[0]).await, (None, None));
    let last = store.jobs(filter).await.unwrap().remove(0);
    assert_eq!(last.waiting.unwrap().reason, WaitReason::NotLooked);
}

/// Of many claimers at once, over all the `stores` of one database, one gets the probe, round after round.
pub(crate) async fn one_probe_of_many_claimers(stores: &[Arc<dyn Store>], claimers: usize, rounds: usize) {
    let store = &stores[0];
    let mut now = open(store, T0).await;
    let ends = [
        |run: RunId| ended(run, overloaded()),
        |run| Event::Withdrawn { run, why: "no_capacity" },
        |run| Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } },
        |run| Event::Ended { run, conclusion: Conclusion::Drained },
    ];
    for round in 0..rounds {
        let claims = (0..claimers).map(|claimer| {
            let store = &stores[claimer % stores.len()];
            async move { store.claim(request(now, fleet(50), 8)).await.unwrap().starts }
        });
        let starts: Vec<Start> = futures::future::join_all(claims).await.into_iter().flatten().collect();
        let [probe] = starts.as_slice() else { panic!("round {round}: {starts:?}") };
        assert!(probe.run.probe, "round {round}");
        end(store, probe, &ends[round % ends.len()](probe.run.id), now).await;
        let breaker = record(store).await.breaker;
        now = breaker.open_until.unwrap().max(now);
    }
}

/// Half open under eight concurrent claimers: exactly one probe.
pub(crate) async fn a_half_open_breaker_admits_one_probe(store: Arc<dyn Store>) {
    one_probe_of_many_claimers(&[store], 8, 40).await;
}
