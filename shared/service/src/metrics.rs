//! Counters, gauges and histograms: read at `/metrics` as Prometheus text, and sent over OTLP when
//! [`crate::telemetry`] exports.
//!
//! Names, units and labels come from the catalogue (`instruments`). Label values must come from small sets, never from
//! ids: every combination lives until the process ends.

use std::sync::Arc;

use instruments::{Instrument, Kind};
use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, global};
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

/// The instruments of one service. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// No instruments yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that only grows. Where its label values are all known beforehand, it is there at 0 from the start.
    ///
    /// # Panics
    /// An instrument of another kind, a bad name, or one that is made twice: all are mistakes in the code that the
    /// first start shows. So for all three.
    pub fn counter(&self, of: &'static Instrument) -> Counter {
        assert_eq!(of.kind, Kind::Counter, "{} is no counter", of.name);
        let vec = CounterVec::new(Opts::new(of.name, of.help), &of.label_names());
        let vec = vec.expect("a valid metric name");
        self.registry.register(Box::new(vec.clone())).expect("a metric name is used once");
        let otel = meter().f64_counter(of.name).with_unit(of.unit).with_description(of.help).build();
        let counter = Counter { vec, otel, of };
        for values in of.combinations() {
            counter.add(0.0, &values);
        }
        counter
    }

    /// A number that goes up and down. Where its label values are all known beforehand, it is there at 0 from the start.
    pub fn gauge(&self, of: &'static Instrument) -> Gauge {
        assert_eq!(of.kind, Kind::Gauge, "{} is no gauge", of.name);
        let vec = GaugeVec::new(Opts::new(of.name, of.help), &of.label_names());
        let vec = vec.expect("a valid metric name");
        self.registry.register(Box::new(vec.clone())).expect("a metric name is used once");
        let otel = meter().f64_gauge(of.name).with_unit(of.unit).with_description(of.help).build();
        let gauge = Gauge { vec, otel, of };
        for values in of.combinations() {
            gauge.set(0.0, &values);
        }
        gauge
    }

    /// A distribution.
    pub fn histogram(&self, of: &'static Instrument) -> Histogram {
        let Kind::Histogram(bounds) = of.kind else { panic!("{} is no histogram", of.name) };
        let options = HistogramOpts::new(of.name, of.help).buckets(bounds.to_vec());
        let vec = HistogramVec::new(options, &of.label_names()).expect("a valid metric name");
        self.registry.register(Box::new(vec.clone())).expect("a metric name is used once");
        let otel = meter()
            .f64_histogram(of.name)
            .with_unit(of.unit)
            .with_description(of.help)
            .with_boundaries(bounds.to_vec())
            .build();
        let otel = Arc::new(otel);
        for values in of.combinations() {
            vec.with_label_values(&values);
        }
        Histogram { vec, otel, of }
    }

    /// Everything as Prometheus text.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "could not write the metrics");
            String::new()
        })
    }
}

fn meter() -> Meter {
    global::meter("orch")
}

fn attributes(of: &Instrument, values: &[&str]) -> Vec<KeyValue> {
    of.labels
        .iter()
        .zip(values)
        .map(|(label, value)| KeyValue::new(label.name, (*value).to_owned()))
        .collect()
}

/// A number that only grows.
#[derive(Clone, Debug)]
pub struct Counter {
    vec: CounterVec,
    otel: opentelemetry::metrics::Counter<f64>,
    of: &'static Instrument,
}

impl Counter {
    /// Adds `n`, which is not below zero, under these label values, in the order the labels were named.
    ///
    /// # Panics
    /// Another number of values than there are labels; so for the other instruments.
    pub fn add(&self, n: f64, values: &[&str]) {
        self.vec.with_label_values(values).inc_by(n);
        self.otel.add(n, &attributes(self.of, values));
    }

    /// Adds one.
    pub fn inc(&self, values: &[&str]) {
        self.add(1.0, values);
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge {
    vec: GaugeVec,
    otel: opentelemetry::metrics::Gauge<f64>,
    of: &'static Instrument,
}

impl Gauge {
    /// Sets the value under these label values.
    pub fn set(&self, value: f64, values: &[&str]) {
        self.vec.with_label_values(values).set(value);
        self.otel.record(value, &attributes(self.of, values));
    }
}

/// A distribution.
#[derive(Clone, Debug)]
pub struct Histogram {
    vec: HistogramVec,
    otel: Arc<opentelemetry::metrics::Histogram<f64>>,
    of: &'static Instrument,
}

impl Histogram {
    /// Records one value under these label values.
    pub fn observe(&self, value: f64, values: &[&str]) {
        self.vec.with_label_values(values).observe(value);
        self.otel.record(value, &attributes(self.of, values));
    }
}

/// A number of things or bytes as a metric has it: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
pub const fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_instrument_and_what_is_known_beforehand_at_0() {
        let metrics = Metrics::new();
        metrics.counter(&instruments::CLAIMS);
        metrics.counter(&instruments::RETRIES).add(2.0, &["transient"]);
        metrics.counter(&instruments::COST).add(0.25, &["shop"]);
        metrics.gauge(&instruments::SLOTS).set(1.5, &[]);
        metrics.gauge(&instruments::BREAKER);
        metrics.histogram(&instruments::COMMIT).observe(0.3, &[]);
        let text = metrics.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "orch_claims_total 0",
            "orch_cost_usd_total{project=\"shop\"} 0.25",
            "orch_retries_total{budget=\"attempts\"} 0",
            "orch_retries_total{budget=\"infra\"} 0",
            "orch_retries_total{budget=\"transient\"} 2",
            "orch_runner_slots 1.5",
        ];
        assert_eq!(lines[..expected.len()], expected);
        assert!(lines.contains(&"orch_store_commit_seconds_bucket{le=\"0.25\"} 0"), "{text}");
        assert!(lines.contains(&"orch_store_commit_seconds_bucket{le=\"0.5\"} 1"), "{text}");
        assert!(text.contains("# HELP orch_claims_total Jobs claimed.\n# TYPE orch_claims_total counter\n"));
    }

    #[test]
    #[should_panic(expected = "orch_claims_total is no gauge")]
    fn an_instrument_of_another_kind_is_refused() {
        Metrics::new().gauge(&instruments::CLAIMS);
    }
}
