//! What must hold when something dies, hangs, or is not heard of: real processes, killed for real.

mod common;

use std::time::Duration;

use common::*;
use domain::outcome::{EndedBy, Exit};
use proto::v1::{CancelRequest, DrainRequest, LaunchStatus, RunPhase, RunSpec};
use runner::Containment;

/// An agent that leaves its pid and that of a child with a session of its own, and lives on.
const FAMILY: &str =
    "setsid sleep 601 & echo $! >$HERE/child; echo $$ >$HERE/self; echo here; sleep 602 & wait; wait";

/// As [`FAMILY`], and nobody of it heeds SIGTERM.
const DEAF: &str =
    "trap '' TERM; setsid sleep 601 & echo $! >$HERE/child; echo $$ >$HERE/self; while :; do sleep 1; done";

const BOTH: [Containment; 2] = [Containment::Cgroup, Containment::Marker];

async fn family(place: &Place) -> [i32; 2] {
    [place.pid("self").await, place.pid("child").await]
}

#[tokio::test]
async fn sigkill_of_the_runner_leaves_the_agent_and_the_next_one_adopts_it() {
    let place = Place::new("echo one; until [ -e $HERE/go ]; do sleep 0.05; done; echo two; exit 7");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let run = key(1);
    assert_eq!(launch(&mut runner.client, runner.incarnation, &run, spec("")).await, LaunchStatus::Accepted);
    let shim = shim_pid(&run).await;
    eventually("the spawn", async || (place.spawns() == 1).then_some(())).await;
    let first = runner.incarnation;
    runner.kill();

    let mut runner = Process::start(&place, &scheduler).await;
    assert_eq!(runner.incarnation, first + 1);
    let held = scheduler.script().registrations.last().unwrap().held.clone();
    assert_eq!(
        held.iter().map(|held| (held.run.clone(), held.phase())).collect::<Vec<_>>(),
        [(Some(run.clone()), RunPhase::Started)]
    );
    assert_eq!(launch(&mut runner.client, runner.incarnation, &run, spec("")).await, LaunchStatus::Known);
    assert!(lives(shim));
    std::fs::write(place.file("go"), "").unwrap();
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((watched.outcome.ended_by, watched.outcome.exit), (EndedBy::Agent, Some(Exit::Code(7))));
    assert_eq!((watched.bytes, place.spawns()), (b"one\ntwo\n".to_vec(), 1));
    ack(&mut runner.client, &run, &place).await;
    gone(&[shim]).await;
}

/// The scheduler dies while its offer is written down: the run is held, so it must be asked for, or it would be held
/// for ever.
#[tokio::test]
async fn an_offer_whose_caller_has_gone_is_asked_for_all_the_same() {
    const OFFERS: u32 = 10;
    let place = Place::new("exit");
    let script = Script { start_unavailable: true, ..Script::default() };
    let scheduler = FakeScheduler::start(script).await;
    let options = runner::Options { slots: OFFERS, ..place.options(&scheduler) };
    let runner = InProcess::start(options, &scheduler).await;
    for job_id in 1..=i64::from(OFFERS) {
        let run = key(1);
        let folder = place.file("state/node-0/runs").join(&run.run_id);
        let mut client = runner.client.clone();
        let journaling = async {
            while !folder.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = journaling => {}
            _ = launch(&mut client, runner.incarnation, &run, RunSpec { job_id, ..spec("") }) => {}
        }
        let asked = async || {
            scheduler.script().starts.iter().any(|start| start.run.as_ref() == Some(&run)).then_some(())
        };
        eventually("its start", asked).await;
    }
    runner.stop().await;
}

