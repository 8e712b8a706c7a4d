//! The writers of a process: one task per lane, each of which drains its channel and commits many operations in one
//! transaction, so that they share a flush of the log.
//!
//! What takes turns with other processes has a lane of its own, so that a claim never waits behind a webhook of its own
//! process, nor a renewal behind either. A reply goes out only after COMMIT; an operation that is answered `Unavailable`
//! was not written.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::announce::Announcer;
use super::mark::Marks;
use super::transaction::{Begin, CONNECTIONS_MAX, Server, Transacting, Turn};
use crate::Error;
use crate::sql::fault::{Fault, FaultKind, unavailable};
use crate::sql::request::{Answer, Request};
use crate::sql::{batch, outbox, outside, views};

/// Operations that may wait in a lane; one more is refused at once.
const QUEUE_MAX: usize = 4_096;
/// Operations committed together.
const BATCH_MAX: usize = 256;
/// How long an operation may wait before it is begun.
const BEGIN_DEADLINE: Duration = Duration::from_secs(3);
/// How often a batch is begun anew because others went first or its connection broke; nothing of it was written then.
const TRIES_MAX: u32 = 5;

/// The lanes' doors. Dropping them ends the tasks.
#[derive(Debug)]
pub(super) struct Lanes {
    intake: Door,
    claim: Door,
    outbox: Door,
    tidy: Door,
    rest: Door,
    /// Ends what announces.
    closing: watch::Sender<()>,
}

impl Lanes {
    /// Starts the tasks.
    pub(super) fn start(server: &Server) -> (Self, Vec<JoinHandle<()>>) {
        let mut tasks = Vec::new();
        let announcer = Announcer::default();
        let (closing, mut closed) = watch::channel(());
        let announcing = announcer.clone().run(server.clone());
        tasks.push(spawn(async move {
            tokio::select! {
                () = announcing => {}
                // Closed, or all doors are gone.
                _ = closed.changed() => {}
            }
        }));
        let mut lane = |turn| {
            let (door, inbox) = mpsc::channel(QUEUE_MAX);
            let announcer = announcer.clone();
            let marks = Marks::new();
            tasks.push(spawn(Lane { server: server.clone(), turn, inbox, announcer, marks }.run()));
            Door(door)
        };
        let lanes = Self {
            intake: lane(Some(Turn::Intake)),
            claim: lane(Some(Turn::Claim)),
            outbox: lane(Some(Turn::Outbox)),
            tidy: lane(None),
            rest: lane(None),
            closing,
        };
        (lanes, tasks)
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Error> {
        self.of(&request).ask(request).await
    }

    /// Waits until everything asked before is answered.
    pub(super) async fn close(&self) {
        for door in [&self.intake, &self.claim, &self.outbox, &self.tidy, &self.rest] {
            door.close().await;
        }
        self.closing.send_replace(());
    }

    fn of(&self, request: &Request) -> &Door {
        match request {
            Request::Accept(_)
            | Request::Enqueue(..)
            | Request::Decide(..)
            | Request::Outside(outside::Ask::Note { .. } | outside::Ask::Prune { .. }) => &self.intake,
            Request::Apply(change) if change.item.is_some() => &self.intake,
            // A pause that was answered lets no claim through that read the time before it.
            Request::Claim(_) | Request::SetPaused(..) | Request::Views(views::Ask::Pause(..)) => &self.claim,
            Request::Outbox(outbox::Ask::Push(_) | outbox::Ask::Condition { .. })
            | Request::Apply(_)
            | Request::LateOutcome(..)
            | Request::SaveNode(_)
            | Request::DeclareLost(..)
            | Request::Views(views::Ask::Act(_))
            | Request::NoteGeneration(_)
            | Request::NoteTick(..)
            | Request::NoteConfig(_)
            | Request::Renew(..)
            | Request::Fleet(_)
            | Request::Sanitize(_)
            | Request::Outside(outside::Ask::SaveCursor { .. })
            | Request::Purses(_)
            | Request::ResumeAccount(..)
            | Request::ResetBreaker(..) => &self.rest,
            Request::Outbox(_) => &self.outbox,
            // Nothing waits behind it.
            Request::Retention(_) => &self.tidy,
        }
    }
}

/// A request on its way.
#[derive(Debug)]
struct Operation {
    request: Request,
    begin_by: Instant,
    reply: oneshot::Sender<Result<Answer, Error>>,
}

#[derive(Debug)]
enum Message {
    Operation(Box<Operation>),
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Door(mpsc::Sender<Message>);

impl Door {
    async fn ask(&self, request: Request) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let operation = Operation { request, begin_by: Instant::now() + BEGIN_DEADLINE, reply };
        self.0.try_send(Message::Operation(Box::new(operation))).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => unavailable(format!("{QUEUE_MAX} writes wait already")),
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }

