//! `orch migrate`: brings the database to this program's schema, as ingest and the scheduler do at their start; or moves all
//! there is from SQLite to PostgreSQL while everything stands still.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use domain::Timestamp;
use serde::Serialize;
use service::settings::{DatabaseSettings, DatabaseUrl};
use store::{Access, Violation};

use crate::exit::Failure;
use crate::print::Output;

/// Which database, or from where to where.
#[derive(Args, Clone, Debug)]
pub(crate) struct Migrate {
    #[command(flatten)]
    database: DatabaseSettings,
    /// Move everything out of this database, such as `sqlite://orch-data/orch.db`; nothing may use it meanwhile
    #[arg(long, value_name = "URL", requires = "to")]
    from: Option<DatabaseUrl>,
    /// Move everything into this empty database, such as `postgres://orch@db/orch`
    #[arg(long, value_name = "URL", requires = "from")]
    to: Option<DatabaseUrl>,
    /// Folder of the runs' logs, which go into the database too
    #[arg(long, env = "ORCH_LOG_DIR", value_name = "PATH", default_value = "orch-data/logs")]
    log_dir: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    database: String,
    before: i64,
    now: i64,
}

#[derive(Debug, Serialize)]
struct Moved {
    from: String,
    to: String,
    /// Rows, by table.
    tables: BTreeMap<String, u64>,
    logs: u64,
    log_bytes: u64,
    database_generation: i64,
    /// Rows that break an invariant in the new place.
    violations: usize,
}

/// `orch migrate`.
pub(crate) async fn run(ask: &Migrate, output: Output, now: Timestamp) -> Result<(), Failure> {
    if let (Some(from), Some(to)) = (&ask.from, &ask.to) {
        return transfer(from, to, ask, output, now).await;
    }
    let settings = &ask.database;
    let url = settings.database_url.expose();
    let before = schema_found(url).await;
    let store = store::open(url, Access::Write).await?;
    let schema = store.schema().await;
    store.close().await;
    let report = Report { database: settings.database_url.to_string(), before, now: schema?.found };
    output.show(&report, |_| match report.before {
        0 => format!("{} is created with schema {}\n", report.database, report.now),
        before if before == report.now => format!("{} has schema {before} already\n", report.database),
        before => format!("{} went from schema {before} to {}\n", report.database, report.now),
    })
}

async fn transfer(
    from: &DatabaseUrl,
    to: &DatabaseUrl,
    ask: &Migrate,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let logs = |run| Box::new(scheduler::saved_log(&ask.log_dir, run)) as store::SavedLog;
    let moved = store::transfer(from.expose(), to.expose(), now, &logs).await?;
    let broken = violations(to.expose()).await?;
    let report = Moved {
        from: from.to_string(),
        to: to.to_string(),
        tables: moved.tables,
        logs: moved.logs,
        log_bytes: moved.log_bytes,
        database_generation: moved.generation,
        violations: broken.len(),
    };
    output.show(&report, |_| {
        let rows: u64 = report.tables.values().sum();
        format!(
            "{} holds {rows} rows of {} tables and {} logs of {} now, as generation {}\n{} is left paused: start the services \
             with ORCH_DATABASE_URL set to the new place\n",
            report.to,
            report.tables.len(),
            report.logs,
            report.from,
            report.database_generation,
            report.from,
        )
    })?;
    match broken.first() {
        None => Ok(()),
        Some(Violation { invariant, detail }) => Err(Failure::No(format!(
            "{} rows break an invariant, the first of them {invariant}: {detail}; `orch doctor` names them all",
            broken.len()
        ))),
    }
}

/// What `orch doctor` would find broken.
async fn violations(url: &str) -> Result<Vec<Violation>, store::Error> {
    let store = store::open(url, Access::Read).await?;
    let violations = store.violations().await;
    store.close().await;
    violations
}

/// The schema before; 0 when there is no database, or none that can be read.
async fn schema_found(url: &str) -> i64 {
    let Ok(store) = store::open(url, Access::Read).await else { return 0 };
    let found = store.schema().await.map_or(0, |schema| schema.found);
    store.close().await;
    found
}
