use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_312_800_000);

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn window(name: &str, status: &str, utilization: Option<f64>, resets_in_s: u64) -> RateLimit {
    RateLimit {
        window: name.to_owned(),
        status: status.to_owned(),
        utilization,
        resets_at: Some(later(resets_in_s)),
    }
}

fn record() -> AccountRecord {
    AccountRecord::new(Account("default".to_owned()))
}

fn news(hold: Option<Hold>, windows_hold: bool) -> AccountNews {
    AccountNews { said: Said::Nothing, reason: "", hold, windows_hold, terms: BreakerTerms::default() }
}

fn told(hold: Hold) -> Alert {
    let (account, reason) = (Account("default".to_owned()), hold.reason.as_str().to_owned());
    Alert::AccountHeld { account, reason, until: hold.until }
}

fn hold(reason: HoldReason, seconds: Option<u64>) -> Hold {
    Hold { reason, until: seconds.map(later) }
}

#[test]
fn a_hold_only_grows_and_is_told_once() {
    let mut account = record();
    let mut take = |hold| {
        let turns = account.run_ended(news(Some(hold), true), Opening(0), &[], NOW);
        (account.hold.expect("it is held"), turns)
    };
    let (minute, hour) = (hold(HoldReason::UsageLimit, Some(60)), hold(HoldReason::UsageLimit, Some(3600)));
    let (person, bill) = (hold(HoldReason::Auth, None), hold(HoldReason::Billing, None));
    let rows = [take(minute), take(hour), take(minute), take(person), take(bill), take(hour)];
    let expected = [
        (minute, vec![told(minute)]),
        (hour, vec![]),
        (hour, vec![]),
        (person, vec![told(person)]),
        (person, vec![]),
        (person, vec![]),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_hold_lapses_at_its_end_and_the_next_one_is_news() {
    let mut account = record();
    let limit = hold(HoldReason::UsageLimit, Some(60));
    account.run_ended(news(Some(limit), true), Opening(0), &[], NOW);
    assert_eq!((account.held(later(59)), account.held(later(60))), (Some(limit), None));
    let next = hold(HoldReason::UsageLimit, Some(90));
    let turns = account.run_ended(news(Some(next), true), Opening(0), &[], later(60));
    assert_eq!(turns, [told(next)]);
    let over = hold(HoldReason::UsageLimit, Some(80));
    assert_eq!(account.run_ended(news(Some(over), true), Opening(0), &[], later(95)), []);
}

#[test]
fn a_rejected_window_holds_until_its_reset_unless_the_work_was_done() {
    let seen = [
        window("five_hour", "rejected", None, 600),
        window("seven_day", "allowed", Some(0.4), 90_000),
        window("seven_day_opus", "rejected", Some(1.0), 700),
    ];
    let mut account = record();
    account.run_ended(news(None, true), Opening(0), &seen, NOW);
    assert_eq!(account.held(NOW), Some(hold(HoldReason::UsageLimit, Some(700))));
    let shown: Vec<_> =
        account.quota(later(650)).map(|(window, used)| (window.window.as_str(), used)).collect();
    assert_eq!(shown, [("seven_day", Some(0.4)), ("seven_day_opus", Some(1.0))]);

    let mut worked = record();
    worked.run_ended(news(None, false), Opening(0), &seen, NOW);
    assert_eq!((worked.held(NOW), worked.windows.len()), (None, 3));
}

#[test]
fn the_fullest_window_decides_whether_only_the_reserve_is_left() {
    let mut account = record();
    let unending = RateLimit { resets_at: None, ..window("overage", "allowed", Some(1.0), 0) };
    let seen = [
        window("five_hour", "allowed", Some(0.85), 600),
        window("seven_day", "allowed_warning", Some(0.92), 9_000),
        unending,
    ];
    account.run_ended(news(None, true), Opening(0), &seen, NOW);
    let short = |reserve, at| account.short_of(reserve, at).map(|window| window.window.clone());
    assert_eq!(short(0.05, NOW), None);
    assert_eq!(short(0.1, NOW).as_deref(), Some("seven_day"));
    assert_eq!(short(0.2, later(9_000)), None, "a window that is over is full again");
}

proptest! {
    /// Reports of several runners come in any order and any number of times.
    #[test]
    fn what_is_known_of_windows_does_not_depend_on_the_order_of_reports(
        seen in prop::collection::vec(("[a-c]", 0_u64..4, 0_u8..=10), 0..12),
        seed in any::<prop::sample::Index>(),
    ) {
        let seen: Vec<RateLimit> = seen
            .iter()
            .map(|(name, resets, used)| window(name, "allowed", Some(f64::from(*used) / 10.0), *resets))
            .collect();
        let (mut forth, mut back) = (record(), record());
        for report in &seen {
            forth.run_ended(news(None, true), Opening(0), std::slice::from_ref(report), NOW);
        }
        let turn = if seen.is_empty() { 0 } else { seed.index(seen.len()) };
        for report in seen[turn..].iter().chain(&seen[..turn]).chain(&seen).rev() {
            back.run_ended(news(None, true), Opening(0), std::slice::from_ref(report), NOW);
        }
        prop_assert_eq!(forth.windows, back.windows);
    }

    #[test]
    fn windows_are_bounded(names in prop::collection::vec("[a-z]{1,3}", 0..60)) {
        let mut account = record();
        for name in &names {
            account.run_ended(news(None, true), Opening(0), &[window(name, "allowed", None, 9)], NOW);
        }
        prop_assert!(account.windows.len() <= WINDOWS_MAX);
    }
}
