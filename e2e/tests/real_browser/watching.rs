//! A job is seen to queue, run, fail and be tried again, another is stopped, and nobody has to reload a page.

use e2e::harness::{Service, Stack};
use e2e::shop::{WITHIN, enqueue, shop};

use crate::browser::{Browser, View};
use crate::url;

#[tokio::test]
async fn a_job_is_watched_live_from_queue_to_failure_and_retried_with_a_click() -> anyhow::Result<()> {
    let mut stack = shop().env("ORCH_MAX_ATTEMPTS", "1").start().await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/")).await?;
    browser.until_reads("[data-link]", "live").await?;
    browser.until_reads("#waiting", "No job was ever made").await?;

    browser.click("#pause button").await?;
    browser.accept().await?;
    browser.until_reads("#needs", "All starts are paused").await?;
    let (door, count) = (stack.folder().join("door"), stack.folder().join("count"));
    let directive = format!("say=1 await={} first=1:{}:crash:3", door.display(), count.display());
    let id = enqueue(&stack, &directive).await?;
    browser.until_reads("#waiting", "paused").await?;
    browser.click("#needs form button").await?;
    browser.accept().await?;
    browser.until_reads("#running", &format!("#{id} ")).await?;

    browser.click("#running a").await?;
    browser.until_reads("#facts", "running").await?;
    browser.until_reads("#log", "session begins").await?;
    // A reload and a restarted server lose nothing of the log.
    browser.reload().await?;
    browser.until_reads("#log", "session begins").await?;
    stack.process(Service::Console).terminate().await?;
    browser.until_reads("[data-link]", "connecting again").await?;
    stack.process(Service::Console).start().await?;
    browser.until_reads("[data-link]", "live").await?;
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    std::fs::write(&door, "")?;
    browser.until_reads("#facts", "failed").await?;
    browser.until_reads("#log", "TypeError: undefined is not a function").await?;
    browser.until_reads("#tries", "exit code 3").await?;
    browser.reload().await?;
    browser.until_reads("#tries", "permanent").await?;

    browser.open(&url(&stack, "/")).await?;
    browser.until_reads("#needs", "failed 1 times").await?;
    browser.click("#needs form[action$='/retry'] button").await?;
    browser.accept().await?;
    stack.until_status(id, "done", WITHIN).await?;
    browser.until_reads("#needs", "Nothing").await?;
    browser.until_reads("#recent", "done").await?;
    browser.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn a_running_agent_is_stopped_with_a_click_after_a_question() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let browser = Browser::start(View::DESK).await?;
    let id = enqueue(&stack, "say=1 then=hang").await?;
    browser.open(&url(&stack, "/")).await?;
    browser.click("#running form button").await?;
    browser.accept().await?;
    stack.until_status(id, "cancelled", WITHIN).await?;
    browser.until_reads("#running", "No agent is at work").await?;
    browser.until_reads("#recent", "cancelled").await?;
    browser.close().await?;
    stack.finish().await
}

#[tokio::test]
async fn an_open_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back() -> anyhow::Result<()> {
    let mut stack: Stack = shop().start().await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/")).await?;
    browser.until_reads("[data-link]", "live").await?;
    stack.process(Service::Console).kill().await?;
    browser.until_reads("[data-link]", "connecting again").await?;
    let id = enqueue(&stack, "then=success").await?;
    stack.until_status(id, "done", WITHIN).await?;
    stack.process(Service::Console).start().await?;
    browser.until_reads("#recent", &format!("#{id} ")).await?;
    browser.until_reads("[data-link]", "live").await?;
    browser.close().await?;
    stack.finish().await
}
