//! The scheduler's steps, as in its `claim`, `lease`, `grpc`, `nodes`, `reaper` and `finalize`.

use domain::transition::LostHow;
use domain::{RunState, Status};

use crate::actions::Message;
use crate::job;
use crate::state::{
    Bits, Ending, LEASE_SCHEDULER, Lease, Memory, NODES, Owed, RUNS_MAX, RunRow, Session, State,
};
use crate::{Protocol, Variant};

impl Protocol {
    pub(crate) fn claim(&self, state: &mut State, node: usize) {
        let Some(session) = state.memory.sessions[node] else { return };
        let run = state.claimed().count();
        if state.move_job(&job::claimed(run, node, session.incarnation)) {
            let lease = Lease { left: LEASE_SCHEDULER, incarnation: session.incarnation };
            state.memory.leases[run] = Some(lease);
            // Sent again and again until it is answered: one that may come at any time, or never, is all of them.
            state.send(Message::Launch { run });
        }
    }

    pub(crate) fn expire(&self, state: &mut State, run: usize) {
        self.give_up(state, run, LostHow::LeaseExpired);
    }

    pub(crate) fn reap(&self, state: &mut State, run: usize) {
        self.give_up(state, run, LostHow::NodeLost);
    }

    fn give_up(&self, state: &mut State, run: usize, how: LostHow) {
        let Some(row) = state.runs[run] else { return };
        self.end(state, run, &job::given_up(run, row, how));
        if self.is(Variant::RequeueKeepsOwnership) && state.job.status == Status::Queued {
            state.job.run = u8::try_from(run).ok();
        }
    }

    /// Moves the job by the end of a run; memory follows the database either way.
    fn end(&self, state: &mut State, run: usize, event: &domain::Event) -> bool {
        let moved = state.move_job(event);
        if state.runs[run].is_none_or(|row| !row.is_live()) {
            state.memory.leases[run] = None;
        }
        moved
    }

    pub(crate) fn not_taken(&self, state: &mut State, run: usize) {
        self.end(state, run, &job::withdrawn(run));
    }

    /// The session that speaks for a node, if it is this incarnation.
    fn session(state: &mut State, node: usize, incarnation: u8) -> Option<&mut Session> {
        state.memory.sessions[node].as_mut().filter(|session| session.incarnation == incarnation)
    }

    pub(crate) fn start(&self, state: &mut State, run: usize, incarnation: u8, age: u8) {
        let Some(node) = state.node_of(run) else { return };
        if Self::session(state, node, incarnation).is_none() {
            return;
        }
        let Some(lease) = &mut state.memory.leases[run] else {
            return;
        };
        lease.incarnation = lease.incarnation.max(incarnation);
        let is_repeat = state.runs[run].is_some_and(|row| row.state == RunState::Started);
        if is_repeat && self.is(Variant::RepeatedStartRefused) {
            self.give_up(state, run, LostHow::NodeLost);
            return;
        }
        if is_repeat && self.is(Variant::ExtendAfterAnswer) {
            state.memory.owed.extend |= 1 << run;
        } else {
            lease.left = LEASE_SCHEDULER;
        }
        if self.end(state, run, &job::confirmed(run)) {
            state.send(Message::StartOk { run, incarnation, age });
        }
    }

    pub(crate) fn renew(
        &self,
        state: &mut State,
        node: usize,
        incarnation: u8,
        number: u8,
        held: Bits,
        age: u8,
    ) {
        let Some(session) = Self::session(state, node, incarnation) else { return };
        if number <= session.number {
            // It extends nothing, so it may not be answered as if it did.
            if self.is(Variant::StragglerCounts) {
                state.send(Message::Renewed { node, incarnation, fenced: 0, age });
            }
            return;
        }
        session.number = number;
        if self.is(Variant::AbsenceIsLoss) {
            let started = |run: &usize| state.runs[*run].is_some_and(|row| row.state == RunState::Started);
            let absent: Vec<_> =
                state.runs_on(node).filter(started).filter(|run| held & 1 << run == 0).collect();
            for run in absent {
                self.give_up(state, run, LostHow::NodeLost);
            }
        }
        let fenced = Self::hear(state, incarnation, held);
        state.send(Message::Renewed { node, incarnation, fenced, age });
    }

    /// Extends the leases of what a node holds; gives back what it may not hold.
    fn hear(state: &mut State, incarnation: u8, held: Bits) -> Bits {
        let mut fenced = 0;
        for run in (0..RUNS_MAX).filter(|run| held & 1 << run != 0) {
            match &mut state.memory.leases[run] {
                None => fenced |= 1 << run,
                Some(lease) => {
                    lease.left = LEASE_SCHEDULER;
                    lease.incarnation = lease.incarnation.max(incarnation);
                }
            }
        }
        fenced
    }

    pub(crate) fn register(&self, state: &mut State, node: usize, incarnation: u8, held: Bits) {
        if incarnation < state.node_rows[node] {
            return;
        }
        state.node_rows[node] = incarnation;
        state.memory.sessions[node] = Some(Session { incarnation, number: 0 });
        let dead: Vec<_> = state
            .runs_on(node)
            .filter(|run| state.memory.leases[*run].is_some_and(|lease| lease.incarnation < incarnation))
            .filter(|run| held & 1 << run == 0)
            .collect();
        for run in dead {
            self.give_up(state, run, LostHow::NodeLost);
        }
        Self::hear(state, incarnation, held);
    }

    pub(crate) fn report(&self, state: &mut State, run: usize) {
        let Some(ending) = state.places[run].outcome else { return };
        if self.is(Variant::AckBeforeCommit) {
            state.send(Message::Ack { run });
            state.memory.owed.commit = u8::try_from(run).ok().map(|run| (run, ending));
            return;
        }
        self.commit(state, run, ending);
        state.send(Message::Ack { run });
    }

    fn commit(&self, state: &mut State, run: usize, ending: Ending) {
        let before = (state.job, state.runs[run]);
        let owner = state.job.run.map_or(run, usize::from);
        let named = if self.is(Variant::OutcomeNotFenced) { owner } else { run };
        let moved = self.end(state, named, &job::ended(named, ending));
        let stranger = before.0.run.map(usize::from) != Some(run) || before.1.is_some_and(|row| row.reported);
        state.witness.moved_by_stranger |= moved && state.job != before.0 && stranger;
        if let Some(row) = &mut state.runs[run] {
            row.reported = true;
        }
    }

    /// A new process: memory from the database, every run with a whole lease, no session.
    pub(crate) fn scheduler_restarts(&self, state: &mut State) {
        let left = if self.is(Variant::NoGraceAtStart) { 0 } else { LEASE_SCHEDULER };
        let take_up = |run: usize| {
            let row = state.runs[run].filter(RunRow::is_live)?;
            Some(Lease { left, incarnation: row.incarnation })
        };
        let leases = std::array::from_fn(take_up);
        state.memory = Memory { leases, sessions: [None; NODES], owed: Owed::default() };
    }

    pub(crate) fn pay_off(&self, state: &mut State) {
        let owed = std::mem::take(&mut state.memory.owed);
        if let Some((run, ending)) = owed.commit {
            self.commit(state, usize::from(run), ending);
        }
        for (run, lease) in state.memory.leases.iter_mut().enumerate() {
            if let Some(lease) = lease
                && owed.extend & 1 << run != 0
            {
                lease.left = LEASE_SCHEDULER;
            }
        }
    }
}
