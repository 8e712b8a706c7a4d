//! From a fact to what is told of it.

use sha2::{Digest as _, Sha256};

use super::words::{Words, sentence};
use super::{
    DESCRIPTION_LETTERS_MAX, IssueRef, Letter, Post, PullRef, STATUS_PREFIX, Says, StatusState, Terms,
};
use crate::Job;
use crate::delivery::{Payload, StageResult};
use crate::job::JobKind;
use crate::outbox::Sink;
use crate::pipeline::{Project, StateChoice};
use crate::steps;
use crate::verdict::Verdict;
use crate::work_item::decision::Word;
use crate::work_item::settle::Settlement;
use crate::work_item::step::{JobEnd, Scene};
use crate::work_item::{ItemChange, ItemState, NeedsYou, Why, WorkItem};

/// Digits of the hash that stands for a work item in a key.
const ITEM_DIGITS: usize = 16;

/// What is told when a run of a job is confirmed: its stage is under way. Once for a job, however many runs it takes.
pub fn of_start(project: &Project, job: &Job, payload: &Payload, terms: &Terms<'_>) -> Vec<Post> {
    if job.origin.kind == JobKind::Reformat {
        return Vec::new();
    }
    let of = Of::new(project, &job.work_item, payload, terms);
    let name = named(job);
    let mut posts = Vec::new();
    of.state(project.report.on_stage.get(&job.stage), &format!("stage/{name}"), &mut posts);
    of.status(
        job,
        job.origin.head.as_deref(),
        (StatusState::Pending, "is under way"),
        &format!("status/{name}/pending"),
        &mut posts,
    );
    posts
}

/// What is told of the end of a job and of what that did to its work item.
pub fn of_end(scene: &Scene<'_>, end: &JobEnd<'_>, change: &ItemChange, terms: &Terms<'_>) -> Vec<Post> {
    let job = scene.job;
    let Some(project) = scene.pipeline.project(&job.project) else { return Vec::new() };
    let Some(told) = told(scene, end, change) else { return Vec::new() };
    let steps = match end {
        JobEnd::Done { steps, .. } => *steps,
        JobEnd::Failed { .. } | JobEnd::OverBudget { .. } | JobEnd::Cancelled | JobEnd::Retried => &[],
    };
    let opened = steps::pull_request(steps).map(|pull_request| pull_request.number);
    let of = Of { opened, ..Of::new(project, &job.work_item, scene.payload, terms) };
    let name = format!("{}/{}", named(job), job.revision);
    let mut posts = Vec::new();
    if let Some(words) = told.words {
        let words = Words { subject: job.stage.clone(), link: of.link(job), ..words };
        of.comment(&words, &format!("end/{name}"), &mut posts);
    }
    of.state(told.state.choice(project, job), &format!("state/{name}"), &mut posts);
    let (state, description) = told.status;
    of.status(job, job.origin.head.as_deref(), (state, &description), &format!("status/{name}"), &mut posts);
    let made =
        change.after.head.as_deref().filter(|_| scene.item.head != change.after.head && told.made_head);
    let made = made.filter(|made| job.origin.head.as_deref() != Some(*made));
    of.status(job, made, (state, &description), &format!("status/{name}/made"), &mut posts);
    posts
}

/// What is told of a person's word on a work item; `job` is the one whose end asked for it, where there is one.
pub fn of_decision(
    project: &Project,
    item: &WorkItem,
    job: Option<(&Job, &Payload)>,
    (word, by, note): (Word, &str, Option<&str>),
    change: &ItemChange,
    terms: &Terms<'_>,
) -> Vec<Post> {
    let Some(needs) = item.state.needs() else { return Vec::new() };
    let said = match word {
        Word::Approve => "approved",
        Word::Reject => "rejected",
    };
    let status = match (word, &needs.why) {
        (Word::Approve, Why::Unreadable { .. } | Why::Failed) => Some(StatusState::Success),
        (Word::Reject, Why::Unreadable { .. } | Why::Approval) => Some(StatusState::Failure),
        _ => None,
    };
    let sentence = format!("was {said} by {by}");
    let end = Wait { stage: &needs.stage, sentence, note, status, head: None };
    end.told(project, item, job, change, terms)
}

