//! What may be spent, of which purse, and what follows when it is spent.
//!
//! A run pays into six [`Purse`]s: its job's, its work item's, that of its chain of causes, its project's, and those of the
//! day, of the project and of all projects. Where `orch.toml` limits one, the claim sets aside what a run may need
//! ([`reserve`]), what agents report while they run is settled against it, and a run that goes beyond is stopped ([`stop`]).
//! Pure: the store keeps the sums, the scheduler carries out.

pub mod price;
pub mod reserve;
pub mod stop;
mod terms;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::run::RunUsage;
use crate::{JobId, Timestamp};

pub use terms::{Budget, CHAIN_RUNS_MAX, Terms};

/// Millionths of a US dollar in one.
pub const USD_MICROS: i64 = 1_000_000;

/// What a budget counts the spending of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All runs of a job.
    Job,
    /// All runs of a work item, for its whole life.
    Item,
    /// All runs that follow from one webhook or one thing a person did.
    Chain,
    /// All runs of a project, ever.
    Project,
    /// All runs of a project on one day in UTC.
    ProjectDay,
    /// All runs of all projects on one day in UTC.
    Day,
}

impl Scope {
    /// All six, the narrowest first.
    pub const ALL: [Self; 6] =
        [Self::Job, Self::Item, Self::Chain, Self::Project, Self::ProjectDay, Self::Day];

    /// The word in the database, JSON and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Item => "item",
            Self::Chain => "chain",
            Self::Project => "project",
            Self::ProjectDay => "project_day",
            Self::Day => "day",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// Whether only a person gives more: then the job ends and its work item asks for one. Of the others, a day's ends
    /// at midnight, and a project's concerns all of it: jobs wait.
    pub const fn needs_person(self) -> bool {
        matches!(self, Self::Job | Self::Item | Self::Chain)
    }
}

/// A budget's owner: one job, one day, …
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Purse {
    /// Which kind.
    pub scope: Scope,
    /// Which of that kind: a job's id, `project/key` of an item, the cause of a chain, a project, `day/project`, a day.
    pub key: String,
}

/// Whose spending a run is.
#[derive(Clone, Copy, Debug)]
pub struct Payer<'a> {
    /// Its job.
    pub job: JobId,
    /// The job's project.
    pub project: &'a str,
    /// The job's work item.
    pub work_item: &'a str,
    /// The job's chain of causes.
    pub chain: &'a str,
}

impl Payer<'_> {
    /// The purse of this kind that it pays into on `day`.
    pub fn purse(&self, scope: Scope, day: &str) -> Purse {
        let key = match scope {
            Scope::Job => self.job.to_string(),
            Scope::Item => format!("{}/{}", self.project, self.work_item),
            Scope::Chain => self.chain.to_owned(),
            Scope::Project => self.project.to_owned(),
            Scope::ProjectDay => format!("{day}/{}", self.project),
            Scope::Day => day.to_owned(),
        };
        Purse { scope, key }
    }
}

/// An amount spent, set aside or added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Millionths of a US dollar.
    pub usd_micros: i64,
    /// Tokens read, cached ones included, and written.
    pub tokens: i64,
    /// Runs that were started.
    pub runs: i64,
}

impl Amount {
    /// What a run has used, of dollars and tokens.
    pub fn of_usage(usage: &RunUsage) -> Self {
        let tokens = [usage.input_tokens, usage.output_tokens].into_iter().flatten();
        let tokens = tokens.fold(0_u64, u64::saturating_add);
        Self {
            usd_micros: usage.cost_usd.map_or(0, micros),
            tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
            runs: 0,
        }
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The amount of one unit.
    pub const fn of(self, unit: Unit) -> i64 {
        match unit {
            Unit::Usd => self.usd_micros,
            Unit::Tokens => self.tokens,
            Unit::Runs => self.runs,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            usd_micros: self.usd_micros.saturating_add(other.usd_micros),
            tokens: self.tokens.saturating_add(other.tokens),
            runs: self.runs.saturating_add(other.runs),
        }
    }

    /// What is left without the other; may be less than nothing.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            usd_micros: self.usd_micros.saturating_sub(other.usd_micros),
            tokens: self.tokens.saturating_sub(other.tokens),
            runs: self.runs.saturating_sub(other.runs),
        }
    }

    /// Without what is less than nothing.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        Self { usd_micros: self.usd_micros.max(0), tokens: self.tokens.max(0), runs: self.runs.max(0) }
    }

    fn set(&mut self, unit: Unit, value: i64) {
        match unit {
            Unit::Usd => self.usd_micros = value,
            Unit::Tokens => self.tokens = value,
            Unit::Runs => self.runs = value,
        }
    }
}

/// US dollars as millionths, to the nearest; what is no amount is none.
pub fn micros(usd: f64) -> i64 {
    let micros = usd * 1e6;
    #[expect(clippy::cast_possible_truncation, reason = "a float-to-int cast saturates, and NaN becomes 0")]
    let whole = micros.round() as i64;
    whole.max(0)
}

