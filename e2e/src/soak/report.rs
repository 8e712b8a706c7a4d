//! What a soak came to, in figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::driver::Done;
use super::plan::Act;
use super::watcher::Seen;
use crate::harness::Service;
use crate::history::{History, Run};

/// Longest time from a fault to what it is made answerable for, in milliseconds: two leases and some.
const ANSWERABLE_MS: i64 = 60_000;

/// Everything that is told of a soak.
#[derive(Debug)]
pub struct Report {
    pub(super) history: History,
    /// Ids of the nodes, by the number of their host.
    pub(super) nodes: Vec<String>,
    pub(super) done: Vec<Done>,
    pub(super) seen: Vec<Seen>,
    pub(super) emptied_in: Duration,
    pub(super) broken: Vec<String>,
}

impl Report {
    /// What must not be, in words; empty when all is well.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// From each start of a killed scheduler to the next claim, in milliseconds.
    fn dispatched_after(&self) -> Vec<i64> {
        let mut found = Vec::new();
        let mut killed = false;
        for done in &self.done {
            // One of several is not missed by those that wait.
            if done.act == Act::Kill(Service::Scheduler) {
                killed = true;
            } else if done.act == Act::Start(Service::Scheduler) && std::mem::take(&mut killed) {
                let offered = self.history.runs.iter().map(|run| run.offered_at);
                found.extend(offered.filter(|at| *at >= done.utc_ms).min().map(|at| at - done.utc_ms));
            }
        }
        found
    }

    /// From each cut to the node being seen as unreachable, for those that lasted until then.
    fn unreachable_after(&self) -> Vec<i64> {
        let mut found = Vec::new();
        for (number, cut) in self.done.iter().enumerate().filter(|(_, done)| matches!(done.act, Act::Cut(..)))
        {
            let Some(host) = cut.act.host() else { continue };
            let healed = self.done[number..].iter().find(|done| done.act == Act::Heal(host));
            let until_ms = healed.map_or(i64::MAX, |healed| healed.utc_ms);
            let change = self.seen.iter().find(|seen| {
                let meanwhile = (cut.utc_ms..until_ms).contains(&seen.utc_ms);
                meanwhile && seen.node == self.nodes[host] && seen.state == "unreachable"
            });
            found.extend(change.map(|change| change.utc_ms - cut.utc_ms));
        }
        found
    }

    /// From the latest fault of a lost run's host before its loss, to that loss: by fault and reason.
    fn lost_after(&self) -> BTreeMap<(String, String), Vec<i64>> {
        let mut found: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        for run in self.history.runs.iter().filter(|run| run.class.as_deref() == Some("lost")) {
            let Some(ended_at) = run.ended_at else { continue };
            // A fault of its host, else one that all hosts felt.
            let latest = |concerns: &dyn Fn(Act) -> bool| {
                self.done.iter().rev().find(|done| {
                    let answerable = (ended_at - ANSWERABLE_MS..=ended_at).contains(&done.utc_ms);
                    answerable && done.hit && done.fault.is_some() && concerns(done.act)
                })
            };
            let here = |act: Act| act.host().is_some_and(|host| self.nodes[host] == run.node);
            let everywhere = |act| {
                matches!(
                    act,
                    Act::KillDatabase
                        | Act::Stop(Service::Scheduler | Service::OtherScheduler(_))
                        | Act::Kill(Service::Scheduler | Service::OtherScheduler(_))
                )
            };
            let culprit = latest(&here).or_else(|| latest(&everywhere));
            let fault =
                culprit.and_then(|done| done.fault.clone()).unwrap_or_else(|| "none known".to_owned());
            let reason = run.reason.clone().unwrap_or_default();
            let after_ms = culprit.map_or(0, |done| ended_at - done.utc_ms);
            found.entry((fault, reason)).or_default().push(after_ms);
        }
        found
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let History { acks, jobs, runs, late, agents, orders, .. } = &self.history;
        let faults = self.done.iter().filter_map(|done| Some((done.fault.clone()?, done.hit)));
        let hits = count(faults.clone().filter(|(_, hit)| *hit).map(|(fault, _)| fault));
        writeln!(out, "faults: {}", hits.values().sum::<usize>())?;
        lines(out, &hits)?;
        let missed = faults.filter(|(_, hit)| !hit).count();
        writeln!(out, "  (and {missed} that found nothing to hit)")?;

        let deliveries = count(acks.iter().map(|ack| ack.delivery)).len();
        writeln!(out, "deliveries: {deliveries}, acknowledged {} times", acks.len())?;
        writeln!(out, "orders granted: {}", orders.len())?;
        writeln!(out, "jobs: {}", jobs.len())?;
        lines(out, &count(jobs.values().map(|job| job.status.clone())))?;
        writeln!(out, "runs: {}, agents: {}, late outcomes: {}", runs.len(), agents.len(), late.len())?;
        let class = |run: &Run| {
            format!("{} {}", run.class.as_deref().unwrap_or("live"), run.reason.as_deref().unwrap_or("-"))
        };
        lines(out, &count(runs.iter().map(class)))?;

        writeln!(
            out,
            "from the start of a killed scheduler to its next claim: {}",
            spread(self.dispatched_after())
        )?;
        writeln!(
            out,
            "from a cut to unreachable, as seen at the console: {}",
            spread(self.unreachable_after())
        )?;
        writeln!(out, "from the latest fault on its host to a run's loss:")?;
        for ((fault, reason), after_ms) in self.lost_after() {
            writeln!(out, "  {fault}, {reason}: {}", spread(after_ms))?;
        }
        writeln!(out, "from the last fault to an empty queue: {:.1} s", self.emptied_in.as_secs_f64())?;
        writeln!(out, "violations: {}", self.broken.len())?;
        self.broken.iter().try_for_each(|broken| writeln!(out, "  {broken}"))
    }
}

fn count<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counted = BTreeMap::new();
    for item in items {
        *counted.entry(item).or_default() += 1;
    }
    counted
}

fn lines(out: &mut fmt::Formatter<'_>, counted: &BTreeMap<String, usize>) -> fmt::Result {
    counted.iter().try_for_each(|(name, count)| writeln!(out, "  {count:>6} {name}"))
}

/// Number, median, 99th percentile and most of some milliseconds.
fn spread(mut after_ms: Vec<i64>) -> String {
    after_ms.sort_unstable();
    let at = |percent: usize| after_ms[(after_ms.len() * percent).div_ceil(100).saturating_sub(1)];
    match after_ms.last() {
        None => "none".to_owned(),
        Some(most) => {
            format!("{} times, p50 {} ms, p99 {} ms, most {most} ms", after_ms.len(), at(50), at(99))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_spread_names_values_that_were_there() {
        assert_eq!(spread(vec![]), "none");
        assert_eq!(spread(vec![5]), "1 times, p50 5 ms, p99 5 ms, most 5 ms");
        assert_eq!(spread((1..=200).rev().collect()), "200 times, p50 100 ms, p99 198 ms, most 200 ms");
    }
}
