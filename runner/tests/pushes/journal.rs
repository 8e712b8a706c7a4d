//! What a runner that is killed, or a forge that is away, leaves to be done: once, and without a second agent.

use domain::steps::{StepState, Undone};
use proto::v1::{CancelRequest, RunSpec};

use crate::common::{Process, ack, eventually, key, launch, read, watch};
use crate::scene::{ALL_DONE, COMMIT, Scene, TOKEN, states};

/// A forge that falters costs no second agent: the step alone is tried again, by whichever incarnation, until it is done.
#[tokio::test]
async fn a_forge_that_is_away_is_waited_for_without_the_agent() {
    let scene = Scene::new().await;
    scene.forge.lock().unwrap().refuses = Some(503);
    let more = [("ORCH_GIT_TOKEN", TOKEN.to_owned()), ("ORCH_GITEA_API_URL", scene.url.clone())];
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, COMMIT)).await;
    let fails = scene.place.file(&format!("state/node-0/runs/{}/step-pull_request.fails.json", run.run_id));
    eventually("the first failure", async || fails.exists().then_some(())).await;
    let since = read(&fails);
    runner.kill();
    let asked = scene.forge.lock().unwrap().asked;
    let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
    eventually("another try", async || (scene.forge.lock().unwrap().asked > asked).then_some(())).await;
    assert_eq!(read(&fails), since, "a restart gives no new patience");
    scene.forge.lock().unwrap().refuses = None;
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!((scene.pushes("orch/SHOP-12"), scene.forge.lock().unwrap().opened), (1, 1));
    assert_eq!(scene.place.spawns(), 1);
    ack(&mut runner.client, &run, &scene.place).await;

    // A person who does not want to wait ends it.
    scene.forge.lock().unwrap().refuses = Some(503);
    let run = key(2);
    launch(&mut runner.client, runner.incarnation, &run, RunSpec { job_id: 2, ..scene.spec(2, COMMIT) })
        .await;
    let fails = scene.place.file(&format!("state/node-0/runs/{}/step-pull_request.fails.json", run.run_id));
    eventually("the first failure", async || fails.exists().then_some(())).await;
    runner.client.cancel(CancelRequest { run: Some(run.clone()) }).await.unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(outcome.steps[1].state, StepState::NotDone { why: Undone::Cancelled });
}

/// The push of an incarnation that died goes on without it, and may be faster than the next one's by a moment.
#[tokio::test]
async fn a_push_that_another_one_overtakes_finds_the_commit_there() {
    let scene = Scene::new().await;
    let once = scene.place.file("overtaken");
    scene.hook("update", &format!("[ -e {0} ] || {{ touch {0}; git update-ref $1 $3; }}", once.display()));
    let mut runner = scene.runner().await;
    let outcome = scene.run(&mut runner, scene.spec(1, COMMIT)).await;
    assert!(once.exists());
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")));
    runner.stop().await;
}

/// The runner is killed as soon as each entry of the journal is there: one push, one pull request, and the whole outcome.
#[tokio::test]
async fn a_runner_that_is_killed_at_any_entry_of_the_journal_does_nothing_twice() {
    let entries = [
        "outcome.json",
        "step-push.intent.json",
        "pushed",
        "step-push.result.json",
        "step-pull_request.intent.json",
        "step-pull_request.result.json",
        "report.json",
    ];
    for entry in entries {
        let scene = Scene::new().await;
        scene.forge.lock().unwrap().slow = true;
        scene.hook("update", "sleep 0.2");
        let more = [("ORCH_GIT_TOKEN", TOKEN.to_owned()), ("ORCH_GITEA_API_URL", scene.url.clone())];
        let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, COMMIT)).await;
        let path = scene.place.file(&format!("state/node-0/runs/{}/{entry}", run.run_id));
        // The commit that is about to be pushed is noted with the item's workspace.
        let record = scene.place.file("workspaces/.records/shop/SHOP-12.json");
        let is_noted =
            || std::fs::read_to_string(&record).is_ok_and(|record| record.contains("\"pushed\":[\""));
        let is_there = || if entry == "pushed" { is_noted() } else { path.exists() };
        eventually(entry, async || is_there().then_some(())).await;
        runner.kill();
        let mut runner = Process::start_with(&scene.place, &scene.scheduler, &more).await;
        let outcome = watch(&mut runner.client, &run, 0).await.outcome;
        assert_eq!(states(&outcome), ALL_DONE, "{entry}: {:?}", outcome.steps);
        assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")), "{entry}");
        assert_eq!((scene.pushes("orch/SHOP-12"), scene.forge.lock().unwrap().opened), (1, 1), "{entry}");
        assert_eq!(scene.place.spawns(), 1, "{entry}");
        ack(&mut runner.client, &run, &scene.place).await;
    }
}
