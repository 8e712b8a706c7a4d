//! Takes over the queue of the in-process predecessor: a web process that kept its jobs in a SQLite file and the agents in
//! its threads. What a row comes to is decided here, whole; nothing is read and nothing is written.
//!
//! A row of the predecessor is not believed: a queued job that owns a process is what once wedged its queue for ever.

mod value;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::delivery::{About, NewJob, Payload};
use crate::job::Origin;
use crate::pipeline::{Pipeline, Project};
use crate::{Budgets, Timestamp};

pub use value::Value;

/// The columns of the predecessor's `jobs` that are understood; any other is reported.
pub const JOB_COLUMNS: [&str; 11] = [
    "id",
    "project",
    "task",
    "agent",
    "status",
    "attempts",
    "transient_attempts",
    "available_at",
    "run_id",
    "pid",
    "started_at",
];
/// The columns of its `agent_runs` that are understood.
pub const RUN_COLUMNS: [&str; 6] = ["id", "job_id", "status", "pid", "started_at", "ended_at"];

/// A row, by column.
pub type Row = BTreeMap<String, Value>;

/// What the predecessor's file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predecessor {
    /// Its `jobs`, by id.
    pub jobs: Vec<Row>,
    /// Its `agent_runs`, where it has the table.
    pub runs: Vec<Row>,
}

/// What people say beside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What tells this file's jobs from those of another: importing one file twice makes nothing twice.
    pub source: String,
    /// The project of jobs that name none.
    pub project: Option<String>,
    /// The stage of an agent whose name is neither a stage nor a role.
    pub stages: BTreeMap<String, String>,
}

/// What an import comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Import {
    /// What is queued here, in the order of the file.
    #[serde(skip)]
    pub jobs: Vec<NewJob>,
    /// Jobs that were queued.
    pub queued: u32,
    /// Jobs that ran, and run again: their agents were the old process's.
    pub requeued: u32,
    /// Jobs that were over, by the word of their status; they stay where they are.
    pub over: BTreeMap<String, u32>,
    /// Rows that were impossible and are taken over without what made them so, by fault.
    pub cleaned: BTreeMap<Fault, u32>,
    /// Rows that cannot be taken over, each with its reason.
    pub left: Vec<Left>,
    /// Columns that nothing is made of, as `table.column`.
    pub unknown_columns: BTreeSet<String>,
    /// Rows of `agent_runs`: history, which stays where it is.
    pub runs: u32,
}

/// A row that cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Its id as it is written there, or its place in the file.
    pub job: String,
    /// Why, and what to do.
    pub why: String,
}

/// What was wrong with a row that is taken over all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It was queued and owned a run, a process or a start.
    QueuedWithAnOwner,
    /// It was running and owned nothing.
    RunningWithoutAnOwner,
    /// It counted less than no tries, or more than there can be.
    ImpossibleCount,
    /// Its time cannot be read: it is due now.
    UnreadableTime,
}

/// The longest name of a work item, in bytes, as everywhere else.
const TASK_BYTES_MAX: usize = 200;

/// What the predecessor's word for a status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Queued,
    Running,
    Over,
}

impl Status {
    fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "queued" | "pending" | "waiting" | "scheduled" | "retry" | "retrying" | "new" => Self::Queued,
            "running" | "started" | "in_progress" | "claimed" | "processing" => Self::Running,
            "done" | "completed" | "complete" | "succeeded" | "success" | "failed" | "error"
            | "cancelled" | "canceled" | "discarded" | "skipped" | "dead" => Self::Over,
            _ => return None,
        })
    }
}

/// Says what each row of the predecessor becomes.
pub fn plan(old: &Predecessor, pipeline: &Pipeline, terms: &Terms, now: Timestamp) -> Import {
    let mut import = Import { runs: u32::try_from(old.runs.len()).unwrap_or(u32::MAX), ..Import::default() };
    for (table, rows, known) in
        [("jobs", &old.jobs, JOB_COLUMNS.as_slice()), ("agent_runs", &old.runs, RUN_COLUMNS.as_slice())]
    {
        let columns = rows.iter().flat_map(BTreeMap::keys).filter(|column| !known.contains(&column.as_str()));
        import.unknown_columns.extend(columns.map(|column| format!("{table}.{column}")));
    }
    let mut seen = BTreeSet::new();
    for (place, row) in old.jobs.iter().enumerate() {
        let id = text(row, "id").unwrap_or_else(|| format!("row {}", place.saturating_add(1)));
        let taken = if seen.insert(id.clone()) {
            take(row, &id, pipeline, terms, now, &mut import)
        } else {
            Err("another row of the file has this id".to_owned())
        };
        if let Err(why) = taken {
            import.left.push(Left { job: id, why });
        }
    }
    import
}

