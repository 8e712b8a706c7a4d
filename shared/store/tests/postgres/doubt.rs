//! A COMMIT that nobody answers: what became of it is found out, and nothing is lost, doubled or told of that is not there.
//!
//! Between the store and the server stands a proxy that reads whole messages, and does with the first COMMIT after a write what a
//! test wants.

#![expect(clippy::disallowed_methods, reason = "what a test starts ends with its runtime")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::JobId;
use postgres_server::{Database, Server, Stop};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use store::{Access, Store};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::contract::values::{T0, claim, fleet, job};
use super::{fresh, open, raw};

const SOCKET: &str = ".s.PGSQL.5432";
/// What a client says that asks for TLS, before it says hello: PostgreSQL's number for it.
const ENCRYPTED: u32 = 80_877_103;

/// What a test does with a COMMIT that was not passed on.
struct Held {
    /// To the server, which has heard of the transaction all but its end.
    message: Vec<u8>,
    up: OwnedWriteHalf,
    down: OwnedReadHalf,
}

/// The way to the server: what is asked for is done to one COMMIT of a job, all else is passed on.
struct Way {
    folder: TempDir,
    armed: Arc<AtomicBool>,
    held: mpsc::UnboundedReceiver<(Held, oneshot::Sender<()>)>,
}

