use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_042);

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

#[test]
fn the_defaults_do_not_contradict_each_other() {
    assert_eq!(Terms::default().check(), Ok(()));
}

#[test]
fn what_must_be_found_is_not_forgotten_before_what_leads_to_it() {
    let terms = Terms::default();
    let check = |terms: Terms| terms.check();
    assert_eq!(check(Terms { logs: hours(91 * 24), ..terms.clone() }), Err(Contradiction::LogsOutliveJobs));
    assert_eq!(check(Terms { logs: Duration::ZERO, ..terms.clone() }), Err(Contradiction::LogsOutliveJobs));
    let for_ever = Terms { jobs: Duration::ZERO, ..terms.clone() };
    assert_eq!(for_ever.check(), Err(Contradiction::JobsOutliveDeliveries));
    assert_eq!(
        check(Terms { deliveries: Duration::ZERO, ..for_ever.clone() }),
        Err(Contradiction::JobsOutliveItems)
    );
    let zero = Duration::ZERO;
    assert_eq!(check(Terms { deliveries: zero, items: zero, logs: zero, ..for_ever }), Ok(()));
    assert_eq!(check(Terms { messages: hours(1) / 2, ..terms }), Err(Contradiction::TooShort));
}

#[test]
fn a_size_shortens_an_age_and_never_lengthens_it() {
    let terms =
        Terms { jobs: hours(10), jobs_max: 5, logs: hours(8), logs_bytes_max: 100, ..Terms::default() };
    let kept = |finished| Kept { finished, ..Kept::default() };
    assert_eq!(plan(NOW, &terms, &kept(5)).jobs_over, 0);
    let over = plan(NOW, &terms, &kept(9));
    assert_eq!((over.jobs_over, over.jobs_before), (4, Some(NOW.minus(hours(10)))));
    assert_eq!(plan(NOW, &Terms { jobs_max: 0, ..terms.clone() }, &kept(9)).jobs_over, 0);

    let stretch = |ago, bytes| LogBytes { from: NOW.minus(hours(ago)), bytes };
    let before = |stretches: &[LogBytes]| logs_before(NOW, &terms, stretches.iter().copied());
    assert_eq!(before(&[]), Some(NOW.minus(hours(8))));
    assert_eq!(before(&[stretch(2, 60), stretch(3, 40), stretch(4, 1)]), Some(NOW.minus(hours(3))));
    assert_eq!(before(&[stretch(2, 60), stretch(3, 41)]), Some(NOW.minus(hours(2))));
    // What ended within the last hour stays, however much it is.
    assert_eq!(before(&[stretch(0, 101), stretch(2, 1)]), Some(NOW.minus(LEAST)));
    assert_eq!(before(&[stretch(9, 99), stretch(20, 99)]), Some(NOW.minus(hours(8))));
}

#[test]
fn many_deliveries_are_known_again_for_a_day() {
    let full = |ago| {
        let kept = Kept { deliveries_full_at: Some(NOW.minus(hours(ago))), ..Kept::default() };
        plan(NOW, &Terms::default(), &kept).deliveries_before
    };
    assert_eq!(full(2), Some(NOW.minus(DEDUPE_LEAST)));
    assert_eq!(full(48), Some(NOW.minus(hours(48))));
    assert_eq!(full(400 * 24), Some(NOW.minus(Terms::default().deliveries)));
}

fn some_terms() -> impl Strategy<Value = Terms> {
    let age = || prop_oneof![Just(0), 0_u64..1_000].prop_map(Duration::from_hours);
    let size = || prop_oneof![Just(0), 0_u64..100];
    (age(), size(), age(), size(), age(), size(), age(), age(), age()).prop_map(
        |(jobs, jobs_max, logs, logs_bytes_max, deliveries, deliveries_max, messages, acts, items)| Terms {
            jobs,
            jobs_max,
            logs,
            logs_bytes_max,
            deliveries,
            deliveries_max,
            messages,
            acts,
            items,
        },
    )
}

