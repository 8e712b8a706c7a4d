//! Holds what the services and the forges recorded against the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::plan::{End, Planned, Step, walk};
use super::script::{Seen, Stage};
use crate::history::rows;

const JOBS: &str = "SELECT id, work_item, stage, kind, status, head, parent_job, delivery, failure_reason FROM jobs ORDER BY id";
const ITEMS: &str = "SELECT key, stage, state, head, needs FROM work_items ORDER BY key";

/// A job as it was recorded.
#[derive(Debug, Deserialize)]
struct Job {
    id: i64,
    work_item: String,
    stage: String,
    kind: String,
    status: String,
    head: Option<String>,
    #[serde(rename = "parent_job")]
    parent: Option<i64>,
    delivery: Option<String>,
    failure_reason: Option<String>,
}

/// A work item as it was recorded.
#[derive(Debug, Deserialize)]
struct Item {
    key: String,
    stage: String,
    state: String,
    head: Option<String>,
    needs: Option<String>,
}

/// Everything that is not as planned, one line each; `planned` by key.
///
/// # Errors
/// The database or a note of an agent cannot be read.
pub(super) async fn check(
    database: &Path,
    stage: &Stage,
    planned: &BTreeMap<String, Planned>,
) -> anyhow::Result<Vec<String>> {
    let jobs: Vec<Job> = rows(database, JOBS).await?;
    let items: Vec<Item> = rows(database, ITEMS).await?;
    let seen = stage.seen()?;
    let mut wrong = Vec::new();
    for (key, planned) in planned {
        let of_item: Vec<&Job> = jobs.iter().filter(|job| job.work_item == *key).collect();
        let commits = stage.commits(key);
        let mut say = |what: String| wrong.push(format!("{key}, which {}: {what}", planned.kind));
        let (steps, end) = walk(&planned.script);
        steps_are(&of_item, &steps, &commits, &mut say);
        let rounds = steps.iter().filter(|step| step.stage == "development").count();
        if (commits.len(), stage.jobs(key, "developer")) != (rounds, rounds) {
            say(format!(
                "{} commits by {} developers, not {rounds}",
                commits.len(),
                stage.jobs(key, "developer")
            ));
        }
        match items.iter().find(|item| item.key == *key) {
            Some(item) => ends(item, end, commits.last(), &mut say),
            None => say("it is not known".to_owned()),
        }
        causes(&of_item, &mut say);
        told(&seen, key, &commits, &mut say);
    }
    let strangers: BTreeSet<&str> = items
        .iter()
        .map(|item| item.key.as_str())
        .filter(|key| !planned.contains_key(*key) && !key.contains('@'))
        .collect();
    if !strangers.is_empty() {
        wrong.push(format!("items that nobody planned: {strangers:?}"));
    }
    Ok(wrong)
}

/// The jobs of an item are those of the plan, in its order, each done once and for its commit.
fn steps_are(jobs: &[&Job], steps: &[Step], commits: &[String], say: &mut impl FnMut(String)) {
    let made: Vec<(&str, bool)> =
        jobs.iter().map(|job| (job.stage.as_str(), job.kind == "reformat")).collect();
    let planned: Vec<(&str, bool)> = steps.iter().map(|step| (step.stage, step.is_reformat)).collect();
    if made != planned {
        say(format!("its jobs are {}, not {}", shown(&made), shown(&planned)));
        return;
    }
    for (job, step) in jobs.iter().zip(steps) {
        if job.status != "done" {
            say(format!("job {} of {} is {}: {:?}", job.id, job.stage, job.status, job.failure_reason));
        }
        let is_bound = matches!(step.stage, "review" | "testing" | "deploy");
        let asked = step.round.filter(|_| is_bound).and_then(|round| commits.get(round));
        if is_bound && job.head.as_ref() != asked {
            say(format!("job {} of {} is about {:?}, not {asked:?}", job.id, job.stage, job.head));
        }
    }
}

fn shown(steps: &[(&str, bool)]) -> String {
    let words: Vec<&str> = steps.iter().map(|(stage, again)| if *again { "form" } else { *stage }).collect();
    words.join(" ")
}

fn ends(item: &Item, end: End, newest: Option<&String>, say: &mut impl FnMut(String)) {
    let needs: Value =
        item.needs.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let why = needs["why"]["why"].as_str().or_else(|| needs["why"].as_str()).unwrap_or("-");
    let is_there = match end {
        End::Done => item.state == "done" && item.stage == "deploy",
        End::NeedsYou(reason) => item.state == "needs_you" && why == reason,
    };
    if !is_there {
        say(format!("it is {} ({why}) at {}, not {end:?}", item.state, item.stage));
    }
    if item.head.as_ref() != newest {
        say(format!("its commit is {:?}, not {newest:?}", item.head));
    }
}

/// No end of a job had two jobs follow from it, and each job says what it follows from.
fn causes(jobs: &[&Job], say: &mut impl FnMut(String)) {
    let mut followed: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for job in jobs {
        match (job.parent, &job.delivery) {
            (Some(parent), _) => followed.entry(parent).or_default().push(job.id),
            (None, Some(_)) => {}
            (None, None) => say(format!("job {} says no cause", job.id)),
        }
    }
    for (parent, children) in followed.into_iter().filter(|(_, children)| children.len() > 1) {
        say(format!("{children:?} all follow from job {parent}"));
    }
}

/// What its agents were told: the developer of a later round what must be mended, and who judges which commit.
fn told(seen: &[Seen], key: &str, commits: &[String], say: &mut impl FnMut(String)) {
    let mut first = true;
    let mut known: BTreeSet<i64> = BTreeSet::new();
    for seen in seen.iter().filter(|seen| seen.item == *key) {
        match seen.role.as_str() {
            "developer" if known.insert(seen.job) => {
                if first == seen.prompt.contains("The work was sent back.") {
                    say(format!("job {} was told the findings: {}", seen.job, !first));
                }
                first = false;
            }
            "reviewer" | "tester" | "deployer"
                if !seen.head.as_ref().is_some_and(|head| commits.contains(head)) =>
            {
                say(format!("job {} as {} was to look at {:?}", seen.job, seen.role, seen.head));
            }
            _ => {}
        }
    }
}
