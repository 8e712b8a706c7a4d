//! The claim: due jobs in, runs out, in the writer's transaction.
//!
//! Reads what `domain::admission` needs to decide and writes what it decided. The heads of every project's queue
//! are read first; where they cannot start, what stands behind them is read too, so that a blocked work item or
//! stage never starves the rest of its project.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use domain::admission::{
    self, AccountHold, Admission, Candidate, Facts, LiveFacts, Serial, WaitReason, Waiting,
};
use domain::job::LiveRunState;
use domain::run::RunUsage;
use domain::transition::{Event, Offer};
use domain::{Account, Chance, Epoch, Job, JobId, JobState, NodeId, Run, RunState, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::apply;
use super::fault::Fault;
use super::rows::{self, JsonRows, json};
use crate::{Applied, Change, ClaimRequest, Claimed, Start};

/// Delayed jobs promoted by one claim; the next claim goes on.
const PROMOTED_MAX: i64 = 1_000;
/// Jobs read per project beyond those that could start, so that each says why it waits.
const HEADS_MARGIN: usize = 8;
/// Further reads behind the heads of one project; each finds at least one job that can start, or ends.
const READS_BEYOND_MAX: usize = 32;

/// Claims at most one job per run id of the request.
pub(super) async fn claim(conn: &mut SqliteConnection, request: &ClaimRequest) -> Result<Claimed, Fault> {
    let now = request.now;
    let mut facts = request.facts.clone();
    read_facts(conn, &mut facts, now).await?;
    if facts.paused {
        return Ok(Claimed::default());
    }
    sqlx::query(include_str!("sql/claim_promote.sql"))
        .bind(now.as_ms())
        .bind(PROMOTED_MAX)
        .execute(&mut *conn)
        .await?;
    let mut due = read_due(conn, &facts, room(&facts).min(request.run_ids.len())).await?;
    let admission = admission::admit(due.values().map(Due::candidate).collect(), &facts);
    start_and_note(conn, request, &facts, admission, &mut due).await
}

/// A due job and the last decision on it.
struct Due {
    job: Job,
    own_prompt: bool,
    available_at: Timestamp,
    decision: Option<Waiting>,
}

impl Due {
    fn read(row: &SqliteRow) -> Result<Self, Fault> {
        let mut job = rows::queued_job(row)?;
        // An import may have set it back; the next one must be new all the same (I4).
        job.epoch = Epoch(row.try_get("epoch_seen")?);
        let JobState::Queued { available_at } = job.state else {
            return Err(Fault::refused("a due job is not queued"));
        };
        let own_prompt = row.try_get("own_prompt")?;
        Ok(Self { job, own_prompt, available_at, decision: rows::decision(row)? })
    }

    /// Reads a job; one that cannot be read is passed by, so that the others start.
    fn readable(row: &SqliteRow) -> Option<Self> {
        Self::read(row).map_err(|fault| rows::warn_unreadable(row, &fault)).ok()
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            job: self.job.id,
            project: self.job.project.clone(),
            work_item: self.job.work_item.clone(),
            stage: self.job.stage.clone(),
            own_prompt: self.own_prompt,
            priority: self.job.priority,
            available_at: self.available_at,
        }
    }
}

async fn read_facts(conn: &mut SqliteConnection, facts: &mut Facts, now: Timestamp) -> Result<(), Fault> {
    let row = sqlx::query(include_str!("sql/claim_facts.sql")).fetch_one(conn).await?;
    facts.paused = row.try_get(0)?;
    let holds: Vec<(Account, String, Option<Timestamp>)> = json("holds", row.try_get(1)?)?;
    let holds: Vec<AccountHold> =
        holds.into_iter().map(|(account, reason, until)| AccountHold { account, reason, until }).collect();
    facts.block_held_accounts(&holds, now);
    let live: Vec<(JobId, String, String, NodeId)> = json("live runs", row.try_get(2)?)?;
    facts.live = live
        .into_iter()
        .map(|(job, project, work_item, node)| LiveFacts { job, project, work_item, node })
        .collect();
    Ok(())
}