/// What is told when something that was seen outside ends an item's wait.
pub fn of_settlement(scene: &Scene<'_>, settlement: &Settlement, terms: &Terms<'_>) -> Vec<Post> {
    let Some(project) = scene.pipeline.project(&scene.item.project) else { return Vec::new() };
    let (stage, sentence, status) = match &scene.item.state {
        ItemState::WaitsForCi(wait) => {
            let (sentence, status) = match settlement.verb {
                "ci_passed" => ("passed, and so did the tests of its commit", StatusState::Success),
                "ci_failed" => ("passed, the tests of its commit did not", StatusState::Failure),
                _ => ("passed, the tests of its commit said nothing final", StatusState::Error),
            };
            (&wait.stage, sentence.to_owned(), Some(status))
        }
        ItemState::NeedsYou(needs) => {
            (&needs.stage, format!("was settled by {}: {}", settlement.by, settlement.note), None)
        }
        ItemState::Active | ItemState::Done | ItemState::Cancelled => return Vec::new(),
    };
    let note = Some(settlement.note.as_str()).filter(|_| settlement.verb == "ci_failed");
    let head = scene.item.state.waits_for_ci().map(|wait| wait.head.as_str());
    let end = Wait { stage, sentence, note, status, head };
    end.told(project, scene.item, Some((scene.job, scene.payload)), &settlement.change, terms)
}

/// The end of an item's wait.
struct Wait<'a> {
    stage: &'a str,
    sentence: String,
    note: Option<&'a str>,
    status: Option<StatusState>,
    /// The commit it was about, where another one than the job's.
    head: Option<&'a str>,
}

impl Wait<'_> {
    fn told(
        self,
        project: &Project,
        item: &WorkItem,
        job: Option<(&Job, &Payload)>,
        change: &ItemChange,
        terms: &Terms<'_>,
    ) -> Vec<Post> {
        let unknown = Payload::default();
        let of = Of::new(project, &item.key, job.map_or(&unknown, |(_, payload)| payload), terms);
        let digest = hex::encode(Sha256::digest(format!("{}\0{}", item.project, item.key)));
        let name = format!("{}/{}.{}", &digest[..ITEM_DIGITS], item.created_at.as_ms(), item.revision);
        let words = Words {
            subject: self.stage.to_owned(),
            sentence: format!("{}: {}.", self.sentence, follows(change)),
            said: self.note.unwrap_or_default().to_owned(),
            link: job.and_then(|(job, _)| of.link(job)),
            ..Words::default()
        };
        let mut posts = Vec::new();
        of.comment(&words, &format!("word/{name}"), &mut posts);
        let moved = match change.after.state {
            ItemState::Done => Moved::Done,
            ItemState::Cancelled => Moved::Cancelled,
            ItemState::NeedsYou(_) => Moved::NeedsYou,
            ItemState::Active | ItemState::WaitsForCi(_) => Moved::Nowhere,
        };
        let Some((job, _)) = job else { return posts };
        of.state(moved.choice(project, job), &format!("state/word/{name}"), &mut posts);
        if let Some(state) = self.status {
            let head = self.head.or(job.origin.head.as_deref()).or(item.head.as_deref());
            of.status(job, head, (state, &self.sentence), &format!("status/word/{name}"), &mut posts);
        }
        posts
    }
}

/// What is to be told of an end, before anybody is asked who wants to know.
struct Told {
    /// `None`: in no words.
    words: Option<Words>,
    status: (StatusState, String),
    state: Moved,
    /// Whether a commit that the stage made is as good as the stage.
    made_head: bool,
}

/// What the item became, as far as its issue's state is concerned.
#[derive(Clone, Copy)]
enum Moved {
    Nowhere,
    /// Its stage begins anew.
    Stage,
    Done,
    NeedsYou,
    Cancelled,
}

impl Moved {
    fn choice<'a>(self, project: &'a Project, job: &Job) -> Option<&'a StateChoice> {
        let report = &project.report;
        match self {
            Self::Nowhere => None,
            Self::Stage => report.on_stage.get(&job.stage),
            Self::Done => report.on_done.as_ref(),
            Self::NeedsYou => report.on_needs_you.as_ref(),
            Self::Cancelled => report.on_cancelled.as_ref(),
        }
    }
}