    async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.0.send(Message::Close(reply)).await.is_ok() {
            // An error means the lane ended already.
            drop(closed.await);
        }
    }
}

/// One task's state.
#[derive(Debug)]
struct Lane {
    server: Server,
    turn: Option<Turn>,
    inbox: mpsc::Receiver<Message>,
    announcer: Announcer,
    marks: Marks,
}

/// Why a batch was not written.
#[derive(Debug)]
struct Failed {
    fault: Fault,
    /// Whether its transaction had begun: then a new connection may do better.
    begun: bool,
}

impl Lane {
    /// Runs until the door is gone or closed.
    async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH_MAX);
        let mut closing = Vec::new();
        while self.inbox.recv_many(&mut messages, BATCH_MAX).await > 0 {
            let mut operations = Vec::with_capacity(messages.len());
            for message in messages.drain(..) {
                match message {
                    Message::Operation(operation) => operations.push(*operation),
                    Message::Close(reply) => {
                        self.inbox.close();
                        closing.push(reply);
                    }
                }
            }
            self.commit(in_time(operations)).await;
        }
        for reply in closing {
            // Whoever asked may be gone.
            let _ = reply.send(());
        }
    }

    /// Commits the operations and answers each of them, however long ago they were asked for.
    async fn commit(&mut self, operations: Vec<Operation>) {
        if operations.is_empty() {
            return;
        }
        let requests: Vec<&Request> = operations.iter().map(|operation| &operation.request).collect();
        let mut tries = 1;
        let fault = loop {
            match self.attempt(&requests).await {
                Ok(answers) => {
                    if answers.iter().any(Answer::makes_work) {
                        self.announcer.ask();
                    }
                    for (operation, answer) in operations.into_iter().zip(answers) {
                        drop(operation.reply.send(Ok(answer)));
                    }
                    return;
                }
                Err(failed) if failed.may_be_tried_again() && tries < TRIES_MAX => {
                    tracing::debug!(error = %failed.fault, "a batch is written anew");
                    tries += 1;
                }
                Err(failed) => break failed.fault,
            }
        };
        if fault.kind == FaultKind::Refused && operations.len() > 1 {
            // One of them cannot be done: find out which, so that it fails alone.
            for operation in operations {
                Box::pin(self.commit(vec![operation])).await;
            }
        } else {
            for operation in operations {
                drop(operation.reply.send(Err(fault.clone().into_error())));
            }
        }
    }

    async fn attempt(&mut self, requests: &[&Request]) -> Result<Vec<Answer>, Failed> {
        let mut dead = 0;
        loop {
            let transacting = self.server.begin_unsent(Begin::Write(self.turn)).await;
            let mut transacting = transacting.map_err(|fault| Failed { fault, begun: false })?;
            let mut ran = batch::run(&mut transacting.connection(), requests).await;
            if ran.is_ok() {
                ran = transacting.settle().await.and(ran);
            }
            match ran {
                Ok(answers) => return self.end(transacting).await.map(|()| answers),
                // A restart of the server kills every connection; after a failover all of them may lead to one that only reads.
                Err(fault)
                    if fault.kind.ends_connection()
                        && !transacting.has_begun()
                        && dead <= CONNECTIONS_MAX =>
                {
                    dead += 1;
                }
                Err(fault) => {
                    let begun = transacting.has_begun();
                    if !fault.kind.ends_connection() {
                        transacting.roll_back().await;
                    }
                    return Err(Failed { fault, begun });
                }
            }
        }
    }

    /// Commits what was written; looks whether it is, where nobody answers.
    async fn end(&mut self, mut transacting: Transacting) -> Result<(), Failed> {
        let mark = self.marks.next();
        transacting.later(&mark.set(), None);
        match transacting.commit().await {
            Err(fault) if fault.kind == FaultKind::Broken => {
                let is_written = mark.is_set(&self.server).await;
                if is_written.map_err(|fault| Failed { fault, begun: false })? {
                    return Ok(());
                }
                Err(Failed { fault, begun: true })
            }
            ended => ended.map_err(|fault| Failed { fault, begun: true }),
        }
    }
}

impl Failed {
    fn may_be_tried_again(&self) -> bool {
        self.fault.kind == FaultKind::Again || (self.begun && self.fault.kind.ends_connection())
    }
}

/// Leaves out whom nobody waits for, and refuses those whose time is over.
fn in_time(operations: Vec<Operation>) -> Vec<Operation> {
    let now = Instant::now();
    let (late, open): (Vec<_>, Vec<_>) = operations
        .into_iter()
        .filter(|operation| !operation.reply.is_closed())
        .partition(|operation| operation.begin_by <= now);
    for operation in late {
        drop(operation.reply.send(Err(unavailable("the writes before it took too long"))));
    }
    open
}

#[expect(clippy::disallowed_methods, reason = "tracked by its handle, which `Store::close` waits for")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}
