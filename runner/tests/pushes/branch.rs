//! What is pushed and opened, and over what nothing is.

use domain::Class;
use domain::steps::{StepFault, StepState};
use domain::transition::Conclusion;
use serde_json::json;

use crate::common::{ack, eventually, key, launch, watch};
use crate::scene::{ALL_DONE, COMMIT, Scene, conclusion, states};

#[tokio::test]
async fn a_commit_is_pushed_and_shown_as_one_pull_request() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let first = scene.run(&mut runner, scene.spec(1, COMMIT)).await;
    assert_eq!(states(&first), ALL_DONE, "{:?}", first.steps);
    let head = scene.head("orch/SHOP-12");
    assert_ne!(head, scene.head("main"));
    let [push, pull] = first.steps.as_slice() else { panic!("{:?}", first.steps) };
    assert_eq!((push.head.as_deref(), push.branch.as_deref()), (Some(head.as_str()), Some("orch/SHOP-12")));
    let opened = pull.pull_request.as_ref().unwrap();
    assert_eq!(
        (opened.key().as_str(), opened.url.as_str()),
        ("acme/shop#12", "http://forge/acme/shop/pulls/12")
    );
    let shown = scene.forge.lock().unwrap().pulls[0].clone();
    assert_eq!((&shown["title"], &shown["base"]["ref"]), (&json!("SHOP-12: mend the till"), &json!("main")));
    assert_eq!(shown["body"], "development of SHOP-12\n\n<!-- orch:pull_request:1 -->");
    assert_eq!(conclusion(&first), Conclusion::Judged { class: Class::Success });

    // Nothing new: nothing is pushed, and the pull request is found. Something new: pushed, and the same pull request.
    let again = scene.run(&mut runner, scene.spec(2, "true")).await;
    assert_eq!((states(&again), scene.pushes("orch/SHOP-12")), (ALL_DONE.to_vec(), 1));
    assert_eq!(again.steps[0].head.as_deref(), Some(head.as_str()));
    let rewritten =
        scene.run(&mut runner, scene.spec(3, "git commit -q --amend --allow-empty -m again")).await;
    assert_eq!((states(&rewritten), scene.pushes("orch/SHOP-12")), (ALL_DONE.to_vec(), 2));
    assert_eq!(rewritten.steps[0].head, Some(scene.head("orch/SHOP-12")));
    assert_eq!(scene.forge.lock().unwrap().opened, 1);
    runner.stop().await;
}

#[tokio::test]
async fn what_somebody_else_pushed_is_never_written_over() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let go = scene.place.file("go");
    let waits = format!(
        "{COMMIT}; touch {}; while [ ! -e {} ]; do sleep 0.02; done",
        scene.place.file("committed").display(),
        go.display()
    );
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, &waits)).await;
    eventually("the commit", async || scene.place.file("committed").exists().then_some(())).await;
    scene.commit_to("orch/SHOP-12", "a person's");
    let theirs = scene.head("orch/SHOP-12");
    std::fs::write(go, "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(outcome.steps[0].state, StepState::Failed { fault: StepFault::RemoteMoved });
    // The agent's work is as good as it was: it goes back, with what to do.
    assert_eq!(conclusion(&outcome), Conclusion::Judged { class: Class::Success });
    let findings = domain::steps::findings(&outcome.steps).unwrap().findings;
    assert!(findings[0].contains("merge what is there") && findings[1].contains(&theirs), "{findings:?}");
    assert_eq!(scene.head("orch/SHOP-12"), theirs);
    ack(&mut runner.client, &run, &scene.place).await;
    // What contains theirs takes its place.
    let merged = "git merge -q --no-edit origin/orch/SHOP-12 2>/dev/null || git merge -q --no-edit refs/remotes/origin/orch/SHOP-12";
    let outcome = scene.run(&mut runner, scene.spec(2, merged)).await;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_ne!(scene.head("orch/SHOP-12"), theirs);
    runner.stop().await;
}

/// What an agent does before it waits to be let go on.
fn then_waits(scene: &Scene, work: &str) -> String {
    let (committed, go) = (scene.place.file("committed"), scene.place.file("go"));
    format!("{work}; touch {}; while [ ! -e {} ]; do sleep 0.02; done", committed.display(), go.display())
}

