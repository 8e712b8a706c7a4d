//! The built programs as processes, against each other and against faults.

mod advances;
mod alerts;
mod bounds;
mod breaker;
mod budgets;
mod deliveries;
mod dev;
mod endings;
mod fake_claude;
mod floods;
mod following;
mod grpc;
mod happy_path;
mod hostile;
mod imported;
mod incident;
mod joining;
mod kill_points;
mod kills;
mod limits;
mod night;
mod operators;
mod postgres;
mod preflight;
mod pushes;
mod reconcile;
mod refusals;
mod reports;
mod restored;
mod resume;
mod secrets;
mod telemetry;
mod tour;
mod worktrees;

use e2e::shop;
