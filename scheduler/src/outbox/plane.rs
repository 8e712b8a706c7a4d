//! Tells Plane: comments, each once by its external id, and states of issues. One writer, since Plane checks the external
//! id before it inserts and has no constraint behind that.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::outbox::{Message, Sink};
use domain::pipeline::{Pipeline, Project, StateChoice};
use domain::report::{IssueRef, SOURCE, Says};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use service::Clock;
use service::outbound::Outbound;
use service::settings::ForgeAccess;
use uuid::Uuid;

use super::call::{Caller, Reply};
use super::forge::{self, Forge, Judged, NotTold};

/// How long a project's states are taken for known.
const STATES_KNOWN: Duration = Duration::from_mins(10);
/// The most issues whose ids are remembered by their keys; then all are forgotten.
const IDS_MAX: usize = 1_000;
/// The longest rest that Plane's own clock may ask for.
const REST_MAX: Duration = Duration::from_mins(5);

#[derive(Debug)]
pub(super) struct Plane {
    caller: Caller,
    clock: Clock,
    rest: Option<Duration>,
    states: BTreeMap<Uuid, (i64, Vec<State>)>,
    ids: BTreeMap<(String, String), Uuid>,
}

#[derive(Clone, Debug, Deserialize)]
struct State {
    id: Uuid,
    group: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    results: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Issue {
    id: Uuid,
    project: Uuid,
    state: Option<Uuid>,
}

/// Where a project is.
struct Place<'a> {
    slug: &'a str,
    project: Uuid,
}

impl Plane {
    pub(super) fn new(access: &ForgeAccess, outbound: Outbound, clock: Clock) -> Self {
        let caller = Caller::new(access.clone(), outbound, "x-api-key", access.secret.expose());
        Self { caller, clock, rest: None, states: BTreeMap::new(), ids: BTreeMap::new() }
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Reply, NotTold> {
        let reply = self.caller.ask(method, &format!("/api/v1/{path}"), body).await?;
        self.rest = rest_of(&reply, self.clock.now_ms()).or(self.rest);
        Ok(reply)
    }

    async fn comment(&mut self, at: &Place<'_>, issue: Uuid, html: &str, key: &str) -> Result<(), NotTold> {
        let body = json!({"comment_html": html, "access": "INTERNAL", "external_source": SOURCE, "external_id": key});
        let reply = self.ask(Method::POST, &format!("{}comments/", at.issue(issue)), Some(&body)).await?;
        // It is there: whoever was to be told of that before, died or was cut off.
        if reply.status == StatusCode::CONFLICT && reply.says("external id") {
            return Ok(());
        }
        reply.good("comment")?;
        Ok(())
    }

    async fn go_to(&mut self, at: &Place<'_>, issue: Uuid, choice: &StateChoice) -> Result<(), NotTold> {
        let to = match choice {
            StateChoice::Id(id) => *id,
            StateChoice::Group(group) => {
                let states = self.states(at).await?;
                let first = states.iter().find(|state| state.group.as_deref() == Some(group));
                let Some(first) = first.map(|state| state.id) else {
                    return Err(NotTold::Nonsense(format!("the project has no state of the group {group}")));
                };
                let now = self.issue(at, issue).await?.state;
                let in_group =
                    states.iter().any(|state| Some(state.id) == now && state.group.as_deref() == Some(group));
                if in_group {
                    return Ok(());
                }
                first
            }
        };
        if matches!(choice, StateChoice::Id(_)) && self.issue(at, issue).await?.state == Some(to) {
            return Ok(());
        }
        self.ask(Method::PATCH, &at.issue(issue), Some(&json!({"state": to}))).await?.good("state")?;
        Ok(())
    }

    async fn issue(&mut self, at: &Place<'_>, issue: Uuid) -> Result<Issue, NotTold> {
        Ok(self.ask(Method::GET, &at.issue(issue), None).await?.shaped("issue")?)
    }

    async fn states(&mut self, at: &Place<'_>) -> Result<Vec<State>, NotTold> {
        let now_ms = self.clock.boot_ms();
        let known_ms = i64::try_from(STATES_KNOWN.as_millis()).unwrap_or(i64::MAX);
        if let Some((since_ms, states)) = self.states.get(&at.project)
            && now_ms.saturating_sub(*since_ms) < known_ms
        {
            return Ok(states.clone());
        }
        let path = format!("workspaces/{}/projects/{}/states/?per_page=100", at.slug, at.project);
        let page: Page<State> = self.ask(Method::GET, &path, None).await?.shaped("states")?;
        self.states.insert(at.project, (now_ms, page.results.clone()));
        Ok(page.results)
    }

    async fn id_of(&mut self, at: &Place<'_>, issue: &IssueRef) -> Result<Uuid, NotTold> {
        let key = match issue {
            IssueRef::Id(id) => return Ok(*id),
            IssueRef::Key(key) => key,
        };
        let name = (at.slug.to_owned(), key.clone());
        if let Some(id) = self.ids.get(&name) {
            return Ok(*id);
        }
        let path = format!("workspaces/{}/work-items/{key}/", at.slug);
        let found: Issue = self.ask(Method::GET, &path, None).await?.shaped("issue by its key")?;
        if found.project != at.project {
            return Err(NotTold::Nonsense(format!("{key} is an issue of another project")));
        }
        if self.ids.len() >= IDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(name, found.id);
        Ok(found.id)
    }
}

impl Place<'_> {
    fn issue(&self, id: Uuid) -> String {
        format!("workspaces/{}/projects/{}/work-items/{id}/", self.slug, self.project)
    }
}