/// What an earlier run pushed is no work of somebody else's, also where it turns up late.
#[tokio::test]
async fn what_an_earlier_run_pushed_gives_way() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    scene.run(&mut runner, scene.spec(1, COMMIT)).await;
    let first = scene.head("orch/SHOP-12");
    let amend = "git commit -q --amend --allow-empty -m again";
    scene.run(&mut runner, scene.spec(2, amend)).await;
    let run = key(1);
    let spec = scene.spec(3, &then_waits(&scene, "git commit -q --amend --allow-empty -m anew"));
    launch(&mut runner.client, runner.incarnation, &run, spec).await;
    eventually("the commit", async || scene.place.file("committed").exists().then_some(())).await;
    scene.git(&[
        "--git-dir",
        scene.remote().to_str().unwrap(),
        "update-ref",
        "refs/heads/orch/SHOP-12",
        &first,
    ]);
    std::fs::write(scene.place.file("go"), "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!(outcome.steps[0].head, Some(scene.head("orch/SHOP-12")));
    assert_ne!(scene.head("orch/SHOP-12"), first);
    runner.stop().await;
}

/// Somebody took the commit from elsewhere and went on: there is nothing left to push, and nothing is taken back.
#[tokio::test]
async fn what_was_built_on_ours_stays() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, scene.spec(1, &then_waits(&scene, COMMIT))).await;
    eventually("the commit", async || scene.place.file("committed").exists().then_some(())).await;
    let (seed, work) = (scene.place.file("seed"), scene.place.file("workspaces/shop/SHOP-12"));
    let seed = seed.to_str().unwrap();
    scene.git(&["-C", seed, "fetch", "-q", work.to_str().unwrap(), "HEAD"]);
    scene.git(&["-C", seed, "reset", "-q", "--hard", "FETCH_HEAD"]);
    let ours = scene.git(&["-C", seed, "rev-parse", "HEAD"]);
    scene.commit_to("orch/SHOP-12", "a person's, on top");
    let theirs = scene.head("orch/SHOP-12");
    std::fs::write(scene.place.file("go"), "").unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(states(&outcome), ALL_DONE, "{:?}", outcome.steps);
    assert_eq!((outcome.steps[0].head.as_deref(), scene.head("orch/SHOP-12")), (Some(ours.as_str()), theirs));
    runner.stop().await;
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    let scene = Scene::new().await;
    let mut runner = scene.runner().await;
    let nothing = scene.run(&mut runner, scene.spec(1, "true")).await;
    assert_eq!(nothing.steps[0].state, StepState::Failed { fault: StepFault::NoCommits });
    assert_eq!(conclusion(&nothing), Conclusion::Judged { class: Class::Success });
    scene.hook("pre-receive", "echo 'this branch is protected' >&2; exit 1");
    let protected = scene.run(&mut runner, scene.spec(2, COMMIT)).await;
    assert_eq!(protected.steps[0].state, StepState::Failed { fault: StepFault::ForgeRefused });
    assert!(protected.steps[0].evidence.contains("this branch is protected"), "{:?}", protected.steps);
    scene.hook("pre-receive", "true");
    let mut fault = async |job_id: i64, status: u16| {
        scene.forge.lock().unwrap().refuses = Some(status);
        let outcome = scene.run(&mut runner, scene.spec(job_id, "true")).await;
        assert_eq!(outcome.steps[0].state, StepState::Done);
        outcome.steps[1].state
    };
    assert_eq!(fault(3, 401).await, StepState::Failed { fault: StepFault::ForgeAuth });
    assert_eq!(fault(4, 502).await, StepState::Failed { fault: StepFault::ForgeUnreachable });
    assert_eq!(fault(5, 422).await, StepState::Failed { fault: StepFault::ForgeRefused });
    // An answer that was lost: the pull request is there, and is found.
    scene.forge.lock().unwrap().refuses = None;
    scene.forge.lock().unwrap().lies = vec![502];
    let outcome = scene.run(&mut runner, scene.spec(6, "true")).await;
    assert_eq!((states(&outcome), scene.forge.lock().unwrap().opened), (ALL_DONE.to_vec(), 1));
    assert_eq!(scene.pushes("orch/SHOP-12"), 1);
    runner.stop().await;
}
