//! The overview: one line of truth, what needs a person, what runs, what waits and why, the pipeline, the last day.

mod day;
mod foot;
mod needs;
mod strip;
mod truth;
mod work;

use maud::{Markup, html};
use proto::v1;

use super::words::dollars;
use super::{Frame, button, live, part};
use crate::snapshot::Snapshot;

/// The page.
pub(crate) fn page(frame: &Frame, whole: &Snapshot) -> Markup {
    let queue = &whole.queue;
    let needs = needs::list(frame, whole);
    let needs_class = if needs.is_empty() { "panel w12" } else { "panel w12 alert" };
    let main = html! {
        h1 class="sr" { "Overview" }
        (part("truth", "", &truth::line(frame, whole, needs.len())))
        div class="rooms" {
            (part("needs", needs_class, &needs::panel(&needs)))
            (part("running", "panel w7 tall", &work::running(frame, whole)))
            (part("waiting", "panel w5 tall", &work::waiting(frame, whole)))
            (part("pipeline", "panel w7", &strip::panel(frame, whole)))
            (part("day", "panel w5", &day::panel(frame, whole)))
            (part("runners", "panel w4", &foot::runners(frame, queue)))
            (part("limits", "panel w4", &foot::limits(frame, whole)))
            (part("recent", "panel w4", &foot::recent(frame, queue)))
        }
    };
    live(frame, "Orch", &controls(frame, queue), &main, None)
}

fn controls(frame: &Frame, queue: &v1::QueueReply) -> Markup {
    html! {
        span id="pause" data-part data-source=(queue.paused) {
            @if frame.acts() {
                @if queue.paused {
                    (button("/resume", "Resume all starts", "main", None))
                } @else {
                    (button("/pause", "Pause all starts", "", Some("Start nothing more until somebody resumes? Running agents go on.")))
                }
            }
        }
    }
}

fn job_link(job: &v1::Job) -> Markup {
    html! { a href={ "/jobs/" (job.id) } { "#" (job.id) " " (job.work_item) } " · " (job.stage) }
}

fn more(total: u64, shown: u32) -> Markup {
    html! { @if total > u64::from(shown) { " (the newest " (shown) " of " (total) ")" } }
}

/// A box that scrolls, which a keyboard can reach.
fn scroll(title: &str, content: &Markup) -> Markup {
    html! { div class="scroll" tabindex="0" role="region" aria-labelledby=(title) { (content) } }
}

/// What a run cost, where it said so.
pub(super) fn cost(run: &v1::Run) -> String {
    run.cost_usd.map(dollars).unwrap_or_default()
}
