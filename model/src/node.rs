//! The steps of runner and shim, as in `node::{start, keeper, recover}`, `registration` and `shim::keep`; and time.

use domain::RunState;

use crate::actions::Message;
use crate::state::{Ending, Held, LEASE_RUNNER, LEASE_SCHEDULER, Place, Shim, State};
use crate::{Protocol, Variant};

impl Protocol {
    fn lease(&self) -> u8 {
        if self.is(Variant::RunnerLeaseNotShorter) { LEASE_SCHEDULER } else { LEASE_RUNNER }
    }

    /// What an answer grants to a call of this age.
    pub(crate) fn grant(&self, age: u8) -> u8 {
        if self.is(Variant::LeaseFromReceipt) { self.lease() } else { self.lease().saturating_sub(age) }
    }

    pub(crate) fn launched(&self, state: &mut State, run: usize) {
        let Some(row) = state.runs[run] else { return };
        let node = usize::from(row.node);
        if !state.nodes[node].up {
            return;
        }
        match state.places[run].held {
            Held::Offered | Held::Started => return,
            // Over without a Start: the scheduler withdraws what is still an offer.
            Held::Ended | Held::Forgotten => {
                self.not_taken(state, run);
                return;
            }
            Held::Unknown => {}
        }
        let newer = |other: usize| other > run && state.places[other].held != Held::Unknown;
        let fenced = row.incarnation != state.nodes[node].incarnation || state.runs_on(node).any(newer);
        let busy = state.runs_on(node).any(|other| state.places[other].takes_slot());
        if fenced || busy {
            self.not_taken(state, run);
            return;
        }
        let place = &mut state.places[run];
        place.held = Held::Offered;
        if self.is(Variant::SpawnOnLaunch) {
            place.granted = Some(self.lease());
        }
    }

    pub(crate) fn send_start(&self, state: &mut State, run: usize) {
        let Some(node) = state.node_of(run) else { return };
        state.left.starts = state.left.starts.saturating_sub(1);
        state.send(Message::Start { run, incarnation: state.nodes[node].incarnation, age: 0 });
    }

    /// The run's place, while its node waits for an answer to Start under this incarnation.
    fn asking(state: &mut State, run: usize, incarnation: u8) -> Option<&mut Place> {
        let node = &state.nodes[state.node_of(run)?];
        let asks = node.up && node.incarnation == incarnation;
        let place = &mut state.places[run];
        (asks && place.held == Held::Offered && !place.intent).then_some(place)
    }

    pub(crate) fn start_ok(&self, state: &mut State, run: usize, incarnation: u8, age: u8) {
        let grant = self.grant(age);
        let Some(place) = Self::asking(state, run, incarnation) else { return };
        if place.fenced {
            place.held = Held::Forgotten;
        } else if grant > 0 {
            place.granted = place.granted.max(Some(grant));
        }
    }

    pub(crate) fn journal(&self, state: &mut State, run: usize) {
        let place = &mut state.places[run];
        match place.granted {
            _ if place.fenced => {
                place.held = Held::Forgotten;
                place.granted = None;
            }
            Some(0) | None => place.granted = None,
            Some(left) => {
                place.intent = true;
                place.deadline = left;
            }
        }
    }

    /// The shim looks at the lease before it spawns.
    pub(crate) fn spawn(&self, state: &mut State, run: usize) {
        let Some((node, row)) = state.node_of(run).zip(state.runs[run]) else { return };
        let place = &mut state.places[run];
        let Some(left) = place.granted.take() else { return };
        if left == 0 {
            place.outcome = Some(Ending::SelfFenced);
            place.held = Held::Ended;
            return;
        }
        place.held = Held::Started;
        place.shim = Shim::Keeping;
        place.deadline = if place.fenced { left } else { left.max(state.nodes[node].lease) };
        place.agents += 1;
        state.witness.spawned_unleased |= row.state != RunState::Started;
        state.witness.spawned_twice |= state.witness.spawned & 1 << run != 0;
        state.witness.spawned |= 1 << run;
    }

    /// An agent ends; its shim has its last word to write. Without a shim there is nobody to write it.
    pub(crate) fn agent_ends(&self, state: &mut State, run: usize, ending: Ending) {
        let place = &mut state.places[run];
        place.agents -= 1;
        if place.agents == 0 && place.shim == Shim::Keeping {
            place.shim = Shim::Recording(ending);
        }
    }

    pub(crate) fn record(&self, state: &mut State, run: usize) {
        let place = &mut state.places[run];
        let Shim::Recording(ending) = place.shim else { return };
        place.shim = Shim::None;
        place.outcome = place.outcome.or(Some(ending));
        if place.held == Held::Started {
            place.held = Held::Ended;
        }
    }

    pub(crate) fn settle(&self, state: &mut State, run: usize) {
        // The broken runner asks the pid and is told that it lives, be it whose it may.
        if !self.is(Variant::PidTrusted) {
            lost(&mut state.places[run]);
        }
    }

    pub(crate) fn shim_dies(&self, state: &mut State, run: usize) {
        let place = &mut state.places[run];
        place.shim = Shim::None;
        if !self.is(Variant::AgentOutlivesShim) {
            place.agents = 0;
        }
    }

