//! What this node holds: its runs, what it promised and was promised. State and the rules over it; what happens
//! to one run over its life is in `start` and `keeper`, what a restart finds in `recover`.

mod held;
pub(crate) mod keeper;
mod patience;
mod prepare;
mod recover;
mod start;
mod tidy;

pub(crate) use held::Held;
pub(crate) use recover::recover;
pub(crate) use start::begin as begin_start;
pub(crate) use tidy::keep_tidy;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Epoch, Incarnation, JobId, RunId};
use proto::v1::scheduler_service_client::SchedulerServiceClient;
use proto::v1::{self, LaunchStatus, RunPhase};
use service::grpc::{Elsewhere, SendTrace};
use service::settings::Mask;
use service::{Clock, Tasks};
use tokio::sync::{Notify, watch};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::config::Options;
use crate::contain::probe::Probed;
use crate::contain::{Controller, User};
use crate::identity::Identity;
use crate::preflight::{Preflights, Program};
use crate::run_dir::{Assignment, RunDir};
use crate::shim::Wish;
use crate::shims::Shims;
use crate::steps::Forge;
use crate::workspace::{Git, Workspaces};

/// The most runs held, ended ones included that wait for their Ack.
const HELD_MAX: usize = 1000;
/// The most jobs whose newest epoch is remembered; older ones are refused by Start all the same.
const EPOCHS_MAX: usize = 4096;
/// How long the outcome of a run that lost its job is kept for somebody to ask for it.
const FENCED_KEPT: Duration = Duration::from_hours(24);

/// The way to the scheduler.
pub(crate) type Scheduler = SchedulerServiceClient<InterceptedService<Channel, SendTrace>>;

/// What the scheduler grants; from its answer to Register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "names end in their unit")]
pub(crate) struct Terms {
    pub(crate) lease_ms: i64,
    pub(crate) renew_ms: i64,
    pub(crate) kill_grace_ms: i64,
}

/// The node. Shared by every task of the runner.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) options: Options,
    pub(crate) shims: Arc<dyn Shims>,
    pub(crate) identity: Identity,
    pub(crate) advertise_url: String,
    /// Where cgroups of runs are made, if anywhere.
    pub(crate) cgroups: Option<PathBuf>,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) scheduler: Scheduler,
    /// Leaves the scheduler it speaks to for the next, where there are several.
    pub(crate) elsewhere: Elsewhere,
    /// None until the first Register was answered.
    pub(crate) terms: watch::Sender<Option<Terms>>,
    /// The end of the lease by the newest acknowledged renew, in milliseconds of boot time.
    pub(crate) lease: watch::Sender<i64>,
    /// When the newest acknowledged renew was sent, in milliseconds of boot time.
    pub(crate) renewed: watch::Sender<i64>,
    /// Whether agents can be spawned.
    pub(crate) preflights: Preflights,
    /// Where runs are bounded, one place per controller that this host has.
    pub(crate) controls: Vec<Controller>,
    /// How far agents can be contained.
    pub(crate) probed: Probed,
    /// The git worktrees of this host.
    pub(crate) workspaces: Workspaces,
    /// Whom agents run as: first who looks whether they can be run, then one for each slot. Empty: as the runner.
    users: Vec<User>,
    /// The secrets of this process and of its agents, which no log and no outcome is to show.
    pub(crate) mask: Mask,
    /// Where pull requests are opened, if the runner was told.
    pub(crate) forge: Option<Forge>,
    /// Says that a renew should come soon: something changed that the scheduler wants to know.
    pub(crate) renew_soon: Notify,
    /// Says that the scheduler does not know us.
    pub(crate) register_again: Notify,
    draining: AtomicBool,
    superseded: AtomicBool,
    runs: Mutex<Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    held: BTreeMap<RunId, Arc<Held>>,
    /// The newest epoch seen of each job, and the run that had it.
    epochs: BTreeMap<JobId, (Epoch, RunId)>,
    /// Whom the agents of live runs run as.
    users: BTreeMap<RunId, User>,
}

