//! What people do with the page: approve, reset a breaker, pause parts, retry many, raise a budget; and the audit of it.

use e2e::harness::Stack;
use e2e::shop::{WITHIN, enqueue, shop};

use crate::browser::{Browser, View};
use crate::url;

const GATED: &str = "[[project]]\nname = \"shop\"\nserial = \"none\"\n\
    [[stage]]\nname = \"pushed\"\nrole = \"developer\"\nprompt = \"prompt.md\"\ngate = [\"approval\"]\non_pass = \"landed\"\n\
    [[stage]]\nname = \"landed\"\nrole = \"deployer\"\nprompt = \"prompt.md\"\n";

#[tokio::test]
async fn a_gate_is_approved_with_a_click_and_the_audit_says_who() -> anyhow::Result<()> {
    let stack = shop().orch_toml(GATED).start().await?;
    let id = enqueue(&stack, "say=1 then=success").await?;
    stack.until_status(id, "done", WITHIN).await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/")).await?;
    browser.until_reads("#needs", "approve").await?;
    browser.click("#needs form[action$='/approve'] button").await?;
    browser.accept().await?;
    browser.until_reads("#needs", "Nothing").await?;
    browser.until_reads("#pipeline", "landed").await?;
    stack.until_status(id + 1, "done", WITHIN).await?;

    browser.click("a[href='/audit']").await?;
    browser.until_reads("main", "approve").await?;
    browser.until_reads("main", "an operator on this host").await?;
    // Its causes stand with it.
    browser.open(&url(&stack, &format!("/jobs/{}", id + 1))).await?;
    browser.until_reads("#causes", &format!("#{id} ")).await?;
    browser.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn an_open_breaker_is_seen_and_reset() -> anyhow::Result<()> {
    let stack =
        shop().env("ORCH_BREAKER_THRESHOLD", "1").env("ORCH_BREAKER_PAUSE_SECONDS", "600").start().await?;
    let count = stack.folder().join("count");
    let id = enqueue(&stack, &format!("first=1:{}:529 then=success", count.display())).await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/")).await?;
    browser.until_reads("#needs", "The breaker of account default is open").await?;
    browser.click("#needs form[action$='/reset'] button").await?;
    browser.accept().await?;
    stack.until_status(id, "done", WITHIN).await?;
    browser.until_reads("#needs", "Nothing").await?;
    browser.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn a_stage_is_paused_and_resumed_and_its_jobs_say_so() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let first = enqueue(&stack, "then=success").await?;
    stack.until_status(first, "done", WITHIN).await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/")).await?;
    browser.click("#pipeline form[action='/pause?stage=pushed'] button").await?;
    browser.accept().await?;
    browser.until_reads("#needs", "Nothing of stage pushed starts").await?;
    let id = enqueue(&stack, "then=success").await?;
    browser.until_reads("#waiting", "stage pushed is paused").await?;
    browser.click("#pipeline form[action='/resume?stage=pushed'] button").await?;
    stack.until_status(id, "done", WITHIN).await?;
    browser.until_reads("#needs", "Nothing. ").await?;
    browser.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn many_failed_jobs_are_counted_first_and_then_queued_again() -> anyhow::Result<()> {
    let stack: Stack = shop().env("ORCH_MAX_ATTEMPTS", "1").start().await?;
    let count = stack.folder().join("count");
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let id = enqueue(&stack, &format!("first=2:{}:crash:3 then=success", count.display())).await?;
        stack.until_status(id, "failed", WITHIN).await?;
        jobs.push(id);
    }
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/")).await?;
    browser.click("#needs a[href='/requeue']").await?;
    browser.fill("input[name='reason']", "exit code 4").await?;
    browser.click("form.filter button").await?;
    browser.until_reads("#found", "0 jobs would be queued again").await?;
    browser.open(&url(&stack, "/requeue?status=failed&project=shop&reason=failed+1+times")).await?;
    browser.until_reads("#found", "2 jobs would be queued again").await?;
    browser.click("#found form button").await?;
    browser.accept().await?;
    for id in jobs {
        stack.until_status(id, "done", WITHIN).await?;
    }
    browser.until_reads("#needs", "Nothing").await?;

    browser.open(&url(&stack, "/raise?scope=day&key=2026-11-22")).await?;
    browser.fill("input[name='usd']", "5").await?;
    browser.click("form.filter button").await?;
    browser.accept().await?;
    browser.until_reads("#truth", "spent today").await?;
    browser.open(&url(&stack, "/audit")).await?;
    browser.until_reads("main", "raise").await?;
    browser.until_reads("main", "2 queued again").await?;
    browser.close().await?;
    stack.finish().await
}
