//! Where a process of the runner's own user finds the forge's credential: nowhere.

use std::process::Command;

use domain::steps::{StepKind, StepState};
use proto::v1::{RunSpec, RunSteps};

use crate::common::{Process, eventually, key, launch, read, watch};
use crate::scene::{COMMIT, Scene, states};

/// What an agent, and the gate after it, can find of a token by its form: in their environment and that of every process
/// above them, in their home, their worktree, its git folders, and all that the runner has on disk.
const SEARCH: &str = r#"P='planted-[0-9a-f]{12}'; FOUND=; PID=$$
env | grep -qE "$P" && FOUND="$FOUND env"
while [ "$PID" -gt 1 ]; do
  tr '\0' '\n' </proc/$PID/environ 2>/dev/null | grep -qE "$P" && FOUND="$FOUND environ:$PID"
  tr '\0' '\n' </proc/$PID/cmdline 2>/dev/null | grep -qE "$P" && FOUND="$FOUND cmdline:$PID"
  PID=$(sed -n 's/^PPid:\t//p' /proc/$PID/status)
done
git config --list --show-origin 2>/dev/null | grep -qE "$P" && FOUND="$FOUND config"
grep -rqE "$P" "$HOME" "$PWD" "$(git rev-parse --git-common-dir)" PLACE/state PLACE/workspaces && FOUND="$FOUND files"
echo "searched:$FOUND" >>PLACE/searched"#;

/// The runner has it from its environment, as a person gives it, and is a process of the agent's own user.
#[tokio::test]
async fn neither_the_agent_nor_its_gate_finds_the_credential() {
    let scene = Scene::new().await;
    let planted = [("ORCH_GIT_TOKEN", "planted-0a1b2c3d4e5f".to_owned())];
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &planted).await;
    let search = SEARCH.replace("PLACE", scene.place.dir.path().to_str().unwrap());
    let argv = ["/bin/bash", "-c", &search].map(str::to_owned).to_vec();
    let command = Some(proto::v1::GateCommand { argv, timeout_ms: 20_000 });
    let steps = RunSteps { command, push: true, ..RunSteps::default() };
    let spec = RunSpec { steps: Some(steps), ..scene.spec(1, &format!("{COMMIT}; {search}")) };
    let outcome = scene.run_in(&mut runner.client, runner.incarnation, spec).await;
    let done = [(StepKind::Command, StepState::Done), (StepKind::Push, StepState::Done)];
    assert_eq!(states(&outcome), done, "{:?}", outcome.steps);
    assert_eq!(read(&scene.place.file("searched")), "searched:\nsearched:\n");
    // The search finds what is there to be found.
    std::fs::write(scene.place.file("state/planted"), "planted-0a1b2c3d4e5f").unwrap();
    scene.run_in(&mut runner.client, runner.incarnation, scene.spec(2, &search)).await;
    assert!(read(&scene.place.file("searched")).ends_with("searched: files\n"));
}

/// What a process of the same user finds of the token by its form in every process of the host: each round is counted, each
/// find told with the program's name.
const POLL: &str = r#"P='planted-[0-9a-f]{12}'
while [ ! -e PLACE/stop ]; do
  for PID in /proc/[0-9]*; do
    for KIND in environ cmdline; do
      { tr '\0' '\n' <$PID/$KIND; } 2>/dev/null | grep -qE "$P" && echo "$KIND $(cat $PID/comm)" >>PLACE/polled
    done
  done
  echo round >>PLACE/rounds
done"#;

/// The push goes over HTTP with the credential, and is held up while an agent of another item looks through all of `/proc`.
#[tokio::test]
async fn no_process_shows_the_credential_while_git_pushes_with_it() {
    let scene = Scene::new().await;
    let file = |name: &str| scene.place.file(name);
    let rounds = || std::fs::read_to_string(file("rounds")).unwrap_or_default().lines().count();
    scene.hook(
        "pre-receive",
        &format!(
            "touch {0}/held; while [ ! -e {0}/go ]; do sleep 0.02; done",
            scene.place.dir.path().display()
        ),
    );
    let planted = [("ORCH_GIT_TOKEN", "planted-0a1b2c3d4e5f".to_owned())];
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &planted).await;
    let poll = POLL.replace("PLACE", scene.place.dir.path().to_str().unwrap());
    let poller = key(1);
    let spec =
        RunSpec { work_item: "SHOP-13".to_owned(), repository: None, steps: None, ..scene.spec(1, &poll) };
    launch(&mut runner.client, runner.incarnation, &poller, spec).await;
    eventually("a round", async || (rounds() > 0).then_some(())).await;

    let over_http = |job_id: i64, work: &str| {
        let mut spec = scene.spec(job_id, work);
        spec.repository.as_mut().unwrap().clone_url = format!("{}/git/shop.git", scene.url);
        RunSpec { steps: Some(RunSteps { push: true, ..RunSteps::default() }), ..spec }
    };
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, over_http(2, COMMIT)).await;
    eventually("the push", async || file("held").exists().then_some(())).await;
    let before = rounds();
    eventually("whole rounds while git pushes", async || (rounds() >= before + 3).then_some(())).await;
    std::fs::write(file("go"), "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), [(StepKind::Push, StepState::Done)], "{:?}", outcome.steps);
    assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")));
    assert!(!file("polled").exists(), "{}", read(&file("polled")));

    // The poll finds what is there to be found.
    let mut shown = Command::new("sleep").arg("600").env("SHOWN", "planted-0a1b2c3d4e5f").spawn().unwrap();
    let found = eventually("the planted token", async || {
        std::fs::read_to_string(file("polled")).ok().filter(|polled| polled.contains("environ sleep"))
    })
    .await;
    shown.kill().unwrap();
    shown.wait().unwrap();
    assert!(found.lines().all(|line| line == "environ sleep"), "{found}");
    std::fs::write(file("stop"), "").unwrap();
    watch(&mut runner.client, &poller, 0).await;
}
