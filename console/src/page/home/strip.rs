//! The pipeline: of each project how much is at each stage, since when, and what was sent back.

use std::collections::{BTreeMap, BTreeSet};

use domain::overview::StageRecord;
use maud::{Markup, html};

use super::scroll;
use crate::page::words::elapsed;
use crate::page::{Frame, button, segment};
use crate::snapshot::Snapshot;

pub(super) fn panel(frame: &Frame, whole: &Snapshot) -> Markup {
    let stages = stages(whole);
    let mut projects: BTreeMap<&str, BTreeMap<&str, &StageRecord>> = BTreeMap::new();
    for record in &whole.stages {
        projects.entry(&record.project).or_default().insert(&record.stage, record);
    }
    html! {
        h2 id="pipeline-title" { "Pipeline" }
        @if projects.is_empty() {
            p class="empty" { "No project had a job yet." }
        } @else {
            (scroll("pipeline-title", &html! {
                table class="strip" {
                    thead { tr {
                        th scope="col" { "project" }
                        @for stage in &stages { th scope="col" { (stage) " " (pause(frame, whole, "stage", stage)) } }
                    } }
                    tbody {
                        @for (project, records) in &projects {
                            tr {
                                th scope="row" { (project) " " (pause(frame, whole, "project", project)) }
                                @for stage in &stages { td { @if let Some(record) = records.get(stage) { (cell(frame, record)) } } }
                            }
                        }
                    }
                }
            }))
        }
    }
}

/// The stages of `orch.toml` in their order, then those that only jobs know.
fn stages(whole: &Snapshot) -> Vec<&str> {
    let configured = whole.live.iter().flat_map(|live| &live.stages).map(|stage| stage.name.as_str());
    let mut stages: Vec<&str> = Vec::new();
    let used: BTreeSet<&str> = whole.stages.iter().map(|record| record.stage.as_str()).collect();
    for stage in configured.filter(|stage| used.contains(stage)).chain(used.iter().copied()) {
        if !stages.contains(&stage) {
            stages.push(stage);
        }
    }
    stages
}

fn cell(frame: &Frame, record: &StageRecord) -> Markup {
    let counts = record.counts;
    html! {
        @if counts.running > 0 { span class="state running" { (counts.running) " running" } " " }
        @if counts.queued > 0 {
            (counts.queued) " waiting"
            @if let Some(oldest) = record.oldest_queued_at { small { " oldest " (elapsed(&oldest.to_string(), frame.now)) } }
            " "
        }
        small {
            (counts.done) " done"
            @if counts.failed > 0 { ", " span class="state failed" { (counts.failed) " failed" } }
            @if record.bounces > 0 { ", sent back " (record.bounces) "×" }
        }
    }
}

fn pause(frame: &Frame, whole: &Snapshot, scope: &str, name: &str) -> Markup {
    let paused = whole.queue.paused_parts.iter().any(|part| part.scope == scope && part.name == name);
    let query = format!("{scope}={}", segment(name));
    html! {
        @if paused { span class="state failed" { "paused" } " " }
        @if frame.acts() {
            @if paused {
                (button(&format!("/resume?{query}"), "Resume", "small", None))
            } @else {
                (button(&format!("/pause?{query}"), "Pause", "small", Some(&format!("Start nothing more of {scope} {name}? Running agents go on."))))
            }
        }
    }
}
