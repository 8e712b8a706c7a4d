//! Doing a step that needs the forge until it is done, or there is no use in trying: the step alone, never the agent again.

use std::io;
use std::time::Duration;

use domain::steps::retry::{self, Next};
use domain::steps::{StepFault, StepKind};

use super::{Did, fence};
use crate::node::{Held, Node};

/// What one try came to.
#[derive(Debug)]
pub(super) enum Tried {
    /// It is over, well or not.
    Over(Did),
    /// Another try may do better.
    Again {
        /// What is the matter.
        fault: StepFault,
        /// In the forge's words.
        words: String,
    },
}

/// Something that is asked of a forge, and may be asked again.
#[tonic::async_trait]
pub(super) trait Attempt: Send {
    async fn attempt(&mut self) -> Tried;
}

/// Tries until it is over, each time with the scheduler's fresh word that the run still owns its job. A try, and the wait for
/// the next one, stops when the run is to end. How long it has been failing is journaled: a restart gives no new patience.
pub(super) async fn persist(
    node: &Node,
    held: &Held,
    step: StepKind,
    asked: &mut dyn Attempt,
) -> io::Result<Did> {
    let mut count = 0;
    loop {
        if let Err(why) = fence::pass(node, held).await {
            return Ok(Did::not(why));
        }
        let tried = tokio::select! {
            biased;
            why = fence::closed(node, held) => return Ok(Did::not(why)),
            tried = asked.attempt() => tried,
        };
        let (fault, words) = match tried {
            Tried::Over(did) => return Ok(did),
            Tried::Again { fault, words } => (fault, words),
        };
        count += 1;
        let failing_for = failing_for(node, held, step).await?;
        let wait = match retry::after(fault, count, failing_for, node.options.step_patience) {
            Next::Again(wait) => wait,
            Next::GiveUp => return Ok(Did::failed(fault, &words)),
        };
        tracing::warn!(
            run.id = %held.assignment.run, job.id = %held.assignment.job, step = step.as_str(), fault = fault.as_str(), words,
            failing_s = failing_for.as_secs(), wait_ms = wait.as_millis(), "a step is tried again, its agent is not"
        );
        tokio::select! {
            biased;
            why = fence::closed(node, held) => return Ok(Did::not(why)),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How long the step has been failing, by whichever incarnation.
async fn failing_for(node: &Node, held: &Held, step: StepKind) -> io::Result<Duration> {
    let (dir, now_ms) = (held.dir.clone(), node.clock.boot_ms());
    service::blocking(move || {
        let since_ms = match dir.step_fails_since(step)? {
            Some(since_ms) => since_ms,
            None => dir.write_step_fails_since(step, now_ms).map(|()| now_ms)?,
        };
        Ok(Duration::from_millis(u64::try_from(now_ms - since_ms).unwrap_or(0)))
    })
    .await
}
