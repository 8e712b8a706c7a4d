//! Real binaries against real parts: the stand-ins and the harness that the end-to-end tests share.
//! Owns no product code and is used by no service.

pub mod bounds;
pub mod collector;
pub mod flood;
pub mod forges;
pub mod harness;
pub mod history;
pub mod kill_points;
pub mod night;
pub mod pid_reuse;
pub mod receiver;
pub mod scenario;
pub mod shop;
pub mod soak;
pub mod stub_api;
