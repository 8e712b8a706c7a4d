//! What needs a person: one row each, with what to do about it.

use maud::{Markup, html};
use proto::v1;

use super::job_link;
use crate::page::words::when;
use crate::page::{Frame, button, segment};
use crate::snapshot::{Held, Snapshot};

/// All of it, the widest first.
pub(super) fn list(frame: &Frame, whole: &Snapshot) -> Vec<Markup> {
    let queue = &whole.queue;
    let mut needs = Vec::new();
    if let Err(why) = &whole.live {
        needs.push(row(&html! { "The scheduler does not answer, so nothing starts: " (why) }, None));
    }
    if queue.paused {
        needs.push(need(frame, &html! { "All starts are paused." }, "/resume", "Resume"));
    }
    for part in &queue.paused_parts {
        let action = format!("/resume?{}={}", part.scope, segment(&part.name));
        needs.push(need(
            frame,
            &html! { "Nothing of " (part.scope) " " strong { (part.name) } " starts: it is paused." },
            &action,
            "Resume",
        ));
    }
    if let Some(error) = &queue.config_error {
        needs.push(row(&html! { "The version of " code { "orch.toml" } " before goes on, since this one cannot be used: " (error) }, None));
    }
    if queue.runners.is_empty() {
        needs.push(row(&html! { "No runner has registered: start " code { "orch-runner" } " with " code { "ORCH_SCHEDULER_URL" } "." }, None));
    } else if queue.runners.iter().all(|runner| runner.state != "ready") {
        needs.push(row(
            &html! { "No runner is ready: start one again, or see below what became of them." },
            None,
        ));
    }
    needs.extend(held_for_good(whole).map(|held| held_need(frame, held)));
    needs.extend(open_breakers(queue).map(|breaker| breaker_need(frame, breaker)));
    needs.extend(queue.needs_you.iter().map(|item| item_need(frame, item)));
    needs.extend(broken(queue).map(|one| broken_need(frame, queue, one)));
    needs.extend(queue.alerts.as_ref().and_then(undelivered));
    let told = |job: &v1::Job| {
        queue.needs_you.iter().any(|item| item.needs.as_ref().and_then(|needs| needs.job) == Some(job.id))
    };
    needs.extend(whole.failed.iter().filter(|job| !told(job)).map(|job| failed_need(frame, job)));
    if whole.failed.len() > 1 && frame.acts() {
        needs.push(row(
            &html! { "Several jobs failed in the last day." },
            Some(&html! { a class="button" href="/requeue" { "Retry many…" } }),
        ));
    }
    needs
}

/// The panel of what [`list`] found.
pub(super) fn panel(needs: &[Markup]) -> Markup {
    html! {
        h2 id="needs-title" { "Needs you" }
        @if needs.is_empty() {
            p class="empty" { "Nothing. Every limit waits by itself until its time." }
        } @else {
            (super::scroll("needs-title", &html! { ul class="needs" { @for need in needs { (need) } } }))
        }
    }
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
    let all = queue.resilience.iter().flat_map(|resilience| &resilience.preflight);
    all.filter(move |one| !one.ok && !lost(&one.runner))
}

fn held_need(frame: &Frame, held: &Held) -> Markup {
    let what = html! { "Account " strong { (held.account) } " is held: " (held.reason) ". Mend its credential, then resume it." };
    need(frame, &what, &format!("/accounts/{}/resume", segment(&held.account)), "Resume")
}

fn breaker_need(frame: &Frame, breaker: &v1::Breaker) -> Markup {
    let what = html! {
        "The breaker of account " strong { (breaker.account) } " is open after " (breaker.consecutive_transient)
        " limits or errors in a row"
        @if let Some(until) = &breaker.open_until { "; it probes " (when(until, frame.now)) }
        "."
    };
    need(frame, &what, &format!("/breakers/{}/reset", segment(&breaker.account)), "Close it")
}

fn broken_need(frame: &Frame, queue: &v1::QueueReply, one: &v1::Preflight) -> Markup {
    let what = html! {
        "Runner " strong { (one.runner) } " cannot start agents: "
        (one.error.as_deref().unwrap_or("its preflight has not run yet"))
    };
    let takes_work = queue.runners.iter().any(|runner| runner.id == one.runner && runner.state == "ready");
    if takes_work {
        return need(frame, &what, &format!("/runners/{}/drain", segment(&one.runner)), "Drain");
    }
    row(&what, None)
}

/// Alerts that do not get through, which nobody would miss otherwise.
fn undelivered(alerts: &v1::Alerts) -> Option<Markup> {
    if let Some(error) = &alerts.last_error {
        return Some(row(&html! { (alerts.pending) " messages are not delivered yet: " (error) }, None));
    }
    let aside = alerts.sinks.iter().find(|sink| sink.set_aside > 0)?;
    let why = aside.set_aside_error.as_deref().unwrap_or("no reason was kept");
    Some(row(
        &html! { (aside.set_aside) " messages were refused by " (aside.sink) " for good: " (why) },
        None,
    ))
}

fn failed_need(frame: &Frame, job: &v1::Job) -> Markup {
    let what = html! {
        (job_link(job)) " failed " (when(job.finished_at.as_deref().unwrap_or_default(), frame.now)) ": "
        (job.failure.as_deref().unwrap_or("no reason was kept"))
    };
    need(frame, &what, &format!("/jobs/{}/retry", job.id), "Retry")
}

/// A work item that waits for a person's word, or cannot go on without one.
fn item_need(frame: &Frame, item: &v1::WorkItem) -> Markup {
    let base = format!("/items/{}/{}", segment(&item.project), segment(&item.key));
    let needs = item.needs.clone().unwrap_or_default();
    let what = html! {
        @match needs.job {
            Some(job) => a href={ "/jobs/" (job) } { (item.key) },
            None => strong { (item.key) },
        }
        @if let Some(title) = &item.title { " " (title) }
        " · " (item.stage) ": " (needs.reason)
    };
    let buttons = html! {
        @if needs.why == "budget" {
            a class="button" href={ "/raise?scope=item&key=" (segment(&format!("{}/{}", item.project, item.key))) } { "Raise…" }
        }
        @match (needs.why.as_str(), needs.job) {
            ("job_failed", Some(job)) => (button(&format!("/jobs/{job}/retry"), "Retry", "main", Some(&format!("Retry job {job}?")))),
            _ => (button(&format!("{base}/approve"), "Approve", "main", Some(&format!("Approve {}?", item.key)))),
        }
        (button(&format!("{base}/reject"), "Reject", "danger", Some(&format!("Reject {}?", item.key))))
    };
    row(&what, frame.acts().then_some(&buttons))
}

fn need(frame: &Frame, what: &Markup, action: &str, label: &str) -> Markup {
    let button = button(action, label, "", Some(&format!("{label}?")));
    row(what, frame.acts().then_some(&button))
}

fn row(what: &Markup, buttons: Option<&Markup>) -> Markup {
    html! {
        li {
            span class="what" { (what) }
            @if let Some(buttons) = buttons { span class="choice" { (buttons) } }
        }
    }
}
