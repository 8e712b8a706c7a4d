//! A connection past the store, for what only a person with `psql` could do.

use std::str::FromStr as _;

use postgres_server::Database;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _};

pub(crate) async fn connect(database: &Database) -> PgConnection {
    PgConnectOptions::from_str(&database.url()).unwrap().disable_statement_logging().connect().await.unwrap()
}

/// Runs statements; the refusal's text when PostgreSQL refuses.
pub(crate) async fn execute(conn: &mut PgConnection, sql: &str) -> Result<(), String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await;
    done.map(|_| ()).map_err(|error| error.to_string())
}

pub(crate) async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap().try_get(0).unwrap()
}
