//! Liveness: from any state, a time without faults, in which every call is answered and every part does its work,
//! brings the job to its end and leaves nothing behind.
//!
//! What was under way before is lost. One fixed order of steps is enough to notice a state that wedges.

use domain::{RunState, Status};

use crate::actions::{Action, Message};
use crate::state::{Held, NODES, Shim, State};
use crate::{Protocol, Variant};

/// How many ticks it may take: two whole leases for each of three runs, and some to work in.
const ROUNDS_MAX: usize = 12;

impl Protocol {
    pub(crate) fn heals(&self, state: &State) -> bool {
        let mut state = state.clone();
        state.mail.clear();
        for _ in 0..ROUNDS_MAX {
            if self.is_at_rest(&state) {
                return true;
            }
            self.round(&mut state);
        }
        self.is_at_rest(&state)
    }

    /// The job is over, or has used up the runs that are explored, and nothing is left of it anywhere.
    fn is_at_rest(&self, state: &State) -> bool {
        let over = match state.job.status {
            Status::Done | Status::Failed | Status::Cancelled => true,
            Status::Queued => state.claimed().count() == usize::from(self.limits.runs),
            Status::Running => false,
        };
        over && state.memory.leases.iter().all(Option::is_none)
            && state.nodes.iter().all(|node| node.up)
            && state.places.iter().all(|place| {
                place.agents == 0 && place.shim == Shim::None && !place.is_held() && place.outcome.is_none()
            })
    }

    /// Everything that is due, then a tick.
    fn round(&self, state: &mut State) {
        for node in 0..NODES {
            if !state.nodes[node].up {
                self.take(state, &Action::RunnerStart { node });
            }
            let known = state.memory.sessions[node].map(|session| session.incarnation);
            if known != Some(state.nodes[node].incarnation) {
                self.call(state, Action::SendRegister { node });
            }
            self.call(state, Action::SendRenew { node });
        }
        self.take(state, &Action::PayOff);
        let free = |node: &usize| !state.runs_on(*node).any(|run| state.places[run].takes_slot());
        let claims = state.claimed().count();
        if state.job.status == Status::Queued
            && claims < usize::from(self.limits.runs)
            && let Some(node) = (0..NODES).find(free)
        {
            self.call(state, Action::Claim { node });
        }
        for (run, row) in state.claimed() {
            if row.state == RunState::Offered {
                self.answer(state, Message::Launch { run });
            }
            self.work(state, run);
            if state.memory.leases[run].is_some_and(|lease| lease.left == 0) {
                self.take(state, &Action::Expire { run });
            }
        }
        if !self.is(Variant::NoDeadMan) || state.agents() == 0 {
            self.take(state, &Action::Tick);
        }
    }

    /// What a node does for a run as soon as it can.
    fn work(&self, state: &mut State, run: usize) {
        let place = state.places[run];
        if place.held == Held::Offered && place.granted.is_none() && !place.intent {
            self.call(state, Action::SendStart { run });
        }
        if state.places[run].held == Held::Offered && state.places[run].granted.is_none() {
            self.take(state, &Action::StopAsking { run });
        }
        if state.places[run].granted.is_some() {
            if !state.places[run].intent {
                self.take(state, &Action::Journal { run });
            }
            self.take(state, &Action::Spawn { run });
        }
        while state.places[run].agents > 0 {
            let action = if state.places[run].fenced { Action::Kill { run } } else { Action::Exit { run } };
            self.take(state, &action);
        }
        self.take(state, &Action::Record { run });
        let place = state.places[run];
        if place.held == Held::Started && place.shim == Shim::None && place.outcome.is_none() {
            self.take(state, &Action::Settle { run });
        }
        if state.places[run].outcome.is_some() {
            self.call(state, Action::Report { run });
        }
    }

    /// Does a step and delivers whatever it sends, and what that sends, until all is quiet.
    fn call(&self, state: &mut State, action: Action) {
        self.take(state, &action);
        while let Some(message) = state.mail.pop() {
            self.answer(state, message);
        }
    }

    fn answer(&self, state: &mut State, message: Message) {
        self.take(state, &Action::Deliver(message));
        while let Some(next) = state.mail.pop() {
            self.take(state, &Action::Deliver(next));
        }
    }
}
