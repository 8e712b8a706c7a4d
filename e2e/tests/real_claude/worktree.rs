//! One work item in a real repository with the pinned real CLI: its Bash tool commits in the worktree, the runner pushes over HTTP with
//! a credential that the CLI has not, opens the pull request at the forge, and that leads on to the review.

use anyhow::Context;
use e2e::forges::Gitea;
use e2e::harness::{Stack, until};
use e2e::night::repository::{begin, git};
use e2e::stub_api::{Behaviour, Credential};

use crate::stack::{Real, WITHIN};

/// What the CLI is told to run: a commit that says who made it, in which environment.
const WORK: &str =
    "env | cut -d= -f1 | sort >names.txt && date >>work.txt && git add -A && git commit -qm 'Mend the till'";

#[tokio::test]
async fn a_commit_of_the_real_cli_is_pushed_and_reviewed() -> anyhow::Result<()> {
    let room = tempfile::tempdir()?;
    begin(room.path()).await?;
    let gitea = Gitea::start("acme/shop").await?;
    gitea.attach(&room.path().join("shop.git")).await?;
    let project = format!(
        "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\nclone_url = \"{}\"\nbase = \"main\"\n\
         [[stage]]\nname = \"work\"\nrole = \"developer\"\nprompt = \"prompt.md\"\npush = true\n\
         pull_request = true\non_pass = \"review\"\n\
         [[stage]]\nname = \"review\"\nrole = \"reviewer\"\nprompt = \"prompt.md\"\n",
        gitea.clone_url()
    );
    let builder = Stack::builder()
        .orch_toml(&project)
        .file("prompt.md", "Work on {{ work_item }}.\n")
        .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
        .env("ORCH_GITEA_API_URL", &gitea.url())
        .env("ORCH_GITEA_TOKEN", &gitea.orch().token)
        .env("ORCH_GIT_TOKEN", &gitea.orch().token)
        .env("ORCH_RECONCILE_INTERVAL", "1h");
    let script = vec![Behaviour::Tool(WORK.to_owned()), Behaviour::Ok("The till is mended.".to_owned())];
    let real = Real::build(builder, script, Credential::Key).await?;
    let stack = &real.stack;
    let asked = ["enqueue", "--project", "shop", "--stage", "work", "--work-item", "SHOP-7"];
    let id = stack.orch(&asked).await?["id"].as_i64().context("no job id")?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    let run = &job["runs"][0];
    let steps: Vec<_> = run["steps"]
        .as_array()
        .context("no steps")?
        .iter()
        .map(|step| (&step["step"], &step["state"]))
        .collect();
    assert_eq!(
        serde_json::to_value(&steps)?,
        serde_json::json!([["push", "done"], ["pull_request", "done"]]),
        "{job:#}"
    );
    assert!(run["session_id"].is_string() && run["turns"] == 2, "{job:#}");

    // What is on the forge is what the CLI committed, in Orch's name and without Orch's credential.
    let head = gitea.branch("orch/SHOP-7").context("nothing was pushed")?;
    let bare = gitea.bare().context("no repository")?;
    let log = git(&bare, &["log", "-1", "--format=%an %s", &head]).await?;
    assert_eq!(log.trim(), "Orch Mend the till");
    let names = git(&bare, &["show", &format!("{head}:names.txt")]).await?;
    assert!(names.lines().any(|name| name == "ANTHROPIC_BASE_URL"), "{names}");
    assert!(!names.lines().any(|name| name.starts_with("ORCH_GIT")), "{names}");
    let opened = gitea.pull_requests();
    let heads: Vec<_> = opened.iter().map(|(_, one)| (one.head.as_str(), one.base.as_str())).collect();
    assert_eq!(heads, [("orch/SHOP-7", "main")]);

    // The review works on what was pushed.
    let review = until("the review", WITHIN, || async {
        let jobs = stack.orch(&["jobs", "--status", "done"]).await?;
        let found =
            jobs["jobs"].as_array().into_iter().flatten().find(|job| job["stage"] == "review").cloned();
        Ok(found)
    })
    .await?;
    let worktree = stack.folder().join("runner-0/work/shop/SHOP-7");
    assert_eq!(git(&worktree, &["rev-parse", "HEAD"]).await?.trim(), head, "{review:#}");
    real.finish().await
}
