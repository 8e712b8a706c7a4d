//! Alerts to receivers that are slow, rude or gone, the clock in the test's hand.

use std::time::Duration;

use domain::alert::{Alert, JobRef};
use domain::outbox::{Sink, SinkRecord};
use domain::{Account, JobId, Timestamp};
use e2e::receiver::{Receiver, Reply, Seen};
use scheduler::{Cli, Options, Sinks};

use crate::fake::Node;
use crate::stack::{Stack, eventually};

const TOKEN: &str = "12345:hunter2-TOKEN";
const CHAT: &str = "-42";
const MINUTE_MS: i64 = 60_000;

fn sinks(args: &[String]) -> Sinks {
    let all = std::iter::once("orch-scheduler".to_owned()).chain(args.iter().cloned());
    service::settings::try_parse_from::<Cli>(all).unwrap().options().unwrap().sinks
}

fn to_telegram(receiver: &Receiver) -> Vec<String> {
    vec![
        format!("--telegram-bot-token={TOKEN}"),
        format!("--telegram-chat-id={CHAT}"),
        format!("--telegram-api-url={}", receiver.url()),
    ]
}

fn to_webhook(receiver: &Receiver) -> Vec<String> {
    vec![format!("--alert-webhook-url={}/hook", receiver.url()), "--alert-webhook-secret=Jefe".to_owned()]
}

async fn stack(args: Vec<String>) -> Stack {
    Stack::start_with(|options| Options { sinks: sinks(&args), ..options }).await
}

fn alert(n: i64) -> Alert {
    let job = JobRef {
        id: JobId(n),
        revision: 1,
        project: "shop".to_owned(),
        work_item: format!("SHOP-{n}"),
        stage: "work".to_owned(),
    };
    Alert::JobFailed { job, reason: "crash: failed 3 times".to_owned() }
}

async fn push(stack: &Stack, ids: impl IntoIterator<Item = i64>) {
    let now = Timestamp::from_ms(stack.clock.now_ms());
    stack.store.push_alerts(ids.into_iter().map(alert).collect(), now).await.unwrap();
}

/// Waits for that many requests, whatever they were answered with; time passes meanwhile.
async fn requests(stack: &Stack, receiver: &Receiver, count: usize) -> Vec<Seen> {
    eventually(&format!("{count} requests"), async || {
        stack.clock.advance(Duration::from_millis(250));
        let seen = receiver.seen();
        (seen.len() >= count).then_some(seen)
    })
    .await
}

/// Waits until a sink has nothing left to deliver; time passes meanwhile.
async fn all_settled(stack: &Stack) {
    eventually("an outbox without pending messages", async || {
        stack.clock.advance(Duration::from_millis(250));
        let waits = stack.store.sinks().await.unwrap();
        waits.iter().all(|record| record.pending == 0).then_some(())
    })
    .await;
}

/// The jobs that a text names, in its order.
fn jobs_of(text: &str) -> Vec<i64> {
    let ids = text.split("Job ").skip(1).map(|rest| rest.split(' ').next().unwrap_or_default());
    ids.filter_map(|id| id.parse().ok()).collect()
}

/// A field of every alert that was posted to the webhook at once.
fn of_each(seen: &Seen, field: &str) -> Vec<String> {
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    let alerts = body["alerts"].as_array().unwrap();
    alerts.iter().map(|alert| alert[field].as_str().unwrap().to_owned()).collect()
}

fn keys(seen: &Seen) -> Vec<String> {
    of_each(seen, "key")
}

fn kinds(seen: &Seen) -> Vec<String> {
    of_each(seen, "kind")
}

async fn shown(stack: &Stack, sink: Sink) -> Option<SinkRecord> {
    stack.store.sinks().await.unwrap().into_iter().find(|record| record.sink == sink)
}

