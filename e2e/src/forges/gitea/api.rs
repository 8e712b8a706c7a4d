//! The REST API: tokens, and the verbs that Orch uses; and the door to git.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::{Changed, Refused, State, User};
use super::{Inner, ZERO, git, listing, view};
use crate::forges::serve::{self, Said};
use crate::forges::{Asked, Faults};

/// What a commit's status may be.
const STATUSES: [&str; 6] = ["pending", "success", "error", "failure", "warning", "skipped"];

#[derive(Debug)]
pub(super) struct Api(pub(super) Arc<Inner>);

impl serve::Api for Api {
    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn failure(&self, status: u16) -> Said {
        self.error(status, &format!("fault {status}"))
    }

    fn limited(&self, retry_after_s: u64) -> Said {
        // Gitea itself has no limit; a proxy before it may.
        self.error(429, "Too Many Requests").with("retry-after", retry_after_s.to_string())
    }

    async fn answer(&self, asked: Asked) -> Said {
        let token = token(&asked);
        let mut shown = asked.clone();
        shown.headers.remove("authorization");
        let (user, git_path, bare) = {
            let state = self.0.lock();
            let user = state.users.iter().find(|user| Some(&user.token) == token.as_ref()).cloned();
            let inside = asked.path.strip_prefix(&format!("/{}.git", state.full_name())).map(str::to_owned);
            (user, inside, state.bare.clone())
        };
        self.0.requests.add(user.as_ref().map_or("", |user| &user.login), shown);
        if let Some(inside) = git_path {
            return match (user, bare) {
                (None, _) => Said::json(401, &Value::Null).with("www-authenticate", "Basic realm=\"Gitea\""),
                (_, None) => self.error(404, "no repository is attached"),
                (Some(user), Some(bare)) => self.git(&asked, &bare, &inside, &user).await,
            };
        }
        let user = match (token, user) {
            (_, Some(user)) => user,
            (None, None) => return self.error(401, "token is required"),
            (Some(_), None) => return self.error(401, "invalid username, password or token"),
        };
        let mut state = self.0.lock();
        let (said, changes) = self.route(&mut state, &user, &asked);
        self.0.tell(&state, &user, &changes, true);
        said
    }
}

/// `Authorization: token X`, `Bearer X`, or the password of `Basic`.
fn token(asked: &Asked) -> Option<String> {
    let (scheme, value) = asked.header("authorization")?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "token" | "bearer" => Some(value.to_owned()),
        "basic" => {
            let plain = String::from_utf8(base64(value)?).ok()?;
            let (name, password) = plain.split_once(':')?;
            Some(if password.is_empty() || password == "x-oauth-basic" { name } else { password }.to_owned())
        }
        _ => None,
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0_u32;
    let mut bytes = Vec::new();
    for (index, letter) in text.trim_end_matches('=').bytes().enumerate() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = (bits << 6) | u32::try_from(value).ok()?;
        if index % 4 != 0 {
            let shift = [0, 4, 2, 0][index % 4];
            bytes.push(u8::try_from((bits >> shift) & 0xff).ok()?);
        }
    }
    Some(bytes)
}

type Answered = (Said, Vec<Changed>);

fn only(said: Said) -> Answered {
    (said, Vec::new())
}

impl Api {
    fn error(&self, status: u16, message: &str) -> Said {
        let mut body = json!({"message": message, "url": format!("{}/api/swagger", self.0.url)});
        if status == 404 {
            body["errors"] = Value::Null;
        }
        Said::json(status, &body)
    }

    fn not_found(&self) -> Answered {
        only(self.error(404, "The target couldn't be found."))
    }

    fn refused(&self, why: Refused) -> Answered {
        match why {
            Refused::NotFound => self.not_found(),
            Refused::Locked => only(self.error(403, "You cannot comment on a locked issue.")),
            Refused::Exists => only(self.error(409, "pull request already exists for these targets")),
            Refused::Nothing => only(self.error(422, "There are no changes between the head and the base")),
        }
    }

