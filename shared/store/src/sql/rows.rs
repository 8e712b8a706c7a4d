//! Domain values from rows, and rows of parameters as JSON.

use domain::account::{AccountRecord, Hold, HoldReason};
use domain::admission::Waiting;
use domain::breaker::{Breaker, Opening};
use domain::budget::{Amount, Purse, Scope, Spending};
use domain::job::{JobKind, LiveRunState, Origin};
use domain::overview::{LateOutcome, ReaperRecord, RunTally, WaitingJob};
use domain::resume::LastTry;
use domain::run::RunUsage;
use domain::runner::{Node, NodeState, Preflight};
use domain::sighting::{Aspect, Seen, Sighting, SightingName, Teller};
use domain::work_item::{ItemState, Standing, WorkItem};
use domain::{
    Account, Budgets, Epoch, Incarnation, Job, JobId, JobState, NodeId, Run, RunId, RunState, Status,
    Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::{Column, Row};
use crate::{Briefing, Error, Spender};

/// The rows of one multi-row statement, bound as one JSON array and read by `json_each`.
#[derive(Debug)]
pub(super) struct JsonRows {
    text: Vec<u8>,
    rows: usize,
}

impl JsonRows {
    pub(super) fn new() -> Self {
        Self { text: b"[".to_vec(), rows: 0 }
    }

    pub(super) fn push(&mut self, row: &impl Serialize) -> Result<(), Error> {
        if self.rows > 0 {
            self.text.push(b',');
        }
        self.rows += 1;
        serde_json::to_writer(&mut self.text, row).map_err(|error| Error::Corrupt(error.to_string()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The whole array as text.
    pub(super) fn into_text(mut self) -> Result<String, Error> {
        self.text.push(b']');
        String::from_utf8(self.text).map_err(|error| Error::Corrupt(error.to_string()))
    }
}

/// Reads one column.
pub(super) fn get<'r, T>(row: &'r Row, column: &'static str) -> Result<T, Error>
where
    T: Column<'r>,
{
    row.try_get(column).map_err(Error::from)
}

pub(super) fn at(row: &Row, column: &'static str) -> Result<Timestamp, Error> {
    get(row, column).map(Timestamp::from_ms)
}

pub(super) fn at_maybe(row: &Row, column: &'static str) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_ms))
}

pub(super) fn word<T>(row: &Row, column: &'static str, parse: fn(&str) -> Option<T>) -> Result<T, Error> {
    let word: &str = get(row, column)?;
    parse(word).ok_or_else(|| Error::Corrupt(format!("{column} says {word:?}")))
}

pub(super) fn small<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T, Error> {
    number(column, get(row, column)?)
}

fn small_maybe<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<Option<T>, Error> {
    get::<Option<i64>>(row, column)?.map(|value| number(column, value)).transpose()
}

fn number<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::Corrupt(format!("{column} says {value}")))
}

pub(super) fn json<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt(format!("{what}: {error}")))
}

/// A value as the JSON text that a column or a parameter holds.
pub(super) fn text_of(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Corrupt(error.to_string()))
}

pub(crate) fn run_id(text: &str) -> Result<RunId, Error> {
    uuid::Uuid::parse_str(text)
        .map(RunId)
        .map_err(|error| Error::Corrupt(format!("run id {text:?}: {error}")))
}

/// Says that a row made by force is left out.
pub(super) fn warn_unreadable(row: &Row, problem: &impl std::fmt::Display) {
    let id = row.try_get::<i64, _>("id").unwrap_or_default();
    tracing::warn!(job.id = id, %problem, "a job's row contradicts itself and is left out: see `orch doctor`");
}

/// Reads a job; the row has a `run_state` column beside those of `jobs`.
pub(super) fn job(row: &Row) -> Result<Job, Error> {
    let state = match word(row, "status", Status::parse)? {
        Status::Queued => JobState::Queued { available_at: at(row, "available_at")? },
        Status::Running => JobState::Running {
            run: run_id(get(row, "run_id")?)?,
            run_state: word(row, "run_state", live_run_state)?,
            cancel_requested_at: at_maybe(row, "cancel_requested_at")?,
        },
        Status::Done => JobState::Done { finished_at: at(row, "finished_at")? },
        Status::Failed => {
            JobState::Failed { finished_at: at(row, "finished_at")?, reason: get(row, "failure_reason")? }
        }
        Status::Cancelled => JobState::Cancelled { finished_at: at(row, "finished_at")? },
    };
    job_in(row, state)
}

