//! What was acknowledged is there, and it is there once: duplicates side by side, and SIGKILL right after
//! every 2xx.

use std::collections::BTreeSet;
use std::sync::Arc;

use e2e::harness::Service;
use http::HeaderValue;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::shop::{WITHIN, shop, spent, webhook};

const SENDERS: usize = 50;
const KILLS: u64 = 200;

#[tokio::test]
async fn the_same_webhook_fifty_times_at_once_is_one_job() -> anyhow::Result<()> {
    let stack = Arc::new(shop().start().await?);
    let first = webhook(&stack, "gitea.pull_request", 12, "please");
    // Gitea's Redeliver sends the same body under another delivery id.
    let redelivered = webhook(&stack, "gitea.pull_request", 13, "again");
    for (original, fresh_id) in [(first, false), (redelivered, true)] {
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (stack, mut copy) = (Arc::clone(&stack), original.clone());
            if fresh_id {
                let id = Uuid::new_v4().to_string();
                copy.headers.insert("x-gitea-delivery", HeaderValue::from_str(&id)?);
            }
            senders.spawn(async move { stack.deliver(&copy).await });
        }
        let (mut decisions, mut jobs) = (Vec::new(), BTreeSet::new());
        while let Some(answer) = senders.join_next().await {
            let answer = answer??;
            let body = answer.json()?;
            assert!(answer.status.is_success(), "{} {body}", answer.status);
            decisions.push(body["decision"].as_str().unwrap_or_default().to_owned());
            jobs.insert(body["job_ids"].to_string());
        }
        decisions.sort();
        assert_eq!(decisions.iter().filter(|decision| *decision == "enqueued").count(), 1, "{decisions:?}");
        assert_eq!(decisions.iter().filter(|decision| *decision == "duplicate").count(), SENDERS - 1);
        assert_eq!(jobs.len(), 1, "a duplicate names the first one's job: {jobs:?}");
    }
    let listed = stack.orch(&["jobs"]).await?;
    let ids: Vec<_> = listed["jobs"].as_array().into_iter().flatten().map(|job| &job["id"]).collect();
    assert_eq!(ids.len(), 2, "{listed:#}");
    for id in ids {
        let job = stack.until_status(id.as_i64().unwrap_or_default(), "done", WITHIN).await?;
        assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
    }
    Arc::into_inner(stack).expect("every sender has ended").finish().await
}

#[tokio::test]
async fn every_acknowledged_delivery_survives_a_kill_of_ingest() -> anyhow::Result<()> {
    let mut stack = shop().runners(0).start().await?;
    stack.orch(&["pause"]).await?;
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        // The other one is under way when the first acknowledgement brings the kill.
        let pair =
            [2 * round + 1, 2 * round + 2].map(|number| webhook(&stack, "gitea.pull_request", number, "x"));
        let answer = tokio::select! {
            answer = stack.deliver(&pair[0]) => answer?,
            answer = stack.deliver(&pair[1]) => answer?,
        };
        stack.process(Service::Ingest).kill().await?;
        let body = answer.json()?;
        assert_eq!((answer.status.as_u16(), &body["decision"]), (202, &json!("enqueued")), "{body}");
        acknowledged.extend(body["job_ids"].as_array().into_iter().flatten().filter_map(Value::as_i64));
        stack.process(Service::Ingest).start().await?;
    }
    assert_eq!(acknowledged.len(), 200, "each delivery has a job of its own");
    let listed = stack.orch(&["jobs", "--limit", "1000"]).await?;
    let found: BTreeSet<i64> =
        listed["jobs"].as_array().into_iter().flatten().filter_map(|job| job["id"].as_i64()).collect();
    assert_eq!(
        acknowledged.difference(&found).collect::<Vec<_>>(),
        Vec::<&i64>::new(),
        "acknowledged and lost"
    );
    let queue = stack.orch(&["queue"]).await?;
    assert_eq!((&queue["counts"]["queued"], &queue["paused"]), (&json!(found.len()), &json!(true)));
    stack.finish().await
}
