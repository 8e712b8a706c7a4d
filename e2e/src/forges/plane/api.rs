//! The REST API: keys, the rate limit, pages, and the verbs that Orch uses.

use std::sync::Arc;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{Changed, Field, Issue, State, User};
use super::{Inner, view};
use crate::forges::serve::{self, Said};
use crate::forges::{Asked, Faults};

/// Most rows of a page.
const PAGE_ROWS_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct Api(pub(super) Arc<Inner>);

impl serve::Api for Api {
    fn faults(&self) -> &Faults {
        &self.0.faults
    }

    fn failure(&self, status: u16) -> Said {
        let text = if status == 500 {
            "Something went wrong please try again later".to_owned()
        } else {
            format!("fault {status}")
        };
        Said::json(status, &json!({"error": text}))
    }

    fn limited(&self, retry_after_s: u64) -> Said {
        Said::json(429, &json!({"error_code": 5900, "error_message": "RATE_LIMIT_EXCEEDED"}))
            .with("retry-after", retry_after_s.to_string())
    }

    async fn answer(&self, asked: Asked) -> Said {
        let key = asked.header("x-api-key").map(str::to_owned);
        let mut shown = asked.clone();
        shown.headers.remove("x-api-key");
        let mut state = self.0.lock();
        let user = state.users.iter().find(|user| Some(&user.key) == key.as_ref()).cloned();
        self.0.requests.add(user.as_ref().map_or("", |user| &user.name), shown);
        let user = match (&key, user) {
            (_, Some(user)) => user,
            (None, None) => {
                return Said::json(401, &json!({"detail": "Authentication credentials were not provided."}));
            }
            (Some(_), None) => {
                return Said::json(403, &json!({"detail": "Given API token is not valid"}));
            }
        };
        let left = match state.count(&user.key, self.0.started_at.elapsed()) {
            Ok(left) => left,
            Err(wait) => return self.limited(wait.as_secs() + 1),
        };
        let (said, changes) = route(&mut state, &user, &asked);
        self.0.tell(&state, &user, &changes, true);
        match left {
            None => said,
            Some((left, resets)) => {
                let resets_at =
                    Timestamp::now().as_second() + i64::try_from(resets.as_secs()).unwrap_or(60) + 1;
                said.with("x-ratelimit-remaining", left.to_string())
                    .with("x-ratelimit-reset", resets_at.to_string())
            }
        }
    }
}

type Answered = (Said, Vec<Changed>);

fn only(said: Said) -> Answered {
    (said, Vec::new())
}

fn not_found() -> Said {
    Said::json(404, &json!({"error": "The requested resource does not exist."}))
}

fn route(state: &mut State, by: &User, asked: &Asked) -> Answered {
    if !asked.path.ends_with('/') {
        // Django's page for an address that it does not know.
        return only(Said::json(404, &json!({"error": "Page not found."})));
    }
    let segments = asked.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["api", "v1", path @ ..] = segments.as_slice() else { return only(not_found()) };
    let get = asked.method == Method::GET;
    match path {
        ["users", "me"] if get => only(Said::json(200, &view::user(by))),
        ["workspaces", slug, "work-items" | "issues", key] if get && *slug == state.project.slug => {
            only(one(state, state.issue_of_key(key), asked))
        }
        ["workspaces", slug, "projects", id, rest @ ..]
            if *slug == state.project.slug && Uuid::parse_str(id) == Ok(state.project.id) =>
        {
            of_project(state, by, asked, rest)
        }
        _ => only(not_found()),
    }
}

fn of_project(state: &mut State, by: &User, asked: &Asked, path: &[&str]) -> Answered {
    let issue = |id: &str| Uuid::parse_str(id).ok().and_then(|id| state.issue(id)).map(|issue| issue.id);
    match (&asked.method, path) {
        (&Method::GET, []) => {
            let project = &state.project;
            only(Said::json(
                200,
                &json!({"id": project.id, "identifier": project.identifier,
                "workspace": project.workspace, "name": project.identifier}),
            ))
        }
        (&Method::GET, ["states"]) => {
            only(page(asked, state.states.iter().map(|shown| view::state(shown, state)).collect()))
        }
        (&Method::GET, ["labels"]) => {
            only(page(asked, state.labels.iter().map(|(id, _)| view::label(*id, state)).collect()))
        }
        (&Method::GET, ["work-items" | "issues"]) => only(list(state, asked)),
        (&Method::GET, ["work-items" | "issues", id]) => {
            only(one(state, issue(id).and_then(|id| state.issue(id)), asked))
        }
        (&Method::PATCH, ["work-items" | "issues", id]) => match issue(id) {
            Some(id) => patch(state, by, asked, id),
            None => only(not_found()),
        },
        (&Method::GET, ["work-items" | "issues", id, "comments"]) => match issue(id) {
            Some(id) => {
                let mut comments: Vec<_> = state.comments.iter().filter(|known| known.issue == id).collect();
                // The newest first, as Plane lists them.
                comments.reverse();
                only(page(asked, comments.into_iter().map(|known| view::comment(known, state)).collect()))
            }
            None => only(not_found()),
        },
        (&Method::POST, ["work-items" | "issues", id, "comments"]) => match issue(id) {
            Some(id) => comment(state, by, asked, id),
            None => only(not_found()),
        },
        _ => only(not_found()),
    }
}

