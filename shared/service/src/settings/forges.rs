//! The tracker and the forge as they are called: their addresses and credentials.

use std::fmt;

use clap::Args;
use http::Uri;

use super::{Secret, SecretSetting};
use crate::lifecycle::Refused;

crate::secret! {
    /// API key of Orch's own account on Plane
    pub PlaneApiKey = "ORCH_PLANE_API_KEY";
    /// Access token of Orch's own account on Gitea or Forgejo, with the scopes write:issue and write:repository
    pub GiteaToken = "ORCH_GITEA_TOKEN";
}

/// Where Plane and Gitea are, and as whom they are called.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct ForgeSettings {
    /// Address of Plane, such as `https://plane.example`; without it Plane is told nothing
    #[arg(long, env = "ORCH_PLANE_API_URL", value_name = "URL")]
    pub plane_api_url: Option<String>,
    /// See [`PlaneApiKey`].
    #[command(flatten)]
    pub plane_api_key: SecretSetting<PlaneApiKey>,
    /// Address of Gitea or Forgejo, such as `https://git.example`; without it the forge is told nothing, and no runner opens a pull request
    #[arg(long, env = "ORCH_GITEA_API_URL", value_name = "URL")]
    pub gitea_api_url: Option<String>,
    /// See [`GiteaToken`].
    #[command(flatten)]
    pub gitea_token: SecretSetting<GiteaToken>,
}

/// Those of the two that are configured.
#[derive(Clone, Debug, Default)]
pub struct Forges {
    /// Plane.
    pub plane: Option<ForgeAccess>,
    /// Gitea or Forgejo.
    pub gitea: Option<ForgeAccess>,
}

/// How one of them is called; `Debug` shows no credential.
#[derive(Clone)]
pub struct ForgeAccess {
    base: String,
    /// The key or token.
    pub secret: Secret,
}

impl ForgeSettings {
    /// What these settings ask for.
    ///
    /// # Errors
    /// One half of a pair is missing, or an address cannot be used; no refusal shows a secret.
    pub fn forges(&self) -> Result<Forges, Refused> {
        let plane = ("ORCH_PLANE_API_URL", &self.plane_api_url);
        let gitea = ("ORCH_GITEA_API_URL", &self.gitea_api_url);
        Ok(Forges {
            plane: access(plane, self.plane_api_key.setting(), self.plane_api_key.get())?,
            gitea: access(gitea, self.gitea_token.setting(), self.gitea_token.get())?,
        })
    }
}

fn access(
    (setting, url): (&str, &Option<String>),
    secret_setting: &str,
    secret: Option<&Secret>,
) -> Result<Option<ForgeAccess>, Refused> {
    let (url, secret) = match (url, secret) {
        (None, None) => return Ok(None),
        (Some(url), Some(secret)) => (url, secret),
        (_, _) => {
            return Err(Refused::new(format!(
                "{setting} and {secret_setting} belong together: give both or none"
            )));
        }
    };
    let base = url.trim_end_matches('/').trim_end_matches("/api/v1").trim_end_matches('/');
    let parsed = base.parse::<Uri>().ok().filter(|uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        matches!(uri.scheme_str(), Some("https" | "http"))
            && !authority.is_empty()
            && !authority.contains('@')
    });
    if parsed.is_none_or(|uri| uri.query().is_some()) {
        return Err(Refused::new(format!(
            "{setting} must start with https:// or http://, name a host and hold no user or query"
        )));
    }
    if !secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refused::new(format!("{secret_setting} has a blank or a letter that no header takes")));
    }
    Ok(Some(ForgeAccess { base: base.to_owned(), secret: secret.clone() }))
}

impl ForgeAccess {
    /// The address of a path of the API, such as `/api/v1/user`, which is percent-encoded already; `None`: it is none.
    pub fn at(&self, path: &str) -> Option<Uri> {
        format!("{}{path}", self.base).parse().ok()
    }

    /// The address without a path, as it was given.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl fmt::Debug for ForgeAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForgeAccess").field("base", &self.base).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        forges: ForgeSettings,
    }

    fn forges(args: &[&str]) -> Result<Forges, String> {
        let all = std::iter::once("test").chain(args.iter().copied());
        let cli: Cli = crate::settings::try_parse_from(all).unwrap();
        cli.forges.forges().map_err(|refused| refused.to_string())
    }

    #[test]
    fn either_both_or_none_is_configured_and_no_secret_is_shown() {
        let none = forges(&[]).unwrap();
        assert!(none.plane.is_none() && none.gitea.is_none());
        let both = forges(&[
            "--plane-api-url=https://plane.example/api/v1/",
            "--plane-api-key=hunter2",
            "--gitea-api-url=http://gitea:3000",
            "--gitea-token=hunter2",
        ])
        .unwrap();
        assert!(!format!("{both:?}").contains("hunter2"));
        let at = |forge: &Option<ForgeAccess>| forge.as_ref().unwrap().at("/api/v1/x").unwrap().to_string();
        assert_eq!(at(&both.plane), "https://plane.example/api/v1/x");
        assert_eq!(at(&both.gitea), "http://gitea:3000/api/v1/x");
    }

    #[test]
    fn what_cannot_work_is_refused_without_showing_a_secret() {
        for args in [
            &["--plane-api-url=https://plane.example"][..],
            &["--gitea-token=hunter2"],
            &["--gitea-api-url=gitea.example", "--gitea-token=hunter2"],
            &["--gitea-api-url=https://me:hunter2@gitea.example", "--gitea-token=hunter2"],
            &["--gitea-api-url=https://gitea.example/?a=hunter2", "--gitea-token=hunter2"],
            &["--gitea-api-url=https://gitea.example", "--gitea-token=hunter2 x"],
        ] {
            let refused = forges(args).unwrap_err();
            assert!(refused.contains("ORCH_") && !refused.contains("hunter2"), "{refused}");
        }
    }
}
