//! Reads a started run's log from its node until the outcome comes, however often the stream is cut.
//!
//! The end of a stream never means the end of a run. The log's own length says where to resume.
//!
//! There is one such task for each live run, which waits nearly all of its life: what it does once, or seldom, is boxed, so
//! that its own state stays small.

use std::io;
use std::time::Duration;

use domain::{Epoch, NodeId, Outcome, RunId};
use proto::convert;
use proto::v1::{OutcomeFrame, WatchRequest, watch_frame};
use service::grpc;
use service::settings::Veil;
use tokio::sync::watch;
use tonic::Status;

use crate::finalize;
use crate::lease::LiveRun;
use crate::links::{CALL_DEADLINE, Way};
use crate::live::Phase;
use crate::logs::LogWriter;
use crate::shared::{Shared, pause};

/// The run that is watched, and where.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) node: NodeId,
    pub(crate) run: RunId,
    pub(crate) epoch: Epoch,
}

/// Why a stream ended without an outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the node could not be asked: {0}")]
    Call(#[from] Status),
    #[error("no frame came in {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the stream ended before the outcome")]
    Ended,
    #[error("the node has started anew")]
    Closed,
    #[error("whoever reported the outcome does not have the run's token")]
    Foreign,
    #[error("bytes {from} to {to} of the log were skipped")]
    Missing { from: u64, to: u64 },
    #[error("the node sent something that cannot be read: {0}")]
    Malformed(#[from] convert::Malformed),
    #[error("could not write the log")]
    Log(#[from] io::Error),
}

/// Watches a run until its outcome is committed and acknowledged, the run is over otherwise, or its node speaks to
/// another scheduler.
pub(crate) async fn to_the_end(shared: &Shared, run: &LiveRun, phase: &mut watch::Receiver<Phase>) {
    let place = Place { node: run.node.clone(), run: run.run, epoch: run.epoch };
    let over = async {
        // The sender lives until the run is over.
        let _ = phase.wait_for(|phase| *phase == Phase::Over).await;
    };
    let silence = shared.streams.watch(run.run, shared.clock.boot_ms());
    let watched = tokio::select! {
        biased;
        () = over => None,
        () = elsewhere(shared, &place.node) => None,
        watched = outcome(shared, &place) => Some(watched),
    };
    drop(silence);
    shared.pulses.forget(place.run);
    let Some((log, outcome)) = watched else { return };
    Box::pin(finalize::finish(shared, run, &place, log, outcome)).await;
}

/// Waits until a node speaks to another scheduler, which watches its runs from then on.
async fn elsewhere(shared: &Shared, node: &NodeId) {
    let mut moved = shared.nodes.moved();
    // An error means that the scheduler is about to end.
    while shared.is_home_of(node) && moved.changed().await.is_ok() {}
}

/// Watches until the outcome comes.
async fn outcome(shared: &Shared, place: &Place) -> (LogWriter, Outcome) {
    let mut tries = 0;
    let mut skipped = None;
    loop {
        let cut = match Box::pin(shared.logs.writer(place.run)).await {
            Err(error) => Cut::Log(error),
            Ok(mut log) => {
                let from = log.end();
                match once(shared, place, &mut log, skipped).await {
                    Ok(outcome) => return (log, outcome),
                    Err(cut) => {
                        if log.end() > from {
                            tries = 0;
                        }
                        cut
                    }
                }
            }
        };
        skipped = match cut {
            Cut::Missing { from, .. } => Some(from),
            Cut::Call(_)
            | Cut::Silent(_)
            | Cut::Ended
            | Cut::Closed
            | Cut::Foreign
            | Cut::Malformed(_)
            | Cut::Log(_) => None,
        };
        if tries == 0 {
            tracing::info!(run.id = %place.run, runner = %place.node, reason = crate::moves::error_chain(&cut), "watch was cut, watching again");
        }
        tokio::time::sleep(pause(tries)).await;
        tries += 1;
    }
}

/// Watches until the outcome comes or the stream is cut.
///
/// Bytes that the node leaves out are asked for again; those from `skipped`, which it has left out before, are
/// declared a gap.
pub(crate) async fn once(
    shared: &Shared,
    place: &Place,
    log: &mut LogWriter,
    skipped: Option<u64>,
) -> Result<Outcome, Cut> {
    let url = shared.nodes.url(&place.node).ok_or_else(|| Status::unavailable("the node is not known"))?;
    let request = WatchRequest { run: Some(convert::run_key(place.run, place.epoch)), offset: log.end() };
    let Way { mut runner, closed, opening } = shared.links.way(&place.node, &url)?;
    let open = async {
        // Nobody closes it: without a place the call is made all the same.
        let _place = opening.acquire().await;
        grpc::call(CALL_DEADLINE, runner.watch(request)).await
    };
    let mut frames = closed.run_until_cancelled(Box::pin(open)).await.ok_or(Cut::Closed)??.into_inner();
    let idle = shared.terms.unreachable;
    let mut veil = Veil::new(shared.mask.clone(), log.end());
    loop {
        let frame = closed.run_until_cancelled(tokio::time::timeout(idle, frames.message())).await;
        let frame = match frame.ok_or(Cut::Closed)? {
            Err(_elapsed) => return Err(Cut::Silent(idle)),
            Ok(frame) => frame?.ok_or(Cut::Ended)?,
        };
        shared.streams.heard(place.run, shared.clock.boot_ms());
        match frame.frame {
            None => {}
            Some(watch_frame::Frame::Heartbeat(heartbeat)) => {
                shared.meter.take(place.run, heartbeat.progress_json.as_deref());
            }
            Some(watch_frame::Frame::Chunk(chunk)) => {
                if !veil.continues(chunk.offset) {
                    Box::pin(go_on_at(log, &mut veil, chunk.offset, skipped)).await?;
                }
                let (offset, bytes) = veil.take(chunk.offset, chunk.data.into());
                if !bytes.is_empty() {
                    shared.pulses.take(place.run, &bytes, shared.now());
                    log.append(offset, bytes.into()).await?;
                }
            }
            Some(watch_frame::Frame::Gap(gap)) => {
                Box::pin(go_on_at(log, &mut veil, gap.from, skipped)).await?;
                Box::pin(log.skip_to(gap.to)).await?;
            }
            Some(watch_frame::Frame::Outcome(frame)) => {
                let outcome = read_outcome(shared, place, frame)?;
                Box::pin(go_on_at(log, &mut veil, outcome.log_bytes, skipped)).await?;
                return Ok(outcome);
            }
        }
    }
}

/// Writes what is held back, and makes sure that the log reaches `offset`.
async fn go_on_at(
    log: &mut LogWriter,
    veil: &mut Veil,
    offset: u64,
    skipped: Option<u64>,
) -> Result<(), Cut> {
    lift(log, veil).await?;
    complete(log, offset, skipped).await
}

/// Writes what was held because it might have been the beginning of a secret, and was not.
async fn lift(log: &mut LogWriter, veil: &mut Veil) -> io::Result<()> {
    match veil.finish() {
        Some((offset, bytes)) => log.append(offset, bytes.into()).await,
        None => Ok(()),
    }
}

/// Reads an outcome that whoever holds the run reports.
fn read_outcome(shared: &Shared, place: &Place, mut frame: OutcomeFrame) -> Result<Outcome, Cut> {
    if !shared.tokens.fits(place.run, place.epoch, &frame.token) {
        return Err(Cut::Foreign);
    }
    shared.mask.cover_text(&mut frame.outcome_json);
    Ok(convert::read_outcome(&frame)?)
}

/// Makes sure that the log reaches `offset`.
async fn complete(log: &mut LogWriter, offset: u64, skipped: Option<u64>) -> Result<(), Cut> {
    let from = log.end();
    if offset <= from {
        return Ok(());
    }
    if skipped != Some(from) {
        return Err(Cut::Missing { from, to: offset });
    }
    tracing::warn!(from, to = offset, "the node left out a part of the log twice, it is declared a gap");
    log.skip_to(offset).await?;
    Ok(())
}
