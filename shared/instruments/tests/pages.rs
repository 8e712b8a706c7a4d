//! What ships beside the catalogue speaks of what is in it: the alert rules, the dashboard, and a runbook for every alert.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use instruments::{Instrument, Values};
use regex::Regex;
use serde_json::Value;

/// Labels that Prometheus adds by itself.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

fn docs(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that a query names; what is wrong with it otherwise.
fn metrics_of(query: &str) -> Result<Vec<&'static Instrument>, String> {
    let series = Regex::new(r"(orch_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"^\s*([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"\s*$"#).unwrap();
    let mut found = Vec::new();
    for named in series.captures_iter(query) {
        let one =
            instruments::find(&named[1]).ok_or_else(|| format!("no metric has the series {}", &named[1]))?;
        found.push(one);
        for part in
            named.get(2).map_or("", |labels| labels.as_str()).split(',').filter(|part| !part.is_empty())
        {
            let part = matcher.captures(part).ok_or_else(|| format!("{part} is no matcher"))?;
            check_label(one, &part[1])?;
            let known = one.labels.iter().find(|label| label.name == &part[1]).map(|label| label.values);
            let Some(Values::Of(known)) = known else { continue };
            for value in part[3].split('|').filter(|value| !value.starts_with('$')) {
                if !known.contains(&value) {
                    return Err(format!("{} is never {value} for {}", &part[1], one.name));
                }
            }
        }
    }
    if found.is_empty() {
        return Err("it names no metric of ours".to_owned());
    }
    let grouping = Regex::new(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)").unwrap();
    for group in grouping.captures_iter(query) {
        for label in group[1].split(',').map(str::trim).filter(|label| !label.is_empty()) {
            if !found.iter().any(|one| check_label(one, label).is_ok()) {
                return Err(format!("no metric of it has the label {label}"));
            }
        }
    }
    Ok(found)
}

fn check_label(one: &Instrument, label: &str) -> Result<(), String> {
    let has = one.label_names().contains(&label) || OF_PROMETHEUS.contains(&label);
    if has { Ok(()) } else { Err(format!("{} has no label {label}", one.name)) }
}

#[test]
fn a_query_about_something_else_is_found() {
    let names =
        |query: &str| metrics_of(query).map(|found| found.iter().map(|one| one.name).collect::<Vec<_>>());
    let good = r#"sum by (le) (rate(orch_store_commit_seconds_bucket[5m])) > 0 and orch_retries_total{budget="infra"}"#;
    assert_eq!(names(good), Ok(vec!["orch_store_commit_seconds", "orch_retries_total"]));
    for bad in [
        "orch_store_commit_seconds",
        "orch_claims",
        r#"orch_retries_total{budget="luck"}"#,
        r#"orch_retries_total{project="shop"}"#,
        "sum by (project) (orch_retries_total)",
        "up == 0",
    ] {
        assert!(names(bad).is_err(), "{bad}");
    }
}

fn rules() -> Vec<serde_yaml_ng::Value> {
    let file: serde_yaml_ng::Value = serde_yaml_ng::from_str(&docs("prometheus/orch.rules.yml")).unwrap();
    let groups = file["groups"].as_sequence().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
}

#[test]
fn alert_rules_ask_for_metrics_and_labels_that_there_are() {
    let mut names = BTreeSet::new();
    for rule in rules() {
        let text = |value: &serde_yaml_ng::Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&rule["alert"]);
        assert!(name.starts_with("Orch") && names.insert(name.clone()), "{name}");
        if let Err(wrong) = metrics_of(&text(&rule["expr"])) {
            panic!("{name}: {wrong}");
        }
        assert!(["page", "ticket"].contains(&text(&rule["labels"]["severity"]).as_str()), "{name}");
        assert!(!text(&rule["annotations"]["summary"]).is_empty(), "{name}");
        let runbook = format!("docs/OPERATIONS.md#{}", name.to_lowercase());
        assert_eq!(text(&rule["annotations"]["runbook"]), runbook);
    }
    assert!(names.len() > 10, "{names:?}");
}

#[test]
fn the_dashboard_is_whole_and_shows_every_metric() {
    let board: Value = serde_json::from_str(&docs("grafana/orch.json")).unwrap();
    assert!(board["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(board["title"].is_string() && board["uid"].is_string() && board["time"]["from"].is_string());
    let variables = board["templating"]["list"].as_array().unwrap();
    let source = variables.iter().find(|variable| variable["name"] == "datasource").unwrap();
    assert_eq!((&source["type"], &source["query"]), (&"datasource".into(), &"prometheus".into()));
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let (series, label) =
            query.strip_prefix("label_values(").unwrap().trim_end_matches(')').split_once(", ").unwrap();
        check_label(instruments::find(series).unwrap(), label).unwrap();
    }
    let (mut shown, mut ids, mut places) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id of {title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for place in
            (0..side("w") * side("h")).map(|n| (side("x") + n % side("w"), side("y") + n / side("w")))
        {
            assert!(
                place.0 < 24 && places.insert(place),
                "{title} lies over another panel, or beside the page"
            );
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(["stat", "timeseries"].contains(&panel["type"].as_str().unwrap()), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} shows nothing");
        for from in std::iter::once(panel).chain(targets) {
            assert_eq!(from["datasource"]["uid"], "${datasource}", "{title}");
        }
        for target in targets {
            match metrics_of(target["expr"].as_str().unwrap()) {
                Ok(found) => shown.extend(found.iter().map(|one| one.name)),
                Err(wrong) => panic!("{title}: {wrong}"),
            }
        }
    }
    let all: BTreeSet<&str> = instruments::ALL.iter().map(|one| one.name).collect();
    assert_eq!(shown, all);
}

/// The kinds of alerts that Orch sends by itself, as their reader knows them.
fn kinds_of_alerts() -> BTreeSet<String> {
    let refused = serde_json::from_str::<domain::Alert>(r#"{"kind":"nothing"}"#).unwrap_err().to_string();
    let kinds: BTreeSet<String> = refused.split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(kinds.contains("job_failed") && kinds.len() > 10, "{refused}");
    kinds
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let page = docs("OPERATIONS.md");
    let mut sections = BTreeSet::new();
    for section in page.split("\n### ").skip(1) {
        let (name, text) = section.split_once('\n').unwrap();
        assert!(sections.insert(name.to_owned()), "two sections are called {name}");
        for part in ["**Means:** ", "**Look:** ", "**Do:** "] {
            assert!(text.contains(part), "{name} has no {part}");
        }
    }
    let mut alerts = kinds_of_alerts();
    alerts.extend(rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()));
    assert_eq!(sections, alerts);
    let table = docs("ALERTS.md");
    for kind in kinds_of_alerts() {
        assert!(table.contains(&format!("`{kind}`")), "docs/ALERTS.md does not name {kind}");
    }
}
