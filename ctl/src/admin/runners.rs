//! `orch runners`, `orch runners lost`, `orch drain`.

use std::time::Duration;

use clap::{Args, Subcommand};
use domain::Timestamp;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::{Cell, Output, Paint, table, when};

/// How often a drain that waits asks again.
const DRAIN_POLL: Duration = Duration::from_secs(1);

/// What `orch drain` does.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct Drain {
    /// Runner, as `orch runners` names it
    node: String,
    /// Wait until its last agent has ended
    #[arg(long)]
    wait: bool,
}

/// What else `orch runners` does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say that a runner's host is gone for good: its jobs start elsewhere at once
    ///
    /// Say it only of a host that is certainly off or destroyed. Without it, its jobs start elsewhere once their lease
    /// is over (seven minutes, unless set otherwise). If the host lives and is only cut off, its agents go on for up to
    /// five minutes beside the ones that take their place: two agents on one job. The runner takes work
    /// again after a restart.
    Lost {
        /// Runner, as `orch runners` names it
        node: String,
    },
}

/// `orch runners lost NODE`.
pub(crate) async fn lose(access: &SchedulerAccess, node: String, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let request = v1::LoseRunnerRequest { node: node.clone() };
    let reply = admin.ask(admin.client().lose_runner(request)).await?;
    output.show(&reply, |_| {
        format!(
            "{node} is given up, with {} of its runs: their jobs start elsewhere now\n\
             if its host is only cut off, stop its runner: its agents go on until their lease is over, beside the new \
             ones; it takes work again after a restart\n",
            reply.run_ids.len()
        )
    })
}

/// `orch runners`.
pub(crate) async fn list(access: &SchedulerAccess, output: Output, now: Timestamp) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().list_runners(v1::ListRunnersRequest {})).await?;
    output.show(&reply, |paint| text(&reply, paint, now))
}

/// `orch drain NODE`.
pub(crate) async fn drain(access: &SchedulerAccess, drain: Drain, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let node = &drain.node;
    loop {
        let reply =
            admin.ask(admin.client().drain_runner(v1::DrainRunnerRequest { node: node.clone() })).await?;
        if !drain.wait || reply.live == 0 {
            return output.show(&reply, |_| match reply.live {
                0 => format!("{node} takes no new work and runs nothing: it can be stopped\n"),
                live => format!("{node} takes no new work; {live} of its agents still run, `orch drain --wait {node}` waits for them\n"),
            });
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
}

fn text(reply: &v1::ListRunnersReply, paint: Paint, now: Timestamp) -> String {
    let rows = reply.runners.iter().map(|runner| {
        let preflight = reply.preflight.iter().find(|preflight| preflight.runner == runner.id);
        let agent = match preflight {
            Some(preflight) if preflight.ok => {
                let version = preflight.version.as_deref().unwrap_or("ok");
                preflight
                    .note
                    .as_ref()
                    .map_or_else(|| version.to_owned(), |note| format!("{version}: {note}"))
            }
            Some(preflight) => preflight.error.clone().unwrap_or_else(|| "not ok".to_owned()),
            None => "not looked at yet".to_owned(),
        };
        vec![
            Cell::from(&runner.id),
            paint.state(&runner.state),
            Cell::from(format!("{}/{}", runner.busy, runner.slots)),
            Cell::from(&runner.account),
            Cell::from(runner.labels.join(",")),
            Cell::from(runner.containment.clone()),
            Cell::from(when(&runner.last_seen_at, now)),
            Cell::from(agent),
        ]
    });
    let head = ["RUNNER", "STATE", "BUSY", "ACCOUNT", "LABELS", "CONTAINS", "SEEN", "AGENT"];
    table(
        &head,
        rows.collect(),
        "no runner has registered: start one with `orch-runner`, or everything with `orch dev`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_shows_whether_its_agent_can_be_started() {
        let runner = v1::Runner {
            id: "n1".to_owned(),
            state: "ready".to_owned(),
            slots: 2,
            busy: 1,
            last_seen_at: "1970-01-01T00:00:00Z".to_owned(),
            account: "default".to_owned(),
            containment: "sandbox".to_owned(),
            ..v1::Runner::default()
        };
        let preflight = v1::Preflight {
            runner: "n1".to_owned(),
            ok: true,
            version: Some("2.1.330 (Claude Code)".to_owned()),
            ..v1::Preflight::default()
        };
        let reply = v1::ListRunnersReply { runners: vec![runner], preflight: vec![preflight] };
        assert_eq!(
            text(&reply, Paint::default(), Timestamp::from_ms(5_000)),
            "RUNNER  STATE  BUSY  ACCOUNT  LABELS  CONTAINS  SEEN    AGENT\n\
             n1      ready  1/2   default          sandbox   5s ago  2.1.330 (Claude Code)\n"
        );
    }
}
