//! Who is out: names whose certificates no longer count, one a line.

use std::collections::BTreeSet;
use std::path::Path;

use service::tls::PeerName;

use crate::authority::{Authority, damaged};
use crate::{Error, files};

/// The list within the CA's folder.
pub const REVOKED_FILE: &str = "revoked";

/// The names that are out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked(BTreeSet<PeerName>);

impl Revoked {
    /// Reads the list.
    ///
    /// # Errors
    /// A line names nobody.
    pub fn parse(text: &str) -> Result<Self, String> {
        let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        names.map(|line| line.parse().map_err(|error| format!("{error}"))).collect::<Result<_, _>>().map(Self)
    }

    /// Reads the list of a CA's folder; without a file nobody is out.
    ///
    /// # Errors
    /// It cannot be read, or a line names nobody.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(REVOKED_FILE);
        let bytes = files::read(&path)?.unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|problem| damaged(&path, problem))
    }

    /// Adds a name; false when it is out already.
    ///
    /// # Errors
    /// The list cannot be read or written.
    pub fn add(authority: &Authority, name: &PeerName) -> Result<bool, Error> {
        let _lock = authority.lock()?;
        let mut revoked = Self::read(&authority.dir)?;
        if !revoked.0.insert(name.clone()) {
            return Ok(false);
        }
        let names: Vec<String> = revoked.0.iter().map(ToString::to_string).collect();
        let lines = format!("{}\n", names.join("\n"));
        files::write(&authority.dir.join(REVOKED_FILE), files::PRIVATE, lines.as_bytes())?;
        Ok(true)
    }

    /// Whether a name is out.
    pub fn contains(&self, name: &PeerName) -> bool {
        self.0.contains(name)
    }
}
