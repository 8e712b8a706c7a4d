//! The one function that moves a job: `next(job, event, now, policy)`.
//!
//! The table of DESIGN.md section 4 as code, printed by a snapshot test. It says what shall be; the store applies
//! a [`Transition`] in one transaction, guarded by what it expects, and nobody else writes a job or run row.

mod change;
mod event;

pub use change::{After, Expected, RunChange, Transition};
pub use event::{Conclusion, Event, IllegalEvent, LostHow, NotTried, Offer};

use crate::account::{AccountNews, Hold, HoldReason};
use crate::alert::{Alert, JobRef};
use crate::breaker::Said;
use crate::job::LiveRunState;
use crate::policy::{Chance, Policy};
use crate::steps::StepFault;
use crate::workspace::WorkspaceFault;
use crate::{Budgets, Class, Job, JobState, PermanentReason, RunId, Timestamp, TransientReason};

/// Says what `event` does to `job`.
///
/// `chance` is used for the jitter of a retry alone.
pub fn next(
    job: &Job,
    event: &Event,
    now: Timestamp,
    policy: &Policy,
    chance: Chance,
) -> Result<Transition, IllegalEvent> {
    let moved = Mover { job, now, policy, chance };
    match (&job.state, event) {
        (JobState::Queued { available_at }, Event::Claimed(offer)) => moved.claim(*available_at, offer),
        (JobState::Queued { .. }, Event::CancelRequested) => Ok(moved.to(moved.cancelled(), RunChange::Keep)),
        (JobState::Queued { .. }, Event::BudgetSpent(exceeded)) => {
            Ok(without_alert(moved.to(moved.failed(exceeded.to_string()), RunChange::Keep)))
        }
        (JobState::Running { .. }, Event::CancelRequested) => Ok(moved.flag_cancel()),
        (JobState::Running { run, run_state, .. }, Event::Confirmed { run: asked }) => {
            moved.check_current(*run, *asked)?;
            Ok(moved.confirm(*run, *run_state))
        }
        (
            JobState::Running { run, run_state: LiveRunState::Offered, .. },
            Event::Withdrawn { run: asked, why },
        ) => {
            moved.check_current(*run, *asked)?;
            Ok(moved.release(*run, "withdrawn", why, job.budgets, now))
        }
        (JobState::Running { run, run_state, .. }, Event::Ended { run: asked, conclusion }) => {
            moved.check_current(*run, *asked)?;
            Ok(moved.end(*run, *run_state, conclusion))
        }
        (JobState::Failed { .. } | JobState::Cancelled { .. }, Event::Retried) => {
            Ok(moved.spend(queued(now), Budgets::default(), RunChange::Keep))
        }
        (_, Event::Confirmed { run } | Event::Withdrawn { run, .. } | Event::Ended { run, .. })
            if job.state.run() != Some(*run) =>
        {
            Err(IllegalEvent::NotCurrent { job: job.id, run: *run })
        }
        _ => Err(IllegalEvent::WrongState { job: job.id, status: job.state.status(), event: event.name() }),
    }
}

/// What another try of a permanently failed run is worth (DESIGN.md section 4).
enum Repeat {
    WorthTrying,
    Certain,
    NeedsPerson,
}

const fn repeat(reason: PermanentReason) -> Repeat {
    match reason {
        PermanentReason::Crash
        | PermanentReason::AgentFailure
        | PermanentReason::MaxRuntime
        | PermanentReason::MemoryLimit
        | PermanentReason::DiskLimit
        | PermanentReason::Idle => Repeat::WorthTrying,
        PermanentReason::InvalidRequest
        | PermanentReason::ContextLength
        | PermanentReason::MaxTurns
        | PermanentReason::Network => Repeat::Certain,
        PermanentReason::Auth | PermanentReason::Billing => Repeat::NeedsPerson,
    }
}

/// Whether a verdict holds the run's account, and how long.
const fn hold(class: &Class) -> Option<Hold> {
    match class {
        Class::Transient { reason: TransientReason::UsageLimit, retry_at: Some(until) } => {
            Some(Hold { reason: HoldReason::UsageLimit, until: Some(*until) })
        }
        Class::Permanent { reason: PermanentReason::Auth } => {
            Some(Hold { reason: HoldReason::Auth, until: None })
        }
        Class::Permanent { reason: PermanentReason::Billing } => {
            Some(Hold { reason: HoldReason::Billing, until: None })
        }
        Class::Success | Class::Transient { .. } | Class::Permanent { .. } => None,
    }
}

/// The one way to build a queued state: it has nowhere to keep an owner.
const fn queued(available_at: Timestamp) -> JobState {
    JobState::Queued { available_at }
}

/// The work item tells of it: one alert is enough.
fn without_alert(transition: Transition) -> Transition {
    Transition { alerts: Vec::new(), ..transition }
}

struct Mover<'a> {
    job: &'a Job,
    now: Timestamp,
    policy: &'a Policy,
    chance: Chance,
}

