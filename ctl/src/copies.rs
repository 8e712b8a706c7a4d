//! `orch backup` and `orch restore`: a copy of the SQLite database while everything runs, and the way back when all stands
//! still. They look at the database alone; logs and workspaces are files that any tool copies.

use std::path::{Path, PathBuf};

use clap::Args;
use domain::Timestamp;
use serde::Serialize;
use service::settings::DatabaseSettings;

use crate::exit::Failure;
use crate::print::Output;

/// A copy, and the database it is of or for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Copy {
    /// File of the copy
    file: PathBuf,
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Debug, Serialize)]
struct BackedUp<'a> {
    file: &'a Path,
    bytes: u64,
    jobs: u64,
    database_generation: i64,
}

#[derive(Debug, Serialize)]
struct Restored {
    database: String,
    jobs: u64,
    database_generation: i64,
    /// Where what was there before lies now.
    kept: Option<PathBuf>,
}

/// `orch backup FILE`.
pub(crate) async fn backup(ask: &Copy, output: Output) -> Result<(), Failure> {
    let copy = store::backup(ask.database.database_url.expose(), &ask.file).await?;
    let report = BackedUp {
        file: &ask.file,
        bytes: copy.bytes,
        jobs: copy.jobs,
        database_generation: copy.generation,
    };
    output.show(&report, |_| {
        format!("{} holds {} jobs, {} bytes, and is whole\n", ask.file.display(), report.jobs, report.bytes)
    })
}

/// `orch restore FILE`.
pub(crate) async fn restore(ask: &Copy, output: Output, now: Timestamp) -> Result<(), Failure> {
    let restored = store::restore(&ask.file, ask.database.database_url.expose(), now).await?;
    let report = Restored {
        database: ask.database.database_url.to_string(),
        jobs: restored.backup.jobs,
        database_generation: restored.generation,
        kept: restored.kept,
    };
    output.show(&report, |_| {
        let kept = report.kept.as_ref().map_or_else(String::new, |kept| {
            format!("what was there before is kept as {}\n", kept.display())
        });
        format!(
            "{} holds {} jobs of {} now, as generation {}\n{kept}start the services: nothing is claimed for one lease, until \
             every agent of before is gone\n",
            report.database,
            report.jobs,
            ask.file.display(),
            report.database_generation
        )
    })
}
