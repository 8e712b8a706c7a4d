//! Who a certificate belongs to: the `orch://ROLE/NAME` among its subject alternative names.

use std::fmt;
use std::str::FromStr;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const SCHEME: &str = "orch://";
/// The longest name of a peer.
const NAME_BYTES_MAX: usize = 128;

/// What the bearer of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The scheduler: calls runners, answers everybody.
    Scheduler,
    /// Ingest or the console.
    Service,
    /// A runner: speaks for itself alone.
    Node,
    /// A person or script that may do everything.
    Admin,
    /// A person or script that may look.
    Viewer,
}

impl Role {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Scheduler, "scheduler"),
        (Self::Service, "service"),
        (Self::Node, "node"),
        (Self::Admin, "admin"),
        (Self::Viewer, "viewer"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.into_iter().find(|(role, _)| *role == self).map_or("", |(_, word)| word)
    }
}

/// A role and a name within it, written `node/0192…` or `admin/ada`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerName {
    role: Role,
    name: String,
}

/// Why a text names no peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names nobody: write ROLE/NAME, such as admin/ada, with a role of scheduler, service, node, admin or viewer and \
     a name of letters, digits, `.`, `_` and `-`"
)]
pub struct NotAName(String);

impl PeerName {
    /// A name within a role.
    ///
    /// # Errors
    /// It is empty, longer than 128 bytes, or holds more than letters, digits, `.`, `_` and `-`.
    pub fn new(role: Role, name: impl Into<String>) -> Result<Self, NotAName> {
        let name = name.into();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // It becomes the name of a file, too.
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.bytes().all(plain)
        {
            return Err(NotAName(format!("{}/{name}", role.word())));
        }
        Ok(Self { role, name })
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Which one it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it stands in a certificate.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{self}")
    }

    /// The one peer that a certificate names.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let mut ours = names.value.general_names.iter().filter_map(|name| {
            let GeneralName::URI(uri) = name else { return None };
            uri.strip_prefix(SCHEME)
        });
        let name = ours.next()?.parse().ok()?;
        // Two would let a reader of the second see somebody else.
        ours.next().is_none().then_some(name)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role.word(), self.name)
    }
}

impl FromStr for PeerName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let refused = || NotAName(text.chars().take(NAME_BYTES_MAX).collect());
        let (role, name) = text.split_once('/').ok_or_else(refused)?;
        let role = Role::ALL.into_iter().find(|(_, word)| *word == role).ok_or_else(refused)?.0;
        Self::new(role, name)
    }
}

/// Who sent a request; every request of a listener has one among its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Somebody on a listener without TLS: whoever can reach it.
    #[default]
    Plaintext,
    /// Somebody without a certificate.
    Stranger,
    /// The bearer of a certificate of our CA.
    Peer(PeerName),
}

impl Caller {
    /// The caller of a request with these extensions.
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Whether this caller may speak for the node: there it is known who calls, only the node itself.
    pub fn speaks_for(&self, node: &str) -> bool {
        match self {
            Self::Plaintext => true,
            Self::Stranger => false,
            Self::Peer(peer) => peer.role == Role::Node && peer.name == node,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plaintext => f.write_str("a caller without TLS"),
            Self::Stranger => f.write_str("a caller without a certificate"),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

/// From when until when a certificate counts, in UTC milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The first moment.
    pub from_ms: i64,
    /// The last.
    pub until_ms: i64,
}

impl Lifetime {
    /// When a certificate should be replaced: after the first third, so that an outage of twice that length is survived.
    pub fn replace_at_ms(self) -> i64 {
        self.from_ms.saturating_add(self.until_ms.saturating_sub(self.from_ms) / 3)
    }
}

/// How long a certificate counts; none when it cannot be read.
pub fn lifetime(certificate: &CertificateDer<'_>) -> Option<Lifetime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    let ms = |seconds: i64| seconds.saturating_mul(1000);
    Some(Lifetime {
        from_ms: ms(validity.not_before.timestamp()),
        until_ms: ms(validity.not_after.timestamp()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for text in ["scheduler/main", "service/console", "node/0192-a", "admin/ada", "viewer/x.y_z"] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), text);
        }
        let long = format!("node/{}", "n".repeat(NAME_BYTES_MAX + 1));
        for wrong in ["", "node", "node/", "king/x", "node/a/b", "node/../x", "node/.x", "node/a b", &long] {
            assert!(wrong.parse::<PeerName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_node_speaks_for_itself_alone() {
        let peer = |text: &str| Caller::Peer(text.parse().unwrap());
        let speaks = [peer("node/a"), peer("node/b"), peer("admin/a"), Caller::Stranger, Caller::Plaintext]
            .map(|caller| caller.speaks_for("a"));
        assert_eq!(speaks, [true, false, false, false, true]);
    }
}
