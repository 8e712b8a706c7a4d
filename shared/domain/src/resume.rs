//! Whether a next try goes on with the conversation of the last one, and what that spares.
//!
//! A conversation lies in one account's home on one node, and its CLI finds it only from the folder it began in. So
//! it is worth going on with where nothing is wrong with it: the try was cut off by a limit or a fault of the provider
//! or the account. After an agent's own failure a fresh mind does better; after a lost run nobody knows what was kept;
//! what a conversation grew too long or too dear for, more of it does not mend.

use std::collections::BTreeMap;

use crate::transition::NotTried;
use crate::workspace::WorkspaceFault;
use crate::{Account, Class, NodeId, PermanentReason, Run, Timestamp};

/// The longest session id that is passed on, in bytes; those of the CLI are UUIDs.
const SESSION_BYTES_MAX: usize = 64;

/// A conversation to go on with, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The CLI's session.
    pub session: String,
    /// The node it lies on.
    pub node: NodeId,
    /// The account in whose home it lies.
    pub account: Account,
}

/// The end of a try, as far as going on with it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastTry {
    /// The run's class.
    pub class: String,
    /// The reason beside it.
    pub reason: String,
    /// The session that the agent named.
    pub session: Option<String>,
    /// Where it ran.
    pub node: NodeId,
    /// The account it used.
    pub account: Account,
}

impl LastTry {
    /// The conversation that is asked once more, for the form of its answer alone; this is the run it asks about.
    pub fn ask_again(self) -> Option<Resume> {
        let session = self.session.filter(|session| self.class == "success" && is_session(session))?;
        Some(Resume { session, node: self.node, account: self.account })
    }

    /// The last of a job's runs, the oldest first, that says anything about its conversation.
    ///
    /// An offer that came to nothing says nothing; a session that was refused stays refused.
    pub fn of<'a>(runs: impl DoubleEndedIterator<Item = &'a Run>) -> Option<Self> {
        let run = runs.rev().find(|run| says_something(run))?;
        Some(Self {
            class: run.class.clone()?,
            reason: run.reason.clone()?,
            session: run.usage.session_id.clone(),
            node: run.node.clone(),
            account: run.account.clone(),
        })
    }

    /// The conversation that the next try goes on with, if it can.
    pub fn resume(self) -> Option<Resume> {
        let is_sound = match self.class.as_str() {
            "transient" => true,
            // Put off until a person has seen to the account: the conversation has no part in that.
            "permanent" => [PermanentReason::Auth, PermanentReason::Billing]
                .iter()
                .any(|reason| reason.as_str() == self.reason),
            _ => false,
        };
        let session = self.session.filter(|session| is_sound && is_session(session))?;
        Some(Resume { session, node: self.node, account: self.account })
    }
}

fn says_something(run: &Run) -> bool {
    let reason = run.reason.as_deref();
    if reason.and_then(WorkspaceFault::parse).is_some() {
        return false;
    }
    run.class.as_deref() != Some("withdrawn") || reason == Some(NotTried::SessionRefused.as_str())
}

/// Whether it can be nothing but the value of a flag: what an agent prints is not to be trusted further.
fn is_session(text: &str) -> bool {
    text.len() <= SESSION_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// Whether a run that was told to go on with a conversation ended because that cannot be gone on with.
///
/// Such an end says nothing about the job: it is tried afresh, and no budget moves. It happens once for each
/// conversation, since the next try has none.
pub const fn is_refused(class: &Class) -> bool {
    matches!(
        class,
        Class::Permanent { reason: PermanentReason::InvalidRequest | PermanentReason::ContextLength }
    )
}

/// Until when a job waits for the node of its conversation while another could take it.
pub fn wait_until(due_at: Timestamp, wait: std::time::Duration, now: Timestamp) -> Option<Timestamp> {
    Some(due_at.plus(wait)).filter(|until| *until > now)
}

/// What a run cost that went on with `session`, after what the CLI `reported`.
///
/// The CLI (measured with 2.1.330) counts what the whole conversation has cost; `earlier` are the job's runs before,
/// each with its own cost. Tokens and turns it counts for the run alone.
pub fn own_cost(reported: f64, session: &str, earlier: &[Run]) -> f64 {
    let of_session = earlier.iter().filter(|run| run.usage.session_id.as_deref() == Some(session));
    let before: f64 = of_session.filter_map(|run| run.usage.cost_usd).sum();
    // One that counts the run alone cannot be told but by being less than what was there before.
    if reported >= before { reported - before } else { reported }
}

/// What each of a job's runs, the oldest first, did not have to repeat: the tokens, in and out, that earlier runs spent
/// in the conversation it went on with. 0 for a run that began afresh, or whose conversation was refused.
pub fn tokens_saved(runs: &[Run]) -> Vec<u64> {
    let mut spent: BTreeMap<&str, u64> = BTreeMap::new();
    runs.iter()
        .map(|run| {
            let refused = run.reason.as_deref() == Some(NotTried::SessionRefused.as_str());
            let resumed =
                run.resumed_session.as_deref().filter(|_| !refused && run.usage.session_id.is_some());
            let saved = resumed.and_then(|session| spent.get(session)).copied().unwrap_or_default();
            if let Some(session) = &run.usage.session_id {
                let tokens = [run.usage.input_tokens, run.usage.output_tokens].into_iter().flatten();
                let total = spent.entry(session).or_default();
                *total = tokens.fold(*total, u64::saturating_add);
            }
            saved
        })
        .collect()
}

#[cfg(test)]
mod tests;