    pub(crate) fn send_renew(&self, state: &mut State, node: usize) {
        state.left.renews = state.left.renews.saturating_sub(1);
        state.nodes[node].number += 1;
        let (held, one) = (state.listed(node), state.nodes[node]);
        let (incarnation, number) = (one.incarnation, one.number);
        state.send(Message::Renew { node, incarnation, number, held, age: 0 });
    }

    pub(crate) fn renewed(&self, state: &mut State, node: usize, incarnation: u8, fenced: u8, age: u8) {
        let grant = self.grant(age);
        let one = &mut state.nodes[node];
        if !one.up || one.incarnation != incarnation {
            return;
        }
        one.lease = one.lease.max(grant);
        for run in state.runs_on(node) {
            let place = &mut state.places[run];
            place.fenced |= fenced & 1 << run != 0 && place.is_held();
            if place.shim == Shim::Keeping && !place.fenced {
                place.deadline = place.deadline.max(grant);
            }
            if place.fenced && place.held == Held::Offered && place.granted.is_none() && !place.intent {
                place.held = Held::Forgotten;
            }
        }
    }

    pub(crate) fn send_register(&self, state: &mut State, node: usize) {
        let held = state.listed(node);
        let one = &mut state.nodes[node];
        if self.is(Variant::StragglerCounts) {
            one.number = 0;
        }
        let incarnation = one.incarnation;
        state.send(Message::Register { node, incarnation, held });
    }

    pub(crate) fn ack(&self, state: &mut State, run: usize) {
        let Some(row) = state.runs[run] else { return };
        let place = &mut state.places[run];
        if place.held == Held::Ended && state.nodes[usize::from(row.node)].up {
            state.witness.report_dropped |= !row.reported;
            *place = Place { held: Held::Forgotten, fenced: place.fenced, ..Place::default() };
        }
    }

    pub(crate) fn runner_dies(&self, state: &mut State, node: usize) {
        state.nodes[node].up = false;
        for run in state.runs_on(node) {
            let place = &mut state.places[run];
            place.granted = None;
            if self.is(Variant::JournalNotDurable) {
                place.held = Held::Unknown;
                place.intent = false;
            }
        }
    }

    pub(crate) fn host_dies(&self, state: &mut State, node: usize) {
        self.runner_dies(state, node);
        for run in state.runs_on(node) {
            let place = &mut state.places[run];
            (place.shim, place.agents) = (Shim::None, 0);
        }
    }

    /// The next incarnation takes up what the journal tells, and kills leftovers, before it registers.
    pub(crate) fn runner_starts(&self, state: &mut State, node: usize) {
        let one = &mut state.nodes[node];
        (one.up, one.incarnation, one.number, one.lease) = (true, one.incarnation + 1, 0, 0);
        for run in state.runs_on(node) {
            let place = &mut state.places[run];
            if !place.intent || !place.is_held() || place.outcome.is_some() {
                continue;
            }
            place.held = Held::Started;
            if self.is(Variant::RespawnFromIntent) {
                place.granted = Some(place.deadline);
            } else if place.shim == Shim::None && !self.is(Variant::PidTrusted) {
                lost(place);
            }
        }
    }

    pub(crate) fn tick(&self, state: &mut State) {
        let less = |left: &mut u8| *left = left.saturating_sub(1);
        state.memory.leases.iter_mut().flatten().for_each(|lease| less(&mut lease.left));
        state.nodes.iter_mut().for_each(|node| less(&mut node.lease));
        for place in &mut state.places {
            less(&mut place.deadline);
            place.granted.iter_mut().for_each(less);
        }
        let mail = std::mem::take(&mut state.mail);
        mail.into_iter().filter_map(|message| self.older(message)).for_each(|message| state.send(message));
    }

    /// A message a tick later; none when it grants nothing any more and has nothing else to say.
    fn older(&self, message: Message) -> Option<Message> {
        let next = |age: u8| (age + 1).min(self.lease());
        let older = match message {
            Message::Start { run, incarnation, age } => Message::Start { run, incarnation, age: next(age) },
            Message::Renew { node, incarnation, number, held, age } => {
                Message::Renew { node, incarnation, number, held, age: next(age) }
            }
            Message::StartOk { run, incarnation, age } => {
                Message::StartOk { run, incarnation, age: next(age) }
            }
            Message::Renewed { node, incarnation, fenced, age } => {
                Message::Renewed { node, incarnation, fenced, age: next(age) }
            }
            Message::Launch { .. } | Message::Register { .. } | Message::Ack { .. } => return Some(message),
        };
        let void = match older {
            Message::StartOk { age, .. } | Message::Renewed { age, fenced: 0, .. } => self.grant(age) == 0,
            Message::Launch { .. }
            | Message::Start { .. }
            | Message::Renew { .. }
            | Message::Renewed { .. }
            | Message::Register { .. }
            | Message::Ack { .. } => false,
        };
        (!void).then_some(older)
    }
}

/// Ends a run whose shim is gone: what it left is killed first.
fn lost(place: &mut Place) {
    place.agents = 0;
    place.shim = Shim::None;
    place.outcome = Some(Ending::ShimLost);
    place.held = Held::Ended;
}
