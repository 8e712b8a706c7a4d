//! Final test results, which arrive in three forms: a commit status, Gitea's workflow run, Forgejo's action run.

use domain::Timestamp;
use domain::launch::{Facts, LaunchEvent, Subject};
use domain::pipeline::{CiResult, LaunchPoint, Trust};
use domain::report;
use domain::sighting::{Aspect, PENDING, Sighting, Word};

use super::body::{ActionRunEvent, Repository, Status, User, WorkflowRunEvent};
use super::{actor, branch, place, repo_key, sha, trust};
use crate::Refusal;
use crate::identifier::is_word;
use crate::observed::{Account, FACT_BYTES_MAX, Observed, bounded, digest};

/// A status names a commit alone: the pull request it belongs to is found by whoever keeps them.
pub(super) fn observe_status(status: &Status) -> Result<Observed, Refusal> {
    let place = place(&status.repository)?;
    let sha = sha(&status.sha)?;
    let context = status.context.as_deref().unwrap_or_default();
    // What Orch says of its stages is no test result, whosever token it was written with.
    if report::is_own_status(context) {
        return Ok(Observed::nothing(place));
    }
    let at = status.updated_at.as_deref().or(status.created_at.as_deref());
    let told = sighting(&status.repository, sha, Aspect::Status(bounded(context, FACT_BYTES_MAX)), at);
    let Some(result) = result(&status.state) else {
        let told = Sighting { value: PENDING.to_owned(), ..told };
        return Ok(Observed::nothing(place).showing(actor(status.sender.as_ref()), vec![told]));
    };
    Ok(Finished {
        repository: &status.repository,
        subject: Subject::Commit(sha.to_owned()),
        branch: None,
        result,
        author: status.sender.as_ref(),
        trust: Trust::Member,
        key: format!("status:{sha}:{}:{}", digest(context), result.as_str()),
        told,
        sha,
        name: status.context.clone(),
        title: None,
        text: status.description.clone(),
        url: status.target_url.clone(),
    }
    .observed(place))
}

pub(super) fn observe_workflow_run(event: &WorkflowRunEvent) -> Result<Observed, Refusal> {
    let run = &event.workflow_run;
    let place = place(&event.repository)?;
    let sha = sha(&run.head_sha)?;
    let head_branch = run.head_branch.as_deref().filter(|name| !name.is_empty()).map(branch).transpose()?;
    let aspect = Aspect::Run(bounded(run.path.as_deref().unwrap_or_default(), FACT_BYTES_MAX));
    let told = sighting(&event.repository, sha, aspect, run.updated_at.as_deref());
    let Some(result) = run.conclusion.as_deref().and_then(result) else {
        let told = Sighting { value: PENDING.to_owned(), ..told };
        return Ok(Observed::nothing(place).showing(actor(event.sender.as_ref()), vec![told]));
    };
    let in_repository = run
        .head_repository
        .as_ref()
        .is_none_or(|head| head.full_name.eq_ignore_ascii_case(&event.repository.full_name));
    Ok(Finished {
        repository: &event.repository,
        subject: subject(head_branch.filter(|_| in_repository), sha),
        branch: head_branch.map(str::to_owned),
        result,
        author: event.sender.as_ref(),
        trust: if in_repository { Trust::Member } else { Trust::Outsider },
        key: format!("run:{}:{}:{}", run.id, run.run_attempt.unwrap_or(1), result.as_str()),
        told,
        sha,
        name: run.path.clone(),
        title: run.display_title.clone(),
        text: None,
        url: run.html_url.clone(),
    }
    .observed(place))
}

