//! With tokens: a login, a role that looks and one that acts.

use e2e::shop::{enqueue, shop};
use serde_json::json;

use crate::browser::{Browser, View};
use crate::url;

#[tokio::test]
async fn who_may_only_look_sees_no_buttons_and_who_may_act_does() -> anyhow::Result<()> {
    let stack =
        shop().env("ORCH_CONSOLE_TOKEN", "act").env("ORCH_CONSOLE_READ_TOKEN", "look").start().await?;
    enqueue(&stack, "then=hang").await?;
    let browser = Browser::start(View::DESK).await?;
    let buttons = "return document.querySelectorAll('main form, #pause form').length";

    browser.open(&url(&stack, "/")).await?;
    browser.fill("#token", "wrong").await?;
    browser.click("main button").await?;
    browser.until_reads("#problem", "not a token").await?;
    browser.fill("#token", "look").await?;
    browser.click("main button").await?;
    browser.until_reads("#running", "#1 ").await?;
    assert_eq!(browser.run(buttons, Vec::new()).await?, json!(0));

    browser.click("form[action='/logout'] button").await?;
    browser.fill("#token", "act").await?;
    browser.click("main button").await?;
    browser.until_reads("#running", "#1 ").await?;
    browser.click("#running form button").await?;
    browser.accept().await?;
    browser.until_reads("#recent", "cancelled").await?;
    browser.close().await?;
    stack.finish().await
}
