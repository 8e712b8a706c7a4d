//! Migrates a file, in one transaction that two processes starting at once respect.

use sqlx::SqliteConnection;

use crate::Error;
use crate::sql::connection::Connection;
use crate::sql::schema;

/// Applies what is missing, all of it or nothing.
pub(super) async fn migrate(conn: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    let result = schema::apply_missing(&mut Connection::Sqlite(conn)).await;
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::query(end).execute(conn).await;
    result?;
    ended?;
    Ok(())
}
