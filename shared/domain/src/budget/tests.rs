#![expect(clippy::large_types_passed_by_value, reason = "limits are written where they are used")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::reserve::{Books, ESTIMATE};
use super::stop::{Running, purses, stops};
use super::*;
use crate::RunId;
use crate::admission::WaitReason;

const NOON: Timestamp = Timestamp::from_ms(1_795_348_800_000);

fn dollars(usd: i64) -> Limit {
    Limit { usd_micros: Some(usd * USD_MICROS), ..Limit::default() }
}

fn spent(usd: i64) -> Spending {
    Spending { spent: Amount { usd_micros: usd * USD_MICROS, ..Amount::default() }, ..Spending::default() }
}

fn payer(job: i64) -> Payer<'static> {
    Payer { job: JobId(job), project: "shop", work_item: "SHOP-1", chain: "plane:1" }
}

fn terms(budget: Budget) -> Terms {
    Terms { day: Limit::default(), projects: BTreeMap::from([("shop".to_owned(), budget)]) }
}

fn books(budget: Budget, spendings: &[(Scope, Spending)]) -> Books {
    let mut books = Books::new(terms(budget), NOON);
    let day = day_of(NOON);
    books.spendings = spendings.iter().map(|(scope, kept)| (payer(7).purse(*scope, &day), *kept)).collect();
    books
}

fn refusal(books: &Books) -> (String, Option<String>) {
    let waiting = books.check(payer(7)).expect_err("the budget is spent");
    (waiting.reason.to_string(), waiting.until.map(|at| at.to_string()))
}

#[test]
fn a_purse_is_named_by_what_it_counts() {
    let names: Vec<String> =
        Scope::ALL.iter().map(|scope| payer(7).purse(*scope, "2026-11-22").key).collect();
    assert_eq!(names, ["7", "shop/SHOP-1", "plane:1", "shop", "2026-11-22/shop", "2026-11-22"]);
    assert_eq!(
        (day_of(NOON).as_str(), day_ends(NOON).to_string().as_str()),
        ("2026-11-22", "2026-11-23T00:00:00.000Z")
    );
    assert_eq!(day_ends(day_ends(NOON)).since(day_ends(NOON)).as_secs(), 24 * 3600);
}

#[test]
fn a_project_overrides_what_all_have_field_by_field() {
    let all = Budget { job: dollars(2), item: dollars(20), day: dollars(100), ..Budget::default() };
    let own = Budget { item: Limit { tokens: Some(5), ..Limit::default() }, ..Budget::default() };
    let both = own.of_project(all);
    assert_eq!(
        (both.job, both.item),
        (dollars(2), Limit { usd_micros: Some(20 * USD_MICROS), tokens: Some(5), runs: None })
    );
    assert_eq!(
        (both.day, both.chain.runs),
        (Limit::default(), Some(CHAIN_RUNS_MAX)),
        "a day of all is not a project's"
    );
}

#[test]
fn what_is_spent_is_refused_with_what_to_do_and_a_day_says_until_when() {
    let item = books(Budget { item: dollars(5), ..Budget::default() }, &[(Scope::Item, spent(6))]);
    assert_eq!(
        refusal(&item),
        (
            "the budget of work item shop/SHOP-1 is spent: 6.00 USD of 5.00 USD: raise it with `orch budget raise item \
             'shop/SHOP-1' --usd 5.00` or in orch.toml"
                .to_owned(),
            None
        )
    );
    let day = books(Budget { day: dollars(5), ..Budget::default() }, &[(Scope::ProjectDay, spent(5))]);
    let (reason, until) = refusal(&day);
    assert!(
        reason.starts_with("the budget of 2026-11-22/shop for the day is spent: 5.00 USD of 5.00 USD"),
        "{reason}"
    );
    assert_eq!(until.as_deref(), Some("2026-11-23T00:00:00.000Z"));
    let raised = Amount { usd_micros: 1, ..Amount::default() };
    let kept = Spending { raised, ..spent(5) };
    let more = books(Budget { item: dollars(5), ..Budget::default() }, &[(Scope::Item, kept)]);
    assert_eq!(more.check(payer(7)).map(|aside| aside.usd_micros), Ok(1), "what a person gave is left");
}

#[test]
fn a_chain_ends_at_its_runs() {
    let runs = |runs| Spending { spent: Amount { runs, ..Amount::default() }, ..Spending::default() };
    let chain = Budget { chain: Limit { runs: Some(3), ..Limit::default() }, ..Budget::default() };
    let mut open = books(chain, &[(Scope::Chain, runs(2))]);
    assert_eq!(open.check(payer(7)), Ok(Amount { runs: 1, ..Amount::default() }));
    open.hold(payer(8), Amount { runs: 1, ..Amount::default() });
    assert!(matches!(open.check(payer(7)).unwrap_err().reason, WaitReason::BudgetReserved { .. }));
    assert!(
        refusal(&books(chain, &[(Scope::Chain, runs(3))]))
            .0
            .contains("which looks like a loop: 3 runs of 3 runs")
    );
}

