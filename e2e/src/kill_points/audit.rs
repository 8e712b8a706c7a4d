//! What must hold when a scene has come to rest, whoever died in it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{Leftovers, Service, Stack, get, has_run, shim_of_step};
use crate::shop::{Ledger, spent, verdicts};

const SERVICE_PROGRAMS: [&str; 4] = ["/orch-scheduler", "/orch-ingest", "/orch-runner", "/orch-console"];

/// Checks the jobs that each acknowledged delivery made, and returns how many runs were lost.
///
/// # Errors
/// Says which promise was broken.
pub(super) async fn check(stack: &Stack, ledger: &Ledger, made: Vec<Vec<i64>>) -> anyhow::Result<u64> {
    let jobs: BTreeSet<i64> = made.iter().flatten().copied().collect();
    ensure!(
        made.iter().all(|jobs| jobs.len() == 1) && jobs.len() == made.len(),
        "not one job for each acknowledged delivery: {made:?}"
    );
    let mut lost = 0;
    for job in jobs {
        let record = get(stack.addr(Service::Console), &format!("/jobs/{job}")).await?.json()?;
        lost += done_once(&record, job, ledger).with_context(|| format!("{record:#}"))?;
    }
    ensure!(ledger.doubles() == 0, "two agents of one job lived at the same time");
    let doctor = stack.orch_output(&["doctor"]).await?;
    ensure!(doctor.status.success(), "an invariant is broken: {}", String::from_utf8_lossy(&doctor.stdout));
    Ok(lost)
}

/// The job succeeded once, in its last run; a run before that one was lost or never started; no run had two agents.
fn done_once(record: &Value, job: i64, ledger: &Ledger) -> anyhow::Result<u64> {
    ensure!(record["job"]["status"] == "done", "job {job} is not done");
    let [attempts, transient, lost, runs] = spent(record);
    ensure!((attempts, transient) == (0, 0), "a kill is nobody's failure");
    let verdicts = verdicts(record);
    let successes = verdicts.iter().filter(|(class, _)| *class == "success").count();
    ensure!(
        successes == 1 && verdicts.last() == Some(&("success", "none")),
        "{successes} successes: {verdicts:?}"
    );
    let ids: Vec<&str> =
        record["runs"].as_array().into_iter().flatten().filter_map(|run| run["run_id"].as_str()).collect();
    let agents: Vec<_> = ledger.starts().into_iter().filter(|spawn| spawn.job == job).collect();
    let spawned: BTreeSet<&str> = agents.iter().map(|spawn| spawn.run.as_str()).collect();
    ensure!(spawned.len() == agents.len(), "a run had two agents: {agents:?}");
    ensure!(spawned.iter().all(|run| ids.contains(run)), "an agent of an unknown run: {agents:?}");
    ensure!(ids.last().is_some_and(|last| spawned.contains(last)), "a success without an agent: {agents:?}");
    ensure!(agents.len() as u64 <= 1 + lost && lost < runs, "more agents than lost runs explain: {agents:?}");
    Ok(lost)
}

/// What there still is of these runs: shims and agents, cgroups, folders on the node, temporary files. The one shim that
/// waits for the next run belongs to its runner.
///
/// # Errors
/// The node's folder cannot be read.
pub(super) fn traces(stack: &Stack, runs: &BTreeSet<Uuid>) -> anyhow::Result<Vec<String>> {
    let Leftovers { processes, cgroups, mut files } = stack.traces(runs);
    let node = stack.folder().join("runner-0/state/node-0");
    for folder in ["runs", "trash"].map(|name| node.join(name)) {
        match std::fs::read_dir(&folder) {
            Ok(entries) => files.extend(entries.flatten().map(|entry| entry.path())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        }
    }
    let is_service = |command: &str| SERVICE_PROGRAMS.iter().any(|name| command.trim_end().ends_with(name));
    let (waiting, others): (Vec<_>, Vec<_>) =
        processes.into_iter().partition(|(pid, command)| has_run(*pid, command) == Some(false));
    // The one shim that waits has one step below it that does.
    let waits = |command: &str| waiting.first().is_some_and(|(shim, _)| shim_of_step(command) == Some(*shim));
    let others = others.into_iter().filter(|(_, command)| !is_service(command) && !waits(command));
    let others: Vec<_> = others.collect();
    let processes = others.into_iter().chain(waiting.into_iter().skip(1));
    let paths = cgroups.into_iter().chain(files).map(|path| path.display().to_string());
    Ok(processes.map(|(pid, command)| format!("process {pid}: {command}")).chain(paths).collect())
}
