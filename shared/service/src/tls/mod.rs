//! Mutual TLS between our own processes, each of which says in its certificate who it is.
//!
//! Both sides show a certificate signed by the one CA. Who may do what is the services' business; here a certificate
//! is checked and read ([`Caller`]). Browsers and webhook senders are served by a proxy in front, not by this.

mod accept;
mod connect;
mod credentials;
mod guard;
mod peer;

pub(crate) use accept::Accepted;
pub use accept::{Acceptor, OPEN_PATHS};
pub(crate) use connect::{Connector, Expected};
pub use credentials::{Credentials, Material};
pub use guard::guarded;
pub use peer::{Caller, Lifetime, NotAName, PeerName, Role, lifetime};

use crate::lifecycle::Refused;
use crate::settings::TlsSettings;

impl TlsSettings {
    /// `https` with certificates, `http` without: for URLs derived from an address.
    pub fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }

    /// Whether certificates are given.
    pub fn is_on(&self) -> bool {
        self.own.is_some() || self.has_files()
    }

    /// Whether any of the three files is named.
    pub fn has_files(&self) -> bool {
        self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_key.is_some()
    }

    /// What a listener needs; none without certificates.
    ///
    /// # Errors
    /// Not all three are given, a file cannot be read, or it holds no usable certificate or key.
    pub fn acceptor(&self) -> Result<Option<Acceptor>, Refused> {
        Ok(self.credentials()?.map(Acceptor::new))
    }

    /// The certificate and key of this process; none without. Errors as for [`TlsSettings::acceptor`].
    pub fn credentials(&self) -> Result<Option<Credentials>, Refused> {
        if let Some(own) = &self.own {
            return Ok(Some(own.clone()));
        }
        match (&self.tls_ca, &self.tls_cert, &self.tls_key) {
            (None, None, None) => Ok(None),
            (Some(ca), Some(cert), Some(key)) => Credentials::from_files(ca, cert, key).map(Some),
            (_, _, _) => Err(Refused::new(
                "ORCH_TLS_CA, ORCH_TLS_CERT and ORCH_TLS_KEY belong together: give all three or none",
            )),
        }
    }
}
