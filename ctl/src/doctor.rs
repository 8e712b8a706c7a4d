//! `orch doctor`: rows that break an invariant, and whatever else keeps jobs from running.
//!
//! It opens the database for reading and mends nothing. Only a broken invariant makes it exit 1.

use std::time::Duration;

use clap::Args;
use domain::Timestamp;
use domain::outbox::{Sink, SinkRecord};
use domain::pipeline::Pipeline;
use domain::retention::Kept;
use domain::term::Term;
use proto::v1;
use serde::Serialize;
use service::Clock;
use service::settings::{DatabaseSettings, PipelineSettings};
use store::{Access, Violation};

use crate::admin::SchedulerAccess;
use crate::exit::{Failure, with_causes};
use crate::print::{Cell, Output, Paint, table};

/// How long after its end a term still counts, since clocks differ.
const TERM_LATE_MAX: Duration = Duration::from_secs(30);
/// How long the scheduler may take.
const SCHEDULER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the doctor looks.
#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    pipeline: PipelineSettings,
    #[command(flatten)]
    access: SchedulerAccess,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// No invariant is broken, as far as the database could be read.
    ok: bool,
    checks: Vec<Check>,
    violations: Vec<Broken>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Check {
    name: &'static str,
    /// `ok`, `warning`, `broken`.
    status: &'static str,
    detail: String,
}

#[derive(Debug, PartialEq, Serialize)]
struct Broken {
    invariant: &'static str,
    detail: String,
}

/// `orch doctor`.
pub(crate) async fn run(ask: &Doctor, output: Output) -> Result<(), Failure> {
    let mut report = Report::default();
    let read = database(ask, &mut report).await;
    report.checks.push(config(&ask.pipeline));
    scheduler(&ask.access, &mut report.checks).await;
    report.ok = read.is_ok() && report.violations.is_empty();
    output.show(&report, |paint| shown(&report, paint))?;
    read?;
    match report.violations.len() {
        0 => Ok(()),
        1 => Err(Failure::No("one invariant is broken".to_owned())),
        count => Err(Failure::No(format!("{count} invariants are broken"))),
    }
}

async fn database(ask: &Doctor, report: &mut Report) -> Result<(), Failure> {
    let url = &ask.database.database_url;
    match look(url.expose()).await {
        Ok(Found { violations, size, sinks, kept, term }) => {
            report.checks.push(Check {
                name: "database",
                status: if violations.is_empty() { "ok" } else { "broken" },
                detail: format!("{url}, {size}, {} rows break an invariant", violations.len()),
            });
            report.violations = violations
                .into_iter()
                .map(|Violation { invariant, detail }| Broken { invariant, detail })
                .collect();
            report.checks.push(retention(&kept));
            report.checks.push(alerts(&sinks));
            report.checks.extend(term.map(|term| lead(&term, Timestamp::from_ms(Clock::system().now_ms()))));
            Ok(())
        }
        Err(error) => {
            let detail = format!("{url}: {}", with_causes(&error));
            report.checks.push(Check { name: "database", status: "warning", detail });
            Err(match error {
                store::Error::Unavailable(_) => Failure::Unreachable(format!(
                    "could not read {url}; `orch migrate` creates it, ORCH_DATABASE_URL says where it is"
                )),
                store::Error::Newer { .. }
                | store::Error::Older { .. }
                | store::Error::Setup(_)
                | store::Error::Corrupt(_)
                | store::Error::Closed => Failure::from(error),
            })
        }
    }
}

/// What is read of the database.
struct Found {
    violations: Vec<Violation>,
    size: String,
    sinks: Vec<SinkRecord>,
    kept: Kept,
    /// Where several schedulers may share the database.
    term: Option<Term>,
}

