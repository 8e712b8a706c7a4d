use std::time::Duration;

use proptest::prelude::*;

use super::clip::units;
use super::fold::fold;
use super::message::{MESSAGE_UNITS_MAX, PARTS_MAX, compose};
use super::pace::{MESSAGES_PER_MINUTE_MAX, Pace};
use super::*;

const AT: Timestamp = Timestamp::from_ms(1_795_317_438_042);

fn job(id: i64) -> JobRef {
    JobRef {
        id: JobId(id),
        revision: 7,
        project: "shop".to_owned(),
        work_item: "SHOP-12".to_owned(),
        stage: "review".to_owned(),
    }
}

fn item() -> ItemRef {
    ItemRef { project: "shop".to_owned(), key: "SHOP-12".to_owned(), revision: 4 }
}

fn failed(id: i64) -> Alert {
    Alert::JobFailed { job: job(id), reason: "crash: failed 3 times".to_owned() }
}

/// One of each kind, with these words from outside.
fn all(word: &str) -> Vec<Alert> {
    let (account, word) = (Account(clip(word, 40)), word.to_owned());
    vec![
        Alert::BreakerOpened { account: account.clone(), consecutive: 5, reason: word.clone(), until: AT },
        Alert::BreakerClosed { account: account.clone() },
        Alert::AccountHeld { account: account.clone(), reason: word.clone(), until: Some(AT) },
        Alert::AccountHeld { account: account.clone(), reason: word.clone(), until: None },
        Alert::AccountResumed { account },
        Alert::JobFailed { job: job(1), reason: word.clone() },
        Alert::JobQuarantined { job: job(2), reason: word.clone() },
        Alert::ItemNeedsYou { item: item(), why: "approval".to_owned(), reason: word.clone() },
        Alert::ItemGoesOn { item: item(), state: "active".to_owned() },
        Alert::PreflightLost { runners: 3, error: word.clone() },
        Alert::PreflightBack { runners: 2 },
        Alert::WebhooksSilent { source: word.clone(), last_at: AT },
        Alert::WebhooksBack { source: word.clone() },
        Alert::WebhooksMissed { source: word.clone(), changes: 3 },
        Alert::ReconcilerBlind { source: word.clone(), error: word.clone() },
        Alert::ReconcilerSees { source: word.clone() },
        Alert::RowRepaired { job: JobId(3), kinds: Kind::ALL.to_vec(), became: word },
        Alert::MassExpiry { runs: 12, lease_s: 420 },
        Alert::ReportRefused {
            sink: "plane".to_owned(),
            message: 7,
            work_item: "shop/SHOP-12".to_owned(),
            error: "comment: 404 Not Found".to_owned(),
        },
        Alert::ReportsStuck { sink: "gitea".to_owned(), error: "comment: 401 Unauthorized".to_owned() },
        Alert::ReportsBack { sink: "gitea".to_owned() },
    ]
}

#[test]
fn every_alert_says_what_happened_and_what_to_do() {
    let texts: Vec<String> = all("auth").iter().map(Alert::text).collect();
    insta::assert_snapshot!(texts.join("\n\n"));
}

#[test]
fn keys_tell_occurrences_apart_and_json_keeps_everything() {
    let mut keys: Vec<String> = Vec::new();
    for alert in all("x") {
        let notice = Notice::new(alert, AT);
        let json = serde_json::to_string(&notice).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice);
        assert!(json.contains(&format!("\"kind\":\"{}\"", notice.alert.word())), "{json}");
        keys.push(notice.key());
    }
    keys.dedup();
    // The two ways to be held are one kind and would not both be raised in the same millisecond.
    assert_eq!(keys.len(), all("x").len() - 1);
    let again = JobRef { revision: 8, ..job(1) };
    let again = Notice::new(Alert::JobFailed { job: again, reason: String::new() }, AT);
    assert_ne!(again.key(), Notice::new(failed(1), AT).key());
}

