//! What the tracker and the forge are told, by real processes: once each, though the scheduler is killed when it has told
//! something and not noted it yet; and Orch's own echo starts nothing, whosever credential it was written with.

use std::time::Duration;

use anyhow::Context;
use e2e::forges::plane::{self, Project};
use e2e::forges::{Fault, Gitea, Plane, gitea};
use e2e::harness::{SECRET, Service, Stack, until};
use http::Method;

use crate::shop::{PLANE_PROJECT, WITHIN, WORKSPACE};

/// Longer than the lease of whoever was killed with a letter in its hands.
const TOLD_WITHIN: Duration = Duration::from_mins(3);
/// An agent's last words, which its comment shows.
const SAID: &str = "mended the total";

/// No `[identity]`: what is our own is known by its marks alone. Any comment and any final status would start a stage.
fn orch_toml() -> String {
    let stage =
        |name: &str| format!("[[stage]]\nname = \"{name}\"\nrole = \"reviewer\"\nprompt = \"prompt.md\"\n");
    let trigger = |on: &str, stage: &str| format!("[[trigger]]\non = \"{on}\"\nstage = \"{stage}\"\n");
    let project = format!(
        "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\nplane_workspace = \"acme\"\n\
         plane_workspace_id = \"{WORKSPACE}\"\nplane_project_id = \"{PLANE_PROJECT}\"\nplane_identifier = \"SHOP\"\n\
         [project.report]\non_done = \"completed\"\n"
    );
    [
        project,
        stage("review"),
        stage("answer"),
        trigger("gitea.pull_request", "review"),
        trigger("gitea.ci", "answer"),
        trigger("plane.comment", "answer"),
    ]
    .concat()
}

#[tokio::test]
async fn told_once_each_though_the_scheduler_is_killed_before_it_noted_that() -> anyhow::Result<()> {
    let project = Project {
        slug: "acme".to_owned(),
        workspace: WORKSPACE.parse()?,
        id: PLANE_PROJECT.parse()?,
        identifier: "SHOP".to_owned(),
    };
    let (plane, gitea) = (Plane::start(project).await?, Gitea::start("acme/shop").await?);
    let mut stack = Stack::builder()
        .orch_toml(&orch_toml())
        .file("prompt.md", "{{ body }}\n")
        .env("ORCH_PLANE_API_URL", &plane.url())
        .env("ORCH_PLANE_API_KEY", &plane.orch().key)
        .env("ORCH_GITEA_API_URL", &gitea.url())
        .env("ORCH_GITEA_TOKEN", &gitea.orch().token)
        .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
        .start()
        .await?;
    let key = plane.create_issue(&plane.jane(), "Total is wrong", "");
    for hooks in [plane.hooks(), gitea.hooks()] {
        hooks.send_to(stack.addr(Service::Ingest), SECRET);
    }
    plane.faults().next(Method::POST, "/comments/", Fault::Hang, 1);
    gitea.faults().next(Method::POST, "/statuses/", Fault::Hang, 1);
    let branch = format!("orch/{key}");
    let head = "c0ffee".repeat(6) + "c0de";
    gitea.push(&gitea.jane(), &branch, &head);
    let says = format!("fake: then=success:{}", SAID.replace(' ', "+"));
    let number = gitea.open_pull_request(&gitea.jane(), &branch, "main", "Mend the total", &says);

    // Both have written something of which the scheduler does not know.
    let written = || async { Ok((plane.writes().len() == 1 && gitea.writes().len() == 1).then_some(())) };
    until("a comment and a status that nobody noted", WITHIN, written).await?;
    stack.process(Service::Scheduler).kill().await?;
    stack.process(Service::Scheduler).start().await?;
    let settled = || async {
        let queue = stack.orch(&["queue"]).await?;
        let sinks = queue["alerts"]["sinks"].as_array().context("no sinks")?;
        let waits = sinks.iter().any(|sink| sink["pending"] != "0" && sink["pending"] != 0);
        Ok((!waits && gitea.writes().len() >= 3).then_some(queue))
    };
    let queue = until("forges that were told everything", TOLD_WITHIN, settled).await?;
    assert_eq!(queue["alerts"]["set_aside"], 0, "{queue:#}");

    let on_gitea: Vec<String> = gitea
        .writes()
        .into_iter()
        .map(|write| match write.what {
            gitea::Write::Status { sha, context, state, .. } => format!("{context} {state} {}", sha == head),
            gitea::Write::Commented { number: on, body, .. } => {
                format!("comment {} {}", on == number, body.contains(SAID))
            }
            other @ (gitea::Write::Edited { .. }
            | gitea::Write::Opened { .. }
            | gitea::Write::Pushed { .. }) => {
                format!("{other:?}")
            }
        })
        .collect();
    assert_eq!(on_gitea, ["orch/review pending true", "comment true true", "orch/review success true"]);
    let on_plane: Vec<String> = plane
        .writes()
        .into_iter()
        .map(|write| match write.what {
            plane::Write::Commented { issue, html, .. } => format!("{issue} {}", html.contains(SAID)),
            plane::Write::Moved { issue, to, .. } => format!("{issue} -> {to}"),
            other @ plane::Write::Labelled { .. } => format!("{other:?}"),
        })
        .collect();
    assert_eq!(on_plane, [format!("{key} true"), format!("{key} -> Done")]);

    // The push, the pull request and three echoes; Plane's two. Each was taken, and none but one started anything.
    let echoed =
        || async { Ok((gitea.hooks().sent().len() == 6 && plane.hooks().sent().len() == 3).then_some(())) };
    until("every webhook", WITHIN, echoed).await?;
    let sent = [gitea.hooks().sent(), plane.hooks().sent()].concat();
    let refused: Vec<_> =
        sent.iter().filter(|sent| !matches!(sent.what.answers[..], [Some(200 | 202)])).collect();
    // The issue was opened before webhooks went anywhere.
    assert!(
        refused.iter().all(|sent| sent.what.answers.is_empty() && sent.what.kind == "issue"),
        "{refused:?}"
    );
    let jobs = stack.orch(&["jobs"]).await?;
    assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs:#}");
    stack.finish().await
}
