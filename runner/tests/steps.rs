//! What follows the agent on a real runner: the gate `command`, fenced, contained, and done once through restarts.
#![allow(clippy::allow_attributes, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{
    FakeScheduler, InProcess, Place, Process, SOON, Script, Watched, ack, eventually, gone, key, kill,
    launch, lives, read, spec, watch,
};
use domain::outcome::Outcome;
use domain::steps::{StepFault, StepKind, StepState, Undone};
use domain::transition::Conclusion;
use domain::{Class, classify};
use proto::v1::{CancelRequest, DrainRequest, GateCommand, RunKey, RunPhase, RunSpec, RunSteps};

/// An agent that succeeds at once.
const SUCCEEDS: &str = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"done"}'"#;

fn gated(script: &str, timeout_ms: i64) -> RunSpec {
    let argv = ["/bin/bash", "-c", script].map(str::to_owned).to_vec();
    let command = Some(GateCommand { argv, timeout_ms });
    RunSpec { steps: Some(RunSteps { command, ..RunSteps::default() }), ..spec("") }
}

async fn ends(runner: &mut InProcess, spec: RunSpec) -> Outcome {
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec).await;
    watch(&mut runner.client, &run, 0).await.outcome
}

fn concluded(outcome: &Outcome) -> Conclusion {
    classify::conclude(outcome, false, &classify::Patterns::default(), outcome.ended_at).0
}

fn success() -> Conclusion {
    Conclusion::Judged { class: Class::Success }
}

const fn failed(fault: StepFault) -> StepState {
    StepState::Failed { fault }
}

#[tokio::test]
async fn a_gate_passes_by_its_exit_code_and_its_last_words_are_kept() {
    let place = Place::new(SUCCEEDS);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    // What a gate prints is no agent's event, and nothing it left behind outlives it.
    let result = r#"echo '{"type":"result","subtype":"success","is_error":false,"result":"no"}'"#;
    let pass = format!("pwd; {result}; setsid sleep 611 & echo $! >{}", place.file("child").display());
    let loud = "seq 1 1000000; echo wrong >&2; exit 3";
    let cases = [
        (1, gated(&pass, 20_000), StepState::Done, "result", success()),
        (
            2,
            gated(loud, 20_000),
            failed(StepFault::CommandFailed),
            "\n1000000\nwrong\nexit code 3",
            success(),
        ),
        (3, gated("kill -9 $$", 20_000), failed(StepFault::CommandFailed), "signal 9", success()),
        (4, gated("echo begun; sleep 612", 700), failed(StepFault::CommandTimeout), "begun", success()),
    ];
    for (job_id, spec, state, words, conclusion) in cases {
        let outcome = ends(&mut runner, RunSpec { job_id, ..spec }).await;
        let [facts] = outcome.steps.as_slice() else { panic!("{:?}", outcome.steps) };
        assert_eq!((facts.step, facts.state), (StepKind::Command, state));
        assert!(facts.evidence.contains(words) && facts.evidence.len() <= 8 * 1024, "{}", facts.evidence);
        assert_eq!(concluded(&outcome), conclusion);
        assert_eq!(outcome.report.result.as_ref().map(|result| result.text.as_str()), Some("done"));
    }
    assert!(!lives(place.pid("child").await));
    let unusable = RunSteps {
        command: Some(GateCommand { argv: vec!["./none".to_owned()], timeout_ms: 1000 }),
        ..RunSteps::default()
    };
    let outcome = ends(&mut runner, RunSpec { job_id: 5, steps: Some(unusable), ..spec("") }).await;
    assert_eq!(concluded(&outcome), Conclusion::StepFailed { fault: StepFault::CommandUnusable });
    runner.stop().await;
}

#[tokio::test]
async fn what_a_gate_says_on_both_streams_stays_in_order() {
    const LINES: usize = 400;
    let place = Place::new(SUCCEEDS);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let script = format!("for I in $(seq {LINES}); do echo out $I; echo err $I >&2; done; exit 1");
    let outcome = ends(&mut runner, gated(&script, 20_000)).await;
    let mut said: Vec<String> =
        (1..=LINES).flat_map(|line| [format!("out {line}"), format!("err {line}")]).collect();
    said.push("exit code 1".to_owned());
    assert_eq!(outcome.steps[0].evidence, said.join("\n"));
    runner.stop().await;
}

