//! A loopback collector: takes traces and metrics over real OTLP/gRPC and keeps them for a test to look at.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The most spans kept.
const SPANS_MAX: usize = 100_000;

/// A span as it was received.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of whoever sent it.
    pub service: String,
    /// Hexadecimal.
    pub trace: String,
    /// Hexadecimal.
    pub id: String,
    /// Hexadecimal; empty at a trace's root.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// What it carries, as text.
    pub attributes: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub began_ns: u64,
    /// Nanoseconds since 1970.
    pub ended_ns: u64,
}

/// A metric as it was last received from a service.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its unit.
    pub unit: String,
    /// What it says.
    pub description: String,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// By labels: the value; of a histogram the number of values.
    pub points: BTreeMap<BTreeMap<String, String>, f64>,
}

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<Span>,
    /// By service and name.
    metrics: BTreeMap<(String, String), Metric>,
    /// The metadata of the newest export.
    metadata: tonic::metadata::MetadataMap,
    resources: Vec<BTreeMap<String, String>>,
}

/// A running collector; it ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    addr: SocketAddr,
    inside: Inside,
    _serving: JoinSet<()>,
}

#[derive(Clone, Debug, Default)]
struct Inside(Arc<Mutex<Seen>>);

impl Collector {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// No port could be had.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let inside = Inside::default();
        let server = Server::builder()
            .add_service(TraceServiceServer::new(inside.clone()))
            .add_service(MetricsServiceServer::new(inside.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Ends with the test.
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { addr, inside, _serving: serving })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<Span> {
        self.inside.seen().spans.clone()
    }

    /// Every metric so far, by service and name.
    pub fn metrics(&self) -> BTreeMap<(String, String), Metric> {
        self.inside.seen().metrics.clone()
    }

    /// The attributes of every resource that sent something, each once.
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        self.inside.seen().resources.clone()
    }

    /// A header of the newest export.
    pub fn header(&self, name: &str) -> Option<String> {
        self.inside.seen().metadata.get(name)?.to_str().ok().map(str::to_owned)
    }
}

impl Inside {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps who sends, and says its name.
    fn sender(&self, resource: Option<&Resource>) -> String {
        let attributes = resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
        let name = attributes.get("service.name").cloned().unwrap_or_default();
        let mut seen = self.seen();
        if !seen.resources.contains(&attributes) {
            seen.resources.push(attributes);
        }
        name
    }
}

#[tonic::async_trait]
impl TraceService for Inside {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.seen().metadata = request.metadata().clone();
        for of_resource in request.into_inner().resource_spans {
            let service = self.sender(of_resource.resource.as_ref());
            let mut seen = self.seen();
            let left = SPANS_MAX.saturating_sub(seen.spans.len());
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans).take(left) {
                seen.spans.push(Span {
                    service: service.clone(),
                    trace: hex::encode(&span.trace_id),
                    id: hex::encode(&span.span_id),
                    parent: hex::encode(&span.parent_span_id),
                    name: span.name,
                    attributes: texts(&span.attributes),
                    began_ns: span.start_time_unix_nano,
                    ended_ns: span.end_time_unix_nano,
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Inside {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.seen().metadata = request.metadata().clone();
        for of_resource in request.into_inner().resource_metrics {
            let service = self.sender(of_resource.resource.as_ref());
            for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let Some((kind, points)) = metric.data.map(points) else { continue };
                let kept = Metric { unit: metric.unit, description: metric.description, kind, points };
                self.seen().metrics.insert((service.clone(), metric.name), kept);
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn points(data: Data) -> (&'static str, BTreeMap<BTreeMap<String, String>, f64>) {
    let number = |point: NumberDataPoint| {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            #[expect(clippy::cast_precision_loss, reason = "a count in a test")]
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        };
        (texts(&point.attributes), value)
    };
    #[expect(clippy::cast_precision_loss, reason = "a count in a test")]
    match data {
        Data::Gauge(gauge) => ("gauge", gauge.data_points.into_iter().map(number).collect()),
        Data::Sum(sum) => ("counter", sum.data_points.into_iter().map(number).collect()),
        Data::Histogram(histogram) => {
            let points = histogram.data_points.into_iter();
            ("histogram", points.map(|point| (texts(&point.attributes), point.count as f64)).collect())
        }
        Data::ExponentialHistogram(_) | Data::Summary(_) => ("other", BTreeMap::new()),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| {
        let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        (attribute.key.clone(), value)
    };
    attributes.iter().map(text).collect()
}
