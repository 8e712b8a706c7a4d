//! What people are told without having asked: each alert with its text, its key and the group it coalesces in.
//!
//! An alert is raised by whoever decides the fact it tells of and is written with that fact, in one transaction.
//! How alerts become messages is [`message`]; who receives them, and when, is the scheduler's outbox.

mod clip;
pub mod fold;
pub mod message;
pub mod pace;

use serde::{Deserialize, Serialize};

use crate::sanitize::{Kind, Repair};
use crate::{Account, Job, JobId, Timestamp};

pub use clip::{clip, split};

/// The most UTF-16 units of one alert's text; words from outside, such as an error, are cut to fit.
pub const TEXT_UNITS_MAX: usize = 1_000;
/// The most UTF-16 units of a word from outside within an alert.
const WORD_UNITS_MAX: usize = 300;

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Alert {
    /// So many limits in a row that nothing starts on the account for a while.
    BreakerOpened {
        /// The account.
        account: Account,
        /// How many in a row.
        consecutive: u32,
        /// The word of the last one, such as `overloaded`.
        reason: String,
        /// When a probe is let through.
        until: Timestamp,
    },
    /// The account answers again.
    BreakerClosed {
        /// The account.
        account: Account,
    },
    /// Nothing starts on the account until a time or until a person resumes it.
    AccountHeld {
        /// The account.
        account: Account,
        /// The reason's word: `auth`, `billing`, `usage_limit`.
        reason: String,
        /// Until when; `None`: until a person resumes it.
        until: Option<Timestamp>,
    },
    /// Work starts on the account again.
    AccountResumed {
        /// The account.
        account: Account,
    },
    /// A job was given up.
    JobFailed {
        /// The job.
        job: JobRef,
        /// What ended it, in one line.
        reason: String,
    },
    /// A job was given up because it was lost with its runner again and again.
    JobQuarantined {
        /// The job.
        job: JobRef,
        /// What ended it, in one line.
        reason: String,
    },
    /// A work item begins to need a person.
    ItemNeedsYou {
        /// The item.
        item: ItemRef,
        /// Why, in a word, such as `approval`.
        why: String,
        /// What happened and what to do, in one line.
        reason: String,
    },
    /// A work item no longer needs a person.
    ItemGoesOn {
        /// The item.
        item: ItemRef,
        /// Its state's word.
        state: String,
    },
    /// No runner that speaks can spawn agents.
    PreflightLost {
        /// How many of them speak.
        runners: u32,
        /// What is wrong on one of them.
        error: String,
    },
    /// A runner can spawn agents again.
    PreflightBack {
        /// How many can.
        runners: u32,
    },
    /// A source that used to deliver webhooks does not any more.
    WebhooksSilent {
        /// `gitea` or `plane`.
        source: String,
        /// When it last delivered.
        last_at: Timestamp,
    },
    /// A silent source delivers again.
    WebhooksBack {
        /// `gitea` or `plane`.
        source: String,
    },
    /// Changes were found that a source announced by no webhook.
    WebhooksMissed {
        /// `gitea` or `plane`.
        source: String,
        /// How many, of the first look that found any.
        changes: u32,
    },
    /// A source cannot be asked for what no webhook announced.
    ReconcilerBlind {
        /// `gitea` or `plane`.
        source: String,
        /// What it says.
        error: String,
    },
    /// It can be asked again.
    ReconcilerSees {
        /// `gitea` or `plane`.
        source: String,
    },
    /// A row that broke an invariant was repaired: somebody wrote past the constraints.
    RowRepaired {
        /// The job.
        job: JobId,
        /// What was wrong.
        kinds: Vec<Kind>,
        /// What its job became, a status, or `unchanged`.
        became: String,
    },
    /// The tracker or the forge refused for good what it was told of a work item.
    ReportRefused {
        /// `plane` or `gitea`.
        sink: String,
        /// The message's place in the outbox.
        message: i64,
        /// The project and key of the work item.
        work_item: String,
        /// What it said.
        error: String,
    },
    /// The tracker or the forge takes nothing.
    ReportsStuck {
        /// `plane` or `gitea`.
        sink: String,
        /// What it says.
        error: String,
    },
    /// The tracker or the forge takes what it is told again.
    ReportsBack {
        /// `plane` or `gitea`.
        sink: String,
    },
    /// Leases of many runners ran out at once and were spared for one more.
    MassExpiry {
        /// How many runs.
        runs: u32,
        /// How long the lease is, in seconds.
        lease_s: u64,
    },
}

