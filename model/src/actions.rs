//! What can happen in a state, and what is under way between the parts.

use domain::{RunState, Status};

use crate::state::{Bits, Ending, Fault, Held, NODES, Place, RUNS_MAX, Shim, State};
use crate::{Protocol, Variant};

/// One step of one part, of the network or of time. Runs and nodes by their index.
#[expect(missing_docs, reason = "the fields are named alike everywhere")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The scheduler claims the job for a node; the Launch goes out.
    Claim { node: usize },
    /// The scheduler gives up a run whose lease is over.
    Expire { run: usize },
    /// A message arrives, perhaps not for the first time.
    Deliver(Message),
    /// The node asks for a run's start, or asks again.
    SendStart { run: usize },
    /// The node is refused, or has asked long enough, and forgets the offer.
    StopAsking { run: usize },
    /// The node journals that it will spawn.
    Journal { run: usize },
    /// The node spawns shim and agent.
    Spawn { run: usize },
    /// The agent ends by itself.
    Exit { run: usize },
    /// The shim ends an agent whose lease is over or that is fenced.
    Kill { run: usize },
    /// The shim makes the outcome durable.
    Record { run: usize },
    /// The runner finds a shim dead, kills what it left and records that.
    Settle { run: usize },
    /// An outcome reaches the scheduler, perhaps not for the first time.
    Report { run: usize },
    /// The node renews everything it holds.
    SendRenew { node: usize },
    /// The node registers.
    SendRegister { node: usize },
    /// The scheduler's process dies and another starts.
    SchedulerCrash,
    /// A runner dies; its shims and agents live.
    RunnerCrash { node: usize },
    /// A host dies with everything on it but the disk.
    HostCrash { node: usize },
    /// A shim dies.
    ShimCrash { run: usize },
    /// A runner starts again.
    RunnerStart { node: usize },
    /// Time passes.
    Tick,
    /// A broken scheduler does what it has put off.
    PayOff,
    /// A broken reaper takes a run for an orphan.
    Reap { run: usize },
}

/// A message; `held` and `fenced` are runs as bits, `age` is in ticks since the sender asked, and ends at the node's lease.
#[expect(missing_docs, reason = "the fields are named alike everywhere")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Scheduler to node: a run is offered.
    Launch { run: usize },
    /// Node to scheduler: may the run start?
    Start { run: usize, incarnation: u8, age: u8 },
    /// Scheduler to node: started, with a lease from the sending of that Start.
    StartOk { run: usize, incarnation: u8, age: u8 },
    /// Node to scheduler.
    Renew { node: usize, incarnation: u8, number: u8, held: Bits, age: u8 },
    /// Scheduler to node.
    Renewed { node: usize, incarnation: u8, fenced: Bits, age: u8 },
    /// Node to scheduler.
    Register { node: usize, incarnation: u8, held: Bits },
    /// Scheduler to node: the outcome is committed.
    Ack { run: usize },
}

/// From the first state to an agent at work.
pub(crate) const TO_WORK: [Action; 7] = [
    Action::Claim { node: 0 },
    Action::Deliver(Message::Launch { run: 0 }),
    Action::SendStart { run: 0 },
    Action::Deliver(Message::Start { run: 0, incarnation: 1, age: 0 }),
    Action::Deliver(Message::StartOk { run: 0, incarnation: 1, age: 0 }),
    Action::Journal { run: 0 },
    Action::Spawn { run: 0 },
];

