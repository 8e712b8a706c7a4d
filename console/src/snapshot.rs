//! What the pages show: the document of `GET /queue`, and the rows that it does not list.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::account::AccountRecord;
use domain::overview::RunTally;
use domain::{RunId, Status, Timestamp};
use proto::convert::{self, QueueSettings};
use proto::v1;
use store::{Error, JobFilter, Store};

/// How many running jobs a page lists.
pub(crate) const RUNNING_MAX: u32 = 100;
/// How many waiting jobs a page lists.
pub(crate) const WAITING_MAX: u32 = 50;
/// How many failed jobs are looked at for those of the last day.
const FAILED_MAX: u32 = 50;
/// How far back failed jobs ask for a person, and runs are counted.
const DAY: Duration = Duration::from_hours(24);

/// The whole, as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// What `GET /queue` answers.
    pub(crate) queue: v1::QueueReply,
    /// Running jobs with their live runs, the newest first.
    pub(crate) running: Vec<(v1::Job, Option<v1::Run>)>,
    /// Queued jobs, the newest first.
    pub(crate) waiting: Vec<v1::Job>,
    /// Jobs given up in the last day, the newest first.
    pub(crate) failed: Vec<v1::Job>,
    /// How the runs of the last day ended, the most frequent first.
    pub(crate) tallies: Vec<RunTally>,
    /// When each webhook source was last heard of.
    pub(crate) sources: Vec<(String, Timestamp)>,
    /// Accounts on which no work starts.
    pub(crate) held: Vec<Held>,
}

/// An account on which no work starts.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The account.
    pub(crate) account: String,
    /// The reason's word.
    pub(crate) reason: String,
    /// Until then; `None`: until a person resumes it.
    pub(crate) until: Option<String>,
}

/// Reads the whole.
pub(crate) async fn read(
    store: &dyn Store,
    settings: QueueSettings,
    now: Timestamp,
) -> Result<Snapshot, Error> {
    let overview = store.overview(now).await?;
    let mut runs: BTreeMap<RunId, v1::Run> = BTreeMap::new();
    for run in store.live_runs().await? {
        runs.insert(run.id, convert::run(&run, 0));
    }
    let running = jobs(store, Status::Running, RUNNING_MAX).await?;
    let of_job = |job: &v1::Job| runs.get(&convert::read_run_id(job.run_id.as_deref()?).ok()?).cloned();
    let running = running.into_iter().map(|job| (job.clone(), of_job(&job))).collect();
    let recent = |job: &v1::Job| {
        job.finished_at.as_deref().and_then(Timestamp::parse).is_some_and(|at| now.since(at) <= DAY)
    };
    let a_day_ago = Timestamp::from_ms(now.as_ms() - i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX));
    let failed = jobs(store, Status::Failed, FAILED_MAX).await?.into_iter().filter(recent).collect();
    let held = overview.accounts.iter().filter_map(|account| held(account, now)).collect();
    Ok(Snapshot {
        queue: convert::queue(&overview, settings, now),
        running,
        waiting: jobs(store, Status::Queued, WAITING_MAX).await?,
        failed,
        tallies: store.tally(a_day_ago).await?,
        sources: store.sources().await?,
        held,
    })
}

async fn jobs(store: &dyn Store, status: Status, limit: u32) -> Result<Vec<v1::Job>, Error> {
    let found = store.jobs(JobFilter { status: Some(status), before: None, limit }).await?;
    Ok(found.iter().map(|entry| convert::job(&entry.job, entry.waiting.as_ref())).collect())
}

fn held(account: &AccountRecord, now: Timestamp) -> Option<Held> {
    let hold = account.held(now)?;
    Some(Held {
        account: account.account.to_string(),
        reason: hold.reason.as_str().to_owned(),
        until: hold.until.map(|until| until.to_string()),
    })
}
