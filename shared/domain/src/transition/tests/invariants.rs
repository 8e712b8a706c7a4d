//! Random lives of one job, written to a store of a few lines, with the invariants of DESIGN.md section 4 looked at
//! after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::RunState;

/// The rows of one job.
struct Rows {
    job: Job,
    runs: BTreeMap<RunId, RunState>,
    now: Timestamp,
}

#[derive(Clone, Debug)]
enum Step {
    Claim,
    Confirm(Whose),
    Withdraw(Whose),
    End(Whose, Conclusion),
    Cancel,
    Spent,
    Retry,
    Wait(u64),
}

/// Which run an event speaks of.
#[derive(Clone, Copy, Debug)]
enum Whose {
    Current,
    Earlier(usize),
    Unknown,
}

fn any_conclusion() -> impl Strategy<Value = Conclusion> {
    let named = proptest::option::of(
        (-100_000_i64..100_000).prop_map(|ahead| Timestamp::from_ms(NOW.as_ms() + ahead)),
    );
    let transient = (prop::sample::select(TransientReason::ALL), named)
        .prop_map(|(reason, retry_at)| Class::Transient { reason, retry_at });
    let permanent = prop::sample::select(PermanentReason::ALL).prop_map(|reason| Class::Permanent { reason });
    let class = prop_oneof![1 => Just(Class::Success), 4 => transient, 4 => permanent];
    let lost = vec![LostHow::LeaseExpired, LostHow::SelfFenced, LostHow::ShimLost, LostHow::NodeLost];
    prop_oneof![
        6 => class.prop_map(|class| Conclusion::Judged { class }),
        3 => prop::sample::select(lost).prop_map(|how| Conclusion::Lost { how }),
        1 => Just(Conclusion::Drained),
        1 => Just(Conclusion::NotTried { why: NotTried::Preflight }),
        1 => prop::sample::select(&WorkspaceFault::ALL[..]).prop_map(|fault| Conclusion::Unprepared { fault }),
        1 => Just(Conclusion::Cancelled),
        1 => prop::sample::select(StepFault::ALL).prop_map(|fault| Conclusion::StepFailed { fault }),
        1 => Just(Conclusion::OverBudget { exceeded: exceeded() }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let whose = prop_oneof![
        6 => Just(Whose::Current),
        2 => (0_usize..9).prop_map(Whose::Earlier),
        1 => Just(Whose::Unknown),
    ];
    prop_oneof![
        6 => Just(Step::Claim),
        5 => whose.clone().prop_map(Step::Confirm),
        1 => whose.clone().prop_map(Step::Withdraw),
        6 => (whose, any_conclusion()).prop_map(|(whose, conclusion)| Step::End(whose, conclusion)),
        1 => Just(Step::Cancel),
        1 => Just(Step::Spent),
        1 => Just(Step::Retry),
        6 => (0_u64..4_000).prop_map(Step::Wait),
    ]
}

impl Rows {
    fn new() -> Self {
        Self { job: job(JobState::Queued { available_at: NOW }), runs: BTreeMap::new(), now: NOW }
    }

    fn run_of(&self, whose: Whose) -> RunId {
        let unknown = run_id(u128::MAX);
        match whose {
            Whose::Current => self.job.state.run().unwrap_or(unknown),
            Whose::Earlier(index) => {
                let is_over = |(run, state): (&RunId, &RunState)| (*state == RunState::Ended).then_some(*run);
                let over: Vec<RunId> = self.runs.iter().filter_map(is_over).collect();
                over.get(index % over.len().max(1)).copied().unwrap_or(unknown)
            }
            Whose::Unknown => unknown,
        }
    }

    /// `None`: nothing happens but time.
    fn event_of(&mut self, step: &Step) -> Option<Event> {
        Some(match step {
            Step::Claim => Event::Claimed(offer(run_id(self.runs.len() as u128 + 1))),
            Step::Confirm(whose) => Event::Confirmed { run: self.run_of(*whose) },
            Step::Withdraw(whose) => Event::Withdrawn { run: self.run_of(*whose), why: "draining" },
            Step::End(whose, conclusion) => {
                Event::Ended { run: self.run_of(*whose), conclusion: conclusion.clone() }
            }
            Step::Cancel => Event::CancelRequested,
            Step::Spent => Event::BudgetSpent(exceeded()),
            Step::Retry => Event::Retried,
            Step::Wait(seconds) => {
                self.now = self.now.plus(Duration::from_secs(*seconds));
                return None;
            }
        })
    }

    /// Applies as the store does: guarded, and each run change only to a run in the right state.
    fn apply(&mut self, transition: Transition) {
        let found = Expected {
            status: self.job.state.status(),
            run: self.job.state.run(),
            revision: self.job.revision,
        };
        assert_eq!((transition.job, transition.expected), (self.job.id, found));
        match &transition.run {
            RunChange::Keep => {}
            RunChange::Insert(offer) => {
                assert_eq!(self.runs.insert(offer.run, RunState::Offered), None, "a run id is used once");
            }
            RunChange::Start { run } => {
                assert_eq!(self.runs.insert(*run, RunState::Started), Some(RunState::Offered));
            }
            RunChange::End { run, .. } => {
                let before = self.runs.insert(*run, RunState::Ended);
                assert!(matches!(before, Some(RunState::Offered | RunState::Started)), "I5: a run ends once");
            }
        }
        let After { state, budgets, epoch } = transition.after;
        let revision = self.job.revision + 1;
        self.job = Job { state, budgets, epoch, revision, updated_at: self.now, ..self.job.clone() };
    }

    /// I1, I2, I3: a job that is not running owns nothing; a running one exactly its one live run.
    fn check_ownership(&self) {
        let live: Vec<(RunId, RunState)> = self
            .runs
            .iter()
            .filter(|(_, state)| **state != RunState::Ended)
            .map(|(run, state)| (*run, *state))
            .collect();
        let owned: Vec<(RunId, RunState)> = match self.job.state {
            JobState::Running { run, run_state, .. } => vec![(run, run_state.into())],
            JobState::Queued { .. }
            | JobState::Done { .. }
            | JobState::Failed { .. }
            | JobState::Cancelled { .. } => Vec::new(),
        };
        assert_eq!(live, owned);
    }
}

fn cancel_requested(state: &JobState) -> bool {
    matches!(state, JobState::Running { cancel_requested_at: Some(_), .. })
}

/// I9: the budgets after an event; each moves by its own kind of end alone.
fn spent_after(event: &Event, before: &Job) -> Budgets {
    let spent = before.budgets;
    let started = matches!(before.state, JobState::Running { run_state: LiveRunState::Started, .. });
    match event {
        Event::Retried => Budgets::default(),
        Event::Ended { conclusion: Conclusion::Lost { .. }, .. } if started => {
            Budgets { infra_attempts: spent.infra_attempts + 1, ..spent }
        }
        Event::Ended { conclusion: Conclusion::Judged { class }, .. } => match class {
            Class::Success
            | Class::Permanent { reason: PermanentReason::Auth | PermanentReason::Billing } => spent,
            Class::Transient { .. } => Budgets { transient_attempts: spent.transient_attempts + 1, ..spent },
            Class::Permanent { .. } => Budgets { attempts: spent.attempts + 1, ..spent },
        },
        Event::Ended { conclusion: Conclusion::Unprepared { fault }, .. } => match fault {
            WorkspaceFault::Busy => spent,
            WorkspaceFault::Network => Budgets { transient_attempts: spent.transient_attempts + 1, ..spent },
            WorkspaceFault::Broken => Budgets { infra_attempts: spent.infra_attempts + 1, ..spent },
            WorkspaceFault::Auth | WorkspaceFault::Missing | WorkspaceFault::Hook => {
                Budgets { attempts: spent.attempts + 1, ..spent }
            }
        },
        Event::Ended { conclusion: Conclusion::StepFailed { fault }, .. } if fault.passes() => {
            Budgets { transient_attempts: spent.transient_attempts + 1, ..spent }
        }
        Event::Ended { conclusion: Conclusion::StepFailed { .. }, .. } => {
            Budgets { attempts: spent.attempts + 1, ..spent }
        }
        Event::Ended { .. }
        | Event::Claimed(_)
        | Event::Confirmed { .. }
        | Event::Withdrawn { .. }
        | Event::BudgetSpent(_)
        | Event::CancelRequested => spent,
    }
}

fn spoken_of(event: &Event) -> Option<RunId> {
    match event {
        Event::Confirmed { run } | Event::Withdrawn { run, .. } | Event::Ended { run, .. } => Some(*run),
        Event::Claimed(_) | Event::BudgetSpent(_) | Event::CancelRequested | Event::Retried => None,
    }
}

fn named_time(event: &Event) -> Option<Timestamp> {
    match event {
        Event::Ended {
            conclusion: Conclusion::Judged { class: Class::Transient { retry_at, .. } }, ..
        } => *retry_at,
        Event::Ended { .. }
        | Event::Claimed(_)
        | Event::Confirmed { .. }
        | Event::Withdrawn { .. }
        | Event::BudgetSpent(_)
        | Event::CancelRequested
        | Event::Retried => None,
    }
}

fn take_step(rows: &mut Rows, step: &Step, policy: &Policy, chance: f64) {
    let Some(event) = rows.event_of(step) else { return };
    let before = rows.job.clone();
    let decided = next(&before, &event, rows.now, policy, Chance::new(chance));
    if let Some(run) = spoken_of(&event)
        && before.state.run() != Some(run)
    {
        assert_eq!(
            decided,
            Err(IllegalEvent::NotCurrent { job: before.id, run }),
            "I5: only the current run counts"
        );
        return;
    }
    let Ok(transition) = decided else { return };
    let claims = matches!(transition.run, RunChange::Insert(_));
    rows.apply(transition);
    rows.check_ownership();
    let after = &rows.job;
    assert_eq!(
        after.epoch.0,
        before.epoch.0 + i64::from(claims),
        "I4: the epoch rises at each claim and only then"
    );
    assert_eq!(after.budgets, spent_after(&event, &before), "I9: budgets never mix");
    if cancel_requested(&before.state) {
        assert_ne!(after.state.status(), Status::Queued, "a cancelled job is never queued");
        assert!(
            after.state.status() != Status::Running || cancel_requested(&after.state),
            "a cancel is kept"
        );
    }
    if before.state.status() == Status::Cancelled {
        assert_eq!(event, Event::Retried, "only a person brings a cancelled job back");
    }
    if let JobState::Queued { available_at } = after.state {
        assert!(available_at >= rows.now);
        assert!(
            named_time(&event).is_none_or(|at| available_at >= at),
            "not before the time the provider named"
        );
        let spent = after.budgets;
        assert!(
            spent.attempts < policy.attempts_max
                && spent.transient_attempts < policy.transient_attempts_max
                && spent.infra_attempts < policy.infra_attempts_max,
            "a spent budget is not tried again: {spent:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_life_breaks_an_invariant(
        steps in proptest::collection::vec((any_step(), 0.0_f64..1.0), 1..200),
        attempts_max in 1_u32..4,
        transient_attempts_max in 1_u32..5,
        infra_attempts_max in 1_u32..5,
    ) {
        let policy = Policy { attempts_max, transient_attempts_max, infra_attempts_max, ..Policy::default() };
        let mut rows = Rows::new();
        for (step, chance) in &steps {
            take_step(&mut rows, step, &policy, *chance);
        }
    }
}
