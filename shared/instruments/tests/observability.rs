//! The compose profile `observability`: what each of its parts is told to read is there to be read.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::fs;
use std::path::Path;

use serde_yaml_ng::Value;

fn yaml(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut value: Value = serde_yaml_ng::from_str(&text).unwrap();
    // What is merged may merge something itself, which takes another round.
    value.apply_merge().unwrap();
    value.apply_merge().unwrap();
    value
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_sequence().into_iter().flatten().map(|one| one.as_str().unwrap()).collect()
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// The port that a service of ours listens at, by its setting `ORCH_…_ADDR`.
fn listens_at<'a>(compose: &'a Value, service: &str) -> &'a str {
    let setting = format!("ORCH_{}_ADDR", service.to_uppercase());
    port(compose["services"][service]["environment"][setting.as_str()].as_str().unwrap())
}

/// Where a file or folder of the repository is in the container of a service.
fn mounted_at<'a>(compose: &'a Value, service: &str, path: &str) -> &'a str {
    texts(&compose["services"][service]["volumes"])
        .into_iter()
        .find_map(|volume| volume.strip_prefix(path)?.strip_prefix(':')?.strip_suffix(":ro"))
        .unwrap_or_else(|| panic!("{service} does not have {path}"))
}

#[test]
fn prometheus_reads_every_service_where_it_listens_and_nothing_a_second_time() {
    let (compose, prometheus) = (yaml("docker-compose.yml"), yaml("packaging/observability/prometheus.yml"));
    let mut read = Vec::new();
    for job in prometheus["scrape_configs"].as_sequence().unwrap() {
        for group in job["static_configs"].as_sequence().into_iter().flatten() {
            read.extend(texts(&group["targets"]).into_iter().map(str::to_owned));
        }
        for group in job["dns_sd_configs"].as_sequence().into_iter().flatten() {
            read.extend(
                texts(&group["names"])
                    .iter()
                    .map(|name| format!("{name}:{}", group["port"].as_u64().unwrap())),
            );
        }
    }
    read.sort();
    let ours = ["console", "ingest", "runner", "scheduler"];
    assert_eq!(read, ours.map(|service| format!("{service}:{}", listens_at(&compose, service))));
    for service in ours {
        let exporter = &compose["services"][service]["environment"]["OTEL_METRICS_EXPORTER"];
        assert_eq!(exporter, "${OTEL_METRICS_EXPORTER:-none}", "{service}");
    }
    let rules = mounted_at(&compose, "prometheus", "./docs/prometheus");
    assert_eq!(texts(&prometheus["rule_files"]), [format!("{rules}/*.yml")]);
}

#[test]
fn the_collector_takes_and_gives_what_its_pipelines_name() {
    let (compose, collector) = (yaml("docker-compose.yml"), yaml("packaging/observability/collector.yml"));
    let file = mounted_at(&compose, "collector", "./packaging/observability/collector.yml");
    assert_eq!(texts(&compose["services"]["collector"]["command"]), [format!("--config={file}")]);
    assert_eq!(
        port(collector["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].as_str().unwrap()),
        "4317"
    );
    let pipelines = collector["service"]["pipelines"].as_mapping().unwrap();
    assert_eq!(pipelines.keys().collect::<Vec<_>>(), ["traces"]);
    for (kind, used) in pipelines.values().flat_map(|pipeline| pipeline.as_mapping().unwrap()) {
        for name in texts(used) {
            assert!(collector[kind].get(name).is_some(), "{name} is not among {kind:?}");
        }
    }
}

#[test]
fn grafana_asks_that_prometheus_and_finds_the_dashboard() {
    let compose = yaml("docker-compose.yml");
    let folder = "packaging/observability/grafana";
    for kind in ["datasources", "dashboards"] {
        let at = mounted_at(&compose, "grafana", &format!("./{folder}/{kind}"));
        assert_eq!(at, format!("/etc/grafana/provisioning/{kind}"));
    }
    let sources = yaml(&format!("{folder}/datasources/prometheus.yml"));
    let source = &sources["datasources"][0];
    assert_eq!((&source["type"], &source["url"]), (&"prometheus".into(), &"http://prometheus:9090".into()));
    assert_eq!(source["isDefault"], true);
    assert!(compose["services"].get("prometheus").is_some());
    let boards = yaml(&format!("{folder}/dashboards/orch.yml"));
    let path = &boards["providers"][0]["options"]["path"];
    assert_eq!(path, mounted_at(&compose, "grafana", "./docs/grafana"));
}
