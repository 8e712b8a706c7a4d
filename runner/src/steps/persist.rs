//! Asking the forge for something until it is done, or there is no use in asking.

use std::time::Duration;

use domain::steps::StepFault;

use super::{Did, fence};
use crate::node::{Held, Node};

/// How often a forge is asked before the run gives up and is put off.
const TRIES_MAX: u32 = 4;
/// The first wait; each is twice the one before.
const BACKOFF: Duration = Duration::from_millis(500);

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

/// Tries until it is over, each time with the scheduler's fresh word that the run still owns its job. A try stops when
/// the run is to end.
pub(super) async fn persist(node: &Node, held: &Held, asked: &mut dyn Attempt) -> Did {
    let mut backoff = BACKOFF;
    let mut count = 1;
    loop {
        if let Err(why) = fence::pass(node, held).await {
            return Did::not(why);
        }
        let tried = tokio::select! {
            biased;
            why = fence::closed(node, held) => return Did::not(why),
            tried = asked.attempt() => tried,
        };
        match tried {
            Tried::Over(did) => return did,
            Tried::Again { fault, words } if count >= TRIES_MAX => return Did::failed(fault, &words),
            Tried::Again { fault, words } => {
                tracing::info!(run.id = %held.assignment.run, fault = fault.as_str(), words, "trying again");
            }
        }
        tokio::select! {
            biased;
            why = fence::closed(node, held) => return Did::not(why),
            () = tokio::time::sleep(backoff) => {}
        }
        (backoff, count) = (backoff * 2, count + 1);
    }
}
