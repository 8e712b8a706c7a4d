//! `orch enqueue`, `jobs`, `job`, `why`, `cancel`, `retry`.

use std::io::Read as _;

use clap::Args;
use domain::{Status, Timestamp};
use proto::v1;

use super::{SchedulerAccess, budgets};
use crate::exit::Failure;
use crate::print::{Cell, Output, Paint, facts, plain, table, when};

/// The largest prompt taken from stdin.
const PROMPT_BYTES_MAX: u64 = 1024 * 1024;

/// What `orch enqueue` makes.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct Enqueue {
    /// Project, as in orch.toml
    #[arg(long, short)]
    project: String,
    /// Stage, as in orch.toml or built in: analysis, architecture, development, review, testing, deploy
    #[arg(long, short)]
    stage: String,
    /// Work item it belongs to, such as SHOP-12; a new one when not given
    #[arg(long, short, value_name = "KEY")]
    work_item: Option<String>,
    /// Prompt in place of the stage's template; `-` reads stdin
    #[arg(long, value_name = "TEXT|-")]
    prompt: Option<String>,
    /// Higher goes first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// Two requests with one key are one job
    #[arg(long)]
    key: Option<String>,
}

/// Which jobs `orch jobs` shows.
#[derive(Args, Clone, Debug)]
#[group(skip)] // its name is the command's too
pub(crate) struct List {
    /// Only of this status
    #[arg(long, short, value_parser = Status::ALL.map(Status::as_str))]
    status: Option<String>,
    /// Only ids below this: the next page
    #[arg(long, value_name = "ID")]
    before: Option<i64>,
    /// At most this many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Reads a job's id as people type it.
pub(crate) fn parse_id(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "a job's id is a number: `orch jobs` lists them")
}

/// `orch enqueue`.
pub(crate) async fn enqueue(access: &SchedulerAccess, ask: Enqueue, output: Output) -> Result<(), Failure> {
    let prompt = match ask.prompt.as_deref() {
        Some("-") => Some(stdin()?),
        Some(_) | None => ask.prompt,
    };
    let request = v1::EnqueueRequest {
        project: ask.project,
        stage: ask.stage,
        work_item: ask.work_item,
        prompt,
        priority: ask.priority,
        key: ask.key,
    };
    let admin = access.open()?;
    let reply = admin.ask(admin.client().enqueue(request)).await?;
    output.show(&reply, |_| {
        let id = reply.id;
        let fact = if reply.created { "is queued" } else { "was there already under this key" };
        format!("job {id} {fact}; follow it with `orch logs -f {id}`\n")
    })
}

/// `orch jobs`.
pub(crate) async fn list(
    access: &SchedulerAccess,
    list: List,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let admin = access.open()?;
    let request = v1::ListJobsRequest {
        status: list.status,
        before: list.before,
        limit: list.limit,
        ..v1::ListJobsRequest::default()
    };
    let reply = admin.ask(admin.client().list_jobs(request)).await?;
    output.show(&reply, |paint| job_table(&reply.jobs, paint, now))
}

/// `orch job ID`.
pub(crate) async fn show(
    access: &SchedulerAccess,
    id: i64,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let admin = access.open()?;
    let detail = admin.ask(admin.client().get_job(v1::GetJobRequest { id })).await?;
    output.show(&detail, |paint| detail_text(&detail, paint, now))
}

/// `orch why ID`.
pub(crate) async fn why(
    access: &SchedulerAccess,
    id: i64,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let admin = access.open()?;
    let detail = admin.ask(admin.client().get_job(v1::GetJobRequest { id })).await?;
    output.show(&detail, |paint| explanation(&detail, now) + &conditions(&detail, paint))
}

/// `orch cancel ID`.
pub(crate) async fn cancel(access: &SchedulerAccess, id: i64, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().cancel_job(v1::CancelJobRequest { id })).await?;
    output.show(&reply, |_| match &reply.job {
        Some(job) if job.status == "running" => {
            format!("job {id} is being ended; `orch job {id}` shows when it is over\n")
        }
        Some(_) | None => format!("job {id} is cancelled\n"),
    })
}

/// `orch retry ID`.
pub(crate) async fn retry(access: &SchedulerAccess, id: i64, output: Output) -> Result<(), Failure> {
    let admin = access.open()?;
    let reply = admin.ask(admin.client().retry_job(v1::RetryJobRequest { id })).await?;
    output.show(&reply, |_| format!("job {id} is queued again, its budgets are reset\n"))
}

