//! The runner's side of a living run: holds a connection to its shim, hands on lease and wishes, and notices its end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::agent_output::{Reader, cut_front};
use domain::log::LogPiece;
use domain::outcome::{EndedBy, Outcome, TAIL_BYTES_MAX};
use service::telemetry::record_past;
use tokio_util::sync::CancellationToken;

use super::patience::Patience;
use super::{Held, Node};
use crate::run_dir::RunDir;
use crate::shim::{Ask, Wish};
use crate::shims::{ShimLink, Shims};
use crate::spool::{self, Spool};
use crate::steps;
use crate::workspace::hooks;

const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Begins to look after a run whose shim was spawned, now or by an earlier incarnation.
pub(super) fn begin(node: &Arc<Node>, held: Arc<Held>) {
    let (node, stop) = (node.clone(), node.tasks.token());
    node.tasks.clone().spawn("keeper", async move {
        // Blocking work below is never cut short: an outcome is written whole or found by the next incarnation.
        keep(&node, &held, &stop).await;
    });
}

async fn keep(node: &Node, held: &Held, stop: &CancellationToken) {
    let Some(outcome) = attend(node, held, stop).await else { return };
    record_run(held, &outcome);
    if let EndedBy::Unready { error } = &outcome.ended_by
        && held.dir.unconfined().is_some()
    {
        node.probed.failed(error);
    }
    let mut backoff = BACKOFF_MIN;
    loop {
        match stop.run_until_cancelled(steps::carry_out(node, held, &outcome)).await {
            Some(Ok(report)) => {
                after_run(node, held, stop).await;
                held.ended(&report);
                node.renew_soon.notify_one();
                return;
            }
            Some(Err(error)) => {
                tracing::error!(run.id = %held.assignment.run, %error, "could not do what follows the agent yet");
            }
            None => return,
        }
        if stop.run_until_cancelled(tokio::time::sleep(backoff)).await.is_none() {
            return;
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Tells the trace of the agent's life, now that it is over: its beginning may lie before an earlier incarnation.
fn record_run(held: &Held, outcome: &Outcome) {
    let (run, ended_ms) = (&held.assignment, outcome.ended_at.as_ms());
    let began_ms = outcome.spawned_at.map_or(ended_ms, Timestamp::as_ms);
    let attributes = [
        ("job.id", run.job.to_string()),
        ("run.id", run.run.to_string()),
        ("project", run.project.clone()),
        ("work_item", run.work_item.clone()),
    ];
    record_past("run", run.trace_context.as_deref(), (began_ms, ended_ms), &attributes);
}

/// Looks after one program of a run, its agent or a step's, to its end; none when the runner stops before that.
pub(crate) async fn attend(node: &Node, held: &Held, stop: &CancellationToken) -> Option<Outcome> {
    let mut backoff = BACKOFF_MIN;
    let mut patience = Some(Patience::begin(node.clock.boot_ms()));
    loop {
        let connected = stop.run_until_cancelled(follow_with(&mut patience, node, held)).await;
        let connected = connected?;
        if connected {
            backoff = BACKOFF_MIN;
        }
        let (dir, marker, now) =
            (held.dir.clone(), held.assignment.marker(), Timestamp::from_ms(node.clock.now_ms()));
        let shims = node.shims.clone();
        match service::blocking(move || settle(shims.as_ref(), &dir, &marker, now)).await {
            Ok(Some(outcome)) => {
                tracing::info!(run.id = %held.assignment.run, job.id = %held.assignment.job, ended_by = ?outcome.ended_by, exit = ?outcome.exit, "ended");
                return Some(outcome);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(run.id = %held.assignment.run, %error, "could not settle a run");
                backoff = BACKOFF_MAX;
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(backoff)).await?;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Runs the project's hook after an agent; whatever comes of it changes nothing, and when the runner stops it is cut short.
async fn after_run(node: &Node, held: &Held, stop: &CancellationToken) {
    let Some(spec) = &held.assignment.repository else { return };
    let (Ok(Some(workspace)), false) = (held.dir.workspace(), spec.hooks.after_run.is_empty()) else {
        return;
    };
    let surroundings = node.surroundings(held, &workspace.path);
    let hook = hooks::run("after_run", &spec.hooks.after_run, &workspace.path, &surroundings);
    if let Some(Err(unprepared)) = stop.run_until_cancelled(hook).await {
        tracing::warn!(run.id = %held.assignment.run, error = unprepared.error, "a hook after an agent failed");
    }
    node.sweep(held).await;
}

/// Follows the shim as long as there is patience with it; once that is over, ends the agent in its place.
async fn follow_with(patience: &mut Option<Patience>, node: &Node, held: &Held) -> bool {
    let Some(left) = patience else { return follow(node, held).await };
    tokio::select! {
        biased;
        connected = follow(node, held) => return connected,
        () = left.end(node, held) => {}
    }
    let run = held.assignment.run;
    tracing::error!(run.id = %run, "the shim has not ended its agent in time: killing the agent in its place");
    let (shims, dir, marker) = (node.shims.clone(), held.dir.clone(), held.assignment.marker());
    let killed = service::blocking(move || {
        let cgroup = dir.intent()?.and_then(|intent| intent.cgroup);
        Ok(shims.kill_leftovers(cgroup.as_deref(), &marker))
    });
    match killed.await {
        Ok(true) => *patience = None,
        Ok(false) => tracing::error!(run.id = %run, "something that the agent started does not die"),
        Err(error) => tracing::error!(run.id = %run, %error, "could not read the run's journal"),
    }
    false
}

/// Talks to the shim as long as it can be talked to; true when it could be at all.
async fn follow(node: &Node, held: &Held) -> bool {
    let Ok(mut link) = node.shims.connect(&held.dir, &held.assignment).await else { return false };
    if let Err(error) = converse(node, held, link.as_mut()).await {
        tracing::debug!(run.id = %held.assignment.run, %error, "lost the connection to a shim");
    }
    true
}

async fn converse(node: &Node, held: &Held, link: &mut dyn ShimLink) -> io::Result<()> {
    let (mut lease, mut wish) = (node.lease.subscribe(), held.wish.subscribe());
    // What changed before this connection is told on it first.
    lease.mark_changed();
    wish.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = link.closed() => return Ok(()),
            Ok(()) = lease.changed() => {
                let deadline_boot_ms = *lease.borrow_and_update();
                if !held.is_fenced() {
                    link.ask(Ask::Lease { deadline_boot_ms }).await?;
                }
            }
            Ok(()) = wish.changed() => {
                let wished = *wish.borrow_and_update();
                if let Some(wish) = wished {
                    link.ask(wish.into()).await?;
                }
            }
        }
    }
}

impl From<Wish> for Ask {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Drain => Self::Drain,
            Wish::Cancel => Self::Cancel,
            Wish::Fence => Self::Fence,
        }
    }
}

/// The outcome of a run that was meant to be spawned: as its shim recorded it, or, when the shim died without a
/// word, that; none while the shim lives. What a dead shim left is killed first.
pub(super) fn settle(
    shims: &dyn Shims,
    dir: &RunDir,
    marker: &str,
    now: Timestamp,
) -> io::Result<Option<Outcome>> {
    if let Some(outcome) = dir.outcome()? {
        return Ok(Some(outcome));
    }
    let Some(_lock) = dir.try_lock()? else { return Ok(None) };
    // It may have written its last word between the two looks.
    if let Some(outcome) = dir.outcome()? {
        return Ok(Some(outcome));
    }
    let cgroup: Option<PathBuf> = dir.intent()?.and_then(|intent| intent.cgroup);
    if !shims.kill_leftovers(cgroup.as_deref(), marker) {
        return Err(io::Error::other("something that the agent started does not die"));
    }
    let outcome = lost(dir, now)?;
    dir.write_outcome(&outcome)?;
    Ok(Some(outcome))
}

/// The outcome of a run whose shim is gone, with what the spool still tells.
fn lost(dir: &RunDir, now: Timestamp) -> io::Result<Outcome> {
    let mut spool = Spool::new(dir.spool());
    let (mut reader, mut tail, mut offset) = (Reader::new(), Vec::new(), 0);
    while let Some(piece) = spool.read(offset)? {
        offset = piece.end();
        match piece {
            LogPiece::Bytes { bytes, .. } => {
                reader.push(&bytes);
                tail.extend(bytes);
                tail.drain(..tail.len().saturating_sub(TAIL_BYTES_MAX));
            }
            LogPiece::Gap { .. } => reader.finish(),
        }
    }
    reader.finish();
    Ok(Outcome {
        ended_by: EndedBy::ShimLost,
        exit: None,
        report: reader.into_report(),
        tail: cut_front(&String::from_utf8_lossy(&tail), TAIL_BYTES_MAX),
        log_bytes: spool::end(&dir.spool())?,
        spawned_at: None,
        ended_at: now,
        steps: Vec::new(),
    })
}
