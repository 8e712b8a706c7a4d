//! Tells Gitea or Forgejo: comments on pull requests, each once by its marker, and statuses of commits.

use std::time::Duration;

use domain::outbox::{Message, Sink};
use domain::pipeline::{Pipeline, Project};
use domain::report::{PullRef, Says, marker};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use service::outbound::Outbound;
use service::settings::ForgeAccess;

use super::call::{Caller, Reply};
use super::forge::{self, Forge, Judged, NotTold, REQUESTS_MAX};

/// How far before a message was written its comment is looked for: the forge's clock may be behind ours.
const LOOK_BACK: Duration = Duration::from_hours(1);
/// Rows of a page of the API, at most.
const PAGE_ROWS: usize = 50;
/// How many pages of pull requests are looked through for a branch's.
const PAGES_MAX: u32 = 3;
/// The longest rest that is kept.
const REST_MAX: Duration = Duration::from_mins(5);

const _: () = assert!(PAGES_MAX + 3 <= REQUESTS_MAX, "pages, who we are, the comments, and the writing");

#[derive(Debug)]
pub(super) struct Gitea {
    caller: Caller,
    rest: Option<Duration>,
    own: Own,
}

/// Whose token this is.
#[derive(Clone, Copy, Debug)]
enum Own {
    Unasked,
    /// The token may not ask.
    Unknown,
    Id(i64),
}

#[derive(Debug, Deserialize)]
struct User {
    id: i64,
}

#[derive(Debug, Deserialize)]
struct PullRequest {
    number: u64,
    state: Option<String>,
    head: Side,
    base: Side,
}

