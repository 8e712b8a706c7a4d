//! Reads the branches of a repository and compares their commits with what was seen: pushes that no webhook announced.
//!
//! A branch that belongs to an open pull request is that one's affair, and `orch/…` are Orch's own. A listing of branches
//! knows no time, so that it is walked from end to end, a bounded part each round.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::Timestamp;
use domain::pipeline::{LaunchPoint, Project};
use domain::reconcile::Cursor;
use domain::sighting::{Aspect, Teller};
use events::gitea::{branch_at, branch_subject};
use serde_json::{Value, json};

use super::asking::{Asking, Stop};
use super::tell::{As, Body, tell};
use super::{Source, is_new, save_listing};
use crate::shared::Shared;

/// The name of the listing in the database.
const LISTING: &str = "gitea.branches";
/// Branches of a page: the most that Gitea gives.
const PAGE_BRANCHES: usize = 50;
/// The most pages of a round.
const PAGES_MAX: u32 = 2;
/// Branches of this prefix are pushed by Orch.
const OWN_PREFIX: &str = "orch/";
/// What stands for no commit.
const NOTHING: &str = "0000000000000000000000000000000000000000";

/// Looks at some branches, where a push may start something; `with_pulls` are those of open pull requests.
pub(super) async fn branches(
    shared: &Arc<Shared>,
    project: &Project,
    repo: &str,
    with_pulls: &BTreeSet<String>,
    asking: &mut Asking<'_>,
    found: &mut u32,
) -> Result<(), Stop> {
    let pipeline = shared.pipeline.get();
    if !pipeline.triggers.iter().any(|trigger| trigger.on == LaunchPoint::GiteaPush) {
        return Ok(());
    }
    let mut at = shared.store.cursor(LISTING, &project.name).await?.unwrap_or_default();
    for _ in 0..PAGES_MAX {
        let path = format!("{repo}/branches?page={}&limit={PAGE_BRANCHES}", at.page() + 1);
        let Some(rows) = asking.get::<Vec<Value>>("branches", &path).await? else { return Ok(()) };
        *found += page(shared, project, &at, with_pulls, &rows).await?;
        let after = at.after_part(shared.now(), rows.len() == PAGE_BRANCHES);
        save_listing(shared, LISTING, project, &after).await?;
        at = after;
        if at.walk.is_none() {
            break;
        }
    }
    Ok(())
}

async fn page(
    shared: &Arc<Shared>,
    project: &Project,
    at: &Cursor,
    with_pulls: &BTreeSet<String>,
    rows: &[Value],
) -> Result<u32, Stop> {
    let Some(repo) = project.gitea_repo.as_deref().map(str::to_ascii_lowercase) else { return Ok(0) };
    let shown: Vec<(&str, &str, &Value)> = rows
        .iter()
        .filter_map(|row| Some((row["name"].as_str()?, row["commit"]["id"].as_str()?, &row["commit"])))
        .filter(|(name, ..)| !name.starts_with(OWN_PREFIX))
        .collect();
    let subjects: Vec<String> = shown.iter().map(|(name, ..)| branch_subject(&repo, name)).collect();
    let seen = shared.store.sightings(&project.name, &subjects).await?;
    let (mut found, mut known_now) = (0, Vec::new());
    for (name, sha, commit) in shown {
        let aspect = Aspect::Branch(name.to_owned());
        let before = seen.iter().find(|seen| seen.sighting.name.aspect == aspect);
        let before = before.map(|seen| seen.sighting.value.as_str());
        if before == Some(sha) {
            continue;
        }
        // One that nobody has seen is new if its commit is: nobody knows when a branch was made.
        let is_news = before.is_some()
            || (!at.is_first_walk() && is_new(committed_at(commit), at.baseline, shared.now()));
        if !is_news || with_pulls.contains(name) {
            known_now.push(branch_at(&repo, name, sha));
            continue;
        }
        let body = json!({"ref": format!("refs/heads/{name}"), "before": before.unwrap_or(NOTHING), "after": sha,
            "commits": [{"message": commit["message"]}], "repository": {"full_name": project.gitea_repo}});
        // Who pushed is not said.
        found += tell(shared, Source::Gitea, project, &Body::new("push", body), As::News).await?;
    }
    shared.store.note_sightings(project.name.clone(), known_now, Teller::Reconciler, shared.now()).await?;
    Ok(found)
}

fn committed_at(commit: &Value) -> Option<Timestamp> {
    commit["timestamp"].as_str().and_then(Timestamp::parse)
}
