//! Gitea's or Forgejo's API, as far as pull requests go. The credential is in a header and nowhere else.

use std::time::Duration;

use bytes::Bytes;
use domain::steps::StepFault;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use service::outbound::{Answer, NoAnswer, Outbound};
use service::settings::Secret;

use super::Did;
use super::persist::Tried;

/// How long one call may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The most of an answer that evidence quotes.
const WORDS_BYTES_MAX: usize = 500;

/// The forge, and as whom it is asked.
#[derive(Debug)]
pub(crate) struct Forge {
    outbound: Outbound,
    base: String,
    authorization: HeaderValue,
}

/// A pull request, as the forge tells of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Told {
    pub(super) number: u64,
    #[serde(default)]
    pub(super) html_url: String,
    #[serde(default)]
    pub(super) state: String,
    pub(super) head: Side,
}

/// One of its two branches.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Side {
    #[serde(rename = "ref")]
    pub(super) name: String,
    #[serde(default)]
    repo: Option<Repo>,
}

#[derive(Clone, Debug, Deserialize)]
struct Repo {
    full_name: String,
}

impl Told {
    /// Whether its commits are in the repository itself, and not in a fork.
    pub(super) fn is_in(&self, repo: &str) -> bool {
        self.head.repo.as_ref().is_some_and(|head| head.full_name.eq_ignore_ascii_case(repo))
    }
}

/// Why the forge did not do what was asked.
#[derive(Debug)]
pub(super) enum Refused {
    /// It may do it later.
    Unreachable(String),
    /// It does not take the credential.
    Auth(String),
    /// There is one already.
    Exists(String),
    /// It never will.
    Never(String),
}

impl Refused {
    pub(super) fn tried(self) -> Tried {
        match self {
            Self::Unreachable(words) | Self::Exists(words) => {
                Tried::Again { fault: StepFault::ForgeUnreachable, words }
            }
            Self::Auth(words) => Tried::Over(Did::failed(StepFault::ForgeAuth, &words)),
            Self::Never(words) => Tried::Over(Did::failed(StepFault::ForgeRefused, &words)),
        }
    }
}

impl Forge {
    /// The forge at `url`, whose API lies below `/api/v1`.
    ///
    /// # Errors
    /// What is wrong with the URL or the token, to be read after the setting's name.
    pub(crate) fn new(url: &str, token: &Secret) -> Result<Self, String> {
        let base = url.trim_end_matches('/').trim_end_matches("/api/v1").trim_end_matches('/').to_owned();
        let parsed = base.parse::<Uri>().ok().filter(|uri| {
            let host = uri.authority().map_or("", |authority| authority.as_str());
            matches!(uri.scheme_str(), Some("https" | "http")) && !host.is_empty() && !host.contains('@')
        });
        let parsed = parsed.ok_or("must start with https:// or http://, name a host and hold no user")?;
        let mut authorization = HeaderValue::try_from(format!("token {}", token.expose())).map_err(
            |_| "goes with an ORCH_GIT_TOKEN that fits no header: it has a blank or a letter that none takes",
        )?;
        authorization.set_sensitive(true);
        let outbound = Outbound::new([&parsed]).map_err(|refused| refused.to_string())?;
        Ok(Self { outbound, base, authorization })
    }

    /// A pull request by its number; none when there is none.
    pub(super) async fn pull_request(&self, repo: &str, number: u64) -> Result<Option<Told>, Refused> {
        self.find(&format!("/repos/{repo}/pulls/{number}")).await
    }

    /// The open pull request from a branch of the repository to its base.
    pub(super) async fn open_of(&self, repo: &str, base: &str, head: &str) -> Result<Option<Told>, Refused> {
        let path = format!("/repos/{repo}/pulls/{}/{}", encoded(base), encoded(head));
        let found = self.find(&path).await?;
        Ok(found.filter(|told| told.state == "open" && told.head.name == head && told.is_in(repo)))
    }

    /// Opens a pull request.
    pub(super) async fn open(
        &self,
        repo: &str,
        [base, head, title, body]: [&str; 4],
    ) -> Result<Told, Refused> {
        let asked = serde_json::json!({"base": base, "head": head, "title": title, "body": body});
        let url = self.url(&format!("/repos/{repo}/pulls"))?;
        let mut headers = self.headers();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.outbound.post(&url, headers, Bytes::from(asked.to_string()), ANSWER_WITHIN).await;
        let answer = judged(answer)?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => read(&answer),
            StatusCode::CONFLICT => Err(Refused::Exists(words(&answer))),
            _ => Err(Refused::Never(words(&answer))),
        }
    }

    async fn find(&self, path: &str) -> Result<Option<Told>, Refused> {
        let url = self.url(path)?;
        let answer = judged(self.outbound.get(&url, self.headers(), ANSWER_WITHIN).await)?;
        match answer.status {
            StatusCode::OK => read(&answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(Refused::Never(words(&answer))),
        }
    }

    fn url(&self, path: &str) -> Result<Uri, Refused> {
        let url = format!("{}/api/v1{path}", self.base);
        url.parse().map_err(|_| Refused::Never(format!("{path} is no path of the forge's API")))
    }

    fn headers(&self) -> HeaderMap {
        let json = HeaderValue::from_static("application/json");
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone()), (ACCEPT, json)])
    }
}

/// What is the same for every call: no answer, a refused credential, a forge that falters.
fn judged(answer: Result<Answer, NoAnswer>) -> Result<Answer, Refused> {
    let answer = answer.map_err(|error| Refused::Unreachable(error.to_string()))?;
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Refused::Auth(words(&answer))),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err(Refused::Unreachable(words(&answer)))
        }
        status if status.is_server_error() => Err(Refused::Unreachable(words(&answer))),
        _ => Ok(answer),
    }
}

fn read(answer: &Answer) -> Result<Told, Refused> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Refused::Unreachable(format!("the forge's answer is no pull request: {error}")))
}

fn words(answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    format!("the forge answered {}: {}", answer.status, domain::text::line(&body, WORDS_BYTES_MAX))
}

/// A name as one segment of a path.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_one_segment_whatever_it_is_called() {
        assert_eq!(encoded("orch/SHOP-1"), "orch%2FSHOP-1");
        assert_eq!(encoded("orch/acme/shop#1?x=../ä"), "orch%2Facme%2Fshop%231%3Fx%3D..%2F%C3%A4");
    }

    #[test]
    fn a_forge_is_a_host_and_shows_no_token() {
        let forge = |url| Forge::new(url, &Secret::new("hunter2"));
        let known = forge("http://git.example:3000/api/v1/").unwrap();
        let url = known.url("/repos/acme/shop/pulls").unwrap();
        assert_eq!(url, "http://git.example:3000/api/v1/repos/acme/shop/pulls");
        assert!(!format!("{known:?}").contains("hunter2"));
        for wrong in ["git.example", "ftp://git.example", "https://me@git.example", ""] {
            assert!(forge(wrong).is_err(), "{wrong}");
        }
    }
}