    /// A push over the wire: the branches before and after tell what it moved.
    async fn git(&self, asked: &Asked, bare: &std::path::Path, inside: &str, user: &User) -> Said {
        let said = match git::serve(asked, bare, inside, &user.login).await {
            Ok(said) => said,
            Err(error) => return self.error(500, &error.to_string()),
        };
        if !(asked.method == Method::POST && inside == "/git-receive-pack") {
            return said;
        }
        let Ok(after) = git::branches(bare).await else { return said };
        let mut state = self.0.lock();
        let before = state.branches.clone();
        let there = after.iter().filter(|(name, sha)| before.get(*name) != Some(*sha));
        let gone = before.keys().filter(|name| !after.contains_key(*name));
        let there = there.map(|(name, sha)| (name.clone(), sha.clone()));
        let moves: Vec<_> = there.chain(gone.map(|name| (name.clone(), ZERO.to_owned()))).collect();
        for (name, sha) in moves {
            let ((), changes) = state.push(&name, &sha, Timestamp::now());
            self.0.tell(&state, user, &changes, true);
        }
        said
    }

    fn route(&self, state: &mut State, by: &User, asked: &Asked) -> Answered {
        let segments = asked.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["api", "v1", "user"] if asked.method == Method::GET => {
                only(Said::json(200, &view::user(by, &self.0.url)))
            }
            ["api", "v1", "version"] => only(Said::json(200, &json!({"version": "1.25.5"}))),
            ["api", "v1", "repos", owner, name, rest @ ..]
                if owner.eq_ignore_ascii_case(&state.owner) && name.eq_ignore_ascii_case(&state.name) =>
            {
                if asked.method == Method::GET {
                    only(self.read(state, asked, rest))
                } else {
                    self.write(state, by, asked, rest)
                }
            }
            _ => self.not_found(),
        }
    }

    fn read(&self, state: &State, asked: &Asked, path: &[&str]) -> Said {
        let url = &self.0.url;
        let page = |rows: Vec<Value>| listing::page(asked, url, rows);
        let shown_pull = |number: u64| {
            let issue = state.issue(number)?;
            Some(view::pull(issue, issue.pull.as_ref()?, state, url))
        };
        let found = match path {
            [] => Some(Said::json(200, &view::repository(state, url))),
            ["branches"] => {
                Some(page(state.branches.iter().map(|(name, sha)| view::branch(name, sha, state)).collect()))
            }
            ["branches", name] => {
                state.branches.get(*name).map(|sha| Said::json(200, &view::branch(name, sha, state)))
            }
            ["pulls"] => {
                let pulls = listing::issues(asked, state, Some(true));
                Some(page(pulls.iter().filter_map(|issue| shown_pull(issue.number)).collect()))
            }
            ["pulls", number] => number.parse().ok().and_then(shown_pull).map(|body| Said::json(200, &body)),
            ["pulls", number, "reviews"] => {
                let issue = number.parse().ok().and_then(|number| state.issue(number));
                let pull = issue.and_then(|issue| issue.pull.as_ref());
                pull.map(|pull| {
                    page((0..pull.reviews.len()).map(|index| view::review(index, pull, state, url)).collect())
                })
            }
            ["pulls", base, head] => state
                .open_pull_of(head, base)
                .and_then(|issue| shown_pull(issue.number))
                .map(|body| Said::json(200, &body)),
            ["issues"] => {
                let pulls = match asked.param("type") {
                    Some("issues") => Some(false),
                    Some("pulls") => Some(true),
                    _ => None,
                };
                let issues = listing::issues(asked, state, pulls);
                Some(page(issues.iter().map(|issue| view::issue(issue, state, url)).collect()))
            }
            ["issues", "comments"] => Some(page(listing::comments(asked, state, None, url))),
            ["issues", "comments", id] => {
                let comment = id.parse().ok().and_then(|id| state.comment_of(id));
                comment.map(|comment| Said::json(200, &view::comment(comment, state, url)))
            }
            ["issues", number] => {
                let issue = number.parse().ok().and_then(|number| state.issue(number));
                issue.map(|issue| Said::json(200, &view::issue(issue, state, url)))
            }
            // All of them at once: this list has no pages.
            ["issues", number, "comments"] => {
                let issue = number.parse().ok().and_then(|number| state.issue(number));
                issue.map(|issue| {
                    let comments = listing::comments(asked, state, Some(issue.number), url);
                    Said::json(200, &json!(comments)).with("x-total-count", comments.len().to_string())
                })
            }
            ["commits", reference, "status"] => {
                let sha = state.branches.get(*reference).map_or(*reference, String::as_str);
                Some(Said::json(200, &view::combined(sha, state, url)))
            }
            ["commits", sha, "statuses"] | ["statuses", sha] => {
                let of = state.statuses.iter().rev().filter(|status| status.sha == *sha);
                Some(page(of.map(|status| view::status(status, state, url)).collect()))
            }
            _ => None,
        };
        found.unwrap_or_else(|| self.not_found().0)
    }

    fn write(&self, state: &mut State, by: &User, asked: &Asked, path: &[&str]) -> Answered {
        let (body, now, url) = (asked.json().unwrap_or_default(), Timestamp::now(), &self.0.url);
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        match (&asked.method, path) {
            (&Method::POST, ["issues", index, "comments"]) => {
                if text("body").is_empty() {
                    return only(self.error(422, "[Body]: Required"));
                }
                match state.comment(by, number(index), text("body"), now) {
                    Ok((id, changes)) => {
                        let shown = state.comment_of(id).map(|made| view::comment(made, state, url));
                        (Said::json(201, &json!(shown)), changes)
                    }
                    Err(why) => self.refused(why),
                }
            }
            (&Method::PATCH, ["issues", "comments", id]) => {
                let id = id.parse().unwrap_or(0);
                if state.comment_of(id).is_some_and(|comment| comment.by != by.login) {
                    return only(self.error(403, "Forbidden"));
                }
                match state.edit_comment(id, text("body"), now) {
                    Some(((), changes)) => {
                        let shown = state.comment_of(id).map(|made| view::comment(made, state, url));
                        (Said::json(200, &json!(shown)), changes)
                    }
                    None => self.not_found(),
                }
            }
            (&Method::POST, ["statuses", sha]) => {
                if !matches!(sha.len(), 40 | 64) || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return only(self.error(404, "no such commit"));
                }
                if !STATUSES.contains(&text("state")) {
                    return only(self.error(422, "[State]: In"));
                }
                let words = [text("context"), text("state"), text("description"), text("target_url")];
                let (id, changes) = state.status(by, sha, words, now);
                let made = state.statuses.iter().find(|status| status.id == id);
                (Said::json(201, &json!(made.map(|made| view::status(made, state, url)))), changes)
            }
            (&Method::POST, ["pulls"]) => {
                // A head of the same repository may be written with its owner.
                let head = text("head").rsplit(':').next().unwrap_or_default().to_owned();
                match state.open_pull(by, &head, text("base"), text("title"), text("body"), now) {
                    Ok((number, changes)) => (self.pull(state, number, 201), changes),
                    Err(why) => self.refused(why),
                }
            }
            (&Method::PATCH, ["pulls", index]) => {
                let Some(issue) = state.issue_mut(number(index)).filter(|issue| issue.pull.is_some()) else {
                    return self.not_found();
                };
                for (name, place) in [("title", &mut issue.title), ("body", &mut issue.body)] {
                    if let Some(text) = body[name].as_str() {
                        text.clone_into(place);
                    }
                }
                issue.updated_at = now;
                let (number, mut changes) =
                    (issue.number, vec![Changed::Pull { number: issue.number, action: "edited" }]);
                if let Some(word) = body["state"].as_str() {
                    let told = state.set_open(number, word == "open", now);
                    changes.extend(told.into_iter().flat_map(|((), changes)| changes));
                }
                (self.pull(state, number, 201), changes)
            }
            _ => self.not_found(),
        }
    }

    fn pull(&self, state: &State, number: u64, status: u16) -> Said {
        let issue = state.issue(number);
        let shown = issue.and_then(|issue| Some(view::pull(issue, issue.pull.as_ref()?, state, &self.0.url)));
        Said::json(status, &json!(shown))
    }
}
