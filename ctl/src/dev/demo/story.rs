//! What the demo tells: from the jobs as they are listed to lines about what changed. Pure.

use std::collections::BTreeMap;

use domain::Timestamp;
use proto::v1;

use crate::demo_agent::Act;
use crate::print::{plain, when};

/// What was told so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    acts: BTreeMap<i64, Act>,
    told: BTreeMap<i64, Seen>,
}

/// What a line is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    status: String,
    run_id: Option<String>,
    spent: (u32, u32, u32),
}

impl Story {
    /// Takes a job into the story.
    pub(super) fn expect(&mut self, id: i64, act: Act) {
        self.acts.insert(id, act);
    }

    /// The lines about what changed since the last time, the oldest job first.
    pub(super) fn told(&mut self, jobs: &[v1::Job], now: Timestamp) -> Vec<String> {
        let mut lines = Vec::new();
        for job in jobs.iter().rev() {
            let Some(act) = self.acts.get(&job.id) else { continue };
            let seen = Seen {
                status: job.status.clone(),
                run_id: job.run_id.clone(),
                spent: (job.attempts, job.transient_attempts, job.infra_attempts),
            };
            let before = self.told.insert(job.id, seen.clone()).unwrap_or_default();
            if before != seen {
                lines.push(format!("job {} ({:<8})  {}", job.id, act.word(), line(job, &before, now)));
            }
        }
        lines
    }

    /// Whether every job came to its end.
    pub(super) fn is_over(&self) -> bool {
        let ended = |seen: &Seen| matches!(seen.status.as_str(), "done" | "failed" | "cancelled");
        self.acts.keys().all(|id| self.told.get(id).is_some_and(ended))
    }

    /// What to do next.
    pub(super) fn epilogue(&self, orch: &str) -> String {
        let first = |act: Act| self.acts.iter().find(|(_, other)| **other == act).map_or(0, |(id, _)| *id);
        let (limit, hopeless) = (first(Act::Limit), first(Act::Hopeless));
        [
            "all jobs came to their end; the services go on. Look closer in another terminal:".to_owned(),
            format!("  {orch} jobs            {orch} job {limit}            {orch} logs {limit}"),
            format!(
                "  {orch} why {hopeless}           {orch} retry {hopeless}          Ctrl-C here ends the demo"
            ),
        ]
        .map(|line| format!("DEMO        {line}\n"))
        .concat()
    }
}

fn line(job: &v1::Job, before: &Seen, now: Timestamp) -> String {
    let again =
        job.waiting.as_ref().and_then(|waiting| waiting.until.as_deref()).or(job.available_at.as_deref());
    let again = again.map(|at| when(at, now)).unwrap_or_default();
    let tries = before.spent.0 + before.spent.1 + before.spent.2;
    match job.status.as_str() {
        "queued" if before.status.is_empty() => "is queued".to_owned(),
        "queued" if job.transient_attempts > before.spent.1 => {
            format!("met a limit: no attempt is burnt, it is tried again {again}")
        }
        "queued" if job.attempts > before.spent.0 => {
            format!("failed at try {}: it is tried again {again}", job.attempts)
        }
        "queued" if job.infra_attempts > before.spent.2 => {
            format!("lost its runner: it is tried again {again}")
        }
        "queued" => "waits".to_owned(),
        "running" if tries > 0 => "runs again".to_owned(),
        "running" => "runs".to_owned(),
        "done" if tries > 0 => "is done, at its second chance".to_owned(),
        "failed" => {
            let failure = job.failure.as_deref().unwrap_or("no reason was kept");
            format!("failed for good: {}", plain(failure))
        }
        status => format!("is {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_317_438_000);

    fn job(status: &str, transient_attempts: u32) -> v1::Job {
        v1::Job { id: 2, status: status.to_owned(), transient_attempts, ..v1::Job::default() }
    }

    #[test]
    fn a_limit_is_told_as_a_delay() {
        let mut story = Story::default();
        story.expect(2, Act::Limit);
        let waiting = v1::Waiting {
            reason: "rate_limit".to_owned(),
            until: Some("2026-11-22T03:17:22Z".to_owned()),
            code: "not_due".to_owned(),
        };
        let told: Vec<String> = [
            job("queued", 0),
            v1::Job { run_id: Some("a".to_owned()), ..job("running", 0) },
            v1::Job { run_id: Some("a".to_owned()), ..job("running", 0) },
            v1::Job { waiting: Some(waiting), ..job("queued", 1) },
            v1::Job { run_id: Some("b".to_owned()), ..job("running", 1) },
            job("done", 1),
        ]
        .into_iter()
        .flat_map(|job| story.told(&[job], NOW))
        .collect();
        assert_eq!(
            told,
            [
                "job 2 (limit   )  is queued",
                "job 2 (limit   )  runs",
                "job 2 (limit   )  met a limit: no attempt is burnt, it is tried again in 4s",
                "job 2 (limit   )  runs again",
                "job 2 (limit   )  is done, at its second chance",
            ]
        );
        assert!(story.is_over());
        assert!(story.told(&[v1::Job { id: 9, ..job("queued", 0) }], NOW).is_empty());
    }
}