impl Node {
    #[expect(clippy::too_many_arguments, reason = "built in one place, from parts that live apart before")]
    pub(crate) fn new(
        options: Options,
        shims: Arc<dyn Shims>,
        identity: Identity,
        advertise_url: String,
        cgroups: Option<PathBuf>,
        controls: Vec<Controller>,
        users: Vec<User>,
        forge: Option<Forge>,
        (scheduler, elsewhere): (Scheduler, Elsewhere),
        tasks: Tasks,
    ) -> Self {
        let preflights = Preflights::new(shims.clone(), options.clock.clone());
        let git = Git {
            token: options.git_token.clone(),
            user_name: options.git_user_name.clone(),
            user_email: options.git_user_email.clone(),
            has_lfs: Program::find(Path::new("git-lfs")).is_some(),
            users: options.limits.fence.users,
        };
        let workspaces = Workspaces::new(
            options.workspace_dir.clone(),
            options.state_dir.clone(),
            git,
            options.clock.clone(),
        );
        Self {
            clock: options.clock.clone(),
            mask: options.mask(),
            options,
            shims,
            identity,
            advertise_url,
            cgroups,
            tasks,
            scheduler,
            elsewhere,
            terms: watch::Sender::new(None),
            lease: watch::Sender::new(0),
            renewed: watch::Sender::new(i64::MIN),
            preflights,
            controls,
            probed: Probed::default(),
            workspaces,
            users,
            forge,
            renew_soon: Notify::new(),
            register_again: Notify::new(),
            draining: AtomicBool::new(false),
            superseded: AtomicBool::new(false),
            runs: Mutex::default(),
        }
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides on an offer; an accepted one holds its slot from now on and must be journaled next.
    pub(crate) fn offer(
        &self,
        incarnation: Incarnation,
        assignment: &Assignment,
    ) -> Result<Arc<Held>, (LaunchStatus, RunPhase)> {
        let refused = |status| Err((status, RunPhase::Unspecified));
        let ready = self.preflights.program().is_some() && self.probed.gives(assignment.tier);
        let mut runs = self.runs();
        if let Some(held) = runs.held.get(&assignment.run) {
            if held.assignment.epoch == assignment.epoch {
                return Err((LaunchStatus::Known, held.phase()));
            }
            return refused(LaunchStatus::Fenced);
        }
        let seen = runs.epochs.get(&assignment.job).copied();
        if incarnation != self.identity.incarnation
            || seen.is_some_and(|(epoch, _)| epoch >= assignment.epoch)
        {
            return refused(LaunchStatus::Fenced);
        }
        if self.draining() || self.superseded.load(Ordering::SeqCst) {
            return refused(LaunchStatus::Draining);
        }
        let busy = runs.held.values().filter(|held| held.takes_slot()).count();
        if !ready || busy >= self.options.slots as usize || runs.held.len() >= HELD_MAX {
            return refused(LaunchStatus::NoCapacity);
        }
        let dir = RunDir::at(self.identity.runs().join(assignment.run.to_string()));
        let held = Arc::new(Held::new(assignment.clone(), dir, RunPhase::Offered));
        runs.insert(held.clone());
        Ok(held)
    }

    /// Holds a run that was found on disk.
    fn adopt(&self, held: Arc<Held>, user: Option<User>) {
        let mut runs = self.runs();
        if let Some(user) = user {
            runs.users.insert(held.assignment.run, user);
        }
        runs.insert(held);
    }

    /// The run, if it is held under this epoch.
    pub(crate) fn find(&self, run: RunId, epoch: Epoch) -> Option<Arc<Held>> {
        self.runs().held.get(&run).filter(|held| held.assignment.epoch == epoch).cloned()
    }

    /// Whom the agent's program is looked at as; none: as the runner.
    pub(crate) fn looks_as(&self) -> Option<User> {
        self.users.first().copied()
    }

    /// Whom a run's agent runs as; none: as the runner, or it has no agent yet.
    pub(crate) fn user_of(&self, run: RunId) -> Option<User> {
        self.runs().users.get(&run).copied()
    }

    /// Finds the user that a run's agent is to run as, the one whose files are there already if nobody else has that one.
    ///
    /// # Errors
    /// All of them have live agents.
    pub(crate) fn lend_user(&self, run: RunId, before: Option<u32>) -> Result<Option<User>, &'static str> {
        let Some((_, agents)) = self.users.split_first() else { return Ok(None) };
        let mut runs = self.runs();
        let Runs { held, users, .. } = &mut *runs;
        users.retain(|run, _| held.get(run).is_some_and(|held| held.phase() != RunPhase::Ended));
        if let Some(user) = users.get(&run) {
            return Ok(Some(*user));
        }
        let free = || agents.iter().filter(|user| !users.values().any(|taken| taken == *user));
        let user = free().find(|user| Some(user.uid) == before).or_else(|| free().next()).copied();
        let user = user.ok_or("every user of ORCH_AGENT_USERS has an agent that is not gone yet")?;
        users.insert(run, user);
        Ok(Some(user))
    }

