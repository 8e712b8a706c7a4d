//! Moves work items by what was seen outside: the tests of their commit, a person's word on Plane, a maintainer's label.
//!
//! What was seen is in the database, written with the delivery that told of it or by the reconciler; here it is only
//! looked at, again and again. Two of these at once are harmless: an item moves by its revision.

use std::sync::Arc;
use std::time::Duration;

use domain::report;
use domain::sighting::Seen;
use domain::work_item::WorkItem;
use domain::work_item::settle::settle;
use domain::work_item::step::Scene;
use store::{Applied, Audit};

use crate::moves::error_chain;
use crate::shared::Shared;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most items looked at in one go, those that waited longest first.
const ITEMS_MAX: u32 = 500;
/// The longest note kept of what was seen, in bytes.
const NOTE_BYTES_MAX: usize = 4 * 1024;

/// Runs until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    let mut failed = false;
    while token.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        if !shared.leads() {
            continue;
        }
        match token.run_until_cancelled(look(&shared)).await {
            Some(Err(error)) if !failed => {
                tracing::warn!(error = error_chain(&error), "could not look at what work items wait for yet");
                failed = true;
            }
            Some(Ok(())) => failed = false,
            Some(Err(_)) | None => {}
        }
    }
}

/// Moves every item that what was seen lets move.
pub(crate) async fn look(shared: &Shared) -> Result<(), store::Error> {
    for item in shared.store.items_waiting_outside(ITEMS_MAX).await? {
        move_item(shared, &item).await?;
    }
    Ok(())
}

async fn move_item(shared: &Shared, item: &WorkItem) -> Result<(), store::Error> {
    let waits_after = item.state.waits_for_ci().map(|wait| wait.job);
    let Some(id) = waits_after.or_else(|| item.state.needs().and_then(|needs| needs.job)) else {
        return Ok(());
    };
    let seen = seen_of(shared, item).await?;
    let now = shared.now();
    let is_over = item.state.waits_for_ci().is_some_and(|wait| wait.until <= now);
    if seen.is_empty() && !is_over {
        return Ok(());
    }
    let Some(job) = shared.store.job(id).await? else { return Ok(()) };
    let payload = shared.store.payload(id).await?.unwrap_or_default();
    let pipeline = shared.pipeline.get();
    let scene = Scene { item, job: &job, payload: &payload, pipeline: &pipeline, now };
    let Some(settled) = settle(&scene, &seen) else { return Ok(()) };
    let note = domain::text::clean(&settled.note, NOTE_BYTES_MAX);
    let posts = shared.reporting.with(|terms| report::of_settlement(&scene, &settled, terms));
    let (by, verb) = (settled.by, settled.verb);
    let audit = Audit { at: now, actor: by.into(), verb, note: Some(note.clone()), posts };
    // A conflict: somebody else moved it, and the next look sees where it is.
    if shared.store.decide(settled.change, audit).await? == Applied::Done {
        tracing::info!(project = item.project, work_item = item.key, by, verb, note, "work item moves");
        shared.wake();
        shared.alert();
    }
    Ok(())
}

/// What was seen of everything the item goes by, and of the commit whose tests it waits for.
async fn seen_of(shared: &Shared, item: &WorkItem) -> Result<Vec<Seen>, store::Error> {
    let pipeline = shared.pipeline.get();
    let repo = pipeline.project(&item.project).and_then(|project| project.gitea_repo.clone());
    let subjects = if let Some(wait) = item.state.waits_for_ci() {
        let Some(repo) = repo else { return Ok(Vec::new()) };
        vec![format!("{repo}@{}", wait.head)]
    } else {
        let mut names = shared.store.names_of(&item.project, &item.key).await?;
        // Its commits have no state and no labels.
        names.retain(|name| !name.contains('@'));
        names.push(item.key.clone());
        names
    };
    let subjects: Vec<String> = subjects.iter().map(|name| name.to_ascii_lowercase()).collect();
    shared.store.sightings(&item.project, &subjects).await
}
