//! Agents in worktrees of a repository behind a forge that asks for a password: the next run goes on where the last one
//! committed, no agent sees the credential, and a forge that refuses it is a matter for a person.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use e2e::forges::Gitea;
use e2e::harness::{Outside, Stack, StackBuilder, skip, until};
use serde_json::Value;

use crate::shop::{WITHIN, spent, verdicts};

pub(crate) async fn forge(folder: &Path) -> anyhow::Result<Gitea> {
    let (person, bare) = (folder.join("person"), folder.join("forge.git"));
    git(folder, &["init", "--quiet", "--initial-branch=main", "person"])?;
    std::fs::create_dir(person.join(".claude"))?;
    std::fs::write(person.join(".claude/settings.json"), "{}\n")?;
    git(&person, &["add", "--all"])?;
    git(&person, &["commit", "--quiet", "--message", "first"])?;
    git(folder, &["clone", "--quiet", "--bare", "person", "forge.git"])?;
    let gitea = Gitea::start("acme/shop").await?;
    gitea.attach(&bare).await?;
    Ok(gitea)
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let out = std::process::Command::new("git")
        .args(["-c", "user.name=jane", "-c", "user.email=jane@localhost"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()?;
    ensure!(out.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

async fn stack(gitea: &Gitea, token: &str, hooks: &str) -> anyhow::Result<Stack> {
    builder(gitea, token, hooks).start().await
}

fn builder(gitea: &Gitea, token: &str, hooks: &str) -> StackBuilder {
    let project = format!(
        "[[project]]\nname = \"shop\"\ngitea_repo = \"acme/shop\"\nclone_url = \"{}\"\nbase = \"main\"\n{hooks}\n\
         [[stage]]\nname = \"work\"\nrole = \"developer\"\nprompt = \"prompt.md\"\n",
        gitea.clone_url()
    );
    Stack::builder()
        .orch_toml(&project)
        .file("prompt.md", "{{ body }}\n")
        .env("ORCH_BACKOFF_BASE_SECONDS", "1")
        .env("ORCH_BACKOFF_MAX_SECONDS", "2")
        .env("ORCH_QUEUE_POLL_INTERVAL", "500ms")
        .env("ORCH_GIT_TOKEN", token)
}

async fn work(stack: &Outside, directive: &str) -> anyhow::Result<i64> {
    let prompt = format!("fake: {directive}");
    let asked =
        ["enqueue", "--project", "shop", "--stage", "work", "--work-item", "SHOP-7", "--prompt", &prompt];
    stack.orch(&asked).await?["id"].as_i64().context("no job id")
}

#[tokio::test]
async fn the_next_run_goes_on_where_the_last_one_committed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let gitea = forge(folder.path()).await?;
    let token = gitea.orch().token;
    let log = folder.path().join("hooks");
    let hooks = format!(
        "[project.hooks]\nafter_create = \"echo made >>{0}\"\nbefore_run = [\"/bin/sh\", \"-c\", \"echo before >>{0}\"]\n\
         after_run = \"echo after >>{0}\"",
        log.display()
    );
    let stack = stack(&gitea, &token, &hooks).await?;
    let dumps = ["one.json", "two.json"].map(|name| stack.folder().join(name));
    for dump in &dumps {
        let directive = format!("dump={} commit=work.txt", dump.display());
        let id = work(&stack, &directive).await?;
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
    }
    let given: Vec<Value> = dumps
        .iter()
        .map(|dump| anyhow::Ok(serde_json::from_slice(&std::fs::read(dump)?)?))
        .collect::<anyhow::Result<_>>()?;
    let place = PathBuf::from(given[0]["cwd"].as_str().context("no cwd")?);
    assert_eq!(given[1]["cwd"], given[0]["cwd"]);
    assert!(place.ends_with("shop/SHOP-7"), "{}", place.display());
    assert!(given.iter().all(|given| !given.to_string().contains(&token)), "the agent has the credential");
    assert_eq!(git(&place, &["log", "--format=%an %s"])?, "Orch by the fake\nOrch by the fake\njane first");
    assert_eq!(git(&place, &["status", "--porcelain", "--branch"])?, "## orch/SHOP-7");
    assert_eq!(std::fs::read_to_string(place.join(".claude/settings.json"))?, "{}\n");
    assert_eq!(std::fs::read_to_string(&log)?, "made\nbefore\nafter\nbefore\nafter\n");
    assert_eq!(gitea.branch("orch/SHOP-7"), None, "the stage does not push");
    stack.finish().await
}

#[tokio::test]
async fn agents_that_are_users_of_their_own_work_in_worktrees_as_ever() -> anyhow::Result<()> {
    const USERS: std::ops::RangeInclusive<u32> = 60_620..=60_622;
    if !rustix::process::geteuid().is_root() {
        return skip("worktrees of users of their own", "only root starts programs as somebody else");
    }
    let folder = tempfile::tempdir()?;
    let gitea = forge(folder.path()).await?;
    let token = gitea.orch().token;
    let hooks = "[project.hooks]\nbefore_run = [\"/bin/sh\", \"-c\", \"id -u >hook\"]";
    let users = format!("{}-{}", USERS.start(), USERS.end());
    let stack = builder(&gitea, &token, hooks).env("ORCH_AGENT_USERS", &users).start().await?;
    let place = stack.folder().join("runner-0/work/shop/SHOP-7");
    for _ in 0..2 {
        let id = work(&stack, "dump=given.json commit=work.txt").await?;
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
        for name in ["work.txt", "hook", "given.json", ".claude/settings.json"] {
            let owner = std::fs::metadata(place.join(name)).with_context(|| name)?.uid();
            assert!(USERS.contains(&owner) && owner != *USERS.start(), "{name} is user {owner}'s");
        }
        let hook = std::fs::read_to_string(place.join("hook"))?;
        assert_eq!(hook.trim(), std::fs::metadata(&place)?.uid().to_string(), "the hook is the agent's user");
    }
    assert_eq!(
        git_as_runner(&place, &["log", "--format=%an %s"])?,
        "Orch by the fake\nOrch by the fake\njane first"
    );
    let open = |name: &str| std::fs::metadata(stack.folder().join(name)).map(|found| found.mode() & 0o077);
    assert_eq!((open("runner-0/state/node-0")?, open("runner-0/state")?), (0, 0o011));
    stack.finish().await
}

/// In a repository of somebody else's, which git wants to be told of.
fn git_as_runner(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let safe = ["-c", "safe.directory=*"];
    git(folder, &[&safe, arguments].concat())
}

#[tokio::test]
async fn a_refused_credential_is_said_at_once_and_costs_no_other_try() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let gitea = forge(folder.path()).await?;
    let stack = stack(&gitea, "not-the-token", "").await?;
    let id = work(&stack, "commit=work.txt").await?;
    let job = stack.until_status(id, "failed", WITHIN).await?;
    assert_eq!(verdicts(&job), [("permanent", "workspace_auth")], "{job:#}");
    let evidence = job["runs"][0]["evidence"].as_str().unwrap_or_default();
    assert!(evidence.contains("look at ORCH_GIT_TOKEN") && !evidence.contains("not-the-token"), "{evidence}");
    let item = until("an item that needs a person", WITHIN, || async {
        let items = stack.orch(&["items", "--state", "needs_you"]).await?;
        Ok(items["items"].as_array().and_then(|items| items.first().cloned()))
    })
    .await?;
    assert!(item.to_string().contains("ORCH_GIT_TOKEN"), "{item:#}");
    // The provider had no part in it: its account is neither held nor any nearer to an open breaker.
    let queue = stack.orch(&["queue"]).await?;
    let breaker = &queue["resilience"]["breaker"][0];
    assert_eq!(
        (&breaker["state"], &breaker["consecutive_transient"]),
        (&"closed".into(), &0.into()),
        "{queue:#}"
    );
    stack.finish().await
}
