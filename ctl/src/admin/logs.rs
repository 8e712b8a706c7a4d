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
    /// Go on through later runs until the job is over
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
            Ok(()) if over(&admin, &logs).await? => return Ok(()),
            Ok(()) => {}
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
    let request = v1::StreamLogsRequest { of: Some(logs.of.clone()), follow: logs.follow };
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

/// Whether the job is over; a stream also ends when its scheduler stops.
async fn over(admin: &Admin, logs: &Logs) -> Result<bool, Failure> {
    let v1::stream_logs_request::Of::JobId(id) = logs.of else { return Ok(true) };
    match admin.ask(admin.client().get_job(v1::GetJobRequest { id })).await {
        Ok(detail) => {
            Ok(detail.job.is_none_or(|job| matches!(job.status.as_str(), "done" | "failed" | "cancelled")))
        }
        Err(Failure::Unreachable(_)) => Ok(false),
        Err(failure) => Err(failure),
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
        v1::LogFrame { run_id: run.to_owned(), offset, data: data.into(), gap_bytes }
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
    fn jobs_are_numbers_and_runs_are_uuids() {
        use v1::stream_logs_request::Of;
        assert_eq!(parse_target("7"), Ok(Of::JobId(7)));
        let run = "0192f0c1-2b3c-7d4e-8f50-616263646566";
        assert_eq!(parse_target(run), Ok(Of::RunId(run.to_owned())));
        assert!(parse_target("SHOP-12").is_err());
    }
}
