//! The lists of the API: pages, their headers, and what narrows them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::state::{Issue, State};
use super::view;
use crate::forges::Asked;
use crate::forges::serve::Said;

/// Rows of a page when none are asked for, and the most.
const PAGE_ROWS: (usize, usize) = (30, 50);

/// One page of rows, with the total and the address of the next one.
pub(super) fn page(asked: &Asked, url: &str, rows: Vec<Value>) -> Said {
    let limit = asked.number("limit").filter(|limit| *limit > 0).unwrap_or(PAGE_ROWS.0).min(PAGE_ROWS.1);
    let page = asked.number("page").filter(|page| *page > 0).unwrap_or(1);
    let total = rows.len();
    let shown: Vec<Value> = rows.into_iter().skip((page - 1) * limit).take(limit).collect();
    let said = Said::json(200, &json!(shown)).with("x-total-count", total.to_string());
    if page * limit < total {
        let to = |page: usize| format!("<{url}{}?limit={limit}&page={page}>", asked.path);
        let last = total.div_ceil(limit);
        said.with("link", format!("{}; rel=\"next\",{}; rel=\"last\"", to(page + 1), to(last)))
    } else {
        said
    }
}

/// Issues or pull requests, the newest first; `state` is `open` unless it is asked for, `sort=recentupdate` orders by
/// the last change.
pub(super) fn issues<'a>(asked: &Asked, kept: &'a State, pulls: Option<bool>) -> Vec<&'a Issue> {
    let state = asked.param("state").unwrap_or("open");
    let since = time(asked, "since");
    let mut found: Vec<&Issue> = kept
        .issues
        .iter()
        .filter(|issue| state == "all" || issue.open == (state == "open"))
        .filter(|issue| pulls.is_none_or(|pulls| issue.pull.is_some() == pulls))
        .filter(|issue| since.is_none_or(|since| issue.updated_at >= since))
        .collect();
    found.reverse();
    match asked.param("sort") {
        Some("recentupdate") => found.sort_by_key(|issue| std::cmp::Reverse(issue.updated_at)),
        Some("leastupdate") => found.sort_by_key(|issue| issue.updated_at),
        Some("oldest") => found.sort_by_key(|issue| issue.number),
        _ => {}
    }
    found
}

/// Comments of one issue, or of all, the oldest first.
pub(super) fn comments(asked: &Asked, kept: &State, number: Option<u64>, url: &str) -> Vec<Value> {
    let (since, before) = (time(asked, "since"), time(asked, "before"));
    kept.comments
        .iter()
        .filter(|comment| number.is_none_or(|number| comment.number == number))
        .filter(|comment| since.is_none_or(|since| comment.updated_at >= since))
        .filter(|comment| before.is_none_or(|before| comment.updated_at < before))
        .map(|comment| view::comment(comment, kept, url))
        .collect()
}

fn time(asked: &Asked, name: &str) -> Option<Timestamp> {
    asked.param(name)?.parse().ok()
}
