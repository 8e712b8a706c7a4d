//! Webhooks that never come: the reconciler finds what they would have told, once, and ends what is no longer there.

use e2e::forges::gitea::ReviewState;
use e2e::forges::plane::Project;
use e2e::forges::{Gitea, Plane};
use e2e::harness::{SECRET, Service, Stack, Webhook, until};
use serde_json::{Value, json};

use crate::shop::{LAUNCH_POINTS, PLANE_PROJECT, WITHIN, WORKSPACE, shop};

const SHA: &str = "1111111111111111111111111111111111111111";
const OTHER_SHA: &str = "2222222222222222222222222222222222222222";

async fn forges() -> anyhow::Result<(Plane, Gitea)> {
    let project = Project {
        slug: "acme".to_owned(),
        workspace: WORKSPACE.parse()?,
        id: PLANE_PROJECT.parse()?,
        identifier: "SHOP".to_owned(),
    };
    let (plane, gitea) = (Plane::start(project).await?, Gitea::start("acme/shop").await?);
    plane.set_rate_limit(None);
    Ok((plane, gitea))
}

fn project(plane: &Plane, more: &str) -> String {
    format!(
        "[identity]\nplane_user_id = \"{}\"\n[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\n\
         plane_workspace = \"acme\"\nplane_workspace_id = \"{WORKSPACE}\"\nplane_project_id = \"{PLANE_PROJECT}\"\n\
         plane_identifier = \"SHOP\"\nserial = \"none\"\n{more}",
        plane.orch().id
    )
}

fn stage(name: &str, more: &str) -> String {
    format!("[[stage]]\nname = \"{name}\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n{more}")
}

fn trigger(on: &str, stage: &str) -> String {
    format!("[[trigger]]\non = \"{on}\"\nstage = \"{stage}\"\n")
}

/// A stack that asks every second, and one that has asked: what is there now is known.
async fn started(plane: &Plane, gitea: &Gitea, orch_toml: &str) -> anyhow::Result<Stack> {
    let stack = shop()
        .orch_toml(orch_toml)
        .env("ORCH_RECONCILE_INTERVAL", "1s")
        .env("ORCH_PLANE_API_URL", &plane.url())
        .env("ORCH_PLANE_API_KEY", &plane.orch().key)
        .env("ORCH_GITEA_API_URL", &gitea.url())
        .env("ORCH_GITEA_TOKEN", &gitea.orch().token)
        .start()
        .await?;
    rounds(plane, gitea, 2).await?;
    Ok(stack)
}

/// Waits until both listings were read this many times more.
async fn rounds(plane: &Plane, gitea: &Gitea, more: usize) -> anyhow::Result<()> {
    let asked = || {
        let of_plane =
            plane.requests().iter().filter(|asked| asked.what.path.ends_with("/work-items/")).count();
        let of_gitea = gitea.requests().iter().filter(|asked| asked.what.path.ends_with("/pulls")).count();
        (of_plane, of_gitea)
    };
    let before = asked();
    until("rounds of the reconciler", WITHIN, || async {
        let now = asked();
        Ok((now.0 >= before.0 + more && now.1 >= before.1 + more).then_some(()))
    })
    .await
}

async fn jobs(stack: &Stack) -> anyhow::Result<Vec<Value>> {
    Ok(stack.orch(&["jobs"]).await?["jobs"].as_array().cloned().unwrap_or_default())
}

async fn stages(stack: &Stack) -> anyhow::Result<Vec<String>> {
    let jobs = jobs(stack).await?;
    let mut stages: Vec<String> =
        jobs.iter().map(|job| job["stage"].as_str().unwrap_or_default().to_owned()).collect();
    stages.sort();
    Ok(stages)
}

async fn item(stack: &Stack, key: &str) -> anyhow::Result<Value> {
    let items = stack.orch(&["items"]).await?;
    let found = items["items"].as_array().into_iter().flatten().find(|item| item["key"] == key);
    Ok(found.cloned().unwrap_or_default())
}

