//! The one writer of a process: a thread that drains a channel and commits many operations in one transaction.
//!
//! A reply goes out only after COMMIT. An operation that cannot begin before its deadline is answered
//! `Unavailable`, and so is every operation of a batch that could not be committed: nothing of it was written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::checkpoint::Checkpoints;
use super::direct::Direct;
use super::turnstile::Turnstile;
use crate::Error;
use crate::sql::batch;
use crate::sql::connection::Connection;
use crate::sql::fault::{Fault, FaultKind, unavailable};
use crate::sql::request::{Answer, Request};

/// Operations that may wait; one more is refused at once.
const QUEUE_MAX: usize = 4_096;
/// Operations committed together.
const BATCH_MAX: usize = 256;
/// How long an operation may wait before it is begun: with a turn's wait still below the 5 s after which Gitea hangs
/// up, so that ingest's 503 is heard.
pub(super) const BEGIN_DEADLINE: Duration = Duration::from_secs(3);

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
    /// Finish a checkpoint while nobody writes.
    Checkpoint(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// The writer's door. It ends when the last door is dropped or one of them is closed.
#[derive(Clone, Debug)]
pub(super) struct Door(mpsc::Sender<Message>);

/// A door that does not keep the writer alive.
#[derive(Debug)]
pub(super) struct WeakDoor(mpsc::WeakSender<Message>);

impl Door {
    pub(super) async fn ask(&self, request: Request) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let begin_by = Instant::now() + BEGIN_DEADLINE;
        let operation = Message::Operation(Box::new(Operation { request, begin_by, reply }));
        self.0.try_send(operation).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => unavailable(format!("{QUEUE_MAX} writes wait already")),
            mpsc::error::TrySendError::Closed(_) => Error::Closed,
        })?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Waits until everything asked before is answered and the connection is closed.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.0.send(Message::Close(reply)).await.is_ok() {
            // An error means the writer ended already.
            drop(closed.await);
        }
    }

    pub(super) fn downgrade(&self) -> WeakDoor {
        WeakDoor(self.0.downgrade())
    }
}

impl WeakDoor {
    /// Has the writer finish a checkpoint; false when it is gone.
    pub(super) async fn finish_checkpoint(&self) -> bool {
        let Some(door) = self.0.upgrade() else {
            return false;
        };
        let (reply, done) = oneshot::channel();
        let sent = door.send(Message::Checkpoint(reply)).await.is_ok();
        drop(door);
        sent && done.await.is_ok()
    }
}

/// Makes a writer around an open connection; the caller runs it.
pub(super) fn writer(
    path: &Path,
    conn: Direct,
    turnstile: Turnstile,
    checkpoints: Arc<Checkpoints>,
) -> (Door, Writer) {
    let (door, inbox) = mpsc::channel(QUEUE_MAX);
    (Door(door), Writer { path: path.into(), conn: Some(conn), turnstile, checkpoints, inbox })
}

/// The thread's state.
#[derive(Debug)]
pub(super) struct Writer {
    path: Box<Path>,
    /// None after a failure that leaves it in an unknown state.
    conn: Option<Direct>,
    turnstile: Turnstile,
    checkpoints: Arc<Checkpoints>,
    inbox: mpsc::Receiver<Message>,
}

impl Writer {
    /// Runs until the doors are gone or one is closed.
    pub(super) async fn run(mut self) {
        let mut messages = Vec::with_capacity(BATCH_MAX);
        let mut closing = Vec::new();
        while self.inbox.recv_many(&mut messages, BATCH_MAX).await > 0 {
            let turn = self.turnstile.enter().await;
            // What came while another process wrote goes along.
            while messages.len() < BATCH_MAX
                && let Ok(message) = self.inbox.try_recv()
            {
                messages.push(message);
            }
            let (mut operations, mut checkpoints) = (Vec::with_capacity(messages.len()), Vec::new());
            for message in messages.drain(..) {
                match message {
                    Message::Operation(operation) => operations.push(*operation),
                    Message::Checkpoint(reply) => checkpoints.push(reply),
                    Message::Close(reply) => {
                        self.inbox.close();
                        closing.push(reply);
                    }
                }
            }
            if !operations.is_empty() {
                self.commit(operations).await;
                self.checkpoints.nudge();
            }
            if !checkpoints.is_empty() {
                self.finish_checkpoint().await;
                answer_done(checkpoints);
            }
            drop(turn);
        }
        if let Some(conn) = self.conn.take()
            && let Err(error) = conn.close()
        {
            tracing::warn!(%error, "could not close the database cleanly");
        }
        self.checkpoints.end();
        answer_done(closing);
    }

