//! Claims due jobs, brings them to runners, watches them and records what became of them.
//!
//! It spawns no process and holds nothing that the database could not tell it again: after a restart it goes on
//! with the runs that live. Two of them at once would be harmless; one is enough (see `lock`).

mod accounts;
mod admin;
mod advance;
mod budgets;
mod cancels;
mod certificates;
mod claim;
mod conditions;
mod config;
mod dispatch;
mod doors;
mod events;
mod finalize;
mod generation;
mod grpc;
mod lead;
mod lease;
mod links;
mod live;
mod lock;
mod logs;
mod measure;
mod moves;
mod nodes;
mod outbox;
mod outside;
mod prompt;
mod pulse;
mod reaper;
mod reconcile;
mod renewals;
mod retention;
mod sanitize;
mod settled;
mod shared;
mod stall;
mod streams;
mod supervise;
mod upkeep;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use anyhow::Context as _;
use domain::pipeline::{self, Pipeline};
use pki::Revoked;
use proto::tokens::RunTokens;
use proto::v1::InfoRequest;
use proto::v1::admin_service_server::AdminServiceServer;
use proto::v1::join_service_server::JoinServiceServer;
use proto::v1::scheduler_service_server::SchedulerServiceServer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service::grpc::MESSAGE_BYTES_MAX;
use service::health::Readiness;
use service::metrics::Metrics;
use service::net::Listener;
use service::server;
use service::settings::Mask;
use service::watched::Watched;
use service::{Refused, Tasks};
use store::{Access, Store};
use tokio::sync::Notify;
use tonic::service::Routes;

pub use config::{CaOptions, Cli, Options, Settings};
pub use lease::LeaseTerms;
pub use logs::saved_log;
pub use outbox::{AlertSettings, Reporting, Sinks};
pub use prompt::{PromptProblem, prompt_problems};
pub use renewals::Neighbours;
pub use retention::{Retention, RetentionSettings};

use certificates::Ca;
use links::CALL_DEADLINE;
use lock::DatabaseLock;
use shared::{DATABASE, Shared};

/// A running scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Runs until the tasks are told to stop.
///
/// # Errors
/// See [`start`].
pub async fn run(cli: Cli, tasks: Tasks) -> anyhow::Result<()> {
    open_many_files();
    start(cli.options()?, tasks.clone()).await?;
    tasks.token().cancelled().await;
    Ok(())
}

/// Lets this process open as many files as its host allows: a runner is two connections, a live run an open log. Where that
/// is not many, connections wait.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, files = limit.current, "could not raise the limit of open files");
    }
}

/// Binds, opens the store, takes up the runs that live, and serves. Cancelling the token of `tasks` stops it.
///
/// # Errors
/// The address is taken, another scheduler runs on the database, the database or `orch.toml` cannot be used, or the
/// settings contradict each other.
pub async fn start(mut options: Options, tasks: Tasks) -> anyhow::Result<Handle> {
    let ca = certificates::open(&mut options)?;
    let listener = bind(&options).await?;
    let lock = lock::take(&options.database_url)?;
    let url = options.database_url.expose();
    let store = store::open(url, Access::Write).await.map_err(refuse)?;
    let neighbours = if store::is_postgres(url) { Neighbours::Perhaps } else { Neighbours::None };
    let database = Database { store, neighbours, lock: Some(lock) };
    serve(listener, database, ca, options, tasks).await
}

/// As [`start`], on a store that is open already, and perhaps to others as well.
///
/// # Errors
/// See [`start`].
pub async fn start_on(
    store: Arc<dyn Store>,
    neighbours: Neighbours,
    mut options: Options,
    tasks: Tasks,
) -> anyhow::Result<Handle> {
    let ca = certificates::open(&mut options)?;
    let listener = bind(&options).await?;
    serve(listener, Database { store, neighbours, lock: None }, ca, options, tasks).await
}

/// The open database, and what keeps others off it.
#[derive(Debug)]
struct Database {
    store: Arc<dyn Store>,
    neighbours: Neighbours,
    lock: Option<DatabaseLock>,
}

