//! The catalogue of metrics: what each is called, what it counts and in which unit, which labels it has.
//!
//! Services make their instruments from it, `docs/METRICS.md` is written from it, and the dashboard and the alert rules
//! are checked against it. It measures nothing itself.

mod catalogue;
mod page;

pub use catalogue::*;
pub use page::page;

/// Upper bounds of buckets, in seconds, for latencies from a millisecond to half a minute.
pub const LATENCY_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The same for waits, from a tenth of a second to a day.
pub const WAIT_SECONDS: &[f64] =
    &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instrument {
    /// Its name in Prometheus and OTLP alike, with the unit last.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its unit, as UCUM writes it: `s`, `By`, `1`, or what is counted in braces.
    pub unit: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// Which services have it.
    pub services: &'static [&'static str],
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over buckets with these upper bounds, ascending.
    Histogram(&'static [f64]),
}

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub values: Values,
}

/// What a label may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// One of these.
    Of(&'static [&'static str]),
    /// Few enough to keep, and named by the operator or the provider: says what they are.
    Named(&'static str),
}

impl Instrument {
    /// The names of its labels, in their order.
    pub fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }

    /// Every combination of label values where all of them are known beforehand; none where one is not.
    pub fn combinations(&self) -> Vec<Vec<&'static str>> {
        self.labels.iter().fold(vec![Vec::new()], |before, label| match label.values {
            Values::Named(_) => Vec::new(),
            Values::Of(values) => before
                .iter()
                .flat_map(|one| values.iter().map(|value| [one.as_slice(), &[*value]].concat()))
                .collect(),
        })
    }

    /// The names that a Prometheus query may use for it.
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram(_) => {
                ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", self.name)).to_vec()
            }
        }
    }
}

/// The metric of a name, its own or one of its series.
pub fn find(series: &str) -> Option<&'static Instrument> {
    ALL.iter().copied().find(|one| one.series().iter().any(|name| name == series))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_in_their_unit_so_that_both_ways_of_reading_them_agree() {
        let names: BTreeSet<&str> = ALL.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), ALL.len());
        for one in ALL {
            let (name, is_counter) = match one.name.strip_suffix("_total") {
                Some(name) => (name, true),
                None => (one.name, false),
            };
            assert_eq!(is_counter, one.kind == Kind::Counter, "{}", one.name);
            let suffix = match one.unit {
                "s" => "_seconds",
                "By" => "_bytes",
                "1" => "_ratio",
                counted => {
                    assert!(counted.starts_with('{') && counted.ends_with('}'), "{}: {counted}", one.name);
                    ""
                }
            };
            assert!(name.starts_with("orch_") && name.ends_with(suffix), "{} in {}", one.name, one.unit);
            assert!(one.help.ends_with('.') && !one.services.is_empty(), "{}", one.name);
            let labels: BTreeSet<&str> = one.label_names().into_iter().collect();
            assert_eq!(labels.len(), one.labels.len(), "{}", one.name);
        }
    }

    #[test]
    fn known_labels_are_combined_and_others_are_not() {
        let all = OUTBOX_PENDING.combinations();
        assert_eq!(all.first(), Some(&vec!["unrouted"]));
        assert_eq!(REPORTS.combinations().len(), 2 * 4);
        assert_eq!(CLAIMS.combinations(), vec![Vec::<&str>::new()]);
        assert!(BREAKER.combinations().is_empty());
    }

    #[test]
    fn a_metric_is_found_by_its_series() {
        assert_eq!(find("orch_store_commit_seconds_bucket"), Some(&COMMIT));
        assert_eq!(find("orch_store_commit_seconds"), None);
        assert_eq!(find("orch_claims_total"), Some(&CLAIMS));
    }
}