    /// Every run held, oldest first.
    pub(crate) fn held(&self) -> Vec<Arc<Held>> {
        self.runs().held.values().cloned().collect()
    }

    /// Every run held, as messages name it.
    pub(crate) fn listed(&self) -> Vec<v1::HeldRun> {
        self.held().iter().map(|held| held.listed()).collect()
    }

    /// How many runs have, or may still get, an agent.
    pub(crate) fn live(&self) -> usize {
        self.runs().held.values().filter(|held| held.phase() != RunPhase::Ended).count()
    }

    /// How many slots are taken.
    pub(crate) fn busy(&self) -> usize {
        self.runs().held.values().filter(|held| held.takes_slot()).count()
    }

    /// Forgets a run and removes what it left on disk.
    pub(crate) async fn forget(&self, held: &Held) -> std::io::Result<()> {
        self.runs().held.remove(&held.assignment.run);
        let (dir, trash) = (held.dir.clone(), self.identity.trash());
        service::blocking(move || dir.remove(&trash)).await
    }

    /// Removes outcomes of fenced runs that nobody asked for in a day.
    pub(crate) async fn forget_stale(&self) {
        let limit_ms = self.clock.now_ms() - i64::try_from(FENCED_KEPT.as_millis()).unwrap_or(i64::MAX);
        for held in self.held() {
            if held.is_fenced()
                && held.ended_at_ms().is_some_and(|at_ms| at_ms < limit_ms)
                && let Err(error) = self.forget(&held).await
            {
                tracing::warn!(run.id = %held.assignment.run, %error, "could not remove a run's folder");
            }
        }
    }

    /// Takes no new work from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.renew_soon.notify_one();
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Asks every live agent to end because the node is drained.
    pub(crate) fn end_all(&self) {
        for held in self.held() {
            held.wish(Wish::Drain);
        }
    }

    /// Takes no new work because another session of this node registered after us.
    pub(crate) fn supersede(&self) {
        self.superseded.store(true, Ordering::SeqCst);
    }

    /// The scheduler's terms, once it has said them. Nothing is started before: with a guess of the grace an agent
    /// could outlive what the scheduler counts on.
    pub(crate) async fn registered(&self) -> Terms {
        let mut terms = self.terms.subscribe();
        loop {
            if let Some(terms) = *terms.borrow_and_update() {
                return terms;
            }
            // The sender lives as long as the node.
            let _ = terms.changed().await;
        }
    }

    /// What the node says of itself.
    pub(crate) fn description(&self) -> v1::NodeDescription {
        v1::NodeDescription {
            node_id: self.identity.node.to_string(),
            incarnation: self.identity.incarnation.0,
            boot_id: self.identity.boot_id.clone(),
            advertise_url: self.advertise_url.clone(),
            slots: self.options.slots,
            labels: self.options.labels.clone(),
            account: self.options.account.to_string(),
            draining: self.draining(),
            preflight: self.preflight_report(),
            containment: self.containment_report(),
        }
    }

    pub(crate) fn containment_report(&self) -> Option<v1::ContainmentReport> {
        self.probed.report().as_ref().map(proto::convert::containment_report)
    }

    pub(crate) fn preflight_report(&self) -> Option<v1::PreflightReport> {
        self.preflights.report().as_ref().map(proto::convert::preflight_report)
    }
}

impl Runs {
    fn insert(&mut self, held: Arc<Held>) {
        let Assignment { run, epoch, job, .. } = held.assignment;
        let newest = self.epochs.entry(job).or_insert((epoch, run));
        if newest.0 < epoch {
            *newest = (epoch, run);
        }
        while self.epochs.len() > EPOCHS_MAX {
            self.epochs.pop_first();
        }
        self.held.insert(run, held);
    }
}
