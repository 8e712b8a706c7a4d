//! The run protocol of scheduler and runner (DESIGN.md sections 4, 6 and 7) as a model that stateright explores.
//!
//! One job, two nodes, a few epochs, one crash of each part, messages delayed, lost, repeated and reordered. Every
//! move of the job is made by `domain::next`, so it is the code's table that is explored. No crate depends on this
//! one. What it leaves out stands in docs/RELIABILITY.md.

#![expect(
    clippy::unused_self,
    reason = "every step is a method of the protocol, whether or not a variant changes it"
)]

mod actions;
mod healing;
mod job;
mod node;
mod properties;
mod scheduler;
mod state;
mod variants;

pub use actions::{Action, Message};
pub use properties::{NAMES, SIGHTS};
pub use state::{Fault, Limits, NODES, RUNS_MAX, State};
pub use variants::Variant;

use stateright::{Model, Property};

/// The protocol, whole or broken in one place, within limits.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What is wrong with it.
    pub variant: Variant,
    /// How much may happen.
    pub limits: Limits,
    /// Whether to begin with an agent at work, so that what follows can be explored further.
    pub at_work: bool,
    /// Whether to check in every state that a time without faults brings the job to its end.
    pub healing: bool,
}

impl Protocol {
    fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State::first(&self.limits);
        if self.at_work {
            state.left.starts += 1;
            for action in actions::TO_WORK {
                self.take(&mut state, &action);
            }
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut after = state.clone();
        self.take(&mut after, &action);
        (after != *state).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