/// Jobs as a table.
pub(crate) fn job_table(jobs: &[v1::Job], paint: Paint, now: Timestamp) -> String {
    let rows = jobs.iter().map(|job| {
        vec![
            Cell::from(job.id.to_string()),
            paint.state(&job.status),
            Cell::from(&job.project),
            Cell::from(&job.work_item),
            Cell::from(&job.stage),
            Cell::from(spent(job)),
            Cell::from(when(&job.updated_at, now)),
            Cell::from(note(job, now)),
        ]
    });
    let head = ["JOB", "STATUS", "PROJECT", "WORK ITEM", "STAGE", "SPENT", "CHANGED", "NOTE"];
    table(&head, rows.collect(), "no jobs")
}

/// What is spent of the three budgets: failing tries, limits, lost runners.
fn spent(job: &v1::Job) -> String {
    format!("{}/{}/{}", job.attempts, job.transient_attempts, job.infra_attempts)
}

/// What a job's row says of it beside its facts.
pub(crate) fn note(job: &v1::Job, now: Timestamp) -> String {
    if let Some(waiting) = &job.waiting {
        let until = waiting.until.as_deref().map(|until| format!(", {}", when(until, now)));
        return format!("{}{}", waiting.reason, until.unwrap_or_default());
    }
    if let Some(failure) = &job.failure {
        return failure.clone();
    }
    if job.cancel_requested_at.is_some() {
        return "being cancelled".to_owned();
    }
    job.run_id.as_deref().map(|run| format!("run {run}")).unwrap_or_default()
}

fn detail_text(detail: &v1::JobDetail, paint: Paint, now: Timestamp) -> String {
    let Some(job) = &detail.job else { return String::new() };
    let mut rows = vec![
        ("job", Cell::from(job.id.to_string())),
        ("status", paint.state(&job.status)),
        ("project", Cell::from(&job.project)),
        ("work item", Cell::from(&job.work_item)),
        ("stage", Cell::from(format!("{} ({})", job.stage, job.role))),
        ("created", Cell::from(when(&job.created_at, now))),
        (
            "spent",
            Cell::from(format!(
                "{} failing tries, {} limits, {} lost runners",
                job.attempts, job.transient_attempts, job.infra_attempts
            )),
        ),
    ];
    if job.priority != 0 {
        rows.push(("priority", Cell::from(job.priority.to_string())));
    }
    if detail.tokens_saved > 0 {
        let saved = format!("{} tokens, by going on with what earlier runs had begun", detail.tokens_saved);
        rows.push(("saved", Cell::from(saved)));
    }
    let note = note(job, now);
    if !note.is_empty() {
        rows.push(("note", Cell::from(note)));
    }
    let budgets = match detail.budgets.as_slice() {
        [] => String::new(),
        budgets => "\n".to_owned() + &budgets::budget_table(budgets),
    };
    let runs = detail.runs.iter().map(|run| {
        let cost = run.cost_usd.map(|cost| format!("${cost:.4}"));
        let exit =
            run.exit_code.map(|code| if code < 0 { format!("signal {}", -code) } else { code.to_string() });
        vec![
            Cell::from(&run.run_id),
            Cell::from(run.class.as_deref().unwrap_or(&run.state)),
            Cell::from(run.reason.as_deref().unwrap_or_default()),
            Cell::from(when(
                run.ended_at.as_deref().or(run.started_at.as_deref()).unwrap_or(&run.offered_at),
                now,
            )),
            Cell::from(exit.unwrap_or_default()),
            Cell::from(cost.unwrap_or_default()),
            Cell::from(run.turns.map(|turns| turns.to_string()).unwrap_or_default()),
            Cell::from(run.api_retries.to_string()),
            Cell::from(&run.runner),
            Cell::from(session(run)),
        ]
    });
    let head = ["RUN", "RESULT", "REASON", "WHEN", "EXIT", "COST", "TURNS", "RETRIES", "RUNNER", "SESSION"];
    let late = detail.late_outcomes.iter().map(|late| {
        let (run, class) = (&late.run_id, &late.class);
        let at = when(&late.received_at, now);
        plain(&format!("run {run} reported {class} after it was given up, {at}: kept, not applied")) + "\n"
    });
    let late: String = late.collect();
    let tries = table(&head, runs.collect(), "it has not run yet");
    format!("{}\n{tries}{}{late}{budgets}", facts(rows), steps(detail, paint))
}