/// Reads a job with what its agent is told.
pub(super) fn briefing(row: &Row) -> Result<Briefing, Error> {
    let payload = get::<Option<&str>>(row, "payload")?.map(|text| json("payload", text)).transpose()?;
    let standing: Option<&str> = get(row, "standing")?;
    let standing = standing.map(|_| word(row, "standing", Standing::parse)).transpose()?;
    Ok(Briefing {
        job: job(row)?,
        payload: payload.unwrap_or_default(),
        standing: standing.unwrap_or_default(),
    })
}

/// Reads a job that the statement's condition says is queued.
pub(super) fn queued_job(row: &Row) -> Result<Job, Error> {
    let available_at = at(row, "available_at")?;
    job_in(row, JobState::Queued { available_at })
}

fn job_in(row: &Row, state: JobState) -> Result<Job, Error> {
    Ok(Job {
        id: JobId(get(row, "id")?),
        project: get(row, "project")?,
        work_item: get(row, "work_item")?,
        stage: get(row, "stage")?,
        role: get(row, "role")?,
        priority: small(row, "priority")?,
        budgets: Budgets {
            attempts: small(row, "attempts")?,
            transient_attempts: small(row, "transient_attempts")?,
            infra_attempts: small(row, "infra_attempts")?,
        },
        epoch: Epoch(get(row, "epoch")?),
        revision: get(row, "revision")?,
        state,
        created_at: at(row, "created_at")?,
        updated_at: at(row, "updated_at")?,
        trace_context: get(row, "trace_context")?,
        origin: Origin {
            kind: word(row, "kind", JobKind::parse)?,
            parent: get::<Option<i64>>(row, "parent_job")?.map(JobId),
            delivery: get(row, "delivery")?,
            hops: small(row, "hops")?,
            head: get(row, "head")?,
            replaces: get::<Option<i64>>(row, "replaces")?.map(JobId),
            chain: get(row, "chain")?,
        },
    })
}

/// Reads a work item.
pub(super) fn work_item(row: &Row) -> Result<WorkItem, Error> {
    let (needs, waits) = (get::<Option<&str>>(row, "needs")?, get::<Option<&str>>(row, "waits")?);
    let state = match (get(row, "state")?, needs, waits) {
        ("active", None, None) => ItemState::Active,
        ("waits_for_ci", None, Some(waits)) => ItemState::WaitsForCi(Box::new(json("waits", waits)?)),
        ("needs_you", Some(needs), None) => ItemState::NeedsYou(Box::new(json("needs", needs)?)),
        ("done", None, None) => ItemState::Done,
        ("cancelled", None, None) => ItemState::Cancelled,
        (state, needs, waits) => {
            return Err(Error::Corrupt(format!(
                "a work item's state says {state:?}, its needs {needs:?}, its waits {waits:?}"
            )));
        }
    };
    Ok(WorkItem {
        project: get(row, "project")?,
        key: get(row, "key")?,
        title: get(row, "title")?,
        stage: get(row, "stage")?,
        state,
        head: get(row, "head")?,
        bounces: json("bounces", get(row, "bounces")?)?,
        hops: small(row, "hops")?,
        standing: word(row, "standing", Standing::parse)?,
        ended_because: get(row, "ended_because")?,
        chain: get(row, "chain")?,
        revision: get(row, "revision")?,
        created_at: at(row, "created_at")?,
        updated_at: at(row, "updated_at")?,
    })
}

/// Reads a sighting.
pub(super) fn seen(row: &Row) -> Result<Seen, Error> {
    Ok(Seen {
        project: get(row, "project")?,
        sighting: Sighting {
            name: SightingName { subject: get(row, "subject")?, aspect: word(row, "aspect", Aspect::parse)? },
            value: get(row, "value")?,
            words: json("words", get(row, "words")?)?,
            version: at_maybe(row, "version")?,
            own: get(row, "own")?,
        },
        teller: word(row, "teller", Teller::parse)?,
        at: at(row, "at")?,
    })
}

/// A live run's state; `None` for `ended`, which a running job's run never is.
fn live_run_state(word: &str) -> Option<LiveRunState> {
    match RunState::parse(word)? {
        RunState::Offered => Some(LiveRunState::Offered),
        RunState::Started => Some(LiveRunState::Started),
        RunState::Ended => None,
    }
}

