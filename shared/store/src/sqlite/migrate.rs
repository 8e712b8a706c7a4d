//! Brings a database to this program's schema, in one transaction that two processes starting at once respect.

use sqlx::{Row as _, SqliteConnection};

use crate::{Error, Schema};

/// Every migration, the first one first; its number is its place, from 1.
const MIGRATIONS: &[&str] = &[include_str!("../../../../migrations/sqlite/0001_jobs_and_runs.sql")];

/// The schema of this program.
pub(super) fn needed() -> i64 {
    numbered().map(|(number, _)| number).last().unwrap_or(0)
}

fn numbered() -> impl Iterator<Item = (i64, &'static str)> {
    (1..).zip(MIGRATIONS.iter().copied())
}

/// Reads the schema of a database; 0 for an empty file.
///
/// # Errors
/// [`Error::Setup`] when the file is some other program's.
pub(super) async fn schema(conn: &mut SqliteConnection) -> Result<Schema, Error> {
    let tables = sqlx::query(include_str!("sql/schema_present.sql")).fetch_one(&mut *conn).await?;
    let (tables, ours): (i64, i64) = (tables.try_get(0)?, tables.try_get(1)?);
    let found = match (tables, ours) {
        (0, _) => 0,
        (_, 0) => {
            return Err(Error::Setup(
                "the database file belongs to another program: set ORCH_DATABASE_URL to a file of its own"
                    .into(),
            ));
        }
        _ => sqlx::query(include_str!("sql/schema_read.sql")).fetch_one(conn).await?.try_get(0)?,
    };
    Ok(Schema { found, needed: needed() })
}

/// Refuses a schema that this program must not use.
pub(super) fn check(schema: Schema) -> Result<(), Error> {
    let Schema { found, needed } = schema;
    match found.cmp(&needed) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Error::Newer { found, known: needed }),
        std::cmp::Ordering::Less => Err(Error::Older { found, needed }),
    }
}

/// Applies what is missing, all of it or nothing.
pub(super) async fn migrate(conn: &mut SqliteConnection) -> Result<(), Error> {
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    let result = apply_missing(conn).await;
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = sqlx::query(end).execute(conn).await;
    result?;
    ended?;
    Ok(())
}

async fn apply_missing(conn: &mut SqliteConnection) -> Result<(), Error> {
    let found = schema(conn).await?.found;
    if found > needed() {
        return Err(Error::Newer { found, known: needed() });
    }
    for (number, migration) in numbered().filter(|(number, _)| *number > found) {
        sqlx::raw_sql(migration).execute(&mut *conn).await?;
        sqlx::query(include_str!("sql/schema_write.sql")).bind(number).execute(&mut *conn).await?;
        tracing::info!(schema = number, "applied a migration");
    }
    Ok(())
}