impl Way {
    fn to(server: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let (asking, held) = mpsc::unbounded_channel();
        let (server, armed) = (server.join(SOCKET), Arc::new(AtomicBool::new(false)));
        let ours = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), Arc::clone(&ours), asking.clone()));
            }
        });
        Self { folder, armed, held }
    }

    async fn store(&self, database: &Database) -> Arc<dyn Store> {
        let url = database.url();
        let (before, after) = url.split_once("host=").unwrap();
        let (_, rest) = after.split_once('&').unwrap();
        let url = format!("{before}host={}&{rest}", self.folder.path().display());
        store::open(&url, Access::Write).await.unwrap()
    }

    /// The next COMMIT that writes a job; whoever sent it waits until the answer is dropped, and then finds its connection gone.
    async fn commit(&mut self) -> (Held, oneshot::Sender<()>) {
        self.held.recv().await.unwrap()
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

/// One connection. The answers have a task of their own.
async fn pass(
    client: UnixStream,
    server: PathBuf,
    armed: Arc<AtomicBool>,
    hold: mpsc::UnboundedSender<(Held, oneshot::Sender<()>)>,
) {
    let Ok(up) = UnixStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = up.into_split();
    let (stop, mut stopped) = oneshot::channel::<()>();
    let answers = tokio::spawn(async move {
        let mut some = vec![0; 1 << 16];
        loop {
            tokio::select! {
                _ = &mut stopped => return Some((from_server, to_client)),
                read = from_server.read(&mut some) => match read {
                    Ok(count) if count > 0 => to_client.write_all(&some[..count]).await.ok()?,
                    Ok(_) | Err(_) => return None,
                },
            }
        }
    });
    let mut is_first = true;
    while let Some(message) = message(&mut from_client, is_first).await {
        is_first = is_first && message[4..8] == ENCRYPTED.to_be_bytes();
        if is_end_of_a_job(&message) && armed.swap(false, Ordering::SeqCst) {
            drop(stop);
            let Ok(Some((down, to_client))) = answers.await else { return };
            let (done, wait) = oneshot::channel();
            let _ = hold.send((Held { message, up: to_server, down }, done));
            let _ = wait.await;
            drop((from_client, to_client));
            return;
        }
        if to_server.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// A whole message: those before the hello has been said have no letter that says their kind.
async fn message(from: &mut OwnedReadHalf, is_first: bool) -> Option<Vec<u8>> {
    let mut message = vec![0; if is_first { 4 } else { 5 }];
    from.read_exact(&mut message).await.ok()?;
    let length = message[message.len() - 4..].try_into().map(u32::from_be_bytes).ok()? as usize;
    let begun = message.len();
    message.resize(begun + length - 4, 0);
    from.read_exact(&mut message[begun..]).await.ok()?;
    Some(message)
}

fn is_end_of_a_job(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    text.contains("COMMIT") && text.contains("INSERT INTO jobs ")
}

impl Held {
    async fn pass_on(&mut self) {
        self.up.write_all(&self.message).await.unwrap();
    }

    /// What the server says to it.
    async fn hear(&mut self) -> String {
        let mut said = vec![0; 1 << 16];
        let count = self.down.read(&mut said).await.unwrap();
        String::from_utf8_lossy(&said[..count]).into_owned()
    }
}

async fn number(database: &Database, question: &'static str) -> i64 {
    raw::number(&mut raw::connect(database).await, question).await
}

/// A job on its way whose COMMIT a test holds.
struct InDoubt {
    store: Arc<dyn Store>,
    enqueued: tokio::task::JoinHandle<JobId>,
    commit: Held,
    /// Ends its connection.
    done: oneshot::Sender<()>,
    _way: Way,
}

async fn in_doubt(database: &Database) -> InDoubt {
    let mut way = Way::to(&folder(database));
    let store = way.store(database).await;
    way.arm();
    let theirs = Arc::clone(&store);
    let enqueued = tokio::spawn(async move { theirs.enqueue(job("A"), T0).await.unwrap().job });
    let (commit, done) = way.commit().await;
    InDoubt { store, enqueued, commit, done, _way: way }
}

/// Has every transaction that writes a job wait at its end, for as long as the connection lives.
async fn latch(database: &Database) -> PgConnection {
    let mut conn = raw::connect(database).await;
    let latch = "SELECT pg_advisory_lock(42);
        CREATE FUNCTION latch() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER latch AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION latch()";
    raw::execute(&mut conn, latch).await.unwrap();
    conn
}

/// Waits until there is something to count.
async fn until_some(database: &Database, question: &'static str) {
    while number(database, question).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const AT_THE_LATCH: &str =
    "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 42";

/// The job is there once, and whoever asked for it was told of it.
async fn is_there_once(
    database: &Database,
    store: &Arc<dyn Store>,
    enqueued: tokio::task::JoinHandle<JobId>,
) {
    let id = enqueued.await.unwrap();
    assert!(store.job(id).await.unwrap().is_some());
    assert_eq!(number(database, "SELECT count(*) FROM jobs").await, 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_happened_is_told_and_not_written_again() {
    let database = Server::shared().database();
    let InDoubt { store, enqueued, mut commit, done, _way } = in_doubt(&database).await;
    commit.pass_on().await;
    assert!(commit.hear().await.contains("COMMIT"));
    drop(done);
    is_there_once(&database, &store, enqueued).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_lost_is_written_anew() {
    let database = Server::shared().database();
    let InDoubt { store, enqueued, commit, done, _way } = in_doubt(&database).await;
    drop((commit, done));
    is_there_once(&database, &store, enqueued).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_comes_too_late_no_longer_happens() {
    let database = Server::shared().database();
    let InDoubt { store, enqueued, mut commit, done, _way } = in_doubt(&database).await;
    drop(done);
    until_some(&database, "SELECT count(*) FROM marks WHERE NOT is_set").await;
    commit.pass_on().await;
    let said = commit.hear().await;
    assert!(said.contains("marks_pkey"), "{said}");
    is_there_once(&database, &store, enqueued).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_under_way_is_waited_for() {
    let database = Server::shared().database();
    let InDoubt { store, enqueued, mut commit, done, _way } = in_doubt(&database).await;
    let latch = latch(&database).await;
    commit.pass_on().await;
    until_some(&database, AT_THE_LATCH).await;
    drop(done);
    // Nothing is answered while the transaction may still end either way.
    let denies = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'";
    until_some(&database, denies).await;
    latch.close().await.unwrap();
    let said = commit.hear().await;
    assert!(said.contains("COMMIT"), "{said}");
    is_there_once(&database, &store, enqueued).await;
}

/// The server crashes with the transaction, and what it forgot of it, such as its id, it gives to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_a_crash_took_is_not_taken_for_what_others_wrote_after_it() {
    let server = Arc::new(Server::start(true));
    let database = server.database();
    let InDoubt { store, enqueued, mut commit, done, _way } = in_doubt(&database).await;
    let latch = latch(&database).await;
    // What is in the log already keeps its number.
    raw::execute(&mut raw::connect(&database).await, "CHECKPOINT").await.unwrap();
    commit.pass_on().await;
    until_some(&database, AT_THE_LATCH).await;
    server.stop(Stop::Kill);
    drop(latch);
    server.start_again();
    let mut other = raw::connect(&database).await;
    for _ in 0..50 {
        raw::execute(&mut other, "UPDATE meta SET paused = paused").await.unwrap();
    }
    drop((commit, done));
    is_there_once(&database, &store, enqueued).await;
    let again = open(&database).await;
    assert_eq!(again.overview(T0).await.unwrap().counts.queued, 1);
    again.close().await;
}

/// A scheduler that finds nothing to claim asks again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_wrote_nothing_leaves_no_mark() {
    let (database, store) = fresh().await;
    let marks = "SELECT count(*) FROM marks";
    let before = number(&database, marks).await;
    assert!(claim(&store, T0, fleet(4), 1).await.starts.is_empty());
    assert_eq!(number(&database, marks).await, before);
    store.enqueue(job("A"), T0).await.unwrap();
    assert_eq!(number(&database, marks).await, before + 1);
    store.close().await;
}

/// Where the server's socket is.
fn folder(database: &Database) -> PathBuf {
    let url = database.url();
    let (_, after) = url.split_once("host=").unwrap();
    after.split('&').next().unwrap().into()
}
