//! Telling other processes that there may be work (NOTIFY), and hearing it (LISTEN).
//!
//! It only makes things sooner: whoever hears nothing polls. A batch announces once, after its commit and outside of its
//! transaction, since NOTIFY within it would make all commits of the database queue for one lock. LISTEN lives in a
//! session. Behind a pooling proxy the session is somebody else's next, who would be sent what we asked for: so nobody
//! listens before the connection is proven to be the server's own.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Executor as _, PgPool, Row as _};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::transaction::Server;
use crate::fleet::Heard;

/// The channel, as `sql/work_announce.sql` has it.
const CHANNEL: &str = "orch_work";
/// What `pgbouncer` says of settings that it does not know.
const PROTOCOL_VIOLATION: &str = "08P01";
/// How long a lost connection may take to be closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// The shortest time between two announcements of a process: those in between are one.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an announcement may take.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take to connect.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);
/// How long after a failure it is tried again: to connect, and to listen where a proxy was in between.
const CONNECT_AGAIN: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_mins(10);
/// A setting that a connection is begun with: the server knows it, and a proxy's server connection does not.
const MARK: &str = "orch.listener";

/// Asks for an announcement; many askings while one is under way make one more.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcer(Arc<Notify>);

impl Announcer {
    /// Something was committed that others may want to look at.
    pub(super) fn ask(&self) {
        self.0.notify_one();
    }

    /// Announces until it is cut; what cannot be announced now is found by the others' polls.
    pub(super) async fn run(self, server: Server) {
        loop {
            self.0.notified().await;
            match timeout(ANNOUNCED_WITHIN, announce(&server)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "could not announce work, polls will find it"),
                Err(_elapsed) => tracing::debug!("announcing work took too long, polls will find it"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn announce(server: &Server) -> Result<(), sqlx::Error> {
    let mut conn = server.pool.acquire().await?;
    conn.execute(sqlx::raw_sql(include_str!("sql/work_announce.sql"))).await?;
    Ok(())
}

/// Why nothing is heard any more.
#[derive(Debug, thiserror::Error)]
enum Deaf {
    #[error("could not listen to the database server")]
    Lost(#[source] sqlx::Error),
    #[error("the connection is not the database server's own, as behind a pooling proxy")]
    Proxy,
}

/// Calls `heard` at each announcement until it is cut. `direct` is the server itself, where the usual way leads through a
/// proxy.
pub(super) async fn listen(server: &Server, direct: Option<&str>, heard: &Heard) {
    let options = match direct.map(PgConnectOptions::from_str) {
        Some(Ok(options)) => options.application_name("orch").statement_cache_capacity(0),
        Some(Err(error)) => {
            tracing::warn!(%error, "ORCH_DATABASE_LISTEN_URL is no url of a PostgreSQL database: the queue is polled");
            return;
        }
        None => server.options.clone(),
    };
    let mut told = false;
    loop {
        let deaf = listen_once(options.clone(), heard).await;
        // What was announced while nobody listened.
        heard.0();
        let wait = match &deaf {
            Deaf::Lost(error) => {
                tracing::debug!(%error, "not listening for announcements now, the queue is polled");
                CONNECT_AGAIN
            }
            Deaf::Proxy => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(
                        reason = %deaf,
                        "work is found by polling alone (ORCH_QUEUE_POLL_INTERVAL): set ORCH_DATABASE_LISTEN_URL to \
                         the server itself to hear of it at once"
                    );
                }
                TRY_AGAIN
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn listen_once(options: PgConnectOptions, heard: &Heard) -> Deaf {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECTED_WITHIN)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.options([(MARK, &mark)]));
    let deaf = hear(&pool, &mark, heard).await;
    // It would wait for a connection that is lost.
    let _ = timeout(CLOSED_WITHIN, pool.close()).await;
    deaf
}

/// Listens until the connection is lost.
async fn hear(pool: &PgPool, mark: &str, heard: &Heard) -> Deaf {
    match is_the_servers_own(pool, mark).await {
        Ok(true) => {}
        Ok(false) => return Deaf::Proxy,
        Err(error) => return Deaf::Lost(error),
    }
    let mut listener = match open(pool).await {
        Ok(listener) => listener,
        Err(error) => return Deaf::Lost(error),
    };
    tracing::debug!("listening for announcements of work");
    // What was announced before.
    heard.0();
    loop {
        match listener.try_recv().await {
            Ok(Some(_)) => heard.0(),
            Ok(None) => return Deaf::Lost(sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())),
            Err(error) => return Deaf::Lost(error),
        }
    }
}

/// Whether the session knows what the connection was begun with. A proxy that refuses the setting gives an error of the
/// protocol, and is none we could listen through either.
async fn is_the_servers_own(pool: &PgPool, mark: &str) -> Result<bool, sqlx::Error> {
    let asked = sqlx::query(include_str!("sql/listener_mark.sql")).persistent(false).fetch_one(pool).await;
    match asked {
        Ok(row) => Ok(row.try_get::<Option<String>, _>(0)?.as_deref() == Some(mark)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(PROTOCOL_VIOLATION) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn open(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.ignore_pool_close_event(true);
    // A new connection would have to be proven again.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
