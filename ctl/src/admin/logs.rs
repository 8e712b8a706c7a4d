//! `orch logs`: what a job's runs printed, as it is; with `-f` on over retries and scheduler restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use proto::v1;
use serde::Serialize;
use service::Clock;

use super::{ANSWER_TIMEOUT, Admin, SchedulerAccess};
use crate::exit::Failure;
use crate::print::{Output, write};

/// How long a reader that follows waits before it asks again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// How long a reader that follows goes on asking a scheduler that does not answer.
const RECONNECT_MS_MAX: i64 = 10 * 60 * 1000;

/// Whose log `orch logs` shows.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct Logs {
    /// Job id, or run id
    #[arg(value_name = "ID", value_parser = parse_target)]
    of: v1::stream_logs_request::Of,
    /// Go on through later runs and restarts until the job is over; exits 1 where it failed or was cancelled
    #[arg(long, short)]
    follow: bool,
}

fn parse_target(text: &str) -> Result<v1::stream_logs_request::Of, String> {
    if let Ok(job) = text.parse() {
        return Ok(v1::stream_logs_request::Of::JobId(job));
    }
    let run =
        proto::convert::read_run_id(text).map_err(|_| "give a job id (a number) or a run id (a UUID)")?;
    Ok(v1::stream_logs_request::Of::RunId(run.to_string()))
}

