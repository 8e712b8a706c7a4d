//! Asks after the work items that have not ended, a few each round: whether what they are about is still there, what was
//! commented on it, and what the tests of its commit say, which no listing shows.

use std::sync::Arc;

use domain::Timestamp;
use domain::pipeline::Project;
use domain::reconcile::Cursor;
use domain::work_item::WorkItem;
use domain::work_item::ci::OWN_CONTEXT_PREFIX;
use serde_json::{Value, json};
use uuid::Uuid;

use super::asking::{Asking, Stop, segment};
use super::plane::{Place, comments};
use super::tell::{As, Body, tell};
use super::{NEWS_WITHIN, Source, gone, save};
use crate::shared::Shared;

/// The most items asked after in one round.
const ITEMS_MAX: u32 = 10;
/// The most items that wait for tests, asked after each round.
const WAITING_MAX: u32 = 100;

/// The items whose turn it is; the cursor moves on with each that was asked after.
async fn turn(shared: &Shared, project: &Project, at: &Cursor) -> Result<Vec<WorkItem>, Stop> {
    let after = at.checked.as_deref().unwrap_or_default();
    let items = shared.store.open_items(&project.name, after, ITEMS_MAX).await?;
    if items.is_empty() && !after.is_empty() {
        return Ok(shared.store.open_items(&project.name, "", ITEMS_MAX).await?);
    }
    Ok(items)
}

async fn checked(
    shared: &Shared,
    source: Source,
    project: &Project,
    at: &mut Cursor,
    key: &str,
) -> Result<(), Stop> {
    let after = Cursor { checked: Some(key.to_owned()), ..at.clone() };
    if after != *at {
        save(shared, source, project, &after).await?;
    }
    *at = after;
    Ok(())
}

pub(super) async fn plane(
    shared: &Arc<Shared>,
    project: &Project,
    place: &Place,
    at: &mut Cursor,
    asking: &mut Asking<'_>,
    found: &mut u32,
) -> Result<(), Stop> {
    for item in turn(shared, project, at).await? {
        let names = shared.store.names_of(&project.name, &item.key).await?;
        let id = names.iter().chain([&item.key]).find(|name| Uuid::try_parse(name).is_ok());
        if let Some(id) = id {
            let issue = asking.get::<Value>("issue", &place.issue(id)).await?;
            match issue.filter(|issue| issue["archived_at"].is_null() && issue["deleted_at"].is_null()) {
                Some(issue) => *found += comments(shared, project, place, at, asking, &issue).await?,
                None => gone::end(shared, &item, "its issue is gone from Plane").await?,
            }
        }
        checked(shared, Source::Plane, project, at, &item.key).await?;
    }
    Ok(())
}

pub(super) async fn gitea(
    shared: &Arc<Shared>,
    project: &Project,
    repo: &str,
    at: &mut Cursor,
    open: Vec<String>,
    asking: &mut Asking<'_>,
    found: &mut u32,
) -> Result<(), Stop> {
    let waiting = shared.store.items_waiting_outside(WAITING_MAX).await?;
    let waiting = waiting.iter().filter(|item| item.project == project.name);
    let mut heads: Vec<String> =
        waiting.filter_map(|item| item.state.waits_for_ci()).map(|wait| wait.head.clone()).collect();
    heads.extend(open);
    heads.sort_unstable();
    heads.dedup();
    for head in &heads {
        *found += statuses(shared, project, repo, asking, head).await?;
    }
    for item in turn(shared, project, at).await? {
        let number = item.key.rsplit_once('#').and_then(|(_, number)| number.parse::<u64>().ok());
        let there = match number {
            Some(number) => {
                asking.get::<Value>("pull request", &format!("{repo}/pulls/{number}")).await?.is_some()
            }
            None => true,
        };
        if !there {
            gone::end(shared, &item, "its pull request is gone from Gitea").await?;
        } else if let Some(head) = item.head.as_ref().filter(|head| !heads.contains(head)) {
            *found += statuses(shared, project, repo, asking, head).await?;
        }
        checked(shared, Source::Gitea, project, at, &item.key).await?;
    }
    Ok(())
}

/// What the tests of a commit say, but for Orch's own reports.
async fn statuses(
    shared: &Arc<Shared>,
    project: &Project,
    repo: &str,
    asking: &mut Asking<'_>,
    head: &str,
) -> Result<u32, Stop> {
    let path = format!("{repo}/commits/{}/status?limit=50", segment(head));
    let Some(combined) = asking.get::<Value>("status of a commit", &path).await? else { return Ok(0) };
    let repository = if combined["repository"].is_object() {
        combined["repository"].clone()
    } else {
        json!({"full_name": project.gitea_repo})
    };
    let full_name = project.gitea_repo.as_deref().unwrap_or_default();
    let subject = format!("{full_name}@{head}").to_ascii_lowercase();
    let seen = shared.store.sightings(&project.name, &[subject]).await?;
    // Where webhooks tell of runs, a status is the same result in another form and starts nothing more.
    let told_as_runs =
        seen.iter().any(|seen| matches!(seen.sighting.name.aspect, domain::sighting::Aspect::Run(_)));
    let taken = if told_as_runs { As::Fact } else { As::News };
    let mut found = 0;
    for status in combined["statuses"].as_array().into_iter().flatten() {
        let context = status["context"].as_str().unwrap_or_default();
        if context.starts_with(OWN_CONTEXT_PREFIX) {
            continue;
        }
        let body = json!({"sha": head, "state": status["status"], "context": context,
            "description": status["description"], "target_url": status["target_url"],
            "created_at": status["created_at"], "updated_at": status["updated_at"],
            "repository": repository, "sender": status["creator"]});
        // One that nobody knows of any more may be very old.
        let at = status["updated_at"].as_str().and_then(Timestamp::parse);
        let is_old = at.is_some_and(|at| shared.now().since(at) > NEWS_WITHIN);
        let taken = if is_old { As::Fact } else { taken };
        let told = tell(shared, Source::Gitea, project, &Body::new("status", body), taken).await?;
        found += if told_as_runs || is_old { 0 } else { told };
    }
    Ok(found)
}
