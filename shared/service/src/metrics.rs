//! Counters, gauges and histograms: read at `/metrics` as Prometheus text, and sent over OTLP when
//! [`crate::telemetry`] exports.
//!
//! Names and labels are fixed where an instrument is made. Label values must come from small closed
//! sets, never from ids: every combination lives until the process ends.

use std::sync::Arc;

use opentelemetry::metrics::Meter;
use opentelemetry::{KeyValue, global};
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

/// Bucket bounds, in seconds, for latencies from a millisecond to half a minute.
pub const LATENCY_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The instruments of one service. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    registry: Registry,
}

/// The names of an instrument's labels.
type Labels = &'static [&'static str];

impl Metrics {
    /// No instruments yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that only grows; by custom its name ends in `_total`.
    ///
    /// # Panics
    /// A bad name, or one that is taken: both are mistakes in the code that the first start shows. So for all three.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: Labels) -> Counter {
        let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name");
        self.registry.register(Box::new(counter.clone())).expect("a metric name is used once");
        if labels.is_empty() {
            counter.with_label_values::<&str>(&[]).inc_by(0);
        }
        let otel = meter().u64_counter(name).with_description(help).build();
        Counter { vec: counter, otel, labels }
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: Labels) -> Gauge {
        let gauge = GaugeVec::new(Opts::new(name, help), labels).expect("a valid metric name");
        self.registry.register(Box::new(gauge.clone())).expect("a metric name is used once");
        let otel = meter().f64_gauge(name).with_description(help).build();
        Gauge { vec: gauge, otel, labels }
    }

    /// A distribution with these upper bounds of its buckets, ascending; see [`LATENCY_SECONDS`].
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: Labels,
        bounds: &[f64],
    ) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        let histogram = HistogramVec::new(options, labels).expect("a valid metric name");
        self.registry.register(Box::new(histogram.clone())).expect("a metric name is used once");
        let otel =
            meter().f64_histogram(name).with_description(help).with_boundaries(bounds.to_vec()).build();
        Histogram { vec: histogram, otel: Arc::new(otel), labels }
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

fn attributes(names: Labels, values: &[&str]) -> Vec<KeyValue> {
    names.iter().zip(values).map(|(name, value)| KeyValue::new(*name, (*value).to_owned())).collect()
}

/// A number that only grows.
#[derive(Clone, Debug)]
pub struct Counter {
    vec: IntCounterVec,
    otel: opentelemetry::metrics::Counter<u64>,
    labels: Labels,
}

impl Counter {
    /// Adds `n` under these label values, in the order the labels were named.
    ///
    /// # Panics
    /// Another number of values than there are labels; so for the other instruments.
    pub fn add(&self, n: u64, values: &[&str]) {
        self.vec.with_label_values(values).inc_by(n);
        self.otel.add(n, &attributes(self.labels, values));
    }

    /// Adds one.
    pub fn inc(&self, values: &[&str]) {
        self.add(1, values);
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge {
    vec: GaugeVec,
    otel: opentelemetry::metrics::Gauge<f64>,
    labels: Labels,
}

impl Gauge {
    /// Sets the value under these label values.
    pub fn set(&self, value: f64, values: &[&str]) {
        self.vec.with_label_values(values).set(value);
        self.otel.record(value, &attributes(self.labels, values));
    }
}

/// A distribution.
#[derive(Clone, Debug)]
pub struct Histogram {
    vec: HistogramVec,
    otel: Arc<opentelemetry::metrics::Histogram<f64>>,
    labels: Labels,
}

impl Histogram {
    /// Records one value under these label values.
    pub fn observe(&self, value: f64, values: &[&str]) {
        self.vec.with_label_values(values).observe(value);
        self.otel.record(value, &attributes(self.labels, values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_instrument() {
        let metrics = Metrics::new();
        metrics.counter("orch_zero_total", "Nothing yet.", &[]);
        metrics.counter("orch_webhooks_total", "Webhooks.", &["decision"]).add(2, &["enqueued"]);
        metrics.gauge("orch_slots", "Slots.", &[]).set(1.5, &[]);
        metrics.histogram("orch_ack_seconds", "Acks.", &[], &[0.1, 1.0]).observe(0.5, &[]);
        assert_eq!(
            metrics.text(),
            "# HELP orch_ack_seconds Acks.\n# TYPE orch_ack_seconds histogram\n\
             orch_ack_seconds_bucket{le=\"0.1\"} 0\norch_ack_seconds_bucket{le=\"1\"} 1\n\
             orch_ack_seconds_bucket{le=\"+Inf\"} 1\norch_ack_seconds_sum 0.5\norch_ack_seconds_count 1\n\
             # HELP orch_slots Slots.\n# TYPE orch_slots gauge\norch_slots 1.5\n\
             # HELP orch_webhooks_total Webhooks.\n# TYPE orch_webhooks_total counter\n\
             orch_webhooks_total{decision=\"enqueued\"} 2\n\
             # HELP orch_zero_total Nothing yet.\n# TYPE orch_zero_total counter\norch_zero_total 0\n"
        );
    }
}