/// `orch logs ID`.
pub(crate) async fn show(access: &SchedulerAccess, logs: Logs, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let clock = Clock::system();
    let mut read = Read::default();
    let mut silent_since = None;
    loop {
        let before = read.frames;
        let ended = stream(&admin, &logs, &mut read, output).await;
        if !logs.follow {
            return ended;
        }
        match ended {
            Ok(()) => match over(&admin, &logs).await? {
                Some(End::Well) => return Ok(()),
                Some(End::Badly(how)) => return Err(Failure::No(how)),
                None => {}
            },
            Err(Failure::Unreachable(reason)) => {
                let now = clock.boot_ms();
                let since = *silent_since.get_or_insert(now);
                if read.frames > before {
                    silent_since = Some(now);
                } else if read.frames == 0 || now - since > RECONNECT_MS_MAX {
                    return Err(Failure::Unreachable(reason));
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn stream(admin: &Admin, logs: &Logs, read: &mut Read, output: Output) -> Result<(), Failure> {
    let request = v1::StreamLogsRequest { of: Some(logs.of.clone()), follow: logs.follow, tail_bytes: None };
    let mut client = admin.client();
    let begun = service::grpc::call(ANSWER_TIMEOUT, client.stream_logs(request)).await;
    let mut frames = begun.map_err(|status| admin.refused(&status))?.into_inner();
    while let Some(frame) = frames.message().await.map_err(|status| admin.refused(&status))? {
        let first = read.last_run.as_deref() != Some(&frame.run_id);
        let Some(frame) = read.fresh(frame) else { continue };
        if output.json {
            let line =
                serde_json::to_string(&Line::of(&frame)).map_err(|error| Failure::No(error.to_string()))?;
            write(format!("{line}\n").as_bytes())?;
            continue;
        }
        if first {
            eprintln!("--- run {} ---", frame.run_id);
        }
        if frame.gap_bytes > 0 {
            write(format!("\n[... {} bytes dropped ...]\n", frame.gap_bytes).as_bytes())?;
        }
        write(&frame.data)?;
    }
    Ok(())
}

/// How a job that was followed ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It did what it was to do.
    Well,
    /// It did not, and why.
    Badly(String),
}

/// How the job ended, if it is over: a scheduler that was cut off ends its streams too. A run that was asked for alone is
/// over with its stream.
async fn over(admin: &Admin, logs: &Logs) -> Result<Option<End>, Failure> {
    let v1::stream_logs_request::Of::JobId(id) = logs.of else { return Ok(Some(End::Well)) };
    match admin.ask(admin.client().get_job(v1::GetJobRequest { id })).await {
        Ok(detail) => Ok(end_of(detail.job.unwrap_or_default())),
        Err(Failure::Unreachable(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn end_of(job: v1::Job) -> Option<End> {
    let id = job.id;
    match job.status.as_str() {
        "done" => Some(End::Well),
        "failed" => {
            let failure = job.failure.unwrap_or_default();
            Some(End::Badly(format!("job {id} failed: {failure}; `orch why {id}` says more")))
        }
        "cancelled" => Some(End::Badly(format!("job {id} was cancelled; `orch retry {id}` queues it again"))),
        _ => None,
    }
}

/// A frame for scripts: the bytes as text, what is no UTF-8 replaced.
#[derive(Serialize)]
struct Line<'a> {
    run_id: &'a str,
    offset: u64,
    text: std::borrow::Cow<'a, str>,
    gap_bytes: u64,
}

impl<'a> Line<'a> {
    fn of(frame: &'a v1::LogFrame) -> Self {
        Self {
            run_id: &frame.run_id,
            offset: frame.offset,
            text: String::from_utf8_lossy(&frame.data),
            gap_bytes: frame.gap_bytes,
        }
    }
}

/// How far each run was read: a stream that begins anew begins at the start.
#[derive(Debug, Default)]
struct Read {
    offsets: BTreeMap<String, u64>,
    last_run: Option<String>,
    frames: u64,
}

impl Read {
    /// The part of a frame that was not read yet, if any.
    fn fresh(&mut self, mut frame: v1::LogFrame) -> Option<v1::LogFrame> {
        let length = if frame.gap_bytes > 0 { frame.gap_bytes } else { frame.data.len() as u64 };
        let end = frame.offset.saturating_add(length);
        let read = self.offsets.entry(frame.run_id.clone()).or_default();
        if end <= *read {
            return None;
        }
        let known = read.saturating_sub(frame.offset);
        if frame.gap_bytes > 0 {
            frame.gap_bytes -= known;
        } else {
            let known = usize::try_from(known).unwrap_or(usize::MAX).min(frame.data.len());
            frame.data = frame.data.split_off(known);
        }
        frame.offset += known;
        *read = end;
        self.frames += 1;
        self.last_run = Some(frame.run_id.clone());
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(run: &str, offset: u64, data: &str, gap_bytes: u64) -> v1::LogFrame {
        v1::LogFrame { run_id: run.to_owned(), offset, data: data.to_owned().into(), gap_bytes }
    }

    #[test]
    fn a_stream_that_begins_anew_repeats_nothing() {
        let mut read = Read::default();
        let first = [frame("a", 0, "hello ", 0), frame("a", 6, "", 4), frame("a", 10, "wor", 0)];
        for piece in first.clone() {
            assert_eq!(read.fresh(piece.clone()), Some(piece));
        }
        for piece in first {
            assert_eq!(read.fresh(piece), None);
        }
        assert_eq!(read.fresh(frame("a", 10, "world", 0)), Some(frame("a", 13, "ld", 0)));
        assert_eq!(read.fresh(frame("b", 0, "next", 0)), Some(frame("b", 0, "next", 0)));
        assert_eq!(read.frames, 5);
    }

    #[test]
    fn a_job_that_did_not_do_its_work_is_no_success() {
        let job = |status: &str| v1::Job { id: 7, status: status.to_owned(), ..v1::Job::default() };
        assert_eq!((end_of(job("done")), end_of(job("queued"))), (Some(End::Well), None));
        let failed = v1::Job { failure: Some("crash".to_owned()), ..job("failed") };
        assert_eq!(
            end_of(failed),
            Some(End::Badly("job 7 failed: crash; `orch why 7` says more".to_owned()))
        );
        assert!(matches!(end_of(job("cancelled")), Some(End::Badly(_))));
    }

    #[test]
    fn jobs_are_numbers_and_runs_are_uuids() {
        use v1::stream_logs_request::Of;
        assert_eq!(parse_target("7"), Ok(Of::JobId(7)));
        let run = "0192f0c1-2b3c-7d4e-8f50-616263646566";
        assert_eq!(parse_target(run), Ok(Of::RunId(run.to_owned())));
        assert!(parse_target("SHOP-12").is_err());
    }
}
