//! The overview: one line of truth, what needs a person, what runs, what waits and why.

use maud::{Markup, html};
use proto::v1;

use super::words::{dollars, elapsed, short, span, state, when};
use super::{Frame, button, live, part, segment};
use crate::snapshot::{Held, RUNNING_MAX, Snapshot, WAITING_MAX};

/// The page.
pub(crate) fn page(frame: &Frame, whole: &Snapshot) -> Markup {
    let queue = &whole.queue;
    let main = html! {
        h1 class="sr" { "Overview" }
        (part("truth", "", &truth(frame, whole)))
        div class="rooms" {
            (part("needs", if needs_count(whole) > 0 { "panel wide alert" } else { "panel wide" }, &needs_you(frame, whole)))
            (part("running", "panel", &running(frame, whole)))
            (part("waiting", "panel", &waiting(frame, whole)))
            (part("runners", "panel", &runners(frame, queue)))
            (part("limits", "panel", &limits(frame, whole)))
            (part("day", "panel wide", &day(whole)))
            (part("recent", "panel wide", &recent(frame, queue)))
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

fn truth(frame: &Frame, whole: &Snapshot) -> Markup {
    let queue = &whole.queue;
    let counts = queue.counts.unwrap_or_default();
    let ready = queue.runners.iter().filter(|runner| runner.state == "ready").count();
    let slots: u32 = queue.runners.iter().map(|runner| runner.slots).sum();
    let needs = needs_count(whole);
    html! {
        h2 id="truth-title" class="sr" { "At a glance" }
        dl class="truth" {
            div { dt { "running" } dd { (counts.running) " / " (slots.min(queue.max_concurrency)) small { "of the slots" } } }
            div { dt { "waiting" } dd { (counts.queued) small { (oldest(queue)) } } }
            div class=[(needs > 0).then_some("act")] { dt { "needs you" } dd { (needs) } }
            div class=[queue.runners.is_empty().then_some("act")] {
                dt { "runners" } dd { (ready) " / " (queue.runners.len()) small { "ready" } }
            }
            div { dt { "spent" } dd { (dollars(whole.tallies.iter().map(|tally| tally.cost_usd).sum())) small { "in 24 hours" } } }
            div {
                dt { "last webhook" }
                @match whole.sources.iter().max_by_key(|(_, at)| *at) {
                    Some((source, at)) => dd { (when(&at.to_string(), frame.now)) small { (source) } },
                    None => dd { "none yet" },
                }
            }
            div { dt { "done" } dd { (counts.done) small { (counts.failed) " failed, " (counts.cancelled) " cancelled" } } }
            div class=[queue.paused.then_some("act")] {
                dt { "starts" } dd { @if queue.paused { "paused" } @else { "on" } }
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

fn needs_count(whole: &Snapshot) -> usize {
    let queue = &whole.queue;
    usize::from(queue.paused)
        + usize::from(queue.config_error.is_some())
        + usize::from(queue.runners.is_empty())
        + held_for_good(whole).count()
        + open_breakers(queue).count()
        + broken(queue).count()
        + queue.needs_you.len()
        + whole.failed.len()
}

fn held_for_good(whole: &Snapshot) -> impl Iterator<Item = &Held> {
    whole.held.iter().filter(|held| held.until.is_none())
}

fn open_breakers(queue: &v1::QueueReply) -> impl Iterator<Item = &v1::Breaker> {
    queue
        .resilience
        .iter()
        .flat_map(|resilience| &resilience.breaker)
        .filter(|breaker| breaker.state == "open")
}

/// Preflights that fail on runners that are there.
fn broken(queue: &v1::QueueReply) -> impl Iterator<Item = &v1::Preflight> {
    let lost = |id: &str| queue.runners.iter().any(|runner| runner.id == id && runner.state == "lost");
    queue
        .resilience
        .iter()
        .flat_map(|resilience| &resilience.preflight)
        .filter(move |one| !one.ok && !lost(&one.runner))
}

fn needs_you(frame: &Frame, whole: &Snapshot) -> Markup {
    let queue = &whole.queue;
    html! {
        h2 id="needs-title" { "Needs you" }
        @if needs_count(whole) == 0 {
            p class="empty" { "Nothing. Every limit waits by itself until its time." }
        } @else {
            ul class="needs" {
                @if queue.paused {
                    (need(frame, &html! { "All starts are paused." }, "/resume", "Resume"))
                }
                @if let Some(error) = &queue.config_error {
                    li { span class="what" { "The version of " code { "orch.toml" } " before goes on, since this one cannot be used: " (error) } }
                }
                @if queue.runners.is_empty() {
                    li { span class="what" { "No runner has registered: start " code { "orch-runner" } " with " code { "ORCH_SCHEDULER_URL" } "." } }
                }
                @for held in held_for_good(whole) {
                    (need(frame, &html! { "Account " strong { (held.account) } " is held: " (held.reason) ". Mend its credential, then resume it." },
                        &format!("/accounts/{}/resume", segment(&held.account)), "Resume"))
                }
                @for breaker in open_breakers(queue) {
                    (need(frame, &html! {
                        "The breaker of account " strong { (breaker.account) } " is open after " (breaker.consecutive_transient)
                        " limits or errors in a row"
                        @if let Some(until) = &breaker.open_until { "; it probes " (when(until, frame.now)) }
                        "."
                    }, &format!("/breakers/{}/reset", segment(&breaker.account)), "Close it"))
                }
                @for item in &queue.needs_you { (item_need(frame, item)) }
                @for one in broken(queue) {
                    li {
                        span class="what" {
                            "Runner " strong { (one.runner) } " cannot start agents: "
                            (one.error.as_deref().unwrap_or("its preflight has not run yet"))
                        }
                    }
                }
                @for job in &whole.failed {
                    (need(frame, &html! {
                        (job_link(job)) " failed " (when(job.finished_at.as_deref().unwrap_or_default(), frame.now)) ": "
                        (job.failure.as_deref().unwrap_or("no reason was kept"))
                    }, &format!("/jobs/{}/retry", job.id), "Retry"))
                }
            }
        }
    }
}

/// A work item that waits for a person's word, or cannot go on without one.
fn item_need(frame: &Frame, item: &v1::WorkItem) -> Markup {
    let base = format!("/items/{}/{}", segment(&item.project), segment(&item.key));
    let needs = item.needs.clone().unwrap_or_default();
    html! {
        li {
            span class="what" {
                strong { (item.key) } @if let Some(title) = &item.title { " " (title) }
                " · " (item.stage) ": " (needs.reason)
            }
            @if frame.acts() {
                span class="choice" {
                    (button(&format!("{base}/approve"), "Approve", "main", None))
                    (button(&format!("{base}/reject"), "Reject", "danger", Some(&format!("Reject {}?", item.key))))
                }
            }
        }
    }
}

fn need(frame: &Frame, what: &Markup, action: &str, label: &str) -> Markup {
    html! {
        li { span class="what" { (what) } @if frame.acts() { (button(action, label, "", None)) } }
    }
}

fn job_link(job: &v1::Job) -> Markup {
    html! { a href={ "/jobs/" (job.id) } { "#" (job.id) " " (job.work_item) } " · " (job.stage) }
}

fn running(frame: &Frame, whole: &Snapshot) -> Markup {
    let total = whole.queue.counts.unwrap_or_default().running;
    html! {
        h2 id="running-title" { "Running" (more(total, RUNNING_MAX)) }
        @if whole.running.is_empty() {
            p class="empty" { "No agent is at work." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-labelledby="running-title" {
                table {
                    thead { tr { th scope="col" { "job" } th scope="col" class="roomy" { "project" } th scope="col" class="roomy" { "runner" } th scope="col" { "for" } th scope="col" { "try" } th scope="col" { span class="sr" { "actions" } } } }
                    tbody {
                        @for (job, run) in &whole.running { (running_row(frame, job, run.as_ref())) }
                    }
                }
            }
        }
    }
}

fn running_row(frame: &Frame, job: &v1::Job, run: Option<&v1::Run>) -> Markup {
    let since = run.map(|run| run.started_at.as_deref().unwrap_or(&run.offered_at));
    html! {
        tr {
            td class="wrap" { (job_link(job)) }
            td class="roomy" { (job.project) }
            td class="roomy" { @if let Some(run) = run { (short(&run.runner)) } }
            td { @if let Some(since) = since { (elapsed(since, frame.now)) } }
            td { (job.epoch) }
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

fn waiting(frame: &Frame, whole: &Snapshot) -> Markup {
    let total = whole.queue.counts.unwrap_or_default().queued;
    html! {
        h2 id="waiting-title" { "Waiting, and why" (more(total, WAITING_MAX)) }
        @if whole.waiting.is_empty() {
            p class="empty" { (why_empty(whole)) }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-labelledby="waiting-title" {
                table {
                    thead { tr { th scope="col" { "job" } th scope="col" { "reason" } th scope="col" { "until" } th scope="col" { span class="sr" { "actions" } } } }
                    tbody {
                        @for job in &whole.waiting {
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
                }
            }
        }
    }
}

/// An empty queue says why it is empty.
fn why_empty(whole: &Snapshot) -> &'static str {
    let counts = whole.queue.counts.unwrap_or_default();
    if counts.running + counts.done + counts.failed + counts.cancelled == 0 {
        "No job was ever made: post a webhook to orch-ingest, or try `orch enqueue`."
    } else {
        "Everything that was asked for has started."
    }
}

fn more(total: u64, shown: u32) -> Markup {
    html! { @if total > u64::from(shown) { " (the newest " (shown) " of " (total) ")" } }
}

fn runners(frame: &Frame, queue: &v1::QueueReply) -> Markup {
    let preflight = |id: &str| {
        queue.resilience.iter().flat_map(|resilience| &resilience.preflight).find(|one| one.runner == id)
    };
    html! {
        h2 id="runners-title" { "Runners" }
        @if queue.runners.is_empty() {
            p class="empty" { "None yet." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-labelledby="runners-title" {
                table {
                    thead { tr { th scope="col" { "runner" } th scope="col" { "state" } th scope="col" { "busy" } th scope="col" { "agent" } th scope="col" { span class="sr" { "actions" } } } }
                    tbody {
                        @for runner in &queue.runners {
                            tr {
                                td { (short(&runner.id)) }
                                td {
                                    (state(&runner.state))
                                    // Of a runner that is heard every few seconds this would only be noise.
                                    @if runner.state != "ready" { br; "heard " (when(&runner.last_seen_at, frame.now)) }
                                }
                                td class="whole" { (runner.busy) " / " (runner.slots) }
                                td class="wrap" {
                                    @match preflight(&runner.id) {
                                        Some(one) if one.ok => (one.version.as_deref().unwrap_or("ok")),
                                        Some(one) => span class="problem" { (one.error.as_deref().unwrap_or("not looked at yet")) },
                                        None => "",
                                    }
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
                }
            }
        }
    }
}

fn limits(frame: &Frame, whole: &Snapshot) -> Markup {
    let resilience = whole.queue.resilience.clone().unwrap_or_default();
    let for_a_time = whole.held.iter().filter_map(|held| Some((held, held.until.as_deref()?)));
    html! {
        h2 id="limits-title" { "Limits" }
        @if resilience.breaker.is_empty() && resilience.quota.is_empty() && whole.held.is_empty() {
            p class="empty" { "No account has met one." }
        }
        dl class="facts" {
            @for breaker in &resilience.breaker {
                dt { "breaker of " (breaker.account) }
                dd {
                    (state(&breaker.state)) ", " (breaker.consecutive_transient) " of " (breaker.threshold) " in a row"
                    @if let Some(until) = &breaker.open_until { ", probes " (when(until, frame.now)) }
                }
            }
            @for (held, until) in for_a_time {
                dt { "account " (held.account) } dd { (held.reason) ", goes on " (when(until, frame.now)) }
            }
        }
        @for quota in &resilience.quota { (quota_bar(frame, quota)) }
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

fn day(whole: &Snapshot) -> Markup {
    let ended: Vec<_> = whole.tallies.iter().filter(|tally| tally.class.is_some()).collect();
    let most = ended.iter().map(|tally| tally.runs).max().unwrap_or(0);
    html! {
        h2 id="day-title" { "How the tries of the last 24 hours ended" }
        @if ended.is_empty() {
            p class="empty" { "None has ended." }
        }
        div class="bars" {
            @for tally in ended {
                @let (class, reason) = (tally.class.as_deref().unwrap_or_default(), tally.reason.as_deref().unwrap_or_default());
                @let name = if reason == "none" { class.to_owned() } else { format!("{class}: {reason}") };
                div class="bar" {
                    span class={ "state " (class) } { (name) }
                    progress class=(class) max=(most) value=(tally.runs) aria-label=(name) { (tally.runs) }
                    span { (tally.runs) @if tally.cost_usd > 0.0 { small { " " (dollars(tally.cost_usd)) } } }
                }
            }
        }
    }
}

fn recent(frame: &Frame, queue: &v1::QueueReply) -> Markup {
    html! {
        h2 id="recent-title" { "Newest jobs" }
        @if queue.recent.is_empty() {
            p class="empty" { "None yet." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-labelledby="recent-title" {
                table {
                    thead { tr { th scope="col" { "job" } th scope="col" { "project" } th scope="col" { "role" } th scope="col" { "status" } th scope="col" { "changed" } th scope="col" { "tries" } } }
                    tbody {
                        @for job in &queue.recent {
                            tr {
                                td class="wrap" { (job_link(job)) }
                                td { (job.project) }
                                td { (job.role) }
                                td { (state(&job.status)) }
                                td { (when(&job.updated_at, frame.now)) }
                                td { (job.epoch) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a run cost, where it said so.
pub(super) fn cost(run: &v1::Run) -> String {
    run.cost_usd.map(dollars).unwrap_or_default()
}