async fn until_state(stack: &Stack, key: &str, state: &str) -> anyhow::Result<Value> {
    until(&format!("{key} to be {state}"), WITHIN, || async {
        let item = item(stack, key).await?;
        Ok((item["state"] == state).then_some(item))
    })
    .await
}

#[tokio::test]
async fn what_no_webhook_announced_is_found_once_and_a_late_webhook_confirms_it() -> anyhow::Result<()> {
    let (plane, gitea) = forges().await?;
    let jane = plane.jane();
    let old = plane.create_issue(&jane, "Old", "<p>known</p>");
    let launches: Vec<(&str, &str)> = LAUNCH_POINTS.into_iter().collect();
    // A push to a pull request's branch is that one's affair, and its own webhook's.
    let when = |point: &str| if point == "gitea.push" { "when = { branch = \"alone\" }\n" } else { "" };
    let stages_of =
        launches.iter().map(|(point, name)| stage(name, "") + &trigger(point, name) + when(point));
    let orch_toml = project(&plane, "") + &stages_of.collect::<String>();
    let mut stack = started(&plane, &gitea, &orch_toml).await?;
    assert_eq!(stages(&stack).await?, Vec::<String>::new(), "what was there before is no news");

    // Nothing is sent: ingest's address is not even known to them.
    let new = plane.create_issue(&jane, "New", "<p>please</p>");
    plane.comment(&jane, &new, "<p>/agent go</p>");
    plane.move_issue(&jane, &old, "In Progress");
    plane.label_issue(&jane, &old, &["agent"]);
    let dev = gitea.jane();
    gitea.push(&dev, "feature/x", SHA);
    let number = gitea.open_pull_request(&dev, "feature/x", "main", "Fix it", "because");
    gitea.review(&gitea.user("joe"), number, ReviewState::Rejected, "not yet");
    gitea.set_status(&dev, SHA, "ci/test", "failure", "2 failed");
    gitea.push(&dev, "alone", OTHER_SHA);

    let mut expected: Vec<String> = launches.iter().map(|(_, name)| (*name).to_owned()).collect();
    expected.sort();
    until("every launch", WITHIN, || async {
        Ok((stages(&stack).await?.len() >= expected.len()).then_some(()))
    })
    .await?;
    assert_eq!(stages(&stack).await?, expected);

    // Again and again, and after a restart in between, nothing is found twice.
    rounds(&plane, &gitea, 2).await?;
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    rounds(&plane, &gitea, 3).await?;
    assert_eq!(stages(&stack).await?, expected);
    for job in jobs(&stack).await? {
        stack.until_status(job["id"].as_i64().unwrap_or_default(), "done", WITHIN).await?;
    }
    let queue = stack.orch(&["queue"]).await?;
    assert_eq!(queue["alerts"]["pending"], 2, "one for each source: {queue:#}");

    // Now the webhooks come after all.
    let mut late = Vec::new();
    for sent in plane.hooks().sent() {
        late.push(Webhook::plane(SECRET, &sent.what.kind, sent.what.body));
    }
    for sent in gitea.hooks().sent() {
        late.push(Webhook::gitea(SECRET, &sent.what.kind, &sent.what.kind, sent.what.body));
    }
    assert!(late.len() >= expected.len(), "{}", late.len());
    for webhook in late {
        let answer = stack.deliver(&webhook).await?;
        let body = answer.json()?;
        assert!(answer.status.is_success(), "{body}");
        assert_ne!(body["decision"], "enqueued", "{body}");
    }
    assert_eq!(stages(&stack).await?, expected);
    // A webhook that comes first leaves the reconciler nothing.
    plane.hooks().send_to(stack.addr(Service::Ingest), SECRET);
    plane.move_issue(&jane, &old, "Done");
    until("the move", WITHIN, || async { Ok((stages(&stack).await?.len() > expected.len()).then_some(())) })
        .await?;
    rounds(&plane, &gitea, 3).await?;
    assert_eq!(stages(&stack).await?.len(), expected.len() + 1);
    stack.finish().await
}

