//! The trace context (W3C `traceparent`) on its way between spans, rows, gRPC metadata and HTTP headers.

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataMap, MetadataValue};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The name of the header and of the metadata key.
pub const TRACEPARENT: &str = "traceparent";

/// The `traceparent` of the current span, to store with a job or to send along; none outside spans.
pub fn current() -> Option<String> {
    of(&Span::current())
}

/// The `traceparent` of a span.
pub fn of(span: &Span) -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` continue the trace of `traceparent`; call it before the span is entered.
///
/// False, and nothing happens, when `traceparent` is malformed or the span has started already.
pub fn set_parent(span: &Span, traceparent: &str) -> bool {
    parse(traceparent).is_some_and(|parent| span.set_parent(parent).is_ok())
}

/// The context that a `traceparent` names; none when it is malformed.
pub(super) fn parse(traceparent: &str) -> Option<opentelemetry::Context> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier);
    parent.span().span_context().is_valid().then_some(parent)
}

/// Puts the current span's context into gRPC metadata.
pub fn inject_metadata(metadata: &mut MetadataMap) {
    if let Some(value) = current().and_then(|value| MetadataValue::try_from(value).ok()) {
        metadata.insert(TRACEPARENT, value);
    }
}

/// Puts the current span's context into HTTP headers.
pub fn inject_headers(headers: &mut HeaderMap) {
    if let Some(value) = current().and_then(|value| HeaderValue::try_from(value).ok()) {
        headers.insert(TRACEPARENT, value);
    }
}

/// The `traceparent` in gRPC metadata.
pub fn extract_metadata(metadata: &MetadataMap) -> Option<String> {
    metadata.get(TRACEPARENT)?.to_str().ok().map(str::to_owned)
}

/// The `traceparent` in HTTP headers.
pub fn extract_headers(headers: &HeaderMap) -> Option<String> {
    headers.get(TRACEPARENT)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_trace_goes_on_through_headers_and_metadata_without_an_exporter() {
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        assert_eq!(current(), None);

        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let span = tracing::info_span!("webhook");
        assert!(!set_parent(&span, "nonsense"));
        assert!(set_parent(&span, given));
        let sent = span.in_scope(|| {
            let (mut headers, mut metadata) = (HeaderMap::new(), MetadataMap::new());
            inject_headers(&mut headers);
            inject_metadata(&mut metadata);
            (extract_headers(&headers), extract_metadata(&metadata), current())
        });
        let (Some(header), Some(metadata), Some(current)) = sent else { panic!("{sent:?}") };
        assert_eq!((&header, &metadata), (&current, &current));
        assert_eq!(header.split('-').nth(1), given.split('-').nth(1));
        assert_ne!(header.split('-').nth(2), given.split('-').nth(2));
    }
}