#[test]
fn a_few_are_listed_and_many_are_counted_by_group() {
    let notices = |alerts: Vec<Alert>| -> Vec<Notice> {
        let times = (0..).map(|n| AT.plus(Duration::from_secs(n)));
        alerts.into_iter().zip(times).map(|(alert, at)| Notice::new(alert, at)).collect()
    };
    let few = compose(&notices(vec![failed(1), Alert::PreflightBack { runners: 1 }]));
    assert_eq!(few, format!("{}\n\n{}", failed(1).text(), Alert::PreflightBack { runners: 1 }.text()));
    let mut many: Vec<Alert> = (1..=40).map(failed).collect();
    many.insert(3, Alert::PreflightBack { runners: 1 });
    insta::assert_snapshot!(compose(&notices(many)));
}

#[test]
fn a_backlog_folds_into_one_row_for_each_group() {
    let row = |id, alert, s| (id, Notice::new(alert, AT.plus(Duration::from_secs(s))));
    let rows = [
        row(1, failed(1), 1),
        row(2, Alert::PreflightBack { runners: 1 }, 2),
        row(3, failed(2), 3),
        row(4, failed(3), 4),
    ];
    let folds = fold(&rows);
    let folded = Some(Folded { count: 2, first_at: AT.plus(Duration::from_secs(1)) });
    let notice = Notice { folded, ..rows[3].1.clone() };
    assert_eq!(folds, [fold::Fold { into: 4, notice: notice.clone(), from: vec![1, 3] }]);
    // Once more, with what came since.
    let folds = fold(&[(4, notice), row(9, failed(4), 9)]);
    assert_eq!(folds[0].notice.folded.unwrap().count, 3);
    assert_eq!(folds[0].notice.folded.unwrap().first_at, AT.plus(Duration::from_secs(1)));
    assert_eq!(
        compose(&[folds[0].notice.clone()]),
        format!("{}\n(and 3 more of its kind since 2026-11-22T03:17:19.042Z)", failed(4).text())
    );
}

proptest! {
    #[test]
    fn any_words_from_outside_make_messages_that_fit(
        word in "\\PC{0,2000}", picks in proptest::collection::vec(0_usize..13, 1..60),
    ) {
        let alerts = all(&word);
        for alert in &alerts {
            prop_assert!(units(&alert.text()) <= TEXT_UNITS_MAX);
            prop_assert!(alert.text().lines().count() <= 2, "{}", alert.text());
        }
        let notices: Vec<Notice> = picks.iter().map(|n| Notice::new(alerts[*n].clone(), AT)).collect();
        let text = compose(&notices);
        let parts = split(&text, MESSAGE_UNITS_MAX);
        prop_assert!((1..=PARTS_MAX).contains(&parts.len()), "{} parts", parts.len());
    }

    #[test]
    fn folding_keeps_the_count(picks in proptest::collection::vec((0_usize..13, 0_u64..3), 0..60)) {
        let alerts = all("x");
        let rows: Vec<(i64, Notice)> = picks.iter().zip(1..).map(|((n, folded), id)| {
            let folded = (*folded > 0).then_some(Folded { count: *folded, first_at: AT });
            (id, Notice { alert: alerts[*n].clone(), at: AT, folded })
        }).collect();
        let before: u64 = rows.iter().map(|(_, notice)| notice.count()).sum();
        let mut after = rows.clone();
        for fold in fold(&rows) {
            after.retain(|(id, _)| !fold.from.contains(id));
            let row = after.iter_mut().find(|(id, _)| *id == fold.into).unwrap();
            row.1 = fold.notice;
        }
        prop_assert_eq!(after.iter().map(|(_, notice)| notice.count()).sum::<u64>(), before);
        prop_assert!(after.len() <= 5, "one for each group");
    }

    #[test]
    fn no_minute_has_more_than_twenty_messages(steps in proptest::collection::vec((0_i64..4_000, 0_i64..2_000), 1..200)) {
        let (mut pace, mut now, mut begun) = (Pace::default(), 0_i64, Vec::new());
        for (idle, sending) in steps {
            now += idle;
            now += i64::try_from(pace.wait(now).as_millis()).unwrap();
            begun.push(now);
            now += sending;
            pace.sent(now);
        }
        for first in &begun {
            let within = begun.iter().filter(|at| (*first..first + 60_000).contains(at)).count();
            prop_assert!(within <= MESSAGES_PER_MINUTE_MAX as usize, "{within} from {first}");
        }
    }
}
