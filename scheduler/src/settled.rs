//! Tells a node which of its workspaces are of work items that are over: the proof that nobody will want them again.

use domain::work_item::ItemState;
use proto::v1::{ItemKey, SettledItem, SettledReply};
use store::ItemFilter;
use tonic::Status;

use crate::grpc::unavailable;
use crate::shared::Shared;

/// The most items in one question.
const ITEMS_MAX: usize = 200;

/// Of these items those that are done or cancelled, and since when.
pub(crate) async fn settled(shared: &Shared, items: Vec<ItemKey>) -> Result<SettledReply, Status> {
    if items.len() > ITEMS_MAX {
        return Err(Status::invalid_argument(format!("{} items, at most {ITEMS_MAX} are read", items.len())));
    }
    let mut over = Vec::new();
    for item in items {
        let filter = ItemFilter {
            project: Some(item.project.clone()),
            key: Some(item.work_item.clone()),
            state: None,
            limit: 1,
        };
        let found = shared.store.work_items(filter).await.map_err(|error| unavailable(&error))?;
        let ended = found.into_iter().find(|row| match row.state {
            ItemState::Done | ItemState::Cancelled => true,
            ItemState::Active | ItemState::NeedsYou(_) | ItemState::WaitsForCi(_) => false,
        });
        over.extend(ended.map(|row| SettledItem { item: Some(item), since_ms: row.updated_at.as_ms() }));
    }
    Ok(SettledReply { over })
}
