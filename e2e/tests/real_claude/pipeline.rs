//! One work item through all six stages of the built-in pipeline with the pinned real CLI: its prompts on stdin, its final
//! messages read for their verdicts.

use anyhow::Context;
use e2e::harness::until;
use e2e::night::shop::{PROJECT, labelled, pull_request};
use e2e::stub_api::{Behaviour, Credential};

use crate::stack::{Real, WITHIN};

#[tokio::test]
async fn one_item_goes_through_all_six_stages() -> anyhow::Result<()> {
    let said = "I looked at everything.\n\n```json\n{\"verdict\": \"pass\", \"summary\": \"all is well\", \"findings\": [], \
                \"head\": null}\n```";
    let real = Real::with(PROJECT, vec![Behaviour::Ok(said.to_owned())], Credential::Key).await?;
    let stack = &real.stack;
    let until_done = |stage: &'static str| async move {
        until(&format!("{stage} done"), WITHIN, || async {
            let listed = stack.orch(&["items"]).await?;
            let item = &listed["items"][0];
            Ok((item["key"] == "SHOP-7" && item["state"] == "done" && item["stage"] == stage).then_some(()))
        })
        .await
    };
    assert_eq!(stack.deliver(&labelled(stack, 7)).await?.status, 202);
    until_done("development").await?;
    let head = "0123456789abcdef0123456789abcdef01234567";
    let opened = pull_request(stack, "opened", "SHOP-7", 3, head, "Mend the total");
    assert_eq!(stack.deliver(&opened).await?.status, 202);
    until_done("deploy").await?;

    let listed = stack.orch(&["jobs"]).await?;
    let mut jobs = listed["jobs"].as_array().context("no jobs")?.clone();
    jobs.sort_by_key(|job| job["id"].as_i64());
    let stages: Vec<&str> = jobs.iter().filter_map(|job| job["stage"].as_str()).collect();
    assert_eq!(stages, ["analysis", "architecture", "development", "review", "testing", "deploy"]);
    for job in &jobs {
        assert_eq!((&job["status"], &job["kind"]), (&"done".into(), &"stage".into()), "{job:#}");
        let record = stack.job(job["id"].as_i64().context("an id")?).await?;
        assert_eq!(record["runs"].as_array().map(Vec::len), Some(1), "{record:#}");
        assert!(record["runs"][0]["session_id"].is_string(), "{record:#}");
    }
    real.finish().await
}