#[tokio::test]
async fn only_a_success_without_a_fail_has_a_gate() {
    let place = Place::new(
        r#"read -r LINE
case $LINE in
fail) SAID='x\n```json\n{\"verdict\": \"fail\", \"summary\": \"no\"}\n```';;
silent) exit 0;;
*) SAID=done;;
esac
echo '{"type":"result","subtype":"success","is_error":false,"result":"'"$SAID"'"}'"#,
    );
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let gate = gated(&format!("echo x >>{}", place.file("gates").display()), 20_000);
    let asking = |asks_verdict| Some(RunSteps { asks_verdict, ..gate.steps.clone().unwrap() });
    let cases = [(1, "fail", false, 0), (2, "silent", false, 0), (3, "done", true, 0), (4, "done", false, 1)];
    for (job_id, prompt, asks_verdict, steps) in cases {
        let spec =
            RunSpec { job_id, prompt: format!("{prompt}\n"), steps: asking(asks_verdict), ..gate.clone() };
        assert_eq!(ends(&mut runner, spec).await.steps.len(), steps, "{prompt}");
    }
    assert_eq!(read(&place.file("gates")), "x\n");
    runner.stop().await;
}

#[tokio::test]
async fn nothing_is_done_without_a_fresh_word_of_the_scheduler() {
    let place = Place::new(&format!("sleep 0.3; {SUCCEEDS}"));
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let gate = || gated(&format!("echo x >>{}", place.file("gates").display()), 20_000);
    let left = |run: &RunKey| place.file(&format!("state/node-0/runs/{}/outcome.json", run.run_id));

    // The scheduler is away: the run waits, and goes on when it is back.
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, gate()).await;
    eventually("the agent's start", async || (place.spawns() == 1).then_some(())).await;
    scheduler.script().renew_unavailable = true;
    eventually("the agent's end", async || left(&run).exists().then_some(())).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!place.file("gates").exists(), "nothing was acknowledged since the agent ended");
    scheduler.script().renew_unavailable = false;
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(outcome.steps[0].state, StepState::Done);

    // It comes back and says that the run is no longer ours, or that a person asked for its end.
    for (job_id, why) in [(2, Undone::Fenced), (3, Undone::Cancelled)] {
        let run = key(1);
        let before = place.spawns();
        launch(&mut runner.client, runner.incarnation, &run, RunSpec { job_id, ..gate() }).await;
        eventually("the agent's start", async || (place.spawns() > before).then_some(())).await;
        scheduler.script().renew_unavailable = true;
        eventually("the agent's end", async || left(&run).exists().then_some(())).await;
        match why {
            Undone::Fenced => scheduler.script().fenced.push(run.clone()),
            Undone::Cancelled | Undone::Drained | Undone::Earlier => {
                scheduler.script().cancel.push(run.clone());
            }
        }
        scheduler.script().renew_unavailable = false;
        let outcome = watch(&mut runner.client, &run, 0).await.outcome;
        assert_eq!(outcome.steps[0].state, StepState::NotDone { why });
        assert_ne!(concluded(&outcome), success());
    }
    assert_eq!(read(&place.file("gates")), "x\n");
    runner.stop().await;
}

#[tokio::test]
async fn a_person_ends_a_gate_and_a_drain_waits_for_it() {
    let place = Place::new(SUCCEEDS);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let begun = format!("echo $$ >{}; ", place.file("gate").display());
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, gated(&format!("{begun} sleep 613"), 60_000)).await;
    let gate = place.pid("gate").await;
    let request = CancelRequest { run: Some(run.clone()) };
    runner.client.cancel(request).await.unwrap();
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;
    assert_eq!(outcome.steps[0].state, StepState::NotDone { why: Undone::Cancelled });
    assert_eq!(concluded(&outcome), Conclusion::Cancelled);
    gone(&[gate]).await;

    std::fs::remove_file(place.file("gate")).unwrap();
    let go = place.file("go");
    let waits = format!("{begun} while [ ! -e {} ]; do sleep 0.02; done", go.display());
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, RunSpec { job_id: 2, ..gated(&waits, 60_000) })
        .await;
    place.pid("gate").await;
    let live = runner.client.drain(DrainRequest { deadline_ms: None }).await.unwrap().get_ref().live;
    assert_eq!(live, 1, "a run whose gate runs is not over");
    std::fs::write(go, "").unwrap();
    assert_eq!(watch(&mut runner.client, &run, 0).await.outcome.steps[0].state, StepState::Done);
    runner.stop().await;
}

