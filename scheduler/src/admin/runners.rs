//! Runners: shown, drained, given up.

use domain::NodeId;
use domain::transition::LostHow;
use proto::convert;
use proto::v1::{
    DrainRequest, DrainRunnerReply, DrainRunnerRequest, ListRunnersReply, LoseRunnerReply, LoseRunnerRequest,
};
use service::grpc;
use tonic::Status;

use crate::grpc::unavailable;
use crate::links::CALL_DEADLINE;
use crate::reaper::end_lost;
use crate::shared::Shared;

pub(super) async fn list(shared: &Shared) -> Result<ListRunnersReply, Status> {
    let nodes = shared.store.busy_nodes().await.map_err(|error| unavailable(&error))?;
    Ok(ListRunnersReply {
        runners: nodes.iter().map(|(node, busy)| convert::runner(node, *busy)).collect(),
        preflight: nodes.iter().map(|(node, _)| convert::preflight(node)).collect(),
    })
}

/// No offers from here on, and the node is told; agents that live end by themselves.
pub(super) async fn drain(shared: &Shared, request: DrainRunnerRequest) -> Result<DrainRunnerReply, Status> {
    let node = NodeId(request.node);
    if !shared.nodes.drain(&node) {
        return Err(Status::not_found(format!("there is no runner {node}: `orch runners` lists them")));
    }
    let url = shared.nodes.url(&node).ok_or_else(|| Status::not_found("the runner is gone"))?;
    let mut runner = shared.links.to(&node, &url)?;
    let reply = grpc::call(CALL_DEADLINE, runner.drain(DrainRequest { deadline_ms: None })).await;
    let reply = reply.map_err(|status| {
        let why = status.message();
        Status::unavailable(format!("runner {node} gets no new work, but could not be told: {why}"))
    })?;
    tracing::info!(runner = %node, "an operator drained a runner");
    Ok(DrainRunnerReply { live: reply.into_inner().live })
}

/// Takes a person's word that a node is gone: what it ran starts elsewhere without waiting for the lease.
pub(super) async fn lose(shared: &Shared, request: LoseRunnerRequest) -> Result<LoseRunnerReply, Status> {
    let node = NodeId(request.node);
    let Some(incarnation) = shared.nodes.lose(&node) else {
        return Err(Status::not_found(format!("there is no runner {node}: `orch runners` lists them")));
    };
    // Durable before any run ends: a restart must not hear a node whose work runs elsewhere.
    shared
        .store
        .declare_lost(node.clone(), incarnation, shared.now())
        .await
        .map_err(|error| unavailable(&error))?;
    let runs = shared.runs.book(|book| book.lose(&node, incarnation));
    tracing::warn!(runner = %node, %incarnation, runs = runs.len(), "an operator declared a runner lost");
    for run in &runs {
        end_lost(shared, run, LostHow::NodeLost).await;
    }
    if let Some(row) = shared.nodes.row(&node, shared.moment()) {
        shared.store.save_node(row.clone()).await.map_err(|error| unavailable(&error))?;
        shared.nodes.saved(row, shared.clock.boot_ms());
    }
    Ok(LoseRunnerReply { run_ids: runs.iter().map(|run| run.run.to_string()).collect() })
}
