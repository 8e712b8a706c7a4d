//! How far agents are kept from everything that is not theirs: the tiers, what a project asks for, what a node gives.
//!
//! What a tier means in the terms of the system is the runner's business (`runner/src/contain/`).

use serde::{Deserialize, Serialize};

/// A tier of containment. Each has all that the ones before it have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// An environment and a HOME from nothing, a session of its own; whatever it started ends with it.
    #[default]
    Environment,
    /// Memory, processes, CPU and disk are bounded.
    Limits,
    /// Nothing can be read but the system and its own workspace and HOME, nothing written but these, and no process of
    /// anybody else's touched; no privileges.
    Sandbox,
    /// A network, a file system tree and a user namespace of its own: the one way out is a proxy with a list of hosts.
    Sealed,
}

impl Tier {
    /// All of them, the loosest first.
    pub const ALL: &'static [Self] = &[Self::Environment, Self::Limits, Self::Sandbox, Self::Sealed];

    /// The word in `orch.toml`, in the database and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Limits => "limits",
            Self::Sandbox => "sandbox",
            Self::Sealed => "sealed",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|tier| tier.as_str() == word)
    }
}

/// What a node can give, as it found when it last probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containment {
    /// The strictest tier.
    pub tier: Tier,
    /// What it lacks for the next one and what to do; `None`: it gives all of them, or has not said.
    pub lacks: Option<String>,
    /// How it does that, where it is not the same everywhere.
    #[serde(default)]
    pub note: Option<String>,
}

/// Where agents of the strictest tier get to unless their project says otherwise.
pub const EGRESS_DEFAULT: &str = "api.anthropic.com:443";

/// A host and a port that agents may reach: `api.example:443`, or every host below a name: `*.example:443`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    host: String,
    port: u16,
}

impl Destination {
    /// Reads `HOST:PORT`; the error says what is wrong with it.
    ///
    /// # Errors
    /// There is no port, the host is no name, or a `*` stands for everything.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("has no port: write HOST:PORT")?;
        let port: u16 = port.parse().map_err(|_| "has no port from 1 to 65535: write HOST:PORT")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'_');
        if port == 0 || name.is_empty() || !name.bytes().all(fits) {
            return Err("must be HOST:PORT, or *.DOMAIN:PORT for every host below a domain");
        }
        if host.starts_with("*.") && !name.contains('.') {
            return Err("lets nearly everything through: name a domain below a top level");
        }
        Ok(Self { host, port })
    }

    /// Whether it lets a connection to this host and port through.
    pub fn allows(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let host = host.trim_end_matches('.');
        let named = match self.host.strip_prefix('*') {
            Some(domain) => host.len() > domain.len() && host.ends_with(domain),
            None => host == self.host,
        };
        named && port == self.port
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl TryFrom<String> for Destination {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_grow_stricter_in_their_order() {
        assert!(Tier::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(Tier::ALL.iter().all(|tier| Tier::parse(tier.as_str()) == Some(*tier)));
        assert!(Tier::ALL.iter().all(|tier| serde_json::to_value(tier).unwrap() == tier.as_str()));
    }

    #[test]
    fn a_destination_allows_itself_and_what_is_below_its_star() {
        let one = Destination::parse("API.example.com:443").unwrap();
        assert!(one.allows("api.example.com", 443) && one.allows("Api.Example.com.", 443));
        for (host, port) in [
            ("api.example.com", 80),
            ("xapi.example.com", 443),
            ("api.example.com.evil.org", 443),
            ("example.com", 443),
        ] {
            assert!(!one.allows(host, port), "{host}:{port}");
        }
        let below = Destination::parse("*.example.com:443").unwrap();
        assert!(below.allows("a.example.com", 443) && below.allows("a.b.example.com", 443));
        assert!(!below.allows("example.com", 443) && !below.allows("notexample.com", 443));
        assert!(!below.allows(".example.com", 443));
        let six = Destination::parse("[::1]:80").unwrap();
        assert!(six.allows("::1", 80) && six.allows("[::1]", 80));
        assert_eq!(six.to_string(), "[::1]:80");
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for text in [
            "",
            "x",
            "x:",
            "x:0",
            "x:70000",
            ":443",
            "*:443",
            "*.:443",
            "*.com:443",
            "a b:1",
            "http://x:1",
            "x/y:1",
        ] {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
    }
}