async fn look(url: &str) -> Result<Found, store::Error> {
    let store = store::open(url, Access::Read).await?;
    let looked = async {
        let schema = store.schema().await?;
        if schema.found < schema.needed {
            return Err(store::Error::Older { found: schema.found, needed: schema.needed });
        }
        let violations = store.violations().await?;
        let stats = store.stats().await?;
        let size = format!("{} bytes and {} in its log", stats.file_bytes, stats.wal_bytes);
        let term = if store::is_postgres(url) { Some(store.term().await?) } else { None };
        Ok(Found { violations, size, sinks: store.sinks().await?, kept: store.kept(0).await?, term })
    };
    let result = looked.await;
    store.close().await;
    result
}

/// Says how far back what is over is kept.
fn retention(kept: &Kept) -> Check {
    let since = |at: Option<domain::Timestamp>| at.map_or_else(String::new, |at| format!(" since {at}"));
    let detail = format!(
        "{} finished jobs are kept{}, {} are forgotten; repeated webhooks are known{}",
        kept.finished,
        since(kept.oldest_finished_at),
        kept.forgotten,
        since(kept.oldest_delivery_at),
    );
    Check { name: "retention", status: "ok", detail }
}

/// Who does what is done once for all schedulers. Whether the term is over is told by two hosts' clocks, so a little late.
fn lead(term: &Term, now: Timestamp) -> Check {
    let (status, detail) = match &term.holder {
        Some(holder) if now.since(term.deadline) < TERM_LATE_MAX => {
            ("ok", format!("scheduler {holder} leads, term {}, until {}", term.number, term.deadline))
        }
        Some(holder) => (
            "warning",
            format!("no scheduler leads since {}: {holder} did last; see whether any runs", term.deadline),
        ),
        None => ("warning", "no scheduler leads: start one".to_owned()),
    };
    Check { name: "lead", status, detail }
}

/// Names every sink that does not take the alerts it is sent.
fn alerts(sinks: &[SinkRecord]) -> Check {
    let mut problems = Vec::new();
    for record in sinks {
        let (sink, pending) = (record.sink.as_str(), record.pending);
        match (&record.last_error, record.sink) {
            (Some(error), _) => problems.push(format!("{sink} fails, {pending} messages wait: {error}")),
            (None, Sink::Unrouted) if pending > 0 => problems.push(format!(
                "{pending} alerts wait for a sink: set ORCH_TELEGRAM_BOT_TOKEN and ORCH_TELEGRAM_CHAT_ID, \
                 ORCH_ALERT_WEBHOOK_URL or ORCH_ALERT_DRY_RUN"
            )),
            (None, _) => {}
        }
        if let Some(error) = &record.set_aside_error {
            problems.push(format!("{sink} refused {} messages for good: {error}", record.set_aside));
        }
    }
    let status = if problems.is_empty() { "ok" } else { "warning" };
    if problems.is_empty() {
        problems.push("none waits for a sink that fails".to_owned());
    }
    Check { name: "alerts", status, detail: problems.join("; ") }
}

fn config(settings: &PipelineSettings) -> Check {
    let file = settings.config.display();
    let (status, detail) = match std::fs::read_to_string(&settings.config) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ("ok", format!("there is no {file}: the built-in pipeline holds, without any project"))
        }
        Err(error) => ("warning", format!("could not read {file}: {error}")),
        Ok(text) => match domain::pipeline::parse(&text) {
            Ok(Pipeline { projects, stages, triggers, .. }) => {
                let counts = (projects.len(), stages.len(), triggers.len());
                ("ok", format!("{file}: {} projects, {} stages, {} triggers", counts.0, counts.1, counts.2))
            }
            Err(error) => ("warning", format!("{file} would be refused: {error}")),
        },
    };
    Check { name: "config", status, detail }
}