/// What is told of twice alike is found twice, and no more often: a pull request opened again, the same rejection again, pushes.
#[tokio::test]
async fn what_happens_again_is_found_again() -> anyhow::Result<()> {
    let (plane, gitea) = forges().await?;
    let orch_toml = project(&plane, "")
        + &stage("opened", "")
        + &stage("rejected", "")
        + &stage("pushed", "")
        + "[[trigger]]\non = \"gitea.pull_request\"\nstage = \"opened\"\nwhen = { action = \"reopened\" }\n"
        + &trigger("gitea.review", "rejected")
        + "[[trigger]]\non = \"gitea.push\"\nstage = \"pushed\"\nwhen = { branch = \"release/*\" }\n";
    let dev = gitea.jane();
    gitea.push(&dev, "release/1", SHA);
    let stack = started(&plane, &gitea, &orch_toml).await?;
    let sent_before = gitea.hooks().sent().len();
    let expect = async |expected: &[&str]| {
        until("the jobs", WITHIN, || async {
            Ok((stages(&stack).await?.len() >= expected.len()).then_some(()))
        })
        .await?;
        rounds(&plane, &gitea, 2).await?;
        assert_eq!(stages(&stack).await?, expected);
        anyhow::Ok(())
    };
    gitea.push(&dev, "feature/x", SHA);
    let number = gitea.open_pull_request(&dev, "feature/x", "main", "Fix it", "because");
    rounds(&plane, &gitea, 2).await?;
    for _ in 0..2 {
        gitea.set_open(&dev, number, false);
        rounds(&plane, &gitea, 2).await?;
        gitea.set_open(&dev, number, true);
        rounds(&plane, &gitea, 2).await?;
    }
    expect(&["opened", "opened"]).await?;
    for times in 1..=2 {
        gitea.review(&gitea.user("joe"), number, ReviewState::Rejected, "not yet");
        expect(&["opened", "opened", "rejected", "rejected"][..2 + times]).await?;
    }
    // A branch that was there, one that is new, and one that nobody asks about.
    gitea.push(&dev, "release/1", OTHER_SHA);
    gitea.push(&dev, "release/2", SHA);
    gitea.push(&dev, "elsewhere", OTHER_SHA);
    gitea.push(&dev, "orch/SHOP-9", OTHER_SHA);
    expect(&["opened", "opened", "pushed", "pushed", "rejected", "rejected"]).await?;
    let pushed: Vec<Value> = jobs(&stack).await?.into_iter().filter(|job| job["stage"] == "pushed").collect();
    let mut items: Vec<&str> = pushed.iter().filter_map(|job| job["work_item"].as_str()).collect();
    items.sort_unstable();
    assert_eq!(items, ["acme/shop@release/1", "acme/shop@release/2"]);
    // Their webhooks come after all, and start nothing.
    for sent in gitea.hooks().sent().split_off(sent_before) {
        let late = Webhook::gitea(SECRET, &sent.what.kind, &sent.what.kind, sent.what.body);
        assert_ne!(stack.deliver(&late).await?.json()?["decision"], "enqueued", "{}", sent.what.kind);
    }
    stack.finish().await
}

