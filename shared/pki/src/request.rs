//! A key of one's own, and the request to have its public half signed.

use rcgen::{CertificateParams, KeyPair};
use service::settings::Secret;

use crate::Error;

/// A new key and the request for its certificate. The key never leaves the host it was made on.
#[derive(Debug)]
pub struct Request {
    /// The private key, in PEM.
    pub key: Secret,
    /// The request, in PEM: it shows that whoever asks has the key, and asks for nothing else.
    pub pem: String,
}

impl Request {
    /// Makes a key and the request for it.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self, Error> {
        Self::of(&KeyPair::generate()?)
    }

    /// The request for a key that is there already.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn with_key(pem: &str) -> Result<Self, Error> {
        Self::of(&KeyPair::from_pem(pem)?)
    }

    fn of(key: &KeyPair) -> Result<Self, Error> {
        let request = CertificateParams::default().serialize_request(key)?;
        Ok(Self { key: Secret::new(key.serialize_pem()), pem: request.pem()? })
    }
}
