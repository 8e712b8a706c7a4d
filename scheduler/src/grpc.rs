//! `SchedulerService`: what runners and ingest ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::job::LiveRunState;
use domain::runner::{Node, NodeState};
use domain::transition::LostHow;
use domain::{Account, Epoch, Event, Incarnation, JobState, NodeId, RunId, RunState};
use proto::convert;
use proto::v1::scheduler_service_server::SchedulerService;
use proto::v1::{
    HeldRun, NodeDescription, NudgeReply, NudgeRequest, RegisterReply, RegisterRequest, RenewReply,
    RenewRequest, RunKey, RunPhase, SettledReply, SettledRequest, StartReply, StartRequest, StartStatus,
};
use service::tls::Caller;
use tonic::{Request, Response, Status};

use crate::lease::LiveRun;
use crate::moves::{Report, error_chain, move_job};
use crate::nodes::{NotHeard, Renewed};
use crate::reaper::end_lost;
use crate::renewals::Neighbours;
use crate::shared::Shared;
use crate::upkeep::adopt;
use crate::watch::Place;
use crate::{accounts, finalize, renewals, settled};

/// The most runs a node may list.
const HELD_MAX: usize = 10_000;

/// Serves runners and ingest.
#[derive(Clone, Debug)]
pub(crate) struct Service(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl SchedulerService for Service {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterReply>, Status> {
        let shared = &self.0;
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let row = read_node(request.node, shared)?;
        let held = read_held(&request.held, shared)?;
        check_caller(&caller, &row.id)?;
        let (node, incarnation, moment) = (row.id.clone(), row.incarnation, shared.moment());
        // A node that another scheduler knows of may have been declared lost there.
        renewals::listen(shared).await.map_err(|error| unavailable(&error))?;
        let heard = renewals::open(shared, &row, &request.session).await?;
        let before = shared.nodes.register(row, request.session, heard, moment)?;
        if let Some(url) = before.left_url {
            shared.links.forget(&node, &url);
        }
        if let Some(row) = shared.nodes.row(&node, moment) {
            shared.store.save_node(row.clone()).await.map_err(|error| unavailable(&error))?;
            shared.nodes.saved(row, moment.boot_ms);
        }
        let keys = held.keys();
        renewals::catch_up(shared).await.map_err(|error| unavailable(&error))?;
        renewals::count(shared, &node, &keys).await.map_err(|error| unavailable(&error))?;
        let gone = shared.runs.book(|book| book.bury(&node, incarnation, &keys));
        for run in gone {
            end_lost(shared, &run, LostHow::NodeLost).await;
        }
        let reconciled = shared.runs.book(|book| book.renew(&node, incarnation, &keys, moment.boot_ms));
        let fenced = held.sort_out(shared, &node, reconciled.fenced);
        tracing::info!(
            runner = %node, %incarnation, held = held.known.len(), fenced = fenced.len(), rebooted = before.rebooted,
            "runner registered"
        );
        shared.wake();
        let ms = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Ok(Response::new(RegisterReply {
            runner_lease_ms: ms(shared.terms.runner),
            renew_ms: ms(shared.terms.renew),
            kill_grace_ms: ms(shared.terms.kill_grace),
            database_generation: shared.claims_wait.generation,
            fenced,
        }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let shared = &self.0;
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let held = read_held(&request.held, shared)?;
        let (node, incarnation) = (NodeId(request.node_id), Incarnation(request.incarnation));
        check_caller(&caller, &node)?;
        let moment = shared.moment();
        let open = || shared.nodes.is_open(&node, moment);
        let was_open = open();
        let renewed = Renewed {
            number: request.number,
            draining: request.draining,
            preflight: convert::read_preflight(request.preflight.as_ref()),
            containment: convert::read_containment(request.containment.as_ref()),
        };
        let fresh = shared.nodes.renew(&node, incarnation, &request.session, renewed, moment)?;
        if !fresh {
            // A repeat or a straggler: what it lists may be out of date, so it extends nothing, and is not answered as
            // if it did: the node would count a lease that nobody here counts.
            return Err(Status::unavailable("a later renew was taken: send the next"));
        }
        if !was_open && open() {
            shared.wake();
        }
        let keys = held.keys();
        // Together, so that they are written together.
        tokio::try_join!(renewals::hear(shared, &node, incarnation, &request.session), async {
            renewals::count(shared, &node, &keys).await.map_err(|error| unavailable(&error))
        },)?;
        let reconciled = shared.runs.book(|book| book.renew(&node, incarnation, &keys, moment.boot_ms));
        Ok(Response::new(RenewReply {
            number: request.number,
            fenced: held.sort_out(shared, &node, reconciled.fenced),
            cancel: held.run_keys(reconciled.cancel),
        }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartReply>, Status> {
        let shared = &self.0;
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let (run, epoch) = convert::read_run_key(request.run.as_ref())?;
        let (node, incarnation) = (NodeId(request.node_id), Incarnation(request.incarnation));
        check_caller(&caller, &node)?;
        shared.nodes.check(&node, incarnation, &request.session)?;
        if !shared.tokens.fits(run, epoch, request.run.as_ref().map_or("", |run| &run.token)) {
            self.tell_of_stranger(run, &node).await?;
            return Ok(Response::new(StartReply { status: StartStatus::Refused.into(), lease_ms: 0 }));
        }
        // The lease first: from here on the reaper leaves the run alone for a whole one.
        let boot_ms = shared.clock.boot_ms();
        if shared.neighbours == Neighbours::Perhaps && shared.runs.book(|book| book.get(run).is_none()) {
            // Another scheduler offered it.
            adopt(shared, run).await.map_err(|error| unavailable(&error))?;
        }
        let live = shared.runs.book(|book| book.touch(run, epoch, &node, incarnation, boot_ms).cloned());
        let status = match live {
            Some(live) => self.confirm(&live).await?,
            None => self.not_live(run, epoch, &node).await?,
        };
        if status == StartStatus::Ok {
            renewals::count(shared, &node, &[(run, epoch)]).await.map_err(|error| unavailable(&error))?;
            if shared.runs.book(|book| book.get(run).is_none()) {
                // Another scheduler ended it meanwhile.
                return Err(Status::unavailable(format!("run {run} is being looked at: ask again")));
            }
        }
        let lease_ms = i64::try_from(shared.terms.runner.as_millis()).unwrap_or(i64::MAX);
        let lease_ms = if status == StartStatus::Ok { lease_ms } else { 0 };
        Ok(Response::new(StartReply { status: status.into(), lease_ms }))
    }

    async fn settled(&self, request: Request<SettledRequest>) -> Result<Response<SettledReply>, Status> {
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let (node, incarnation) = (NodeId(request.node_id), Incarnation(request.incarnation));
        check_caller(&caller, &node)?;
        self.0.nodes.check(&node, incarnation, &request.session)?;
        settled::settled(&self.0, request.items).await.map(Response::new)
    }

    async fn nudge(&self, _request: Request<NudgeRequest>) -> Result<Response<NudgeReply>, Status> {
        self.0.wake();
        Ok(Response::new(NudgeReply {}))
    }
}

impl Service {
    async fn confirm(&self, live: &LiveRun) -> Result<StartStatus, Status> {
        if live.state == LiveRunState::Offered && self.account_refuses(live).await? {
            return Ok(StartStatus::Refused);
        }
        let event = Event::Confirmed { run: live.run };
        match move_job(&self.0, live.job, &event, Report::default()).await {
            Ok(moved) => Ok(match moved.after.state {
                JobState::Running { .. } => {
                    // A repeat finds the start committed, perhaps by a call that was dropped before it got here.
                    self.0.runs.start(live.run);
                    StartStatus::Ok
                }
                JobState::Queued { .. }
                | JobState::Done { .. }
                | JobState::Failed { .. }
                | JobState::Cancelled { .. } => StartStatus::Refused,
            }),
            Err(error) if error.is_late() => {
                tracing::info!(run.id = %live.run, reason = error_chain(&error), "start refused");
                self.0.runs.end(live.run);
                Ok(StartStatus::Refused)
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Takes back an offer whose account lets nothing start any more: its agent would only meet the same refusal.
    async fn account_refuses(&self, live: &LiveRun) -> Result<bool, Status> {
        let shared = &self.0;
        let read = tokio::try_join!(shared.store.run(live.run), shared.store.accounts());
        let (row, accounts) = read.map_err(|error| unavailable(&error))?;
        let Some(row) = row.filter(|row| row.state == RunState::Offered) else { return Ok(false) };
        let Some(reason) = accounts::refusal(&row, accounts, shared.now()) else { return Ok(false) };
        let event = Event::Withdrawn { run: live.run, why: "account" };
        match move_job(shared, live.job, &event, Report::default()).await {
            Ok(_) => {
                tracing::info!(run.id = %live.run, %reason, "start refused, the job waits");
                Ok(true)
            }
            // A start that was faster stands.
            Err(error) if error.is_late() => Ok(false),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Says that a node asks to start a run that it was not given.
    async fn tell_of_stranger(&self, run: RunId, node: &NodeId) -> Result<(), Status> {
        tracing::warn!(run.id = %run, runner = %node, "refused: a node asks to start a run without its token");
        if let Some(row) = self.0.store.run(run).await.map_err(|error| unavailable(&error))? {
            tell_of_foreign_start(run, node, &row.node);
        }
        Ok(())
    }

    /// A run that memory does not know, or that is being given up: refused once the database says it is over.
    async fn not_live(&self, run: RunId, epoch: Epoch, node: &NodeId) -> Result<StartStatus, Status> {
        let row = self.0.store.run(run).await.map_err(|error| unavailable(&error))?;
        if let Some(row) = &row {
            tell_of_foreign_start(run, node, &row.node);
        }
        let live =
            row.is_some_and(|row| row.state != RunState::Ended && row.epoch == epoch && row.node == *node);
        if live {
            return Err(Status::unavailable(format!("run {run} is being looked at: ask again")));
        }
        Ok(StartStatus::Refused)
    }
}

fn tell_of_foreign_start(run: RunId, node: &NodeId, owner: &NodeId) {
    if node != owner {
        tracing::warn!(run.id = %run, runner = %node, %owner, "refused: a node asks to start another node's run");
    }
}

/// A node speaks for itself alone, where it is known who calls.
fn check_caller(caller: &Caller, node: &NodeId) -> Result<(), Status> {
    if caller.speaks_for(&node.0) {
        return Ok(());
    }
    tracing::warn!(%caller, runner = %node, "refused: it speaks for another node");
    Err(Status::permission_denied(format!("the certificate of {caller} does not speak for node {node}")))
}

/// The runs a node says it holds.
struct Held {
    known: Vec<(RunId, Epoch, RunPhase)>,
    /// Listed without their token: nobody gave them to this node, whatever it calls itself.
    strange: Vec<(RunId, Epoch)>,
    /// As the node named them.
    named: Vec<RunKey>,
}

impl Held {
    fn keys(&self) -> Vec<(RunId, Epoch)> {
        self.known.iter().map(|(run, epoch, _)| (*run, *epoch)).collect()
    }

    /// As the node named them: what it did not know it does not learn.
    fn run_keys(&self, runs: Vec<(RunId, Epoch)>) -> Vec<RunKey> {
        if runs.is_empty() {
            return Vec::new();
        }
        let runs: BTreeSet<(RunId, Epoch)> = runs.into_iter().collect();
        let is_meant = |key: &&RunKey| convert::read_run_key(Some(*key)).is_ok_and(|key| runs.contains(&key));
        self.named.iter().filter(is_meant).cloned().collect()
    }

    /// Of the runs that are not live: fences those that still go on and those that the database never made, and fetches
    /// the reports of the others.
    ///
    /// A run of another database moves nothing here, and may be wanted there: its node keeps the report for a day.
    fn sort_out(&self, shared: &Arc<Shared>, node: &NodeId, not_live: Vec<(RunId, Epoch)>) -> Vec<RunKey> {
        let ended = |key: &(RunId, Epoch)| {
            self.known.iter().any(|(run, epoch, phase)| (*run, *epoch) == *key && *phase == RunPhase::Ended)
        };
        let reported = |key: &(RunId, Epoch)| ended(key) && !shared.runs.is_unknown(key.0);
        Self::tell_of_foreign(shared, node, &not_live);
        Self::tell_of_foreign(shared, node, &self.strange);
        for (run, _) in &self.strange {
            tracing::warn!(run.id = %run, runner = %node, "refused: a node claims a run without its token");
        }
        let (over, mut fenced): (Vec<_>, Vec<_>) = not_live.into_iter().partition(reported);
        fenced.extend(&self.strange);
        for (run, epoch) in over {
            finalize::collect(shared, Place { node: node.clone(), run, epoch });
        }
        self.run_keys(fenced)
    }

    /// Says which of the runs are another node's.
    fn tell_of_foreign(shared: &Shared, node: &NodeId, not_live: &[(RunId, Epoch)]) {
        for (run, _) in not_live {
            let owner = shared.runs.book(|book| book.get(*run).map(|live| live.node.clone()));
            if let Some(owner) = owner.filter(|owner| owner != node) {
                tracing::warn!(run.id = %run, runner = %node, %owner, "refused: a node claims another node's run");
            }
        }
    }
}

fn read_held(held: &[HeldRun], shared: &Shared) -> Result<Held, Status> {
    if held.len() > HELD_MAX {
        return Err(Status::invalid_argument(format!(
            "{} held runs, at most {HELD_MAX} are read",
            held.len()
        )));
    }
    let mut read = Held { known: Vec::new(), strange: Vec::new(), named: Vec::new() };
    for held in held {
        let (run, epoch) = convert::read_run_key(held.run.as_ref())?;
        let key = held.run.clone().unwrap_or_default();
        if shared.tokens.fits(run, epoch, &key.token) {
            read.known.push((run, epoch, held.phase()));
        } else {
            read.strange.push((run, epoch));
        }
        read.named.push(key);
    }
    Ok(read)
}

fn read_node(node: Option<NodeDescription>, shared: &Shared) -> Result<Node, Status> {
    let node = node.ok_or_else(|| Status::invalid_argument("node is missing"))?;
    let given =
        [("node_id", &node.node_id), ("advertise_url", &node.advertise_url), ("account", &node.account)];
    for (field, value) in given {
        if value.is_empty() {
            return Err(Status::invalid_argument(format!("{field} is empty")));
        }
    }
    let mut labels = node.labels;
    labels.sort();
    Ok(Node {
        id: NodeId(node.node_id),
        incarnation: Incarnation(node.incarnation),
        boot_id: node.boot_id,
        advertise_url: node.advertise_url,
        state: if node.draining { NodeState::Draining } else { NodeState::Ready },
        slots: node.slots,
        labels,
        account: Account(node.account),
        preflight: convert::read_preflight(node.preflight.as_ref()),
        containment: convert::read_containment(node.containment.as_ref()),
        last_seen_at: shared.now(),
    })
}

impl From<NotHeard> for Status {
    fn from(not_heard: NotHeard) -> Self {
        match not_heard {
            NotHeard::Fenced { .. } => Self::aborted(not_heard.to_string()),
            NotHeard::NotRegistered { .. } => Self::failed_precondition(not_heard.to_string()),
        }
    }
}

pub(crate) fn unavailable(error: &dyn std::error::Error) -> Status {
    Status::unavailable(error_chain(error))
}