fn take(
    row: &Row,
    id: &str,
    pipeline: &Pipeline,
    terms: &Terms,
    now: Timestamp,
    import: &mut Import,
) -> Result<(), String> {
    let word = text(row, "status").ok_or("it has no status")?;
    let status = Status::of(&word).ok_or_else(|| {
        format!("nobody knows what its status {word:?} means: mend the row, or end it there")
    })?;
    if status == Status::Over {
        let count = import.over.entry(word.to_ascii_lowercase()).or_default();
        *count = count.saturating_add(1);
        return Ok(());
    }
    let task = text(row, "task");
    if task.as_ref().is_some_and(|task| task.len() > TASK_BYTES_MAX) {
        return Err(format!("its task is longer than {TASK_BYTES_MAX} bytes"));
    }
    let project = project(row, task.as_deref(), pipeline, terms)?;
    let agent = text(row, "agent").ok_or("it names no agent")?;
    let stage = pipeline
        .stage(terms.stages.get(&agent).unwrap_or(&agent))
        .or_else(|| pipeline.stages.iter().find(|stage| stage.role == agent))
        .ok_or_else(|| {
            format!("no stage or role of orch.toml is named {agent:?}: say --stage {agent}=STAGE")
        })?;
    let mut faults = BTreeSet::new();
    let owned = ["run_id", "pid", "started_at"].iter().any(|column| text(row, column).is_some());
    match status {
        Status::Queued if owned => faults.insert(Fault::QueuedWithAnOwner),
        Status::Running if !owned => faults.insert(Fault::RunningWithoutAnOwner),
        Status::Queued | Status::Running | Status::Over => false,
    };
    let budgets = Budgets {
        attempts: count(row, "attempts", &mut faults),
        transient_attempts: count(row, "transient_attempts", &mut faults),
        infra_attempts: 0,
    };
    let available_at = match row.get("available_at").filter(|value| value.is_there()) {
        None => now,
        Some(value) => value.instant().unwrap_or_else(|| {
            faults.insert(Fault::UnreadableTime);
            now
        }),
    };
    import.jobs.push(NewJob {
        project: project.name.clone(),
        work_item: task.unwrap_or_else(|| format!("{}-{id}", terms.source)),
        stage: stage.name.clone(),
        role: stage.role.clone(),
        priority: 0,
        // What ran is due: nobody waits for a process that is not ours.
        available_at: if status == Status::Running { now } else { available_at },
        semantic_key: Some(format!("import:{}:{id}", terms.source)),
        payload: Payload::default(),
        trace_context: None,
        origin: Origin::default(),
        about: About::default(),
        budgets,
    });
    let taken = if status == Status::Running { &mut import.requeued } else { &mut import.queued };
    *taken = taken.saturating_add(1);
    for fault in faults {
        let cleaned = import.cleaned.entry(fault).or_default();
        *cleaned = cleaned.saturating_add(1);
    }
    Ok(())
}

/// The project that a row names, by its name, its repository or the key of its task.
fn project<'a>(
    row: &Row,
    task: Option<&str>,
    pipeline: &'a Pipeline,
    terms: &Terms,
) -> Result<&'a Project, String> {
    let named = text(row, "project");
    let is_named = |project: &&Project, name: &str| {
        project.name == name
            || project.gitea_repo.as_deref().is_some_and(|repo| repo.eq_ignore_ascii_case(name))
    };
    if let Some(name) = named {
        return pipeline
            .projects
            .iter()
            .find(|project| is_named(project, &name))
            .ok_or_else(|| format!("orch.toml has no project {name:?}"));
    }
    let of_task = task.and_then(|task| {
        let repo = task.split_once(['#', '@']).map(|(repo, _)| repo);
        let identifier = task.rsplit_once('-').map(|(identifier, _)| identifier);
        pipeline.projects.iter().find(|project| {
            repo.is_some_and(|repo| is_named(project, repo))
                || (identifier.is_some() && project.plane_identifier.as_deref() == identifier)
        })
    });
    let said = || {
        let name = terms.project.as_deref()?;
        pipeline.projects.iter().find(|project| is_named(project, name))
    };
    of_task.or_else(said).ok_or_else(|| {
        "it names no project, and its task is of none in orch.toml: say --project PROJECT".to_owned()
    })
}

fn text(row: &Row, column: &str) -> Option<String> {
    row.get(column)?.text()
}

/// A count of tries; what cannot be one is none.
fn count(row: &Row, column: &str, faults: &mut BTreeSet<Fault>) -> u32 {
    /// More than any limit of tries; a larger number is no count.
    const MOST: i64 = 10_000;
    match row.get(column).filter(|value| value.is_there()) {
        None => 0,
        Some(value) => {
            let count = value.integer().filter(|count| (0..=MOST).contains(count));
            if count.is_none() {
                faults.insert(Fault::ImpossibleCount);
            }
            count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0)
        }
    }
}