/// Forgejo sends `recover` beside the `success` that follows a failure: one result, one key.
pub(super) fn observe_action_run(event_name: &str, event: &ActionRunEvent) -> Result<Observed, Refusal> {
    let run = &event.run;
    let place = place(&run.repository)?;
    let sha = sha(&run.commit_sha)?;
    let result = if event_name == "action_run_failure" { CiResult::Failure } else { CiResult::Success };
    let stopped = run.stopped.as_deref().unwrap_or_default();
    if !is_word(stopped) {
        return Err(Refusal::Identifier);
    }
    // `prettyref` is a branch, a tag or, for a pull request, `#` and its number.
    let shown = run.prettyref.as_deref().filter(|name| !name.is_empty());
    let number =
        shown.and_then(|name| name.strip_prefix('#')?.parse::<u64>().ok()).filter(|number| *number > 0);
    let own_branch = match number {
        Some(_) => None,
        None => shown.map(branch).transpose()?,
    };
    let in_repository = !run.is_fork_pull_request.unwrap_or(false);
    Ok(Finished {
        repository: &run.repository,
        subject: number.map_or_else(
            || subject(own_branch.filter(|_| in_repository), sha),
            |number| Subject::PullRequest { number, own_head: None },
        ),
        branch: own_branch.map(str::to_owned),
        result,
        author: run.trigger_user.as_ref(),
        trust: if in_repository { Trust::Member } else { Trust::Outsider },
        key: format!("action_run:{}:{}:{stopped}", run.id, result.as_str()),
        told: sighting(
            &run.repository,
            sha,
            Aspect::Run(bounded(run.workflow_id.as_deref().unwrap_or_default(), FACT_BYTES_MAX)),
            run.stopped.as_deref(),
        ),
        sha,
        name: run.workflow_id.clone(),
        title: run.title.clone(),
        text: None,
        url: run.html_url.clone(),
    }
    .observed(place))
}

/// Final results alone; `pending` and whatever is not known yet are none.
fn result(word: &str) -> Option<CiResult> {
    match word {
        "success" => Some(CiResult::Success),
        "failure" | "error" => Some(CiResult::Failure),
        "warning" => Some(CiResult::Warning),
        "cancelled" => Some(CiResult::Cancelled),
        "skipped" => Some(CiResult::Skipped),
        _ => None,
    }
}

fn sighting(repository: &Repository, sha: &str, aspect: Aspect, at: Option<&str>) -> Sighting {
    let version = at.and_then(Timestamp::parse);
    Sighting { version, ..Sighting::of(&format!("{}@{sha}", repo_key(repository)), aspect, "") }
}

fn subject(branch: Option<&str>, sha: &str) -> Subject {
    branch.map_or_else(|| Subject::Commit(sha.to_owned()), |branch| Subject::Branch(branch.to_owned()))
}

/// A result in the form that all three have in common.
struct Finished<'a> {
    repository: &'a Repository,
    subject: Subject,
    branch: Option<String>,
    result: CiResult,
    told: Sighting,
    author: Option<&'a User>,
    trust: Trust,
    key: String,
    sha: &'a str,
    name: Option<String>,
    title: Option<String>,
    text: Option<String>,
    url: Option<String>,
}

impl Finished<'_> {
    fn observed(self, place: crate::observed::Place) -> Observed {
        let name = self.name.as_deref().unwrap_or("ci");
        let event = LaunchEvent {
            point: LaunchPoint::GiteaCi,
            subject: self.subject,
            actor: actor(self.author),
            trust: trust(self.author, self.repository, self.trust),
            facts: Facts { branch: self.branch.clone(), ci: Some(self.result), ..Facts::default() },
            head: Some(self.sha.to_owned()),
            semantic_key: format!("gitea.ci:{}:{}", repo_key(self.repository), self.key),
            sighting: Some(self.told.name.clone()),
        };
        let described = self.text.iter().filter(|text| !text.is_empty());
        let words =
            described.map(|text| Word { id: String::new(), name: Some(bounded(text, FACT_BYTES_MAX)) });
        let value = self.result.as_str().to_owned();
        let told = Sighting { value, words: words.collect(), ..self.told };
        let account = Account {
            title: self.title.or_else(|| Some(format!("{name}: {}", self.result.as_str()))),
            body: self.text.filter(|text| !text.is_empty()),
            url: self.url.filter(|url| !url.is_empty()),
            author: self.author.and_then(|user| user.login.clone()),
            facts: vec![
                ("event", Some("ci".to_owned())),
                ("repo", Some(self.repository.full_name.clone())),
                ("branch", self.branch),
                ("head_sha", Some(self.sha.to_owned())),
                ("ci", Some(self.result.as_str().to_owned())),
                ("context", self.name),
            ],
        };
        Observed { place, actor: event.actor, events: vec![event], account, sightings: vec![told] }
    }
}
