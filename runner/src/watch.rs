//! One reader of one run's log: from any offset, at its own pace, until the outcome. Reads the spool, so that a slow
//! reader holds up nobody.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::log::{CHUNK_BYTES_MAX, LogPiece};
use domain::outcome::Outcome;
use proto::convert::{log_frame, outcome_frame};
use proto::v1::watch_frame::Frame;
use proto::v1::{Heartbeat, RunPhase, WatchFrame};
use service::settings::{Mask, Veil};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;

use crate::node::{Held, Node};
use crate::spool::{self, Spool};

/// Frames on their way to a reader that has not taken them yet.
pub(crate) const FRAMES_MAX: usize = 4;
/// How soon the spool is looked at again after it held something; it doubles with every look that finds nothing.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// How long bytes may lie in the spool before they are sent.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// How long what an agent reported of itself may wait to be told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

type Frames = mpsc::Sender<Result<WatchFrame, Status>>;

/// The reader has gone.
struct Gone;

/// Sends a run's log from `offset`, and its outcome.
pub(crate) async fn send(node: Arc<Node>, held: Arc<Held>, offset: u64, frames: Frames) {
    let stop = node.tasks.token();
    let sent = stop.run_until_cancelled(follow(&held, &node.mask, offset, &frames)).await;
    if let Some(Err(status)) = sent {
        // A reader that has gone needs no reason.
        let _ = frames.send(Err(status)).await;
    }
}

