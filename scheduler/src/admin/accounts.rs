//! The accounts that agents use, and their breakers: shown, resumed, reset.

use domain::Account;
use proto::convert;
use proto::v1::{
    ListAccountsReply, ListBreakersReply, ResetBreakerReply, ResetBreakerRequest, ResumeAccountReply,
    ResumeAccountRequest,
};
use tonic::Status;

use crate::grpc::unavailable;
use crate::shared::Shared;

pub(super) async fn list(shared: &Shared) -> Result<ListAccountsReply, Status> {
    let accounts = shared.store.accounts().await.map_err(|error| unavailable(&error))?;
    let now = shared.now();
    Ok(ListAccountsReply { accounts: accounts.iter().map(|record| convert::account(record, now)).collect() })
}

pub(super) async fn resume(
    shared: &Shared,
    request: ResumeAccountRequest,
) -> Result<ResumeAccountReply, Status> {
    let account = Account(request.account);
    let held = shared
        .store
        .resume_account(account.clone(), shared.now())
        .await
        .map_err(|error| unavailable(&error))?;
    if !held {
        return Err(Status::not_found(format!(
            "account {account} is not held: `orch account` lists what holds them"
        )));
    }
    tracing::info!(%account, "an operator resumed an account");
    shared.alert();
    shared.wake();
    Ok(ResumeAccountReply {})
}

pub(super) async fn breakers(shared: &Shared) -> Result<ListBreakersReply, Status> {
    let accounts = shared.store.accounts().await.map_err(|error| unavailable(&error))?;
    Ok(ListBreakersReply { breaker: convert::breakers(&accounts, shared.queue, shared.now()) })
}

pub(super) async fn reset_breaker(
    shared: &Shared,
    request: ResetBreakerRequest,
) -> Result<ResetBreakerReply, Status> {
    let account = Account(request.account);
    let known = shared
        .store
        .reset_breaker(account.clone(), shared.now())
        .await
        .map_err(|error| unavailable(&error))?;
    if !known {
        return Err(Status::not_found(format!("there is no account {account}: `orch breaker` lists them")));
    }
    tracing::info!(%account, "an operator reset a breaker");
    shared.alert();
    shared.wake();
    Ok(ResetBreakerReply {})
}
