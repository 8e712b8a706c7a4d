//! What stands at the foot: runners, limits and alerts, the newest jobs.

use maud::{Markup, html};
use proto::v1;

use super::{job_link, scroll};
use crate::page::words::{short, state, when};
use crate::page::{Frame, button, segment};
use crate::snapshot::Snapshot;

/// Newest jobs shown; the document of `GET /queue` has more.
const RECENT_MAX: usize = 20;

pub(super) fn runners(frame: &Frame, queue: &v1::QueueReply) -> Markup {
    html! {
        h2 id="runners-title" { "Runners" }
        @if queue.runners.is_empty() {
            p class="empty" { "None yet." }
        } @else {
            (scroll("runners-title", &html! {
                table {
                    thead { tr { th scope="col" { "runner" } th scope="col" { "state" } th scope="col" { "busy" } th scope="col" { "agent" } th scope="col" { "contains" } th scope="col" { span class="sr" { "actions" } } } }
                    tbody { @for runner in &queue.runners { (runner_row(frame, queue, runner)) } }
                }
            }))
        }
    }
}

fn runner_row(frame: &Frame, queue: &v1::QueueReply, runner: &v1::Runner) -> Markup {
    let preflights = queue.resilience.iter().flat_map(|resilience| &resilience.preflight);
    let preflight = preflights.into_iter().find(|one| one.runner == runner.id);
    html! {
        tr {
            td { (short(&runner.id)) }
            td {
                (state(&runner.state))
                // Of a runner that is heard every few seconds this would only be noise.
                @if runner.state != "ready" { br; "heard " (when(&runner.last_seen_at, frame.now)) }
            }
            td class="whole" { (runner.busy) " / " (runner.slots) }
            td class="wrap" {
                @match preflight {
                    Some(one) if one.ok => (one.version.as_deref().unwrap_or("ok")),
                    Some(one) => span class="problem" { (one.error.as_deref().unwrap_or("not looked at yet")) },
                    None => "",
                }
            }
            td class="wrap" {
                (runner.containment)
                @for words in runner.containment_note.iter().chain(&runner.containment_lacks) { br; small { (words) } }
            }
            td {
                @if frame.acts() && runner.state == "ready" {
                    (button(&format!("/runners/{}/drain", segment(&runner.id)), "Drain", "",
                        Some(&format!("Take no new work to {}? Its agents end by themselves.", runner.id))))
                }
            }
        }
    }
}

pub(super) fn limits(frame: &Frame, whole: &Snapshot) -> Markup {
    let resilience = whole.queue.resilience.clone().unwrap_or_default();
    let for_a_time = whole.held.iter().filter_map(|held| Some((held, held.until.as_deref()?)));
    html! {
        h2 id="limits-title" { "Limits and alerts" }
        (scroll("limits-title", &html! {
            @for quota in &resilience.quota { (quota_bar(frame, quota)) }
            dl class="facts" {
                @for (held, until) in for_a_time {
                    dt { "account " (held.account) } dd { (held.reason) ", goes on " (when(until, frame.now)) }
                }
                @for breaker in &resilience.breaker {
                    dt { "breaker of " (breaker.account) }
                    dd {
                        (state(&breaker.state)) ", " (breaker.consecutive_transient) " of " (breaker.threshold) " in a row"
                        @if let Some(until) = &breaker.open_until { ", probes " (when(until, frame.now)) }
                    }
                }
                @if let Some(alerts) = &whole.queue.alerts { (alert_facts(frame, alerts)) }
            }
        }))
    }
}

fn alert_facts(frame: &Frame, alerts: &v1::Alerts) -> Markup {
    html! {
        dt { "alerts" }
        dd {
            @if alerts.pending == 0 { "all delivered" } @else { (alerts.pending) " not delivered yet" }
            @if alerts.set_aside > 0 { ", " (alerts.set_aside) " refused for good" }
        }
        @for sink in &alerts.sinks {
            dt { "to " (sink.sink) }
            dd {
                (sink.pending) " pending"
                @if let Some(error) = &sink.last_error { ": " (error) }
                @if let Some(next) = &sink.next_at { ", next " (when(next, frame.now)) }
            }
        }
    }
}

fn quota_bar(frame: &Frame, quota: &v1::Quota) -> Markup {
    let used = quota.utilization.unwrap_or(0.0).clamp(0.0, 1.0);
    let name = format!("{} {}", quota.account, quota.window.replace('_', " "));
    html! {
        div class="bar" {
            span { (name) }
            progress max="1" value=(used) aria-label=(name) { (format!("{:.0} %", used * 100.0)) }
            span { @if quota.utilization.is_some() { (format!("{:.0} %", used * 100.0)) } @else { "?" } }
            @if let Some(resets) = &quota.resets_at { span {} small { "resets " (when(resets, frame.now)) } }
        }
    }
}

pub(super) fn recent(frame: &Frame, queue: &v1::QueueReply) -> Markup {
    html! {
        h2 id="recent-title" { "Newest jobs" }
        @if queue.recent.is_empty() {
            p class="empty" { "None yet." }
        } @else {
            (scroll("recent-title", &html! {
                table {
                    thead { tr { th scope="col" { "job" } th scope="col" { "project" } th scope="col" { "status" } th scope="col" { "changed" } } }
                    tbody {
                        @for job in queue.recent.iter().take(RECENT_MAX) {
                            tr {
                                td class="wrap" { (job_link(job)) }
                                td { (job.project) }
                                td { (state(&job.status)) }
                                td { (when(&job.updated_at, frame.now)) }
                            }
                        }
                    }
                }
            }))
        }
    }
}
