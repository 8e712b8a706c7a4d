//! The rules that every history keeps.

use std::collections::{BTreeMap, BTreeSet};

use super::{Agent, History, Job, Order, Run, Violation, Wanted};

/// How exactly the two clocks are brought together, in milliseconds.
const CLOCKS_APART_MS: i64 = 50;

/// Everything in the history that must not be; empty is legal.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    let may_fail = deliveries(history, &mut found);
    let mut runs: BTreeMap<i64, Vec<&Run>> = BTreeMap::new();
    for run in &history.runs {
        runs.entry(run.job_id).or_default().push(run);
    }
    for job in history.jobs.values() {
        let mut runs = runs.remove(&job.id).unwrap_or_default();
        runs.sort_by_key(|run| (run.offered_at, run.epoch));
        let orders: Vec<_> = history.orders.iter().filter(|order| order.job == job.id).collect();
        claims(job, &runs, &mut found);
        ending(job, &runs, may_fail.contains(&job.id), &mut found);
        if orders.is_empty() {
            budgets(job, &runs, &mut found);
        } else {
            cancels(job, &runs, &orders, &mut found);
        }
    }
    for run in &history.late {
        let applied = ["success", "transient", "permanent"];
        let row = history.runs.iter().find(|row| row.id == *run);
        if row.and_then(|row| row.class.as_deref()).is_some_and(|class| applied.contains(&class)) {
            found.push(Violation::AppliedAndLate { run: run.clone() });
        }
    }
    agents(history, &mut found);
    found
}

/// Every acknowledged delivery has its jobs, for itself alone; returns those whose agents were told to fail.
fn deliveries(history: &History, found: &mut Vec<Violation>) -> BTreeSet<i64> {
    let (mut first, mut owner): (BTreeMap<u64, &[i64]>, BTreeMap<i64, u64>) = Default::default();
    let mut may_fail = BTreeSet::new();
    for ack in &history.acks {
        let delivery = ack.delivery;
        let known = first.entry(delivery).or_insert(&ack.jobs);
        if *known != ack.jobs {
            found.push(Violation::TwoJobs { delivery, first: known.to_vec(), then: ack.jobs.clone() });
        }
        if ack.jobs.is_empty() || ack.jobs.iter().any(|job| !history.jobs.contains_key(job)) {
            found.push(Violation::Lost { delivery, jobs: ack.jobs.clone() });
        }
        for job in &ack.jobs {
            if *owner.entry(*job).or_insert(delivery) != delivery {
                found.push(Violation::Shared { delivery, job: *job });
            }
        }
        may_fail.extend(ack.jobs.iter().filter(|_| ack.may_fail));
    }
    let unasked = history.jobs.keys().filter(|job| !owner.contains_key(job));
    found.extend(unasked.map(|job| Violation::Unasked { job: *job }));
    may_fail
}

/// Epochs rise by claims, and one run ends before the next is claimed, for what it really died of.
fn claims(job: &Job, runs: &[&Run], found: &mut Vec<Violation>) {
    let epochs: Vec<i64> = runs.iter().map(|run| run.epoch).collect();
    if !epochs.is_sorted_by(|a, b| a < b) || epochs.last().is_some_and(|last| *last != job.epoch) {
        found.push(Violation::Epochs { job: job.id, epochs, own: job.epoch });
    }
    for pair in runs.windows(2) {
        if pair[0].ended_at.is_none_or(|ended_at| ended_at > pair[1].offered_at) {
            found.push(Violation::Overlap { job: job.id, run: pair[1].id.clone() });
        }
    }
    let live = runs.iter().filter(|run| run.ended_at.is_none());
    found.extend(live.map(|run| Violation::Live { run: run.id.clone() }));
    // No agent here kills itself.
    let crashed = runs.iter().filter(|run| run.reason.as_deref() == Some("crash"));
    found.extend(crashed.map(|run| Violation::Crash { run: run.id.clone() }));
}

