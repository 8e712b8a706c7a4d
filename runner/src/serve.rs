//! Puts the runner together: identity, what the last incarnation left, the listener, the loops.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use domain::NodeId;
use domain::containment::Tier;
use proto::v1::runner_service_server::RunnerServiceServer;
use proto::v1::scheduler_service_client::SchedulerServiceClient;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use service::health::{self, Metrics, Readiness};
use service::metrics::number;
use service::net::Listener;
use service::server;
use service::tls::{self, Caller, Role};
use service::{Refused, Tasks, grpc};
use tonic::service::Routes;

use crate::certificate::{self, Own};
use crate::config::{Cli, Containment, Options, SCHEDULER_URL_DEFAULT};
use crate::contain::hierarchy::Hierarchy;
use crate::contain::{User, belongings, control, probe, users};
use crate::identity::Identity;
use crate::node::{self, Node};
use crate::registration;
use crate::rpc::Rpc;
use crate::run_dir::{Assignment, RunDir};
use crate::shim::Ask;
use crate::shims::{HostShims, Shims};
use crate::steps::{self, Forge};
use crate::watch;
use crate::{files, preflight};

/// How often the gauges are set.
const GAUGES_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether agents that were told to end have done so.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running runner.
#[derive(Debug)]
pub struct Handle {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The node's id.
    pub node: NodeId,
    inner: Arc<Node>,
}

