//! `orch requeue`: many failed or cancelled jobs at once, by what they have in common.
//!
//! Each is retried for itself, as `orch retry` does: one that moved meanwhile stays as it is, and is told of.

use clap::Args;
use proto::v1;
use serde::Serialize;

use super::{Admin, SchedulerAccess};
use crate::exit::Failure;
use crate::print::{Output, plain};

/// Jobs asked for at a time.
const PAGE: u32 = 1000;

/// Which jobs are queued again: those for which all that is given holds.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct Requeue {
    /// Only of this status
    #[arg(long, value_parser = ["failed", "cancelled"], default_value = "failed")]
    status: String,
    /// Only of this project
    #[arg(long, short)]
    project: Option<String>,
    /// Only of this stage
    #[arg(long, short)]
    stage: Option<String>,
    /// Only those in whose reason this stands, upper or lower case, such as `context_length`
    #[arg(long, short, value_name = "TEXT")]
    reason: Option<String>,
    /// At most this many, the newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Say which they are, and queue none
    #[arg(long)]
    dry_run: bool,
}

/// What became of them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Report {
    dry_run: bool,
    /// What the filter finds, the newest first.
    found: Vec<i64>,
    /// Those that are queued again.
    retried: Vec<i64>,
    /// Those that are not, with the reason.
    refused: Vec<Refused>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Refused {
    id: i64,
    reason: String,
}

/// `orch requeue`.
pub(crate) async fn run(access: &SchedulerAccess, ask: Requeue, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let mut report = Report { dry_run: ask.dry_run, found: found(&admin, &ask).await?, ..Report::default() };
    for id in report.found.iter().copied().filter(|_| !ask.dry_run) {
        match admin.ask(admin.client().retry_job(v1::RetryJobRequest { id })).await {
            Ok(_) => report.retried.push(id),
            Err(Failure::No(reason)) => report.refused.push(Refused { id, reason }),
            Err(failure) => return Err(failure),
        }
    }
    output.show(&report, |_| text(&report))?;
    match report.refused.len() {
        0 => Ok(()),
        count => Err(Failure::No(format!("{count} of {} were not queued again", report.found.len()))),
    }
}

/// The jobs that all of the filter holds for, the newest first.
async fn found(admin: &Admin, ask: &Requeue) -> Result<Vec<i64>, Failure> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let request = v1::ListJobsRequest {
            status: Some(ask.status.clone()),
            before,
            limit: PAGE,
            ..v1::ListJobsRequest::default()
        };
        let page = admin.ask(admin.client().list_jobs(request)).await?.jobs;
        before = page.last().map(|job| job.id);
        found.extend(page.iter().filter(|job| matches(ask, job)).map(|job| job.id));
        if page.len() < PAGE as usize || found.len() >= ask.limit as usize {
            found.truncate(ask.limit as usize);
            return Ok(found);
        }
    }
}

fn matches(ask: &Requeue, job: &v1::Job) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let failure = job.failure.as_deref().unwrap_or_default().to_lowercase();
    let reason = ask.reason.as_ref().is_none_or(|reason| failure.contains(&reason.to_lowercase()));
    is(&ask.project, &job.project) && is(&ask.stage, &job.stage) && reason
}

fn text(report: &Report) -> String {
    let ids = |ids: &[i64]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    if report.found.is_empty() {
        return "no job is like that: `orch jobs --status failed` lists those that failed\n".to_owned();
    }
    if report.dry_run {
        return format!("{} would be queued again: {}\n", report.found.len(), ids(&report.found));
    }
    let mut lines = vec![format!(
        "{} are queued again, their budgets are reset: {}",
        report.retried.len(),
        ids(&report.retried)
    )];
    lines.extend(report.refused.iter().map(|one| plain(&one.reason)));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_filter_must_hold() {
        let ask = Requeue {
            status: "failed".to_owned(),
            project: Some("shop".to_owned()),
            stage: None,
            reason: Some("Context".to_owned()),
            limit: 9,
            dry_run: false,
        };
        let job = v1::Job {
            project: "shop".to_owned(),
            stage: "review".to_owned(),
            failure: Some("context_length: would fail again".to_owned()),
            ..v1::Job::default()
        };
        assert!(matches(&ask, &job));
        assert!(!matches(&ask, &v1::Job { project: "other".to_owned(), ..job.clone() }));
        assert!(!matches(&ask, &v1::Job { failure: Some("crash".to_owned()), ..job.clone() }));
        assert!(!matches(&Requeue { stage: Some("deploy".to_owned()), ..ask }, &job));
    }

    #[test]
    fn it_says_which_jobs_and_what_became_of_them() {
        let refused = vec![Refused { id: 3, reason: "job 3 is done already".to_owned() }];
        let report = Report { dry_run: false, found: vec![9, 7, 3], retried: vec![9, 7], refused };
        assert_eq!(
            text(&report),
            "2 are queued again, their budgets are reset: 9 7\njob 3 is done already\n"
        );
        assert_eq!(text(&Report { dry_run: true, ..report }), "3 would be queued again: 9 7 3\n");
        assert!(text(&Report::default()).contains("no job is like that"));
    }
}
