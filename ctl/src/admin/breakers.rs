//! `orch breaker`.

use clap::Subcommand;
use domain::Timestamp;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::{Cell, Output, table, when};

/// What can be done about a breaker.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Close an account's breaker at once: its jobs start again without a probe
    Reset {
        /// Account, as `orch breaker` names it
        account: String,
    },
}

/// `orch breaker`.
pub(crate) async fn list(access: &SchedulerAccess, output: Output, now: Timestamp) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().list_breakers(v1::ListBreakersRequest {})).await?;
    output.show(&reply, |_| {
        let rows = reply.breaker.iter().map(|breaker| {
            let state = match &breaker.open_until {
                Some(until) => format!("open, {}", when(until, now)),
                None => breaker.state.replace('_', " "),
            };
            let failed = format!("{} of {}", breaker.consecutive_transient, breaker.threshold);
            vec![Cell::from(&breaker.account), Cell::from(state), Cell::from(failed)]
        });
        table(&["ACCOUNT", "BREAKER", "FAILED IN A ROW"], rows.collect(), "no account is known yet")
    })
}

/// `orch breaker reset ACCOUNT`.
pub(crate) async fn reset(access: &SchedulerAccess, account: String, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let request = v1::ResetBreakerRequest { account: account.clone() };
    let reply = admin.ask(admin.client().reset_breaker(request)).await?;
    output.show(&reply, |_| format!("the breaker of {account} is closed: its jobs start again\n"))
}
