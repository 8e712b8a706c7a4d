//! What a run still has to do once its agent has succeeded: the gate `command`, the push, the pull request.
//!
//! The runner does them, journals each, and reports them in the outcome; here is which of them a run has ([`Steps`], [`due`]),
//! what can become of one ([`StepFacts`]), when it is tried again ([`retry`]) and what it means for the run ([`conclusion`]) and
//! its work item ([`findings`]).

pub mod retry;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::classify::{Patterns, conclude};
use crate::delivery::Payload;
use crate::outcome::Outcome;
use crate::transition::{Conclusion, LostHow};
use crate::verdict::{FINDING_BYTES_MAX, Report, SUMMARY_BYTES_MAX, Verdict};
use crate::{Class, Job, Timestamp, text};

/// The most kept of what a step printed, in bytes: its end.
pub const EVIDENCE_BYTES_MAX: usize = 8 * 1024;
/// How many lines of it are handed back as findings.
const FINDINGS_MAX: usize = 40;

/// The steps of one run, as its stage asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Steps {
    /// Whether the stage asks its agent for a verdict: then only a pass is followed by steps.
    pub asks_verdict: bool,
    /// The gate `command`.
    pub command: Option<GateCommand>,
    /// Whether what was committed is pushed.
    pub push: bool,
    /// The pull request to be found or opened.
    pub pull_request: Option<PullRequestAsk>,
}

/// A program that decides whether a stage passes: exit code 0 is a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCommand {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The longest it may take, in milliseconds.
    pub timeout_ms: i64,
}

/// The pull request of a work item's branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequestAsk {
    /// `owner/name` on the forge.
    pub repo: String,
    /// Its title, where it is new.
    pub title: String,
    /// Its text before what the agent says of the work, where it is new.
    pub body: String,
    /// Hidden in its text: who opened it.
    pub marker: String,
}

impl Steps {
    /// Whether there is nothing to do.
    pub const fn is_empty(&self) -> bool {
        self.command.is_none() && !self.push && self.pull_request.is_none()
    }

    /// What there is to do, in the order in which it is done.
    pub fn kinds(&self) -> Vec<StepKind> {
        let asked = [
            (StepKind::Command, self.command.is_some()),
            (StepKind::Push, self.push),
            (StepKind::PullRequest, self.pull_request.is_some()),
        ];
        asked.into_iter().filter_map(|(kind, is_asked)| is_asked.then_some(kind)).collect()
    }
}

/// Whether a run whose agent ended like this has its steps done: it succeeded, and said no fail. A verdict that is asked
/// for and cannot be read is no pass; the run that asks for its form again has the steps then.
pub fn due(steps: &Steps, outcome: &Outcome) -> bool {
    let (concluded, _) = conclude(outcome, false, &Patterns::default(), outcome.ended_at);
    !steps.is_empty()
        && concluded == (Conclusion::Judged { class: Class::Success })
        && match Verdict::of(outcome) {
            Verdict::Pass(_) => true,
            Verdict::Fail(_) => false,
            Verdict::Unreadable(_) => !steps.asks_verdict,
        }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in the database, JSON and messages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// A kind of step.
    StepKind {
        /// The gate `command`, in the workspace.
        Command = "command",
        /// What was committed goes to the forge.
        Push = "push",
        /// A pull request is found or opened.
        PullRequest = "pull_request",
    }
}

words! {
    /// Why a step that was done came to nothing.
    StepFault {
        /// The command did not exit with 0.
        CommandFailed = "command_failed",
        /// The command did not end in time.
        CommandTimeout = "command_timeout",
        /// The command could not be started.
        CommandUnusable = "command_unusable",
        /// There is nothing to push.
        NoCommits = "no_commits",
        /// The workspace's branch cannot be read.
        Workspace = "workspace",
        /// Somebody else pushed to the branch.
        RemoteMoved = "remote_moved",
        /// The forge was not reached, or faltered.
        ForgeUnreachable = "forge_unreachable",
        /// The runner was not told how to reach the forge.
        Unconfigured = "unconfigured",
        /// The forge refuses the credential.
        ForgeAuth = "forge_auth",
        /// The forge refuses what was asked.
        ForgeRefused = "forge_refused",
    }
}

