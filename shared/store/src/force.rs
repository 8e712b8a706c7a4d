//! SQL past every rule, as a person with `sqlite3` could type it: for tests that plant impossible rows.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::Error;

/// Runs statements on a SQLite file with its constraints switched off.
///
/// # Errors
/// The file cannot be opened, or a statement is not SQL.
pub async fn execute(url: &str, sql: &str) -> Result<(), Error> {
    let path = crate::open::sqlite_path(url)?;
    let mut conn = SqliteConnectOptions::new().filename(path).foreign_keys(false).connect().await?;
    let sql = format!("PRAGMA ignore_check_constraints = ON; {sql}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}