impl Protocol {
    /// Everything that may happen next. Some of it may turn out to change nothing.
    pub(crate) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        if state.job.status == Status::Done && state.agents() == 0 {
            // What is left is to let go of the outcome.
            return;
        }
        self.scheduler_actions(state, actions);
        actions.extend(state.mail.iter().map(|message| Action::Deliver(*message)));
        for (run, row) in state.claimed() {
            self.run_actions(state, run, usize::from(row.node), actions);
        }
        for node in 0..NODES {
            self.node_actions(state, node, actions);
        }
        if self.time_may_pass(state) {
            actions.push(Action::Tick);
        }
    }

    fn scheduler_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let claims = state.claimed().count();
        if state.job.status == Status::Queued && claims < usize::from(self.limits.runs) {
            // The nodes are alike: the first claim goes to the first.
            let nodes = if claims == 0 { 1 } else { NODES };
            actions.extend(
                (0..nodes)
                    .filter(|node| state.memory.sessions[*node].is_some())
                    .map(|node| Action::Claim { node }),
            );
        }
        for (run, lease) in state.memory.leases.iter().enumerate() {
            if lease.is_some_and(|lease| lease.left == 0) {
                actions.push(Action::Expire { run });
            }
        }
        if state.left.faults.contains(&Fault::Scheduler) && claims > 0 {
            actions.push(Action::SchedulerCrash);
        }
        if state.memory.owed.commit.is_some() || state.memory.owed.extend != 0 {
            actions.push(Action::PayOff);
        }
        if self.is(Variant::ReaperJoinsRunners) {
            let orphan = |node: u8| state.memory.sessions[usize::from(node)].is_none();
            let live = state.claimed().filter(|(_, row)| row.is_live() && orphan(row.node));
            actions.extend(live.map(|(run, _)| Action::Reap { run }));
        }
    }

    fn run_actions(&self, state: &State, run: usize, node: usize, actions: &mut Vec<Action>) {
        let place = &state.places[run];
        if place.agents > 0 {
            actions.push(Action::Exit { run });
            if (place.deadline == 0 || place.fenced) && self.timer_works(state, run, node) {
                actions.push(Action::Kill { run });
            }
        }
        if place.shim != Shim::None && state.left.faults.contains(&Fault::Shim) {
            actions.push(Action::ShimCrash { run });
        }
        if let Shim::Recording(_) = place.shim {
            actions.push(Action::Record { run });
        }
        if !state.nodes[node].up {
            return;
        }
        if place.outcome.is_some() && place.held == Held::Ended {
            actions.push(Action::Report { run });
        }
        if place.held == Held::Offered {
            match place.granted {
                None if !place.intent => {
                    if state.left.starts > 0 {
                        actions.push(Action::SendStart { run });
                    }
                    if state.left.starts == 0 || !state.runs[run].is_some_and(|row| row.is_live()) {
                        actions.push(Action::StopAsking { run });
                    }
                }
                Some(_) if !place.intent => actions.push(Action::Journal { run }),
                None | Some(_) => {}
            }
        }
        if place.granted.is_some() && place.intent {
            actions.push(Action::Spawn { run });
        }
        if place.held == Held::Started && place.shim == Shim::None && place.outcome.is_none() {
            actions.push(Action::Settle { run });
        }
    }

    fn node_actions(&self, state: &State, node: usize, actions: &mut Vec<Action>) {
        let one = &state.nodes[node];
        if !one.up {
            actions.push(Action::RunnerStart { node });
            return;
        }
        match state.memory.sessions[node] {
            Some(session) if session.incarnation == one.incarnation => {
                let live = |run: usize| state.runs[run].is_some_and(|row| row.is_live());
                let matters = |run| live(run) || state.places[run].takes_slot();
                if state.left.renews > 0 && state.runs_on(node).any(matters) {
                    actions.push(Action::SendRenew { node });
                }
            }
            Some(_) | None => actions.push(Action::SendRegister { node }),
        }
        if state.runs_on(node).next().is_some() {
            if state.left.faults.contains(&Fault::Runner) {
                actions.push(Action::RunnerCrash { node });
            }
            if state.left.faults.contains(&Fault::Host) {
                actions.push(Action::HostCrash { node });
            }
        }
    }

    /// Whether somebody is there to end the agent at its deadline.
    fn timer_works(&self, state: &State, run: usize, node: usize) -> bool {
        let kept = state.places[run].shim != Shim::None;
        kept && (state.nodes[node].up || !self.is(Variant::NoDeadMan))
    }

    /// An agent at its deadline is dead before the tick is over.
    fn time_may_pass(&self, state: &State) -> bool {
        !state.claimed().any(|(run, row)| {
            let place = &state.places[run];
            place.agents > 0 && place.deadline == 0 && self.timer_works(state, run, usize::from(row.node))
        })
    }

    /// Does one step.
    pub(crate) fn take(&self, state: &mut State, action: &Action) {
        match *action {
            Action::Claim { node } => self.claim(state, node),
            Action::Expire { run } => self.expire(state, run),
            Action::Deliver(message) => self.deliver(state, message),
            Action::SendStart { run } => self.send_start(state, run),
            Action::StopAsking { run } => state.places[run].held = Held::Forgotten,
            Action::Journal { run } => self.journal(state, run),
            Action::Spawn { run } => self.spawn(state, run),
            Action::Exit { run } => self.agent_ends(state, run, Ending::Success),
            Action::Kill { run } => self.agent_ends(state, run, Ending::SelfFenced),
            Action::Record { run } => self.record(state, run),
            Action::Settle { run } => self.settle(state, run),
            Action::Report { run } => self.report(state, run),
            Action::SendRenew { node } => self.send_renew(state, node),
            Action::SendRegister { node } => self.send_register(state, node),
            Action::SchedulerCrash => {
                state.left.spend(Fault::Scheduler);
                self.scheduler_restarts(state);
            }
            Action::RunnerCrash { node } => {
                state.left.spend(Fault::Runner);
                self.runner_dies(state, node);
            }
            Action::HostCrash { node } => {
                state.left.spend(Fault::Host);
                self.host_dies(state, node);
            }
            Action::ShimCrash { run } => {
                state.left.spend(Fault::Shim);
                self.shim_dies(state, run);
            }
            Action::RunnerStart { node } => self.runner_starts(state, node),
            Action::Tick => self.tick(state),
            Action::PayOff => self.pay_off(state),
            Action::Reap { run } => self.reap(state, run),
        }
        self.tidy(state);
    }

    fn deliver(&self, state: &mut State, message: Message) {
        match message {
            Message::Launch { run } => self.launched(state, run),
            Message::Start { run, incarnation, age } => self.start(state, run, incarnation, age),
            Message::StartOk { run, incarnation, age } => self.start_ok(state, run, incarnation, age),
            Message::Renew { node, incarnation, number, held, age } => {
                self.renew(state, node, incarnation, number, held, age);
            }
            Message::Renewed { node, incarnation, fenced, age } => {
                self.renewed(state, node, incarnation, fenced, age);
            }
            Message::Register { node, incarnation, held } => self.register(state, node, incarnation, held),
            Message::Ack { run } => self.ack(state, run),
        }
    }

    /// Throws away what cannot do anything but give a run more time with the scheduler: never hearing of it is one of
    /// the ways explored anyway.
    fn tidy(&self, state: &mut State) {
        let crash =
            |fault: Fault| state.left.faults.contains(&fault) || state.left.faults.contains(&Fault::Host);
        // Between two steps that nothing can part, nothing happens.
        let (journal_parts, record_parts) = (crash(Fault::Runner), crash(Fault::Shim));
        for run in 0..RUNS_MAX {
            let place = &state.places[run];
            if !journal_parts && place.intent && place.granted.is_some() {
                self.spawn(state, run);
            }
            if !record_parts && matches!(state.places[run].shim, Shim::Recording(_)) {
                self.record(state, run);
            }
            let place = &mut state.places[run];
            if place.shim == Shim::None && place.agents == 0 {
                match place.held {
                    Held::Ended => (place.deadline, place.fenced) = (0, false),
                    Held::Forgotten => *place = Place { held: Held::Forgotten, ..Place::default() },
                    Held::Unknown | Held::Offered | Held::Started => {}
                }
            }
            if place.held == Held::Forgotten && place.agents == 0 {
                state.witness.spawned &= !(1 << run);
            }
        }
        for node in 0..NODES {
            if !state.runs_on(node).any(|run| state.places[run].takes_slot()) {
                state.nodes[node].lease = 0;
            }
        }
        let mut mail = std::mem::take(&mut state.mail);
        mail.retain(|message| self.matters(state, message));
        state.mail = mail;
    }

    fn matters(&self, state: &State, message: &Message) -> bool {
        let waits = |run: usize| state.places[run].held == Held::Offered && !state.places[run].intent;
        let in_state = |run: usize, in_state| state.runs[run].is_some_and(|row| row.state == in_state);
        let of_this = |run: usize, incarnation: u8| {
            state.node_of(run).is_some_and(|node| state.nodes[node].incarnation == incarnation)
        };
        match *message {
            Message::Launch { run } => {
                state.places[run].held == Held::Unknown || in_state(run, RunState::Offered)
            }
            Message::Start { run, incarnation, .. } => {
                (waits(run) && of_this(run, incarnation)) || in_state(run, RunState::Offered)
            }
            Message::StartOk { run, incarnation, age } => {
                let more = state.places[run].granted < Some(self.grant(age));
                waits(run) && of_this(run, incarnation) && more
            }
            Message::Renew { node, incarnation, number, .. } => {
                let known = state.memory.sessions[node];
                let fresh = known.is_none_or(|known| known.number < number);
                incarnation == state.nodes[node].incarnation && (fresh || self.is(Variant::StragglerCounts))
            }
            Message::Renewed { node, incarnation, fenced, age } => {
                let grant = self.grant(age);
                let gains = |run: usize| {
                    let place = &state.places[run];
                    let fences = fenced & 1 << run != 0 && place.is_held() && !place.fenced;
                    fences || (place.shim == Shim::Keeping && !place.fenced && place.deadline < grant)
                };
                let one = &state.nodes[node];
                one.incarnation == incarnation && (one.lease < grant || state.runs_on(node).any(gains))
            }
            Message::Register { node, incarnation, .. } => incarnation >= state.node_rows[node],
            Message::Ack { run } => state.places[run].held != Held::Forgotten,
        }
    }
}