/// Which job an alert speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRef {
    /// Its id.
    pub id: JobId,
    /// Its revision when the alert was raised: a job that fails, is retried and fails again is two alerts.
    pub revision: i64,
    /// Its project.
    pub project: String,
    /// The key of its work item.
    pub work_item: String,
    /// Its stage.
    pub stage: String,
}

/// Which work item an alert speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRef {
    /// Its project.
    pub project: String,
    /// Its key.
    pub key: String,
    /// Its revision when the alert was raised: an item may need a person again.
    pub revision: i64,
}

impl From<&Job> for JobRef {
    fn from(job: &Job) -> Self {
        Self {
            id: job.id,
            revision: job.revision,
            project: job.project.clone(),
            work_item: job.work_item.clone(),
            stage: job.stage.clone(),
        }
    }
}

/// An alert with the time it was raised, and what was folded into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The alert; the newest one, where others were folded into it.
    pub alert: Alert,
    /// When it was raised.
    pub at: Timestamp,
    /// Older ones of its group that a long backlog folded into it; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folded: Option<Folded>,
}

/// Alerts that are told by their number alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// How many.
    pub count: u64,
    /// When the first of them was raised.
    pub first_at: Timestamp,
}

impl Notice {
    /// An alert raised at `at`.
    pub fn new(alert: Alert, at: Timestamp) -> Self {
        Self { alert, at, folded: None }
    }

    /// How many alerts it stands for.
    pub fn count(&self) -> u64 {
        1 + self.folded.map_or(0, |folded| folded.count)
    }

    /// When the first of them was raised.
    pub fn first_at(&self) -> Timestamp {
        self.folded.map_or(self.at, |folded| folded.first_at)
    }

    /// Names this occurrence: the same fact has the same key wherever it is told, so that a receiver may drop repeats.
    pub fn key(&self) -> String {
        let (word, at) = (self.alert.word(), self.at.as_ms());
        match &self.alert {
            Alert::BreakerOpened { account, .. }
            | Alert::BreakerClosed { account }
            | Alert::AccountHeld { account, .. }
            | Alert::AccountResumed { account } => format!("{word}/{account}/{at}"),
            Alert::JobFailed { job, .. } | Alert::JobQuarantined { job, .. } => {
                format!("{word}/{}/{}", job.id, job.revision)
            }
            Alert::ItemNeedsYou { item, .. } | Alert::ItemGoesOn { item, .. } => {
                format!("{word}/{}/{}/{}", item.project, item.key, item.revision)
            }
            Alert::WebhooksSilent { source, .. }
            | Alert::WebhooksBack { source }
            | Alert::WebhooksMissed { source, .. }
            | Alert::ReconcilerBlind { source, .. }
            | Alert::ReconcilerSees { source } => {
                format!("{word}/{source}/{at}")
            }
            Alert::RowRepaired { job, .. } => format!("{word}/{job}/{at}"),
            Alert::ReportRefused { sink, message, .. } => format!("{word}/{sink}/{message}/{at}"),
            Alert::ReportsStuck { sink, .. } | Alert::ReportsBack { sink } => format!("{word}/{sink}/{at}"),
            Alert::PreflightLost { .. } | Alert::PreflightBack { .. } | Alert::MassExpiry { .. } => {
                format!("{word}/{at}")
            }
        }
    }
}

/// Alerts that a person reads as one matter: they share a message when many come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Breakers and holds.
    Accounts,
    /// Jobs that were given up.
    Jobs,
    /// Work items that need a person.
    Items,
    /// Runners and their leases.
    Runners,
    /// Sources of webhooks.
    Webhooks,
    /// Rows that broke an invariant.
    Rows,
    /// What the tracker and the forge are told.
    Reports,
}

