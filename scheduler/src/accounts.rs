//! Accounts as this process sees them: what keeps an offered run from starting on one, and what is told of them.
//!
//! Their rows move in the transactions of the store alone; `domain::account` decides how.

use std::collections::BTreeMap;

use domain::account::{AccountRecord, HoldReason};
use domain::admission::WaitReason;
use domain::breaker::BreakerState;
use domain::{Account, Run, Timestamp};

use crate::moves::error_chain;
use crate::shared::Shared;

/// What was told of each account last: the state of its breaker, and what holds it.
pub(crate) type Told = BTreeMap<Account, (&'static str, Option<HoldReason>)>;

/// Why the account of an offered run lets it start no more: it was held, or its breaker opened, since the claim.
pub(crate) fn refusal(run: &Run, accounts: Vec<AccountRecord>, now: Timestamp) -> Option<WaitReason> {
    let account = run.account.clone();
    let record = accounts.into_iter().find(|record| record.account == account)?;
    if let Some(hold) = record.held(now) {
        return Some(WaitReason::AccountHeld { account, reason: hold.reason });
    }
    let opened_since = record.breaker.opening != run.opening && record.breaker.open_until.is_some();
    opened_since.then_some(WaitReason::BreakerOpen { account })
}

/// Logs breakers that turned and sets the gauges.
pub(crate) async fn tell(shared: &Shared, told: &mut Told) {
    let accounts = match shared.store.accounts().await {
        Ok(accounts) => accounts,
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "could not read the accounts");
            return;
        }
    };
    let now = shared.now();
    for record in accounts {
        let (account, state) = (&record.account, record.breaker.state(now));
        let number = match state {
            BreakerState::Closed => 0.0,
            BreakerState::Open { .. } => 1.0,
            BreakerState::HalfOpen => 2.0,
        };
        shared.instruments.breaker.set(number, &[&account.0]);
        for window in &record.windows {
            // One that is over has been given back.
            shared.instruments.quota.set(0.0, &[&account.0, &window.window]);
        }
        for (window, utilization) in record.quota(now) {
            shared.instruments.quota.set(utilization.unwrap_or(0.0), &[&account.0, &window.window]);
        }
        let held = record.held(now).map(|hold| hold.reason);
        shared.instruments.held.set(f64::from(u8::from(held.is_some())), &[&account.0]);
        let before = told.insert(account.clone(), (state.as_str(), held)).unwrap_or(("closed", None));
        if before != (state.as_str(), held) {
            // The alerts of it were written with it; whoever delivers them need not wait for the next poll.
            shared.alert();
        }
        match state {
            _ if before.0 == state.as_str() => {}
            BreakerState::Open { until } => {
                let failed = record.breaker.consecutive_transient;
                tracing::warn!(%account, failed, %until, "the breaker is open: nothing starts on the account");
            }
            BreakerState::HalfOpen => {
                tracing::info!(%account, "the breaker is half open: one probe may start");
            }
            BreakerState::Closed => {
                tracing::info!(%account, "the breaker is closed: the provider answers");
            }
        }
    }
}
