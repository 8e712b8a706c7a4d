//! Where traces and metrics go: OTLP over gRPC or HTTP, as the standard `OTEL_*` variables say.
//!
//! What cannot be delivered is dropped: the queue of spans is bounded, metrics are sums that the next export has too,
//! and each export runs on a thread of the SDK's own, so that nothing else waits for a collector.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use opentelemetry::Key;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio_util::context::TokioContext;

use crate::lifecycle::Refused;
use crate::outbound::{ANSWER_BYTES_MAX, Outbound};
use crate::settings::{OtlpProtocol, TelemetrySettings};

/// How long one export over HTTP may take.
const EXPORT_DEADLINE: Duration = Duration::from_secs(10);

/// Who this process is: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and what they leave open.
pub(super) fn resource(service: &'static str, settings: &TelemetrySettings) -> Resource {
    let given = Resource::builder().build();
    let has = |name: &'static str| given.get(&Key::from_static_str(name));
    let named = has("service.name").map(|name| name.to_string());
    let named = named.filter(|name| !name.starts_with("unknown_service"));
    let name = settings.otel_service_name.clone().or(named).unwrap_or_else(|| service.to_owned());
    let mut builder = Resource::builder().with_service_name(name);
    if has("service.version").is_none() {
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        builder = builder.with_attribute(version);
    }
    if has("service.instance.id").is_none() {
        // Two runners of one name are two, or their metrics would overwrite each other's.
        let instance = uuid::Uuid::new_v4().to_string();
        builder = builder.with_attribute(opentelemetry::KeyValue::new("service.instance.id", instance));
    }
    builder.build()
}

/// Sends spans where the settings say; without an endpoint every span still has its ids.
pub(super) fn traces(settings: &TelemetrySettings, resource: Resource) -> Result<SdkTracerProvider, Refused> {
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(target) = settings.traces_target() else {
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let (exporter, endpoint) = (SpanExporter::builder(), target.url("/v1/traces"));
    let exporter = match target.protocol {
        OtlpProtocol::Grpc => {
            let exporter = exporter.with_tonic().with_endpoint(&endpoint);
            if is_https(&endpoint) { exporter.with_tls_config(roots()).build() } else { exporter.build() }
        }
        OtlpProtocol::HttpProtobuf => exporter
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Poster::new(&endpoint)?)
            .with_endpoint(&endpoint)
            .build(),
    };
    let exporter = exporter.map_err(|error| refused(&endpoint, &error))?;
    Ok(builder.with_batch_exporter(exporter).build())
}

/// Sends metrics where the settings say; none without an endpoint.
pub(super) fn metrics(
    settings: &TelemetrySettings,
    resource: Resource,
) -> Result<Option<SdkMeterProvider>, Refused> {
    let Some(target) = settings.metrics_target() else { return Ok(None) };
    let (exporter, endpoint) = (MetricExporter::builder(), target.url("/v1/metrics"));
    let exporter = match target.protocol {
        OtlpProtocol::Grpc => {
            let exporter = exporter.with_tonic().with_endpoint(&endpoint);
            if is_https(&endpoint) { exporter.with_tls_config(roots()).build() } else { exporter.build() }
        }
        OtlpProtocol::HttpProtobuf => exporter
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Poster::new(&endpoint)?)
            .with_endpoint(&endpoint)
            .build(),
    };
    let exporter = exporter.map_err(|error| refused(&endpoint, &error))?;
    Ok(Some(SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(exporter).build()))
}

fn is_https(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

/// The host's certificates.
fn roots() -> ClientTlsConfig {
    ClientTlsConfig::new().with_enabled_roots()
}

fn refused(endpoint: &str, error: &ExporterBuildError) -> Refused {
    Refused::new(format!("OTLP endpoint `{endpoint}` cannot be used: {error}"))
}

/// Posts exports with the process's own client, on its runtime, from the threads of the SDK.
#[derive(Debug)]
struct Poster {
    outbound: Outbound,
    runtime: Handle,
}

impl Poster {
    fn new(endpoint: &str) -> Result<Self, Refused> {
        let uri: Uri = endpoint
            .parse()
            .map_err(|error| Refused::new(format!("OTLP endpoint `{endpoint}` cannot be used: {error}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(Refused::new(format!(
                "OTLP endpoint `{endpoint}` cannot be used: write http://HOST:PORT"
            )));
        }
        Ok(Self { outbound: Outbound::new([&uri])?, runtime: Handle::current() })
    }
}

#[async_trait]
impl HttpClient for Poster {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(Full::new);
        let call = self.outbound.call(request, EXPORT_DEADLINE, ANSWER_BYTES_MAX);
        let answer = TokioContext::new(call, self.runtime.clone()).await?;
        let mut response = Response::new(answer.body);
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response)
    }
}
