//! A backup is made while agents work, and put back after more happened: nothing of what the backup does not know lives
//! on or speaks for another job, and what it knows comes to its end.

use e2e::harness::{Service, until};

use crate::shop::{Ledger, WITHIN, enqueue, shop, spent, verdicts};

const ALL: [Service; 4] = [Service::Ingest, Service::Console, Service::Scheduler, Service::Runner(0)];

#[tokio::test]
async fn what_happened_since_the_backup_is_over_and_what_it_knows_goes_on() -> anyhow::Result<()> {
    let mut stack = shop()
        .env("ORCH_RUNNER_LEASE_SECONDS", "4")
        .env("ORCH_KILL_GRACE_SECONDS", "1")
        .env("ORCH_LEASE_SECONDS", "8")
        .env("ORCH_RENEW_SECONDS", "1")
        .start()
        .await?;
    let ledger = Ledger::of(&stack);
    let (known_door, late_door) = (stack.folder().join("known"), stack.folder().join("late"));
    let step = |door: &std::path::Path| format!("{} say=1 await={}", ledger.step(), door.display());
    let started = |count: usize| {
        let ledger = &ledger;
        until("an agent", WITHIN, move || async move { Ok((ledger.starts().len() == count).then_some(())) })
    };

    let known = enqueue(&stack, &step(&known_door)).await?;
    started(1).await?;
    let copy = stack.folder().join("copy.db");
    let copied = stack.orch(&["backup", &copy.to_string_lossy()]).await?;
    assert_eq!(copied["jobs"], 1, "{copied}");
    let late = enqueue(&stack, &step(&late_door)).await?;
    started(2).await?;
    let in_use = stack.orch_output(&["restore", &copy.to_string_lossy()]).await?;
    assert_eq!(in_use.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&in_use.stderr).contains("is in use: stop ingest"), "{in_use:?}");

    for service in ALL {
        let ended = stack.process(service).terminate().await?;
        assert!(ended.success(), "{service:?}: {ended}");
    }
    assert!(ledger.starts().iter().all(e2e::shop::Spawn::lives), "agents live on");
    let restored = stack.orch(&["restore", &copy.to_string_lossy()]).await?;
    assert_eq!(restored["jobs"], 1, "{restored}");
    for service in ALL {
        stack.process(service).start().await?;
    }
    // Agents of before are ended, whether the backup knows them or not; only then are jobs claimed.
    let of_before = ledger.starts();
    until("the end of the agents of before", WITHIN, || async {
        Ok((!of_before.iter().any(e2e::shop::Spawn::lives)).then_some(()))
    })
    .await?;
    // Its number is given once more: nothing of the run before may move it.
    std::fs::write(&late_door, b"")?;
    let again = enqueue(&stack, &step(&late_door)).await?;
    assert_eq!(again, late);
    std::fs::write(&known_door, b"")?;
    for id in [known, again] {
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(verdicts(&job).last(), Some(&("success", "none")), "{job:#}");
    }
    // The runner knows the pair of job and epoch from before and refuses it to another run: the next epoch it takes.
    let job = stack.job(again).await?;
    assert_eq!(spent(&job)[..3], [0, 0, 0], "{job:#}");
    assert_eq!(verdicts(&job), [("withdrawn", "fenced"), ("success", "none")], "{job:#}");
    let starts = ledger.starts();
    assert_eq!(starts.len(), 4, "{starts:#?}");
    assert_eq!(starts.iter().filter(|spawn| spawn.job == known).count(), 2);
    assert_eq!(ledger.doubles(), 0);
    stack.finish().await
}
