//! Asks the scheduler now and then which work items are over, and lets their workspaces go.

use std::sync::Arc;

use domain::Timestamp;
use proto::v1::{ItemKey, SettledItem, SettledRequest};
use service::grpc;
use service::health::Metrics;
use std::time::Duration;

use super::Node;
use crate::workspace::Over;

/// The most items in one question.
const ITEMS_MAX: usize = 200;
/// How long one may take.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// Keeps the workspaces within their quota until the runner stops. What is cut is begun again by the next incarnation.
pub(crate) async fn keep_tidy(node: Arc<Node>, metrics: Metrics) {
    let gauge = metrics.gauge(&instruments::WORKSPACES);
    loop {
        tokio::time::sleep(node.options.tidy_every).await;
        let items = node.workspaces.items().await;
        if items.is_empty() {
            continue;
        }
        let over = match ask(&node, items).await {
            Ok(over) => over,
            Err(status) => {
                tracing::info!(code = ?status.code(), error = status.message(), "could not ask which work items are over");
                Vec::new()
            }
        };
        let quota_bytes = node.options.workspace_quota_bytes;
        let now = Timestamp::from_ms(node.clock.now_ms());
        let cleaned = node.workspaces.clean(&over, quota_bytes, now).await;
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge.set(cleaned.bytes as f64, &[]);
        if cleaned.bytes > quota_bytes {
            tracing::warn!(
                bytes = cleaned.bytes,
                quota_bytes,
                "workspaces take more than ORCH_WORKSPACE_QUOTA_BYTES, and none of the rest is of a work item that is over"
            );
        }
    }
}

async fn ask(node: &Node, items: Vec<(String, String)>) -> Result<Vec<Over>, tonic::Status> {
    let mut over = Vec::new();
    for some in items.chunks(ITEMS_MAX) {
        let items = some.iter().cloned().map(|(project, work_item)| ItemKey { project, work_item }).collect();
        let request = SettledRequest {
            node_id: node.identity.node.to_string(),
            incarnation: node.identity.incarnation.0,
            session: node.identity.session.clone(),
            items,
        };
        let mut scheduler = node.scheduler.clone();
        let reply = grpc::call(ASK_WITHIN, scheduler.settled(request)).await?;
        over.extend(reply.into_inner().over.into_iter().filter_map(read));
    }
    Ok(over)
}

fn read(item: SettledItem) -> Option<Over> {
    let ItemKey { project, work_item } = item.item?;
    Some(Over { project, work_item, since: Timestamp::from_ms(item.since_ms) })
}
