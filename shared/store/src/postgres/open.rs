//! Opening: the server, what it must be set to, and the schema.

use std::str::FromStr as _;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::sync::Mutex;

use super::lanes::Lanes;
use super::logs::PostgresLogs;
use super::transaction::{Begin, CONNECTION_WAIT_MAX, CONNECTIONS_MAX, Server};
use super::{PostgresDatabase, mark};
use crate::sql::fault::unavailable;
use crate::sql::schema;
use crate::{Access, Error};

/// The oldest server that the statements are written for.
const VERSION_MIN: i64 = 130_000;

impl PostgresDatabase {
    /// Opens the database that `url` names; see [`crate::open()`].
    pub(crate) async fn open(url: &str, access: Access) -> Result<Self, Error> {
        let server = server(url)?;
        let logs = Arc::new(PostgresLogs::new(server.clone()));
        let mut database = Self { server, logs, lanes: None, tasks: Mutex::new(Vec::new()) };
        if access == Access::Write {
            check_server(&database.server).await?;
            migrate(&database.server).await?;
            mark::tidy(&database.server).await?;
            let (lanes, tasks) = Lanes::start(&database.server);
            database.lanes = Some(lanes);
            database.tasks = Mutex::new(tasks);
        }
        Ok(database)
    }
}

/// Connects when first asked, so that a reader may start before the database is there.
pub(super) fn server(url: &str) -> Result<Server, Error> {
    let options = PgConnectOptions::from_str(url).map_err(|error| {
        Error::Setup(format!("the database url is none: {error}: use postgres://USER:PASSWORD@HOST/NAME"))
    })?;
    let options = options
        .application_name("orch")
        // A proxy hands the connection to somebody else after each transaction.
        .statement_cache_capacity(0)
        .extra_float_digits(None)
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECTION_WAIT_MAX)
        .test_before_acquire(false)
        .connect_lazy_with(options.clone());
    Ok(Server { pool, options })
}

/// Refuses a server on which a promise would not hold.
pub(super) async fn check_server(server: &Server) -> Result<(), Error> {
    let mut reader = server.begin(Begin::Read).await?;
    let row = reader.fetch_one(include_str!("sql/server_settings.sql")).await?;
    reader.commit().await?;
    let (version, encoding): (i64, String) = (row.try_get("version")?, row.try_get("encoding")?);
    if version < VERSION_MIN {
        return Err(Error::Setup(format!(
            "PostgreSQL {} is too old: use {} or newer",
            version / 10_000,
            VERSION_MIN / 10_000
        )));
    }
    if encoding != "UTF8" {
        return Err(Error::Setup(format!(
            "the database holds text as {encoding}: create one with ENCODING 'UTF8'"
        )));
    }
    if row.try_get::<bool, _>("standby")? {
        return Err(unavailable("the server is a standby that only reads: connect to the primary"));
    }
    if row.try_get::<String, _>("synchronous_commit")? == "off" {
        return Err(Error::Setup(
            "synchronous_commit is off, so a crash would lose what was accepted: \
             ALTER DATABASE … SET synchronous_commit = on"
                .into(),
        ));
    }
    if row.try_get::<String, _>("fsync")? == "off" {
        tracing::warn!("fsync is off on the PostgreSQL server: a crash of its host loses what was accepted");
    }
    Ok(())
}

/// Applies what is missing, all of it or nothing, while others that start wait.
pub(super) async fn migrate(server: &Server) -> Result<(), Error> {
    let mut reader = server.begin(Begin::Read).await?;
    let found = schema::read(&mut reader.connection()).await?;
    reader.commit().await?;
    if let Ok(()) | Err(Error::Newer { .. }) = schema::check(found) {
        return schema::check(found);
    }
    let mut transacting = server.begin(Begin::Migrate).await?;
    schema::apply_missing(&mut transacting.connection()).await?;
    Ok(transacting.commit().await?)
}