#[tokio::test]
async fn twenty_agents_outlive_their_runner_and_end_once_each() {
    let place = Place::new("until [ -e $HERE/go ]; do sleep 0.1; done; echo $ORCH_JOB_ID");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let runs: Vec<_> = (1..=20).map(|job_id| (key(1), RunSpec { job_id, ..spec("") })).collect();
    for (run, spec) in &runs {
        let status = launch(&mut runner.client, runner.incarnation, run, spec.clone()).await;
        assert_eq!(status, LaunchStatus::Accepted);
    }
    eventually("twenty spawns", async || (place.spawns() == 20).then_some(())).await;
    runner.kill();
    let mut runner = Process::start(&place, &scheduler).await;
    std::fs::write(place.file("go"), "").unwrap();
    for (run, spec) in &runs {
        let watched = watch(&mut runner.client, run, 0).await;
        assert_eq!(
            (watched.outcome.ended_by, watched.bytes),
            (EndedBy::Agent, format!("{}\n", spec.job_id).into())
        );
    }
    assert_eq!(place.spawns(), 20);
}

#[tokio::test]
async fn an_outcome_that_came_while_no_runner_lived_is_kept_for_the_next() {
    let place = Place::new("until [ -e $HERE/go ]; do sleep 0.05; done; echo done");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let shim = shim_pid(&run).await;
    runner.kill();
    std::fs::write(place.file("go"), "").unwrap();
    gone(&[shim]).await;

    let mut runner = Process::start(&place, &scheduler).await;
    let phases: Vec<_> =
        scheduler.script().registrations.last().unwrap().held.iter().map(proto::v1::HeldRun::phase).collect();
    assert_eq!(phases, [RunPhase::Ended]);
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((watched.outcome.ended_by, watched.bytes), (EndedBy::Agent, b"done\n".to_vec()));
    ack(&mut runner.client, &run, &place).await;
}

#[tokio::test]
async fn an_accepted_offer_is_asked_for_again_after_a_restart() {
    let place = Place::new("echo ran");
    let scheduler = FakeScheduler::start(Script { start_unavailable: true, ..Script::default() }).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    runner.kill();
    scheduler.script().start_unavailable = false;
    let mut runner = Process::start(&place, &scheduler).await;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!(
        (watched.outcome.ended_by, watched.bytes, place.spawns()),
        (EndedBy::Agent, b"ran\n".to_vec(), 1)
    );
}