async fn follow(held: &Held, mask: &Mask, from: u64, frames: &Frames) -> Result<(), Status> {
    let mut spool = Reading::of(Spool::new(held.dir.spool()));
    let mut pause = LOOK_EVERY;
    // A secret that began before is to be recognized.
    let mut offset = from.saturating_sub(mask.reach());
    let mut veiled = Veiled { veil: Veil::new(mask.clone(), offset), from };
    let mut phase = held.phase.subscribe();
    let mut heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
    let (mut progress_at, mut told) = (Instant::now(), None);
    loop {
        // Looked at before the spool: what is there then is all there will be.
        let now = *phase.borrow_and_update();
        let outcome = if now == RunPhase::Ended { Some(read_outcome(held).await?) } else { None };
        let before = offset;
        let Ok(after) = send_pieces(&mut spool, &mut veiled, offset, outcome.is_some(), frames).await? else {
            return Ok(());
        };
        offset = after;
        held.sent.fetch_max(offset, Ordering::Relaxed);
        if let Some(outcome) = outcome {
            finish(mask, &held.assignment.token, &outcome, offset, frames).await;
            return Ok(());
        }
        let mut progress_json = None;
        if Instant::now() >= progress_at {
            progress_at = Instant::now() + PROGRESS_EVERY;
            progress_json = read_progress(held).await.filter(|progress| told.as_ref() != Some(progress));
        }
        pause = (pause * 2).min(LOOK_EVERY);
        if offset > before {
            pause = LOOK_MIN;
            heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        }
        if progress_json.is_some() || Instant::now() >= heartbeat_at {
            told = progress_json.clone().or(told);
            let heartbeat = Heartbeat { phase: now.into(), progress_json };
            let heartbeat = WatchFrame { frame: Some(Frame::Heartbeat(heartbeat)) };
            if frames.send(Ok(heartbeat)).await.is_err() {
                return Ok(());
            }
            heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        }
        tokio::select! {
            biased;
            () = frames.closed() => return Ok(()),
            _ = phase.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What live runs have printed that nobody was sent yet.
pub(crate) async fn unread_bytes(node: &Node) -> u64 {
    let runs = node.held().into_iter().filter(|held| held.phase() == RunPhase::Started);
    let spools: Vec<_> = runs.map(|held| (held.dir.spool(), held.sent.load(Ordering::Relaxed))).collect();
    let unread = service::blocking(move || {
        // A spool that cannot be read now may be on its way out.
        let unread = |(dir, sent): &(PathBuf, u64)| spool::end(dir).unwrap_or(0).saturating_sub(*sent);
        Ok(spools.iter().map(unread).sum())
    });
    unread.await.unwrap_or(0)
}

/// A spool that is read on threads for file work, one piece at a time.
struct Reading(Option<Spool>);

impl Reading {
    fn of(spool: Spool) -> Self {
        Self(Some(spool))
    }

    async fn next(&mut self, offset: u64) -> io::Result<Option<LogPiece>> {
        let gone = || io::Error::other("an earlier read of it was cut off");
        let mut spool = self.0.take().ok_or_else(gone)?;
        let (spool, piece) = service::blocking(move || {
            let piece = spool.read(offset);
            Ok((spool, piece))
        })
        .await?;
        self.0 = Some(spool);
        piece
    }
}

/// Sends what the spool holds; of a living run only until a short piece shows that its end is near.
async fn send_pieces(
    spool: &mut Reading,
    veiled: &mut Veiled,
    mut offset: u64,
    to_the_end: bool,
    frames: &Frames,
) -> Result<Result<u64, Gone>, Status> {
    loop {
        let piece = spool.next(offset).await;
        let piece = piece.map_err(|error| Status::internal(format!("could not read the spool: {error}")))?;
        let ended = piece.is_none();
        offset = piece.as_ref().map_or(offset, LogPiece::end);
        let is_short = matches!(&piece, Some(LogPiece::Bytes { bytes, .. }) if bytes.len() < CHUNK_BYTES_MAX);
        for piece in veiled.take(piece, to_the_end) {
            if frames.send(Ok(log_frame(piece))).await.is_err() {
                return Ok(Err(Gone));
            }
        }
        if ended {
            return Ok(Ok(offset));
        }
        if is_short && !to_the_end {
            return Ok(Ok(offset));
        }
    }
}

/// A log on its way out, with its secrets covered.
struct Veiled {
    veil: Veil,
    /// Where the reader wants it from.
    from: u64,
}

impl Veiled {
    /// What may be sent after the next piece, or, where there is none, at the end of a log that `is_whole`.
    fn take(&mut self, piece: Option<LogPiece>, is_whole: bool) -> Vec<LogPiece> {
        let bytes = |(offset, bytes)| LogPiece::Bytes { offset, bytes };
        let pieces = match piece {
            Some(LogPiece::Bytes { offset, bytes: some }) => vec![bytes(self.veil.take(offset, some))],
            Some(gap @ LogPiece::Gap { .. }) => {
                self.veil.finish().map(bytes).into_iter().chain([gap]).collect()
            }
            None if is_whole => self.veil.finish().map(bytes).into_iter().collect(),
            None => Vec::new(),
        };
        pieces.into_iter().filter_map(|piece| self.wanted(piece)).collect()
    }

    /// The part of a piece that the reader does not have.
    fn wanted(&self, piece: LogPiece) -> Option<LogPiece> {
        if piece.end() <= self.from {
            return None;
        }
        Some(match piece {
            LogPiece::Bytes { offset, mut bytes } => {
                let skip = usize::try_from(self.from.saturating_sub(offset)).unwrap_or(0);
                LogPiece::Bytes { offset: offset + skip as u64, bytes: bytes.split_off(skip) }
            }
            LogPiece::Gap { from, to } => LogPiece::Gap { from: from.max(self.from), to },
        })
        .filter(|piece| !matches!(piece, LogPiece::Bytes { bytes, .. } if bytes.is_empty()))
    }
}

async fn finish(mask: &Mask, token: &str, outcome: &Outcome, offset: u64, frames: &Frames) {
    if offset < outcome.log_bytes {
        // Bytes that were counted but are not there, after a crash of the host or on a full disk.
        let gap = LogPiece::Gap { from: offset, to: outcome.log_bytes };
        if frames.send(Ok(log_frame(gap))).await.is_err() {
            return;
        }
    }
    let mut frame = outcome_frame(outcome, token);
    mask.cover_text(&mut frame.outcome_json);
    let frame = WatchFrame { frame: Some(Frame::Outcome(frame)) };
    // A reader that has gone asks again.
    let _ = frames.send(Ok(frame)).await;
}

/// What the agent reported of itself so far. Nothing hangs on it, so that what cannot be read is none.
async fn read_progress(held: &Held) -> Option<String> {
    let dir = held.dir.clone();
    let progress = service::blocking(move || dir.progress()).await.ok()??;
    serde_json::to_string(&progress).ok()
}

async fn read_outcome(held: &Held) -> Result<Outcome, Status> {
    let dir = held.dir.clone();
    match service::blocking(move || dir.report()).await {
        Ok(Some(outcome)) => Ok(outcome),
        Ok(None) => Err(Status::not_found("the run was forgotten")),
        Err(error) => Err(Status::internal(format!("could not read the outcome: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use service::settings::Secret;

    use super::*;

    #[test]
    fn a_reader_that_goes_on_within_a_secret_sees_no_part_of_it() {
        let mask = Mask::new(&[Secret::new("secret-secret")]);
        let log = b"before secret-secret after sec".to_vec();
        for from in 0..=log.len() as u64 {
            let offset = from.saturating_sub(mask.reach());
            let mut veiled = Veiled { veil: Veil::new(mask.clone(), offset), from };
            let at = usize::try_from(offset).unwrap();
            let middle = at + (log.len() - at) / 2;
            let piece = |from: usize, to: usize| {
                Some(LogPiece::Bytes { offset: from as u64, bytes: log[from..to].to_vec() })
            };
            let mut read = String::new();
            for (piece, is_whole) in
                [(piece(at, middle), false), (piece(middle, log.len()), true), (None, true)]
            {
                for piece in veiled.take(piece, is_whole) {
                    let LogPiece::Bytes { offset, bytes } = piece else { panic!("there is no gap") };
                    assert_eq!(offset, from + read.len() as u64);
                    read.push_str(str::from_utf8(&bytes).unwrap());
                }
            }
            let whole = "before ************* after sec";
            assert_eq!(read, whole[usize::try_from(from).unwrap()..], "from {from}");
        }
    }

    #[test]
    fn a_gap_ends_what_was_begun() {
        let mask = Mask::new(&[Secret::new("secret-secret")]);
        let mut veiled = Veiled { veil: Veil::new(mask, 0), from: 2 };
        let bytes = |offset, bytes: &str| LogPiece::Bytes { offset, bytes: bytes.as_bytes().to_vec() };
        assert_eq!(veiled.take(Some(bytes(0, "absecr")), false), []);
        let gap = LogPiece::Gap { from: 6, to: 9 };
        assert_eq!(veiled.take(Some(gap.clone()), false), [bytes(2, "secr"), gap]);
        assert_eq!(veiled.take(Some(bytes(9, "et-other")), false), [bytes(9, "et-other")]);
    }
}
