//! What every Orch process needs: settings, time, tasks, start and stop, telemetry, health,
//! the listener, the gRPC channel and files that are reloaded.
//!
//! It knows nothing of jobs and opens no database. It is the one place that reads the clocks of
//! the host, spawns tasks and touches TLS keys.

pub mod clock;
pub mod grpc;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod server;
pub mod settings;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod watched;

pub use clock::Clock;
pub use lifecycle::Refused;
pub use tasks::Tasks;