#[tokio::test]
async fn sigkill_of_the_shim_ends_the_agent_and_all_it_started() {
    for containment in BOTH {
        let place = Place::new(FAMILY);
        let scheduler = FakeScheduler::start(Script::default()).await;
        let mut options = place.options(&scheduler);
        options.limits.containment = containment;
        let mut runner = InProcess::start(options, &scheduler).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
        let pids = family(&place).await;
        kill(shim_pid(&run).await);
        let watched = watch(&mut runner.client, &run, 0).await;
        assert_eq!((watched.outcome.ended_by, watched.outcome.exit), (EndedBy::ShimLost, None));
        gone(&pids).await;
        ack(&mut runner.client, &run, &place).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn shim_and_runner_killed_together_is_a_lost_shim_and_leaves_nobody() {
    let place = Place::new(FAMILY);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let pids = family(&place).await;
    spooled(&mut runner.client, &run, b"here\n".len()).await;
    let shim = shim_pid(&run).await;
    runner.kill();
    kill(shim);
    let mut runner = Process::start(&place, &scheduler).await;
    // Killed before it registered.
    gone(&pids).await;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((watched.outcome.ended_by, place.spawns()), (EndedBy::ShimLost, 1));
    assert_eq!(watched.bytes, b"here\n");
}

#[tokio::test]
async fn a_lease_that_runs_out_ends_the_agent_and_all_it_started_even_without_a_runner() {
    for containment in BOTH {
        let place = Place::new(DEAF);
        let scheduler = FakeScheduler::start(Script { lease_ms: 1_500, ..Script::default() }).await;
        let mut options = place.options(&scheduler);
        options.limits.containment = containment;
        let mut runner = InProcess::start(options.clone(), &scheduler).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
        let pids = family(&place).await;
        let shim = shim_pid(&run).await;
        runner.stop().await;
        assert!(pids.into_iter().all(lives), "a stop hands over");
        gone(&[pids[0], pids[1], shim]).await;

        let mut runner = InProcess::start(options, &scheduler).await;
        let watched = watch(&mut runner.client, &run, 0).await;
        assert_eq!(
            (watched.outcome.ended_by, watched.outcome.exit),
            (EndedBy::SelfFenced, Some(Exit::Signal(9)))
        );
        ack(&mut runner.client, &run, &place).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn renews_keep_a_run_alive_past_its_first_lease_and_silence_ends_it() {
    let place = Place::new(FAMILY);
    let scheduler = FakeScheduler::start(Script { lease_ms: 1_000, ..Script::default() }).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let pids = family(&place).await;
    let seen = scheduler.script().renews.len();
    // At least twice the lease, by what it takes to renew every tenth of it.
    eventually("renews", async || (scheduler.script().renews.len() > seen + 20).then_some(())).await;
    assert!(pids.into_iter().all(lives));
    scheduler.script().renew_unavailable = true;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!(watched.outcome.ended_by, EndedBy::SelfFenced);
    gone(&pids).await;
    runner.stop().await;
}

#[tokio::test]
async fn a_cancel_ends_a_deaf_agent_after_the_grace() {
    for containment in BOTH {
        let place = Place::new(DEAF);
        let scheduler = FakeScheduler::start(Script::default()).await;
        let mut options = place.options(&scheduler);
        options.limits.containment = containment;
        let mut runner = InProcess::start(options, &scheduler).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
        let pids = family(&place).await;
        for _ in 0..2 {
            let reply = runner.client.cancel(CancelRequest { run: Some(run.clone()) }).await.unwrap();
            assert!(reply.get_ref().held);
        }
        let watched = watch(&mut runner.client, &run, 0).await;
        assert_eq!(
            (watched.outcome.ended_by, watched.outcome.exit),
            (EndedBy::Cancelled, Some(Exit::Signal(9)))
        );
        gone(&pids).await;
        let unknown = runner.client.cancel(CancelRequest { run: Some(key(1)) }).await.unwrap();
        assert!(!unknown.get_ref().held);
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_cancel_or_a_fence_in_a_renew_is_heeded() {
    for fenced in [false, true] {
        let place = Place::new(FAMILY);
        let scheduler = FakeScheduler::start(Script::default()).await;
        let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
        let pids = family(&place).await;
        {
            let mut script = scheduler.script();
            if fenced { script.fenced.push(run.clone()) } else { script.cancel.push(run.clone()) }
        }
        let ended_by = if fenced { EndedBy::SelfFenced } else { EndedBy::Cancelled };
        assert_eq!(watch(&mut runner.client, &run, 0).await.outcome.ended_by, ended_by);
        gone(&pids).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn what_an_agent_leaves_behind_ends_with_it_though_it_succeeded() {
    for containment in BOTH {
        let place = Place::new(
            "setsid sleep 603 & echo $! >$HERE/child; env -i setsid sleep 604 & echo $! >$HERE/bare; echo bye",
        );
        let scheduler = FakeScheduler::start(Script::default()).await;
        let mut options = place.options(&scheduler);
        options.limits.containment = containment;
        let mut runner = InProcess::start(options, &scheduler).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
        let watched = watch(&mut runner.client, &run, 0).await;
        assert_eq!((watched.outcome.ended_by, watched.outcome.exit), (EndedBy::Agent, Some(Exit::Code(0))));
        assert_eq!(watched.bytes, b"bye\n");
        gone(&[place.pid("child").await, place.pid("bare").await]).await;
        runner.stop().await;
    }
}

#[tokio::test]
async fn each_watchdog_ends_its_kind_of_hang() {
    const RESULT: &str = "echo '{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"ok\"}'; sleep 605";
    const TOOL: &str = "echo '{\"type\":\"assistant\",\"message\":{\"content\":[{\"type\":\"tool_use\",\"id\":\"t1\"}]}}'; sleep 606";
    let patient = spec("");
    let cases = [
        (
            "while :; do echo busy; sleep 0.1; done",
            RunSpec { max_runtime_ms: 700, ..patient.clone() },
            EndedBy::MaxRuntime,
        ),
        ("echo x; sleep 607", RunSpec { idle_ms: 300, ..patient.clone() }, EndedBy::Idle),
        (TOOL, RunSpec { idle_ms: 100, idle_in_tool_ms: 900, ..patient.clone() }, EndedBy::Idle),
        (RESULT, RunSpec { idle_ms: 100, ..patient.clone() }, EndedBy::AfterResult),
    ];
    for (script, spec, ended_by) in cases {
        let place = Place::new(script);
        let scheduler = FakeScheduler::start(Script::default()).await;
        let mut options = place.options(&scheduler);
        options.limits.after_result = Duration::from_millis(400);
        let mut runner = InProcess::start(options, &scheduler).await;
        let run = key(1);
        launch(&mut runner.client, runner.incarnation, &run, spec.clone()).await;
        let outcome = watch(&mut runner.client, &run, 0).await.outcome;
        assert_eq!(outcome.ended_by, ended_by, "{script}");
        assert_eq!(outcome.report.result.is_some(), ended_by == EndedBy::AfterResult);
        if script == TOOL {
            let lived = outcome.ended_at.since(outcome.spawned_at.unwrap());
            assert!(lived >= Duration::from_millis(900), "an open tool call has its own limit: {lived:?}");
        }
        runner.stop().await;
    }
}

#[tokio::test]
async fn a_drained_node_takes_nothing_and_ends_its_agents_at_the_deadline() {
    let place = Place::new(FAMILY);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let pids = family(&place).await;
    let live = runner.client.drain(DrainRequest { deadline_ms: None }).await.unwrap().get_ref().live;
    assert_eq!(live, 1);
    let other = RunSpec { job_id: 2, ..spec("") };
    assert_eq!(launch(&mut runner.client, runner.incarnation, &key(1), other).await, LaunchStatus::Draining);
    eventually("the scheduler to hear of it", async || {
        scheduler.script().renews.last()?.draining.then_some(())
    })
    .await;
    assert!(pids.into_iter().all(lives));
    runner.client.drain(DrainRequest { deadline_ms: Some(0) }).await.unwrap();
    assert_eq!(watch(&mut runner.client, &run, 0).await.outcome.ended_by, EndedBy::Drained);
    gone(&pids).await;
    runner.stop().await;
}

#[tokio::test]
async fn end_agents_ends_them_also_after_the_tasks_were_stopped() {
    let place = Place::new(FAMILY);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(place.options(&scheduler), &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let pids = family(&place).await;
    runner.tasks.stop();
    assert_eq!(runner.handle.end_agents(SOON).await, 0);
    gone(&pids).await;
    let outcome = place.file(&format!("state/node-0/runs/{}/outcome.json", run.run_id));
    let outcome: domain::Outcome = serde_json::from_str(&read(&outcome)).unwrap();
    assert_eq!(outcome.ended_by, EndedBy::Drained);
    runner.stop().await;
}

#[tokio::test]
async fn sigterm_hands_over_promptly() {
    let place = Place::new(FAMILY);
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = Process::start(&place, &scheduler).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let pids = family(&place).await;
    let shim = shim_pid(&run).await;
    let child = rustix::process::Pid::from_child(&runner.child);
    rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    let started = tokio::time::Instant::now();
    let status = eventually("the exit", async || runner.child.try_wait().unwrap()).await;
    assert!(status.success() && started.elapsed() < Duration::from_secs(5), "{status}");
    assert!(lives(shim) && pids.into_iter().all(lives));
    kill(shim);
    let _successor = Process::start(&place, &scheduler).await;
    gone(&pids).await;
}
