//! Reads the pull requests of a repository, the newest change first, and compares them with what was seen of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::Timestamp;
use domain::pipeline::{LaunchPoint, Project};
use domain::reconcile::{Cursor, Page};
use domain::sighting::{Aspect, CLOSED, Seen};
use serde_json::{Value, json};

use super::asking::{Asking, Stop, segment};
use super::tell::{As, Body, tell};
use super::{OVERLAP, Source, branches, cursor, is_new, save, visit};
use crate::shared::Shared;

/// Pull requests of a page: with one request for the reviews of each, a page fits into a round.
const PAGE_PULLS: usize = 20;

/// The most open pull requests whose tests are asked for in a round, those that changed last.
const HEADS_MAX: usize = 10;

/// The path of a project's repository; `None`: it has none.
pub(super) fn repo_path(project: &Project) -> Option<String> {
    let (owner, name) = project.gitea_repo.as_deref()?.split_once('/')?;
    Some(format!("/api/v1/repos/{}/{}", segment(owner), segment(name)))
}

pub(super) async fn project(
    shared: &Arc<Shared>,
    project: &Project,
    asking: &mut Asking<'_>,
    found: &mut u32,
) -> Result<(), Stop> {
    let Some(repo) = repo_path(project) else { return Ok(()) };
    let mut at = cursor(shared, Source::Gitea, project).await?;
    let mut heads = Vec::new();
    let mut with_pulls = BTreeSet::new();
    loop {
        let page = at.page() + 1;
        let path = format!("{repo}/pulls?state=all&sort=recentupdate&page={page}&limit={PAGE_PULLS}");
        let Some(pulls) = asking.get::<Vec<Value>>("pull requests", &path).await? else {
            return Err(Stop::Failed("pull requests: there is no such repository".to_owned()));
        };
        let known_until = at.since;
        let fresh = pulls.iter().filter(|pull| {
            known_until.is_none_or(|since| changed(pull).is_none_or(|at| at.plus(OVERLAP) >= since))
        });
        for pull in fresh {
            *found += compare(shared, project, &at, pull).await?;
            if known_until.is_some_and(|since| changed(pull).is_none_or(|at| at >= since)) {
                *found += reviews(shared, project, &repo, &at, asking, pull).await?;
            }
        }
        // A status changes no pull request, so no listing shows it.
        let open = || pulls.iter().filter(|pull| pull["state"] != CLOSED);
        // A fork's branch may be called as one of ours.
        let ours = open().filter(|pull| pull["head"]["repo_id"] == pull["base"]["repo_id"]);
        with_pulls.extend(ours.filter_map(|pull| pull["head"]["ref"].as_str().map(str::to_owned)));
        heads.extend(open().filter_map(|pull| pull["head"]["sha"].as_str().map(str::to_owned)));
        let times = || pulls.iter().filter_map(changed);
        let page = Page { newest: times().max(), oldest: times().min(), more: pulls.len() == PAGE_PULLS };
        let after = at.after(page, OVERLAP);
        let over = after.walk.is_none();
        if after != at {
            save(shared, Source::Gitea, project, &after).await?;
        }
        at = after;
        if over {
            break;
        }
    }
    heads.truncate(HEADS_MAX);
    branches::branches(shared, project, &repo, &with_pulls, asking, found).await?;
    visit::gitea(shared, project, &repo, &mut at, heads, asking, found).await
}

