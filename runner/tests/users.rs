//! Agents that are users of their own, also where the host has no controllers that would bound them. Only root starts programs as
//! somebody else; the end-to-end suite says so when it is left out.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use common::*;
use domain::containment::Tier;
use domain::outcome::{EndedBy, Exit};
use proto::v1::LaunchStatus;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A runner without cgroups whose agents are users of their own: one who looks, then one for each of three slots, in a range that
/// nothing else on the host has.
fn options(place: &Place, scheduler: &FakeScheduler, first: u32) -> runner::Options {
    std::fs::set_permissions(place.file(""), std::fs::Permissions::from_mode(0o711)).unwrap();
    std::fs::set_permissions(&place.agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let fence = runner::Fence {
        offer: Tier::Sealed,
        bounds: runner::Bounds { memory_bytes: 64 << 20, pids: 20, cpu_percent: None, disk_bytes: 1 << 24 },
        read: Vec::new(),
        users: Some(runner::Users::parse(&format!("{first}-{}", first + 3)).unwrap()),
    };
    let limits =
        runner::RunLimits { containment: runner::Containment::Marker, fence, ..runner::RunLimits::default() };
    runner::Options { slots: 3, limits, ..place.options(scheduler) }
}

async fn probed(scheduler: &FakeScheduler) -> proto::v1::ContainmentReport {
    eventually("the probe", async || {
        scheduler.script().renews.iter().rev().find_map(|renew| renew.containment.clone())
    })
    .await
}

#[tokio::test]
async fn each_agent_is_somebody_and_is_bounded_without_a_controller() {
    if !is_root() {
        return;
    }
    let place = Place::new(
        "(id -u; id -G; ulimit -u; ulimit -d; ulimit -c) >said; cat $HERE/state/node-0/node_id >stolen 2>/dev/null; \
         kill -0 $PPID 2>/dev/null && echo reached >signalled; \
         sh -c 'i=0; while [ $i -lt 25 ]; do sleep 60 & i=$((i+1)); done' 2>forks; echo over",
    );
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(options(&place, &scheduler, 60_640), &scheduler).await;
    let report = probed(&scheduler).await;
    let note = report.note.clone().unwrap_or_default();
    assert!(note.contains("memory and processes are bounded by limits"), "{report:?}");
    assert!(Tier::parse(&report.tier) >= Some(Tier::Limits), "{report:?}");

    let run = key(1);
    let asked = proto::v1::RunSpec { tier: "limits".to_owned(), ..spec("") };
    assert_eq!(launch(&mut runner.client, runner.incarnation, &run, asked).await, LaunchStatus::Accepted);
    let outcome = watch(&mut runner.client, &run, 0).await.outcome;

    assert!(matches!(outcome.exit, Some(Exit::Code(_))) && outcome.ended_by == EndedBy::Agent, "{outcome:?}");
    let work = place.file("workspaces/shop/SHOP-12");
    let owner = std::fs::metadata(&work).unwrap().uid();
    assert!((60_641..=60_643).contains(&owner), "{owner}");
    let said = read(&work.join("said"));
    assert_eq!(said, format!("{owner}\n60640\n20\n{}\n0\n", (64 << 20) / 1024));
    assert!(read(&work.join("forks")).contains("fork"), "the twenty-first process is one too many");
    assert_eq!(read(&work.join("stolen")), "");
    assert!(!work.join("signalled").exists());
    // All of it is gone: what it started, too.
    let lives = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        entry.file_name().to_string_lossy().parse::<i32>().is_ok_and(common::lives)
            && entry.metadata().is_ok_and(|found| found.uid() == owner)
    });
    assert!(!lives, "something of user {owner} lives");
    ack(&mut runner.client, &run, &place).await;
    runner.stop().await;
}

#[tokio::test]
async fn no_two_live_agents_are_one_user_and_a_restart_knows_who_is_whom() {
    if !is_root() {
        return;
    }
    let place = Place::new("id -u >who; while [ ! -e over ]; do sleep 0.05; done");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let mut runner = InProcess::start(options(&place, &scheduler, 60_650), &scheduler).await;
    let mut runs = Vec::new();
    for number in 1..=3 {
        if number == 3 {
            // The next incarnation adopts the two that live.
            runner.stop().await;
            runner = InProcess::start(options(&place, &scheduler, 60_650), &scheduler).await;
        }
        let run = key(1);
        let item = format!("SHOP-{number}");
        let asked = proto::v1::RunSpec { job_id: number, work_item: item.clone(), ..spec("") };
        let launched = launch(&mut runner.client, runner.incarnation, &run, asked).await;
        assert_eq!(launched, LaunchStatus::Accepted);
        let work = place.file("workspaces/shop").join(item);
        let who = eventually("an agent", async || {
            std::fs::read_to_string(work.join("who")).ok().filter(|who| who.ends_with('\n'))
        })
        .await;
        runs.push((run, work, who));
    }
    // Whoever asks for a start or holds a run has its token, the next incarnation as well.
    let has_token = |key: &Option<proto::v1::RunKey>| runs.iter().any(|(run, ..)| Some(run) == key.as_ref());
    assert!(scheduler.script().starts.iter().all(|start| has_token(&start.run)));
    let listed = eventually("a renew with all of them", async || {
        let held = scheduler.script().renews.last().map(|renew| renew.held.clone())?;
        (held.len() == 3).then_some(held)
    })
    .await;
    assert!(listed.iter().all(|held| has_token(&held.run)), "{listed:?}");
    let whos: std::collections::BTreeSet<&str> = runs.iter().map(|(_, _, who)| who.as_str()).collect();
    assert_eq!(whos.len(), 3, "{whos:?}");
    for (run, work, _) in &runs {
        std::fs::write(work.join("over"), "").unwrap();
        assert_eq!(watch(&mut runner.client, run, 0).await.outcome.exit, Some(Exit::Code(0)));
    }
    runner.stop().await;
}

#[tokio::test]
async fn too_few_users_are_refused_at_the_start() {
    if !is_root() {
        return;
    }
    let place = Place::new("true");
    let scheduler = FakeScheduler::start(Script::default()).await;
    let options = runner::Options { slots: 4, ..options(&place, &scheduler, 60_660) };
    let refused = runner::start(options, service::Tasks::new()).await.unwrap_err();
    assert!(refused.to_string().contains("ORCH_AGENT_USERS has too few"), "{refused:#}");
}