#[derive(Debug, Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    name: String,
    repo_id: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Comment {
    id: i64,
    body: String,
    user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Status {
    id: i64,
    #[serde(rename = "status")]
    state: Option<String>,
    context: Option<String>,
    description: Option<String>,
    target_url: Option<String>,
}

impl Gitea {
    pub(super) fn new(access: &ForgeAccess, outbound: Outbound) -> Self {
        let value = format!("token {}", access.secret.expose());
        Self {
            caller: Caller::new(access.clone(), outbound, "authorization", &value),
            rest: None,
            own: Own::Unasked,
        }
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, NotTold> {
        let reply = self.caller.ask(method, &format!("/api/v1/{path}"), body).await?;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            let rest = reply.retry_after().unwrap_or(Duration::from_secs(10));
            self.rest = Some(rest.min(REST_MAX));
        }
        Ok(reply)
    }

    async fn comment(
        &mut self,
        pipeline: &Pipeline,
        repo: &str,
        pull_request: &PullRef,
        message: &Message,
        body: &str,
    ) -> Result<(), NotTold> {
        let number = match pull_request {
            PullRef::Number(number) => *number,
            PullRef::Branch(branch) => match self.pull_request_of(repo, branch).await? {
                Some(number) => number,
                // Nothing to comment on, which is no failure: the work may never have come to one.
                None => return Ok(()),
            },
        };
        let marker = marker(&message.key);
        let body = format!("{marker}{body}");
        let own = self.own_id(pipeline).await?;
        let since = message.pushed_at.minus(LOOK_BACK);
        let path = format!("repos/{repo}/issues/{number}/comments?since={since}");
        let comments: Vec<Comment> = self.ask(Method::GET, &path, None).await?.shaped("comments")?;
        let is_ours = |comment: &&Comment| {
            // What somebody else copied from us is theirs.
            own.is_none_or(|own| comment.user.as_ref().is_some_and(|user| user.id == own))
                && comment.body.replace("\r\n", "\n").starts_with(&marker)
        };
        let (method, path) = match comments.iter().find(is_ours) {
            Some(known) if known.body.trim() == body.trim() => return Ok(()),
            Some(known) => (Method::PATCH, format!("repos/{repo}/issues/comments/{}", known.id)),
            None => (Method::POST, format!("repos/{repo}/issues/{number}/comments")),
        };
        self.ask(method, &path, Some(&json!({"body": body}))).await?.good("comment")?;
        Ok(())
    }

    /// The newest pull request of a branch of the repository itself; an open one goes before.
    async fn pull_request_of(&mut self, repo: &str, branch: &str) -> Result<Option<u64>, NotTold> {
        let mut found = None;
        for page in 1..=PAGES_MAX {
            let path =
                format!("repos/{repo}/pulls?state=all&sort=recentupdate&limit={PAGE_ROWS}&page={page}");
            let pulls: Vec<PullRequest> =
                self.ask(Method::GET, &path, None).await?.shaped("pull requests")?;
            let is_last = pulls.len() < PAGE_ROWS;
            for pull in pulls {
                if pull.head.name == branch && pull.head.repo_id == pull.base.repo_id {
                    if pull.state.as_deref() == Some("open") {
                        return Ok(Some(pull.number));
                    }
                    found = found.or(Some(pull.number));
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// Who we are: as `orch.toml` says, else as the forge does; a token without `read:user` may not ask.
    async fn own_id(&mut self, pipeline: &Pipeline) -> Result<Option<i64>, NotTold> {
        if let Some(id) = pipeline.identity.gitea_user_id {
            return Ok(Some(id));
        }
        match self.own {
            Own::Unasked => {}
            Own::Unknown => return Ok(None),
            Own::Id(id) => return Ok(Some(id)),
        }
        let reply = self.ask(Method::GET, "user", None).await?;
        let own = match reply.status {
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => None,
            _ => Some(reply.shaped::<User>("user")?.id),
        };
        self.own = own.map_or(Own::Unknown, Own::Id);
        Ok(own)
    }

    async fn status(&mut self, repo: &str, sha: &str, status: &Value, again: bool) -> Result<(), NotTold> {
        if again && self.has_status(repo, sha, status).await? {
            return Ok(());
        }
        self.ask(Method::POST, &format!("repos/{repo}/statuses/{sha}"), Some(status))
            .await?
            .good("status")?;
        Ok(())
    }

    /// Whether the newest status of that context says this already: a repeat would be a row and a webhook more.
    async fn has_status(&mut self, repo: &str, sha: &str, wanted: &Value) -> Result<bool, NotTold> {
        let path = format!("repos/{repo}/commits/{sha}/statuses?limit={PAGE_ROWS}");
        let statuses: Vec<Status> = self.ask(Method::GET, &path, None).await?.shaped("statuses")?;
        let is_of = |status: &&Status| status.context.as_deref() == wanted["context"].as_str();
        let newest = statuses.iter().filter(is_of).max_by_key(|status| status.id);
        let says = |said: &Option<String>, name: &str| said.as_deref() == wanted[name].as_str();
        Ok(newest.is_some_and(|status| {
            says(&status.state, "state")
                && says(&status.description, "description")
                && says(&status.target_url, "target_url")
        }))
    }
}

impl Forge for Gitea {
    const SINK: Sink = Sink::Gitea;

    async fn tell(
        &mut self,
        pipeline: &Pipeline,
        project: &Project,
        message: &Message,
        says: &Says,
    ) -> Result<(), NotTold> {
        let Some(repo) = project.gitea_repo.as_deref() else {
            return Err(NotTold::Nonsense(format!("project {} has no repository any more", project.name)));
        };
        match says {
            Says::PullComment { pull_request, body } => {
                self.comment(pipeline, repo, pull_request, message, body).await
            }
            Says::CommitStatus { sha, context, state, description, target_url } => {
                let status = json!({"state": state, "context": context, "description": description,
                    "target_url": target_url});
                self.status(repo, sha, &status, message.attempts > 1).await
            }
            Says::IssueComment { .. } | Says::IssueState { .. } => {
                Err(NotTold::Nonsense("this is for the tracker".to_owned()))
            }
        }
    }

    fn rest(&mut self) -> Option<Duration> {
        self.rest.take()
    }
}

/// A 403 is about one issue that is locked, unless it speaks of the token.
pub(super) fn judge(reply: &Reply) -> Judged {
    forge::judge(reply, &["scope", "token"])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_refusal_is_about_the_token_the_message_or_the_moment() {
        let judged = |status, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            judge(&Reply { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
        };
        let scope = r#"{"message":"token does not have at least one of required scope(s): [write:issue]"}"#;
        assert_eq!([judged(401, ""), judged(403, scope), judged(302, "")], [Judged::Misconfigured; 3]);
        assert_eq!(judged(403, r#"{"message":"You cannot comment on a locked issue."}"#), Judged::Never);
        assert_eq!([404, 409, 422, 423].map(|status| judged(status, "")), [Judged::Never; 4]);
        assert_eq!([500, 503, 429, 408].map(|status| judged(status, "")), [Judged::Later(None); 4]);
    }
}
