//! What Plane and Gitea tell, in one form, and which jobs it asks for.
//!
//! A webhook's body and what the reconciler reads from an API are the same words in the same shapes: both come through
//! here, so that one fact has one key whoever announces it. Pure: who sent a body is `ingest`'s to check, whether it was
//! seen before the store's, and what it starts `domain::launch`'s.

pub mod gitea;
pub mod identifier;
mod observed;
pub mod plan;
pub mod plane;

pub use observed::{Account, Observed, Place};

/// Why a body cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// JSON of another shape than the event's.
    #[error("the body does not have the shape of this event")]
    Shape,
    /// A name in the body that nothing may be built from.
    #[error("the body has an id, branch or repository name that cannot be used")]
    Identifier,
    /// It is of no configured project or workspace.
    #[error("no project is configured for this repository or workspace")]
    Foreign,
}
