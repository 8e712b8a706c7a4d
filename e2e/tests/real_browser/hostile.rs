//! What an agent prints, and what a tracker says, is text: whatever it looks like.

use e2e::shop::{WITHIN, enqueue, shop};
use serde_json::json;

use crate::browser::{Browser, View};
use crate::url;

#[tokio::test]
async fn a_hostile_log_stays_text_and_the_page_stays_usable() -> anyhow::Result<()> {
    let stack = shop().start().await?;
    let id = enqueue(
        &stack,
        "garbage=40 longline=10000000 then=success:<script>document.title='taken'</script><img+src=x+onerror=alert(1)>",
    )
    .await?;
    stack.until_status(id, "done", WITHIN).await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, &format!("/jobs/{id}"))).await?;
    browser.until_reads("#log", "<script>document.title='taken'</script>").await?;
    let markup = "return document.querySelectorAll('#log script, #log img, #log iframe, #log a').length";
    assert_eq!(browser.run(markup, Vec::new()).await?, json!(0));
    let title = browser.run("return document.title", Vec::new()).await?;
    assert_eq!(title, json!(format!("Job {id} · Orch")));
    let shown = browser.run("return document.getElementById('log').textContent.length", Vec::new()).await?;
    assert!(shown.as_u64().is_some_and(|length| length < 2_000_000), "{shown}");
    let controls = "return /[\\x00-\\x08\\x1b\\u202e]/.test(document.getElementById('log').textContent)";
    assert_eq!(browser.run(controls, Vec::new()).await?, json!(false));

    // What it said, and its result.
    browser.fill("#log-find", "alert(1)").await?;
    browser.until_reads("#log-found", "2 found").await?;
    browser.close().await?;
    stack.finish().await
}
