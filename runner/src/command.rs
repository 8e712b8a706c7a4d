//! Runs a program to its end, within a time and with bounded output. Dropping the run ends the program.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use domain::outcome::Exit;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::ExitStatusExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

/// From SIGTERM to SIGKILL of a program that took too long.
const GRACE: Duration = Duration::from_secs(2);
/// How long a stream may stay open once its program has ended: something it left behind holds it.
const DRAIN: Duration = Duration::from_secs(1);
/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) within: Duration,
    /// Of each stream; more is dropped from its front.
    pub(crate) output_bytes_max: usize,
}

/// A program's end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) stdout: Kept,
    pub(crate) stderr: Kept,
}

impl Ended {
    pub(crate) fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }
}

/// The end of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    /// How many bytes came before those.
    pub(crate) dropped: u64,
}

impl Kept {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn push(&mut self, bytes: &[u8], bytes_max: usize) {
        self.bytes.extend_from_slice(bytes);
        // Cut in large pieces, or each chunk would move all that is kept.
        if self.bytes.len() > bytes_max.saturating_mul(2) {
            self.cut(bytes_max);
        }
    }

    fn cut(&mut self, bytes_max: usize) {
        let surplus = self.bytes.len().saturating_sub(bytes_max);
        self.bytes.drain(..surplus);
        self.dropped += surplus as u64;
    }
}

/// Why a program has no end of its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotEnded {
    #[error("could not be executed: {0}")]
    NotExecuted(#[source] std::io::Error),
    #[error("took longer than {} s and was ended", .0.as_secs_f32())]
    TooLong(Duration, Kept),
}

/// Runs `command` in a process group of its own. Its standard input is as set, its output is read here.
pub(crate) async fn run(mut command: Command, bounds: Bounds) -> Result<Ended, NotEnded> {
    let command = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(NotEnded::NotExecuted)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Kept::default(), Kept::default());
    let mut group = Group(child);
    let ended = {
        let most = bounds.output_bytes_max;
        let reading = async { tokio::join!(read(out, &mut stdout, most), read(err, &mut stderr, most)) };
        tokio::pin!(reading);
        let ending = async {
            tokio::select! {
                _ = &mut reading => group.0.wait().await,
                status = group.0.wait() => {
                    let _ = tokio::time::timeout(DRAIN, &mut reading).await;
                    status
                }
            }
        };
        tokio::time::timeout(bounds.within, ending).await
    };
    stdout.cut(bounds.output_bytes_max);
    stderr.cut(bounds.output_bytes_max);
    match ended {
        Ok(Ok(status)) => Ok(Ended { exit: exit(status), stdout, stderr }),
        Ok(Err(error)) => Err(NotEnded::NotExecuted(error)),
        Err(_) => {
            group.end().await;
            Err(NotEnded::TooLong(bounds.within, stderr))
        }
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>, kept: &mut Kept, bytes_max: usize) {
    let Some(mut stream) = stream else { return };
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        kept.push(&chunk[..length], bytes_max);
    }
}

fn exit(status: ExitStatus) -> Exit {
    let signal = status.signal().map(Exit::Signal);
    status.code().map(Exit::Code).or(signal).unwrap_or(Exit::Code(-1))
}

/// A child and its process group. While the child is not reaped nobody else has its number.
struct Group(Child);

impl Group {
    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process_group(pid, signal);
        }
    }

    async fn end(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(GRACE, self.0.wait()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = self.0.wait().await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Asked and not killed: git then removes its lock files.
        self.signal(Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    fn bounds(within_ms: u64, output_bytes_max: usize) -> Bounds {
        Bounds { within: Duration::from_millis(within_ms), output_bytes_max }
    }

    #[tokio::test]
    async fn the_end_of_the_output_is_kept_and_the_rest_counted() {
        let ended = run(shell("seq 1 100000; echo oops >&2; exit 3"), bounds(20_000, 20)).await.unwrap();
        assert_eq!((ended.exit, ended.stderr.text().as_str()), (Exit::Code(3), "oops\n"));
        assert!(ended.stdout.text().ends_with("\n99999\n100000\n") && ended.stdout.bytes.len() == 20);
        assert_eq!(ended.stdout.dropped, 588_895 - 20);
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_ended_with_what_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("trap '' TERM; sleep 600 & echo $! >{}; wait", file.display());
        let late = run(shell(&script), bounds(500, 100)).await.unwrap_err();
        assert!(matches!(late, NotEnded::TooLong(..)), "{late}");
        let pid = std::fs::read_to_string(file).unwrap();
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z")
        };
        let gone = tokio::time::timeout(Duration::from_secs(10), async {
            while lives() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        gone.await.expect("it was killed");
    }

    #[tokio::test]
    async fn what_is_left_in_the_background_holds_nobody_up() {
        let began = tokio::time::Instant::now();
        let ended = run(shell("sleep 5 & echo done"), bounds(20_000, 100)).await.unwrap();
        assert!(ended.succeeded() && began.elapsed() < Duration::from_secs(4));
        assert_eq!(ended.stdout.text(), "done\n");
        assert!(matches!(
            run(Command::new("/nonexistent"), bounds(1000, 1)).await,
            Err(NotEnded::NotExecuted(_))
        ));
    }
}
