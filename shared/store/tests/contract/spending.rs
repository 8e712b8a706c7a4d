//! Purses: what runs use is added once, set aside at the claim, and ends what is spent.

#![expect(clippy::large_types_passed_by_value, reason = "limits are written where they are used")]

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::admission::{Facts, WaitReason};
use domain::budget::reserve::Books;
use domain::budget::{Amount, Budget, Exceeded, Limit, Purse, Scope, Terms, USD_MICROS, Unit, day_of};
use domain::outcome::RateLimit;
use domain::run::RunUsage;
use domain::transition::{Conclusion, Event, LostHow};
use domain::work_item::{ItemChange, ItemState, WorkItem};
use domain::{Class, Job, Status, Timestamp};
use store::{Audit, Change, ItemFilter, Start, Store, UsageNote};

use super::values::{T0, change, claim, ended, fleet, happen, job, later, one_running, outcome, read};

fn dollars(usd: i64) -> Limit {
    Limit { usd_micros: Some(usd * USD_MICROS), ..Limit::default() }
}

/// The fleet, with these limits for its project.
fn limited(slots: u32, now: Timestamp, budget: Budget) -> Facts {
    let terms = Terms { day: Limit::default(), projects: BTreeMap::from([("shop".to_owned(), budget)]) };
    Facts { books: Books::new(terms, now), ..fleet(slots) }
}

fn usage(usd: f64, tokens: u64) -> RunUsage {
    RunUsage {
        cost_usd: Some(usd),
        turns: Some(1),
        input_tokens: Some(tokens),
        output_tokens: Some(0),
        ..RunUsage::default()
    }
}

async fn note(store: &Arc<dyn Store>, start: &Start, usage: RunUsage, now: Timestamp) {
    let note = UsageNote { run: start.run.id, usage, windows: Vec::new() };
    store.note_usage(vec![note], now).await.unwrap();
}

async fn spent(store: &Arc<dyn Store>, job: &Job, scope: Scope, now: Timestamp) -> (i64, i64, i64) {
    let purse = job.payer().purse(scope, &day_of(now));
    let kept = store.spendings(vec![purse.clone()]).await.unwrap();
    let amount = kept.get(&purse).copied().unwrap_or_default().spent;
    (amount.usd_micros, amount.tokens, amount.runs)
}

/// Reported twice, then settled by the outcome: every purse has the last word once; a day has what was used on it.
pub(crate) async fn what_a_run_uses_is_added_once_to_every_purse(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let (job, run) = (read(&store, start.job.id).await, start.run.id);
    assert_eq!(happen(&store, job.id, &Event::Confirmed { run }, later(10)).await, store::Applied::Done);
    note(&store, &start, usage(0.5, 100), later(20)).await;
    note(&store, &start, usage(1.5, 300), later(30)).await;
    for scope in Scope::ALL {
        assert_eq!(spent(&store, &job, scope, later(30)).await, (1_500_000, 300, 1), "{scope:?}");
    }
    let row = store.run(run).await.unwrap().unwrap();
    assert_eq!(
        (row.usage.cost_usd, row.usage.input_tokens, row.usage.session_id),
        (Some(1.5), Some(300), None)
    );

    // The outcome says less than the estimate did, and comes on the next day.
    let tomorrow = later(24 * 3600 * 1000);
    let done = Change {
        outcome: Some(outcome()),
        ..change(&read(&store, job.id).await, &ended(run, Class::Success), tomorrow)
    };
    assert_eq!(store.apply(done).await.unwrap(), store::Applied::Done);
    let tokens = 1_540;
    for scope in [Scope::Job, Scope::Item, Scope::Chain, Scope::Project] {
        assert_eq!(spent(&store, &job, scope, tomorrow).await, (250_000, tokens, 1), "{scope:?}");
    }
    assert_eq!(spent(&store, &job, Scope::Day, later(30)).await, (1_500_000, 300, 1));
    assert_eq!(spent(&store, &job, Scope::Day, tomorrow).await, (-1_250_000, tokens - 300, 0));
    // A report that comes after the end changes nothing.
    note(&store, &start, usage(9.0, 9_000), tomorrow).await;
    assert_eq!(spent(&store, &job, Scope::Job, tomorrow).await, (250_000, tokens, 1));
}

/// A run that is lost with its node has spent what it reported.
pub(crate) async fn a_lost_run_keeps_what_it_reported(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let run = start.run.id;
    assert_eq!(
        happen(&store, start.job.id, &Event::Confirmed { run }, later(10)).await,
        store::Applied::Done
    );
    note(&store, &start, usage(2.0, 70), later(20)).await;
    let lost = Event::Ended { run, conclusion: Conclusion::Lost { how: LostHow::LeaseExpired } };
    assert_eq!(happen(&store, start.job.id, &lost, later(30)).await, store::Applied::Done);
    assert_eq!(spent(&store, &start.job, Scope::Job, later(30)).await, (2_000_000, 70, 1));
    assert_eq!(store.run(run).await.unwrap().unwrap().usage.cost_usd, Some(2.0));
}

