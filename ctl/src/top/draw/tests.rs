//! What a frame of the terminal shows, whole, as text.

use domain::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent};

use super::super::view::Facts;
use super::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_000);

fn job(id: i64, status: &str) -> v1::Job {
    v1::Job {
        id,
        status: status.to_owned(),
        project: "shop".to_owned(),
        work_item: format!("SHOP-{id}"),
        stage: "review".to_owned(),
        updated_at: "2026-11-22T03:17:08Z".to_owned(),
        ..v1::Job::default()
    }
}

fn facts() -> Facts {
    let waiting = v1::Job {
        waiting: Some(v1::Waiting {
            reason: "account default is at its usage limit".to_owned(),
            until: Some("2026-11-22T05:00:00Z".to_owned()),
            code: "account_held".to_owned(),
        }),
        ..job(8, "queued")
    };
    let running = v1::Job { run_id: Some("r-7".to_owned()), ..job(7, "running") };
    let quota = v1::Quota {
        account: "default".to_owned(),
        window: "five_hour".to_owned(),
        utilization: Some(0.71),
        resets_at: Some("2026-11-22T05:00:00Z".to_owned()),
    };
    let needs = v1::Needs { reason: "approve it \x1b[2J".to_owned(), ..v1::Needs::default() };
    let item = v1::WorkItem { key: "SHOP-3".to_owned(), needs: Some(needs), ..v1::WorkItem::default() };
    let runner = v1::Runner {
        id: "n1".to_owned(),
        state: "ready".to_owned(),
        slots: 2,
        busy: 1,
        last_seen_at: "2026-11-22T03:17:16Z".to_owned(),
        ..v1::Runner::default()
    };
    let why = v1::Why { ends: "by itself when the window is over".to_owned(), ..v1::Why::default() };
    Facts {
        queue: v1::QueueReply {
            counts: Some(v1::Counts { queued: 1, running: 1, ..v1::Counts::default() }),
            max_concurrency: 4,
            resilience: Some(v1::Resilience { quota: vec![quota], ..v1::Resilience::default() }),
            runners: vec![runner],
            needs_you: vec![item],
            ..v1::QueueReply::default()
        },
        running: vec![running],
        waiting: vec![waiting.clone()],
        budgets: vec![v1::Budget {
            scope: "day".to_owned(),
            spent: Some(v1::Spent { usd: 1.234, ..v1::Spent::default() }),
            ..v1::Budget::default()
        }],
        detail: Some(v1::JobDetail { job: Some(waiting), why: Some(why), ..v1::JobDetail::default() }),
        tail: vec!["[Bash] ls".to_owned(), "-> a b".to_owned()],
    }
}

fn shown(view: &View) -> String {
    let mut terminal = Terminal::new(TestBackend::new(100, 20)).unwrap();
    terminal.draw(|frame| draw(frame, view)).unwrap();
    terminal.backend().to_string()
}

fn view(facts: Facts) -> View {
    let mut view = View::new(false);
    view.now = NOW;
    view.take(Ok(facts));
    view
}

#[test]
fn one_screen_shows_everything_at_once() {
    let mut view = view(facts());
    view.press(&Event::Key(KeyEvent::from(KeyCode::Down)));
    view.take(Ok(facts()));
    insta::assert_snapshot!(shown(&view), @r#"
    "orch  1 of 4 running  1 waiting  1 need you  1/1 runners ready  $1.23 today                         "
    "quota: default five_hour 71 % resets in 1h 42m                                                      "
    "needs you: SHOP-3 approve it  [2J                                                                   "
    "runner n1 ready 1/2 seen 2s ago                                                                     "
    "  JOB    STATUS   WORK ITEM          STAGE         CHANGED     NOTE                                 "
    "  7      running  shop/SHOP-7        review        10s ago     run r-7                              "
    "> 8      queued   shop/SHOP-8        review        10s ago     in 1h 42m: account default is at its "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    " job 8 ─────────────────────────────────────────────────────────────────────────────────────────────"
    "job 8 waits until 2026-11-22T05:00:00Z (in 1h 42m): account default is at its usage limit           "
    "it goes on by itself when the window is over                                                        "
    "[Bash] ls                                                                                           "
    "-> a b                                                                                              "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "q quit   up/down select   c cancel                                                                  "
    "#);
}

#[test]
fn an_empty_system_says_why_it_is_empty() {
    insta::assert_snapshot!(shown(&view(Facts::default())), @r#"
    "orch  0 of 0 running  0 waiting  0 need you  0/0 runners ready  $0.00 today                         "
    "quota: no quota is known yet                                                                        "
    "no runner has registered: start `orch-runner`                                                       "
    "JOB    STATUS   WORK ITEM          STAGE         CHANGED     NOTE                                   "
    "nothing runs and nothing waits                                                                      "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    " no job ────────────────────────────────────────────────────────────────────────────────────────────"
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "                                                                                                    "
    "q quit   up/down select   c cancel                                                                  "
    "#);
}

#[test]
fn a_question_and_trouble_take_the_last_line() {
    let mut asked = view(facts());
    asked.confirms = Some(7);
    asked.trouble = Some("nobody answers".to_owned());
    let last = |view: &View| shown(view).lines().last().unwrap_or_default().to_owned();
    assert!(last(&asked).contains("end job 7?"), "{}", last(&asked));
    asked.confirms = None;
    assert!(last(&asked).contains("asking again: nobody answers"), "{}", last(&asked));
}

#[test]
fn without_colours_no_cell_has_one_and_small_screens_are_drawn_too() {
    for (width, height) in [(100, 20), (20, 5), (1, 1)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, &view(facts()))).unwrap();
        let cells = terminal.backend().buffer().content();
        assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    }
    let mut colored = view(facts());
    colored.colors = true;
    let mut terminal = Terminal::new(TestBackend::new(100, 20)).unwrap();
    terminal.draw(|frame| draw(frame, &colored)).unwrap();
    assert!(terminal.backend().buffer().content().iter().any(|cell| cell.fg == Color::Cyan));
}