async fn scheduler(access: &SchedulerAccess, checks: &mut Vec<Check>) {
    let warning = |name, detail| Check { name, status: "warning", detail };
    let asked = async {
        let admin = access.open()?;
        admin.ask(admin.client().get_queue(v1::GetQueueRequest {})).await
    };
    let queue = match tokio::time::timeout(SCHEDULER_TIMEOUT, asked).await {
        Ok(Ok(queue)) => queue,
        Ok(Err(failure)) => return checks.push(warning("scheduler", failure.to_string())),
        Err(_elapsed) => return checks.push(warning("scheduler", "it did not answer in time".to_owned())),
    };
    checks.push(if queue.paused {
        warning("scheduler", "paused: nothing starts until `orch resume`".to_owned())
    } else {
        Check { name: "scheduler", status: "ok", detail: "it answers".to_owned() }
    });
    if queue.runners.is_empty() {
        checks.push(warning("runners", "none has registered: jobs wait until `orch-runner` runs".to_owned()));
    }
    let preflights = queue.resilience.map(|resilience| resilience.preflight).unwrap_or_default();
    for runner in queue.runners {
        let preflight = preflights.iter().find(|preflight| preflight.runner == runner.id);
        let ready = runner.state == "ready" && preflight.is_some_and(|preflight| preflight.ok);
        let agent = match preflight {
            Some(preflight) if preflight.ok => preflight.version.clone().unwrap_or_default(),
            Some(preflight) => {
                preflight.error.clone().unwrap_or_else(|| "its agent did not answer".to_owned())
            }
            None => "its agent was not looked at yet".to_owned(),
        };
        let status = if ready { "ok" } else { "warning" };
        let detail = format!(
            "{} is {}, {} of {} slots busy: {agent}",
            runner.id, runner.state, runner.busy, runner.slots
        );
        checks.push(Check { name: "runner", status, detail });
    }
}

fn shown(report: &Report, paint: Paint) -> String {
    let checks = report
        .checks
        .iter()
        .map(|check| vec![paint.state(check.status), Cell::from(check.name), Cell::from(&check.detail)]);
    let broken =
        report.violations.iter().map(|broken| vec![Cell::from(broken.invariant), Cell::from(&broken.detail)]);
    let mut text = table(&["", "CHECK", "FOUND"], checks.collect(), "");
    if !report.violations.is_empty() {
        text.push('\n');
        text.push_str(&table(&["BROKEN", "ROW"], broken.collect(), ""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leads_is_named_and_that_nobody_does() {
        let now = Timestamp::from_ms(1_795_312_800_000);
        let held = Term { holder: Some("a:7070/1".to_owned()), number: 3, beat: 9, deadline: now };
        let said = |term: &Term, at| {
            let check = lead(term, at);
            (check.status, check.detail)
        };
        let leads = "scheduler a:7070/1 leads, term 3, until 2026-11-22T02:00:00.000Z".to_owned();
        assert_eq!(said(&held, now.plus(Duration::from_secs(29))), ("ok", leads));
        assert_eq!(said(&held, now.plus(TERM_LATE_MAX)).0, "warning");
        let nobody = "no scheduler leads: start one".to_owned();
        assert_eq!(said(&Term { holder: None, ..held }, now), ("warning", nobody));
    }

    #[test]
    fn a_sink_that_fails_is_named() {
        let record = |sink, pending, last_error: Option<&str>| {
            let last_error = last_error.map(str::to_owned);
            SinkRecord { pending, last_error, ..SinkRecord::empty(sink) }
        };
        let said = |records: &[SinkRecord]| {
            let check = alerts(records);
            (check.status, check.detail)
        };
        assert_eq!(said(&[record(Sink::Webhook, 2, None)]).0, "ok");
        let failing = record(Sink::Telegram, 3, Some("401 Unauthorized: Unauthorized"));
        let refused = SinkRecord { set_aside: 1, set_aside_error: Some("too long".to_owned()), ..failing };
        assert_eq!(
            said(&[refused]),
            (
                "warning",
                "telegram fails, 3 messages wait: 401 Unauthorized: Unauthorized; telegram refused 1 messages for good: too long"
                    .to_owned()
            )
        );
        let (status, detail) = said(&[record(Sink::Unrouted, 1, None)]);
        assert!(
            status == "warning" && detail.starts_with("1 alerts wait for a sink: set ORCH_TELEGRAM"),
            "{detail}"
        );
    }
}
