//! One job: what it is, why it waits, what it follows from, each of its tries, and the log of one.

use domain::Timestamp;
use domain::budget::usd;
use maud::{Markup, html};
use proto::v1;
use store::Act;

use super::home::cost;
use super::words::{dollars, short, span, state, when};
use super::{Frame, button, live, part, segment};
use crate::assets;
use crate::history::History;

/// The page; `chosen` is the run whose log is shown, the newest when there is no such run.
pub(crate) fn page(frame: &Frame, history: &History, chosen: Option<&str>) -> Markup {
    let detail = &history.detail;
    let job = detail.job.clone().unwrap_or_default();
    let shown = detail.runs.iter().find(|run| Some(run.run_id.as_str()) == chosen).or(detail.runs.last());
    let main = html! {
        h1 { "Job " (job.id) ": " (job.work_item) " · " (job.stage) }
        div class="rooms" {
            (part("facts", "panel w7", &facts(frame, &job, history)))
            (part("causes", "panel w5", &causes(frame, &job, history)))
            (part("tries", "panel w12", &tries(frame, detail, shown)))
            @if let Some(run) = shown { section class="panel w12" aria-labelledby="log-title" { (log(run)) } }
            @else { (part("log-none", "panel w12", &html! { h2 id="log-none-title" { "Log" } p class="empty" { "It has not run yet: reload once it has." } })) }
        }
    };
    live(frame, &format!("Job {} · Orch", job.id), &html! {}, &main, shown.map(|_| assets::LOG_SCRIPT.url))
}

fn facts(frame: &Frame, job: &v1::Job, history: &History) -> Markup {
    html! {
        h2 id="facts-title" { "Now" }
        dl class="facts" {
            dt { "status" } dd { (state(&job.status)) @if job.cancel_requested_at.is_some() { ", its end was asked for" } }
            @if let Some(waiting) = &job.waiting {
                dt { "waits" }
                dd { (waiting.reason) @if let Some(until) = &waiting.until { ", until " (when(until, frame.now)) } }
            }
            @if let Some(failure) = &job.failure { dt { "failed" } dd { (failure) } }
            dt { "project" } dd { (job.project) ", priority " (job.priority) ", " (job.role) }
            @if let Some(head) = &job.head { dt { "commit" } dd { (short(head)) } }
            dt { "tries spent" }
            dd { (job.attempts) " attempts, " (job.transient_attempts) " put off by limits, " (job.infra_attempts) " lost with a runner" }
            @for (scope, key, spending) in &history.spent {
                dt { "spent on this " (scope.as_str()) }
                dd {
                    (dollars(usd(spending.spent.usd_micros))) ", " (spending.spent.tokens) " tokens, " (spending.spent.runs) " tries "
                    @if frame.acts() {
                        a href={ "/raise?scope=" (scope.as_str()) "&key=" (segment(key)) } aria-label={ "raise the budget of this " (scope.as_str()) } { "raise…" }
                    }
                }
            }
            dt { "made" } dd { (when(&job.created_at, frame.now)) }
            dt { "changed" } dd { (when(&job.updated_at, frame.now)) }
        }
        @if let Some(why) = &history.detail.why { (chain(why)) }
        @if frame.acts() {
            @match job.status.as_str() {
                "queued" | "running" => {
                    (button(&format!("/jobs/{}/cancel", job.id), "Cancel", "danger", Some(&format!("Cancel job {}? It never runs again by itself.", job.id))))
                }
                "failed" | "cancelled" => { (button(&format!("/jobs/{}/retry", job.id), "Retry", "main", Some("Queue it again, its budgets reset?"))) }
                _ => {}
            }
        }
    }
}

/// What it has to pass before it starts, and which of that holds it.
fn chain(why: &v1::Why) -> Markup {
    html! {
        p { "It goes on " (why.ends) "." }
        details {
            summary { "What it has to pass before it starts" }
            ol {
                @for one in &why.conditions { li { (state(&one.state)) " " (one.text) } }
            }
        }
    }
}

