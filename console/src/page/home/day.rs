//! The last 24 hours: how tries ended, what they cost, and which reasons come back.

use std::collections::BTreeMap;

use domain::overview::HourTally;
use maud::{Markup, html};

use crate::page::Frame;
use crate::page::words::dollars;
use crate::snapshot::Snapshot;

const HOUR_MS: i64 = 3_600_000;
const HOURS: usize = 24;
/// The size of a chart, in the units of its drawing.
const HEIGHT: f64 = 48.0;
const STEP: f64 = 10.0;
/// Reasons shown.
const REASONS_MAX: usize = 4;
/// The layers of a bar, from the ground up.
const LAYERS: [&str; 4] = ["success", "transient", "permanent", "other"];

/// One hour of the chart.
#[derive(Clone, Copy, Debug, Default)]
struct Hour {
    runs: [u64; 4],
    cost_usd: f64,
}

pub(super) fn panel(frame: &Frame, whole: &Snapshot) -> Markup {
    let hours = hours(&whole.hours, frame.now.as_ms());
    let ended: u64 = hours.iter().flat_map(|hour| hour.runs).sum();
    let cost_usd: f64 = hours.iter().map(|hour| hour.cost_usd).sum();
    let of_layer = |layer: usize| hours.iter().map(|hour| hour.runs[layer]).sum::<u64>();
    let reasons = reasons(&whole.hours);
    html! {
        h2 id="day-title" { "The last 24 hours" }
        @if ended == 0 {
            p class="empty" { "No try has ended." }
        } @else {
            div class="charts" {
                figure {
                    figcaption {
                        (ended) " tries ended: "
                        @for (layer, name) in LAYERS.iter().enumerate() {
                            @if of_layer(layer) > 0 { span class={ "state " (name) } { (of_layer(layer)) " " (name) } " " }
                        }
                    }
                    (chart(&format!("{ended} tries by the hour of their end"), &bars(&hours)))
                }
                figure {
                    figcaption { (dollars(cost_usd)) " spent on them" }
                    (chart(&format!("{} by the hour", dollars(cost_usd)), &costs(&hours)))
                }
            }
            @if !reasons.is_empty() {
                ul class="reasons" {
                    @for ((class, reason), count) in reasons.iter().take(REASONS_MAX) {
                        li { span class={ "state " (class) } { (count) "× " (class) } " " (reason) }
                    }
                }
            }
        }
    }
}

fn hours(tallies: &[HourTally], now_ms: i64) -> [Hour; HOURS] {
    let mut hours = [Hour::default(); HOURS];
    for tally in tallies {
        let ago = (now_ms.div_euclid(HOUR_MS) - tally.hour.as_ms().div_euclid(HOUR_MS)).max(0);
        let Some(hour) = usize::try_from(ago).ok().and_then(|ago| hours.iter_mut().rev().nth(ago)) else {
            continue;
        };
        let layer = LAYERS.iter().position(|name| *name == tally.class).unwrap_or(LAYERS.len() - 1);
        hour.runs[layer] += tally.runs;
        hour.cost_usd += tally.cost_usd;
    }
    hours
}

/// What did not succeed, the most frequent first.
fn reasons(tallies: &[HourTally]) -> Vec<((&str, &str), u64)> {
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for tally in
        tallies.iter().filter(|tally| matches!(tally.class.as_str(), "permanent" | "transient" | "lost"))
    {
        *counts.entry((&tally.class, &tally.reason)).or_default() += tally.runs;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

#[expect(clippy::cast_precision_loss, reason = "a small count, drawn")]
fn chart(label: &str, bars: &Markup) -> Markup {
    let width = STEP * HOURS as f64;
    html! {
        svg class="chart" role="img" aria-label=(label) viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" {
            title { (label) }
            line class="ground" x1="0" x2=(width) y1=(HEIGHT) y2=(HEIGHT) {}
            (bars)
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts, drawn")]
fn bars(hours: &[Hour; HOURS]) -> Markup {
    let most = hours.iter().map(|hour| hour.runs.iter().sum::<u64>()).max().unwrap_or(0).max(1) as f64;
    html! {
        @for (index, hour) in hours.iter().enumerate() {
            @for (layer, name) in LAYERS.iter().enumerate() {
                @let below: u64 = hour.runs[..layer].iter().sum();
                @let height = hour.runs[layer] as f64 / most * HEIGHT;
                @let top = HEIGHT - below as f64 / most * HEIGHT - height;
                @if hour.runs[layer] > 0 { (bar(name, index, top, height, &hour.runs[layer].to_string(), index)) }
            }
        }
    }
}

fn costs(hours: &[Hour; HOURS]) -> Markup {
    let most = hours.iter().map(|hour| hour.cost_usd).fold(f64::MIN_POSITIVE, f64::max);
    html! {
        @for (index, hour) in hours.iter().enumerate() {
            @let height = hour.cost_usd / most * HEIGHT;
            @if hour.cost_usd > 0.0 { (bar("cost", index, HEIGHT - height, height, &dollars(hour.cost_usd), index)) }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "the index of an hour")]
fn bar(class: &str, index: usize, top: f64, height: f64, what: &str, hour: usize) -> Markup {
    let ago = HOURS - 1 - hour;
    html! {
        rect class={ "bar-" (class) } x=(index as f64 * STEP + 1.0) y=(format!("{top:.1}")) width=(STEP - 2.0) height=(format!("{:.1}", height.max(0.6))) {
            title { (what) " " (class) ", " @if ago == 0 { "this hour" } @else { (ago) " hours ago" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    fn tally(hours_ago: i64, class: &str, reason: &str, runs: u64) -> HourTally {
        let hour = Timestamp::from_ms((100 - hours_ago) * HOUR_MS);
        HourTally { hour, class: class.to_owned(), reason: reason.to_owned(), runs, cost_usd: 0.5 }
    }

    #[test]
    fn tries_stand_in_their_hours_and_what_is_older_is_left_out() {
        let tallies = [
            tally(0, "success", "none", 3),
            tally(23, "permanent", "max_turns", 2),
            tally(23, "drained", "drained", 1),
            tally(24, "success", "none", 100),
        ];
        let hours = hours(&tallies, 100 * HOUR_MS + 5);
        assert_eq!((hours[23].runs, hours[0].runs), ([3, 0, 0, 0], [0, 0, 2, 1]));
        assert_eq!(hours.iter().flat_map(|hour| hour.runs).sum::<u64>(), 6);
    }

    #[test]
    fn reasons_come_the_most_frequent_first_and_successes_are_none() {
        let tallies = [
            tally(1, "success", "none", 9),
            tally(1, "transient", "usage_limit", 1),
            tally(2, "permanent", "crash", 2),
            tally(3, "permanent", "crash", 2),
        ];
        assert_eq!(reasons(&tallies), [(("permanent", "crash"), 4), (("transient", "usage_limit"), 1)]);
    }
}
