//! Pull requests that are opened, reopened, synchronized or merged, and the reviews that decide about them.

use domain::Timestamp;
use domain::launch::{Facts, LaunchEvent, Subject};
use domain::pipeline::{LaunchPoint, PullRequestAction, ReviewVerdict, Trust};
use domain::sighting::{Aspect, CLOSED, OPEN, Sighting, Word};
use serde_json::{Map, Value};

use super::body::{PullRequest, PullRequestEvent};
use super::{actor, branch, place, repo_key, sha, trust};
use crate::Refusal;
use crate::identifier::is_word;
use crate::observed::{Account, Observed, digest};

/// What happened, when it is something that can start a stage. A merge is a `closed` with `merged`.
pub(super) fn action(word: &str, object: &Map<String, Value>) -> Option<PullRequestAction> {
    let merged =
        || object.get("pull_request").and_then(|pull| pull.get("merged")?.as_bool()).unwrap_or(false);
    match word {
        "opened" => Some(PullRequestAction::Opened),
        "reopened" => Some(PullRequestAction::Reopened),
        // GitHub and some forks spell it without the d.
        "synchronized" | "synchronize" => Some(PullRequestAction::Synchronized),
        "closed" if merged() => Some(PullRequestAction::Merged),
        _ => None,
    }
}

pub(super) fn observe(action: PullRequestAction, event: &PullRequestEvent) -> Result<Observed, Refusal> {
    let place = place(&event.repository)?;
    let pull = Checked::new(event)?;
    let repo = repo_key(&event.repository);
    let facts = Facts { branch: Some(pull.base.clone()), action: Some(action), ..Facts::default() };
    let sightings = match action {
        PullRequestAction::Merged => {
            vec![pull.sighting(&repo, Aspect::Merged, "1"), pull.sighting(&repo, Aspect::Open, CLOSED)]
        }
        // The first is what it is about: one that is opened again has the commit that it had.
        PullRequestAction::Reopened => {
            vec![pull.open(&repo), pull.sighting(&repo, Aspect::Head, &pull.head_sha), pull.labels(&repo)]
        }
        PullRequestAction::Opened | PullRequestAction::Synchronized => {
            vec![pull.sighting(&repo, Aspect::Head, &pull.head_sha), pull.labels(&repo), pull.open(&repo)]
        }
    };
    let launch = LaunchEvent {
        point: LaunchPoint::GiteaPullRequest,
        subject: pull.subject(),
        actor: actor(event.sender.as_ref()),
        trust: trust(event.pull_request.user.as_ref(), &event.repository, pull.author_trust()),
        facts,
        head: Some(pull.head_sha.clone()),
        semantic_key: format!(
            "gitea.pull_request:{repo}#{}:{}:{}{}",
            pull.number,
            pull.head_sha,
            action.as_str(),
            times(action, event)?
        ),
        sighting: sightings.first().map(|told| told.name.clone()),
    };
    let mut account = pull.account(event);
    account.facts.push(("event", Some("pull_request".to_owned())));
    account.facts.push(("action", Some(action.as_str().to_owned())));
    if action == PullRequestAction::Merged {
        let merge = event.pull_request.merge_commit_sha.as_deref().filter(|text| !text.is_empty());
        account.facts.push(("merge_sha", merge.map(sha).transpose()?.map(str::to_owned)));
    }
    let actor = launch.actor;
    Ok(Observed { place, events: vec![launch], account, sightings, actor })
}

/// It may be opened again more than once with one commit.
fn times(action: PullRequestAction, event: &PullRequestEvent) -> Result<String, Refusal> {
    let changed_at = event.pull_request.updated_at.as_deref().unwrap_or_default();
    if action != PullRequestAction::Reopened || changed_at.is_empty() {
        return Ok(String::new());
    }
    if is_word(changed_at) { Ok(format!(":{changed_at}")) } else { Err(Refusal::Identifier) }
}

/// It was closed and not merged: nothing starts by that, but it may be opened again.
pub(super) fn observe_closed(event: &PullRequestEvent) -> Result<Observed, Refusal> {
    let pull = Checked::new(event)?;
    let told = pull.sighting(&repo_key(&event.repository), Aspect::Open, CLOSED);
    Ok(Observed::nothing(place(&event.repository)?).showing(actor(event.sender.as_ref()), vec![told]))
}

/// Its labels changed: nothing starts by that, but somebody may have let it go further.
pub(super) fn observe_labels(event: &PullRequestEvent) -> Result<Observed, Refusal> {
    let pull = Checked::new(event)?;
    let told = pull.labels(&repo_key(&event.repository));
    Ok(Observed::nothing(place(&event.repository)?).showing(actor(event.sender.as_ref()), vec![told]))
}

pub(super) fn observe_review(event_name: &str, event: &PullRequestEvent) -> Result<Observed, Refusal> {
    let place = place(&event.repository)?;
    let pull = Checked::new(event)?;
    let review = event.review.as_ref();
    // The body is signed and the header is not.
    let kind = review.and_then(|review| review.kind.as_deref()).unwrap_or(event_name);
    let Some(verdict) = verdict(kind) else { return Ok(Observed::nothing(place)) };

    let repo = repo_key(&event.repository);
    let content = review.and_then(|review| review.content.clone()).filter(|text| !text.trim().is_empty());
    let told =
        pull.sighting(&repo, Aspect::Review(review_aspect(event, &pull, verdict, content.as_deref())), "1");
    let told = Sighting { version: None, ..told };
    let launch = LaunchEvent {
        point: LaunchPoint::GiteaReview,
        subject: pull.subject(),
        actor: actor(event.sender.as_ref()),
        trust: trust(event.sender.as_ref(), &event.repository, Trust::Outsider),
        facts: Facts { branch: Some(pull.base.clone()), review: Some(verdict), ..Facts::default() },
        head: Some(pull.head_sha.clone()),
        semantic_key: format!(
            "gitea.review:{repo}#{}:{}:{}",
            pull.number,
            verdict.as_str(),
            review_identity(event, &pull, content.as_deref())?
        ),
        sighting: Some(told.name.clone()),
    };
    let mut account = pull.account(event);
    account.body = content;
    account.facts.push(("event", Some("review".to_owned())));
    account.facts.push(("review", Some(verdict.as_str().to_owned())));
    let actor = launch.actor;
    Ok(Observed { place, events: vec![launch], account, sightings: vec![told], actor })
}