/// How many more runs the fleet could take, whatever the jobs are.
fn room(facts: &Facts) -> usize {
    let mut free: BTreeMap<&NodeId, usize> = facts
        .nodes
        .iter()
        .filter(|node| node.blocked.is_none())
        .map(|node| (&node.node, node.slots as usize))
        .collect();
    for run in &facts.live {
        if let Some(free) = free.get_mut(&run.node) {
            *free = free.saturating_sub(1);
        }
    }
    (facts.concurrency_max as usize).saturating_sub(facts.live.len()).min(free.values().sum())
}

/// Reads the due jobs that could be among the next `want` starts, by id.
async fn read_due(
    conn: &mut SqliteConnection,
    facts: &Facts,
    want: usize,
) -> Result<BTreeMap<JobId, Due>, Fault> {
    let limit = want + HEADS_MARGIN;
    let heads = sqlx::query(include_str!("sql/claim_heads.sql"))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *conn)
        .await?;
    let mut due = BTreeMap::new();
    let mut read_of: BTreeMap<String, usize> = BTreeMap::new();
    for row in &heads {
        let project: &str = row.try_get("project")?;
        *read_of.entry(project.to_owned()).or_default() += 1;
        let Some(head) = Due::readable(row) else { continue };
        due.insert(head.job.id, head);
    }
    for (project, read) in read_of {
        // Fewer rows than asked for: there is nothing behind them.
        if read == limit {
            read_beyond(conn, facts, want, &project, &mut due).await?;
        }
    }
    Ok(due)
}

/// Reads behind the heads of `project` until as many jobs are known as could start.
async fn read_beyond(
    conn: &mut SqliteConnection,
    facts: &Facts,
    want: usize,
    project: &str,
    due: &mut BTreeMap<JobId, Due>,
) -> Result<(), Fault> {
    let Some(limits) = facts.projects.get(project) else {
        return Ok(());
    };
    let live: Vec<&LiveFacts> = facts.live.iter().filter(|run| run.project == project).collect();
    let of_project = limits.concurrency_max.map_or(usize::MAX, |max| max as usize).saturating_sub(live.len());
    let want = match limits.serial {
        Serial::None | Serial::WorkItem => want.min(of_project),
        Serial::Project => want.min(of_project).min(usize::from(live.is_empty())),
    };
    let open = OpenStages::of(facts);
    // Work items of which no further job can start: those with a live run, and those already found.
    let mut taken: BTreeSet<String> = BTreeSet::new();
    if limits.serial == Serial::WorkItem {
        taken.extend(live.iter().map(|run| run.work_item.clone()));
    }
    let mut found = 0;
    for head in due.values().filter(|head| head.job.project == project) {
        found += usize::from(can_start(head, limits.serial, &open, &mut taken));
    }
    for _ in 0..READS_BEYOND_MAX {
        if found >= want {
            return Ok(());
        }
        let beyond = sqlx::query(include_str!("sql/claim_beyond.sql"))
            .bind(project)
            .bind(text_of(&open.to_all)?)
            .bind(text_of(&taken)?)
            .bind(i64::try_from(want).unwrap_or(i64::MAX))
            .bind(text_of(&open.to_own_prompts)?)
            .fetch_all(&mut *conn)
            .await?;
        let mut fresh = 0;
        for row in &beyond {
            let Some(next) = Due::readable(row) else { continue };
            if let Entry::Vacant(place) = due.entry(next.job.id) {
                fresh += 1;
                found += usize::from(can_start(&next, limits.serial, &open, &mut taken));
                place.insert(next);
            }
        }
        if fresh == 0 || beyond.len() < want {
            return Ok(());
        }
    }
    Ok(())
}

/// The stages that nothing keeps from starting.
struct OpenStages<'a> {
    to_all: BTreeSet<&'a str>,
    /// Held up by their template alone.
    to_own_prompts: BTreeSet<&'a str>,
}

impl<'a> OpenStages<'a> {
    fn of(facts: &'a Facts) -> Self {
        let open = |own_prompt: bool| {
            let names = facts.stages.keys().map(String::as_str);
            names.filter(|name| facts.check_stage(name, own_prompt).is_ok()).collect()
        };
        Self { to_all: open(false), to_own_prompts: open(true) }
    }
}

