//! The settings that several processes share, one group each.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};

use super::Secret;
use super::print::redact_password;

/// Flags every process has.
#[derive(Args, Clone, Debug, Default)]
pub struct CommonFlags {
    /// Print the effective settings as NAME=value lines, secrets redacted, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// Where the database is.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// Database: `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/NAME`
    #[arg(long, env = "ORCH_DATABASE_URL", value_name = "URL", default_value = "sqlite://orch-data/orch.db")]
    pub database_url: DatabaseUrl,
}

/// A database URL; `Debug` and `Display` hide its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes a URL as it is; the store says whether it can be used.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The password in it, as it is written there.
    pub fn password(&self) -> Option<Secret> {
        let (_, rest) = self.0.split_once("://")?;
        let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
        user.split_once(':').map(|(_, password)| Secret::new(password))
    }

    /// The URL with its password, for the store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(url))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_password(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Where projects, stages and triggers are described.
#[derive(Args, Clone, Debug)]
pub struct PipelineSettings {
    /// Projects, stages and triggers; read again when it changes, a built-in default when there is no such file
    #[arg(long, env = "ORCH_CONFIG", value_name = "PATH", default_value = "orch.toml")]
    pub config: PathBuf,
}

/// Where the scheduler's gRPC is.
#[derive(Args, Clone, Debug, Default)]
pub struct SchedulerEndpointSettings {
    /// Where the scheduler is reached over gRPC, such as `http://127.0.0.1:7070`, or several separated by commas, of which the first that answers is used; from `ORCH_SCHEDULER_ADDR` when not given
    #[arg(long, env = "ORCH_SCHEDULER_URL", value_name = "URL")]
    pub scheduler_url: Option<String>,
}

impl SchedulerEndpointSettings {
    /// The URL given, or the one that `addr` is reached at from this host.
    pub fn url_or(&self, addr: SocketAddr, tls: &TlsSettings) -> String {
        self.scheduler_url.clone().unwrap_or_else(|| format!("{}://{}", tls.scheme(), reachable(addr)))
    }
}

/// Where the scheduler listens.
#[derive(Args, Clone, Debug)]
pub struct SchedulerAddrSettings {
    /// Where the scheduler listens for gRPC
    #[arg(long, env = "ORCH_SCHEDULER_ADDR", value_name = "ADDR:PORT", default_value = "127.0.0.1:7070")]
    pub scheduler_addr: SocketAddr,
}

/// What the scheduler obeys and `GET /queue` shows.
#[derive(Args, Clone, Debug)]
pub struct QueueSettings {
    /// How many agents may run at once, all runners together
    #[arg(long, env = "ORCH_MAX_CONCURRENCY", value_name = "N", default_value_t = 4)]
    pub max_concurrency: u32,
    /// Whether the reaper repairs queued rows that own something; the schema forbids them in any case
    #[arg(
        long,
        env = "ORCH_IMPOSSIBLE_QUEUED_SANITIZE_ENABLED",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub impossible_queued_sanitize_enabled: bool,
    /// Passing faults of the provider in a row after which nothing starts on an account for a while
    #[arg(long, env = "ORCH_BREAKER_THRESHOLD", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub breaker_threshold: u32,
}

/// An address that listens everywhere is reached on loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Keys and certificates for gRPC between hosts. See [`crate::tls`] for what is made of them.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsSettings {
    /// CA certificate (PEM) that both sides of a gRPC connection must be signed by; the three are given together, and read again when they change
    #[arg(long, env = "ORCH_TLS_CA", value_name = "PATH")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate chain (PEM) of this process, for serving and for calling
    #[arg(long, env = "ORCH_TLS_CERT", value_name = "PATH")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "ORCH_TLS_KEY", value_name = "PATH")]
    pub tls_key: Option<PathBuf>,
    /// Allow gRPC off loopback without TLS: whoever reaches the port can then run agents
    #[arg(
        long,
        env = "ORCH_ALLOW_PLAINTEXT",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true"
    )]
    pub allow_plaintext: bool,
    /// A certificate that this process has otherwise than from the three files, which it then replaces itself.
    #[arg(skip)]
    pub own: Option<crate::tls::Credentials>,
}

/// Where the certificate authority is.
#[derive(Args, Clone, Debug, Default)]
pub struct CaSettings {
    /// Folder of the certificate authority that `orch ca init` made: with it the scheduler signs its own certificate and those of nodes
    #[arg(long, env = "ORCH_CA_DIR", value_name = "PATH")]
    pub ca_dir: Option<PathBuf>,
}