/// What a webhook and the API both show of a review: who, what, of which commit, in which words.
fn review_aspect(
    event: &PullRequestEvent,
    pull: &Checked<'_>,
    verdict: ReviewVerdict,
    content: Option<&str>,
) -> String {
    let reviewer = event.sender.as_ref().map_or(0, |user| user.id);
    format!("{reviewer}:{}:{}:{}", verdict.as_str(), pull.head_sha, digest(content.unwrap_or_default()))
}

/// Older versions leave `review_` out.
fn verdict(kind: &str) -> Option<ReviewVerdict> {
    match kind {
        "pull_request_review_approved" | "pull_request_approved" => Some(ReviewVerdict::Approved),
        "pull_request_review_rejected" | "pull_request_rejected" => Some(ReviewVerdict::Rejected),
        _ => None,
    }
}

/// What tells one review from the next. Today's senders give no id: then head, reviewer, words and the pull
/// request's last change have to do, so that a second rejection of one head is another review.
fn review_identity(
    event: &PullRequestEvent,
    pull: &Checked<'_>,
    content: Option<&str>,
) -> Result<String, Refusal> {
    if let Some(id) = event.review.as_ref().and_then(|review| review.id).filter(|id| *id > 0) {
        return Ok(id.to_string());
    }
    let updated_at = event.pull_request.updated_at.as_deref().unwrap_or_default();
    if !is_word(updated_at) {
        return Err(Refusal::Identifier);
    }
    let reviewer = event.sender.as_ref().map_or(0, |user| user.id);
    let comments = event.pull_request.review_comments.unwrap_or(0);
    let words = digest(content.unwrap_or_default());
    Ok(format!("{}:{reviewer}:{words}", digest(&format!("{}:{comments}:{updated_at}", pull.head_sha))))
}

/// A pull request whose names may be used.
struct Checked<'a> {
    pull: &'a PullRequest,
    number: u64,
    base: String,
    head: String,
    head_sha: String,
    in_repository: bool,
}

impl<'a> Checked<'a> {
    fn new(event: &'a PullRequestEvent) -> Result<Self, Refusal> {
        let (pull, repository) = (&event.pull_request, &event.repository);
        let number = pull.number.or(event.number).ok_or(Refusal::Shape)?;
        if number == 0 {
            return Err(Refusal::Identifier);
        }
        if !pull.base.sha.is_empty() {
            sha(&pull.base.sha)?;
        }
        let in_repository = match &pull.head.repo {
            Some(head) if head.id.is_some() && repository.id.is_some() => head.id == repository.id,
            Some(head) => head.full_name.eq_ignore_ascii_case(&repository.full_name),
            None => pull.head.repo_id.is_some() && pull.head.repo_id == repository.id,
        };
        Ok(Self {
            pull,
            number,
            base: branch(&pull.base.reference)?.to_owned(),
            head: branch(&pull.head.reference)?.to_owned(),
            head_sha: sha(&pull.head.sha)?.to_owned(),
            in_repository,
        })
    }

    fn subject(&self) -> Subject {
        Subject::PullRequest { number: self.number, own_head: self.in_repository.then(|| self.head.clone()) }
    }

    /// Whoever has a branch in the repository may write to it.
    fn author_trust(&self) -> Trust {
        if self.in_repository { Trust::Member } else { Trust::Outsider }
    }

    fn sighting(&self, repo: &str, aspect: Aspect, value: &str) -> Sighting {
        let version = self.pull.updated_at.as_deref().and_then(Timestamp::parse);
        Sighting { version, ..Sighting::of(&format!("{repo}#{}", self.number), aspect, value) }
    }

    /// Whether it is open.
    fn open(&self, repo: &str) -> Sighting {
        let is_closed = self.pull.state.as_deref() == Some(CLOSED);
        self.sighting(repo, Aspect::Open, if is_closed { CLOSED } else { OPEN })
    }

    fn labels(&self, repo: &str) -> Sighting {
        let labels = self.pull.labels.iter().flatten();
        let words = labels.map(|label| Word { id: label.id.to_string(), name: label.name.clone() }).collect();
        let told = Sighting::of_ids(&format!("{repo}#{}", self.number), Aspect::Labels, words);
        Sighting { version: self.pull.updated_at.as_deref().and_then(Timestamp::parse), ..told }
    }

    fn account(&self, event: &PullRequestEvent) -> Account {
        Account {
            title: self.pull.title.clone(),
            body: self.pull.body.clone().filter(|text| !text.is_empty()),
            url: self.pull.html_url.clone(),
            author: event.sender.as_ref().or(self.pull.user.as_ref()).and_then(|user| user.login.clone()),
            facts: vec![
                ("repo", Some(event.repository.full_name.clone())),
                ("pull_request", Some(self.number.to_string())),
                ("branch", Some(self.head.clone())),
                ("base", Some(self.base.clone())),
                ("head_sha", Some(self.head_sha.clone())),
            ],
        }
    }
}