/// Millionths as US dollars.
pub fn usd(micros: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "amounts of money stay far below 2^53 millionths")]
    let micros = micros as f64;
    micros / 1e6
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Millionths of a US dollar.
    Usd,
    /// Tokens.
    Tokens,
    /// Runs.
    Runs,
}

impl Unit {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Usd, Self::Tokens, Self::Runs];

    fn shown(self, amount: i64) -> String {
        match self {
            Self::Usd => format!("{:.2} USD", usd(amount)),
            Self::Tokens => format!("{amount} tokens"),
            Self::Runs => format!("{amount} runs"),
        }
    }

    const fn flag(self) -> &'static str {
        match self {
            Self::Usd => "--usd",
            Self::Tokens => "--tokens",
            Self::Runs => "--runs",
        }
    }
}

/// The most that may be spent; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Millionths of a US dollar.
    pub usd_micros: Option<i64>,
    /// Tokens.
    pub tokens: Option<i64>,
    /// Runs.
    pub runs: Option<i64>,
}

impl Limit {
    /// The limit of one unit.
    pub const fn of(self, unit: Unit) -> Option<i64> {
        match unit {
            Unit::Usd => self.usd_micros,
            Unit::Tokens => self.tokens,
            Unit::Runs => self.runs,
        }
    }

    /// Whether it limits nothing.
    pub const fn is_open(self) -> bool {
        self.usd_micros.is_none() && self.tokens.is_none() && self.runs.is_none()
    }

    /// What it says, and `other` where it says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            usd_micros: self.usd_micros.or(other.usd_micros),
            tokens: self.tokens.or(other.tokens),
            runs: self.runs.or(other.runs),
        }
    }
}

/// What is kept of a purse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// What was spent.
    pub spent: Amount,
    /// By how much a person raised its limit.
    pub raised: Amount,
    /// Of an item's: what was spent when it last passed a stage.
    pub at_last_pass: Amount,
}

impl Spending {
    /// What it may still spend of a unit; `None`: it is not limited. Less than nothing where it went beyond.
    pub fn left(&self, limit: Limit, unit: Unit) -> Option<i64> {
        let limit = limit.of(unit)?.saturating_add(self.raised.of(unit));
        Some(limit.saturating_sub(self.spent.of(unit)))
    }

    /// The first unit of which nothing is left.
    pub fn spent_out(&self, purse: &Purse, limit: Limit) -> Option<Exceeded> {
        let unit =
            Unit::ALL.into_iter().find(|unit| self.left(limit, *unit).is_some_and(|left| left <= 0))?;
        Some(self.exceeded(purse, limit, unit))
    }

    fn exceeded(&self, purse: &Purse, limit: Limit, unit: Unit) -> Exceeded {
        let limit = limit.of(unit).unwrap_or(0).saturating_add(self.raised.of(unit));
        Exceeded { purse: purse.clone(), unit, spent: self.spent.of(unit), limit }
    }
}

/// A budget that is spent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exceeded {
    /// Whose.
    pub purse: Purse,
    /// Of what.
    pub unit: Unit,
    /// How much was spent.
    pub spent: i64,
    /// How much may be.
    pub limit: i64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purse: Purse { scope, key }, unit, spent, limit } = self;
        let (spent, limit) = (unit.shown(*spent), unit.shown(*limit));
        match scope {
            Scope::Job => write!(f, "the budget of job {key} is spent: {spent} of {limit}"),
            Scope::Item => write!(f, "the budget of work item {key} is spent: {spent} of {limit}"),
            Scope::Chain => {
                write!(
                    f,
                    "the budget of everything that follows from {key} is spent, which looks like a loop: {spent} of {limit}"
                )
            }
            Scope::Project => write!(f, "the budget of project {key} is spent: {spent} of {limit}"),
            Scope::ProjectDay => write!(f, "the budget of {key} for the day is spent: {spent} of {limit}"),
            Scope::Day => write!(f, "the budget of {key} for all projects is spent: {spent} of {limit}"),
        }
    }
}

impl Exceeded {
    /// The command that gives more, with the limit once more as what is added.
    pub fn raise(&self) -> String {
        let Self { purse: Purse { scope, key }, unit, limit, .. } = self;
        let more = match unit {
            Unit::Usd => format!("{:.2}", usd(*limit)),
            Unit::Tokens | Unit::Runs => limit.to_string(),
        };
        format!("`orch budget raise {} '{key}' {} {more}`", scope.as_str(), unit.flag())
    }
}

/// The day of an instant in UTC, such as `2026-11-22`.
pub fn day_of(at: Timestamp) -> String {
    let mut text = at.to_string();
    text.truncate(DAY_LEN);
    text
}

const DAY_LEN: usize = "2026-11-22".len();

/// When the day of an instant ends in UTC.
pub const fn day_ends(at: Timestamp) -> Timestamp {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    Timestamp::from_ms((at.as_ms().div_euclid(DAY_MS) + 1) * DAY_MS)
}

#[cfg(test)]
mod tests;