/// The windows that a run names while it runs are its account's at once.
pub(crate) async fn windows_are_kept_while_a_run_lives(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let window = RateLimit {
        window: "five_hour".into(),
        status: "allowed".into(),
        utilization: Some(0.71),
        resets_at: Some(later(9_000_000)),
    };
    let note = UsageNote { run: start.run.id, usage: usage(0.1, 1), windows: vec![window.clone()] };
    store.note_usage(vec![note], later(5)).await.unwrap();
    assert_eq!(store.accounts().await.unwrap()[0].windows, [window]);
}

/// Ten jobs, a budget for two and a half estimates: two start at once, a third with the rest once they have ended.
pub(crate) async fn runs_side_by_side_do_not_overshoot_together(store: Arc<dyn Store>) {
    for n in 0..10 {
        store.enqueue(job(&format!("SHOP-{n}")), T0).await.unwrap();
    }
    let budget = Budget { project: dollars(5), run: dollars(2), ..Budget::default() };
    let started = claim(&store, T0, limited(10, T0, budget), 10).await;
    let aside: Vec<i64> = started.starts.iter().map(|start| start.run.aside.usd_micros).collect();
    assert_eq!(aside, [2_000_000, 2_000_000], "1 USD is left, but two runs live on the budget");
    assert!(
        started.waits.iter().all(|(_, waiting)| matches!(waiting.reason, WaitReason::BudgetReserved { .. })),
        "{:?}",
        started.waits
    );
    assert!(claim(&store, later(1), limited(10, later(1), budget), 10).await.starts.is_empty());
    for start in &started.starts {
        let run = start.run.id;
        assert_eq!(
            happen(&store, start.job.id, &Event::Confirmed { run }, later(10)).await,
            store::Applied::Done
        );
        let mut done = change(&read(&store, start.job.id).await, &ended(run, Class::Success), later(20));
        let mut outcome = outcome();
        outcome.report.usage = usage(1.9, 10);
        done.outcome = Some(outcome);
        assert_eq!(store.apply(done).await.unwrap(), store::Applied::Done);
    }
    let rest = claim(&store, later(30), limited(10, later(30), budget), 10).await;
    let aside: Vec<i64> = rest.starts.iter().map(|start| start.run.aside.usd_micros).collect();
    assert_eq!(aside, [1_200_000], "the rest is given to one");
}

/// A spent budget starts nothing and says which; a day's says until when; a person gives more.
pub(crate) async fn a_spent_budget_starts_nothing_until_it_is_raised(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    note(&store, &start, usage(5.0, 10), later(5)).await;
    let next = store.enqueue(job("SHOP-2"), later(6)).await.unwrap().job;
    let day = Budget { day: dollars(5), ..Budget::default() };
    let waits = claim(&store, later(10), limited(4, later(10), day), 4).await.waits;
    let [(waiting_job, waiting)] = waits.as_slice() else { panic!("one waits: {waits:?}") };
    assert_eq!(*waiting_job, next);
    assert!(matches!(&waiting.reason, WaitReason::BudgetSpent { exceeded } if exceeded.spent == 5_000_000));
    assert_eq!(waiting.until, Some(domain::budget::day_ends(T0)));
    let tomorrow = domain::budget::day_ends(T0);
    let project = Budget { project: dollars(5), ..day };
    let waits = claim(&store, tomorrow, limited(4, tomorrow, project), 4).await.waits;
    assert!(waits.iter().all(|(_, waiting)| waiting.until.is_none()) && waits.len() == 1, "{waits:?}");

    let purse = Purse { scope: Scope::Project, key: "shop".into() };
    let audit = Audit { at: tomorrow, actor: "ada".into(), verb: "raise", note: None, posts: Vec::new() };
    let more = Amount { usd_micros: 3 * USD_MICROS, ..Amount::default() };
    store.raise_budget(purse.clone(), more, audit).await.unwrap();
    let started = claim(&store, tomorrow, limited(4, tomorrow, project), 4).await.starts;
    assert_eq!(started.iter().map(|start| start.job.id).collect::<Vec<_>>(), [next]);
    assert_eq!(started[0].run.aside.usd_micros, USD_MICROS, "the estimate, out of what was given");
    assert_eq!(store.spendings(vec![purse.clone()]).await.unwrap()[&purse].raised, more);
}

