//! The certificate authority of one Orch: a folder with the CA's key, the tokens that let new nodes join, what was issued
//! to them, and who is out again.
//!
//! The scheduler signs with it and `orch ca` and `orch join-token` look after it. Who may do what with a certificate is
//! decided elsewhere; see `docs/decisions/`.

mod authority;
mod files;
mod nodes;
mod request;
mod revoked;
mod token;

pub use authority::{Authority, CA_FILE, Issued};
pub use nodes::Refusal;
pub use request::Request;
pub use revoked::{REVOKED_FILE, Revoked};
pub use token::{JoinToken, TokenTerms};

use std::io;
use std::path::PathBuf;

/// Why something could not be done with the authority's folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is a CA already, whose certificates another one would make worthless.
    #[error("{} holds a CA already", .0.display())]
    There(PathBuf),
    /// There is no CA.
    #[error("{} holds no CA: make one with `orch ca init`", .0.display())]
    Absent(PathBuf),
    /// A file cannot be used.
    #[error("could not use {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than we wrote.
    #[error("{} cannot be read: {problem}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate could not be made.
    #[error("could not make a certificate")]
    Certificate(#[from] rcgen::Error),
}
