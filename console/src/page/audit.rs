//! The audit: who did what, when, from where, and what came of it.

use maud::{Markup, html};
use store::Act;

use super::words::when;
use super::{Frame, live};

/// How many entries a page has.
pub(crate) const ENTRIES_MAX: u32 = 100;

/// The page, with a way to the older entries where there may be some.
pub(crate) fn page(frame: &Frame, acts: &[Act]) -> Markup {
    let oldest = acts.last().map(|act| act.id).filter(|_| acts.len() >= ENTRIES_MAX as usize);
    let main = html! {
        h1 { "Audit" }
        section class="panel" aria-label="Audit" {
            (table(frame, acts))
            @if let Some(oldest) = oldest { p { a href={ "/audit?before=" (oldest) } { "Older" } } }
        }
    };
    live(frame, "Audit · Orch", &html! {}, &main, None)
}

/// Entries as a table.
pub(super) fn table(frame: &Frame, acts: &[Act]) -> Markup {
    html! {
        @if acts.is_empty() {
            p class="empty" { "Nobody did anything yet." }
        } @else {
            div class="scroll whole-page" tabindex="0" role="region" aria-label="Entries" {
                table {
                    thead { tr {
                        th scope="col" { "when" } th scope="col" { "who" } th scope="col" { "from" } th scope="col" { "what" }
                        th scope="col" { "of" } th scope="col" { "result" } th scope="col" { "note" }
                    } }
                    tbody { @for act in acts { (row(frame, act)) } }
                }
            }
        }
    }
}

fn row(frame: &Frame, act: &Act) -> Markup {
    let job = act.subject.parse::<i64>().ok().filter(|_| matches!(act.verb.as_str(), "cancel" | "retry"));
    html! {
        tr {
            td class="whole" { (when(&act.at.to_string(), frame.now)) }
            td { (act.actor.by) }
            td { (act.actor.via) @if let Some(origin) = &act.actor.origin { " " (origin) } }
            td { (act.verb) }
            td class="wrap" {
                @match job {
                    Some(id) => a href={ "/jobs/" (id) } { "job " (id) },
                    None => (act.subject),
                }
            }
            td class="wrap" { @if act.result == Act::DONE { "done" } @else { span class="problem" { (act.result) } } }
            td class="wrap" { @if let Some(note) = &act.note { (note) } }
        }
    }
}
