//! The logs of a job or of one run, as a stream that can follow them while they grow.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::log::LogPiece;
use domain::{Epoch, JobId, Run, RunId, RunState, Status as JobStatus};
use proto::convert;
use proto::v1::{LogFrame, StreamLogsRequest, stream_logs_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::grpc::unavailable;
use crate::shared::Shared;

/// How many frames wait for a slow reader.
const FRAMES_AHEAD: usize = 2;
/// How soon a followed log is looked at again after it grew; it doubles with every look that finds nothing.
const LOOK_MIN: Duration = Duration::from_millis(5);
/// How often a followed log is looked at that does not grow.
const LOOK: Duration = Duration::from_millis(200);
/// How long a stream that is cut off by the scheduler's end tries to say so.
const LAST_WORD: Duration = Duration::from_secs(1);

type Frames = mpsc::Sender<Result<LogFrame, Status>>;

pub(super) async fn stream(
    shared: &Arc<Shared>,
    request: StreamLogsRequest,
) -> Result<ReceiverStream<Result<LogFrame, Status>>, Status> {
    let of = match request.of {
        None => return Err(Status::invalid_argument("name a job or a run")),
        Some(stream_logs_request::Of::JobId(id)) => {
            let id = JobId(id);
            let job = shared.store.job(id).await.map_err(|error| unavailable(&error))?;
            job.ok_or_else(|| Status::not_found(format!("there is no job {id}: `orch jobs` lists them")))?;
            Of::Job(id)
        }
        Some(stream_logs_request::Of::RunId(id)) => {
            let id = convert::read_run_id(&id)?;
            let run = shared.store.run(id).await.map_err(|error| unavailable(&error))?;
            run.ok_or_else(|| {
                Status::not_found(format!("there is no run {id}: `orch job ID` lists the runs of a job"))
            })?;
            Of::Run(id)
        }
    };
    let (frames, receiver) = mpsc::channel(FRAMES_AHEAD);
    let (shared, token) = (shared.clone(), shared.tasks.token());
    let wanted = Wanted { of, follow: request.follow, tail_bytes: request.tail_bytes };
    let tasks = shared.tasks.clone();
    tasks.spawn("log-stream", async move {
        let sending = async {
            if let Err(Some(status)) = send(&shared, wanted, &frames).await {
                // The reader may have gone.
                let _ = frames.send(Err(status)).await;
            }
        };
        tokio::select! {
            biased;
            sent = token.run_until_cancelled(sending) => {
                if sent.is_none() {
                    let stops = Status::unavailable("the scheduler stops");
                    // A reader that does not read misses it, and finds the connection gone.
                    let _ = tokio::time::timeout(LAST_WORD, frames.send(Err(stops))).await;
                }
            }
            () = frames.closed() => {}
        }
    });
    Ok(ReceiverStream::new(receiver))
}

#[derive(Clone, Copy)]
struct Wanted {
    of: Of,
    follow: bool,
    tail_bytes: Option<u64>,
}

#[derive(Clone, Copy)]
enum Of {
    Job(JobId),
    Run(RunId),
}

/// Sends everything; an error without a status means that nobody reads any more.
async fn send(shared: &Shared, wanted: Wanted, frames: &Frames) -> Result<(), Option<Status>> {
    let Wanted { of, follow, .. } = wanted;
    let mut sent = Epoch::default();
    loop {
        // The state first: what is written before a job is over is then certainly seen.
        let over = !follow || is_over(shared, of).await?;
        for run in runs(shared, of).await? {
            if run.epoch > sent {
                send_run(shared, run.id, wanted, frames).await?;
                sent = run.epoch;
            }
        }
        if over {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn send_run(
    shared: &Shared,
    run: RunId,
    wanted: Wanted,
    frames: &Frames,
) -> Result<(), Option<Status>> {
    let mut log = shared.logs.reader(run);
    if let Some(bytes) = wanted.tail_bytes {
        log.skip_to_tail(bytes).await.map_err(|error| could_not_read(&error))?;
    }
    let mut pause = LOOK;
    loop {
        let over = !wanted.follow || has_ended(shared, run).await?;
        pause = (pause * 2).min(LOOK);
        while let Some(piece) = log.next().await.map_err(|error| could_not_read(&error))? {
            pause = LOOK_MIN;
            frames.send(Ok(frame(run, piece))).await.map_err(|_gone| None)?;
        }
        if over {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
}

async fn runs(shared: &Shared, of: Of) -> Result<Vec<Run>, Status> {
    match of {
        Of::Job(id) => shared.store.runs_of(id).await,
        Of::Run(id) => shared.store.run(id).await.map(|run| run.into_iter().collect()),
    }
    .map_err(|error| unavailable(&error))
}

async fn is_over(shared: &Shared, of: Of) -> Result<bool, Status> {
    match of {
        Of::Run(id) => has_ended(shared, id).await,
        Of::Job(id) => {
            let job = shared.store.job(id).await.map_err(|error| unavailable(&error))?;
            Ok(job.is_none_or(|job| match job.state.status() {
                JobStatus::Queued | JobStatus::Running => false,
                JobStatus::Done | JobStatus::Failed | JobStatus::Cancelled => true,
            }))
        }
    }
}

async fn has_ended(shared: &Shared, run: RunId) -> Result<bool, Status> {
    // Of a run that lives here nobody needs to ask the database: many may follow one log.
    if shared.runs.book(|book| book.get(run).is_some()) {
        return Ok(false);
    }
    let run = shared.store.run(run).await.map_err(|error| unavailable(&error))?;
    Ok(run.is_none_or(|run| run.state == RunState::Ended))
}

fn frame(run: RunId, piece: LogPiece) -> LogFrame {
    let run_id = run.to_string();
    match piece {
        LogPiece::Bytes { offset, bytes } => LogFrame { run_id, offset, data: bytes.into(), gap_bytes: 0 },
        LogPiece::Gap { from, to } => {
            LogFrame { run_id, offset: from, data: Bytes::new(), gap_bytes: to - from }
        }
    }
}

fn could_not_read(error: &std::io::Error) -> Status {
    Status::unavailable(format!("could not read the log: {error}"))
}
