//! A connection past the store, for what only a person with `psql` could do.

use std::str::FromStr as _;

use postgres_server::Database;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _};

pub(crate) async fn connect(database: &Database) -> PgConnection {
    PgConnectOptions::from_str(&database.url()).unwrap().disable_statement_logging().connect().await.unwrap()
}

/// A connection to a database that no constraint holds back any more.
pub(crate) async fn force(database: &Database) -> PgConnection {
    let mut conn = connect(database).await;
    let drop_all = "DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conrelid::regclass AS tab, conname FROM pg_constraint
                 WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
        LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.tab, c.conname); END LOOP; END $$";
    execute(&mut conn, drop_all).await.unwrap();
    conn
}

/// Runs statements; the refusal's text when PostgreSQL refuses.
pub(crate) async fn execute(conn: &mut PgConnection, sql: &str) -> Result<(), String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await;
    done.map(|_| ()).map_err(|error| error.to_string())
}

pub(crate) async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap().try_get(0).unwrap()
}
