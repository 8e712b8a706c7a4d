//! Runs in worktrees of a real repository: what they find there, what they leave, and that preparing one holds nothing up.
#![expect(clippy::unwrap_used, reason = "a test's own steps")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use domain::outcome::{EndedBy, Exit};
use domain::workspace::WorkspaceFault;
use proto::v1::{CancelRequest, HeadRule, Hooks, LaunchStatus, Repository, RunSpec};

const AGENT: &str = "env >$HERE/env; pwd >$HERE/cwd; git log --oneline | wc -l >$HERE/commits; \
    echo $ORCH_RUN_ID >>work.txt; git add -A; git commit -qm work || exit 9; \
    echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"session_id\":\"s1\",\"result\":\"ok\"}'";

fn git(folder: &Path, arguments: &[&str]) -> String {
    let out = std::process::Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(out.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// A repository with one commit, in the place's folder.
fn forge(place: &Place) -> String {
    let folder = place.dir.path();
    git(folder, &["init", "--quiet", "--initial-branch=main", "forge"]);
    let forge = folder.join("forge");
    git(&forge, &["commit", "--quiet", "--allow-empty", "--message", "first"]);
    forge.display().to_string()
}

fn repository(clone_url: &str) -> Repository {
    Repository {
        clone_url: clone_url.to_owned(),
        base: None,
        branch: "orch/SHOP-12".to_owned(),
        head: None,
        head_rule: HeadRule::Contains.into(),
        pull_request: None,
        hooks: Some(Hooks { timeout_ms: 60_000, ..Hooks::default() }),
    }
}

fn shell(script: String) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
}

fn job(job_id: i64, repository: &Repository) -> RunSpec {
    RunSpec { job_id, repository: Some(repository.clone()), ..spec("work") }
}

#[tokio::test]
async fn a_second_run_goes_on_where_the_first_committed_and_neither_sees_the_credential() {
    let place = Place::new(AGENT);
    let repository = repository(&forge(&place));
    let scheduler = FakeScheduler::start(Script::default()).await;
    let token = service::settings::Secret::new("s3cret-t0ken");
    let options = runner::Options { git_token: Some(token), ..place.options(&scheduler) };
    let mut runner = InProcess::start(options, &scheduler).await;
    let mut folders = Vec::new();
    for (number, commits) in [(1, "1"), (2, "2")] {
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, job(number, &repository)).await;
        let watched = watch(&mut runner.client, &run, 0).await;
        assert_eq!(watched.outcome.exit, Some(Exit::Code(0)), "{}", watched.outcome.tail);
        assert_eq!(read(&place.file("commits")).trim(), commits);
        folders.push(read(&place.file("cwd")).trim().to_owned());
        let dir = runner::run_dir::RunDir::at(place.file("state/node-0/runs").join(&run.run_id));
        let workspace = dir.workspace().unwrap().expect("it is journaled");
        assert_eq!((workspace.branch.as_str(), workspace.base.as_str()), ("orch/SHOP-12", "main"));
        assert_eq!(workspace.path, Path::new(&folders[0]));
        ack(&mut runner.client, &run, &place).await;
    }
    assert_eq!(folders[0], folders[1]);
    let env = read(&place.file("env"));
    assert!(!env.contains("s3cret-t0ken") && !env.contains("ORCH_GIT"), "{env}");
    assert_eq!(git(Path::new(&folders[0]), &["log", "-1", "--format=%an <%ae>"]), "Orch <orch@localhost>");
    runner.stop().await;
}

#[tokio::test]
async fn preparing_holds_up_neither_renewals_nor_a_cancel() {
    let place = Place::new(AGENT);
    let mut repository = repository(&forge(&place));
    let hooks = repository.hooks.as_mut().unwrap();
    hooks.after_create =
        shell(format!("echo $$ >{0}/hook; sleep 600 & echo $! >{0}/child; wait", place.dir.path().display()));
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, job(1, &repository)).await;
    let pids = [place.pid("hook").await, place.pid("child").await];
    let before = scheduler.script().renews.len();
    eventually("more renewals that hold the run", async || {
        let script = scheduler.script();
        let held = script.renews.last().is_some_and(|renew| renew.held.len() == 1);
        (held && script.renews.len() > before + 3).then_some(())
    })
    .await;
    let asked = CancelRequest { run: Some(run.clone()) };
    assert!(runner.client.cancel(asked).await.unwrap().get_ref().held);
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((watched.outcome.ended_by, watched.outcome.exit), (EndedBy::Cancelled, None));
    gone(&pids).await;
    assert_eq!(place.spawns(), 0);
    ack(&mut runner.client, &run, &place).await;
    runner.stop().await;
}

#[tokio::test]
async fn no_agent_starts_after_a_lease_that_ended_while_preparing() {
    let place = Place::new(AGENT);
    let mut repository = repository(&forge(&place));
    repository.hooks.as_mut().unwrap().before_run =
        shell(format!("echo $$ >{}/hook; sleep 600", place.dir.path().display()));
    let scheduler = FakeScheduler::start(Script { lease_ms: 1500, ..Script::default() }).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, job(1, &repository)).await;
    let pid = place.pid("hook").await;
    scheduler.script().renew_unavailable = true;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!(watched.outcome.ended_by, EndedBy::SelfFenced);
    gone(&[pid]).await;
    assert_eq!(place.spawns(), 0);
    runner.stop().await;
}