/// Where it comes from, what followed from it, and what people did to it.
fn causes(frame: &Frame, job: &v1::Job, history: &History) -> Markup {
    let step = |other: &v1::Job| {
        html! {
            a href={ "/jobs/" (other.id) } { "#" (other.id) " " (other.work_item) } " · " (other.stage) " " (state(&other.status))
        }
    };
    html! {
        h2 id="causes-title" { "Causes and effects" }
        ol class="chain" {
            li {
                @match &job.delivery {
                    Some(delivery) => { "webhook " code { (delivery) } },
                    None => "no webhook: a person or Orch itself made it",
                }
            }
            @for cause in history.causes.iter().rev() { li { (step(cause)) } }
            li aria-current="true" { strong { "#" (job.id) " this job" } @if let Some(replaced) = job.replaces { ", in the place of " a href={ "/jobs/" (replaced) } { "#" (replaced) } } }
            @for effect in &history.follow_ups { li { (step(effect)) } }
        }
        @if !history.acts.is_empty() {
            h3 { "What people did" }
            ul class="acts" {
                @for act in &history.acts {
                    li {
                        (when(&act.at.to_string(), frame.now)) " " (act.actor.by) " (" (act.actor.via) "): " (act.verb)
                        @if act.result != Act::DONE { ", refused: " (act.result) }
                    }
                }
            }
        }
    }
}

fn tries(frame: &Frame, detail: &v1::JobDetail, shown: Option<&v1::Run>) -> Markup {
    let late = |run: &v1::Run| detail.late_outcomes.iter().find(|late| late.run_id == run.run_id);
    html! {
        h2 id="tries-title" { "Tries" }
        @if detail.runs.is_empty() {
            p class="empty" { "None yet." }
        } @else {
            div class="scroll" tabindex="0" role="region" aria-labelledby="tries-title" {
                table {
                    thead { tr { th scope="col" { "try" } th scope="col" { "runner" } th scope="col" { "began" } th scope="col" { "took" } th scope="col" { "verdict" } th scope="col" { "evidence" } th scope="col" { "turns" } th scope="col" { "tokens" } th scope="col" { "cost" } } }
                    tbody {
                        @for run in detail.runs.iter().rev() {
                            tr {
                                td {
                                    a href={ "?run=" (run.run_id) } aria-current=[shown.filter(|one| one.run_id == run.run_id).map(|_| "true")] { (run.epoch) }
                                }
                                td { (short(&run.runner)) }
                                td class="whole" { (when(run.started_at.as_deref().unwrap_or(&run.offered_at), frame.now)) }
                                td class="whole" { (took(run)) }
                                td {
                                    (state(run.class.as_deref().unwrap_or(&run.state)))
                                    @if let Some(reason) = &run.reason { br; (reason) }
                                }
                                td class="wrap" {
                                    (run.evidence.as_deref().unwrap_or_default())
                                    @if let Some(late) = late(run) { br; "reported late, not applied: " (late.class) }
                                    @for step in &run.steps { br; (after_agent(step)) }
                                }
                                td { (run.turns.map(|turns| turns.to_string()).unwrap_or_default()) }
                                td class="whole" { (tokens(run)) }
                                td { (cost(run)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A step after the agent, with where it can be seen or the last line of what it was told.
fn after_agent(step: &v1::Step) -> Markup {
    let link = step.url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    let last = step.evidence.lines().rev().find(|line| !line.trim().is_empty());
    html! {
        (step.step) " " (state(&step.state))
        @if let Some(reason) = &step.reason { " " (reason) }
        @if let (Some(url), Some(number)) = (link, step.pull_request) {
            " " a href=(url) rel="noreferrer" { "#" (number) }
        } @else if step.state == "failed" {
            @if let Some(line) = last { ": " (line) }
        } @else if let Some(head) = &step.head {
            " " (short(head))
        }
    }
}

fn took(run: &v1::Run) -> String {
    let instant = |text: Option<&str>| text.and_then(Timestamp::parse);
    match (instant(run.started_at.as_deref()), instant(run.ended_at.as_deref())) {
        (Some(from), Some(to)) => span(to.as_ms() - from.as_ms()),
        _ => String::new(),
    }
}

fn tokens(run: &v1::Run) -> String {
    match (run.input_tokens, run.output_tokens) {
        (None, None) => String::new(),
        (input, output) => format!("{} in, {} out", input.unwrap_or(0), output.unwrap_or(0)),
    }
}

fn log(run: &v1::Run) -> Markup {
    let url = format!("/runs/{}/log", run.run_id);
    html! {
        h2 id="log-title" { "Log of try " (run.epoch) }
        div class="log-tools" {
            label { input type="checkbox" id="log-follow" checked[run.state != "ended"]; " follow" }
            label { input type="checkbox" id="log-raw"; " raw" }
            label { "find " input type="search" id="log-find"; }
            span id="log-found" role="status" {}
            button id="log-error" type="button" { "Next error" }
            a href=(url) download={ "run-" (run.run_id) ".log" } { "Download" }
            span id="log-note" class="problem" role="status" {}
        }
        div id="log" class="log" tabindex="0" role="log" aria-live="off" aria-labelledby="log-title" data-url={ (url) "?follow=true" } {
            noscript { "Without scripts the log is at " a href=(url) { (url) } }
        }
    }
}