/// The last decision beside a job: columns `decision` and `decision_until`.
pub(super) fn decision(row: &Row) -> Result<Option<Waiting>, Error> {
    let Some(reason) = get::<Option<&str>>(row, "decision")? else {
        return Ok(None);
    };
    Ok(Some(Waiting { reason: json("decision", reason)?, until: at_maybe(row, "decision_until")? }))
}

/// The job's last try that says anything about its conversation: column `last_try`.
pub(super) fn last_try(row: &Row) -> Result<Option<LastTry>, Error> {
    one_try(row, "last_try")
}

/// The run that a turn which asks for the form alone asks about: column `asked_about`.
pub(super) fn asked_about(row: &Row) -> Result<Option<LastTry>, Error> {
    one_try(row, "asked_about")
}

fn one_try(row: &Row, column: &'static str) -> Result<Option<LastTry>, Error> {
    let Some(text) = get::<Option<&str>>(row, column)? else { return Ok(None) };
    let (class, reason, session, node, account) = json(column, text)?;
    Ok(Some(LastTry { class, reason, session, node, account }))
}

/// Reads a job with why it waits; columns `paused`, `decision` and `decision_until` beside those of [`job`].
pub(super) fn waiting_job(row: &Row) -> Result<WaitingJob, Error> {
    let fleet = get::<Option<&str>>(row, "fleet_waits")?.map(fleet).transpose()?;
    Ok(WaitingJob::new(job(row)?, get(row, "due")?, get(row, "paused")?, decision(row)?, fleet))
}

pub(super) fn run(row: &Row) -> Result<Run, Error> {
    Ok(Run {
        id: run_id(get(row, "id")?)?,
        job: JobId(get(row, "job_id")?),
        epoch: Epoch(get(row, "epoch")?),
        node: NodeId(get(row, "node")?),
        incarnation: Incarnation(get(row, "incarnation")?),
        account: Account(get(row, "account")?),
        opening: Opening(get(row, "opening")?),
        probe: get(row, "probe")?,
        state: word(row, "state", RunState::parse)?,
        offered_at: at(row, "offered_at")?,
        started_at: at_maybe(row, "started_at")?,
        ended_at: at_maybe(row, "ended_at")?,
        class: get(row, "class")?,
        reason: get(row, "reason")?,
        evidence: get(row, "evidence")?,
        resumed_session: get(row, "resumed_session")?,
        usage: RunUsage {
            session_id: get(row, "session_id")?,
            cost_usd: get(row, "cost_usd")?,
            turns: small_maybe(row, "turns")?,
            input_tokens: small_maybe(row, "input_tokens")?,
            output_tokens: small_maybe(row, "output_tokens")?,
            cache_read_tokens: small_maybe(row, "cache_read_tokens")?,
            api_retries: small(row, "api_retries")?,
        },
        exit_code: small_maybe(row, "exit_code")?,
        tail: get(row, "tail")?,
        aside: aside(row)?,
        stop: get::<Option<&str>>(row, "stop")?.map(|stop| json("stop", stop)).transpose()?,
        log_bytes: small(row, "log_bytes")?,
        steps: json("steps", get(row, "steps")?)?,
    })
}

/// What was set aside for a run; a run of its own where it has not started, for those are counted at the start.
fn aside(row: &Row) -> Result<Amount, Error> {
    let runs = i64::from(get::<&str>(row, "state")? == RunState::Offered.as_str());
    Ok(Amount { usd_micros: get(row, "aside_usd_micros")?, tokens: get(row, "aside_tokens")?, runs })
}

/// Reads a run that lives, with whose spending it is.
pub(super) fn spender(row: &Row) -> Result<Spender, Error> {
    let usage = RunUsage {
        cost_usd: get(row, "cost_usd")?,
        input_tokens: small_maybe(row, "input_tokens")?,
        output_tokens: small_maybe(row, "output_tokens")?,
        ..RunUsage::default()
    };
    Ok(Spender {
        run: run_id(get(row, "run_id")?)?,
        job: JobId(get(row, "job_id")?),
        project: get(row, "project")?,
        work_item: get(row, "work_item")?,
        chain: get(row, "chain")?,
        account: Account(get(row, "account")?),
        aside: aside(row)?,
        used: Amount::of_usage(&usage),
        stop: get::<Option<&str>>(row, "stop")?.map(|stop| json("stop", stop)).transpose()?,
    })
}