/// A chain's runs are counted at their start, over all its items' jobs, and a queued job of a spent one ends.
pub(crate) async fn a_chain_of_causes_runs_out(store: Arc<dyn Store>) {
    let chain = Budget { chain: Limit { runs: Some(2), ..Limit::default() }, ..Budget::default() };
    let jobs: Vec<_> = (0..3).map(|n| job(&format!("SHOP-{n}"))).collect();
    let delivered = domain::delivery::NewDelivery {
        jobs: jobs
            .into_iter()
            .map(|job| domain::delivery::NewJob {
                origin: domain::job::Origin { delivery: Some("gitea:d1".into()), ..job.origin.clone() },
                ..job
            })
            .collect(),
        ..super::values::delivery("d1", 'a', Vec::new())
    };
    store.accept(delivered).await.unwrap();
    let first = claim(&store, T0, limited(1, T0, chain), 1).await.starts.remove(0);
    assert_eq!(first.job.origin.chain, "gitea:d1");
    let run = first.run.id;
    assert_eq!(happen(&store, first.job.id, &Event::Confirmed { run }, later(5)).await, store::Applied::Done);
    let second = claim(&store, later(6), limited(2, later(6), chain), 2).await;
    assert_eq!(second.starts.len(), 1, "one run is left");
    let run = second.starts[0].run.id;
    assert_eq!(
        happen(&store, second.starts[0].job.id, &Event::Confirmed { run }, later(7)).await,
        store::Applied::Done
    );
    let third = claim(&store, later(8), limited(3, later(8), chain), 3).await;
    let [(id, waiting)] = third.waits.as_slice() else { panic!("one waits: {:?}", third.waits) };
    let WaitReason::BudgetSpent { exceeded } = &waiting.reason else { panic!("{waiting:?}") };
    assert_eq!((exceeded.unit, exceeded.spent, exceeded.limit), (Unit::Runs, 2, 2));
    assert_eq!(
        happen(&store, *id, &Event::BudgetSpent(exceeded.clone()), later(9)).await,
        store::Applied::Done
    );
    let failed = read(&store, *id).await;
    assert_eq!((failed.state.status(), failed.budgets.attempts), (Status::Failed, 0));
}

/// The order to stop a run is kept once, and not of a run that is over.
pub(crate) async fn a_stop_is_ordered_once(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    let purse = Purse { scope: Scope::Job, key: start.job.id.to_string() };
    let exceeded = Exceeded { purse, unit: Unit::Usd, spent: 6, limit: 5 };
    assert!(store.order_stop(start.run.id, exceeded.clone()).await.unwrap());
    let other = Exceeded { spent: 7, ..exceeded.clone() };
    assert!(!store.order_stop(start.run.id, other.clone()).await.unwrap());
    assert_eq!(store.run(start.run.id).await.unwrap().unwrap().stop, Some(exceeded.clone()));
    assert_eq!(store.spenders().await.unwrap()[0].stop, Some(exceeded.clone()));
    let over = Event::Ended { run: start.run.id, conclusion: Conclusion::OverBudget { exceeded } };
    assert_eq!(happen(&store, start.job.id, &over, later(9)).await, store::Applied::Done);
    let run = store.run(start.run.id).await.unwrap().unwrap();
    assert_eq!((run.class.as_deref(), run.reason.as_deref()), (Some("permanent"), Some("budget")));
    assert!(!store.order_stop(start.run.id, other).await.unwrap());
    assert_eq!(store.spenders().await.unwrap(), []);
}

/// What an item spent until it passed is told from what it spent since.
pub(crate) async fn a_pass_begins_the_count_anew(store: Arc<dyn Store>) {
    let start = one_running(&store).await;
    note(&store, &start, usage(1.0, 10), later(5)).await;
    let filter = ItemFilter { key: Some("SHOP-1".into()), limit: 1, ..ItemFilter::default() };
    let item = store.work_items(filter).await.unwrap().remove(0);
    let after = WorkItem { state: ItemState::Done, ..item.clone() };
    let passed = ItemChange { passed: true, ..ItemChange::new(&item, after) };
    let audit = Audit { at: later(6), actor: "ada".into(), verb: "approve", note: None, posts: Vec::new() };
    assert_eq!(store.decide(passed, audit).await.unwrap(), store::Applied::Done);
    note(&store, &start, usage(1.25, 15), later(7)).await;
    let kept = store.spendings(vec![item.purse()]).await.unwrap()[&item.purse()];
    let since = kept.spent.minus(kept.at_last_pass);
    assert_eq!((kept.spent.usd_micros, since.usd_micros, since.tokens), (1_250_000, 250_000, 5));
}
