//! What runs, with how far it is, and what waits, with why and until when.

use maud::{Markup, html};
use proto::v1;

use super::{job_link, more, scroll};
use crate::page::words::{elapsed, short, span, thousands, when};
use crate::page::{Frame, button};
use crate::snapshot::{RUNNING_MAX, Snapshot, WAITING_MAX};

pub(super) fn running(frame: &Frame, whole: &Snapshot) -> Markup {
    let total = whole.queue.counts.unwrap_or_default().running;
    html! {
        h2 id="running-title" { "Running" (more(total, RUNNING_MAX)) }
        @if whole.running.is_empty() {
            p class="empty" { "No agent is at work." }
        } @else {
            (scroll("running-title", &html! {
                table {
                    thead { tr {
                        th scope="col" { "job" } th scope="col" class="roomy" { "runner" } th scope="col" { "for, of at most" }
                        th scope="col" class="roomy number" { "turns" } th scope="col" class="roomy number" { "tokens" }
                        th scope="col" class="roomy" { "heard" } th scope="col" class="roomy" { "doing" }
                        th scope="col" { span class="sr" { "actions" } }
                    } }
                    tbody { @for (job, run) in &whole.running { (running_row(frame, whole, job, run.as_ref())) } }
                }
            }))
        }
    }
}

fn running_row(frame: &Frame, whole: &Snapshot, job: &v1::Job, run: Option<&v1::Run>) -> Markup {
    let since = run.map(|run| run.started_at.as_deref().unwrap_or(&run.offered_at));
    let live = whole.live.as_ref().ok();
    let pulse = run.zip(live).and_then(|(run, live)| live.runs.get(&run.run_id));
    let limit = live.and_then(|live| live.stages.iter().find(|stage| stage.name == job.stage));
    let tokens = run.map_or(0, |run| run.input_tokens.unwrap_or(0) + run.output_tokens.unwrap_or(0));
    html! {
        tr {
            td class="wrap" { (job_link(job)) @if job.epoch > 1 { small { " try " (job.epoch) } } }
            td class="roomy" { @if let Some(run) = run { (short(&run.runner)) } }
            td {
                @if let Some(since) = since {
                    (elapsed(since, frame.now))
                    @if let Some(limit) = limit { small { " of " (limit_of(limit)) } }
                }
            }
            td class="roomy number" { @if let Some(turns) = run.and_then(|run| run.turns) { (turns) } }
            td class="roomy number" { @if tokens > 0 { (thousands(tokens)) } }
            td class="roomy" { @if let Some(pulse) = pulse { (when(&pulse.last_event_at, frame.now)) } }
            td class="roomy phrase" { @if let Some(phrase) = pulse.and_then(|pulse| pulse.phrase.as_deref()) { (phrase) } }
            td {
                @if job.cancel_requested_at.is_some() {
                    "ending"
                } @else if frame.acts() {
                    (button(&format!("/jobs/{}/cancel", job.id), "Stop", "danger",
                        Some(&format!("End the agent of job {} ({})?", job.id, job.work_item))))
                }
            }
        }
    }
}

fn limit_of(stage: &v1::StageTerms) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a duration in milliseconds")]
    let ms = (stage.runtime_max_seconds * 1000.0) as i64;
    span(ms)
}

pub(super) fn waiting(frame: &Frame, whole: &Snapshot) -> Markup {
    let total = whole.queue.counts.unwrap_or_default().queued;
    html! {
        h2 id="waiting-title" { "Waiting, and why" (more(total, WAITING_MAX)) }
        @if whole.waiting.is_empty() {
            p class="empty" { (why_empty(whole)) }
        } @else {
            (scroll("waiting-title", &html! {
                table {
                    thead { tr { th scope="col" { "job" } th scope="col" { "reason" } th scope="col" { "until" } th scope="col" { span class="sr" { "actions" } } } }
                    tbody { @for job in &whole.waiting { (waiting_row(frame, job)) } }
                }
            }))
        }
    }
}

fn waiting_row(frame: &Frame, job: &v1::Job) -> Markup {
    html! {
        tr {
            td class="wrap" { (job_link(job)) }
            @if let Some(waiting) = &job.waiting {
                td class="wrap" { (waiting.reason) }
                td { @if let Some(until) = &waiting.until { (when(until, frame.now)) } }
            } @else {
                td { "due, not looked at yet" } td {}
            }
            td {
                @if frame.acts() {
                    (button(&format!("/jobs/{}/cancel", job.id), "Cancel", "danger",
                        Some(&format!("Cancel job {} ({})?", job.id, job.work_item))))
                }
            }
        }
    }
}

/// An empty queue says why it is empty.
fn why_empty(whole: &Snapshot) -> Markup {
    let counts = whole.queue.counts.unwrap_or_default();
    let ever = counts.running + counts.done + counts.failed + counts.cancelled > 0;
    html! {
        @if ever {
            "Everything that was asked for has started."
        } @else if whole.sources.is_empty() {
            "No job was ever made, and no webhook has arrived: point one at orch-ingest, or try `orch enqueue`."
        } @else {
            "No job was ever made: webhooks arrive, and none of them starts a stage. See the triggers in orch.toml, or try `orch enqueue`."
        }
    }
}
