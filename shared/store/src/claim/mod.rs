//! The claim's decisions, whatever keeps the rows: which due jobs to read, which start, and what is written.
//!
//! A store reads what [`Search`] asks for and writes what [`decide`] says, all in one transaction.

mod search;

use std::collections::BTreeMap;
use std::time::Duration;

use domain::admission::{self, Candidate, Facts, Preference, WaitReason, Waiting};
use domain::budget::Purse;
use domain::budget::reserve::Books;
use domain::job::LiveRunState;
use domain::resume::{self, LastTry, Resume};
use domain::run::RunUsage;
use domain::transition::{Event, Offer};
use domain::{Chance, Job, JobId, JobState, Run, RunState, Timestamp};

use crate::{Change, ClaimRequest, Claimed, Error, Start};

pub(crate) use search::{Behind, Head, Search};

/// Delayed jobs promoted by one claim; the next claim goes on.
pub(crate) const PROMOTED_MAX: u32 = 1_000;

/// Jobs that a limit put off, read where a breaker wants a probe: the first that nothing else keeps from it starts.
pub(crate) const PUT_OFF_MAX: usize = 32;

/// A due job and the last decision on it.
#[derive(Debug)]
pub(crate) struct Due {
    job: Job,
    /// Whether it is not due yet, but may be a probe.
    early: bool,
    own_prompt: bool,
    available_at: Timestamp,
    decision: Option<Waiting>,
    resume: Option<Resume>,
}

impl Due {
    /// Takes a queued job whose epoch is the newest of its own and of all its runs: an import may have set it back,
    /// and the next one must be new all the same (I4). `None` when it is not queued.
    pub(crate) fn new(
        job: Job,
        own_prompt: bool,
        decision: Option<Waiting>,
        last: Option<LastTry>,
        asked_about: Option<LastTry>,
    ) -> Option<Self> {
        let JobState::Queued { available_at } = job.state else { return None };
        // Its own last try knows best; before that, what it asks about is gone on with.
        let resume = match last {
            Some(last) => last.resume(),
            None => asked_about.and_then(LastTry::ask_again),
        };
        Some(Self { job, early: false, own_prompt, available_at, decision, resume })
    }

    fn candidate(&self, facts: &Facts, now: Timestamp) -> Candidate {
        Candidate {
            job: self.job.id,
            project: self.job.project.clone(),
            work_item: self.job.work_item.clone(),
            chain: self.job.origin.chain.clone(),
            stage: self.job.stage.clone(),
            own_prompt: self.own_prompt,
            priority: self.job.priority,
            available_at: self.available_at,
            early: self.early,
            prefers: self.resume.as_ref().filter(|resume| is_there(resume, facts)).map(|resume| Preference {
                node: resume.node.clone(),
                wait_until: resume::wait_until(self.available_at, facts.resume_wait, now),
            }),
        }
    }
}

/// Whether the node of a conversation is known, and still uses the account in whose home it lies.
fn is_there(resume: &Resume, facts: &Facts) -> bool {
    facts.nodes.iter().any(|node| node.node == resume.node && node.account == resume.account)
}

/// What a claim writes, and its answer.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// The starts; none of them may meet a conflict.
    pub(crate) changes: Vec<Change>,
    /// Started jobs whose last decision is dropped.
    pub(crate) undecided: Vec<JobId>,
    /// Decisions that differ from the last one.
    pub(crate) noted: Vec<(JobId, Waiting)>,
    /// What any further job waits for.
    pub(crate) fleet: Option<Waiting>,
    pub(crate) claimed: Claimed,
}

/// Decides which of the `due` jobs start.
///
/// # Errors
/// [`Error::Corrupt`] when admission names a job or node that it was not given.
pub(crate) fn decide(
    request: &ClaimRequest,
    facts: &Facts,
    due: &BTreeMap<JobId, Due>,
) -> Result<Decided, Error> {
    let now = request.now;
    let admission = admission::admit(due.values().map(|due| due.candidate(facts, now)).collect(), facts);
    let mut decided = Decided { fleet: admission.fleet, ..Decided::default() };
    decided.claimed.accounts_change_at = facts.accounts_change_at();
    let (starts, waits) = (&mut decided.claimed.starts, &mut decided.claimed.waits);
    *waits = admission.waits;
    for ((id, node), run) in admission.starts.into_iter().zip(&request.run_ids) {
        let (Some(due), Some(node)) = (due.get(&id), facts.nodes.get(node)) else {
            return Err(Error::Corrupt(format!("job {id} was admitted without having been read")));
        };
        let account = facts.accounts.get(&node.account);
        let there = |resume: &&Resume| resume.node == node.node && resume.account == node.account;
        let offer = Offer {
            run: *run,
            node: node.node.clone(),
            incarnation: node.incarnation,
            account: node.account.clone(),
            opening: account.map(|account| account.opening).unwrap_or_default(),
            probe: account.is_some_and(|account| account.probes),
            resume: due.resume.as_ref().filter(there).map(|resume| resume.session.clone()),
            aside: admission.aside.get(&id).copied().unwrap_or_default(),
        };
        let event = Event::Claimed(offer.clone());
        match domain::next(&due.job, &event, now, &request.policy, Chance::new(0.0)) {
            Ok(transition) => {
                if due.decision.is_some() {
                    decided.undecided.push(id);
                }
                let change = Change::new(transition, now);
                let waited = now.since(due.available_at);
                starts.push(started(&due.job, &offer, &change, waited));
                decided.changes.push(change);
            }
            // The wall clock stepped back since the job became due.
            Err(_) => {
                waits.push((id, Waiting { reason: WaitReason::NotDue, until: Some(due.available_at) }));
            }
        }
    }
    let last = |id: &JobId| due.get(id).and_then(|due| due.decision.as_ref());
    decided.noted = waits.iter().filter(|(id, waiting)| last(id) != Some(waiting)).cloned().collect();
    Ok(decided)
}

/// The limited purses that these jobs pay into alone.
pub(crate) fn own_purses(books: &Books, due: &BTreeMap<JobId, Due>) -> Vec<Purse> {
    let mut purses: Vec<Purse> = due.values().flat_map(|due| books.own_purses(due.job.payer())).collect();
    purses.sort_unstable();
    purses.dedup();
    purses
}

/// The rows as they are after `change`, without reading them again.
fn started(job: &Job, offer: &Offer, change: &Change, waited: Duration) -> Start {
    let after = &change.transition.after;
    let mut job = job.clone();
    job.state =
        JobState::Running { run: offer.run, run_state: LiveRunState::Offered, cancel_requested_at: None };
    job.epoch = after.epoch;
    job.budgets = after.budgets;
    job.revision += 1;
    job.updated_at = change.now;
    let run = offered(job.id, offer, change);
    Start { job, run, waited }
}

/// The run that `change` inserts for `offer`.
pub(crate) fn offered(job: JobId, offer: &Offer, change: &Change) -> Run {
    Run {
        id: offer.run,
        job,
        epoch: change.transition.after.epoch,
        node: offer.node.clone(),
        incarnation: offer.incarnation,
        account: offer.account.clone(),
        opening: offer.opening,
        probe: offer.probe,
        state: RunState::Offered,
        offered_at: change.now,
        started_at: None,
        ended_at: None,
        class: None,
        reason: None,
        evidence: None,
        resumed_session: offer.resume.clone(),
        usage: RunUsage::default(),
        exit_code: None,
        tail: None,
        aside: offer.aside,
        stop: None,
        log_bytes: 0,
        steps: Vec::new(),
    }
}
