//! The four internal advances of the built-in pipeline, one job each whatever the forge says of the same facts; and two bots
//! that answer each other for ever, as far as they are let.

use anyhow::{Context, ensure};
use e2e::harness::{Outside, Service, until};
use e2e::night::script::{Round, Script, Stage, Turn, made_up_sha};
use e2e::night::shop::{PROJECT, commented, labelled, pull_request, watched};
use e2e::receiver::Receiver;
use serde_json::Value;

use crate::shop::WITHIN;

/// Far more than a chain may be long.
const ROUNDS: usize = 400;
/// What a chain may be long where a project says nothing.
const HOPS_MAX: usize = 32;

fn passes() -> Script {
    Script {
        analyst: Turn::default(),
        architect: Turn::default(),
        rounds: vec![Round::default()],
        deployer: Turn::default(),
    }
}

/// Waits until the item is in that state at that stage and nothing of it is under way.
async fn until_item(stack: &Outside, key: &str, state: &str, at: &str) -> anyhow::Result<Value> {
    until(&format!("{key} {state} at {at}"), WITHIN, || async {
        let listed = stack.orch(&["items"]).await?;
        let items = listed["items"].as_array().context("no items")?;
        let found = items.iter().find(|item| item["key"] == key).cloned();
        Ok(found.filter(|item| item["state"] == state && item["stage"] == at))
    })
    .await
}

/// Every job, the oldest first: its stage, its parent, whether a webhook is its own cause.
async fn jobs(stack: &Outside) -> anyhow::Result<Vec<Value>> {
    let listed = stack.orch(&["jobs"]).await?;
    let mut jobs = listed["jobs"].as_array().context("no jobs")?.clone();
    jobs.sort_by_key(|job| job["id"].as_i64());
    Ok(jobs)
}

#[tokio::test]
async fn the_four_advances_are_one_job_each_whatever_webhooks_say_of_the_same_facts() -> anyhow::Result<()> {
    let room = tempfile::tempdir()?;
    let stage = Stage::create(room.path().join("play"))?;
    stage.give("SHOP-7", &passes())?;
    let mut stack = watched(&stage, PROJECT).start().await?;
    assert_eq!(stack.deliver(&labelled(&stack, 7)).await?.status, 202);
    until_item(&stack, "SHOP-7", "done", "development").await?;
    let head = made_up_sha("SHOP-7", 0);
    let opened = pull_request(&stack, "opened", "SHOP-7", 3, &head, "Mend the total");
    assert_eq!(stack.deliver(&opened).await?.status, 202);
    until_item(&stack, "SHOP-7", "done", "deploy").await?;

    // The same commit again: as it was, under another id, as a synchronized one, and after a restart.
    let renamed = pull_request(&stack, "opened", "SHOP-7", 3, &head, "Mend the total at last");
    let again = pull_request(&stack, "synchronized", "SHOP-7", 3, &head, "Mend the total");
    for webhook in [&opened, &renamed, &again] {
        let answer = stack.deliver(webhook).await?;
        assert_eq!((answer.status.as_u16(), &answer.json()?["decision"]), (200, &Value::from("duplicate")));
    }
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    let answer = stack.deliver(&labelled(&stack, 7)).await?;
    assert_eq!(answer.json()?["decision"], "duplicate");

    let jobs = jobs(&stack).await?;
    let ids: Vec<&Value> = jobs.iter().map(|job| &job["id"]).collect();
    let told: Vec<(&str, &str, Option<usize>)> = jobs
        .iter()
        .map(|job| {
            let parent = ids.iter().position(|id| **id == job["parent_job"]);
            (job["stage"].as_str().unwrap_or("-"), job["status"].as_str().unwrap_or("-"), parent)
        })
        .collect();
    let expected = [
        ("analysis", "done", None),
        ("architecture", "done", Some(0)),
        ("development", "done", Some(1)),
        ("review", "done", None),
        ("testing", "done", Some(3)),
        ("deploy", "done", Some(4)),
    ];
    assert_eq!(told, expected, "{jobs:#?}");
    for job in &jobs[3..] {
        assert_eq!(job["head"], head.as_str(), "{job:#}");
    }
    // Each was told what the one before it said.
    let seen = stage.seen()?;
    for (role, before) in [
        ("architect", "analysis"),
        ("developer", "architecture"),
        ("tester", "review"),
        ("deployer", "testing"),
    ] {
        let prompt =
            &seen.iter().find(|seen| seen.role == role).with_context(|| format!("no {role}"))?.prompt;
        assert!(prompt.contains(&format!("the stage {before} said: pass\n")), "{role}: {prompt}");
    }
    stack.finish().await
}

