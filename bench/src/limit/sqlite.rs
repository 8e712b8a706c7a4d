//! Group commit over `rusqlite`: one thread owns the connection, drains what waits, commits, answers.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};

use anyhow::Context;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::{Rows, Synchronous};

/// Ours has the same bounds.
const BATCH_MAX: usize = 256;
const QUEUE_MAX: usize = 4_096;

const SCHEMA: &str = include_str!("../../../migrations/sqlite/0001_jobs_and_runs.sql");
const DELIVERY: &str =
    "INSERT INTO deliveries (source, delivery_id, event, body_sha256, decision, job_ids, received_at)
    VALUES ('gitea', ?1, 'push', ?2, 'enqueued', ?3, ?4)";
const JOB: &str =
    "INSERT INTO jobs (project, work_item, stage, role, priority, status, due, available_at, semantic_key,
        trace_context, created_at, updated_at, own_prompt, kind, delivery, hops, head, chain)
    VALUES ('shop', ?1, 'review', 'reviewer', 0, 'queued', 1, ?2, ?3,
        '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', ?2, ?2, 0, 'stage', ?4, 0, ?5, ?4)";
const PAYLOAD: &str = "INSERT INTO job_payloads (job_id, payload) VALUES (?1, ?2)";

type Asked = (Rows, oneshot::Sender<i64>);

/// The way to the thread; it ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct GroupCommit(SyncSender<Asked>);

impl GroupCommit {
    /// Makes the database and starts the thread.
    pub(crate) fn start(path: &Path, synchronous: Synchronous) -> anyhow::Result<Self> {
        let conn = open(path, synchronous)?;
        let (sender, receiver) = mpsc::sync_channel(QUEUE_MAX);
        std::thread::spawn(move || {
            if let Err(error) = run(conn, &receiver) {
                eprintln!("the limit's group commit ended: {error}");
            }
        });
        Ok(Self(sender))
    }

    /// Writes the rows durably; gives the job's id.
    pub(crate) async fn write(&self, rows: Rows) -> Option<i64> {
        let (reply, job) = oneshot::channel();
        self.0.try_send((rows, reply)).ok()?;
        job.await.ok()
    }
}

fn run(mut conn: Connection, asked: &Receiver<Asked>) -> rusqlite::Result<()> {
    let mut replies = Vec::with_capacity(BATCH_MAX);
    while let Ok(first) = asked.recv() {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut next = Some(first);
        while let Some((rows, reply)) = next {
            replies.push((insert(&transaction, &rows)?, reply));
            next = if replies.len() < BATCH_MAX { asked.try_recv().ok() } else { None };
        }
        transaction.commit()?;
        for (job, reply) in replies.drain(..) {
            // Whoever asked may be gone.
            let _ = reply.send(job);
        }
    }
    Ok(())
}

/// The three rows, as ours writes them.
fn insert(transaction: &Transaction<'_>, rows: &Rows) -> rusqlite::Result<i64> {
    let now = now_ms();
    let key = format!("shop:push:{}:{}:review", rows.work_item, rows.head);
    let delivery = format!("gitea:{}", rows.delivery_id);
    transaction.prepare_cached(JOB)?.execute(params![rows.work_item, now, key, delivery, rows.head])?;
    let job = transaction.last_insert_rowid();
    let jobs = format!("[{job}]");
    transaction.prepare_cached(DELIVERY)?.execute(params![rows.delivery_id, rows.body_sha256, jobs, now])?;
    transaction.prepare_cached(PAYLOAD)?.execute(params![job, rows.payload])?;
    Ok(job)
}

/// A connection to a database with our schema, set up as drivers leave it but for the journal and the durability.
pub(crate) fn open(path: &Path, synchronous: Synchronous) -> anyhow::Result<Connection> {
    let conn = Connection::open(path)?;
    let synchronous = synchronous.as_str();
    conn.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA busy_timeout = 10000;
         PRAGMA cache_size = -64000; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; BEGIN; {SCHEMA} COMMIT;"
    ))
    .context("could not lay out the limit's database")?;
    Ok(conn)
}

fn now_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}