/// Tells of whatever differs from what was seen.
async fn compare(shared: &Arc<Shared>, project: &Project, at: &Cursor, pull: &Value) -> Result<u32, Stop> {
    let Some(subject) = subject(project, pull) else { return Ok(0) };
    let body = |event: &'static str, action: &str, sender: &Value| {
        Body::new(
            event,
            json!({"action": action, "number": pull["number"], "pull_request": pull,
            "repository": pull["base"]["repo"], "sender": sender}),
        )
    };
    let told = async |body: Body, taken: As| tell(shared, Source::Gitea, project, &body, taken).await;
    let seen = shared.store.sightings(&project.name, &[subject]).await?;
    let is_known = |aspect: &Aspect| seen.iter().any(|seen| seen.sighting.name.aspect == *aspect);
    let is_new = !at.is_first_walk() && is_after(shared, pull, "created_at", at);
    let mut found = 0;
    let closed = |seen: &Seen| seen.sighting.name.aspect == Aspect::Open && seen.sighting.value == CLOSED;
    if pull["state"] == CLOSED && pull["merged"] != true {
        let taken = if is_known(&Aspect::Open) { As::Fact } else { As::Known };
        found += told(body("pull_request", "closed", &Value::Null), taken).await?;
    } else if pull["state"] != CLOSED && seen.iter().any(closed) {
        found += told(body("pull_request", "reopened", &Value::Null), As::News).await?;
    }
    if is_known(&Aspect::Head) {
        // Who pushed is not said.
        found += told(body("pull_request_sync", "synchronized", &Value::Null), As::News).await?;
    } else {
        let taken = if is_new { As::News } else { As::Known };
        found += told(body("pull_request", "opened", &pull["user"]), taken).await?;
    }
    if project.trust_label.is_some() {
        found += told(body("pull_request_label", "label_updated", &Value::Null), As::Fact).await?;
    }
    if pull["merged"] == true {
        let merged_lately = is_after(shared, pull, "merged_at", at) || is_known(&Aspect::Head);
        let taken = if !at.is_first_walk() && merged_lately { As::News } else { As::Known };
        found += told(body("pull_request", "closed", &pull["merged_by"]), taken).await?;
    }
    Ok(found)
}

/// Reviews that no webhook announced.
async fn reviews(
    shared: &Arc<Shared>,
    project: &Project,
    repo: &str,
    at: &Cursor,
    asking: &mut Asking<'_>,
    pull: &Value,
) -> Result<u32, Stop> {
    let pipeline = shared.pipeline.get();
    if !pipeline.triggers.iter().any(|trigger| trigger.on == LaunchPoint::GiteaReview) {
        return Ok(0);
    }
    let Some(number) = pull["number"].as_u64() else { return Ok(0) };
    let path = format!("{repo}/pulls/{number}/reviews?limit=50");
    let Some(reviews) = asking.get::<Vec<Value>>("reviews", &path).await? else { return Ok(0) };
    let mut found = 0;
    // How many there are of the same words by the same person on the same commit, up to each.
    let mut alike: BTreeMap<String, u32> = BTreeMap::new();
    for review in &reviews {
        let what = [&review["user"]["id"], &review["state"], &review["commit_id"], &review["body"]];
        let times = alike.entry(json!(what).to_string()).or_default();
        *times += 1;
        if review["dismissed"] == true {
            continue;
        }
        let event = match review["state"].as_str() {
            Some("APPROVED") => "pull_request_review_approved",
            Some("REQUEST_CHANGES") => "pull_request_review_rejected",
            _ => continue,
        };
        let mut judged = pull.clone();
        judged["head"]["sha"] = review["commit_id"].clone();
        let body = json!({"action": "reviewed", "number": number, "pull_request": judged,
            "repository": pull["base"]["repo"], "sender": review["user"],
            "review": {"id": review["id"], "type": event, "content": review["body"]}});
        let undated = review["submitted_at"].is_null();
        let is_new = undated || is_after(shared, review, "submitted_at", at);
        let taken = if is_new { As::News } else { As::Known };
        let body = Body::new(event, body).times(*times);
        found += tell(shared, Source::Gitea, project, &body, taken).await?;
    }
    Ok(found)
}

fn subject(project: &Project, pull: &Value) -> Option<String> {
    Some(format!("{}#{}", project.gitea_repo.as_deref()?, pull["number"].as_u64()?).to_ascii_lowercase())
}

fn changed(row: &Value) -> Option<Timestamp> {
    row["updated_at"].as_str().and_then(Timestamp::parse)
}

fn is_after(shared: &Shared, row: &Value, field: &str, at: &Cursor) -> bool {
    is_new(row[field].as_str().and_then(Timestamp::parse), at.baseline, shared.now())
}
