//! Spans of what is over when it is told: a run may outlast the process that began it.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, SpanKind, Tracer as _};
use opentelemetry::{KeyValue, global};

use super::trace_context;

/// Records a span of something that began and ended at these instants (UTC milliseconds), below `traceparent`.
pub fn record_past(
    name: &'static str,
    traceparent: Option<&str>,
    (began_ms, ended_ms): (i64, i64),
    attributes: &[(&'static str, String)],
) {
    let Some(parent) = traceparent.and_then(trace_context::parse) else { return };
    let at = |ms: i64| SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let attributes = attributes.iter().map(|(key, value)| KeyValue::new(*key, value.clone()));
    let tracer = global::tracer("orch");
    let builder = tracer
        .span_builder(name)
        .with_kind(SpanKind::Internal)
        .with_start_time(at(began_ms))
        .with_attributes(attributes);
    tracer.build_with_context(builder, &parent).end_with_timestamp(at(ended_ms.max(began_ms)));
}
