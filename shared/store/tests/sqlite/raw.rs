//! A connection past the store, for what only a person with `sqlite3` could do.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};
use tempfile::TempDir;

pub(crate) fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("data/orch.db")
}

pub(crate) async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .disable_statement_logging()
        .connect()
        .await
        .unwrap()
}

/// A connection that no constraint holds back.
pub(crate) async fn force(folder: &TempDir) -> SqliteConnection {
    let mut conn = connect(&path(folder)).await;
    execute(&mut conn, "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").await.unwrap();
    conn
}

/// Runs statements; the refusal's text when SQLite refuses.
pub(crate) async fn execute(conn: &mut SqliteConnection, sql: &str) -> Result<(), String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await;
    done.map(|_| ()).map_err(|error| error.to_string())
}

pub(crate) async fn number(conn: &mut SqliteConnection, sql: &str) -> i64 {
    sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap().try_get_unchecked(0).unwrap()
}
