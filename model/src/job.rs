//! Between the model's small rows and `domain::next`, which decides every move of the job.

use domain::breaker::Opening;
use domain::job::{LiveRunState, Origin};
use domain::transition::{Conclusion, LostHow, Offer, RunChange, Transition};
use domain::{
    Account, Budgets, Chance, Class, Epoch, Event, Incarnation, Job, JobId, JobState, NodeId, Policy, RunId,
    RunState, Status, Timestamp,
};
use uuid::Uuid;

use crate::state::{Ending, JobRow, RunRow, State};

const START: Timestamp = Timestamp::from_ms(0);
/// Every wait between two tries is over by then: how long they are is not the protocol's business.
const NOW: Timestamp = Timestamp::from_ms(1_000_000_000);

/// The event by which a run is offered.
pub(crate) fn claimed(run: usize, node: usize, incarnation: u8) -> Event {
    Event::Claimed(Offer {
        run: run_id(run),
        node: NodeId(node.to_string()),
        incarnation: Incarnation(incarnation.into()),
        account: Account(String::new()),
        opening: Opening::default(),
        probe: false,
        resume: None,
        aside: domain::budget::Amount::default(),
    })
}

pub(crate) fn confirmed(run: usize) -> Event {
    Event::Confirmed { run: run_id(run) }
}

/// The event by which a run is given up, as the reaper chooses it.
pub(crate) fn given_up(run: usize, row: RunRow, how: LostHow) -> Event {
    if row.state == RunState::Offered {
        Event::Withdrawn { run: run_id(run), why: "unconfirmed" }
    } else {
        Event::Ended { run: run_id(run), conclusion: Conclusion::Lost { how } }
    }
}

pub(crate) fn withdrawn(run: usize) -> Event {
    Event::Withdrawn { run: run_id(run), why: "refused" }
}

pub(crate) fn ended(run: usize, ending: Ending) -> Event {
    let conclusion = match ending {
        Ending::Success => Conclusion::Judged { class: Class::Success },
        Ending::SelfFenced => Conclusion::Lost { how: LostHow::SelfFenced },
        Ending::ShimLost => Conclusion::Lost { how: LostHow::ShimLost },
    };
    Event::Ended { run: run_id(run), conclusion }
}

impl State {
    /// Decides with `domain::next` and writes what it says; false when the event does not apply any more.
    ///
    /// Reading and writing are one step here, so the guard of a transition always holds.
    pub(crate) fn move_job(&mut self, event: &Event) -> bool {
        let policy = Policy::default();
        let Ok(transition) = domain::next(&self.job.to_domain(), event, NOW, &policy, Chance::new(0.0))
        else {
            return false;
        };
        self.write(&transition);
        true
    }

    fn write(&mut self, transition: &Transition) {
        let before = self.job.epoch;
        self.job = JobRow::from_domain(&transition.after.state, transition.after.epoch);
        match &transition.run {
            RunChange::Keep => {}
            RunChange::Insert(offer) => {
                self.witness.epoch_not_raised |= self.job.epoch <= before;
                self.runs[index(offer.run)] = Some(RunRow {
                    state: RunState::Offered,
                    epoch: self.job.epoch,
                    node: offer.node.0.parse().unwrap_or_default(),
                    incarnation: u8::try_from(offer.incarnation.0).unwrap_or_default(),
                    reported: false,
                });
            }
            RunChange::Start { run } => self.set_run(*run, RunState::Started),
            RunChange::End { run, .. } => self.set_run(*run, RunState::Ended),
        }
    }

    fn set_run(&mut self, run: RunId, state: RunState) {
        if let Some(row) = &mut self.runs[index(run)] {
            row.state = state;
        }
    }
}

impl JobRow {
    fn to_domain(self) -> Job {
        let state = match (self.status, self.run) {
            (Status::Running, Some(run)) => JobState::Running {
                run: run_id(usize::from(run)),
                run_state: self.run_state,
                cancel_requested_at: None,
            },
            (Status::Done, _) => JobState::Done { finished_at: START },
            (Status::Failed, _) => JobState::Failed { finished_at: START, reason: String::new() },
            (Status::Cancelled, _) => JobState::Cancelled { finished_at: START },
            (Status::Queued | Status::Running, _) => JobState::Queued { available_at: START },
        };
        Job {
            id: JobId(1),
            project: String::new(),
            work_item: String::new(),
            stage: String::new(),
            role: String::new(),
            priority: 0,
            budgets: Budgets::default(),
            epoch: Epoch(self.epoch.into()),
            revision: 0,
            state,
            created_at: START,
            updated_at: START,
            trace_context: None,
            origin: Origin::default(),
        }
    }

    fn from_domain(state: &JobState, epoch: Epoch) -> Self {
        let run_state = match state {
            JobState::Running { run_state, .. } => *run_state,
            JobState::Queued { .. }
            | JobState::Done { .. }
            | JobState::Failed { .. }
            | JobState::Cancelled { .. } => LiveRunState::Offered,
        };
        let run = state.run().and_then(|run| u8::try_from(index(run)).ok());
        Self { status: state.status(), run, run_state, epoch: u8::try_from(epoch.0).unwrap_or(u8::MAX) }
    }
}

fn run_id(run: usize) -> RunId {
    RunId(Uuid::from_u128(run as u128))
}

fn index(run: RunId) -> usize {
    usize::try_from(run.0.as_u128()).unwrap_or(usize::MAX)
}
