//! Log lines that carry the id of the trace they belong to.

use std::fmt;

use opentelemetry::trace::TraceContextExt as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The subscriber's own format, with `trace_id` added at the end of the line or object.
pub(super) struct WithTrace<F> {
    inner: Format<F>,
    json: bool,
}

impl WithTrace<Full> {
    pub(super) fn text() -> Self {
        Self { inner: Format::default(), json: false }
    }
}

impl WithTrace<Json> {
    pub(super) fn json() -> Self {
        Self { inner: Format::default().json().flatten_event(true), json: true }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<F>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        let otel = opentelemetry::Context::current();
        let span = otel.span();
        let trace = span.span_context();
        match (trace.is_valid(), self.json.then(|| line.strip_suffix('}')).flatten()) {
            (false, _) => writeln!(writer, "{line}"),
            (true, Some(open)) => writeln!(writer, "{open},\"trace_id\":\"{}\"}}", trace.trace_id()),
            (true, None) => writeln!(writer, "{line} trace_id={}", trace.trace_id()),
        }
    }
}
