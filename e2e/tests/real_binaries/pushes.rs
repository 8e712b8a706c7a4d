//! The runner and the scheduler die together between a push and what follows from it: nothing is pushed or opened
//! twice, no agent works twice, and the next stage is started once.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::forges::{Fault, Gitea};
use e2e::harness::{Service, Stack, until};
use http::Method;

use crate::shop::{Ledger, WITHIN, spent};
use crate::worktrees::{forge, git};

/// When both die.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The branch is pushed, and the forge has not said yet whether there is a pull request.
    Pushed,
    /// The pull request is open, and its answer is not there yet.
    Opened,
    /// All is done and in the runner's journal, and no scheduler was there to hear of it.
    Reported,
}

#[tokio::test]
async fn killed_between_push_and_advance_nothing_is_done_twice_and_nothing_lost() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let gitea = forge(folder.path()).await?;
    let bare = gitea.bare().context("no repository")?;
    git(&bare, &["config", "core.logAllRefUpdates", "true"])?;
    let mut stack = stack(&gitea).await?;
    let ledger = Ledger::of(&stack);
    for (number, moment) in [Moment::Pushed, Moment::Opened, Moment::Reported].into_iter().enumerate() {
        let key = format!("SHOP-{}", number + 1);
        let job = play(&mut stack, &gitea, &key, moment).await?;
        let told = stack.until_status(job, "done", WITHIN).await?;
        assert_eq!(spent(&told), [0, 0, 0, 1], "{moment:?} {told:#}");

        let next = until("the review", WITHIN, || async {
            let jobs = stack.orch(&["jobs"]).await?;
            let jobs = jobs["jobs"].as_array().cloned().unwrap_or_default();
            let of_item = jobs.into_iter().filter(|job| job["work_item"] == key.as_str()).collect::<Vec<_>>();
            let over = of_item.len() > 1 && of_item.iter().all(|job| job["status"] == "done");
            Ok(over.then_some(of_item))
        })
        .await?;
        let stages: Vec<_> = next.iter().rev().map(|job| job["stage"].as_str().unwrap_or_default()).collect();
        assert_eq!(stages, ["work", "review"], "{moment:?}");
        let pushes = std::fs::read_to_string(bare.join("logs/refs/heads/orch").join(&key))?;
        assert_eq!(pushes.lines().count(), 1, "{moment:?} {pushes}");
        let branch = format!("orch/{key}");
        let opened = gitea.pull_requests().into_iter().filter(|(_, one)| one.head == branch).count();
        assert_eq!(opened, 1, "{moment:?}");
        let agents = ledger.starts().iter().filter(|spawn| spawn.job == job).count();
        assert_eq!(agents, 1, "{moment:?}");
    }
    stack.finish().await
}

/// Lets an agent work, kills both at the moment, and starts them again.
async fn play(stack: &mut Stack, gitea: &Gitea, key: &str, moment: Moment) -> anyhow::Result<i64> {
    match moment {
        Moment::Pushed => gitea.faults().next(Method::GET, "/pulls", Fault::Hang, 1),
        Moment::Opened => gitea.faults().next(Method::POST, "/pulls", Fault::Hang, 1),
        Moment::Reported => {
            gitea.faults().next(Method::POST, "/pulls", Fault::Slow(Duration::from_secs(2)), 1);
        }
    }
    let prompt = format!("fake: {} commit=work.txt", Ledger::of(stack).step());
    let asked = ["enqueue", "--project", "shop", "--stage", "work", "--work-item", key, "--prompt", &prompt];
    let job = stack.orch(&asked).await?["id"].as_i64().context("no job id")?;
    let runs = stack.folder().join("runner-0/state/node-0/runs");
    let branch = format!("orch/{key}");
    let opened = || gitea.pull_requests().into_iter().any(|(_, one)| one.head == branch);
    match moment {
        Moment::Pushed => journaled(&runs, "step-push.result.json").await?,
        Moment::Opened | Moment::Reported => {
            until("the pull request", WITHIN, || async { Ok(opened().then_some(())) }).await?;
        }
    }
    stack.process(Service::Scheduler).kill().await?;
    if matches!(moment, Moment::Reported) {
        journaled(&runs, "report.json").await?;
    }
    stack.process(Service::Runner(0)).kill().await?;
    gitea.faults().clear();
    stack.process(Service::Scheduler).start().await?;
    stack.process(Service::Runner(0)).start().await?;
    Ok(job)
}

/// Waits until a run's journal has this entry.
async fn journaled(runs: &Path, entry: &str) -> anyhow::Result<()> {
    until(entry, WITHIN, || async {
        let runs = std::fs::read_dir(runs).into_iter().flatten().flatten();
        Ok(runs.into_iter().any(|run| run.path().join(entry).exists()).then_some(()))
    })
    .await
}

async fn stack(gitea: &Gitea) -> anyhow::Result<Stack> {
    let project = format!(
        "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\nclone_url = \"{}\"\nbase = \"main\"\n\
         [[stage]]\nname = \"work\"\nrole = \"developer\"\nprompt = \"prompt.md\"\npush = true\n\
         pull_request = true\non_pass = \"review\"\n\
         [[stage]]\nname = \"review\"\nrole = \"reviewer\"\nprompt = \"prompt.md\"\n",
        gitea.clone_url()
    );
    let stack = Stack::builder()
        .orch_toml(&project)
        .file("prompt.md", "{{ body }}\n")
        .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
        .env("ORCH_GITEA_API_URL", &gitea.url())
        .env("ORCH_GITEA_TOKEN", &gitea.orch().token)
        .env("ORCH_RECONCILE_INTERVAL", "1h")
        .env("ORCH_GIT_TOKEN", &gitea.orch().token)
        .start()
        .await?;
    ensure!(stack.folder().join("runner-0/state").is_dir(), "the runner keeps its state elsewhere");
    Ok(stack)
}