/// The reconciler may be the first to see an issue, when its label is on it already.
#[tokio::test]
async fn a_label_that_an_issue_got_before_it_was_first_seen_starts_its_stage_once() -> anyhow::Result<()> {
    let (plane, gitea) = forges().await?;
    let labelled =
        "[[trigger]]\non = \"plane.labels_changed\"\nstage = \"labelled\"\nwhen = { label = \"agent\" }\n";
    let created =
        "[[trigger]]\non = \"plane.issue_created\"\nstage = \"labelled\"\nwhen = { label = \"agent\" }\n";
    for triggers in [labelled.to_owned(), format!("{labelled}{created}")] {
        let orch_toml = project(&plane, "") + &stage("labelled", "") + &triggers;
        let stack = started(&plane, &gitea, &orch_toml).await?;
        let sent_before = plane.hooks().sent().len();
        let key = plane.create_issue(&plane.jane(), "New", "<p>please</p>");
        plane.label_issue(&plane.jane(), &key, &["agent"]);
        until("its job", WITHIN, || async { Ok((!stages(&stack).await?.is_empty()).then_some(())) }).await?;
        rounds(&plane, &gitea, 2).await?;
        let jobs = jobs(&stack).await?;
        assert_eq!(jobs.len(), 1, "{jobs:#?}");
        assert_eq!((&jobs[0]["work_item"], &jobs[0]["stage"]), (&Value::from(key), &Value::from("labelled")));
        let late = until("its webhooks", WITHIN, || async {
            let sent = plane.hooks().sent();
            Ok((sent.len() >= sent_before + 2).then(|| sent[sent_before..].to_vec()))
        })
        .await?;
        for sent in late {
            let answer = stack.deliver(&Webhook::plane(SECRET, &sent.what.kind, sent.what.body)).await?;
            assert_ne!(answer.json()?["decision"], "enqueued");
        }
        stack.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_gone_outside_ends_inside() -> anyhow::Result<()> {
    let (plane, gitea) = forges().await?;
    let orch_toml = project(&plane, "") + &stage("created", "") + &trigger("plane.issue_created", "created");
    let stack = started(&plane, &gitea, &orch_toml).await?;
    let jane = plane.jane();
    plane.hooks().send_to(stack.addr(Service::Ingest), SECRET);
    let running = plane.create_issue(&jane, "Runs", "<p>fake: then=hang</p>");
    until("the agent", WITHIN, || async {
        let jobs = jobs(&stack).await?;
        Ok(jobs.iter().any(|job| job["status"] == "running").then_some(()))
    })
    .await?;
    stack.orch(&["pause"]).await?;
    let queued = plane.create_issue(&jane, "Waits", "<p>later</p>");
    let kept = plane.create_issue(&jane, "Stays", "<p>later</p>");
    until("the jobs", WITHIN, || async { Ok((jobs(&stack).await?.len() == 3).then_some(())) }).await?;

    // An error of the forge, or a listing that cannot be read, ends nothing.
    plane.faults().next(http::Method::GET, "/work-items/", e2e::forges::Fault::Status(500), 3);
    rounds(&plane, &gitea, 2).await?;
    assert_eq!(item(&stack, &queued).await?["state"], "active");

    plane.delete_issue(&running);
    plane.delete_issue(&queued);
    for key in [&queued, &running] {
        let gone = || async {
            let ended = item(&stack, key).await?;
            Ok((ended["ended_because"] == "its issue is gone from Plane").then_some(ended))
        };
        assert_eq!(until("the item's end", WITHIN, gone).await?["state"], "cancelled");
    }
    let all_over = || async {
        let jobs = jobs(&stack).await?;
        let cancelled = jobs.iter().filter(|job| job["status"] == "cancelled").count();
        Ok((cancelled == 2).then_some(()))
    };
    until("both jobs to be cancelled", WITHIN, all_over).await?;
    assert_eq!(item(&stack, &kept).await?["state"], "active");
    stack.finish().await
}

/// Both forges may say when they want to be asked again.
#[tokio::test]
async fn a_limit_is_obeyed_and_nothing_is_lost_by_it() -> anyhow::Result<()> {
    const WAIT_S: u64 = 4;
    let (plane, gitea) = forges().await?;
    let orch_toml = project(&plane, "")
        + &stage("created", "")
        + &stage("opened", "")
        + &trigger("plane.issue_created", "created")
        + &trigger("gitea.pull_request", "opened");
    let stack = started(&plane, &gitea, &orch_toml).await?;
    let limit = e2e::forges::Fault::Limited(WAIT_S);
    let limited_at = jiff::Timestamp::now();
    plane.faults().next(http::Method::GET, "/work-items/", limit, 1);
    gitea.faults().next(http::Method::GET, "/pulls", limit, 1);
    plane.create_issue(&plane.jane(), "New", "<p>please</p>");
    gitea.push(&gitea.jane(), "feature/x", SHA);
    gitea.open_pull_request(&gitea.jane(), "feature/x", "main", "Fix it", "because");
    until("both jobs", WITHIN, || async { Ok((stages(&stack).await?.len() >= 2).then_some(())) }).await?;
    assert_eq!(stages(&stack).await?, ["created", "opened"]);
    // What was limited is not in the log: the first of each listing after that is the next one.
    let least = limited_at + std::time::Duration::from_secs(WAIT_S);
    let of_plane = plane.requests().into_iter().filter(|asked| asked.what.path.ends_with("/work-items/"));
    let of_gitea = gitea.requests().into_iter().filter(|asked| asked.what.path.ends_with("/pulls"));
    for asked in [of_plane.collect::<Vec<_>>(), of_gitea.collect()] {
        let next = asked.iter().map(|asked| asked.at).find(|at| *at > limited_at).expect("it asked again");
        assert!(next >= least, "asked at {next}, limited at {limited_at}");
    }
    stack.finish().await
}

/// A push while a review runs makes that review worthless: its agent is ended, and the newest commit is reviewed.
#[tokio::test]
async fn a_push_ends_the_running_review_of_the_commit_before() -> anyhow::Result<()> {
    let (plane, gitea) = forges().await?;
    let orch_toml = project(&plane, "")
        + &stage("mended", "")
        + &stage("reviewed", "gate = [\"verdict\"]\non_fail = \"mended\"\n")
        + &trigger("gitea.pull_request", "reviewed");
    let stack = started(&plane, &gitea, &orch_toml).await?;
    gitea.hooks().send_to(stack.addr(Service::Ingest), SECRET);
    let dev = gitea.jane();
    gitea.push(&dev, "feature/x", SHA);
    let number = gitea.open_pull_request(&dev, "feature/x", "main", "Fix it", "fake: then=hang");
    let of = async |head: &str, status: &str| {
        let jobs = jobs(&stack).await?;
        Ok(jobs.into_iter().find(|job| job["head"] == head && job["status"] == status))
    };
    let first = until("the first review", WITHIN, || of(SHA, "running")).await?;
    gitea.push(&dev, "feature/x", OTHER_SHA);
    let ended = until("its end", WITHIN, || of(SHA, "cancelled")).await?;
    assert_eq!(ended["id"], first["id"]);
    let second = until("the review of the newest", WITHIN, || of(OTHER_SHA, "running")).await?;
    let key = format!("acme/shop#{number}");
    let item = item(&stack, &key).await?;
    assert_eq!((&item["state"], &item["stage"]), (&Value::from("active"), &Value::from("reviewed")));
    assert_eq!(item["head"], OTHER_SHA, "{item:#}");
    assert_eq!(jobs(&stack).await?.len(), 2);
    stack.orch(&["cancel", &second["id"].to_string()]).await?;
    until("the end", WITHIN, || of(OTHER_SHA, "cancelled")).await?;
    stack.finish().await
}

/// An outsider's pull request is looked at, and goes further once somebody who may gives it the label.
#[tokio::test]
async fn an_outsiders_pull_request_waits_for_the_label() -> anyhow::Result<()> {
    let (plane, _) = forges().await?;
    let orch_toml = project(&plane, "trust = \"member\"\ntrust_label = \"let-in\"\n")
        + &stage("looked", "on_pass = \"landed\"\n")
        + &stage("landed", "")
        + &trigger("gitea.pull_request", "looked");
    let stack = shop().orch_toml(&orch_toml).start().await?;
    let repository = json!({"id": 17, "full_name": "acme/shop", "owner": {"id": 3, "login": "acme"}});
    let fork = json!({"id": 99, "full_name": "eve/shop"});
    let (eve, maintainer) = (json!({"id": 66, "login": "eve"}), json!({"id": 3, "login": "acme"}));
    let told = |number: u32, action: &str, kind: &str, by: &Value, labels: &[&str]| {
        let labels: Vec<Value> = labels.iter().map(|name| json!({"id": 7, "name": name})).collect();
        let body = json!({"action": action, "number": number, "repository": repository, "sender": by,
            "pull_request": {"number": number, "title": "Let me help", "body": "please", "state": "open", "user": eve,
                "labels": labels, "updated_at": "2026-11-20T09:15:00Z",
                "base": {"ref": "main", "sha": OTHER_SHA, "repo_id": 17, "repo": repository},
                "head": {"ref": "orch/SHOP-1", "sha": SHA, "repo_id": 99, "repo": fork}}});
        Webhook::gitea(SECRET, "pull_request", kind, body.to_string())
    };
    for number in [5, 6] {
        let opened = told(number, "opened", "pull_request", &eve, &[]);
        assert_eq!(stack.deliver(&opened).await?.json()?["decision"], "enqueued");
        let waits = until_state(&stack, &format!("acme/shop#{number}"), "needs_you").await?;
        assert_eq!((&waits["needs"]["why"], &waits["standing"]), (&json!("trust"), &json!("outsider")));
    }
    assert_eq!(
        stages(&stack).await?,
        ["looked", "looked"],
        "a fork's branch is nobody's, and nothing followed"
    );
    // Another label is nobody's word.
    for (number, label) in [(5, "bug"), (6, "let-in")] {
        let labelled = told(number, "label_updated", "pull_request_label", &maintainer, &[label]);
        assert_eq!(stack.deliver(&labelled).await?.json()?["decision"], "ignored");
    }
    let done = until_state(&stack, "acme/shop#6", "done").await?;
    assert_eq!((&done["stage"], &done["standing"]), (&json!("landed"), &json!("lifted")));
    assert_eq!(item(&stack, "acme/shop#5").await?["state"], "needs_you");
    assert_eq!(stages(&stack).await?, ["landed", "looked", "looked"]);
    stack.finish().await
}

#[tokio::test]
async fn tests_and_a_persons_word_on_plane_move_what_waits_for_them() -> anyhow::Result<()> {
    let (plane, gitea) = forges().await?;
    let orch_toml = project(&plane, "approve_state = \"Done\"\n")
        + &stage("checked", "gate = [\"ci\"]\non_pass = \"landed\"\n")
        + &stage("landed", "")
        + &stage("planned", "gate = [\"approval\"]\non_pass = \"landed\"\n")
        + &trigger("gitea.pull_request", "checked")
        + &trigger("plane.issue_created", "planned");
    let stack = started(&plane, &gitea, &orch_toml).await?;
    let (jane, dev) = (plane.jane(), gitea.jane());
    gitea.push(&dev, "feature/x", SHA);
    let number = gitea.open_pull_request(&dev, "feature/x", "main", "Fix it", "because");
    let key = format!("acme/shop#{number}");
    let waits = until_state(&stack, &key, "waits_for_ci").await?;
    assert!(waits["waits_for"].as_str().unwrap_or_default().contains(SHA), "{waits:#}");
    gitea.set_status(&dev, SHA, "build", "pending", "");
    gitea.set_status(&gitea.orch(), SHA, "orch/checked", "success", "");
    rounds(&plane, &gitea, 2).await?;
    assert_eq!(item(&stack, &key).await?["state"], "waits_for_ci");
    gitea.set_status(&dev, SHA, "build", "success", "");
    let done = until_state(&stack, &key, "done").await?;
    assert_eq!(done["stage"], "landed");

    let issue = plane.create_issue(&jane, "Plan", "<p>please</p>");
    let needs = until_state(&stack, &issue, "needs_you").await?;
    assert_eq!(needs["needs"]["why"], "approval");
    plane.move_issue(&jane, &issue, "Done");
    let done = until_state(&stack, &issue, "done").await?;
    assert_eq!(done["stage"], "landed");
    assert_eq!(stages(&stack).await?, ["checked", "landed", "landed", "planned"]);
    stack.finish().await
}
