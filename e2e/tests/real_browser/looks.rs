//! Pages that everybody can use: no serious finding of axe-core, light and dark, on a desk and on a phone. With
//! `ORCH_SCREENSHOTS` set to a folder the pictures are kept there.

use anyhow::Context as _;
use e2e::harness::{Service, Stack, get, until};
use e2e::shop::{WITHIN, enqueue, shop};
use serde_json::{Value, json};

use crate::browser::{Browser, View};
use crate::url;

#[tokio::test]
async fn no_page_has_a_serious_finding_and_all_of_it_fits_a_phone() -> anyhow::Result<()> {
    let (stack, failed) = busy().await?;
    for (name, view) in [
        ("light", View::DESK),
        ("dark", View { dark: true, ..View::DESK }),
        ("phone", View { width: 500, height: 900, dark: false }),
    ] {
        let browser = Browser::start(view).await?;
        for (page, path, ready) in [
            ("overview", "/".to_owned(), "#running"),
            ("job", format!("/jobs/{failed}"), "#log"),
            ("audit", "/audit".to_owned(), "main"),
            ("retry-many", "/requeue?status=failed".to_owned(), "#found"),
            ("raise", "/raise?scope=job&key=1".to_owned(), "main"),
        ] {
            browser.open(&url(&stack, &path)).await?;
            browser.until_reads(ready, " ").await?;
            assert_eq!(serious(&browser).await?, Vec::<String>::new(), "{page}, {name}");
            let overflow = "return document.documentElement.scrollWidth - window.innerWidth";
            let overflow = browser.run(overflow, Vec::new()).await?;
            assert!(
                overflow.as_i64().is_some_and(|pixels| pixels <= 0),
                "{page}, {name}: {overflow} too wide"
            );
            if page == "overview" && view.width == View::DESK.width {
                let hidden = "return document.documentElement.scrollHeight - window.innerHeight";
                let hidden = browser.run(hidden, Vec::new()).await?;
                assert!(
                    hidden.as_i64().is_some_and(|pixels| pixels <= 0),
                    "{hidden} pixels are below the screen"
                );
            }
            keep(&browser, &format!("{page}-{name}.png")).await?;
        }
        browser.close().await?;
    }
    std::fs::write(stack.folder().join(DOOR), "")?;
    until_queue(&stack, |counts| counts["running"] == json!(0) && counts["queued"] == json!(0)).await?;
    stack.finish().await
}

/// The file that the agents of [`busy`] wait for.
const DOOR: &str = "door";

#[tokio::test]
async fn the_login_has_no_serious_finding() -> anyhow::Result<()> {
    let stack = shop().env("ORCH_CONSOLE_TOKEN", "act").start().await?;
    let browser = Browser::start(View::DESK).await?;
    browser.open(&url(&stack, "/login")).await?;
    assert_eq!(serious(&browser).await?, Vec::<String>::new());
    browser.close().await?;
    stack.finish().await
}

/// A stack with something in every part of the overview; and the job that failed.
async fn busy() -> anyhow::Result<(Stack, i64)> {
    let stack = shop().env("ORCH_MAX_ATTEMPTS", "1").env("ORCH_RUNNER_SLOTS", "3").runners(2).start().await?;
    let failed = enqueue(&stack, "say=3 tool=4 stderr=300 then=crash:2").await?;
    stack.until_status(failed, "failed", WITHIN).await?;
    for _ in 0..4 {
        let id = enqueue(&stack, "tool=2 then=success").await?;
        stack.until_status(id, "done", WITHIN).await?;
    }
    let door = stack.folder().join(DOOR);
    for _ in 0..12 {
        enqueue(&stack, &format!("say=2 await={} then=success", door.display())).await?;
    }
    until_queue(&stack, |counts| counts["running"].as_u64() >= Some(4)).await?;
    Ok((stack, failed))
}

async fn until_queue(stack: &Stack, holds: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    let console = stack.addr(Service::Console);
    until("the counts of the queue", WITHIN, || async {
        Ok(holds(&get(console, "/queue").await?.json()?["counts"]).then_some(()))
    })
    .await
}

/// The serious and critical findings of axe-core, each with where.
async fn serious(browser: &Browser) -> anyhow::Result<Vec<String>> {
    const AUDIT: &str = "const done = arguments[arguments.length - 1]; \
        axe.run().then((found) => done(found.violations), (error) => done([{id: String(error), impact: 'critical'}]));";
    let path = std::env::var_os("ORCH_TEST_AXE").context("ORCH_TEST_AXE is not set: run ./dev test")?;
    browser.run(&std::fs::read_to_string(path)?, Vec::new()).await?;
    let found = browser.run_async(AUDIT, Vec::new()).await?;
    let grave = |one: &&Value| matches!(one["impact"].as_str(), Some("serious" | "critical"));
    let shown = |one: &Value| format!("{}: {} at {}", one["id"], one["help"], one["nodes"][0]["html"]);
    Ok(found.as_array().context("axe gave no list")?.iter().filter(grave).map(shown).collect())
}

async fn keep(browser: &Browser, name: &str) -> anyhow::Result<()> {
    let Some(folder) = std::env::var_os("ORCH_SCREENSHOTS") else { return Ok(()) };
    std::fs::create_dir_all(&folder)?;
    // The pictures of two runs differ as little as they can.
    let still =
        "for (const time of document.querySelectorAll('time')) time.textContent = 'a moment'; return 0";
    assert_eq!(browser.run(still, Vec::new()).await?, json!(0));
    Ok(std::fs::write(std::path::Path::new(&folder).join(name), browser.screenshot().await?)?)
}