pub(super) fn spending(row: &Row) -> Result<(Purse, Spending), Error> {
    let amount = |usd, tokens, runs| -> Result<Amount, Error> {
        Ok(Amount { usd_micros: get(row, usd)?, tokens: get(row, tokens)?, runs: get(row, runs)? })
    };
    let purse = Purse { scope: word(row, "scope", Scope::parse)?, key: get(row, "key")? };
    let spending = Spending {
        spent: amount("usd_micros", "tokens", "runs")?,
        raised: amount("raised_usd_micros", "raised_tokens", "raised_runs")?,
        at_last_pass: amount("pass_usd_micros", "pass_tokens", "pass_runs")?,
    };
    Ok((purse, spending))
}

pub(super) fn late_outcome(row: &Row) -> Result<LateOutcome, Error> {
    Ok(LateOutcome {
        run: run_id(get(row, "run_id")?)?,
        outcome: json("outcome", get(row, "outcome")?)?,
        received_at: at(row, "received_at")?,
    })
}

pub(super) fn tally(row: &Row) -> Result<RunTally, Error> {
    Ok(RunTally {
        class: get(row, "class")?,
        reason: get(row, "reason")?,
        runs: small(row, "runs")?,
        cost_usd: get(row, "cost_usd")?,
        input_tokens: small(row, "input_tokens")?,
        output_tokens: small(row, "output_tokens")?,
    })
}

pub(super) fn node(row: &Row) -> Result<Node, Error> {
    Ok(Node {
        id: NodeId(get(row, "id")?),
        incarnation: Incarnation(get(row, "incarnation")?),
        boot_id: get(row, "boot_id")?,
        advertise_url: get(row, "advertise_url")?,
        state: word(row, "state", NodeState::parse)?,
        slots: small(row, "slots")?,
        labels: json("labels", get(row, "labels")?)?,
        account: Account(get(row, "account")?),
        preflight: Preflight {
            ok: get(row, "preflight_ok")?,
            version: get(row, "preflight_version")?,
            checked_at: at(row, "preflight_checked_at")?,
            error: get(row, "preflight_error")?,
            program: get(row, "preflight_program")?,
            note: get(row, "preflight_note")?,
        },
        containment: json("containment", get(row, "containment")?)?,
        last_seen_at: at(row, "last_seen_at")?,
    })
}

/// What any further job waits for, as a claim noted it.
pub(super) fn fleet(text: &str) -> Result<Waiting, Error> {
    let (reason, until) = json("fleet_waits", text)?;
    Ok(Waiting { reason, until })
}

fn hold(row: &Row) -> Result<Option<Hold>, Error> {
    let Some(reason) = get::<Option<&str>>(row, "held_reason")? else { return Ok(None) };
    let reason = HoldReason::parse(reason);
    let reason = reason.ok_or_else(|| Error::Corrupt("held_reason is none that is known".into()))?;
    Ok(Some(Hold { reason, until: at_maybe(row, "held_until")? }))
}

/// The parameters of an account's row.
pub(super) fn push_account(rows: &mut JsonRows, record: &AccountRecord, now: Timestamp) -> Result<(), Error> {
    let (hold, breaker) = (record.hold, record.breaker);
    rows.push(&(
        &record.account,
        hold.map(|hold| hold.reason),
        hold.and_then(|hold| hold.until),
        breaker.consecutive_transient,
        breaker.opening,
        breaker.open_until,
        text_of(&record.windows)?,
        now,
    ))
}

pub(super) fn account(row: &Row) -> Result<AccountRecord, Error> {
    Ok(AccountRecord {
        account: Account(get(row, "account")?),
        hold: hold(row)?,
        breaker: Breaker {
            consecutive_transient: small(row, "consecutive_transient")?,
            opening: Opening(get(row, "opening")?),
            open_until: at_maybe(row, "open_until")?,
        },
        windows: json("windows", get(row, "windows")?)?,
    })
}

pub(super) fn reaper(row: &Row) -> Result<ReaperRecord, Error> {
    Ok(ReaperRecord {
        last_tick_at: at_maybe(row, "last_tick_at")?,
        reaped_total: small(row, "reaped_total")?,
        impossible_queued_total: small(row, "impossible_queued_total")?,
        impossible_running_total: small(row, "impossible_running_total")?,
        impossible_finished_total: small(row, "impossible_finished_total")?,
        orphaned_runs_total: small(row, "orphaned_runs_total")?,
    })
}
