//! What must hold in every state (DESIGN.md section 4), and what must be seen at least once, so that a model in which
//! nothing happens proves nothing.

use domain::{RunState, Status};
use stateright::Property;

use crate::Protocol;
use crate::state::{Held, NODES, RunRow, State};

/// The properties that a broken variant may violate, by name.
pub const NAMES: [&str; 10] = [
    ONE_AGENT,
    QUEUED_OWNS_NOTHING,
    RUNNING_OWNS_ONE,
    ONE_LIVE_RUN,
    EPOCH_RISES,
    ONLY_THE_OWNER_MOVES,
    SPAWNED_IN_LEASE,
    SPAWNED_ONCE,
    KEPT_UNTIL_COMMITTED,
    HEALS,
];

/// What the protocol must be able to do, by name.
pub const SIGHTS: [&str; 5] = [DONE, DONE_AGAIN, LATE, ADOPTED, REFUSED];

const ONE_AGENT: &str = "at most one live agent";
const QUEUED_OWNS_NOTHING: &str = "I1 queued owns nothing";
const RUNNING_OWNS_ONE: &str = "I2 running owns its one live run";
const ONE_LIVE_RUN: &str = "I3 at most one live run";
const EPOCH_RISES: &str = "I4 the epoch rises";
const ONLY_THE_OWNER_MOVES: &str = "I5 only the owner's first outcome moves the job";
const SPAWNED_IN_LEASE: &str = "I6 spawned inside a committed lease";
const SPAWNED_ONCE: &str = "I6 spawned once for a run";
const KEPT_UNTIL_COMMITTED: &str = "I10 an outcome is kept until it is committed";
const HEALS: &str = "liveness: without further faults the job ends and nothing is left";

const DONE: &str = "seen: done at the first try";
const DONE_AGAIN: &str = "seen: done at a later try";
const LATE: &str = "seen: a late outcome kept and not applied";
const ADOPTED: &str = "seen: an agent that outlived its runner, under the next one";
const REFUSED: &str = "seen: a start refused";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_AGENT, |_, state: &State| state.agents() <= 1),
        Property::always(QUEUED_OWNS_NOTHING, |_, state: &State| {
            state.job.status != Status::Queued || (state.job.run.is_none() && live_runs(state) == 0)
        }),
        Property::always(RUNNING_OWNS_ONE, |_, state: &State| {
            let owned = state.job.run.and_then(|run| state.runs[usize::from(run)]);
            let owns = owned.is_some_and(|row| row.is_live() && row.epoch == state.job.epoch);
            (state.job.status == Status::Running) == (owns && live_runs(state) == 1)
        }),
        Property::always(ONE_LIVE_RUN, |_, state: &State| live_runs(state) <= 1),
        Property::always(EPOCH_RISES, |_, state: &State| !state.witness.epoch_not_raised),
        Property::always(ONLY_THE_OWNER_MOVES, |_, state: &State| !state.witness.moved_by_stranger),
        Property::always(SPAWNED_IN_LEASE, |_, state: &State| !state.witness.spawned_unleased),
        Property::always(SPAWNED_ONCE, |_, state: &State| !state.witness.spawned_twice),
        Property::always(KEPT_UNTIL_COMMITTED, |_, state: &State| !state.witness.report_dropped),
        Property::always(HEALS, |protocol: &Protocol, state: &State| {
            !protocol.healing || protocol.heals(state)
        }),
        Property::sometimes(DONE, |_, state: &State| {
            state.job.status == Status::Done && state.job.epoch == 1 && state.agents() == 0
        }),
        Property::sometimes(DONE_AGAIN, |_, state: &State| {
            state.job.status == Status::Done && state.job.epoch > 1
        }),
        Property::sometimes(LATE, |_, state: &State| {
            let late = |(run, row): (usize, RunRow)| {
                row.reported && state.job.run.is_some_and(|current| usize::from(current) != run)
            };
            state.claimed().any(late)
        }),
        Property::sometimes(ADOPTED, |_, state: &State| {
            let adopted = |node: usize| {
                let one = &state.nodes[node];
                one.up && one.incarnation > 1 && state.runs_on(node).any(|run| state.places[run].agents > 0)
            };
            (0..NODES).any(adopted)
        }),
        Property::sometimes(REFUSED, |_, state: &State| {
            let refused = |(run, row): (usize, RunRow)| {
                row.state == RunState::Ended && !row.reported && state.places[run].held == Held::Forgotten
            };
            state.claimed().any(refused)
        }),
    ]
}

fn live_runs(state: &State) -> usize {
    state.claimed().filter(|(_, row)| row.is_live()).count()
}
