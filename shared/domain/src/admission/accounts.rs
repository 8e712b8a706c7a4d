//! What the accounts let start: holds, breakers, what is left of their quota.

use std::time::Duration;

use super::{Facts, LiveFacts, WaitReason, Waiting};
use crate::Timestamp;
use crate::account::AccountRecord;
use crate::breaker::{BreakerState, BreakerTerms, Opening};

/// How long after a hold's end starts are spread, so that a whole queue does not meet the fresh window in one second.
const RESUME_SPREAD: Duration = Duration::from_secs(2);
/// How far apart they are then.
const RESUME_STEP: Duration = Duration::from_millis(250);

/// What is asked of accounts; from the settings of the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AccountTerms {
    /// When a breaker opens, and for how long.
    pub breaker: BreakerTerms,
    /// The share of every quota window that is left to essential stages (`ORCH_QUOTA_RESERVE`); `None`: no pacing.
    pub quota_reserve: Option<f64>,
}

/// What an account lets start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFacts {
    /// The opening that a run is claimed under.
    pub opening: Opening,
    /// How many more runs may start now, and what the next one waits for; `None`: as many as there are slots.
    pub limit: Option<(u32, Waiting)>,
    /// Whether its breaker is half open: what starts is a probe, and may be a job that is put off still.
    pub probes: bool,
    /// What stages that are not essential wait for; `None`: nothing.
    pub reserved: Option<Waiting>,
}

impl Facts {
    /// Takes what is known of the accounts; [`Facts::live`] and [`Facts::account_terms`] must be there already.
    pub fn take_accounts<'a>(
        &mut self,
        accounts: impl IntoIterator<Item = &'a AccountRecord>,
        now: Timestamp,
    ) {
        for record in accounts {
            let facts = facts_of(record, &self.live, self.account_terms, now);
            self.accounts.insert(record.account.clone(), facts);
        }
    }

    /// Whether some account wants a probe: then jobs that are put off are candidates too.
    pub fn wants_probe(&self) -> bool {
        self.accounts
            .values()
            .any(|facts| facts.probes && facts.limit.as_ref().is_some_and(|(max, _)| *max > 0))
    }

    /// Whether some node takes more than essential stages, as far as quotas go.
    pub(super) fn check_reserve(&self) -> Result<(), Waiting> {
        let open = self.nodes.iter().filter(|node| node.blocked.is_none());
        let mut reserved = None;
        for node in open {
            match self.accounts.get(&node.account).and_then(|facts| facts.reserved.as_ref()) {
                None => return Ok(()),
                Some(waiting) => reserved = Some(waiting),
            }
        }
        reserved.map_or(Ok(()), |waiting| Err(waiting.clone()))
    }

    /// When the accounts let something else start, as far as that is known.
    pub fn accounts_change_at(&self) -> Option<Timestamp> {
        let limits = self.accounts.values().flat_map(|facts| facts.limit.iter().map(|(_, waiting)| waiting));
        let reserves = self.accounts.values().filter_map(|facts| facts.reserved.as_ref());
        limits.chain(reserves).filter_map(|waiting| waiting.until).min()
    }
}

fn facts_of(record: &AccountRecord, live: &[LiveFacts], terms: AccountTerms, now: Timestamp) -> AccountFacts {
    let breaker = record.breaker;
    let state = breaker.state(now);
    let reserved = terms.quota_reserve.and_then(|reserve| record.short_of(reserve, now)).map(|window| {
        let (account, window, until) = (record.account.clone(), window.window.clone(), window.resets_at);
        Waiting { reason: WaitReason::QuotaReserve { account, window }, until }
    });
    AccountFacts {
        opening: breaker.opening,
        limit: limit(record, state, live, terms.breaker, now),
        probes: state == BreakerState::HalfOpen,
        reserved,
    }
}

fn limit(
    record: &AccountRecord,
    state: BreakerState,
    live: &[LiveFacts],
    terms: BreakerTerms,
    now: Timestamp,
) -> Option<(u32, Waiting)> {
    let (account, breaker) = (record.account.clone(), record.breaker);
    if let Some(hold) = record.held(now) {
        let reason = WaitReason::AccountHeld { account, reason: hold.reason };
        return Some((0, Waiting { reason, until: hold.until }));
    }
    let under_this_opening =
        live.iter().filter(|run| run.account == record.account && run.opening == breaker.opening);
    match state {
        BreakerState::Open { until } => {
            Some((0, Waiting { reason: WaitReason::BreakerOpen { account }, until: Some(until) }))
        }
        BreakerState::HalfOpen => {
            let free = u32::from(under_this_opening.count() == 0);
            Some((free, WaitReason::Probe { account }.open_ended()))
        }
        BreakerState::Closed if breaker.consecutive_transient > 0 => {
            // No more runs are out than would open it, so that none is left to be spent on an open one. A run that
            // outlived a pause was answered: an agent's CLI gives up sooner.
            let unproven = under_this_opening.filter(|run| run.offered_at.plus(terms.pause) > now).count();
            let failed = breaker.consecutive_transient as usize;
            let free = (terms.threshold as usize).saturating_sub(failed + unproven);
            let free = u32::try_from(free).unwrap_or(u32::MAX).max(u32::from(unproven == 0));
            Some((free, WaitReason::Faltering { account, count: breaker.consecutive_transient }.open_ended()))
        }
        BreakerState::Closed => {
            let resumed = record.hold.and_then(|hold| hold.until)?;
            (now < resumed.plus(RESUME_SPREAD)).then(|| {
                let until = Some(now.plus(RESUME_STEP));
                (1, Waiting { reason: WaitReason::Resuming { account }, until })
            })
        }
    }
}
