//! The calls between the processes, seen and meddled with where they arrive: lost, repeated, late, their answers lost,
//! and, long after, once more. A network below TCP cannot do that to a call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use domain::RunId;
use http::{HeaderMap, Request, Response, Uri};
use prost::Message as _;
use proto::v1::{
    AckRequest, LaunchRequest, RegisterRequest, RenewReply, RenewRequest, RunKey, StartRequest, WatchRequest,
};
use tokio::sync::Notify;
use tonic::Status;
use tower::ServiceExt as _;

use crate::broken::Broken;
use crate::database::later;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::mover::Mover;
use crate::shims::Machine;

/// The largest body that is looked into.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A gRPC message's flag and length.
const PREFIX_BYTES: usize = 5;
/// How many calls are remembered for later.
const REMEMBERED_MAX: usize = 64;

/// All calls of one simulation.
#[derive(Debug)]
pub(crate) struct Calls {
    judge: Judge,
    broken: Option<Broken>,
    mover: Mover,
    machines: BTreeMap<u16, Arc<Machine>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    meddling: bool,
    remembered: Vec<(u16, Call)>,
    again: BTreeMap<u16, VecDeque<Call>>,
    wake: BTreeMap<u16, Arc<Notify>>,
    started: BTreeSet<RunId>,
    watched: BTreeSet<RunId>,
}

/// A unary call as it arrived.
#[derive(Clone, Debug)]
struct Call {
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// What becomes of a call.
enum Fate {
    Passes,
    Lost,
    Late(Duration),
    Repeated(Duration),
    AnswerLost,
}

impl Calls {
    pub(crate) fn new(
        judge: Judge,
        broken: Option<Broken>,
        mover: Mover,
        machines: BTreeMap<u16, Arc<Machine>>,
        dice: Dice,
    ) -> Arc<Self> {
        let state = State {
            dice,
            meddling: false,
            remembered: Vec::new(),
            again: BTreeMap::new(),
            wake: BTreeMap::new(),
            started: BTreeSet::new(),
            watched: BTreeSet::new(),
        };
        Arc::new(Self { judge, broken, mover, machines, state: Mutex::new(state) })
    }

    pub(crate) fn meddle(&self, on: bool) {
        self.state().meddling = on;
    }

    /// Lets a remembered call arrive once more.
    pub(crate) fn replay(&self, choice: usize) {
        let mut state = self.state();
        if state.remembered.is_empty() {
            return;
        }
        let at = choice % state.remembered.len();
        let (port, call) = state.remembered[at].clone();
        self.judge.saw(&format!("ancient {}", name(&call.uri)));
        self.judge.note(&format!("ancient {} to {port}", name(&call.uri)));
        state.again.entry(port).or_default().push_back(call);
        if let Some(wake) = state.wake.get(&port) {
            wake.notify_one();
        }
    }

    /// Stands between a listener and its router.
    pub(crate) fn around(self: &Arc<Self>, addr: SocketAddr, app: Router) -> Router {
        let port = addr.port();
        let wake = self.state().wake.entry(port).or_default().clone();
        let (calls, inner) = (self.clone(), app.clone());
        later(async move {
            loop {
                let next = calls.state().again.get_mut(&port).and_then(VecDeque::pop_front);
                match next {
                    Some(call) => drop(inner.clone().oneshot(call.request()).await),
                    None => wake.notified().await,
                }
            }
        });
        let calls = self.clone();
        Router::new().fallback_service(tower::service_fn(move |request: Request<Body>| {
            let (calls, app) = (calls.clone(), app.clone());
            async move { Ok::<_, Infallible>(calls.pass(port, app, request).await) }
        }))
    }

