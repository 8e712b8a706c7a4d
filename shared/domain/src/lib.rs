//! What a job is and what may happen to it.
//!
//! Pure: no I/O, no clock, no randomness. Time arrives as a [`Timestamp`], chance as a [`Chance`], and every
//! decision is a function of its arguments, so that the model, the simulation and the services share one truth.
//! How rows are stored is `store`'s business, how messages look on the wire is `proto`'s.

pub mod account;
pub mod admission;
pub mod agent_output;
pub mod alert;
pub mod breaker;
pub mod budget;
pub mod classify;
pub mod cli_version;
pub mod containment;
pub mod delivery;
pub mod ids;
pub mod import;
pub mod job;
pub mod launch;
pub mod log;
pub mod outbox;
pub mod outcome;
pub mod overview;
pub mod pipeline;
pub mod policy;
pub mod reconcile;
pub mod report;
pub mod resume;
pub mod retention;
pub mod run;
pub mod runner;
pub mod sanitize;
pub mod sighting;
pub mod silence;
pub mod steps;
pub mod term;
pub mod text;
pub mod time;
pub mod transition;
pub mod verdict;
pub mod work_item;
pub mod workspace;

pub use alert::Alert;
pub use ids::{Account, Epoch, Incarnation, JobId, NodeId, RunId};
pub use job::{Budgets, Job, JobState, Status};
pub use outcome::{Class, Outcome, PermanentReason, Reason, TransientReason};
pub use policy::{Chance, Policy};
pub use run::{Run, RunState};
pub use time::Timestamp;
pub use transition::{Event, IllegalEvent, Transition, next};