/// The runner is killed while the gate runs: the gate lives on, is taken over, and its end counts; it ran once.
#[tokio::test]
async fn a_gate_outlives_its_runner_and_runs_once() {
    let place = Place::new(SUCCEEDS);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let go = place.file("go");
    let script = format!(
        "echo x >>{}; echo $$ >{}; while [ ! -e {} ]; do sleep 0.02; done; echo over",
        place.file("gates").display(),
        place.file("gate").display(),
        go.display()
    );
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, gated(&script, 60_000)).await;
    let gate = place.pid("gate").await;
    for _ in 0..2 {
        runner.kill();
        assert!(lives(gate));
        runner = Process::start(&place, &scheduler).await;
        let runs = runner.client.list(proto::v1::ListRequest {}).await.unwrap().into_inner().runs;
        assert_eq!(runs[0].phase(), RunPhase::Started);
    }
    std::fs::write(go, "").unwrap();
    let Watched { outcome, .. } = watch(&mut runner.client, &run, 0).await;
    assert_eq!((outcome.steps[0].state, outcome.steps[0].evidence.as_str()), (StepState::Done, "over\n"));
    assert_eq!((read(&place.file("gates")).as_str(), place.spawns()), ("x\n", 1));
    // Told, and told again by the next incarnation, word for word.
    runner.kill();
    let mut runner = Process::start(&place, &scheduler).await;
    assert_eq!(watch(&mut runner.client, &run, 0).await.outcome, outcome);
    ack(&mut runner.client, &run, &place).await;
}

/// The gate's shim dies with the gate's first try: it is started again once, never beside itself.
#[tokio::test]
async fn a_gate_whose_shim_is_lost_is_started_again() {
    let place = Place::new(SUCCEEDS);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let (tries, gate) = (place.file("tries"), place.file("gate"));
    let script = format!(
        "echo $$ >>{tries}; echo $$ >{gate}; [ $(wc -l <{tries}) = 2 ] || sleep 614",
        tries = tries.display(),
        gate = gate.display()
    );
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, gated(&script, 60_000)).await;
    let first = place.pid("gate").await;
    let parent = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
    kill(parent[parent.rfind(')').unwrap()..].split(' ').nth(2).unwrap().parse().unwrap());
    let outcome = tokio::time::timeout(SOON, watch(&mut runner.client, &run, 0)).await.unwrap().outcome;
    assert_eq!(outcome.steps[0].state, StepState::Done);
    assert_eq!(read(&tries).lines().count(), 2);
    assert!(!lives(first));
    runner.stop().await;
}

/// The gate gets the run's variables, and none of the agent's.
#[tokio::test]
async fn a_gate_has_an_environment_of_its_own() {
    let place = Place::new(SUCCEEDS);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut options = place.options(&scheduler);
    options.agent_env = vec!["CARGO_MANIFEST_DIR".to_owned()];
    let mut runner = InProcess::start(options, &scheduler).await;
    let outcome = ends(&mut runner, gated("env -0 | cut -z -d= -f1 | sort -z | tr '\\0' ' '", 20_000)).await;
    let mut names: Vec<&str> = outcome.steps[0].evidence.split_whitespace().collect();
    names.retain(|name| !["PWD", "SHLVL", "_"].contains(name));
    assert_eq!(names, ["HOME", "LANG", "ORCH_JOB_ID", "ORCH_RUN_ID", "ORCH_RUN_MARKER", "PATH", "TZ"]);
    runner.stop().await;
}
