//! Logs to stderr, and traces and metrics to an OTLP collector when the `OTEL_*` settings ask for it.
//!
//! Every span has a trace id even when nothing is exported, so that log lines of one webhook can be
//! found across processes and the trace stored with a job is never empty.

mod export;
mod format;
mod layer;
mod past;
pub mod trace_context;

pub use layer::{TraceLayer, TraceService};
pub use past::record_past;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::lifecycle::Refused;
use crate::settings::{LogFormat, TelemetrySettings};
use format::WithTrace;

/// Flushes what was not exported yet when it is dropped; keep it until the end of the process.
#[derive(Debug)]
#[must_use = "dropping the guard ends the export"]
pub struct Guard {
    traces: SdkTracerProvider,
    metrics: Option<SdkMeterProvider>,
}

/// Installs logging and, when asked for, export for this process under the name of `service`.
///
/// Call it once, inside the runtime's context.
///
/// # Errors
/// A filter or endpoint that cannot be parsed, or telemetry that is installed already.
pub fn install(service: &'static str, settings: &TelemetrySettings) -> Result<Guard, Refused> {
    let filter = EnvFilter::try_new(&settings.rust_log)
        .map_err(|error| Refused::new(format!("RUST_LOG `{}`: {error}", settings.rust_log)))?;
    let resource = export::resource(service, settings);
    let traces = export::traces(settings, resource.clone())?;
    let metrics = export::metrics(settings, resource)?;

    // Spans keep their trace whatever the log filter drops, or a quiet process would break the chain.
    // Where nothing is exported a span is its ids: what it would tell besides is not gathered.
    let exports = settings.traces_target().is_some();
    let wanted =
        filter_fn(move |metadata| *metadata.level() <= Level::INFO && (exports || metadata.is_span()));
    let otel = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer("orch"))
        .with_tracked_inactivity(exports)
        .with_location(exports)
        .with_threads(exports)
        .with_filter(wanted.with_max_level_hint(LevelFilter::INFO));
    let text = (settings.log_format == LogFormat::Text).then(|| {
        fmt::layer()
            .with_writer(std::io::stderr)
            // Logs are read from files as often as from terminals.
            .with_ansi(false)
            .fmt_fields(DefaultFields::new())
            .event_format(WithTrace::text())
            .with_filter(filter.clone())
    });
    let json = (settings.log_format == LogFormat::Json).then(|| {
        fmt::layer()
            .with_writer(std::io::stderr)
            .fmt_fields(JsonFields::new())
            .event_format(WithTrace::json())
            .with_filter(filter)
    });
    tracing_subscriber::registry()
        .with(otel)
        .with(text)
        .with(json)
        .try_init()
        .map_err(|error| Refused::new(format!("logging is installed already: {error}")))?;
    opentelemetry::global::set_tracer_provider(traces.clone());
    if let Some(metrics) = &metrics {
        opentelemetry::global::set_meter_provider(metrics.clone());
    }
    Ok(Guard { traces, metrics })
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A collector that is down must not keep the process: the SDK bounds each wait, and its errors
        // are in the log already.
        let _ = self.traces.shutdown_with_timeout(FLUSH);
        if let Some(metrics) = &self.metrics {
            let _ = metrics.shutdown_with_timeout(FLUSH);
        }
    }
}

/// How long the end of the process waits for the last export.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(2);
