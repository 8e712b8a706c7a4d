//! A night of work items through all stages, planned from a seed: what each agent does, what the forges announce, twice, late
//! or never, and which part is killed when. A checker holds what the services recorded against the plan.

mod check;
mod plan;
mod reported;
pub mod repository;
mod run;
pub mod script;
pub mod shop;

pub use plan::Plan;
pub use run::Night;
