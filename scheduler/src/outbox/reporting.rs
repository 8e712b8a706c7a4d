//! The tracker and the forge as this process knows them: how they are called, and what may be told.

use domain::report::Terms;
use http::Uri;
use service::Refused;
use service::settings::{ForgeAccess, Forges, Secret};

use super::Sinks;

/// What is told where.
#[derive(Clone, Debug, Default)]
pub struct Reporting {
    forges: Forges,
    console_url: Option<String>,
    pub(crate) secrets: Vec<Secret>,
}

impl Reporting {
    /// Tells the configured forges; what they are told links to the console at `console_url`, and holds no credential.
    ///
    /// # Errors
    /// `console_url` is no address that a page can be opened at.
    pub fn new(forges: Forges, console_url: Option<&str>, sinks: &Sinks) -> Result<Self, Refused> {
        let fits = |url: &str| {
            let uri = url.parse::<Uri>().ok();
            uri.is_some_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
        };
        if console_url.is_some_and(|url| !fits(url)) {
            return Err(Refused::new("ORCH_CONSOLE_URL must start with https:// or http:// and name a host"));
        }
        let of_forges = [&forges.plane, &forges.gitea].into_iter().flatten();
        let mut secrets: Vec<Secret> = of_forges.map(|forge| forge.secret.clone()).collect();
        secrets.extend(sinks.secrets());
        Ok(Self { forges, console_url: console_url.map(str::to_owned), secrets })
    }

    /// How Plane is called.
    pub fn plane(&self) -> Option<&ForgeAccess> {
        self.forges.plane.as_ref()
    }

    /// How Gitea is called.
    pub fn gitea(&self) -> Option<&ForgeAccess> {
        self.forges.gitea.as_ref()
    }

    /// Whether anybody is told anything.
    pub(crate) fn any(&self) -> bool {
        self.forges.plane.is_some() || self.forges.gitea.is_some()
    }

    /// Composes under what is configured.
    pub(crate) fn with<T>(&self, compose: impl FnOnce(&Terms<'_>) -> T) -> T {
        let secrets: Vec<&str> = self.secrets.iter().map(Secret::expose).collect();
        compose(&Terms {
            plane: self.forges.plane.is_some(),
            gitea: self.forges.gitea.is_some(),
            console_url: self.console_url.as_deref(),
            secrets: &secrets,
        })
    }

    /// The text without any credential of this process.
    pub(super) fn redacted(&self, text: &str) -> String {
        let secrets = self.secrets.iter().map(Secret::expose);
        secrets.fold(text.to_owned(), |text, secret| super::answer::redacted(&text, secret))
    }
}
