//! The shim that waits for the next run.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use domain::outcome::{EndedBy, Exit};
use proto::v1::LaunchStatus;

/// A runner whose next shim and cgroup can be asked for.
async fn start(place: &Place, scheduler: &FakeScheduler) -> Process {
    Process::start_with(place, scheduler, &[("RUST_LOG", "runner=debug".to_owned())]).await
}

/// The shim of this runner that waits, after `others`, and the cgroup that was made for its agent, if any. The runner has it: its
/// next run gets no other.
async fn the_next_that_waits(place: &Place, others: &[i32]) -> (i32, Option<PathBuf>) {
    eventually("a shim that waits", async || {
        let log = std::fs::read_to_string(place.file("runner.log")).ok()?;
        let (_, pid) = log.rsplit_once("a shim waits for the next run pid=")?;
        let pid = pid.lines().next()?.parse().ok().filter(|pid| !others.contains(pid))?;
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let cgroup = arguments.split('\0').skip_while(|argument| *argument != "wait").nth(1)?;
        Some((pid, (cgroup != "-").then(|| cgroup.into())))
    })
    .await
}

async fn the_one_that_waits(place: &Place) -> (i32, Option<PathBuf>) {
    the_next_that_waits(place, &[]).await
}

/// The step before the agent that waits below a shim.
async fn the_step_below(shim: i32) -> i32 {
    eventually("a step that waits", async || {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.find(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.starts_with(b"orch-agent\0") && parent(*pid) == u32::try_from(shim).ok()
        })
    })
    .await
}

async fn is_removed(cgroup: &Path) {
    eventually("the end of the cgroup", async || (!cgroup.exists()).then_some(())).await;
}

fn parent(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_run_gets_the_shim_that_waited_and_its_agent_is_born_in_its_cgroup() {
    let place = Place::new(
        "cat /proc/self/cgroup >$HERE/cgroup; read line; echo $line >$HERE/said; sleep 600 & exit 3",
    );
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = start(&place, &scheduler).await;
    let (pid, cgroup) = the_one_that_waits(&place).await;
    let run = key(1);
    assert_eq!(
        launch(&mut runner.client, runner.incarnation, &run, spec("go\n")).await,
        LaunchStatus::Accepted
    );
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((&watched.outcome.ended_by, watched.outcome.exit), (&EndedBy::Agent, Some(Exit::Code(3))));
    assert_eq!(read(&place.file("said")), "go\n");
    // It was this one, which has ended with its run.
    gone(&[pid]).await;
    if let Some(cgroup) = cgroup {
        let name = cgroup.file_name().unwrap().to_str().unwrap();
        assert!(read(&place.file("cgroup")).contains(name), "{}", read(&place.file("cgroup")));
        // With all that the agent left in it.
        is_removed(&cgroup).await;
    }
    // The next run has another one.
    let (next, _) = the_next_that_waits(&place, &[pid]).await;
    runner.kill();
    gone(&[next]).await;
}

#[tokio::test]
async fn it_ends_with_its_runner_and_leaves_nothing() {
    let place = Place::new("sleep 600");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let runner = start(&place, &scheduler).await;
    let (pid, cgroup) = the_one_that_waits(&place).await;
    let step = the_step_below(pid).await;
    runner.kill();
    gone(&[pid, step]).await;
    if let Some(cgroup) = cgroup {
        is_removed(&cgroup).await;
    }
}

#[tokio::test]
async fn a_run_whose_waiting_shim_died_gets_another() {
    let place = Place::new("exit 0");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = start(&place, &scheduler).await;
    let (pid, _) = the_one_that_waits(&place).await;
    kill(pid);
    gone(&[pid]).await;
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("")).await;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!(watched.outcome.ended_by, EndedBy::Agent);
    assert_eq!(place.spawns(), 1);
    runner.kill();
}

#[tokio::test]
async fn the_step_before_the_agent_ends_with_the_shim_that_waits_and_the_cgroup_with_its_runner() {
    let place = Place::new("exit 0");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = start(&place, &scheduler).await;
    let (pid, cgroup) = the_one_that_waits(&place).await;
    let step = the_step_below(pid).await;
    kill(pid);
    gone(&[pid, step]).await;
    runner.stop();
    if let Some(cgroup) = cgroup {
        is_removed(&cgroup).await;
    }
}

#[tokio::test]
async fn the_next_start_removes_what_a_shim_left_that_was_killed_together_with_its_runner() {
    let place = Place::new("exit 0");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let runner = start(&place, &scheduler).await;
    let (pid, cgroup) = the_one_that_waits(&place).await;
    let step = the_step_below(pid).await;
    kill(pid);
    runner.kill();
    gone(&[pid, step]).await;
    let Some(left) = cgroup else { return };
    assert!(left.exists());
    let runner = start(&place, &scheduler).await;
    let (next, _) = the_next_that_waits(&place, &[pid]).await;
    assert!(!left.exists());
    runner.kill();
    gone(&[next]).await;
}

#[tokio::test]
async fn a_run_whose_step_died_while_it_waited_gets_another_in_the_same_cgroup() {
    let place = Place::new("cat /proc/self/cgroup >$HERE/cgroup; read line; echo $line >$HERE/said; exit 3");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = start(&place, &scheduler).await;
    let (pid, cgroup) = the_one_that_waits(&place).await;
    let step = the_step_below(pid).await;
    kill(step);
    let run = key(1);
    launch(&mut runner.client, runner.incarnation, &run, spec("go\n")).await;
    let watched = watch(&mut runner.client, &run, 0).await;
    assert_eq!((&watched.outcome.ended_by, watched.outcome.exit), (&EndedBy::Agent, Some(Exit::Code(3))));
    assert_eq!(read(&place.file("said")), "go\n");
    assert_eq!(place.spawns(), 1);
    gone(&[pid]).await;
    if let Some(cgroup) = cgroup {
        let name = cgroup.file_name().unwrap().to_str().unwrap();
        assert!(read(&place.file("cgroup")).contains(name), "{}", read(&place.file("cgroup")));
        is_removed(&cgroup).await;
    }
    runner.kill();
}
