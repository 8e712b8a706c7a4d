//! One job with all that its page shows: its runs, what it follows from and what followed from it, what was spent on it,
//! and what people did to it.

use domain::budget::{Purse, Scope, Spending};
use domain::{Job, JobId};
use proto::{convert, v1};
use store::{Act, ActFilter, Error, JobFilter, Store};

/// Causes shown before the job, and jobs that followed from it.
const CAUSES_MAX: usize = 20;
const FOLLOW_UPS_MAX: u32 = 20;
/// Entries of the audit shown.
const ACTS_MAX: u32 = 20;

/// A job and its surroundings.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// What `GET /jobs/{id}` answers.
    pub(crate) detail: v1::JobDetail,
    /// The jobs from whose ends it follows, the nearest first.
    pub(crate) causes: Vec<v1::Job>,
    /// The jobs that followed from its end.
    pub(crate) follow_ups: Vec<v1::Job>,
    /// What was spent on it and on its work item.
    pub(crate) spent: Vec<(Scope, String, Spending)>,
    /// What people did to it, the newest first.
    pub(crate) acts: Vec<Act>,
}

/// Reads a job; `None` when there is none of this id. What only a page shows is read for one alone.
pub(crate) async fn read(store: &dyn Store, id: &str, for_page: bool) -> Result<Option<History>, Error> {
    let Ok(number) = id.parse::<i64>() else { return Ok(None) };
    // The newest job below the next id: it comes with the reason why it waits, which a plain read does not tell.
    let newest = JobFilter { before: Some(JobId(number.saturating_add(1))), ..JobFilter::newest(1) };
    let found = store.jobs(newest).await?;
    let Some(entry) = found.into_iter().find(|entry| entry.job.id == JobId(number)) else { return Ok(None) };
    let runs = store.runs_of(entry.job.id).await?;
    let late = store.late_outcomes_of(entry.job.id).await?;
    let detail = convert::job_detail(&entry, &runs, &late);
    let history = History { detail, ..History::default() };
    if for_page { surroundings(store, &entry.job, history).await.map(Some) } else { Ok(Some(history)) }
}

async fn surroundings(store: &dyn Store, job: &Job, mut history: History) -> Result<History, Error> {
    let mut parent = job.origin.parent;
    while let Some(id) = parent.filter(|_| history.causes.len() < CAUSES_MAX) {
        let Some(cause) = store.job(id).await? else { break };
        // A cause is older than what follows from it; a row that says otherwise would lead in a circle.
        parent = cause.origin.parent.filter(|older| *older < id);
        history.causes.push(convert::job(&cause, None));
    }
    let follow_ups = store.follow_ups(job.id, FOLLOW_UPS_MAX).await?;
    history.follow_ups = follow_ups.iter().map(|job| convert::job(job, None)).collect();
    let payer = job.payer();
    let purses: Vec<Purse> = [Scope::Job, Scope::Item].map(|scope| payer.purse(scope, "")).to_vec();
    let mut kept = store.spendings(purses.clone()).await?;
    history.spent = purses
        .into_iter()
        .map(|purse| {
            let spending = kept.remove(&purse).unwrap_or_default();
            (purse.scope, purse.key, spending)
        })
        .collect();
    let of_job = ActFilter { before: None, subject: Some(job.id.to_string()), limit: ACTS_MAX };
    history.acts = store.acts(of_job).await?;
    history.acts.retain(|act| matches!(act.verb.as_str(), "cancel" | "retry"));
    Ok(history)
}