impl Forge for Plane {
    const SINK: Sink = Sink::Plane;

    async fn tell(
        &mut self,
        _: &Pipeline,
        project: &Project,
        message: &Message,
        says: &Says,
    ) -> Result<(), NotTold> {
        let Some((slug, id)) = project.plane_workspace.as_deref().zip(project.plane_project_id) else {
            return Err(NotTold::Nonsense(format!("project {} has no Plane project any more", project.name)));
        };
        let at = Place { slug, project: id };
        match says {
            Says::IssueComment { issue, html } => {
                let issue = self.id_of(&at, issue).await?;
                self.comment(&at, issue, html, &message.key).await
            }
            Says::IssueState { issue, state } => {
                let issue = self.id_of(&at, issue).await?;
                self.go_to(&at, issue, state).await
            }
            Says::PullComment { .. } | Says::CommitStatus { .. } => {
                Err(NotTold::Nonsense("this is for the forge".to_owned()))
            }
        }
    }

    fn rest(&mut self) -> Option<Duration> {
        self.rest.take()
    }
}

/// How long to ask nothing: what a refusal names, or what is left of a minute whose requests are used up.
fn rest_of(reply: &Reply, now_ms: i64) -> Option<Duration> {
    if reply.status == StatusCode::TOO_MANY_REQUESTS {
        return reply.retry_after().or(Some(Duration::from_mins(1))).map(|rest| rest.min(REST_MAX));
    }
    if reply.number("x-ratelimit-remaining")? > 0 {
        return None;
    }
    let until_ms = reply.number("x-ratelimit-reset")?.saturating_mul(1_000);
    let left = Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0));
    Some(left.min(REST_MAX))
}

/// Plane answers a bad key with 403 and these words; any other 403 is about one project.
pub(super) fn judge(reply: &Reply) -> Judged {
    forge::judge(reply, &["token", "credentials"])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Reply {
        let pair = |(name, value): (&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().copied().map(pair).collect();
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn a_refusal_is_about_the_key_the_message_or_the_moment() {
        let judged = |status, body| judge(&reply(status, &[], body));
        assert_eq!(judged(401, "{}"), Judged::Misconfigured);
        assert_eq!(judged(403, r#"{"detail":"Given API token is not valid"}"#), Judged::Misconfigured);
        assert_eq!(judged(403, r#"{"error":"You do not have permission"}"#), Judged::Never);
        assert_eq!([400, 404, 409, 413].map(|status| judged(status, "")), [Judged::Never; 4]);
        assert_eq!([500, 502, 408].map(|status| judged(status, "")), [Judged::Later(None); 3]);
        let limited = reply(429, &[("retry-after", "7")], "");
        assert_eq!(judge(&limited), Judged::Later(Some(Duration::from_secs(7))));
    }

    #[test]
    fn a_minute_that_is_used_up_and_a_refusal_are_rested() {
        let now_ms = 1_795_317_438_042;
        let allowed =
            |left, reset| reply(201, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset", reset)], "");
        assert_eq!(rest_of(&allowed("3", "1795317450"), now_ms), None);
        assert_eq!(rest_of(&allowed("0", "1795317450"), now_ms), Some(Duration::from_millis(11_958)));
        assert_eq!(rest_of(&allowed("0", "1"), now_ms), Some(Duration::ZERO));
        assert_eq!(rest_of(&allowed("0", "9995317450"), now_ms), Some(REST_MAX));
        assert_eq!(rest_of(&reply(429, &[], ""), now_ms), Some(Duration::from_mins(1)));
        assert_eq!(rest_of(&reply(429, &[("retry-after", "9")], ""), now_ms), Some(Duration::from_secs(9)));
        assert_eq!(rest_of(&reply(500, &[], ""), now_ms), None);
    }
}