#[tokio::test]
async fn a_runner_that_is_killed_while_preparing_prepares_again() {
    let place = Place::new(AGENT);
    let mut repository = repository(&forge(&place));
    let here = place.dir.path().display().to_string();
    let script = format!("echo once >>{here}/hooks; echo $$ >{here}/hook; test -e {here}/go || sleep 600");
    repository.hooks.as_mut().unwrap().after_create = shell(script);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, job(1, &repository)).await;
    let first = place.pid("hook").await;
    runner.kill();
    std::fs::write(place.file("go"), "").unwrap();
    let mut runner = Process::start(&place, &scheduler).await;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!(watched.outcome.exit, Some(Exit::Code(0)), "{}", watched.outcome.tail);
    assert_eq!((place.spawns(), read(&place.file("hooks")).lines().count()), (1, 2));
    gone(&[first]).await;
    ack(&mut runner.client, &run, &place).await;
    runner.kill();
}

#[tokio::test]
async fn what_could_not_be_prepared_is_an_outcome_with_its_reason() {
    let place = Place::new(AGENT);
    let url = forge(&place);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let mut failing = repository(&url);
    failing.hooks.as_mut().unwrap().before_run = shell("echo no database >&2; exit 7".to_owned());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (failing, WorkspaceFault::Hook, "hook before_run: Code(7): no database"),
        (repository(&format!("http://{closed}/x.git")), WorkspaceFault::Network, "could not fetch http://"),
        (repository("/nowhere.git"), WorkspaceFault::Missing, "look at `clone_url`"),
    ];
    for (job_id, (repository, fault, words)) in (1..).zip(cases) {
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, job(job_id, &repository)).await;
        let watched = watch(&mut runner.client, &run, 0).await;
        let EndedBy::Workspace { fault: found, error } = &watched.outcome.ended_by else {
            panic!("{:?}", watched.outcome.ended_by)
        };
        assert!(*found == fault && error.contains(words), "{error}");
        ack(&mut runner.client, &run, &place).await;
    }
    let mut unsafe_branch = repository(&url);
    unsafe_branch.branch = "main".to_owned();
    let request = proto::v1::LaunchRequest {
        run: Some(key(1)),
        incarnation: runner.incarnation,
        spec: Some(job(9, &unsafe_branch)),
    };
    let refused = runner.client.launch(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert_eq!(place.spawns(), 0);
    runner.stop().await;
}

#[tokio::test]
async fn the_hook_after_an_agent_runs_once_it_is_over_and_its_failure_changes_nothing() {
    let place = Place::new(AGENT);
    let mut repository = repository(&forge(&place));
    let here = place.dir.path().display().to_string();
    let script = format!("git log --oneline | wc -l >{here}/after; sleep 600 & echo $! >{here}/left; exit 5");
    repository.hooks.as_mut().unwrap().after_run = shell(script);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, job(1, &repository)).await;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((watched.outcome.ended_by, watched.outcome.exit), (EndedBy::Agent, Some(Exit::Code(0))));
    assert_eq!(
        read(&place.file("after")).trim(),
        "2",
        "it ran before the end was told, and saw the agent's commit"
    );
    gone(&[place.pid("left").await]).await;
    runner.stop().await;
}

#[tokio::test]
async fn the_workspace_of_an_item_that_is_over_goes_when_room_is_short() {
    let place = Place::new(AGENT);
    let repository = repository(&forge(&place));
    let scheduler = FakeScheduler::start(Script::default()).await;
    let options = runner::Options {
        workspace_quota_bytes: 0,
        tidy_every: Duration::from_millis(50),
        ..place.options(&scheduler)
    };
    let mut runner = InProcess::start(options, &scheduler).await;
    let run = key(1);
    let launched = launch(&mut runner.client, runner.incarnation, &run, job(1, &repository)).await;
    assert_eq!(launched, LaunchStatus::Accepted);
    watch(&mut runner.client, &run, 0).await;
    let folder = read(&place.file("cwd")).trim().to_owned();
    ack(&mut runner.client, &run, &place).await;
    let home = place.file("state/homes/default/shop/SHOP-12");
    assert!(Path::new(&folder).exists() && home.exists(), "nobody said that it is over");
    scheduler.script().settled.push("SHOP-12".to_owned());
    eventually("its removal", async || (!Path::new(&folder).exists() && !home.exists()).then_some(())).await;
    let clones = std::fs::read_dir(place.file("workspaces/.repositories")).unwrap().flatten().next().unwrap();
    let saved =
        git(&clones.path().join("clone.git"), &["show", &format!("refs/orch/wip/{}:work.txt", run.run_id)]);
    assert_eq!(saved, run.run_id);
    runner.stop().await;
}
