//! `orch account`.

use clap::Subcommand;
use domain::Timestamp;
use proto::v1;

use super::SchedulerAccess;
use crate::exit::Failure;
use crate::print::{Cell, Output, table, when};

/// What can be done about an account.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lift an account's hold, once its credential or its bill is in order
    Resume {
        /// Account, as `orch account` names it
        account: String,
    },
}

/// `orch account`.
pub(crate) async fn list(access: &SchedulerAccess, output: Output, now: Timestamp) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().list_accounts(v1::ListAccountsRequest {})).await?;
    output.show(&reply, |_| {
        let rows = reply.accounts.iter().map(|account| {
            let hold = match (&account.held_reason, &account.held_until) {
                (None, _) => "free".to_owned(),
                (Some(reason), Some(until)) => format!("held, {}: {reason}", when(until, now)),
                (Some(reason), None) => {
                    format!("held until `orch account resume {}`: {reason}", account.account)
                }
            };
            let quota: Vec<String> = account.quota.iter().map(|quota| used(quota, now)).collect();
            vec![Cell::from(&account.account), Cell::from(hold), Cell::from(quota.join(", "))]
        });
        table(
            &["ACCOUNT", "HOLD", "QUOTA USED"],
            rows.collect(),
            "no account is known yet: runners bring them",
        )
    })
}

/// One window of the quota, in a few words.
fn used(quota: &v1::Quota, now: Timestamp) -> String {
    let share = quota.utilization.map_or_else(|| "?".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let reset = quota.resets_at.as_ref().map(|at| format!(" ({})", when(at, now))).unwrap_or_default();
    format!("{} {share}{reset}", quota.window)
}

/// `orch account resume ACCOUNT`.
pub(crate) async fn resume(access: &SchedulerAccess, account: String, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let request = v1::ResumeAccountRequest { account: account.clone() };
    let reply = admin.ask(admin.client().resume_account(request)).await?;
    output.show(&reply, |_| format!("{account} is free: its jobs start again\n"))
}