words! {
    /// Why a step was not done.
    Undone {
        /// The run no longer owns its job.
        Fenced = "fenced",
        /// A person asked for its end.
        Cancelled = "cancelled",
        /// The node is drained and its patience is over.
        Drained = "drained",
        /// An earlier step came to nothing.
        Earlier = "earlier",
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum StepState {
    /// It is done.
    Done,
    /// It was tried and came to nothing.
    Failed {
        /// Why.
        fault: StepFault,
    },
    /// It was not done.
    NotDone {
        /// Why.
        why: Undone,
    },
}

impl StepState {
    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::NotDone { .. } => "not_done",
        }
    }

    /// The word beside it; none for what is done.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Done => None,
            Self::Failed { fault } => Some(fault.as_str()),
            Self::NotDone { why } => Some(why.as_str()),
        }
    }
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFacts {
    /// Which.
    pub step: StepKind,
    /// What it came to.
    #[serde(flatten)]
    pub state: StepState,
    /// What it printed or was told, at most [`EVIDENCE_BYTES_MAX`] bytes: the end of it.
    pub evidence: String,
    /// The branch that was pushed.
    #[serde(default)]
    pub branch: Option<String>,
    /// The commit that was pushed, a whole object id.
    #[serde(default)]
    pub head: Option<String>,
    /// The pull request.
    #[serde(default)]
    pub pull_request: Option<PullRequest>,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// A pull request on the forge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// `owner/name` on the forge.
    pub repo: String,
    /// Its number there.
    pub number: u64,
    /// Where a person can see it.
    pub url: String,
}

impl PullRequest {
    /// Its key as a work item, such as `acme/shop#12`.
    pub fn key(&self) -> String {
        format!("{}#{}", self.repo, self.number)
    }
}

/// What a fault asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// The work is not good.
    Mending,
    /// Another try later.
    Patience,
    /// A person.
    Person,
}

const fn asks(fault: StepFault) -> Asks {
    match fault {
        StepFault::CommandFailed
        | StepFault::CommandTimeout
        | StepFault::NoCommits
        | StepFault::RemoteMoved => Asks::Mending,
        StepFault::ForgeUnreachable => Asks::Patience,
        StepFault::CommandUnusable
        | StepFault::Workspace
        | StepFault::Unconfigured
        | StepFault::ForgeAuth
        | StepFault::ForgeRefused => Asks::Person,
    }
}

impl StepFault {
    /// Whether another try later may do better, with nothing changed.
    pub const fn passes(self) -> bool {
        matches!(asks(self), Asks::Patience)
    }
}

/// What is wrong and what to do.
impl fmt::Display for StepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandFailed => "the gate command failed",
            Self::CommandTimeout => "the gate command did not end in time",
            Self::CommandUnusable => {
                "the gate command could not be started: install it on the runners or mend [stage.command] in orch.toml"
            }
            Self::NoCommits => "nothing was committed, so there is nothing to push",
            Self::Workspace => "the workspace's branch cannot be read: look at it on the runner",
            Self::RemoteMoved => {
                "somebody else pushed to the branch meanwhile: merge what is there now (git has it as refs/remotes/origin/…) into the work and keep both"
            }
            Self::ForgeUnreachable => "the forge was not reached",
            Self::Unconfigured => "the runner cannot reach the forge: give it ORCH_GITEA_API_URL and ORCH_GIT_TOKEN",
            Self::ForgeAuth => {
                "the forge refuses the credential: give the runners an ORCH_GIT_TOKEN that may push and open pull requests"
            }
            Self::ForgeRefused => "the forge refuses it: see the evidence, and mend the branch's protection or the project",
        })
    }
}

/// What the steps make of a run whose agent succeeded; `None`: it stays a success, whatever they found of the work.
pub fn conclusion(steps: &[StepFacts]) -> Option<(Conclusion, String)> {
    let stopped = steps.iter().find(|facts| facts.state != StepState::Done)?;
    let concluded = match stopped.state {
        StepState::Done => return None,
        StepState::Failed { fault } => match asks(fault) {
            Asks::Mending => return None,
            Asks::Patience | Asks::Person => Conclusion::StepFailed { fault },
        },
        StepState::NotDone { why } => match why {
            Undone::Fenced | Undone::Earlier => Conclusion::Lost { how: LostHow::SelfFenced },
            Undone::Cancelled => Conclusion::Cancelled,
            Undone::Drained => Conclusion::Drained,
        },
    };
    Some((concluded, evidence(stopped)))
}

