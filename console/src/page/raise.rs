//! Raising a budget.

use maud::{Markup, html};

use super::{Frame, live};

/// The page, with the purse that it was opened for.
pub(crate) fn page(frame: &Frame, scope: &str, key: &str) -> Markup {
    let main = html! {
        h1 { "Raise a budget" }
        section class="panel" aria-label="Budget" {
            @if frame.acts() {
                form method="post" action="/raise" class="filter" data-confirm="Raise this budget?" {
                    label { "budget of " select name="scope" {
                        @for one in ["job", "item", "chain", "project", "project_day", "day"] {
                            option value=(one) selected[one == scope] { (one.replace('_', " ")) }
                        }
                    } }
                    label { "which " input name="key" required value=(key); }
                    label { "by dollars " input name="usd" inputmode="decimal" placeholder="5"; }
                    label { "by tokens " input name="tokens" inputmode="numeric"; }
                    label { "by runs " input name="runs" inputmode="numeric"; }
                    label { "note " input name="note"; }
                    button class="main" { "Raise" }
                }
            } @else {
                p class="empty" { "Who may only look cannot raise it." }
            }
        }
    };
    live(frame, "Raise a budget · Orch", &html! {}, &main, None)
}