/// Whether nothing known of the job's project keeps it from starting; takes its work item if so.
fn can_start(due: &Due, serial: Serial, open: &OpenStages<'_>, taken: &mut BTreeSet<String>) -> bool {
    let stages = if due.own_prompt { &open.to_own_prompts } else { &open.to_all };
    stages.contains(due.job.stage.as_str())
        && match serial {
            Serial::None | Serial::Project => true,
            Serial::WorkItem => taken.insert(due.job.work_item.clone()),
        }
}

fn text_of(values: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(values).map_err(|error| Fault::refused(error.to_string()))
}

/// Writes the starts and, where they changed, the reasons of the others.
async fn start_and_note(
    conn: &mut SqliteConnection,
    request: &ClaimRequest,
    facts: &Facts,
    admission: Admission,
    due: &mut BTreeMap<JobId, Due>,
) -> Result<Claimed, Fault> {
    let now = request.now;
    let (mut changes, mut starts, mut waits) = (Vec::new(), Vec::new(), admission.waits);
    let mut undecided = JsonRows::new();
    for ((id, node), run) in admission.starts.into_iter().zip(&request.run_ids) {
        let (Some(due), Some(node)) = (due.get(&id), facts.nodes.get(node)) else {
            return Err(Fault::refused(format!("job {id} was admitted without having been read")));
        };
        let offer = Offer {
            run: *run,
            node: node.node.clone(),
            incarnation: node.incarnation,
            account: node.account.clone(),
        };
        let event = Event::Claimed(offer.clone());
        match domain::next(&due.job, &event, now, &request.policy, Chance::new(0.0)) {
            Ok(transition) => {
                if due.decision.is_some() {
                    undecided.push(&id)?;
                }
                let change = Change { transition, now, outcome: None, evidence: None };
                starts.push(started(&due.job, offer, &change));
                changes.push(change);
            }
            // The wall clock stepped back since the job became due.
            Err(_) => {
                waits.push((id, Waiting { reason: WaitReason::NotDue, until: Some(due.available_at) }));
            }
        }
    }
    if !changes.is_empty() {
        let applied = apply::apply(conn, &changes.iter().collect::<Vec<_>>()).await?;
        if applied.contains(&Applied::Conflict) {
            return Err(Fault::refused("a due job moved inside the claim's own transaction"));
        }
    }
    if !undecided.is_empty() {
        let gone = undecided.into_text()?;
        sqlx::query(include_str!("sql/decisions_drop.sql")).bind(gone).execute(&mut *conn).await?;
    }
    note_waits(conn, &waits, due, now).await?;
    Ok(Claimed { starts, waits })
}

async fn note_waits(
    conn: &mut SqliteConnection,
    waits: &[(JobId, Waiting)],
    due: &BTreeMap<JobId, Due>,
    now: Timestamp,
) -> Result<(), Fault> {
    let mut changed = JsonRows::new();
    for (id, waiting) in waits {
        if due.get(id).and_then(|due| due.decision.as_ref()) != Some(waiting) {
            changed.push(&(id, text_of(&waiting.reason)?, waiting.until, now))?;
        }
    }
    if !changed.is_empty() {
        let changed = changed.into_text()?;
        sqlx::query(include_str!("sql/decisions_save.sql")).bind(changed).execute(conn).await?;
    }
    Ok(())
}

/// The rows as they are after `change`, without reading them again.
fn started(job: &Job, offer: Offer, change: &Change) -> Start {
    let after = &change.transition.after;
    let mut job = job.clone();
    job.state =
        JobState::Running { run: offer.run, run_state: LiveRunState::Offered, cancel_requested_at: None };
    job.epoch = after.epoch;
    job.budgets = after.budgets;
    job.revision += 1;
    job.updated_at = change.now;
    let run = Run {
        id: offer.run,
        job: job.id,
        epoch: after.epoch,
        node: offer.node,
        incarnation: offer.incarnation,
        account: offer.account,
        state: RunState::Offered,
        offered_at: change.now,
        started_at: None,
        ended_at: None,
        class: None,
        reason: None,
        evidence: None,
        usage: RunUsage::default(),
        exit_code: None,
        tail: None,
        log_bytes: 0,
    };
    Start { job, run }
}
