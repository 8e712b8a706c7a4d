//! Brings a database to this program's schema, in a transaction that processes starting at once respect.

use super::connection::{Connection, Statement, query};
use crate::{Error, Schema};

/// Every migration, the first one first; its number is its place, from 1.
const MIGRATIONS: &[Statement] = &[Statement {
    sqlite: include_str!("../../../../migrations/sqlite/0001_jobs_and_runs.sql"),
    postgres: include_str!("../../../../migrations/postgres/0001_jobs_and_runs.sql"),
}];

/// The schema of this program.
pub(crate) fn needed() -> i64 {
    numbered().map(|(number, _)| number).last().unwrap_or(0)
}

fn numbered() -> impl Iterator<Item = (i64, Statement)> {
    (1..).zip(MIGRATIONS.iter().copied())
}

/// Reads the schema of a database; 0 for an empty one.
///
/// # Errors
/// [`Error::Setup`] when the database is some other program's.
pub(crate) async fn read(conn: &mut Connection<'_>) -> Result<Schema, Error> {
    let tables = query!("schema_present").fetch_one(conn).await?;
    let (tables, ours): (i64, i64) = (tables.try_get(0)?, tables.try_get(1)?);
    let found = match (tables, ours) {
        (0, _) => 0,
        (_, 0) => return Err(Error::Setup(conn.belongs_to_another().into())),
        _ => query!("schema_read").fetch_one(conn).await?.try_get(0)?,
    };
    Ok(Schema { found, needed: needed() })
}

/// Refuses a schema that this program must not use.
pub(crate) fn check(schema: Schema) -> Result<(), Error> {
    let Schema { found, needed } = schema;
    match found.cmp(&needed) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(Error::Newer { found, known: needed }),
        std::cmp::Ordering::Less => Err(Error::Older { found, needed }),
    }
}

/// Applies what is missing; the caller's transaction makes it all or nothing.
pub(crate) async fn apply_missing(conn: &mut Connection<'_>) -> Result<(), Error> {
    let found = read(conn).await?.found;
    if found > needed() {
        return Err(Error::Newer { found, known: needed() });
    }
    for (number, migration) in numbered().filter(|(number, _)| *number > found) {
        conn.run_statement(migration).await?;
        query!("schema_write").bind(number).execute(conn).await?;
        tracing::info!(schema = number, "applied a migration");
    }
    Ok(())
}
