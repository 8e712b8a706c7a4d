//! What every Orch process needs: settings, time, chance, tasks, start and stop, telemetry, health,
//! the listener, the gRPC channel, requests to outside services and files that are reloaded.
//!
//! It knows nothing of jobs and opens no database. It is the one place that reads the clocks of
//! the host, spawns tasks and touches TLS keys.

pub mod clock;
pub mod grpc;
pub mod health;
pub mod lifecycle;
pub mod metrics;
pub mod net;
pub mod outbound;
pub mod random;
pub mod server;
pub mod settings;
#[cfg(feature = "sim")]
pub mod sim;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod watched;

pub use clock::Clock;
pub use lifecycle::Refused;
pub use random::Random;
pub use tasks::{Tasks, blocking};