async fn bind(options: &Options) -> anyhow::Result<Listener> {
    options.terms.check().map_err(Refused::new)?;
    service::grpc::check_listen(options.addr, &options.tls)?;
    Listener::bind(options.addr)
        .await
        .with_context(|| format!("could not listen on {} (ORCH_SCHEDULER_ADDR)", options.addr))
}

async fn serve(
    listener: Listener,
    database: Database,
    ca: Option<Ca>,
    options: Options,
    tasks: Tasks,
) -> anyhow::Result<Handle> {
    let addr = listener.local_addr().context("could not tell the own address")?;
    let tls = options.tls.acceptor()?;
    let tls = if ca.is_some() { tls.map(|acceptor| acceptor.opening(certificates::JOIN)) } else { tls };
    let limits = options.listener.limits();
    let outbound = outbox::outbound(&options.sinks, &options.reporting)?;

    let (metrics, readiness) = (Metrics::new(), Readiness::new(&[DATABASE]));
    let revoked = ca.as_ref().map(Ca::revoked);
    let shared = gather(options, database, addr, revoked, &metrics, readiness.clone(), &tasks).await?;
    let shared = Arc::new(shared);
    sanitize::sweep(&shared).await;
    take_up(&shared).await.context("could not read the runs that live")?;
    shared.pipeline.spawn(&tasks);

    let routes = routes(&shared, ca.as_ref(), addr).await?;
    let app = routes.into_axum_router().merge(service::health::router(readiness, metrics));
    let app = doors::guarded(app, ca.as_ref()).layer(service::grpc::trace_layer());
    if let Some(ca) = ca {
        ca.spawn(&tasks);
        let (links, stop) = (shared.clone(), tasks.token());
        tasks.spawn("revocations", async move {
            let _ = stop.run_until_cancelled(links.links.close_revoked()).await;
        });
    }
    let serving = tasks.clone();
    tasks.spawn("grpc", async move { server::serve(listener, app, limits, tls, &serving).await });
    tasks.spawn("lead", lead::run(shared.clone()));
    let (listening, stop) = (shared.clone(), tasks.token());
    tasks.spawn("listen", async move {
        let waker = listening.clone();
        let heard = store::Heard(Box::new(move || waker.wake()));
        let listens = listening.store.listen(listening.listen_url.clone(), heard);
        let _ = stop.run_until_cancelled(listens).await;
    });
    tasks.spawn("events", events::run(shared.clone()));
    tasks.spawn("measure", measure::run(shared.clone()));
    tasks.spawn("claim", claim::run(shared.clone()));
    tasks.spawn("budgets", budgets::run(shared.clone()));
    outbox::spawn(&shared, outbound.as_ref());
    greet(&shared);
    reconcile::spawn(&shared, outbound.as_ref());
    tasks.spawn("retention", retention::run(shared.clone()));
    tasks.spawn("outside", outside::run(shared.clone()));
    tasks.spawn("reaper", reaper::run(Arc::clone(&shared)));
    tasks.spawn("upkeep", upkeep::run(shared));
    tracing::info!(%addr, "listening");
    Ok(Handle { addr })
}