impl Group {
    /// The word used in JSON and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Jobs => "jobs",
            Self::Items => "items",
            Self::Runners => "runners",
            Self::Webhooks => "webhooks",
            Self::Rows => "rows",
            Self::Reports => "reports",
        }
    }
}

impl Alert {
    /// The word of its kind, as in its JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::BreakerOpened { .. } => "breaker_opened",
            Self::BreakerClosed { .. } => "breaker_closed",
            Self::AccountHeld { .. } => "account_held",
            Self::AccountResumed { .. } => "account_resumed",
            Self::JobFailed { .. } => "job_failed",
            Self::JobQuarantined { .. } => "job_quarantined",
            Self::ItemNeedsYou { .. } => "item_needs_you",
            Self::ItemGoesOn { .. } => "item_goes_on",
            Self::PreflightLost { .. } => "preflight_lost",
            Self::PreflightBack { .. } => "preflight_back",
            Self::WebhooksSilent { .. } => "webhooks_silent",
            Self::WebhooksBack { .. } => "webhooks_back",
            Self::WebhooksMissed { .. } => "webhooks_missed",
            Self::ReconcilerBlind { .. } => "reconciler_blind",
            Self::ReconcilerSees { .. } => "reconciler_sees",
            Self::RowRepaired { .. } => "row_repaired",
            Self::ReportRefused { .. } => "report_refused",
            Self::ReportsStuck { .. } => "reports_stuck",
            Self::ReportsBack { .. } => "reports_back",
            Self::MassExpiry { .. } => "mass_expiry",
        }
    }

    /// The group it coalesces in.
    pub const fn group(&self) -> Group {
        match self {
            Self::BreakerOpened { .. }
            | Self::BreakerClosed { .. }
            | Self::AccountHeld { .. }
            | Self::AccountResumed { .. } => Group::Accounts,
            Self::JobFailed { .. } | Self::JobQuarantined { .. } => Group::Jobs,
            Self::ItemNeedsYou { .. } | Self::ItemGoesOn { .. } => Group::Items,
            Self::PreflightLost { .. } | Self::PreflightBack { .. } | Self::MassExpiry { .. } => {
                Group::Runners
            }
            Self::WebhooksSilent { .. }
            | Self::WebhooksBack { .. }
            | Self::WebhooksMissed { .. }
            | Self::ReconcilerBlind { .. }
            | Self::ReconcilerSees { .. } => Group::Webhooks,
            Self::RowRepaired { .. } => Group::Rows,
            Self::ReportRefused { .. } | Self::ReportsStuck { .. } | Self::ReportsBack { .. } => {
                Group::Reports
            }
        }
    }

    /// What happened and what to do, one line each; at most [`TEXT_UNITS_MAX`] UTF-16 units.
    pub fn text(&self) -> String {
        clip(&self.lines(), TEXT_UNITS_MAX)
    }

    fn lines(&self) -> String {
        match self {
            Self::BreakerOpened { account, consecutive, reason, until } => format!(
                "Account {account}: {consecutive} limits in a row ({}), nothing starts on it until {until}.\n\
                 Nothing to do; `orch breaker reset {account}` tries earlier.",
                word(reason)
            ),
            Self::BreakerClosed { account } => {
                format!("Account {account} answers again: its breaker is closed, work starts.")
            }
            Self::AccountHeld { account, reason, until: Some(until) } => format!(
                "Account {account} is held until {until}: {}.\n\
                 Nothing to do; `orch account resume {account}` starts work earlier.",
                word(reason)
            ),
            Self::AccountHeld { account, reason, until: None } => format!(
                "Account {account} is held: {}. Nothing starts on it until you say so.\n\
                 Mend its credential or its billing, then `orch account resume {account}`.",
                word(reason)
            ),
            Self::AccountResumed { account } => {
                format!("Account {account} is resumed: work starts on it again.")
            }
            Self::JobFailed { job, reason } => {
                format!("{} failed for good: {}.\n{}", job.shown(), word(reason), job.what_to_do())
            }
            Self::JobQuarantined { job, reason } => format!(
                "{} is {}.\nIt may be what takes its runners down. {}",
                job.shown(),
                word(reason),
                job.what_to_do()
            ),
            Self::ItemNeedsYou { item, reason, .. } => format!(
                "{} needs you: {}.\n`orch items --state needs_you` lists all that wait for a person.",
                item.shown(),
                word(reason)
            ),
            Self::ItemGoesOn { item, state } => {
                format!("{} no longer needs you: it is {}.", item.shown(), word(state))
            }
            Self::PreflightLost { runners, error } => format!(
                "No agent can be started on any of {}: {}.\n\
                 Jobs wait. `orch runners` shows each runner; mend its agent binary (ORCH_CLAUDE_BIN).",
                how_many(*runners, "runner"),
                word(error)
            ),
            Self::PreflightBack { runners } => format!(
                "Agents can be started again, on {}. Waiting jobs go on by themselves.",
                how_many(*runners, "runner")
            ),
            Self::WebhooksSilent { source, last_at } => format!(
                "No webhook from {source} since {last_at}.\n\
                 Look at the webhook's recent deliveries in {source}; what it could not deliver it may send again there."
            ),
            Self::WebhooksBack { source } => format!("Webhooks from {source} arrive again."),
            Self::WebhooksMissed { source, changes } => format!(
                "{} in {source} came without a webhook; {source} was asked, and they are taken up.\n\
                 Look at the webhook in {source}: whether it is active, and what its recent deliveries say.",
                how_many(*changes, "change")
            ),
            Self::ReconcilerBlind { source, error } => format!(
                "{source} cannot be asked for what no webhook announced: {}.\n\
                 Look at its API address and credential; until then a webhook that is lost stays lost.",
                word(error)
            ),
            Self::ReconcilerSees { source } => {
                format!("{source} can be asked again for what no webhook announced.")
            }
            Self::RowRepaired { job, kinds, became } => {
                let kinds: Vec<&str> = kinds.iter().copied().map(Kind::as_str).collect();
                format!(
                    "The row of job {job} broke an invariant ({}) and was repaired: {}.\n\
                     Somebody wrote to the database past its constraints; `orch job {job}` shows it, `orch doctor` looks for more.",
                    kinds.join(", "),
                    word(became)
                )
            }
            Self::ReportRefused { sink, work_item, error, .. } => format!(
                "{sink} refused what it was told of {}: {}.\n\
                 It is set aside, and what follows of that work item is told all the same.",
                word(work_item),
                word(error)
            ),
            Self::ReportsStuck { sink, error } => format!(
                "{sink} takes nothing of what it is told: {}.\n\
                 Nothing is lost, it waits in the outbox; look at {sink}, or mend the credential and restart the scheduler.",
                word(error)
            ),
            Self::ReportsBack { sink } => format!("{sink} takes what it is told again."),
            Self::MassExpiry { runs, lease_s } => format!(
                "The leases of {} on many runners ran out at once, which smells of a stall of the scheduler or its \
                 network: they are spared for {lease_s} s more and then given up.\n`orch runners` shows who is silent.",
                how_many(*runs, "run")
            ),
        }
    }

    /// What a repair by the sanitizer is told as.
    pub fn of_repair(repair: &Repair) -> Self {
        let became = repair.row.as_ref().map_or("unchanged", |(_, after)| after.state.status().as_str());
        Self::RowRepaired { job: repair.job, kinds: repair.kinds.clone(), became: became.to_owned() }
    }
}

impl ItemRef {
    fn shown(&self) -> String {
        format!("Work item {} ({})", word(&self.key), word(&self.project))
    }
}

impl JobRef {
    fn shown(&self) -> String {
        let Self { id, project, work_item, stage, .. } = self;
        format!("Job {id} ({}, {}, stage {})", word(project), word(work_item), word(stage))
    }

    fn what_to_do(&self) -> String {
        format!("`orch logs {0}` shows why, `orch retry {0}` starts it again.", self.id)
    }
}

fn how_many(count: u32, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A word from outside, short and in one line.
fn word(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clip(line.trim_end_matches('.'), WORD_UNITS_MAX)
}

#[cfg(test)]
mod tests;
