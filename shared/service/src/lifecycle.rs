//! From `main` to the exit code: builds the runtime, installs telemetry, turns signals into a
//! cancelled token and waits for what was spawned.
//!
//! The first SIGTERM or SIGINT asks for a graceful stop, the second one ends the process at once.
//! What a service does in between is its own business.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::settings::TelemetrySettings;
use crate::tasks::Tasks;
use crate::telemetry;

/// Stopped cleanly.
pub const EXIT_CLEAN: u8 = 0;
/// Failed at run time: an error that ended the service, or a task that panicked.
pub const EXIT_FAILED: u8 = 1;
/// Refused to start: settings, configuration or the database's version do not fit. Starting again changes nothing.
pub const EXIT_REFUSED: u8 = 2;
/// Asked to stop, and not everything had ended within the drain deadline.
pub const EXIT_DRAIN_DEADLINE: u8 = 3;
/// A second SIGINT while stopping: 128 + 2.
pub const EXIT_SIGINT: u8 = 130;
/// A second SIGTERM while stopping: 128 + 15.
pub const EXIT_SIGTERM: u8 = 143;

/// How long a stop may take by default; below the 10 s after which `docker stop` sends SIGKILL.
pub const DRAIN: Duration = Duration::from_secs(8);

/// An error that says: this process must not start like this, and trying again will not help.
///
/// Anywhere in the chain of the error a service returns, it turns the exit code into [`EXIT_REFUSED`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    reason: String,
}

impl Refused {
    /// Refuses for `reason`, which says what is wrong and what to do.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

/// Runs a service to its end with the default drain deadline, [`DRAIN`]. See [`run_with_drain`].
pub fn run<F, Fut>(name: &'static str, telemetry: &TelemetrySettings, service: F) -> ExitCode
where
    F: FnOnce(Tasks) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    run_with_drain(name, telemetry, DRAIN, service)
}

/// Runs a service until it returns or is told to stop, and says how it went as an exit code.
///
/// The service gets the tasks of the process. It should return soon after their token is cancelled;
/// when it returns, whatever it spawned is asked to stop as well. Return and tasks together have `drain`
/// from the first signal, or from the service's own return.
pub fn run_with_drain<F, Fut>(
    name: &'static str,
    telemetry: &TelemetrySettings,
    drain: Duration,
    service: F,
) -> ExitCode
where
    F: FnOnce(Tasks) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    keep_memory_private();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: could not start the runtime: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let entered = runtime.enter();
    let guard = match telemetry::install(name, telemetry) {
        Ok(guard) => guard,
        Err(refused) => {
            eprintln!("{name}: {refused}");
            return ExitCode::from(EXIT_REFUSED);
        }
    };
    let code = runtime.block_on(supervise(name, drain, service));
    // Flushing needs the runtime's threads, so it comes before the runtime goes.
    drop(guard);
    drop(entered);
    // Blocking work may hang on a disk; the exit code has already said so.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ExitCode::from(code)
}

/// Leaves no core file, and lets nobody of the same user look into the process: secrets are in its memory.
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // Neither can fail with these values; a process that could be looked into works all the same.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Takes as many open files as the host allows: a listener's connections are each one. For a process that starts no others,
/// which would inherit it.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What the host refuses leaves the limit as it was.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// SIGTERM and SIGINT, listened to from now on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The exit code of the signal that came.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => EXIT_SIGTERM,
            _ = self.interrupt.recv() => EXIT_SIGINT,
        }
    }
}

async fn supervise<F, Fut>(name: &'static str, drain: Duration, service: F) -> u8
where
    F: FnOnce(Tasks) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(service = name, %error, "could not listen for signals");
            return EXIT_FAILED;
        }
    };
    let tasks = Tasks::new();
    let stopping = tasks.token();
    let mut service = pin!(service(tasks.clone()));

    let early = tokio::select! {
        result = &mut service => Some(result),
        _ = signals.next() => {
            tracing::info!(service = name, drain_ms = millis(drain), "stopping on a signal");
            None
        }
        () = stopping.cancelled() => None,
    };
    tasks.stop();
    let wind_down = async {
        let result = match early {
            Some(result) => result,
            None => service.await,
        };
        // The deadline around all of this is the one that counts.
        tasks.finished(Duration::MAX).await;
        result
    };
    let result = tokio::select! {
        ended = tokio::time::timeout(drain, wind_down) => ended,
        code = signals.next() => {
            tracing::warn!(service = name, exit_code = code, "second signal, stopping now");
            return code;
        }
    };
    conclude(name, result.ok(), tasks.panicked(), drain)
}

/// The exit code, and the one log line that explains it.
fn conclude(
    name: &'static str,
    result: Option<anyhow::Result<()>>,
    panicked: Option<&'static str>,
    drain: Duration,
) -> u8 {
    match (result, panicked) {
        (Some(Err(error)), _) if is_refusal(&error) => {
            tracing::error!(service = name, error = format!("{error:#}"), "refused to start");
            EXIT_REFUSED
        }
        (Some(Err(error)), _) => {
            tracing::error!(service = name, error = format!("{error:#}"), "stopped by an error");
            EXIT_FAILED
        }
        (_, Some(task)) => {
            tracing::error!(service = name, task, "stopped because a task panicked");
            EXIT_FAILED
        }
        (None, None) => {
            tracing::error!(
                service = name,
                drain_ms = millis(drain),
                "not everything ended within the drain deadline"
            );
            EXIT_DRAIN_DEADLINE
        }
        (Some(Ok(())), None) => {
            tracing::info!(service = name, "stopped");
            EXIT_CLEAN
        }
    }
}

fn is_refusal(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some() || error.chain().any(<dyn std::error::Error>::is::<Refused>)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn exit_codes_tell_endings_apart() {
        let clean = supervise("t", LONG, |_| async { Ok(()) }).await;
        let failed = supervise("t", LONG, |_| async { anyhow::bail!("disk gone") }).await;
        let refused =
            supervise("t", LONG, |_| async { Err(Refused::new("from a newer version")).context("open") })
                .await;
        let stuck = supervise("t", SHORT, |tasks| async move {
            tasks.spawn("stuck", std::future::pending());
            Ok(())
        })
        .await;
        let panicked = supervise("t", LONG, |tasks| async move {
            tasks.spawn("loop", async { panic!("bug") });
            tasks.token().cancelled().await;
            Ok(())
        })
        .await;
        assert_eq!(
            [clean, failed, refused, stuck, panicked],
            [EXIT_CLEAN, EXIT_FAILED, EXIT_REFUSED, EXIT_DRAIN_DEADLINE, EXIT_FAILED]
        );
    }
}
