//! Retrying many jobs: a filter, then what it finds, then the button.

use maud::{Markup, html};
use proto::v1;

use super::{Frame, live};

/// Job ids named on the page; the others are counted.
const NAMED_MAX: usize = 50;

/// The page; `found` is what the filter finds, once it was asked, or why it could not be.
pub(crate) fn page(
    frame: &Frame,
    filter: &v1::RetryJobsRequest,
    found: Option<&Result<v1::RetryJobsReply, String>>,
) -> Markup {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let cancelled = filter.status.as_deref() == Some("cancelled");
    let main = html! {
        h1 { "Retry many jobs" }
        section class="panel" aria-label="Filter" {
            form method="get" action="/requeue" class="filter" {
                label { "status " select name="status" {
                    option value="failed" selected[!cancelled] { "failed" }
                    option value="cancelled" selected[cancelled] { "cancelled" }
                } }
                label { "project " input name="project" value=(text(&filter.project)); }
                label { "stage " input name="stage" value=(text(&filter.stage)); }
                label { "words of the reason " input name="reason" value=(text(&filter.reason)); }
                label { "ended since " input name="since" placeholder="24 hours ago" value=(text(&filter.since)); }
                button { "Find" }
            }
        }
        @if let Some(found) = found { section class="panel" aria-label="Found" id="found" { (result(frame, filter, found)) } }
    };
    live(frame, "Retry many · Orch", &html! {}, &main, None)
}

fn result(
    frame: &Frame,
    filter: &v1::RetryJobsRequest,
    found: &Result<v1::RetryJobsReply, String>,
) -> Markup {
    let reply = match found {
        Err(why) => return html! { p class="problem" role="alert" { (why) } },
        Ok(reply) => reply,
    };
    let count = reply.ids.len();
    let hidden = [
        ("status", &filter.status),
        ("project", &filter.project),
        ("stage", &filter.stage),
        ("reason", &filter.reason),
        ("since", &filter.since),
    ];
    html! {
        p {
            strong { (count) " jobs" } " would be queued again, their budgets reset"
            @if count > 0 {
                ": "
                @for id in reply.ids.iter().take(NAMED_MAX) { a href={ "/jobs/" (id) } { "#" (id) } " " }
                @if count > NAMED_MAX { "and " (count - NAMED_MAX) " more" }
            }
            "."
        }
        @if frame.acts() && count > 0 {
            form method="post" action="/requeue" data-confirm={ "Queue " (count) " jobs again?" } {
                @for (name, value) in hidden {
                    @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
                }
                button class="main" { "Queue " (count) " again" }
            }
        }
    }
}