fn expanded(asked: &Asked) -> Vec<&str> {
    asked.param("expand").unwrap_or_default().split(',').collect()
}

fn one(state: &State, issue: Option<&Issue>, asked: &Asked) -> Said {
    issue.map_or_else(not_found, |issue| Said::json(200, &view::issue(issue, state, &expanded(asked))))
}

fn list(state: &State, asked: &Asked) -> Said {
    let mut issues: Vec<&Issue> = state.issues.iter().collect();
    let order = asked.param("order_by").unwrap_or("-created_at");
    match order.trim_start_matches('-') {
        "updated_at" => issues.sort_by_key(|issue| issue.updated_at),
        "sequence_id" => issues.sort_by_key(|issue| issue.sequence),
        _ => issues.sort_by_key(|issue| issue.created_at),
    }
    if order.starts_with('-') {
        issues.reverse();
    }
    let expand = expanded(asked);
    page(asked, issues.into_iter().map(|issue| view::issue(issue, state, &expand)).collect())
}

fn patch(state: &mut State, by: &User, asked: &Asked, id: Uuid) -> Answered {
    let Some(body) = asked.json() else { return only(bad(&json!({"error": "JSON parse error"}))) };
    let (key, now) = (state.key_of(id), Timestamp::now());
    let mut changes = Vec::new();
    if let Some(to) = body.get("state") {
        let to = to.as_str().and_then(|text| Uuid::parse_str(text).ok());
        let Some(((), told)) = to.and_then(|to| state.move_issue(by, &key, to, now)) else {
            return only(bad(&json!({"state": ["State is not valid please pass a valid state_id"]})));
        };
        changes.extend(told);
    }
    if let Some(labels) = body.get("labels") {
        let ids: Vec<Uuid> = labels
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| Uuid::parse_str(id.as_str()?).ok())
            .filter(|id| state.labels.iter().any(|(known, _)| known == id))
            .collect();
        changes.extend(state.label_issue(by, &key, ids, now).into_iter().flat_map(|((), told)| told));
    }
    for (name, field) in [("name", Field::Name), ("description_html", Field::Description)] {
        if let Some(text) = body.get(name).and_then(Value::as_str) {
            let told = state.describe_issue(by, &key, field, text, now);
            changes.extend(told.into_iter().flat_map(|((), told)| told));
        }
    }
    let said = one(state, state.issue(id), asked);
    (said, changes)
}

fn comment(state: &mut State, by: &User, asked: &Asked, id: Uuid) -> Answered {
    let body = asked.json().unwrap_or_default();
    let Some(html) = body["comment_html"].as_str() else {
        return only(bad(&json!({"comment_html": ["This field is required."]})));
    };
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let external = text("external_source").zip(text("external_id"));
    let same = state.comments.iter().find(|known| external.is_some() && known.external == external);
    if let Some(same) = same {
        let error = "Work item comment with the same external id and external source already exists";
        return only(Said::json(409, &json!({"error": error, "id": same.id})));
    }
    let key = state.key_of(id);
    let Some((id, changes)) = state.comment(by, &key, html, external, Timestamp::now()) else {
        return only(not_found());
    };
    let made = state.comments.iter_mut().find(|known| known.id == id);
    if let (Some(made), Some(access)) = (made, text("access")) {
        made.access = access;
    }
    let made = state.comments.iter().find(|known| known.id == id);
    let said = made.map_or_else(not_found, |made| Said::json(201, &view::comment(made, state)));
    (said, changes)
}

fn bad(body: &Value) -> Said {
    Said::json(400, body)
}

/// A page: `cursor` is the rows of a page, the number of the page, and whether it is a step back.
fn page(asked: &Asked, rows: Vec<Value>) -> Said {
    let per_page = asked.number("per_page").unwrap_or(PAGE_ROWS_MAX);
    if per_page == 0 || per_page > PAGE_ROWS_MAX {
        return bad(&json!({"detail": format!("Invalid per_page value. Cannot exceed {PAGE_ROWS_MAX}.")}));
    }
    let cursor: Option<Vec<i64>> = asked
        .param("cursor")
        .map_or(Some(vec![0, 0, 0]), |cursor| cursor.split(':').map(|part| part.parse().ok()).collect());
    let Some(page) = cursor.filter(|parts| parts.len() == 3).and_then(|parts| usize::try_from(parts[1]).ok())
    else {
        return bad(&json!({"detail": "Invalid cursor parameter."}));
    };
    let total = rows.len();
    let shown: Vec<Value> = rows.into_iter().skip(page * per_page).take(per_page).collect();
    let more = (page + 1) * per_page < total;
    Said::json(
        200,
        &json!({"grouped_by": null, "sub_grouped_by": null, "total_count": total,
        "next_cursor": format!("{per_page}:{}:0", page + 1),
        "prev_cursor": format!("{per_page}:{}:1", i64::try_from(page).unwrap_or(0) - 1),
        "next_page_results": more, "prev_page_results": page > 0, "count": shown.len(),
        "total_pages": total.div_ceil(per_page), "total_results": total, "extra_stats": null, "results": shown}),
    )
}
