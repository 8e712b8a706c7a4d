//! What the overview shows: the document of `GET /queue`, the rows that it does not list, and what the scheduler alone
//! knows of live runs.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::account::AccountRecord;
use domain::budget::{Purse, Scope, Spending, day_of};
use domain::overview::{HourTally, StageRecord};
use domain::{RunId, Status, Timestamp};
use proto::convert::{self, QueueSettings};
use proto::v1;
use store::{Error, JobFilter, Store};

/// How many running jobs a page lists.
pub(crate) const RUNNING_MAX: u32 = 100;
/// How many waiting jobs a page lists.
pub(crate) const WAITING_MAX: u32 = 25;
/// How many failed jobs are looked at for those of the last day.
const FAILED_MAX: u32 = 25;
/// How far back failed jobs ask for a person, and runs are counted.
const DAY: Duration = Duration::from_hours(24);
/// The hours before the present one that are shown.
const HOURS: Duration = Duration::from_hours(23);

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
    /// How runs ended in the last 24 hours, the present one included, the oldest hour first.
    pub(crate) hours: Vec<HourTally>,
    /// The stages of every project.
    pub(crate) stages: Vec<StageRecord>,
    /// What was spent today, by the days of UTC.
    pub(crate) today: Spending,
    /// When each webhook source was last heard of.
    pub(crate) sources: Vec<(String, Timestamp)>,
    /// Accounts on which no work starts.
    pub(crate) held: Vec<Held>,
    /// What live runs are doing, by run, and the stages in their order; or why the scheduler does not say.
    pub(crate) live: Result<Live, String>,
}

/// What the scheduler says of live runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// By run.
    pub(crate) runs: BTreeMap<String, v1::LiveRun>,
    /// In the order of `orch.toml`.
    pub(crate) stages: Vec<v1::StageTerms>,
}

impl From<v1::ListLiveReply> for Live {
    fn from(reply: v1::ListLiveReply) -> Self {
        let runs = reply.runs.into_iter().map(|run| (run.run_id.clone(), run)).collect();
        Self { runs, stages: reply.stages }
    }
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
    live: Result<Live, String>,
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
    let failed = jobs(store, Status::Failed, FAILED_MAX).await?.into_iter().filter(recent).collect();
    let held = overview.accounts.iter().filter_map(|account| held(account, now)).collect();
    let today = Purse { scope: Scope::Day, key: day_of(now) };
    Ok(Snapshot {
        queue: convert::queue(&overview, settings, now),
        running,
        waiting: jobs(store, Status::Queued, WAITING_MAX).await?,
        failed,
        hours: store.ended_since(before(now, HOURS)).await?,
        stages: store.stage_records().await?,
        today: store.spendings(vec![today.clone()]).await?.remove(&today).unwrap_or_default(),
        sources: store.sources().await?,
        held,
        live,
    })
}

/// The instant `span` before `now`.
pub(crate) fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_ms(now.as_ms() - i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

async fn jobs(store: &dyn Store, status: Status, limit: u32) -> Result<Vec<v1::Job>, Error> {
    let found = store.jobs(JobFilter { status: Some(status), ..JobFilter::newest(limit) }).await?;
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