#[test]
fn what_is_set_aside_is_a_runs_own_else_its_jobs_else_an_estimate_else_the_rest() {
    let aside =
        |budget: Budget, kept: &[(Scope, Spending)]| books(budget, kept).check(payer(7)).unwrap().usd_micros;
    let day = Budget { day: dollars(50), ..Budget::default() };
    assert_eq!(aside(day, &[]), ESTIMATE.usd_micros);
    assert_eq!(aside(Budget { job: dollars(4), ..day }, &[]), 4 * USD_MICROS);
    assert_eq!(aside(Budget { job: dollars(4), ..day }, &[(Scope::Job, spent(3))]), USD_MICROS);
    assert_eq!(aside(Budget { run: dollars(3), ..day }, &[]), 3 * USD_MICROS);
    assert_eq!(aside(Budget { run: dollars(3), ..day }, &[(Scope::ProjectDay, spent(48))]), 2 * USD_MICROS);
    assert_eq!(aside(Budget::default(), &[]), 0, "where nothing is limited, nothing is set aside");
}

fn live(run: u128, job: i64, aside_usd: i64, used_usd: i64) -> Running<'static> {
    let amount = |usd: i64| Amount { usd_micros: usd * USD_MICROS, ..Amount::default() };
    Running {
        run: RunId(Uuid::from_u128(run)),
        payer: payer(job),
        aside: amount(aside_usd),
        used: amount(used_usd),
    }
}

#[test]
fn whoever_goes_beyond_is_stopped_and_not_its_neighbour() {
    let terms = terms(Budget { day: dollars(10), ..Budget::default() });
    let stopped = |runs: &[Running<'_>], total: i64| {
        let kept = purses(&terms, runs, NOON).into_iter().map(|purse| (purse, spent(total))).collect();
        let stops = stops(&terms, runs, &kept, NOON);
        stops.into_iter().map(|(run, _)| run.0.as_u128()).collect::<Vec<_>>()
    };
    // 4 aside each; the first one used 5 while 1 is free.
    assert_eq!(stopped(&[live(1, 7, 4, 5), live(2, 8, 4, 1)], 6), [0_u128; 0]);
    assert_eq!(stopped(&[live(1, 7, 4, 7), live(2, 8, 4, 1)], 8), [1], "what is left is the other's");
    assert_eq!(stopped(&[live(1, 7, 4, 7), live(2, 8, 4, 3)], 10), [1, 2], "nothing is left");
}

proptest! {
    /// However many runs are claimed side by side, and whatever each uses up to what was set aside for it, together they
    /// stay within the budget.
    #[test]
    fn runs_that_keep_to_what_was_set_aside_never_overshoot_together(
        limit in 1_i64..20, before in 0_i64..25, run in proptest::option::of(1_i64..8), claims in 1_usize..12,
    ) {
        let budget = Budget { day: dollars(limit), run: run.map(dollars).unwrap_or_default(), ..Budget::default() };
        let mut books = books(budget, &[(Scope::ProjectDay, spent(before))]);
        let mut aside = 0;
        for job in 0..claims {
            let Ok(amount) = books.check(payer(i64::try_from(job).unwrap())) else { break };
            prop_assert!(amount.usd_micros > 0);
            aside += amount.usd_micros;
            books.hold(payer(i64::try_from(job).unwrap()), amount);
        }
        prop_assert!(aside == 0 || before * USD_MICROS + aside <= limit * USD_MICROS);
        prop_assert_eq!(aside > 0, before < limit, "what is left can be used");
    }

    /// A run that has not used what was set aside for it is stopped only when nothing at all is left.
    #[test]
    fn a_modest_run_is_stopped_last(
        limit in 1_i64..20, used in proptest::collection::vec((0_i64..9, 0_i64..9), 1..6),
    ) {
        let terms = terms(Budget { day: dollars(limit), ..Budget::default() });
        let runs: Vec<Running<'_>> =
            used.iter().zip(1..).map(|((aside, used), id)| live(id, i64::try_from(id).unwrap(), *aside, *used)).collect();
        let total = used.iter().map(|(_, used)| used).sum();
        let kept = BTreeMap::from([(payer(1).purse(Scope::ProjectDay, &day_of(NOON)), spent(total))]);
        for (run, exceeded) in stops(&terms, &runs, &kept, NOON) {
            let (aside, used) = used[usize::try_from(run.0.as_u128()).unwrap() - 1];
            prop_assert!(used > aside || total >= limit);
            prop_assert_eq!((exceeded.spent, exceeded.limit), (total * USD_MICROS, limit * USD_MICROS));
        }
    }
}

#[test]
fn tokens_are_priced_by_family_and_the_agents_own_figure_wins() {
    let usage = RunUsage {
        input_tokens: Some(1_000_000),
        cache_read_tokens: Some(600_000),
        output_tokens: Some(100_000),
        ..RunUsage::default()
    };
    let cost = |model| price::cost_micros(&usage, model);
    assert_eq!(
        [cost(Some("claude-haiku-4-5")), cost(Some("claude-sonnet-5")), cost(None)],
        [1_060_000, 3_180_000, 15_900_000]
    );
    assert_eq!(price::cost_micros(&RunUsage { cost_usd: Some(0.5), ..usage }, None), 500_000);
}
