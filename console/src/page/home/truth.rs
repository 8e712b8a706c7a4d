//! The line of truth. Red is only what a person can do something about.

use domain::budget::usd;
use maud::{Markup, html};
use proto::v1;

use crate::page::Frame;
use crate::page::words::{dollars, span, when};
use crate::snapshot::Snapshot;

pub(super) fn line(frame: &Frame, whole: &Snapshot, needs: usize) -> Markup {
    let queue = &whole.queue;
    let counts = queue.counts.unwrap_or_default();
    let ready = queue.runners.iter().filter(|runner| runner.state == "ready").count();
    let slots: u32 = queue.runners.iter().map(|runner| runner.slots).sum();
    let quotas = queue.resilience.iter().flat_map(|resilience| &resilience.quota);
    html! {
        h2 id="truth-title" class="sr" { "At a glance" }
        dl class="truth" {
            div { dt { "running" } dd { (counts.running) " / " (slots.min(queue.max_concurrency)) small { "of the slots" } } }
            div { dt { "waiting" } dd { (counts.queued) small { (oldest(queue)) } } }
            div class=[(needs > 0).then_some("act")] { dt { "needs you" } dd { (needs) } }
            @for quota in quotas.take(QUOTAS_MAX) { (quota_fact(frame, quota)) }
            div {
                dt { "spent today" }
                dd { (dollars(usd(whole.today.spent.usd_micros))) small { (whole.today.spent.runs) " tries since midnight UTC" } }
            }
            div class=[(ready == 0).then_some("act")] {
                dt { "runners" } dd { (ready) " / " (queue.runners.len()) small { "ready" } }
            }
            div {
                dt { "last webhook" }
                @match whole.sources.iter().max_by_key(|(_, at)| *at) {
                    Some((source, at)) => dd { (when(&at.to_string(), frame.now)) small { (source) } },
                    None => dd { "none yet" },
                }
            }
            @if queue.paused { div class="act" { dt { "starts" } dd { "paused" } } }
        }
    }
}

/// More windows than this stand below, with the limits.
const QUOTAS_MAX: usize = 3;

fn quota_fact(frame: &Frame, quota: &v1::Quota) -> Markup {
    html! {
        div {
            dt { (quota.window.replace('_', " ")) @if quota.account != "default" { " of " (quota.account) } }
            dd {
                @if let Some(used) = quota.utilization { (format!("{:.0} %", used * 100.0)) } @else { "?" }
                @if let Some(resets) = &quota.resets_at { small { "resets " (when(resets, frame.now)) } }
            }
        }
    }
}

fn oldest(queue: &v1::QueueReply) -> String {
    match queue.oldest_ready_seconds {
        #[expect(clippy::cast_possible_truncation, reason = "an age in milliseconds")]
        Some(seconds) => format!("oldest ready for {}", span((seconds * 1000.0) as i64 / 60_000 * 60_000)),
        None => "none is ready".to_owned(),
    }
}