impl Handle {
    /// Ends every agent as drained, and waits for at most `wait` until their outcomes are on disk, from where they
    /// reach the scheduler when it and a runner meet again. Works after the runner's tasks were stopped, too.
    ///
    /// Returns how many are still alive.
    pub async fn end_agents(&self, wait: Duration) -> usize {
        self.inner.drain();
        // A shim that is only just starting cannot be told yet.
        let ended = async {
            let mut told = BTreeSet::new();
            loop {
                let living = self.living();
                if living.is_empty() {
                    return;
                }
                for (dir, assignment) in living {
                    if !told.contains(dir.path())
                        && tell_to_end(self.inner.shims.as_ref(), &dir, &assignment).await.is_ok()
                    {
                        told.insert(dir.path().to_owned());
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // Who is left is counted below.
        let _ = tokio::time::timeout(wait, ended).await;
        self.living().len()
    }

    /// The agents and gates whose shim lives, or is about to.
    fn living(&self) -> Vec<(RunDir, Assignment)> {
        let held = self.inner.held();
        let agents = held.iter().map(|held| (held.dir.clone(), held.assignment.clone()));
        let gates = held.iter().flat_map(|held| steps::gates(&held.dir));
        let mut living: Vec<(RunDir, Assignment)> = agents.chain(gates).collect();
        living.retain(|(dir, _)| matches!(dir.intent(), Ok(Some(_))) && matches!(dir.try_lock(), Ok(None)));
        living
    }
}

async fn tell_to_end(shims: &dyn Shims, dir: &RunDir, assignment: &Assignment) -> std::io::Result<()> {
    let mut link = shims.connect(dir, assignment).await?;
    link.ask(Ask::Drain).await
}

/// Runs the process `orch-runner` until it is told to stop.
///
/// # Errors
/// It could not start.
pub async fn serve(cli: Cli, tasks: Tasks) -> anyhow::Result<()> {
    let _handle = start(Options::from(cli), tasks.clone()).await?;
    tasks.token().cancelled().await;
    Ok(())
}

/// Starts a runner on `tasks`; stopping them hands its agents over to the next start.
///
/// # Errors
/// The address, the state folder or the TLS settings cannot be used.
pub async fn start(options: Options, tasks: Tasks) -> anyhow::Result<Handle> {
    let shims = Arc::new(HostShims::new(&options));
    start_on(shims, options, tasks).await
}

/// As [`start`], with other keepers than processes of this host.
///
/// # Errors
/// See [`start`].
pub async fn start_on(shims: Arc<dyn Shims>, mut options: Options, tasks: Tasks) -> anyhow::Result<Handle> {
    let is_passed = options.limits.fence.users.is_some();
    options.state_dir = folder(&options.state_dir, "ORCH_RUNNER_STATE_DIR", is_passed)?;
    options.workspace_dir = folder(&options.workspace_dir, "ORCH_WORKSPACE_DIR", is_passed)?;
    let boot_id = shims.boot_id().context("the host does not tell its boot")?;
    let identity = Identity::take(&options.state_dir, boot_id, &options.random)?;
    let own = own_certificate(&mut options, &identity).await?;
    grpc::check_listen(options.addr, &options.tls)?;
    let acceptor = options.tls.acceptor()?;
    let listener = Listener::bind(options.addr).await.map_err(|error| {
        Refused::new(format!("could not listen on ORCH_RUNNER_ADDR {}: {error}", options.addr))
    })?;
    let addr = listener.local_addr()?;
    let cgroups = match options.limits.containment {
        Containment::Cgroup => Hierarchy::Unified.place(&identity.node.0),
        Containment::Marker => None,
    };
    let controls = match (options.limits.containment, options.limits.fence.offer) {
        (Containment::Marker, _) | (_, Tier::Environment) => Vec::new(),
        (Containment::Cgroup, Tier::Limits | Tier::Sandbox | Tier::Sealed) => {
            control::places(&identity.node.0, cgroups.as_deref())
        }
    };
    if cgroups.is_none() {
        tracing::warn!("no cgroup to be had: agents' processes are found by session and marker");
    }
    guard_credential(&options)?;
    let users = users(&options, &identity)?;
    let forge = forge(&options)?;
    let advertise_url = advertise_url(&options, addr);
    let scheduler_url = options.scheduler_url.as_deref().unwrap_or(SCHEDULER_URL_DEFAULT);
    let (channel, elsewhere) = grpc::channel_in_turn(scheduler_url, &options.tls)?;
    let (tls, limits) = (options.tls.clone(), options.listener.limits());
    let scheduler = SchedulerServiceClient::with_interceptor(channel, grpc::SendTrace)
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
    let node = Arc::new(Node::new(
        options,
        shims,
        identity,
        advertise_url,
        cgroups,
        controls,
        users,
        forge,
        (scheduler, elsewhere),
        tasks.clone(),
    ));
    node::recover(&node).await.context("could not read the journal of the last start")?;

    let (readiness, metrics) =
        (Readiness::new(&[registration::SCHEDULER, preflight::CONDITION]), Metrics::new());
    spawn_loops(&node, &readiness, &metrics);
    if let Some(own) = own {
        spawn_loop(&node, "certificate", certificate::stay_young(node.clone(), own, tls));
    }
    let app = router(&node, addr, readiness, metrics).await?;
    tracing::info!(%addr, node.id = %node.identity.node, incarnation = node.identity.incarnation.0, "listening");
    let serving = tasks.clone();
    tasks.spawn("listener", async move {
        server::serve(listener, app, limits, acceptor, &serving).await;
    });
    Ok(Handle { addr, node: node.identity.node.clone(), inner: node })
}

/// Uses the node's own certificate, unless the settings name one; none where the node has not joined.
async fn own_certificate(options: &mut Options, identity: &Identity) -> Result<Option<Own>, Refused> {
    if options.tls.has_files() {
        return Ok(None);
    }
    let now_ms = options.clock.now_ms();
    let Some(mut own) = certificate::take(identity, options.join_token.as_ref(), now_ms).await? else {
        return Ok(None);
    };
    options.tls.own = Some(own.credentials.clone());
    if let Some(url) = &options.scheduler_url {
        own.scheduler_url.clone_from(url);
    }
    options.scheduler_url = Some(own.scheduler_url.clone());
    Ok(Some(own))
}

/// What may be asked of a runner: anything by the scheduler, how it is by everybody who belongs here.
fn rule(caller: &Caller, path: &str) -> Result<(), String> {
    let may = match caller {
        Caller::Plaintext => true,
        Caller::Stranger => false,
        Caller::Peer(peer) => peer.role() == Role::Scheduler || !path.starts_with("/orch.v1."),
    };
    if may { Ok(()) } else { Err(format!("{caller} may not call {path}")) }
}

/// The forge's credential is the runner's alone: it is passed to no agent, and none that is not root's reads it out of this process.
fn guard_credential(options: &Options) -> Result<(), Refused> {
    if let Some(name) = options.agent_env.iter().find(|name| name.starts_with("ORCH_GIT_")) {
        return Err(Refused::new(format!(
            "ORCH_AGENT_ENV names {name}, which belongs to the runner: take it out"
        )));
    }
    if options.git_token.is_some()
        && let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "other processes of this user can read the runner's environment");
    }
    Ok(())
}

/// Whom agents run as; see [`Node::looks_as`].
fn users(options: &Options, identity: &Identity) -> Result<Vec<User>, Refused> {
    let Some(users) = options.limits.fence.users else { return Ok(Vec::new()) };
    if let Some(missing) = users::missing_right() {
        return Err(Refused::new(format!(
            "ORCH_AGENT_USERS names users for agents, but this runner may not start a program as somebody else: \
             it lacks {missing}; run it as root, or take the setting out"
        )));
    }
    let users = users.of_runner(identity.place, options.slots).map_err(Refused::new)?;
    tracing::info!(
        first = users.first().map(|user| user.uid),
        last = users.last().map(|user| user.uid),
        "agents run as users of their own"
    );
    Ok(users)
}

/// Where pull requests are opened: only with an address and a credential.
fn forge(options: &Options) -> Result<Option<Forge>, Refused> {
    let (Some(url), Some(token)) = (&options.gitea_api_url, &options.git_token) else { return Ok(None) };
    Forge::new(url, token).map(Some).map_err(|wrong| Refused::new(format!("ORCH_GITEA_API_URL {wrong}")))
}

/// Makes a folder of the runner's own; agents that are somebody else must be able to pass through it.
fn folder(path: &Path, setting: &str, is_passed: bool) -> Result<PathBuf, Refused> {
    let made = if is_passed { belongings::create_way(path) } else { files::create_private_dir(path) };
    let real = made
        .and_then(|()| path.canonicalize())
        .map_err(|error| Refused::new(format!("{setting}: could not use {}: {error}", path.display())))?;
    match belongings::barrier(&real).filter(|_| is_passed) {
        Some(above) => Err(Refused::new(format!(
            "{setting}: the users of ORCH_AGENT_USERS cannot pass through {}: let them with chmod o+x, or set another folder",
            above.display()
        ))),
        None => Ok(real),
    }
}

fn advertise_url(options: &Options, addr: SocketAddr) -> String {
    options.advertise_url.clone().unwrap_or_else(|| {
        let scheme = options.tls.scheme();
        if addr.ip().is_unspecified() {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            return format!("{scheme}://{host}:{}", addr.port());
        }
        format!("{scheme}://{addr}")
    })
}

fn spawn_loops(node: &Arc<Node>, readiness: &Readiness, metrics: &Metrics) {
    let looking = preflight::stay_fresh(node.clone(), readiness.clone());
    let registered = registration::stay_registered(node.clone(), readiness.clone());
    let gauges = gauges(node.clone(), metrics.clone());
    spawn_loop(node, "preflight", looking);
    spawn_loop(node, "registration", registered);
    spawn_loop(node, "waiting shim", stay_ready(node.clone()));
    spawn_loop(node, "gauges", gauges);
    if node.options.limits.fence.offer > Tier::Environment {
        spawn_loop(node, "containment", probe::stay_probed(node.clone()));
    }
    spawn_loop(node, "workspaces", node::keep_tidy(node.clone(), metrics.clone()));
}

/// Has a shim wait for the next run, once there may be one.
async fn stay_ready(node: Arc<Node>) {
    node.registered().await;
    node.shims.stay_ready(node.cgroups.as_deref()).await;
}

/// Runs a loop that may be cut at any await when the runner stops.
fn spawn_loop(node: &Node, name: &'static str, looped: impl Future<Output = ()> + Send + 'static) {
    let stop = node.tasks.token();
    node.tasks.spawn(name, async move {
        // Whether it was cut or ended by itself, there is nothing left to do.
        let _ = stop.run_until_cancelled(looped).await;
    });
}

async fn gauges(node: Arc<Node>, metrics: Metrics) {
    let slots = metrics.gauge(&instruments::SLOTS);
    let busy = metrics.gauge(&instruments::BUSY_SLOTS);
    let held = metrics.gauge(&instruments::HELD_RUNS);
    let preflight = metrics.gauge(&instruments::PREFLIGHT);
    let unread = metrics.gauge(&instruments::UNREAD);
    loop {
        slots.set(f64::from(node.options.slots), &[]);
        busy.set(count(node.busy()), &[]);
        held.set(count(node.held().len()), &[]);
        let is_ok = node.preflights.report().is_some_and(|preflight| preflight.ok);
        preflight.set(f64::from(u8::from(is_ok)), &[]);
        unread.set(number(watch::unread_bytes(&node).await), &[]);
        tokio::time::sleep(GAUGES_EVERY).await;
    }
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

async fn router(
    node: &Arc<Node>,
    addr: SocketAddr,
    readiness: Readiness,
    metrics: Metrics,
) -> anyhow::Result<Router> {
    let rpc = RunnerServiceServer::new(Rpc::new(node.clone()))
        .max_decoding_message_size(grpc::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(grpc::MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<RunnerServiceServer<Rpc>>().await;
    let mut routes = Routes::new(rpc).add_service(health);
    if addr.ip().is_loopback() {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .build_v1()
            .context("the descriptors cannot be served")?;
        routes = routes.add_service(reflection);
    }
    let app = routes.into_axum_router().layer(grpc::trace_layer()).merge(health::router(readiness, metrics));
    Ok(tls::guarded(app, rule))
}
