//! The catalogue as a page for people: `docs/METRICS.md`.

use std::fmt::Write as _;

use crate::{ALL, Instrument, Kind, Values};

const HEAD: &str = "\
# Metrics

Every service shows its metrics at `/metrics` in Prometheus' text form (the scheduler and the runners on their gRPC port), and
sends the same ones over OTLP where `OTEL_EXPORTER_OTLP_ENDPOINT` is set; names and labels are the same on both ways.
Counters begin at 0 with each start of the process. A label whose values are listed has all of them from the start,
so that an alert on the first of them is not missed. What to do when one of them looks wrong: [OPERATIONS.md](OPERATIONS.md). A dashboard:
[grafana/orch.json](grafana/orch.json). Alert rules: [prometheus/orch.rules.yml](prometheus/orch.rules.yml).

Settings of the export are OpenTelemetry's own names, listed in [CONFIGURATION.md](CONFIGURATION.md).

This page is generated: `cargo run -- reference metrics > docs/METRICS.md`.
";

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for service in ["ingest", "scheduler", "runner", "console"] {
        let _ =
            write!(page, "\n## {service}\n\n| metric | kind | unit | labels | |\n|---|---|---|---|---|\n");
        for one in ALL.iter().filter(|one| one.services.contains(&service)) {
            let kind = match one.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            let (name, unit, help) = (one.name, unit(one.unit), one.help);
            let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {} | {help} |", labels(one));
        }
    }
    page
}

fn unit(unit: &str) -> &str {
    match unit {
        "s" => "seconds",
        "By" => "bytes",
        "1" => "share of 1",
        counted => counted.trim_matches(['{', '}']),
    }
}

fn labels(one: &Instrument) -> String {
    let labels: Vec<String> = one
        .labels
        .iter()
        .map(|label| match label.values {
            Values::Of(values) => format!("`{}`: {}", label.name, values.join(", ")),
            Values::Named(what) => format!("`{}`: {what}", label.name),
        })
        .collect();
    labels.join("; ")
}
