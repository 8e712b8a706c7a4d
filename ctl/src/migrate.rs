//! `orch migrate`: brings the database to this program's schema, as ingest and the scheduler do at their start.

use serde::Serialize;
use service::settings::DatabaseSettings;
use store::Access;

use crate::exit::Failure;
use crate::print::Output;

#[derive(Debug, Serialize)]
struct Report {
    database: String,
    before: i64,
    now: i64,
}

/// `orch migrate`.
pub(crate) async fn run(settings: &DatabaseSettings, output: Output) -> Result<(), Failure> {
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

/// The schema before; 0 when there is no database, or none that can be read.
async fn schema_found(url: &str) -> i64 {
    let Ok(store) = store::open(url, Access::Read).await else { return 0 };
    let found = store.schema().await.map_or(0, |schema| schema.found);
    store.close().await;
    found
}