#[tokio::test]
async fn two_bots_that_answer_each_other_stop_at_the_chains_limit() -> anyhow::Result<()> {
    let room = tempfile::tempdir()?;
    let stage = Stage::create(room.path().join("play"))?;
    stage.give("default", &passes())?;
    let toml = format!(
        "{PROJECT}[[stage]]\nname = \"answer\"\nrole = \"analyst\"\nprompt = \"answer.md\"\n\
         [[trigger]]\non = \"plane.comment\"\nstage = \"answer\"\nwhen = {{ command = \"/agent\" }}\n"
    );
    let prompt = "You are the analyst of an unattended pipeline.\n{{ request }}\n";
    let telegram = Receiver::start().await?;
    let stack = watched(&stage, &toml)
        .file("answer.md", prompt)
        .env("ORCH_TELEGRAM_BOT_TOKEN", "7777:of-a-bot")
        .env("ORCH_TELEGRAM_CHAT_ID", "-42")
        .env("ORCH_TELEGRAM_API_URL", &telegram.url())
        .start()
        .await?;
    // Ten minutes of theirs are as many rounds as they get: each answers as soon as the other has.
    let mut enqueued = Vec::new();
    for round in 1..=ROUNDS {
        let by = ["helper-bot", "review-bot"][round % 2];
        let words = format!("/agent what do you say to answer number {round}?");
        let answer = stack.deliver(&commented(&stack, 7, by, round, &words)).await?.json()?;
        match answer["decision"].as_str() {
            Some("enqueued") => {
                ensure!(enqueued.len() + 1 == round, "round {round} goes on after a round that did not");
                let job = answer["job_ids"][0].as_i64().context("a job")?;
                stack.until_status(job, "done", WITHIN).await?;
                enqueued.push(job);
            }
            Some("ignored") => {}
            _ => panic!("round {round}: {answer}"),
        }
    }
    assert_eq!(enqueued.len(), HOPS_MAX + 1, "the chain's first job and as many as may follow");
    let items = stack.orch(&["items", "--state", "needs_you"]).await?;
    let items = items["items"].as_array().context("no items")?;
    assert_eq!(items.len(), 1, "{items:#?}");
    assert_eq!(items[0]["needs"]["why"], "hops", "{items:#?}");
    assert_eq!(stage.seen()?.len(), HOPS_MAX + 1, "nobody else was started");

    // People are told once, however many comments there were after that.
    let settled = || async {
        let queue = stack.orch(&["queue"]).await?;
        Ok((queue["alerts"]["pending"] == 0 && !telegram.taken().is_empty()).then_some(()))
    };
    until("the alert", WITHIN, settled).await?;
    let told: Vec<String> = telegram.taken().iter().map(|seen| seen.field("text")).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("needs you") && told[0].contains("which looks like a loop"), "{told:#?}");

    // A person lets it go on; so do the bots, and the chain is as long once more at most.
    let key = items[0]["key"].as_str().context("a key")?;
    stack.orch(&["approve", key]).await?;
    let first =
        stack.deliver(&commented(&stack, 7, "helper-bot", ROUNDS + 1, "/agent once more")).await?.json()?;
    assert_eq!(first["decision"], "enqueued", "{first}");
    let job = first["job_ids"][0].as_i64().context("a job")?;
    stack.until_status(job, "done", WITHIN).await?;
    stack.finish().await
}