/// Terms under which what has to be kept longer is.
fn agreeing_terms() -> impl Strategy<Value = Terms> {
    let more = || prop_oneof![Just(None), (0_u64..1_000).prop_map(Some)];
    let longer = |than: Duration, more: Option<u64>| match more {
        Some(more) if !than.is_zero() => than + Duration::from_hours(more),
        _ => Duration::ZERO,
    };
    (some_terms(), 1_u64..1_000, more(), more(), more()).prop_map(
        move |(terms, logs, jobs, deliveries, items)| {
            let logs = Duration::from_hours(logs);
            let jobs = longer(logs, jobs);
            let least = |age: Duration| if age.is_zero() { age } else { age.max(LEAST) };
            Terms {
                logs,
                jobs,
                deliveries: longer(jobs, deliveries),
                items: longer(jobs, items),
                messages: least(terms.messages),
                acts: least(terms.acts),
                ..terms
            }
        },
    )
}

fn some_kept() -> impl Strategy<Value = Kept> {
    let ago = || proptest::option::of((0_u64..2_000).prop_map(|ago| NOW.minus(hours(ago))));
    (0_u64..200, 0_u64..200, ago(), ago(), ago()).prop_map(
        |(finished, forgotten, oldest_finished_at, deliveries_full_at, oldest_delivery_at)| Kept {
            finished,
            forgotten,
            oldest_finished_at,
            deliveries_full_at,
            oldest_delivery_at,
        },
    )
}

proptest! {
    /// Nothing of the last hour goes, no limit means no end, and as time goes on nothing that went comes back.
    #[test]
    fn a_plan_is_safe_and_only_moves_forward(
        terms in some_terms(), kept in some_kept(), later_ms in 0_i64..100_000_000,
    ) {
        let now = plan(NOW, &terms, &kept);
        let instants = [now.jobs_before, now.deliveries_before, now.messages_before, now.acts_before, now.items_before];
        for before in instants.into_iter().flatten() {
            prop_assert!(before <= now.least_before);
        }
        prop_assert_eq!(now.jobs_before.is_none(), terms.jobs.is_zero());
        prop_assert!(now.jobs_over <= kept.finished);
        let unlimited = terms.deliveries.is_zero() && terms.deliveries_max == 0;
        prop_assert!(!unlimited || now.deliveries_before.is_none());

        let then = plan(Timestamp::from_ms(NOW.as_ms() + later_ms), &terms, &kept);
        prop_assert!(then.jobs_before >= now.jobs_before && then.deliveries_before >= now.deliveries_before);
        prop_assert!(then.items_before >= now.items_before && then.acts_before >= now.acts_before);
    }

    /// Under terms that agree, a job is never kept longer than what makes its repeat known.
    #[test]
    fn a_repeat_is_known_while_its_job_is_there(terms in agreeing_terms(), kept in some_kept()) {
        prop_assert_eq!(terms.check(), Ok(()));
        let kept = Kept { deliveries_full_at: None, ..kept };
        let plan = plan(NOW, &terms, &kept);
        prop_assert!(plan.deliveries_before <= plan.jobs_before);
        prop_assert!(plan.items_before <= plan.jobs_before);
        prop_assert!(logs_before(NOW, &terms, []) >= plan.jobs_before);
    }

    /// What is left of the logs fits, unless it is of the last hour or there is no limit.
    #[test]
    fn what_is_left_of_the_logs_fits(terms in some_terms(), bytes in proptest::collection::vec(0_u64..60, 0..40)) {
        let stretches: Vec<LogBytes> = (0..).zip(bytes)
            .map(|(ago, bytes)| LogBytes { from: NOW.minus(hours(ago)), bytes }).collect();
        let before = logs_before(NOW, &terms, stretches.iter().copied());
        let left = stretches.iter().filter(|stretch| before.is_none_or(|before| stretch.from >= before));
        let old: u64 = left.filter(|stretch| stretch.from < NOW.minus(LEAST)).map(|stretch| stretch.bytes).sum();
        prop_assert!(terms.logs_bytes_max == 0 || old <= terms.logs_bytes_max, "{old} bytes are left: {before:?}");
    }
}
