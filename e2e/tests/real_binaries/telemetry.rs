//! What reaches a collector: one trace for one webhook, through all services and on to the stages that follow; every
//! metric of the catalogue; and the same at `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use e2e::collector::{Collector, Metric, Span};
use e2e::harness::{Service, Stack, StackBuilder, get, until};
use e2e::night::script::{Round, Script, Stage, Turn};
use e2e::night::shop::{PROJECT, labelled, watched};
use instruments::{Instrument, Kind, Values};

use crate::shop::{self, WITHIN, enqueue, shop};

/// The services by the names they send under, and as the catalogue calls them.
const SERVICES: [(&str, &str, Service); 4] = [
    ("orch-ingest", "ingest", Service::Ingest),
    ("orch-scheduler", "scheduler", Service::Scheduler),
    ("orch-runner", "runner", Service::Runner(0)),
    ("orch-console", "console", Service::Console),
];

fn observed(stack: StackBuilder, collector: &Collector) -> StackBuilder {
    stack
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
}

/// A span and what it is below, up to the root of its trace.
fn ancestry<'a>(spans: &'a BTreeMap<&str, &'a Span>, span: &'a Span) -> Vec<(&'a str, &'a str)> {
    let mut line = vec![(span.service.as_str(), span.name.as_str())];
    let mut above = span.parent.as_str();
    while let Some(parent) = spans.get(above) {
        line.push((&parent.service, &parent.name));
        above = &parent.parent;
    }
    if !above.is_empty() {
        line.push(("nobody", "is missing"));
    }
    line
}

#[tokio::test]
async fn one_webhook_is_one_trace_through_all_services_and_the_stages_that_follow() -> anyhow::Result<()> {
    let room = tempfile::tempdir()?;
    let stage = Stage::create(room.path().join("play"))?;
    let play = Script {
        analyst: Turn::default(),
        architect: Turn::default(),
        rounds: vec![Round::default()],
        deployer: Turn::default(),
    };
    stage.give("SHOP-7", &play)?;
    let collector = Collector::start().await?;
    let stack = observed(watched(&stage, PROJECT), &collector);
    let mut stack = stack.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test").start().await?;
    let answer = stack.deliver(&labelled(&stack, 7)).await?.json()?;
    let first = answer["job_ids"][0].as_i64().context("a job")?;
    let jobs = [first, first + 1, first + 2];
    for job in jobs {
        until(&format!("job {job}"), WITHIN, || async {
            Ok(stack.job(job).await.ok().filter(|job| job["job"]["status"] == "done"))
        })
        .await?;
    }
    // Each of the three stages has its spans, whenever they come in.
    let run_of = |spans: &[Span], name: &str, job: i64| {
        let is = |span: &&Span| span.name == name && span.attributes.get("job.id") == Some(&job.to_string());
        spans.iter().find(is).cloned()
    };
    let spans = until("the spans of three stages", WITHIN, || async {
        let spans = collector.spans();
        let all = jobs.iter().all(|job| {
            ["claim", "launch", "run", "finalize"].iter().all(|name| run_of(&spans, name, *job).is_some())
        });
        let webhook = spans.iter().any(|span| span.name == "POST /webhooks/plane");
        Ok((all && webhook).then_some(spans))
    })
    .await?;
    let webhook = spans.iter().find(|span| span.name == "POST /webhooks/plane").context("the webhook")?;
    assert_eq!(webhook.parent, "", "a stranger's request begins a trace");
    let of_trace: Vec<&Span> = spans.iter().filter(|span| span.trace == webhook.trace).collect();
    let by_id: BTreeMap<&str, &Span> = of_trace.iter().map(|span| (span.id.as_str(), *span)).collect();
    assert_eq!(by_id.len(), of_trace.len(), "each span is told once");
    for span in &of_trace {
        assert_eq!(ancestry(&by_id, span).last(), Some(&("orch-ingest", "POST /webhooks/plane")), "{span:?}");
    }

    let mut above = vec![("orch-ingest", "enqueue"), ("orch-ingest", "POST /webhooks/plane")];
    for job in jobs {
        let find = |name| run_of(&spans, name, job).with_context(|| format!("{name} of job {job}"));
        let line = |front: &[(&'static str, &'static str)]| [front, above.as_slice()].concat();
        let claim = ("orch-scheduler", "claim");
        assert_eq!(ancestry(&by_id, &find("claim")?), line(&[claim]));
        assert_eq!(ancestry(&by_id, &find("launch")?), line(&[("orch-scheduler", "launch"), claim]));
        let run = find("run")?;
        let run_line = line(&[("orch-runner", "run"), ("orch-scheduler", "launch"), claim]);
        assert_eq!(ancestry(&by_id, &run), run_line);
        ensure!(run.ended_ns > run.began_ns, "an agent's life takes a while: {run:?}");
        let finalize = line(&[("orch-scheduler", "finalize"), claim]);
        assert_eq!(ancestry(&by_id, &find("finalize")?), finalize);
        // What follows hangs on the end of what it follows from.
        above = finalize;
    }
    // Lines of the logs of all three carry it.
    for service in [Service::Ingest, Service::Scheduler, Service::Runner(0)] {
        let log = stack.process(service).log();
        let shown = format!("trace_id={}", webhook.trace);
        assert!(log.lines().any(|line| line.contains(&shown)), "{service:?} does not say {shown}\n{log}");
    }
    assert_eq!(stack.job(first).await?["job"]["trace_id"], webhook.trace.as_str());
    for resource in collector.resources() {
        assert_eq!(resource["deployment.environment.name"], "test", "{resource:?}");
        assert!(!resource["service.instance.id"].is_empty() && !resource["service.version"].is_empty());
    }
    stack.finish().await
}