async fn gather(
    options: Options,
    database: Database,
    addr: SocketAddr,
    revoked: Option<Watched<Revoked>>,
    metrics: &Metrics,
    readiness: Readiness,
    tasks: &Tasks,
) -> anyhow::Result<Shared> {
    let parse = |path: &Path, text: &str| {
        pipeline::parse(text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let pipeline = Watched::load(&options.config, Pipeline::default(), parse)?;
    let Database { store, neighbours, lock } = database;
    let logs = logs::Logs::open(&*store, options.log_dir.clone())
        .with_context(|| format!("could not make the log folder {}", options.log_dir.display()))?;
    let nodes = store.nodes().await.context("could not read the runners")?;
    let lost = store.declared_lost().await.context("could not read the runners declared lost")?;
    let events = events::Events::new(format!("{:x}", options.clock.now_ms()));
    let boot_ms = options.clock.boot_ms();
    let generation = store.generation().await.context("could not read the database's generation")?;
    let tokens =
        RunTokens::new(&store.run_secret().await.context("could not read what runs' tokens are made of")?);
    // The address is for people: two may listen on the same one, one after the other or on two hosts.
    let name = format!("{addr}/{}", options.random.id().simple());
    Ok(Shared {
        lead: lead::Lead::new(neighbours, &name, &options.terms),
        name,
        claims_wait: generation::ClaimsWait::new(generation, options.terms.scheduler, boot_ms),
        tokens,
        store,
        neighbours,
        nodes: nodes::Nodes::new(options.terms, nodes, &lost, boot_ms),
        clock: options.clock,
        random: options.random,
        listen_url: options.listen_url.map(|url| url.expose().to_owned()),
        sinks: options.sinks,
        mask: Mask::new(options.reporting.secrets.iter().chain(&options.database_url.password())),
        reporting: options.reporting,
        webhook_silence: options.webhook_silence,
        reconcile_interval: options.reconcile_interval,
        retention: options.retention,
        alerted: tokio::sync::watch::channel(()).0,
        policy: options.policy,
        quota_reserve: options.quota_reserve,
        terms: options.terms,
        queue: options.queue,
        poll_interval: options.poll_interval,
        serial_gate: options.serial_gate,
        resume_wait: options.resume_wait,
        pipeline,
        prompts: prompt::Prompts::new(&options.config),
        runs: live::LiveRuns::default(),
        meter: budgets::Meter::default(),
        pulses: pulse::Pulses::default(),
        links: links::Links::new(options.tls, revoked),
        logs,
        reaped: AtomicU32::new(0),
        wake: Notify::new(),
        readiness,
        instruments: measure::Instruments::new(metrics),
        streams: streams::Streams::default(),
        events,
        tasks: tasks.clone(),
        _lock: lock,
    })
}

/// What starting again would not mend is a refusal.
fn refuse(error: store::Error) -> anyhow::Error {
    match error {
        store::Error::Newer { .. } | store::Error::Older { .. } | store::Error::Setup(_) => {
            Refused::new(error).into()
        }
        store::Error::Unavailable(_) | store::Error::Corrupt(_) | store::Error::Closed => error.into(),
    }
}

/// Goes on with every run that lives: offered ones are launched again, started ones are watched. None is requeued.
async fn take_up(shared: &Arc<Shared>) -> Result<(), store::Error> {
    let live = shared.store.live_runs().await?;
    let mut jobs: BTreeMap<_, _> =
        shared.store.live_jobs().await?.into_iter().map(|job| (job.id, job)).collect();
    for run in &live {
        if let Some(job) = jobs.remove(&run.job) {
            supervise::take_in(shared, &job, run);
            continue;
        }
        match shared.store.job(run.job).await {
            Ok(Some(job)) => supervise::take_in(shared, &job, run),
            Ok(None) => {}
            Err(error @ store::Error::Corrupt(_)) => {
                tracing::error!(job.id = %run.job, run.id = %run.id, %error, "a live run is left alone: its job cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    if !live.is_empty() {
        tracing::info!(runs = live.len(), "took up live runs");
    }
    Ok(())
}

/// Tells every runner that a scheduler is here, so that it need not wait until they renew.
fn greet(shared: &Arc<Shared>) {
    for (node, url) in shared.nodes.urls() {
        let greeting = shared.clone();
        shared.tasks.spawn("greet", async move {
            let Ok(mut runner) = greeting.links.to(&node, &url) else { return };
            if let Err(status) = service::grpc::call(CALL_DEADLINE, runner.info(InfoRequest {})).await {
                tracing::debug!(%url, %status, "a runner could not be greeted");
            }
        });
    }
}

async fn routes(shared: &Arc<Shared>, ca: Option<&Ca>, addr: SocketAddr) -> anyhow::Result<Routes> {
    let scheduler = SchedulerServiceServer::new(grpc::Service(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let admin = AdminServiceServer::new(admin::Service(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<SchedulerServiceServer<grpc::Service>>().await;
    reporter.set_serving::<AdminServiceServer<admin::Service>>().await;
    let mut routes = Routes::new(scheduler).add_service(admin).add_service(health);
    if let Some(ca) = ca {
        reporter.set_serving::<JoinServiceServer<Ca>>().await;
        routes = routes.add_service(JoinServiceServer::new(ca.clone()));
    }
    if !addr.ip().to_canonical().is_loopback() {
        return Ok(routes);
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("could not build the reflection service")?;
    Ok(routes.add_service(reflection))
}
