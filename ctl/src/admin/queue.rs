//! `orch queue`, `orch pause`, `orch resume`.

use clap::Args;
use domain::Timestamp;
use proto::v1;

use super::SchedulerAccess;
use super::jobs::job_table;
use crate::exit::Failure;
use crate::print::{Output, Paint, plain, span, when};

/// `orch queue`: the document of `GET /queue`.
pub(crate) async fn show(access: &SchedulerAccess, output: Output, now: Timestamp) -> Result<(), Failure> {
    let admin = access.open()?;
    let queue = admin.ask(admin.client().get_queue(v1::GetQueueRequest {})).await?;
    output.show(&queue, |paint| text(&queue, paint, now))
}

/// What `orch pause` and `orch resume` are about: all, or a part.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct OfPart {
    /// Only this project
    #[arg(long, short, conflicts_with = "stage")]
    project: Option<String>,
    /// Only this stage
    #[arg(long, short)]
    stage: Option<String>,
}

impl OfPart {
    /// The part in words, with a blank before it.
    fn words(&self) -> String {
        let scope = |scope: &str, name: &str| plain(&format!(" of {scope} {name}"));
        let project = self.project.as_deref().map(|name| scope("project", name));
        project.or_else(|| self.stage.as_deref().map(|name| scope("stage", name))).unwrap_or_default()
    }
}

/// `orch pause`: nothing more starts.
pub(crate) async fn pause(access: &SchedulerAccess, part: OfPart, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let words = part.words();
    let request = v1::PauseRequest { project: part.project, stage: part.stage };
    let reply = admin.ask(admin.client().pause(request)).await?;
    output.show(&reply, |_| {
        format!("paused: nothing more{words} starts, running agents go on; `orch resume` ends it\n")
    })
}

/// `orch resume`: starts go on.
pub(crate) async fn resume(access: &SchedulerAccess, part: OfPart, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let words = part.words();
    let request = v1::ResumeRequest { project: part.project, stage: part.stage };
    let reply = admin.ask(admin.client().resume(request)).await?;
    output.show(&reply, |_| format!("resumed: due jobs{words} start again\n"))
}

fn text(queue: &v1::QueueReply, paint: Paint, now: Timestamp) -> String {
    let counts = queue.counts.unwrap_or_default();
    let mut lines = vec![format!(
        "{} queued, {} running (of at most {}), {} done, {} failed, {} cancelled",
        counts.queued, counts.running, queue.max_concurrency, counts.done, counts.failed, counts.cancelled
    )];
    for part in &queue.paused_parts {
        lines.push(plain(&format!(
            "nothing of {0} {1} starts: paused by an operator, `orch resume --{0} {1}` goes on",
            part.scope, part.name
        )));
    }
    if let Some(error) = &queue.config_error {
        lines.push(format!("orch.toml cannot be used, the version before goes on: {error}"));
    }
    if queue.paused {
        lines.push("PAUSED: nothing more starts until `orch resume`".to_owned());
    }
    if let Some(seconds) = queue.oldest_ready_seconds {
        let waited = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        lines.push(format!("the oldest due job waits for {}", span(waited)));
    }
    if queue.runners.is_empty() {
        lines.push("no runner has registered: jobs wait until `orch-runner` runs somewhere".to_owned());
    }
    for breaker in queue.resilience.iter().flat_map(|resilience| &resilience.breaker) {
        let (account, failed) = (&breaker.account, breaker.consecutive_transient);
        match (breaker.state.as_str(), &breaker.open_until) {
            ("open", Some(until)) => lines.push(format!(
                "the breaker of account {account} is open, {}: the provider failed {failed} times in a row",
                when(until, now)
            )),
            ("half_open", _) => {
                lines.push(format!("the breaker of account {account} is half open: one probe finds out"));
            }
            _ => {}
        }
    }
    for preflight in queue.resilience.iter().flat_map(|resilience| &resilience.preflight) {
        if !preflight.ok {
            let reason = preflight.error.as_deref().unwrap_or("its agent did not answer");
            lines.push(format!(
                "runner {} cannot start agents: {}",
                preflight.runner,
                crate::print::plain(reason)
            ));
        }
    }
    lines.extend(queue.reaper.as_ref().and_then(repaired));
    lines.extend(queue.alerts.iter().filter_map(undelivered));
    lines.push(String::new());
    format!("{}\n{}", lines.join("\n"), job_table(&queue.recent, paint, now))
}

/// Alerts that do not get through, which nobody would miss otherwise.
fn undelivered(alerts: &v1::Alerts) -> Option<String> {
    let error = alerts.last_error.as_deref()?;
    Some(format!("{} alerts are not delivered yet: {}", alerts.pending, crate::print::plain(error)))
}

/// Rows that broke an invariant: they should not be, so people are told of them.
fn repaired(reaper: &v1::Reaper) -> Option<String> {
    let kinds = [
        (reaper.impossible_queued_total, "queued jobs that owned something"),
        (reaper.impossible_running_total, "running jobs without a live run"),
        (reaper.impossible_finished_total, "finished jobs that owned something"),
        (reaper.orphaned_runs_total, "live runs without a job"),
    ];
    let found: Vec<String> =
        kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}")).collect();
    (!found.is_empty()).then(|| format!("impossible rows were repaired: {}", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_says_what_stands_in_the_way() {
        let queue = v1::QueueReply {
            counts: Some(v1::Counts { queued: 1, running: 0, done: 2, failed: 0, cancelled: 0 }),
            paused: true,
            config_error: Some("orch.toml: line 3: unknown key".to_owned()),
            max_concurrency: 4,
            oldest_ready_seconds: Some(61.5),
            resilience: Some(v1::Resilience {
                preflight: vec![v1::Preflight {
                    runner: "n1".to_owned(),
                    error: Some("claude: not found".to_owned()),
                    ..v1::Preflight::default()
                }],
                ..v1::Resilience::default()
            }),
            runners: vec![v1::Runner::default()],
            reaper: Some(v1::Reaper {
                impossible_queued_total: 2,
                orphaned_runs_total: 1,
                ..v1::Reaper::default()
            }),
            ..v1::QueueReply::default()
        };
        assert_eq!(
            text(&queue, Paint::default(), Timestamp::from_ms(0)),
            "1 queued, 0 running (of at most 4), 2 done, 0 failed, 0 cancelled\n\
             orch.toml cannot be used, the version before goes on: orch.toml: line 3: unknown key\n\
             PAUSED: nothing more starts until `orch resume`\nthe oldest due job waits for 1m 1s\n\
             runner n1 cannot start agents: claude: not found\n\
             impossible rows were repaired: 2 queued jobs that owned something, 1 live runs without a job\n\nno jobs\n"
        );
    }
}