    async fn pass(&self, port: u16, app: Router, request: Request<Body>) -> Response<Body> {
        let method = name(request.uri()).to_owned();
        if !["Register", "Renew", "Start", "Launch", "Watch", "Ack", "Cancel"].contains(&method.as_str()) {
            let Ok(response) = app.oneshot(request).await;
            return response;
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else { return refused("the body was cut") };
        let call = Call { uri: parts.uri, headers: parts.headers, body };
        let fate = self.arrive(port, &method, &call);
        match fate {
            Fate::Passes => {}
            Fate::Lost => return refused("lost on the way"),
            Fate::Late(wait) => tokio::time::sleep(wait).await,
            Fate::Repeated(wait) => {
                let (app, again) = (app.clone(), call.clone());
                later(async move {
                    tokio::time::sleep(wait).await;
                    drop(app.oneshot(again.request()).await);
                });
            }
            Fate::AnswerLost => {
                self.told(port, &method, &call).await;
                drop(app.oneshot(call.request()).await);
                return refused("the answer was lost");
            }
        }
        if let Some(instead) = self.told(port, &method, &call).await {
            return instead;
        }
        let Ok(response) = app.oneshot(call.request()).await;
        self.answered(&method, response).await
    }

    /// Notes a call, remembers it and decides what becomes of it.
    fn arrive(&self, port: u16, method: &str, call: &Call) -> Fate {
        let mut state = self.state();
        if state.remembered.len() == REMEMBERED_MAX {
            let at = state.dice.index(REMEMBERED_MAX);
            state.remembered.swap_remove(at);
        }
        state.remembered.push((port, call.clone()));
        if !state.meddling {
            return Fate::Passes;
        }
        let wait = Duration::from_millis(state.dice.of_range(1..3000).unsigned_abs());
        let fate = match state.dice.index(12) {
            0 => Fate::Lost,
            1 => Fate::Late(wait),
            2 | 3 => Fate::Repeated(wait),
            4 => Fate::AnswerLost,
            _ => Fate::Passes,
        };
        drop(state);
        let word = match fate {
            Fate::Passes => return fate,
            Fate::Lost => "lost",
            Fate::Late(_) => "late",
            Fate::Repeated(_) => "repeated",
            Fate::AnswerLost => "unanswered",
        };
        self.judge.note(&format!("{method} to {port} {word}"));
        self.judge.saw(&format!("{method} {word}"));
        fate
    }

    /// What the judge learns of a call that is about to be served; a broken variant may answer it instead.
    async fn told(&self, port: u16, method: &str, call: &Call) -> Option<Response<Body>> {
        let message = call.body.get(PREFIX_BYTES..).unwrap_or_default();
        match method {
            "Register" => {
                let request = RegisterRequest::decode(message).ok()?;
                self.heard(request.held.iter().filter_map(|held| held.run.as_ref()));
            }
            "Renew" => {
                let request = RenewRequest::decode(message).ok()?;
                self.heard(request.held.iter().filter_map(|held| held.run.as_ref()));
                if self.broken == Some(Broken::AbsenceIsLoss) {
                    self.absent(&request).await;
                }
            }
            "Start" => {
                let request = StartRequest::decode(message).ok()?;
                self.heard(request.run.iter());
                let run = request.run.as_ref().and_then(run_id)?;
                let repeated = !self.state().started.insert(run);
                if repeated && self.broken == Some(Broken::RepeatedStartRefused) {
                    return Some(Status::aborted("this run was started before").into_http());
                }
            }
            "Ack" => {
                let request = AckRequest::decode(message).ok()?;
                let run = request.run.as_ref().and_then(run_id)?;
                self.judge.state().ack(run);
            }
            "Watch" if self.broken == Some(Broken::CutWatchIsLoss) => {
                let request = WatchRequest::decode(message).ok()?;
                let run = request.run.as_ref().and_then(run_id)?;
                let job = self.judge.state().run(run).map(|row| row.job)?;
                if !self.state().watched.insert(run) {
                    self.mover.lose(job, run).await;
                }
            }
            "Launch" if self.broken == Some(Broken::SpawnOnLaunch) => {
                let request = LaunchRequest::decode(message).ok()?;
                let (run, spec) = (request.run.as_ref().and_then(run_id)?, request.spec?);
                let machine = self.machines.get(&port)?;
                machine.spawn_stray(domain::JobId(spec.job_id), run);
            }
            _ => {}
        }
        None
    }

    fn heard<'a>(&self, runs: impl Iterator<Item = &'a RunKey>) {
        let mut judge = self.judge.state();
        for run in runs.filter_map(run_id) {
            judge.heard(run);
        }
    }

    /// For a broken variant: what a renew does not list is lost.
    async fn absent(&self, request: &RenewRequest) {
        let held: Vec<RunId> =
            request.held.iter().filter_map(|held| held.run.as_ref()).filter_map(run_id).collect();
        let absent: Vec<_> = {
            let judge = self.judge.state();
            let of_node = judge.live_runs().filter(|run| run.node.0 == request.node_id);
            of_node.filter(|run| !held.contains(&run.id)).map(|run| (run.job, run.id)).collect()
        };
        for (job, run) in absent {
            self.mover.lose(job, run).await;
        }
    }

    /// A broken variant may change an answer.
    async fn answered(&self, method: &str, response: Response<Body>) -> Response<Body> {
        if method != "Renew" || self.broken != Some(Broken::CancelNotOnRenew) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else { return refused("the answer was cut") };
        let Some(mut reply) = bytes.get(PREFIX_BYTES..).and_then(|bytes| RenewReply::decode(bytes).ok())
        else {
            return Response::from_parts(parts, Body::from(bytes));
        };
        reply.cancel.clear();
        let message = reply.encode_to_vec();
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
        framed.extend(message);
        let trailers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("0"),
        )]);
        let answer = futures::stream::iter([
            Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from(framed))),
            Ok(hyper::body::Frame::trailers(trailers)),
        ]);
        Response::from_parts(parts, Body::new(http_body_util::StreamBody::new(answer)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    fn request(self) -> Request<Body> {
        let mut request = Request::new(Body::from(self.body));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        (*request.uri_mut(), *request.headers_mut()) = (self.uri, self.headers);
        request
    }
}

/// The method of a gRPC path.
fn name(uri: &Uri) -> &str {
    uri.path().rsplit('/').next().unwrap_or_default()
}

fn run_id(key: &RunKey) -> Option<RunId> {
    key.run_id.parse().ok().map(RunId)
}

fn refused(why: &str) -> Response<Body> {
    Status::unavailable(why.to_owned()).into_http()
}