    /// Commits the operations and answers each of them.
    async fn commit(&mut self, operations: Vec<Operation>) {
        let Some(operations) = self.begin(operations) else {
            return;
        };
        let requests: Vec<&Request> = operations.iter().map(|operation| &operation.request).collect();
        match self.finish(&requests).await {
            Ok(answers) => {
                for (operation, answer) in operations.into_iter().zip(answers) {
                    drop(operation.reply.send(Ok(answer)));
                }
            }
            // One of them cannot be done: find out which, so that it fails alone.
            Err(fault) if fault.kind == FaultKind::Refused && operations.len() > 1 => {
                for operation in operations {
                    Box::pin(self.commit(vec![operation])).await;
                }
            }
            Err(fault) => answer_all(operations, &fault),
        }
    }

    /// Takes SQLite's write lock; answers the operations whose time is over, `None` when none is left.
    fn begin(&mut self, mut operations: Vec<Operation>) -> Option<Vec<Operation>> {
        let mut last: Option<Fault> = None;
        loop {
            let now = Instant::now();
            let (expired, open): (Vec<_>, Vec<_>) = operations
                .into_iter()
                .filter(|operation| !operation.reply.is_closed())
                .partition(|operation| operation.begin_by <= now);
            for operation in expired {
                let error = last
                    .clone()
                    .map_or_else(|| unavailable("the writes before it took too long"), Fault::into_error);
                drop(operation.reply.send(Err(error)));
            }
            if open.is_empty() {
                return None;
            }
            operations = open;
            match self.try_begin() {
                Ok(()) => return Some(operations),
                Err(fault) if fault.kind == FaultKind::Locked => last = Some(fault),
                Err(fault) => {
                    self.forget_connection(&fault);
                    answer_all(operations, &fault);
                    return None;
                }
            }
        }
    }

    fn try_begin(&mut self) -> Result<(), Fault> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            empty @ None => empty.insert(Direct::open(&self.path)?),
        };
        conn.execute("BEGIN IMMEDIATE", &[])?;
        Ok(())
    }

    /// Runs and commits a begun batch, or rolls all of it back.
    async fn finish(&mut self, requests: &[&Request]) -> Result<Vec<Answer>, Fault> {
        let Some(conn) = &mut self.conn else {
            return Err(Fault::refused("a batch without a connection"));
        };
        let result = match batch::run(&mut Connection::Direct(conn), requests).await {
            Ok(answers) => conn.execute("COMMIT", &[]).map(|_| answers).map_err(Fault::from),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = &result {
            // Fails where SQLite rolled back by itself, as it does on some I/O errors and on a full disk.
            drop(conn.execute("ROLLBACK", &[]));
            let fault = fault.clone();
            self.forget_connection(&fault);
        }
        result
    }

    /// A connection that failed in an unknown way is opened anew before the next batch.
    fn forget_connection(&mut self, fault: &Fault) {
        if fault.kind == FaultKind::Broken {
            tracing::warn!(error = %fault, "the database connection failed, opening another one");
            self.conn = None;
        }
    }

    async fn finish_checkpoint(&mut self) {
        if let Some(conn) = &mut self.conn {
            self.checkpoints.finish(conn).await;
        }
    }
}

/// Whoever asked may be gone.
fn answer_done(replies: Vec<oneshot::Sender<()>>) {
    for reply in replies {
        let _ = reply.send(());
    }
}

fn answer_all(operations: Vec<Operation>, fault: &Fault) {
    for operation in operations {
        drop(operation.reply.send(Err(fault.clone().into_error())));
    }
}
