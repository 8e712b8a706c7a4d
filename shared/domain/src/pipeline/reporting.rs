//! `[project.report]`: what the tracker and the forge are told of a project's work items.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Stage;
use super::error::{ConfigError, remedy};
use super::file::STATE_GROUPS;
use super::section::{Placed, Section};

pub(super) const REPORT_KEYS: &[&str] =
    &["comments", "statuses", "on_stage", "on_done", "on_needs_you", "on_cancelled"];

/// What the tracker and the forge are told. By default they are told in words and by commit statuses, and issues stay in
/// the state that people gave them: moving one is a project's own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporting {
    /// Whether a stage's end is a comment, on the issue and on the pull request.
    pub comments: bool,
    /// Whether each stage is a status of its commit.
    pub statuses: bool,
    /// The state an issue is moved to when a stage starts for it.
    pub on_stage: BTreeMap<String, StateChoice>,
    /// The state it is moved to when nothing follows.
    pub on_done: Option<StateChoice>,
    /// The state it is moved to when it needs a person.
    pub on_needs_you: Option<StateChoice>,
    /// The state it is moved to when a person ended it.
    pub on_cancelled: Option<StateChoice>,
}

impl Default for Reporting {
    fn default() -> Self {
        Self {
            comments: true,
            statuses: true,
            on_stage: BTreeMap::new(),
            on_done: None,
            on_needs_you: None,
            on_cancelled: None,
        }
    }
}

/// A state of the tracker.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateChoice {
    /// The first state of a group; an issue that is in the group already stays where it is.
    Group(String),
    /// This one.
    Id(Uuid),
}

/// Reads the table, when there is one.
pub(super) fn read(project: &Section<'_, '_>, stages: &[Stage]) -> Result<Reporting, ConfigError> {
    let Some(section) = project.sub("report", "[project.report]", REPORT_KEYS)? else {
        return Ok(Reporting::default());
    };
    let names: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    let mut on_stage = BTreeMap::new();
    if let Some(table) = section.sub("on_stage", "`on_stage` (its keys are stages)", &names)? {
        for name in &names {
            if let Some(choice) = choice(&table, name)? {
                on_stage.insert((*name).to_owned(), choice);
            }
        }
    }
    Ok(Reporting {
        comments: section.flag("comments")?.unwrap_or(true),
        statuses: section.flag("statuses")?.unwrap_or(true),
        on_stage,
        on_done: choice(&section, "on_done")?,
        on_needs_you: choice(&section, "on_needs_you")?,
        on_cancelled: choice(&section, "on_cancelled")?,
    })
}

fn choice(section: &Section<'_, '_>, key: &str) -> Result<Option<StateChoice>, ConfigError> {
    let Some(Placed { value, span }) = section.text(key)? else { return Ok(None) };
    if STATE_GROUPS.contains(&value.as_str()) {
        return Ok(Some(StateChoice::Group(value)));
    }
    Uuid::try_parse(&value).map(|id| Some(StateChoice::Id(id))).map_err(|_| {
        let known = remedy(&value, STATE_GROUPS);
        section.refuse(&span, format!("`{key}` is neither the id of a state nor a group of states: {known}"))
    })
}