/// `None`: nothing is over yet.
fn told(scene: &Scene<'_>, end: &JobEnd<'_>, change: &ItemChange) -> Option<Told> {
    let job = scene.job;
    let plain = |status: (StatusState, String), state| Told { words: None, status, state, made_head: false };
    match end {
        JobEnd::Retried => Some(plain((StatusState::Pending, "is tried again".to_owned()), Moved::Stage)),
        JobEnd::Cancelled => {
            let status = (StatusState::Error, "was cancelled".to_owned());
            let ended = change.after.state == ItemState::Cancelled;
            let words = Words { sentence: "was cancelled: nothing follows.".to_owned(), ..Words::default() };
            Some(Told {
                words: Some(words),
                state: if ended { Moved::Cancelled } else { Moved::Nowhere },
                ..plain(status, Moved::Nowhere)
            })
        }
        JobEnd::Failed { .. } | JobEnd::OverBudget { .. } => Some(needing(change, None, StatusState::Error)),
        JobEnd::Done { verdict, message, .. } => {
            if change.next.as_ref().is_some_and(|next| next.origin.kind == JobKind::Reformat) {
                return None;
            }
            if is_outdated(job, change) {
                let status =
                    (StatusState::Error, "was about a commit that is not the newest any more".to_owned());
                return Some(plain(status, Moved::Nowhere));
            }
            Some(done(job, verdict, message, change))
        }
    }
}

fn done(job: &Job, verdict: &Verdict, message: &str, change: &ItemChange) -> Told {
    let result = result_of(job, change);
    if change.after.state.needs().is_some() {
        let state = match result.map(|result| result.verdict.as_str()) {
            Some("pass") => StatusState::Success,
            Some(_) => StatusState::Failure,
            None => StatusState::Error,
        };
        return needing(change, result, state);
    }
    let report = match (result, verdict) {
        (Some(result), _) => (result.summary.clone(), result.findings.clone()),
        (None, Verdict::Pass(report) | Verdict::Fail(report)) => {
            (report.summary.clone(), report.findings.clone())
        }
        (None, Verdict::Unreadable(_)) => (String::new(), Vec::new()),
    };
    // A stage that is asked for no verdict says what it has to say in its last words.
    let said = if report.0.is_empty() { message.to_owned() } else { report.0 };
    let failed = result.is_some_and(|result| result.verdict == "fail");
    let (verb, state) = match change.after.state {
        _ if failed => ("failed", StatusState::Failure),
        // Its gate is not passed before the tests are.
        ItemState::WaitsForCi(_) => ("passed", StatusState::Pending),
        ItemState::Active | ItemState::NeedsYou(_) | ItemState::Done | ItemState::Cancelled => {
            ("passed", StatusState::Success)
        }
    };
    let follows = follows(change);
    Told {
        words: Some(Words {
            sentence: format!("{verb}: {follows}."),
            said,
            findings: report.1,
            ..Words::default()
        }),
        status: (state, format!("{verb}: {follows}")),
        state: if change.after.state == ItemState::Done { Moved::Done } else { Moved::Nowhere },
        made_head: !failed,
    }
}

fn needing(change: &ItemChange, result: Option<&StageResult>, state: StatusState) -> Told {
    let needs: Option<&NeedsYou> = change.after.state.needs();
    let sentence = needs.map_or_else(|| "was given up.".to_owned(), |needs| format!("needs you: {needs}."));
    let short = match needs.map(|needs| &needs.why) {
        Some(Why::Approval) => "passed, waits for a person",
        Some(Why::Failed | Why::Bounces { .. }) => "failed, needs a person",
        Some(Why::Unreadable { .. }) => "no readable verdict, needs a person",
        Some(_) | None => "needs a person",
    };
    Told {
        words: Some(Words {
            sentence,
            said: result.map(|result| result.summary.clone()).unwrap_or_default(),
            findings: result.map(|result| result.findings.clone()).unwrap_or_default(),
            ..Words::default()
        }),
        status: (state, short.to_owned()),
        state: if needs.is_some() { Moved::NeedsYou } else { Moved::Nowhere },
        made_head: state == StatusState::Success,
    }
}

/// The stage is done anew for a newer commit.
fn is_outdated(job: &Job, change: &ItemChange) -> bool {
    change.next.as_ref().is_some_and(|next| next.stage == job.stage && next.origin.head != job.origin.head)
}