impl Mover<'_> {
    fn claim(&self, available_at: Timestamp, offer: &Offer) -> Result<Transition, IllegalEvent> {
        if available_at > self.now && !offer.probe {
            return Err(IllegalEvent::NotDue { job: self.job.id, available_at });
        }
        let state =
            JobState::Running { run: offer.run, run_state: LiveRunState::Offered, cancel_requested_at: None };
        let mut transition = self.to(state, RunChange::Insert(offer.clone()));
        transition.after.epoch = self.job.epoch.next();
        Ok(transition)
    }

    /// A cancelled job's offered run is refused. A repeated Start finds the run started and is a renewal, cancel requested
    /// or not: its agent may be alive, so only its end moves the job.
    fn confirm(&self, run: RunId, run_state: LiveRunState) -> Transition {
        match (run_state, self.cancel_requested_at()) {
            (LiveRunState::Started, _) => self.to(self.job.state.clone(), RunChange::Keep),
            (LiveRunState::Offered, Some(_)) => {
                let end = RunChange::End { run, class: "cancelled", reason: "cancel_requested" };
                self.to(self.cancelled(), end)
            }
            (LiveRunState::Offered, None) => {
                let state =
                    JobState::Running { run, run_state: LiveRunState::Started, cancel_requested_at: None };
                self.to(state, RunChange::Start { run })
            }
        }
    }

    fn flag_cancel(&self) -> Transition {
        let mut state = self.job.state.clone();
        if let JobState::Running { cancel_requested_at, .. } = &mut state {
            cancel_requested_at.get_or_insert(self.now);
        }
        self.to(state, RunChange::Keep)
    }

    fn end(&self, run: RunId, run_state: LiveRunState, conclusion: &Conclusion) -> Transition {
        let spent = self.job.budgets;
        match conclusion {
            Conclusion::Judged { class } => self.judged(run, class),
            Conclusion::Lost { how } => match run_state {
                // Nothing was spawned before it was confirmed: as good as withdrawn.
                LiveRunState::Offered => self.release(run, "lost", how.as_str(), spent, self.now),
                LiveRunState::Started => self.infra(run, how.as_str()),
            },
            Conclusion::Drained => self.release(run, "drained", "drained", spent, self.now),
            Conclusion::NotTried { why } => self.release(run, "withdrawn", why.as_str(), spent, self.now),
            Conclusion::Unprepared { fault } => self.unprepared(run, *fault),
            Conclusion::OverBudget { exceeded } => {
                without_alert(self.give_up(run, "permanent", "budget", spent, exceeded.to_string()))
            }
            Conclusion::Cancelled => {
                let end = RunChange::End { run, class: "cancelled", reason: "cancel_requested" };
                self.to(self.cancelled(), end)
            }
            Conclusion::StepFailed { fault } => self.step_failed(run, *fault),
        }
    }

    /// The provider did its part; what the forge does is put off like a limit, and ends the job where only a person can
    /// mend it.
    fn step_failed(&self, run: RunId, fault: StepFault) -> Transition {
        let transition = if fault.passes() {
            self.put_off(run, fault.as_str(), None)
        } else {
            self.hopeless(run, fault.as_str(), &fault.to_string())
        };
        let news = AccountNews { said: Said::of(&Class::Success), windows_hold: false, ..self.no_news() };
        Transition { news: Some(news), ..transition }
    }

    /// Nothing was spawned, so only the job learns of it: neither account nor breaker.
    fn unprepared(&self, run: RunId, fault: WorkspaceFault) -> Transition {
        let (spent, reason) = (self.job.budgets, fault.as_str());
        match fault {
            WorkspaceFault::Busy => {
                let at = self.policy.retry_at(self.now, 0, None, self.chance);
                self.release(run, "withdrawn", reason, spent, at)
            }
            WorkspaceFault::Network => self.put_off(run, reason, None),
            WorkspaceFault::Hook => self.tried(run, reason),
            WorkspaceFault::Auth => self.hopeless(run, reason, "the forge refused ORCH_GIT_TOKEN: mend it"),
            WorkspaceFault::Missing => self.hopeless(run, reason, "would fail again as it is"),
            WorkspaceFault::Broken => self.infra(run, reason),
        }
    }

    fn put_off(&self, run: RunId, reason: &'static str, retry_at: Option<Timestamp>) -> Transition {
        let spent = self.job.budgets;
        let budgets = Budgets { transient_attempts: spent.transient_attempts + 1, ..spent };
        if budgets.transient_attempts >= self.policy.transient_attempts_max {
            let why = format!("{reason}: put off {} times", budgets.transient_attempts);
            return self.give_up(run, "transient", reason, budgets, why);
        }
        let at = self.policy.retry_at(self.now, spent.transient_attempts, retry_at, self.chance);
        self.release(run, "transient", reason, budgets, at)
    }

    fn hopeless(&self, run: RunId, reason: &'static str, why: &str) -> Transition {
        let spent = self.job.budgets;
        let budgets = Budgets { attempts: spent.attempts + 1, ..spent };
        self.give_up(run, "permanent", reason, budgets, format!("{reason}: {why}"))
    }

    fn tried(&self, run: RunId, reason: &'static str) -> Transition {
        let spent = self.job.budgets;
        let budgets = Budgets { attempts: spent.attempts + 1, ..spent };
        if budgets.attempts >= self.policy.attempts_max {
            let why = format!("{reason}: failed {} times", budgets.attempts);
            return self.give_up(run, "permanent", reason, budgets, why);
        }
        let at = self.policy.retry_at(self.now, spent.attempts, None, self.chance);
        self.release(run, "permanent", reason, budgets, at)
    }

    fn infra(&self, run: RunId, reason: &'static str) -> Transition {
        let spent = self.job.budgets;
        let budgets = Budgets { infra_attempts: spent.infra_attempts + 1, ..spent };
        if budgets.infra_attempts >= self.policy.infra_attempts_max {
            let why = format!("quarantined: lost {} times, last: {reason}", budgets.infra_attempts);
            return self.give_up(run, "lost", reason, budgets, why);
        }
        let at = match spent.infra_attempts {
            0 => self.now,
            n => self.policy.retry_at(self.now, n - 1, None, self.chance),
        };
        self.release(run, "lost", reason, budgets, at)
    }

    fn judged(&self, run: RunId, class: &Class) -> Transition {
        let spent = self.job.budgets;
        let (word, reason) = (class.as_str(), class.reason().as_str());
        let transition = match class {
            Class::Success => {
                self.to(JobState::Done { finished_at: self.now }, RunChange::End { run, class: word, reason })
            }
            Class::Transient { retry_at, .. } => self.put_off(run, reason, *retry_at),
            Class::Permanent { reason: kind } => match repeat(*kind) {
                Repeat::NeedsPerson => self.release(run, word, reason, spent, self.now),
                Repeat::Certain => self.hopeless(run, reason, "would fail again as it is"),
                Repeat::WorthTrying => self.tried(run, reason),
            },
        };
        let windows_hold = *class != Class::Success;
        let news =
            AccountNews { said: Said::of(class), reason, hold: hold(class), windows_hold, ..self.no_news() };
        Transition { news: Some(news), ..transition }
    }

    /// The end of a run that was not judged says nothing of the provider, but may have seen its windows.
    const fn no_news(&self) -> AccountNews {
        AccountNews {
            said: Said::Nothing,
            reason: "",
            hold: None,
            windows_hold: true,
            terms: self.policy.breaker,
        }
    }

    /// Back to the queue, unless a person asked for the end: then cancelled, never queued.
    fn release(
        &self,
        run: RunId,
        class: &'static str,
        reason: &'static str,
        budgets: Budgets,
        at: Timestamp,
    ) -> Transition {
        let state = if self.cancel_requested_at().is_some() { self.cancelled() } else { queued(at) };
        self.spend(state, budgets, RunChange::End { run, class, reason })
    }

    fn give_up(
        &self,
        run: RunId,
        class: &'static str,
        reason: &'static str,
        budgets: Budgets,
        why: String,
    ) -> Transition {
        let state = if self.cancel_requested_at().is_some() { self.cancelled() } else { self.failed(why) };
        self.spend(state, budgets, RunChange::End { run, class, reason })
    }

    const fn failed(&self, reason: String) -> JobState {
        JobState::Failed { finished_at: self.now, reason }
    }

    fn cancelled(&self) -> JobState {
        JobState::Cancelled { finished_at: self.now }
    }

    fn cancel_requested_at(&self) -> Option<Timestamp> {
        match self.job.state {
            JobState::Running { cancel_requested_at, .. } => cancel_requested_at,
            JobState::Queued { .. }
            | JobState::Done { .. }
            | JobState::Failed { .. }
            | JobState::Cancelled { .. } => None,
        }
    }

    fn check_current(&self, current: RunId, asked: RunId) -> Result<(), IllegalEvent> {
        if current == asked { Ok(()) } else { Err(IllegalEvent::NotCurrent { job: self.job.id, run: asked }) }
    }

    fn to(&self, state: JobState, run: RunChange) -> Transition {
        self.spend(state, self.job.budgets, run)
    }

    fn spend(&self, state: JobState, budgets: Budgets, run: RunChange) -> Transition {
        let expected = Expected {
            status: self.job.state.status(),
            run: self.job.state.run(),
            revision: self.job.revision,
        };
        let alerts = self.given_up(&state, budgets).into_iter().collect();
        let after = After { state, budgets, epoch: self.job.epoch };
        let news = matches!(run, RunChange::End { .. }).then(|| self.no_news());
        Transition { job: self.job.id, expected, after, run, news, alerts }
    }

    /// Nobody may have to look for a job that was given up.
    fn given_up(&self, state: &JobState, budgets: Budgets) -> Option<Alert> {
        let JobState::Failed { reason, .. } = state else { return None };
        let (job, reason) = (JobRef::from(self.job), reason.clone());
        Some(if budgets.infra_attempts >= self.policy.infra_attempts_max {
            Alert::JobQuarantined { job, reason }
        } else {
            Alert::JobFailed { job, reason }
        })
    }
}

#[cfg(test)]
mod tests;
