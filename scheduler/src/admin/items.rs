//! Work items: shown, and decided on by a person.

use domain::delivery::Payload;
use domain::report::{self, Post};
use domain::work_item::arrival::person_chain;
use domain::work_item::decision::{Refused, Word, decide, decide_alone};
use domain::work_item::step::Scene;
use domain::work_item::{ItemChange, ItemState, WorkItem};
use domain::{Job, Timestamp, text};
use proto::convert;
use proto::v1::{DecideItemRequest, ItemReply, ListItemsReply, ListItemsRequest};
use store::{Actor, Applied, Audit, ItemFilter};
use tonic::Status;

use crate::admin::budgets;
use crate::advance;
use crate::grpc::unavailable;
use crate::shared::{Shared, pause};

/// The most items on a page, and how many there are when nobody says.
const PAGE_MAX: u32 = 1000;
const PAGE: u32 = 100;
/// The longest note and name kept of a person's word, in bytes.
const NOTE_BYTES_MAX: usize = 4 * 1024;
const NAME_BYTES_MAX: usize = 100;
/// How often an item may move under a decision before we say so.
const CONFLICTS_MAX: u32 = 20;

pub(super) async fn list(shared: &Shared, request: ListItemsRequest) -> Result<ListItemsReply, Status> {
    if let Some(word) = &request.state
        && !ItemState::WORDS.contains(&word.as_str())
    {
        let known = ItemState::WORDS.join(", ");
        return Err(Status::invalid_argument(format!("unknown state {word}: it is one of {known}")));
    }
    let limit = if request.limit == 0 { PAGE } else { request.limit.min(PAGE_MAX) };
    let filter = ItemFilter { project: request.project, key: None, state: request.state, limit };
    let items = shared.store.work_items(filter).await.map_err(|error| unavailable(&error))?;
    Ok(ListItemsReply { items: budgets::with_spent(shared, &items).await? })
}

/// Decides on an item, again when it moved meanwhile.
pub(super) async fn say(
    shared: &Shared,
    word: Word,
    actor: Actor,
    request: DecideItemRequest,
) -> Result<ItemReply, Status> {
    let cleaned = |text: &Option<String>, bytes_max| {
        text.as_deref().map(|text| text::clean(text.trim(), bytes_max)).filter(|text| !text.is_empty())
    };
    let note = cleaned(&request.note, NOTE_BYTES_MAX);
    let by = cleaned(&request.by, NAME_BYTES_MAX).unwrap_or(actor.by);
    let actor = Actor { by: by.clone(), ..actor };
    for tries in 0..CONFLICTS_MAX {
        let item = find(shared, &request).await?;
        let now = shared.now();
        let said = (word, by.as_str(), note.as_deref());
        let (change, posts) = decided(shared, &item, said, now).await?;
        let audit = Audit { at: now, actor: actor.clone(), verb: word.as_str(), note: note.clone(), posts };
        match shared.store.decide(change, audit).await.map_err(|error| unavailable(&error))? {
            Applied::Done => {
                tracing::info!(
                    project = item.project,
                    work_item = item.key,
                    by,
                    verb = word.as_str(),
                    "a person decided"
                );
                shared.wake();
                shared.alert();
                return Ok(ItemReply { item: Some(convert::work_item(&find(shared, &request).await?)) });
            }
            Applied::Conflict => tokio::time::sleep(pause(tries) / 50).await,
        }
    }
    Err(Status::unavailable(format!("could not decide on {}: it changes too fast", request.item)))
}

async fn decided(
    shared: &Shared,
    item: &WorkItem,
    said: (Word, &str, Option<&str>),
    now: Timestamp,
) -> Result<(ItemChange, Vec<Post>), Status> {
    let (word, _, note) = said;
    let pipeline = shared.pipeline.get();
    let posts = |job: Option<(&Job, &Payload)>, change: &ItemChange| {
        let Some(project) = pipeline.project(&item.project) else { return Vec::new() };
        shared.reporting.with(|terms| report::of_decision(project, item, job, said, change, terms))
    };
    let job = match item.state.needs().and_then(|needs| needs.job) {
        Some(id) => shared.store.job(id).await.map_err(|error| unavailable(&error))?,
        None => None,
    };
    let Some(job) = job else {
        let state = decide_alone(item, word).map_err(|error| refused(&error))?;
        let chain = person_chain(&item.project, &item.key, now);
        let after = WorkItem { state, hops: 0, chain, updated_at: now, ..item.clone() };
        let change = ItemChange::new(item, after);
        let posts = posts(None, &change);
        return Ok((change, posts));
    };
    let payload = payload(shared, &job).await?;
    let scene = Scene { item, job: &job, payload: &payload, pipeline: &pipeline, now };
    let change = decide(&scene, word, note).map_err(|error| refused(&error))?;
    let posts = posts(Some((&job, &payload)), &change);
    Ok((change, posts))
}

async fn payload(shared: &Shared, job: &Job) -> Result<Payload, Status> {
    let payload = shared.store.payload(job.id).await.map_err(|error| unavailable(&error))?;
    Ok(payload.unwrap_or_default())
}

/// The one item of this key.
async fn find(shared: &Shared, request: &DecideItemRequest) -> Result<WorkItem, Status> {
    if let Some(project) = &request.project {
        let item =
            advance::read(shared, project, &request.item).await.map_err(|error| unavailable(&error))?;
        return item.ok_or_else(|| {
            Status::not_found(format!(
                "project {project} has no work item {}: `orch items` lists them",
                request.item
            ))
        });
    }
    let filter = ItemFilter { key: Some(request.item.clone()), limit: 2, ..ItemFilter::default() };
    let mut items = shared.store.work_items(filter).await.map_err(|error| unavailable(&error))?;
    match (items.pop(), items.pop()) {
        (Some(item), None) => Ok(item),
        (None, _) => {
            Err(Status::not_found(format!("there is no work item {}: `orch items` lists them", request.item)))
        }
        (Some(one), Some(other)) => Err(Status::invalid_argument(format!(
            "projects {} and {} have a work item {}: say which with --project",
            other.project, one.project, request.item
        ))),
    }
}

fn refused(refused: &Refused) -> Status {
    Status::failed_precondition(refused.to_string())
}