/// What the job's agent said, as the stages after it are told.
fn result_of<'a>(job: &Job, change: &'a ItemChange) -> Option<&'a StageResult> {
    let told = change.next.as_ref().and_then(|next| next.payload.results.last());
    let state = &change.after.state;
    let waiting = || Some(&state.waits_for_ci()?.result);
    told.or_else(|| state.needs()?.result.as_ref())
        .or_else(waiting)
        .filter(|result| result.job == Some(job.id))
}

fn follows(change: &ItemChange) -> String {
    match (&change.next, &change.after.state) {
        (Some(next), _) => format!("{} follows", next.stage),
        (None, ItemState::Done) => "nothing more to do".to_owned(),
        (None, ItemState::Cancelled) => "nothing follows".to_owned(),
        (None, ItemState::Active) => "it goes on".to_owned(),
        (None, ItemState::WaitsForCi(_)) => "it waits for the tests of its commit".to_owned(),
        (None, ItemState::NeedsYou(needs)) => format!("it needs you: {needs}"),
    }
}

/// A job's name in keys. Ids begin anew with each database, the instant does not.
fn named(job: &Job) -> String {
    format!("{}.{}", job.id, job.created_at.as_ms())
}

/// The work item of which something is told.
struct Of<'a> {
    project: &'a Project,
    work_item: &'a str,
    payload: &'a Payload,
    terms: &'a Terms<'a>,
    /// The pull request that was found or opened just now.
    opened: Option<u64>,
}

impl<'a> Of<'a> {
    fn new(project: &'a Project, work_item: &'a str, payload: &'a Payload, terms: &'a Terms<'a>) -> Self {
        Self { project, work_item, payload, terms, opened: None }
    }

    fn issue(&self) -> Option<IssueRef> {
        IssueRef::of(self.project, self.work_item, self.payload).filter(|_| self.terms.plane)
    }

    fn pull_request(&self) -> Option<PullRef> {
        let opened = self.opened.map(PullRef::Number);
        opened
            .or_else(|| PullRef::of(self.project, self.work_item, self.payload))
            .filter(|_| self.terms.gitea)
    }

    fn link(&self, job: &Job) -> Option<(String, String)> {
        self.terms.console_url.map(|base| (format!("job {}", job.id), job_url(base, job)))
    }

    fn comment(&self, words: &Words, key: &str, posts: &mut Vec<Post>) {
        if !self.project.report.comments {
            return;
        }
        let words = words.clone().fit(self.terms.secrets);
        if let Some(issue) = self.issue() {
            posts.push(self.post(Sink::Plane, key, Says::IssueComment { issue, html: words.html() }));
        }
        if let Some(pull_request) = self.pull_request() {
            let says = Says::PullComment { pull_request, body: words.markdown() };
            posts.push(self.post(Sink::Gitea, key, says));
        }
    }

    fn state(&self, state: Option<&StateChoice>, key: &str, posts: &mut Vec<Post>) {
        if let Some((state, issue)) = state.cloned().zip(self.issue()) {
            posts.push(self.post(Sink::Plane, key, Says::IssueState { issue, state }));
        }
    }

    fn status(
        &self,
        job: &Job,
        head: Option<&str>,
        (state, description): (StatusState, &str),
        key: &str,
        posts: &mut Vec<Post>,
    ) {
        let wanted = self.terms.gitea && self.project.report.statuses && self.project.gitea_repo.is_some();
        let Some(sha) = head.filter(|_| wanted) else { return };
        let description = sentence(description, self.terms.secrets);
        let says = Says::CommitStatus {
            sha: sha.to_owned(),
            context: format!("{STATUS_PREFIX}{}", job.stage),
            state,
            description: description.chars().take(DESCRIPTION_LETTERS_MAX).collect(),
            target_url: self.terms.console_url.map(|base| job_url(base, job)).unwrap_or_default(),
        };
        posts.push(self.post(Sink::Gitea, key, says));
    }

    fn post(&self, sink: Sink, key: &str, says: Says) -> Post {
        let letter =
            Letter { project: self.project.name.clone(), work_item: self.work_item.to_owned(), says };
        Post { sink, key: key.to_owned(), letter }
    }
}

fn job_url(base: &str, job: &Job) -> String {
    format!("{}/jobs/{}", base.trim_end_matches('/'), job.id)
}