/// What was received of an instrument from every service that has it.
fn received<'a>(
    metrics: &'a BTreeMap<(String, String), Metric>,
    one: &Instrument,
) -> Vec<(&'static str, Option<&'a Metric>)> {
    let has = |(_, service, _): &&(&str, &str, Service)| one.services.contains(service);
    SERVICES
        .iter()
        .filter(has)
        .map(|(name, ..)| (*name, metrics.get(&((*name).to_owned(), one.name.to_owned()))))
        .collect()
}

/// What moved: the sum over all labels.
fn total(metrics: &BTreeMap<(String, String), Metric>, service: &str, one: &Instrument) -> f64 {
    let metric = metrics.get(&(service.to_owned(), one.name.to_owned()));
    metric.map_or(0.0, |metric| metric.points.values().sum())
}

async fn exercise(stack: &mut Stack) -> anyhow::Result<()> {
    let counter = stack.folder().join("count").display().to_string();
    shop::run(stack, &format!("first=1:{counter}:crash:2"), "done").await?;
    shop::run(stack, "then=success", "done").await?;
    shop::start(stack, "gitea.push", 7, "fake: then=success").await?;
    get(stack.addr(Service::Console), "/queue").await?;
    // A limit of the provider, whose end is beyond the test.
    let limited = enqueue(stack, "then=usage:3600").await?;
    until("the limit", WITHIN, || async {
        Ok((stack.job(limited).await?["runs"][0]["class"] == "transient").then_some(()))
    })
    .await
}

/// A run whose shim is killed, so that it is lost and its job tried again.
async fn lose_a_run(stack: &Stack) -> anyhow::Result<()> {
    let counter = stack.folder().join("lost").display().to_string();
    let id = enqueue(stack, &format!("first=1:{counter}:hang")).await?;
    until("the shim", WITHIN, || async {
        let started = stack.job(id).await?["runs"][0]["state"] == "started";
        // An agent that has not counted itself yet would hang the next time as well.
        let has_run = std::fs::metadata(&counter).is_ok_and(|file| file.len() > 0);
        Ok(stack.shims().first().copied().filter(|shim| started && has_run && stack.kill_process(*shim)))
    })
    .await?;
    stack.until_status(id, "done", WITHIN).await.map(drop)
}

#[tokio::test]
async fn every_metric_of_the_catalogue_is_received_with_its_unit_and_shown_at_metrics() -> anyhow::Result<()>
{
    let collector = Collector::start().await?;
    let mut stack = observed(shop(), &collector).start().await?;
    exercise(&mut stack).await?;
    stack.orch(&["account", "resume", "default"]).await?;
    lose_a_run(&stack).await?;

    // What the run above cannot have left at zero.
    let moved: [(&str, &Instrument); 14] = [
        ("orch-ingest", &instruments::DELIVERIES),
        ("orch-ingest", &instruments::ANSWER),
        ("orch-ingest", &instruments::COMMIT),
        ("orch-scheduler", &instruments::COMMIT),
        ("orch-scheduler", &instruments::WAIT),
        ("orch-scheduler", &instruments::CLAIMS),
        ("orch-scheduler", &instruments::RUNS_ENDED),
        ("orch-scheduler", &instruments::RETRIES),
        ("orch-scheduler", &instruments::RECOVERIES),
        ("orch-scheduler", &instruments::TOKENS),
        ("orch-scheduler", &instruments::COST),
        ("orch-scheduler", &instruments::QUOTA),
        ("orch-scheduler", &instruments::WAL),
        ("orch-scheduler", &instruments::QUEUE),
    ];
    let metrics = until("every metric", WITHIN, || async {
        let metrics = collector.metrics();
        let all =
            instruments::ALL.iter().all(|one| received(&metrics, one).iter().all(|(_, got)| got.is_some()));
        let all = all && moved.iter().all(|(service, one)| total(&metrics, service, one) > 0.0);
        Ok(all.then_some(metrics))
    });
    let metrics = metrics.await.with_context(|| {
        let metrics = collector.metrics();
        let missing = |one: &&&Instrument| received(&metrics, one).iter().any(|(_, got)| got.is_none());
        let missing: Vec<&str> = instruments::ALL.iter().filter(missing).map(|one| one.name).collect();
        let still: Vec<_> = moved
            .iter()
            .filter(|(service, one)| total(&metrics, service, one) <= 0.0)
            .map(|(_, one)| one.name)
            .collect();
        format!("missing: {missing:?}, still at zero: {still:?}")
    })?;
    for one in instruments::ALL {
        let kind = match one.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        for (service, got) in received(&metrics, one) {
            let got = got.with_context(|| format!("{} of {service}", one.name))?;
            assert_eq!((got.kind, &*got.unit, &*got.description), (kind, one.unit, one.help), "{}", one.name);
            for labels in got.points.keys() {
                let names: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
                assert_eq!(names, one.label_names().into_iter().collect(), "{} of {service}", one.name);
                for label in one.labels {
                    if let Values::Of(known) = label.values {
                        assert!(known.contains(&labels[label.name].as_str()), "{}: {labels:?}", one.name);
                    }
                }
            }
        }
    }
    // Nothing is sent that the catalogue does not have, and nothing else is shown.
    for (service, name) in metrics.keys() {
        let one = instruments::find(name).or_else(|| instruments::find(&format!("{name}_count")));
        assert!(one.is_some(), "{service} sends {name}");
    }
    for (_, service, at) in SERVICES {
        let shown = String::from_utf8(get(stack.addr(at), "/metrics").await?.body.to_vec())?;
        let shown: BTreeSet<&str> =
            shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let expected = instruments::ALL.iter().filter(|one| one.services.contains(&service));
        assert_eq!(shown, expected.map(|one| one.name).collect(), "{service}");
    }
    stack.finish().await
}
