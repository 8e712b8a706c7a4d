//! Lanes of one sink, side by side: messages of several destinations, written as only later senders will.

use domain::outbox::{End, Settlement, Sink, Take};

use super::contract::values::{T0, later};
use super::{fresh, raw};

#[tokio::test]
async fn a_lane_that_waits_holds_back_no_other() {
    let (folder, store) = fresh().await;
    let mut conn = raw::connect(&raw::path(&folder)).await;
    for (destination, key) in [("x", "x1"), ("y", "y1"), ("x", "x2"), ("y", "y2")] {
        let sql = format!(
            "INSERT INTO outbox (sink, destination, key, payload, pushed_at, available_at)
             VALUES ('webhook', '{destination}', '{key}', '{{}}', {0}, {0})",
            T0.as_ms()
        );
        raw::execute(&mut conn, &sql).await.unwrap();
    }
    let take = |ms| Take { sink: Sink::Webhook, now: later(ms), leased_until: later(ms + 1_000), limit: 9 };
    let keys = async |ms| {
        let taken = store.take_messages(take(ms)).await.unwrap();
        let keys: Vec<String> = taken.iter().map(|message| message.key.clone()).collect();
        (taken, keys)
    };
    let (x, taken) = keys(0).await;
    assert_eq!(taken, ["x1", "x2"]);
    assert_eq!(keys(1).await.1, ["y1", "y2"]);
    let messages = x.iter().map(|message| (message.id, message.attempts)).collect();
    let end = End::Again { at: later(9_000), error: Some("gone".into()) };
    store.settle_messages(Settlement { messages, end, now: later(2) }).await.unwrap();
    assert_eq!(keys(2_000).await.1, ["y1", "y2"]);
    assert_eq!(keys(2_500).await.1, [""; 0]);
    assert_eq!(keys(9_000).await.1, ["x1", "x2"]);
    store.close().await;
}