/// What became of the steps after the agent of the newest run that had some.
fn steps(detail: &v1::JobDetail, paint: Paint) -> String {
    let Some(run) = detail.runs.iter().rev().find(|run| !run.steps.is_empty()) else { return String::new() };
    let rows = run.steps.iter().map(|step| {
        vec![
            Cell::from(&step.step),
            paint.state(&step.state),
            Cell::from(step.reason.as_deref().unwrap_or_default()),
            Cell::from(step_facts(step)),
        ]
    });
    let head = ["STEP", "STATE", "REASON", "FACTS"];
    format!("\nafter the agent of run {}\n{}", run.run_id, table(&head, rows.collect(), ""))
}

/// What a step left on the forge, or the last line of what it was told.
fn step_facts(step: &v1::Step) -> String {
    let opened = step.url.as_deref().filter(|url| !url.is_empty());
    if let Some(url) = opened {
        return url.to_owned();
    }
    match (&step.branch, &step.head) {
        (Some(branch), Some(head)) => format!("{branch} at {head}"),
        (_, _) => plain(step.evidence.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default()),
    }
}

/// The run's session, and whether it went on with it or was refused it.
fn session(run: &v1::Run) -> String {
    match (&run.session_id, &run.resumed_session) {
        (Some(session), Some(resumed)) if session == resumed => format!("{session} (resumed)"),
        (Some(session), _) => session.clone(),
        (None, Some(resumed)) => format!("{resumed} (to be resumed)"),
        (None, None) => String::new(),
    }
}

/// Why a job is where it is, and what to do.
pub(crate) fn explanation(detail: &v1::JobDetail, now: Timestamp) -> String {
    let Some(job) = &detail.job else { return String::new() };
    let id = job.id;
    let last = detail.runs.last();
    let text = match job.status.as_str() {
        "queued" => match &job.waiting {
            Some(waiting) => {
                let until =
                    waiting.until.as_deref().map(|until| format!(" until {until} ({})", when(until, now)));
                format!("job {id} waits{}: {}", until.unwrap_or_default(), waiting.reason)
            }
            None => format!(
                "job {id} is due and starts when the scheduler next looks at it; `orch runners` shows who could run it"
            ),
        },
        "running" => {
            let runner = last.map(|run| format!(" on {}", run.runner)).unwrap_or_default();
            let ending =
                if job.cancel_requested_at.is_some() { ", and is being ended on request" } else { "" };
            format!("job {id} runs{runner}{ending}; `orch logs -f {id}` shows it")
        }
        "failed" => {
            let evidence = last.and_then(|run| run.evidence.as_deref()).map(|line| format!(" ({line})"));
            let failure = job.failure.as_deref().unwrap_or("no reason was kept");
            format!(
                "job {id} failed: {failure}{}; `orch logs {id}` shows what it printed, `orch retry {id}` queues it again",
                evidence.unwrap_or_default()
            )
        }
        "cancelled" => format!("job {id} was cancelled; `orch retry {id}` queues it again"),
        status => format!("job {id} is {status}"),
    };
    plain(&text) + "\n"
}

/// What a queued job has to pass before it starts, which of that holds it, and what ends the wait.
fn conditions(detail: &v1::JobDetail, paint: Paint) -> String {
    let Some(why) = &detail.why else { return String::new() };
    let rows = why.conditions.iter().map(|one| vec![paint.state(&one.state), Cell::from(&one.text)]);
    format!(
        "it goes on {}\n\n{}",
        plain(&why.ends),
        table(&["STATE", "CONDITION"], rows.collect(), "no conditions")
    )
}

fn stdin() -> Result<String, Failure> {
    let mut prompt = String::new();
    let read = std::io::stdin().lock().take(PROMPT_BYTES_MAX + 1).read_to_string(&mut prompt);
    read.map_err(|error| Failure::Usage(format!("could not read the prompt from stdin: {error}")))?;
    if prompt.len() as u64 > PROMPT_BYTES_MAX {
        return Err(Failure::Usage(format!("the prompt has more than {PROMPT_BYTES_MAX} bytes")));
    }
    if prompt.trim().is_empty() {
        return Err(Failure::Usage("the prompt on stdin is empty".to_owned()));
    }
    Ok(prompt)
}

#[cfg(test)]
mod tests;