/// What is logged, and where traces and metrics go.
#[derive(Args, Clone, Debug)]
pub struct TelemetrySettings {
    /// What is logged, by level and module: tracing's filter syntax, such as `info,scheduler=debug`
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info")]
    pub rust_log: String,
    /// Form of the log lines on stderr
    #[arg(long, env = "ORCH_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// OTLP collector for traces and metrics, such as `http://127.0.0.1:4317`; nothing is exported without it
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_endpoint: Option<String>,
    /// OTLP collector for traces, when it is another one
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_traces_endpoint: Option<String>,
    /// OTLP collector for metrics, when it is another one
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", value_name = "URL")]
    pub otel_exporter_otlp_metrics_endpoint: Option<String>,
    /// How both are sent, where nothing else is said below
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_enum, default_value_t = OtlpProtocol::Grpc)]
    pub otel_exporter_otlp_protocol: OtlpProtocol,
    /// How traces are sent
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", value_enum)]
    pub otel_exporter_otlp_traces_protocol: Option<OtlpProtocol>,
    /// How metrics are sent
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", value_enum)]
    pub otel_exporter_otlp_metrics_protocol: Option<OtlpProtocol>,
    /// `none`: no traces are sent, whatever the endpoint
    #[arg(long, env = "OTEL_TRACES_EXPORTER", value_enum, default_value_t = Exporter::Otlp)]
    pub otel_traces_exporter: Exporter,
    /// `none`: no metrics are sent, whatever the endpoint
    #[arg(long, env = "OTEL_METRICS_EXPORTER", value_enum, default_value_t = Exporter::Otlp)]
    pub otel_metrics_exporter: Exporter,
    /// Name of this process in traces and metrics; its binary's name when not given
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otel_service_name: Option<String>,
    /// Export nothing, whatever the other `OTEL_*` settings say (those not listed here are read by the SDK itself)
    #[arg(
        long,
        env = "OTEL_SDK_DISABLED",
        action = ArgAction::Set,
        value_parser = BoolishValueParser::new(),
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true"
    )]
    pub otel_sdk_disabled: bool,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            rust_log: "info".to_owned(),
            log_format: LogFormat::Text,
            otel_exporter_otlp_endpoint: None,
            otel_exporter_otlp_traces_endpoint: None,
            otel_exporter_otlp_metrics_endpoint: None,
            otel_exporter_otlp_protocol: OtlpProtocol::Grpc,
            otel_exporter_otlp_traces_protocol: None,
            otel_exporter_otlp_metrics_protocol: None,
            otel_traces_exporter: Exporter::Otlp,
            otel_metrics_exporter: Exporter::Otlp,
            otel_service_name: None,
            otel_sdk_disabled: false,
        }
    }
}

impl TelemetrySettings {
    /// Where traces go, if anywhere.
    pub fn traces_target(&self) -> Option<OtlpTarget> {
        let own = self.otel_exporter_otlp_traces_endpoint.as_deref();
        self.target(self.otel_traces_exporter, own, self.otel_exporter_otlp_traces_protocol)
    }

    /// Where metrics go, if anywhere.
    pub fn metrics_target(&self) -> Option<OtlpTarget> {
        let own = self.otel_exporter_otlp_metrics_endpoint.as_deref();
        self.target(self.otel_metrics_exporter, own, self.otel_exporter_otlp_metrics_protocol)
    }

    fn target(
        &self,
        exporter: Exporter,
        own: Option<&str>,
        protocol: Option<OtlpProtocol>,
    ) -> Option<OtlpTarget> {
        if self.otel_sdk_disabled || exporter == Exporter::None {
            return None;
        }
        let endpoint = own.or(self.otel_exporter_otlp_endpoint.as_deref())?.to_owned();
        let protocol = protocol.unwrap_or(self.otel_exporter_otlp_protocol);
        Some(OtlpTarget { endpoint, own: own.is_some(), protocol })
    }
}

/// A collector for one kind of telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpTarget {
    endpoint: String,
    /// Whether the endpoint was given for this kind alone.
    own: bool,
    /// How it is spoken to.
    pub protocol: OtlpProtocol,
}

impl OtlpTarget {
    /// The URL to send to; `path` is added to one over HTTP that was given for all kinds together.
    pub fn url(&self, path: &str) -> String {
        match self.protocol {
            OtlpProtocol::HttpProtobuf if !self.own => {
                format!("{}{path}", self.endpoint.trim_end_matches('/'))
            }
            OtlpProtocol::Grpc | OtlpProtocol::HttpProtobuf => self.endpoint.clone(),
        }
    }
}

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf in HTTP requests.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// What exports a kind of telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Exporter {
    /// OTLP, where there is an endpoint.
    #[default]
    Otlp,
    /// Nothing.
    None,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
