//! `orch import`: the queue of the in-process predecessor becomes jobs here, each once however often it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use domain::Timestamp;
use domain::delivery::NewJob;
use domain::import::{self, Fault, Left, Terms};
use domain::pipeline::{self, Pipeline};
use futures::future::try_join_all;
use serde::Serialize;
use service::settings::{DatabaseSettings, PipelineSettings};
use store::{Access, Store};

use crate::exit::Failure;
use crate::print::{Output, plain};

/// Jobs that are asked for at once; the store commits them together.
const TOGETHER: usize = 256;
/// Rows that cannot come, shown to people; scripts get all of them.
const LEFT_SHOWN: usize = 20;

/// What is imported, and what its rows do not say.
#[derive(Args, Clone, Debug)]
pub(crate) struct Import {
    /// SQLite file of the predecessor, with its tables `jobs` and `agent_runs`; nothing is written to it
    file: PathBuf,
    /// Project of jobs that name none
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Stage of an agent that is named otherwise there, such as `coder=development`; once for each
    #[arg(long = "stage", value_name = "AGENT=STAGE", value_parser = pair)]
    stages: Vec<(String, String)>,
    /// What tells this file's jobs from those of another file [default: the file's name]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    pipeline: PipelineSettings,
}

#[derive(Debug, Serialize)]
struct Report {
    dry_run: bool,
    /// Jobs that are new here.
    created: usize,
    /// Jobs that an earlier import made.
    known: usize,
    queued: u32,
    requeued: u32,
    over: BTreeMap<String, u32>,
    cleaned: BTreeMap<Fault, u32>,
    left: Vec<Left>,
    unknown_columns: BTreeSet<String>,
    runs: u32,
}

/// `orch import FILE`.
pub(crate) async fn run(ask: Import, output: Output, now: Timestamp) -> Result<(), Failure> {
    let pipeline = read_pipeline(&ask.pipeline.config)?;
    let old = store::predecessor(&ask.file).await?;
    let name = || ask.file.file_stem().map(|name| name.to_string_lossy().into_owned());
    let terms = Terms {
        source: ask.source.clone().or_else(name).unwrap_or_default(),
        project: ask.project.clone(),
        stages: ask.stages.iter().cloned().collect(),
    };
    for (agent, stage) in &terms.stages {
        if pipeline.stage(stage).is_none() {
            return Err(Failure::Usage(format!("--stage {agent}={stage}: orch.toml has no stage {stage:?}")));
        }
    }
    let import = import::plan(&old, &pipeline, &terms, now);
    let created = if ask.dry_run {
        0
    } else {
        let store = store::open(ask.database.database_url.expose(), Access::Write).await?;
        let created = enqueue(store.as_ref(), &import.jobs, now).await;
        store.close().await;
        created?
    };
    let known = if ask.dry_run { 0 } else { import.jobs.len().saturating_sub(created) };
    let report = Report {
        dry_run: ask.dry_run,
        created,
        known,
        queued: import.queued,
        requeued: import.requeued,
        over: import.over,
        cleaned: import.cleaned,
        left: import.left,
        unknown_columns: import.unknown_columns,
        runs: import.runs,
    };
    output.show(&report, |_| shown(&report))?;
    match report.left.len() {
        0 => Ok(()),
        1 => Err(Failure::No("one job stays where it is".to_owned())),
        left => Err(Failure::No(format!("{left} jobs stay where they are"))),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(agent, stage)| !agent.is_empty() && !stage.is_empty())
        .map(|(agent, stage)| (agent.to_owned(), stage.to_owned()))
        .ok_or_else(|| "say AGENT=STAGE".to_owned())
}

fn read_pipeline(config: &Path) -> Result<Pipeline, Failure> {
    let file = config.display();
    let text = std::fs::read_to_string(config).map_err(|error| {
        Failure::Usage(format!("could not read {file}, which names the projects: {error}"))
    })?;
    pipeline::parse(&text).map_err(|error| Failure::Usage(format!("{file}: {error}")))
}

/// Commits the jobs; says how many are new.
async fn enqueue(store: &dyn Store, jobs: &[NewJob], now: Timestamp) -> Result<usize, store::Error> {
    let mut created = 0;
    for jobs in jobs.chunks(TOGETHER) {
        let enqueued = try_join_all(jobs.iter().map(|job| store.enqueue(job.clone(), now))).await?;
        created += enqueued.iter().filter(|enqueued| enqueued.fresh).count();
    }
    Ok(created)
}

fn shown(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{words}");
    };
    let Report { queued, requeued, created, known, .. } = report;
    if report.dry_run {
        line(format!("{queued} queued jobs would come over, {requeued} that ran would run again"));
    } else {
        line(format!(
            "{created} jobs came over, {known} were here already ({queued} were queued, {requeued} ran and run again)"
        ));
    }
    for (status, count) in &report.over {
        line(format!("{count} are {}: they stay where they are", plain(status)));
    }
    for (fault, count) in &report.cleaned {
        line(format!("{count} {}", cleaned(*fault)));
    }
    if report.runs > 0 {
        line(format!("{} rows of agent_runs are history: they stay where they are", report.runs));
    }
    if !report.unknown_columns.is_empty() {
        let columns: Vec<&str> = report.unknown_columns.iter().map(String::as_str).collect();
        line(format!("nothing is made of the columns {}", plain(&columns.join(", "))));
    }
    for left in report.left.iter().take(LEFT_SHOWN) {
        line(format!("job {} stays: {}", plain(&left.job), plain(&left.why)));
    }
    let more = report.left.len().saturating_sub(LEFT_SHOWN);
    if more > 0 {
        line(format!("and {more} more: --json has all of them"));
    }
    if *requeued > 0 {
        line(
            "end the old process and its agents before the scheduler starts: what ran there runs again here"
                .to_owned(),
        );
    }
    text
}

const fn cleaned(fault: Fault) -> &'static str {
    match fault {
        Fault::QueuedWithAnOwner => "were queued and owned a run, a process or a start: they own nothing now",
        Fault::RunningWithoutAnOwner => "were running and owned nothing: they are queued",
        Fault::ImpossibleCount => "counted tries that cannot be: they begin at none",
        Fault::UnreadableTime => "had a time that cannot be read: they are due now",
    }
}