fn evidence(facts: &StepFacts) -> String {
    const LINE_BYTES_MAX: usize = 300;
    let last = facts.evidence.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let reason = facts.state.reason().unwrap_or_default();
    text::line(&format!("{}: {reason}: {last}", facts.step.as_str()), LINE_BYTES_MAX)
}

/// Whether it is only that the branch moved: the work is as good as it was, and the stage that made it mends that best.
pub fn is_outrun(steps: &[StepFacts]) -> bool {
    let moved = StepState::Failed { fault: StepFault::RemoteMoved };
    steps.iter().any(|facts| facts.state == moved)
}

/// What the steps found wrong with the work, as an agent's fail would say it; `None`: nothing.
pub fn findings(steps: &[StepFacts]) -> Option<Report> {
    let (facts, fault) = steps.iter().find_map(|facts| match facts.state {
        StepState::Failed { fault } if asks(fault) == Asks::Mending => Some((facts, fault)),
        StepState::Failed { .. } | StepState::Done | StepState::NotDone { .. } => None,
    })?;
    let lines: Vec<String> = facts
        .evidence
        .lines()
        .map(|line| text::line(line, FINDING_BYTES_MAX))
        .filter(|line| !line.trim().is_empty())
        .collect();
    let first = lines.len().saturating_sub(FINDINGS_MAX);
    let summary = text::clean(&fault.to_string(), SUMMARY_BYTES_MAX);
    let mut findings = vec![summary.clone()];
    findings.extend(lines.into_iter().skip(first));
    Some(Report { summary, findings, head: None })
}

/// The commit that is on the forge now, by what was pushed.
pub fn pushed_head(steps: &[StepFacts]) -> Option<&str> {
    done(steps, StepKind::Push)?.head.as_deref()
}

/// The pull request that was found or opened.
pub fn pull_request(steps: &[StepFacts]) -> Option<&PullRequest> {
    done(steps, StepKind::PullRequest)?.pull_request.as_ref()
}

fn done(steps: &[StepFacts], kind: StepKind) -> Option<&StepFacts> {
    steps.iter().find(|facts| facts.step == kind && facts.state == StepState::Done)
}

/// The pull request that a job of this stage opens where there is none for its branch yet.
pub fn pull_request_ask(repo: &str, job: &Job, payload: &Payload) -> PullRequestAsk {
    const TITLE_BYTES_MAX: usize = 200;
    const URL_BYTES_MAX: usize = 500;
    let about = payload
        .title
        .as_deref()
        .map_or_else(|| job.stage.clone(), |title| text::line(title, TITLE_BYTES_MAX));
    let url = payload.url.as_deref().map(|url| format!(": {}", text::line(url, URL_BYTES_MAX)));
    PullRequestAsk {
        repo: repo.to_owned(),
        title: text::line(&format!("{}: {about}", job.work_item), TITLE_BYTES_MAX),
        body: format!("{} of {}{}", job.stage, job.work_item, url.unwrap_or_default()),
        marker: format!("<!-- orch:pull_request:{} -->", job.id),
    }
}

/// The text of a new pull request: what it is about, what the agent said of it, and who opened it. The agent's words
/// cannot hide anything in it, and call nobody.
pub fn pull_request_body(ask: &PullRequestAsk, outcome: &Outcome) -> String {
    let said = match Verdict::of(outcome) {
        Verdict::Pass(report) | Verdict::Fail(report) => report.summary,
        Verdict::Unreadable(_) => String::new(),
    };
    let said = said.replace('@', "@\u{200b}").replace("<!--", "&lt;!--");
    let quoted: Vec<String> = said.lines().map(|line| format!("> {line}")).collect();
    let quoted = quoted.join("\n");
    let parts = [ask.body.trim(), quoted.as_str(), ask.marker.as_str()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

#[cfg(test)]
mod tests;
