//! The wire: `orch.v1` messages and services, and their way to and from the domain.
//!
//! The admin messages double as the JSON of `GET /queue` and `orch … --json`, so the two cannot differ.
//! Knows no store and no service.

pub mod codec;
pub mod convert;
pub mod tokens;

/// The generated messages, clients and servers of package `orch.v1`.
#[expect(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("orch.v1");
}

/// The descriptors of package `orch.v1`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/orch.v1.bin"));
