//! What the services wrote to the forges: each thing once, and how each item and commit came out.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{End, Planned, Step, walk};
use super::script::{Reading, Script, Stage};
use crate::forges::gitea::Write;
use crate::forges::{Gitea, Plane, plane};

/// Everything that was written twice, not at all, or otherwise than it came out; one line each.
pub(super) fn check(
    plane: &Plane,
    gitea: &Gitea,
    stage: &Stage,
    planned: &BTreeMap<String, Planned>,
) -> Vec<String> {
    let mut wrong = twice(plane, gitea);
    wrong.extend(pushed(gitea, stage, planned));
    for (key, planned) in planned {
        let (steps, end) = walk(&planned.script);
        let mut say = |what: String| wrong.push(format!("{key}, which {}: {what}", planned.kind));
        // The end of a wait for tests is told too.
        let waits = |step: &&Step| {
            step.stage == "review" && !step.is_reformat && waits_for_tests(&planned.script, step)
        };
        let ends = steps.iter().filter(|step| !step.is_reformat).count() + steps.iter().filter(waits).count();
        let told = plane.comments(key).iter().filter(|comment| comment.external.is_some()).count();
        if told != ends {
            say(format!("{told} comments on the issue, not {ends}"));
        }
        let shown = plane.state_of(key);
        let expected = if end == End::Done { "Done" } else { "Todo" };
        if shown != expected {
            say(format!("the issue is {shown}, not {expected}"));
        }
        let commits = stage.commits(key);
        for step in steps.iter().filter(|step| !step.is_reformat) {
            let Some((word, sha)) = status_of(&planned.script, step, &commits) else { continue };
            let context = format!("orch/{}", step.stage);
            let last = gitea.statuses(sha).into_iter().rfind(|status| status.context == context);
            let last = last.map(|status| status.state);
            if last.as_deref() != Some(word) {
                say(format!("{context} of commit {sha} is {last:?}, not {word}"));
            }
        }
    }
    wrong
}

/// Branches that were not pushed as the agents made them, and pull requests that nobody planned.
fn pushed(gitea: &Gitea, stage: &Stage, planned: &BTreeMap<String, Planned>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut moved: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in gitea.writes() {
        if let Write::Pushed { branch, after, .. } = entry.what {
            moved.entry(branch).or_default().push(after);
        }
    }
    let mut opened: Vec<String> = gitea.pull_requests().into_iter().map(|(_, pull)| pull.head).collect();
    for key in planned.keys() {
        let (branch, commits) = (format!("orch/{key}"), stage.commits(key));
        let tips = moved.remove(&branch).unwrap_or_default();
        if tips != commits {
            wrong.push(format!("{branch} was pushed to {tips:?}, not {commits:?}"));
        }
        let before = opened.len();
        opened.retain(|head| *head != branch);
        if before - opened.len() != usize::from(!commits.is_empty()) {
            wrong.push(format!("{} pull requests from {branch}", before - opened.len()));
        }
    }
    if !moved.is_empty() || !opened.is_empty() {
        wrong.push(format!("branches that nobody planned: {moved:?} {opened:?}"));
    }
    wrong
}

/// Whatever was written more than once.
fn twice(plane: &Plane, gitea: &Gitea) -> Vec<String> {
    let (mut written, mut twice, orch) = (BTreeSet::new(), Vec::new(), gitea.orch().login);
    let mut once = |what: String| {
        if !written.insert(what.clone()) {
            twice.push(format!("told twice: {what}"));
        }
    };
    for entry in gitea.writes().into_iter().filter(|entry| entry.by == orch) {
        match entry.what {
            Write::Commented { number, body, .. } => once(format!("comment on #{number}: {}", mark(&body))),
            // A status that is said again is the same row to people, and the API cannot tell: what differs counts.
            Write::Status { .. } | Write::Edited { .. } => {}
            Write::Opened { head, .. } => once(format!("pull request from {head}")),
            Write::Pushed { branch, after, .. } => once(format!("push of {branch} to {after}")),
        }
    }
    for entry in plane.writes() {
        if let plane::Write::Commented { issue, html, external, .. } = entry.what {
            let mark = external.map_or(html, |(source, id)| format!("{source} {id}"));
            once(format!("comment on {issue}: {mark}"));
        }
    }
    twice
}

/// The hidden mark of a comment, or all of it.
fn mark(body: &str) -> &str {
    body.find("<!--").and_then(|from| Some(&body[from..from + body[from..].find("-->")?])).unwrap_or(body)
}

/// How a step leaves the status of its commit.
fn status_of<'a>(script: &Script, step: &Step, commits: &'a [String]) -> Option<(&'static str, &'a str)> {
    let (place, sha) = (step.round?, commits.get(step.round?)?);
    let round = script.rounds.get(place)?;
    let turn = match step.stage {
        "review" => &round.reviewer,
        "testing" => &round.tester,
        "deploy" => &script.deployer,
        _ => return None,
    };
    let state = match turn.reading(step.stage != "deploy") {
        Reading::Pass if step.stage == "review" && round.red => "failure",
        Reading::Pass => "success",
        Reading::Fail => "failure",
        Reading::Unreadable => "error",
    };
    Some((state, sha))
}

/// Whether a review passes, so that the tests of its commit are asked for.
fn waits_for_tests(script: &Script, step: &Step) -> bool {
    let round = step.round.and_then(|round| script.rounds.get(round));
    round.is_some_and(|round| round.reviewer.reading(true) == Reading::Pass)
}