/// The job is over, as its last run says, by one success at most.
fn ending(job: &Job, runs: &[&Run], may_fail: bool, found: &mut Vec<Violation>) {
    let (id, status) = (job.id, job.status.clone());
    let successes = runs.iter().filter(|run| run.class.as_deref() == Some("success")).count();
    if successes > 1 {
        found.push(Violation::Successes { job: id, count: successes });
    }
    let last = runs.last().and_then(|run| run.class.clone());
    let fits = match status.as_str() {
        "done" => last.as_deref() == Some("success"),
        "failed" => last.as_deref().is_some_and(|class| ["permanent", "transient", "lost"].contains(&class)),
        "cancelled" => last.as_deref() != Some("success"),
        _ => return found.push(Violation::Unended { job: id, status }),
    };
    if !fits {
        found.push(Violation::Status { job: id, status, last });
    } else if status == "failed" && !may_fail {
        found.push(Violation::Failed { job: id });
    }
}

/// Without a person's order, each budget is the number of runs that spent it: an outcome counted twice shows here.
fn budgets(job: &Job, runs: &[&Run], found: &mut Vec<Violation>) {
    let spent = |class: &str| runs.iter().filter(|run| run.class.as_deref() == Some(class)).count();
    let budgets = [
        ("attempts", job.attempts, spent("permanent")),
        ("transient_attempts", job.transient_attempts, spent("transient")),
        ("infra_attempts", job.infra_attempts, spent("lost")),
    ];
    for (budget, is, runs) in budgets {
        if is != runs {
            found.push(Violation::Budget { job: job.id, budget, is, runs });
        }
    }
}

/// From a granted cancel on, until a person wants it again, a job is not claimed.
fn cancels(job: &Job, runs: &[&Run], orders: &[&Order], found: &mut Vec<Violation>) {
    for (number, order) in orders.iter().enumerate() {
        if order.wanted != Wanted::Cancel {
            continue;
        }
        let again = orders[number + 1..].iter().find(|later| later.wanted == Wanted::Retry);
        let until = again.map_or(i64::MAX, |retry| retry.asked_at);
        let claimed = runs.iter().filter(|run| run.offered_at > order.granted_at && run.offered_at < until);
        found.extend(claimed.map(|run| Violation::RanAgain { job: job.id, run: run.id.clone() }));
        if again.is_none() && !["cancelled", "done"].contains(&job.status.as_str()) {
            found.push(Violation::NotCancelled { job: job.id, status: job.status.clone() });
        }
    }
}

/// One agent at a time per job, one per run, and only while its run is confirmed and not over.
fn agents(history: &History, found: &mut Vec<Violation>) {
    let runs: BTreeMap<&str, &Run> = history.runs.iter().map(|run| (run.id.as_str(), run)).collect();
    let (mut spawned, mut latest): (BTreeSet<&str>, BTreeMap<i64, &Agent>) = Default::default();
    let mut agents: Vec<&Agent> = history.agents.iter().collect();
    agents.sort_by_key(|agent| agent.start_ms);
    for agent in agents {
        let run = || agent.run.clone();
        if !spawned.insert(&agent.run) {
            found.push(Violation::SpawnedTwice { run: run() });
        }
        let before = latest.get(&agent.job).copied();
        if agent.double || before.is_some_and(|before| before.last_ms >= agent.start_ms) {
            let first = before.map_or_else(String::new, |before| before.run.clone());
            found.push(Violation::TwoAgents { job: agent.job, first, second: run() });
        }
        // The one that lives longest is the one that the next must not meet.
        if before.is_none_or(|before| before.last_ms <= agent.last_ms) {
            latest.insert(agent.job, agent);
        }
        let confirmed = runs.get(agent.run.as_str()).filter(|run| run.started_at.is_some());
        let Some(row) = confirmed.filter(|row| row.job_id == agent.job) else {
            found.push(Violation::Unconfirmed { run: run() });
            continue;
        };
        let over_ms = row.ended_at.unwrap_or(i64::MAX).saturating_sub(history.boot_to_utc_ms);
        let by_ms = agent.start_ms.saturating_sub(over_ms);
        if by_ms > CLOCKS_APART_MS {
            found.push(Violation::SpawnedLate { run: run(), by_ms });
        }
    }
}
