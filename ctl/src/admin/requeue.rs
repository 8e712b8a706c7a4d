//! `orch requeue`: many failed or cancelled jobs at once, by what they have in common. Which they are is the scheduler's to
//! find.

use clap::Args;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::Output;

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
    /// Only those that ended at this instant or later, such as 2026-11-22T03:00:00Z [default: in the last 24 hours]
    #[arg(long, value_name = "INSTANT")]
    since: Option<String>,
    /// At most this many, the newest first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Say which they are, and queue none
    #[arg(long)]
    dry_run: bool,
}

/// `orch requeue`.
pub(crate) async fn run(access: &SchedulerAccess, ask: Requeue, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let Requeue { status, project, stage, reason, since, limit, dry_run } = ask;
    let request =
        v1::RetryJobsRequest { status: Some(status), project, stage, reason, since, limit, dry_run };
    let reply = admin.ask(admin.client().retry_jobs(request)).await?;
    output.show(&reply, |_| text(&reply, dry_run))?;
    match reply.refused {
        0 => Ok(()),
        count => Err(Failure::No(format!(
            "{count} of {} moved meanwhile and were not queued again: `orch requeue --dry-run` lists those that are left",
            reply.ids.len()
        ))),
    }
}

fn text(reply: &v1::RetryJobsReply, dry_run: bool) -> String {
    let ids = reply.ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match reply.ids.len() {
        0 => "no job is like that: `orch jobs --status failed` lists those that failed\n".to_owned(),
        count if dry_run => format!("{count} would be queued again: {ids}\n"),
        count => format!("{} of {count} are queued again, their budgets are reset: {ids}\n", reply.retried),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_which_jobs_and_what_became_of_them() {
        let reply = v1::RetryJobsReply { ids: vec![9, 7, 3], retried: 2, refused: 1 };
        assert_eq!(text(&reply, false), "2 of 3 are queued again, their budgets are reset: 9 7 3\n");
        assert_eq!(text(&reply, true), "3 would be queued again: 9 7 3\n");
        assert!(text(&v1::RetryJobsReply::default(), false).contains("no job is like that"));
    }
}