#[tokio::test]
async fn every_fault_of_the_receiver_is_survived_in_order() {
    let telegram = Receiver::start().await.unwrap();
    let slow = Reply::refused(429, "Too Many Requests: retry after 60", r#"{"retry_after":60}"#);
    telegram.answer_with([
        Reply::refused(500, "Internal Server Error", "{}"),
        Reply::Dropped,
        slow,
        Reply::Refused(502, "<html>Bad Gateway</html>".to_owned()),
        Reply::Hung,
    ]);
    let stack = stack(to_telegram(&telegram)).await;
    push(&stack, [1, 2]).await;
    let seen = requests(&stack, &telegram, 2).await;
    assert_eq!(seen[0].path, format!("/bot{TOKEN}/sendMessage"));
    assert_eq!((seen[0].field("chat_id").as_str(), jobs_of(&seen[0].field("text"))), (CHAT, vec![1, 2]));

    // What comes while the receiver asks for a pause waits with the rest.
    requests(&stack, &telegram, 3).await;
    let asked_at = eventually("the pause that was asked for", async || {
        let record = shown(&stack, Sink::Telegram).await?;
        record.last_error?.contains("429").then_some(record.next_at?)
    })
    .await;
    push(&stack, [3]).await;
    requests(&stack, &telegram, 4).await;
    assert!(stack.clock.now_ms() >= asked_at.as_ms(), "retry_after is kept");
    // The fifth request hangs until its deadline, in real time.
    requests(&stack, &telegram, 6).await;
    all_settled(&stack).await;
    let taken: Vec<i64> = telegram.taken().iter().flat_map(|seen| jobs_of(&seen.field("text"))).collect();
    assert_eq!(taken, [1, 2, 3]);
    let (_, metrics) = stack.http_get("/metrics").await;
    assert!(metrics.contains("orch_alerts_total{result=\"delivered\",sink=\"telegram\"} 3\n"), "{metrics}");
    stack.stop().await;
}

#[tokio::test]
async fn no_minute_sees_more_than_twenty_messages_and_none_is_lost() {
    let telegram = Receiver::start().await.unwrap();
    let stack = stack(to_telegram(&telegram)).await;
    let (begin_ms, mut sent_at, mut next) = (stack.clock.now_ms(), Vec::new(), 0);
    // Ten alerts a second for three minutes.
    while stack.clock.now_ms() < begin_ms + 3 * MINUTE_MS {
        push(&stack, next..next + 5).await;
        next += 5;
        stack.clock.advance(Duration::from_millis(500));
        // A step of the loop; the clock stands meanwhile, so every message of this step is seen in it.
        let before = sent_at.len();
        tokio::time::sleep(Duration::from_millis(2)).await;
        sent_at.resize(telegram.seen().len().max(before), stack.clock.now_ms());
    }
    all_settled(&stack).await;
    for first in &sent_at {
        // A message may be seen one step late.
        let within = sent_at.iter().filter(|at| (*first..first + MINUTE_MS - 500).contains(at)).count();
        assert!(within <= 20, "{within} messages in the minute from {first}");
    }
    let count = |seen: &Seen| match seen.field("text").split_once(" alerts at once.") {
        Some((count, _)) => count.parse().unwrap(),
        None => jobs_of(&seen.field("text")).len(),
    };
    assert_eq!(telegram.taken().iter().map(count).sum::<usize>(), usize::try_from(next).unwrap());
    stack.stop().await;
}

#[tokio::test]
async fn an_alert_that_is_refused_for_good_stands_aside_and_the_others_arrive() {
    let telegram = Receiver::start().await.unwrap();
    let bad = || Reply::refused(400, "Bad Request: message text is empty", "{}");
    // Together, then one by one: the second is the bad one.
    telegram.answer_with([bad(), Reply::Taken, bad()]);
    let stack = stack(to_telegram(&telegram)).await;
    push(&stack, [1, 2, 3]).await;
    all_settled(&stack).await;
    push(&stack, [4, 5]).await;
    all_settled(&stack).await;
    let taken: Vec<Vec<i64>> = telegram.taken().iter().map(|seen| jobs_of(&seen.field("text"))).collect();
    assert_eq!(taken, [vec![1], vec![3], vec![4, 5]]);
    let record = shown(&stack, Sink::Telegram).await.unwrap();
    assert_eq!((record.set_aside, record.pending), (1, 0));
    assert!(record.set_aside_error.unwrap().contains("message text is empty"));
    stack.stop().await;
}

#[tokio::test]
async fn a_moved_chat_is_followed_even_after_a_restart() {
    let telegram = Receiver::start().await.unwrap();
    let moved = r#"{"migrate_to_chat_id":-1001234567890}"#;
    telegram.answer_with([Reply::refused(
        400,
        "Bad Request: group chat was upgraded to a supergroup chat",
        moved,
    )]);
    let mut stack = stack(to_telegram(&telegram)).await;
    push(&stack, [1]).await;
    all_settled(&stack).await;
    stack.restart().await;
    push(&stack, [2]).await;
    all_settled(&stack).await;
    let chats: Vec<String> = telegram.seen().iter().map(|seen| seen.field("chat_id")).collect();
    assert_eq!(chats, [CHAT, "-1001234567890", "-1001234567890"]);
    stack.stop().await;
}

#[tokio::test]
async fn a_bot_that_was_kicked_is_shown_and_tried_again_after_a_restart() {
    let telegram = Receiver::start().await.unwrap();
    telegram.answer_with([Reply::refused(403, &format!("Forbidden: {TOKEN} was kicked"), "{}")]);
    let mut stack = stack(to_telegram(&telegram)).await;
    push(&stack, [1]).await;
    let error = eventually("the refusal", async || shown(&stack, Sink::Telegram).await?.last_error).await;
    assert_eq!(error, "403 Forbidden: Forbidden: <redacted> was kicked");
    let queue = stack.admin().get_queue(proto::v1::GetQueueRequest {}).await.unwrap().into_inner();
    let alerts = queue.alerts.unwrap();
    assert_eq!((alerts.pending, alerts.last_error), (1, Some(format!("telegram: {error}"))));
    // Nothing for minutes, then once more.
    for _ in 0..30 {
        stack.clock.advance(Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(telegram.seen().len(), 1);
    stack.restart().await;
    all_settled(&stack).await;
    assert_eq!(telegram.taken().len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn a_sink_that_fails_holds_back_no_other_and_the_webhook_is_signed() {
    let (telegram, hook) = (Receiver::start().await.unwrap(), Receiver::start().await.unwrap());
    telegram.answer_with(std::iter::repeat_n(Reply::refused(401, "Unauthorized", "{}"), 100));
    hook.answer_with([Reply::Refused(503, String::new())]);
    let stack =
        stack([to_telegram(&telegram), to_webhook(&hook), vec!["--alert-dry-run".to_owned()]].concat()).await;
    push(&stack, [1, 2]).await;
    let seen = requests(&stack, &hook, 2).await;
    assert_eq!(seen[0].body, seen[1].body, "a repeat says the same");
    assert_eq!(keys(&seen[1]), ["job_failed/1/1", "job_failed/2/1"]);
    assert_eq!(seen[1].path, "/hook");
    assert!(seen[1].headers["x-orch-signature"].to_str().unwrap().starts_with("sha256="));
    eventually("two sinks that are done", async || {
        let waits = stack.store.sinks().await.unwrap();
        (waits.iter().filter(|record| record.pending > 0).map(|record| record.sink).eq([Sink::Telegram]))
            .then_some(())
    })
    .await;
    stack.stop().await;
}

#[tokio::test]
async fn alerts_wait_for_the_first_sink() {
    let mut stack = Stack::start().await;
    push(&stack, [1]).await;
    let telegram = Receiver::start().await.unwrap();
    stack.restart_with(|options| Options { sinks: sinks(&to_telegram(&telegram)), ..options }).await;
    all_settled(&stack).await;
    assert_eq!(jobs_of(&telegram.taken()[0].field("text")), [1]);
    stack.stop().await;
}

#[tokio::test]
async fn two_schedulers_tell_each_alert_once() {
    let hook = Receiver::start().await.unwrap();
    let first = stack(to_webhook(&hook)).await;
    let second = first.start_beside().await;
    for n in 1..=10 {
        push(&first, [n]).await;
        first.clock.advance(Duration::from_secs(1));
        second.clock.advance(Duration::from_secs(1));
    }
    // Time stands: a lease that ran out would rightly be taken by the other.
    eventually("an empty outbox", async || {
        let waits = first.store.sinks().await.unwrap();
        waits.iter().all(|record| record.pending == 0).then_some(())
    })
    .await;
    let mut told: Vec<String> = hook.taken().iter().flat_map(keys).collect();
    told.sort_unstable();
    let mut expected: Vec<String> = (1..=10).map(|n| format!("job_failed/{n}/1")).collect();
    expected.sort_unstable();
    assert_eq!(told, expected);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_lost_preflight_is_told_once_and_its_return_too() {
    let hook = Receiver::start().await.unwrap();
    let mut stack = stack(to_webhook(&hook)).await;
    let (one, two) = (Node::start(&stack, "one").await, Node::start(&stack, "two").await);
    let told = |hook: &Receiver| -> Vec<String> { hook.taken().iter().flat_map(kinds).collect() };
    let mut renews = 0;
    // Both renew for a while, with these preflights.
    let mut live = async |stack: &Stack, fine: [bool; 2]| {
        for _ in 0..40 {
            renews += 1;
            for (node, fine) in [&one, &two].into_iter().zip(fine) {
                node.state().broken = !fine;
                node.renew(stack, renews, &[]).await.unwrap();
            }
            stack.clock.advance(Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    live(&stack, [true, false]).await;
    live(&stack, [false, false]).await;
    eventually("the loss", async || (told(&hook) == ["preflight_lost"]).then_some(())).await;
    all_settled(&stack).await;
    stack.restart().await;
    one.register(&stack, &[]).await.unwrap();
    two.register(&stack, &[]).await.unwrap();
    live(&stack, [false, false]).await;
    live(&stack, [false, true]).await;
    eventually("the return", async || (told(&hook) == ["preflight_lost", "preflight_back"]).then_some(()))
        .await;
    stack.stop().await;
}

#[tokio::test]
async fn a_silent_source_is_told_once_and_its_return_too() {
    let hook = Receiver::start().await.unwrap();
    let day = Duration::from_hours(24);
    let args = to_webhook(&hook);
    let adjust = |options: Options| Options { sinks: sinks(&args), webhook_silence: day, ..options };
    let mut stack = Stack::start_with(adjust).await;
    let deliver = async |stack: &Stack, id: &str| {
        let delivery = domain::delivery::NewDelivery {
            source: "gitea".to_owned(),
            delivery_id: id.to_owned(),
            event: "push".to_owned(),
            body_sha256: "a".repeat(64),
            received_at: Timestamp::from_ms(stack.clock.now_ms()),
            jobs: Vec::new(),
            sightings: Vec::new(),
        };
        stack.store.accept(delivery).await.unwrap();
    };
    deliver(&stack, "1").await;
    stack.clock.advance(day + Duration::from_secs(1));
    let told = requests(&stack, &hook, 1).await;
    assert_eq!(kinds(&told[0]), ["webhooks_silent"]);
    all_settled(&stack).await;
    stack.restart().await;
    for _ in 0..20 {
        stack.clock.advance(Duration::from_mins(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    deliver(&stack, "2").await;
    let told = requests(&stack, &hook, 2).await;
    assert_eq!(told.len(), 2, "once each, whatever restarts in between");
    assert_eq!(kinds(&told[1]), ["webhooks_back"]);
    stack.stop().await;
}

#[tokio::test]
async fn an_account_alert_is_what_its_writer_said() {
    let telegram = Receiver::start().await.unwrap();
    let stack = stack(to_telegram(&telegram)).await;
    let alert = Alert::AccountResumed { account: Account("default".to_owned()) };
    stack.store.push_alerts(vec![alert.clone()], Timestamp::from_ms(stack.clock.now_ms())).await.unwrap();
    all_settled(&stack).await;
    assert_eq!(telegram.taken()[0].field("text"), alert.text());
    stack.stop().await;
}

#[tokio::test]
async fn a_mass_expiry_is_told() {
    let hook = Receiver::start().await.unwrap();
    let args = to_webhook(&hook);
    let adjust = |options: Options| Options {
        sinks: sinks(&args),
        queue: proto::convert::QueueSettings { concurrency_max: 12, ..options.queue },
        ..options
    };
    let stack = Stack::start_with(adjust).await;
    let nodes =
        [Node::start(&stack, "a").await, Node::start(&stack, "b").await, Node::start(&stack, "c").await];
    for _ in 0..12 {
        stack.enqueue().await;
    }
    eventually("twelve offers on three nodes", async || {
        let offered = nodes.each_ref().map(|node| node.state().launches.len());
        (offered.iter().sum::<usize>() == 12 && offered.iter().all(|count| *count > 0)).then_some(())
    })
    .await;
    // A jump of the clock: all leases at once.
    stack.clock.advance(Duration::from_mins(8));
    let told = requests(&stack, &hook, 1).await;
    assert_eq!(kinds(&told[0]), ["mass_expiry"]);
    stack.stop().await;
}
