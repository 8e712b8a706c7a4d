//! Asks Plane and Gitea for what no webhook announced, and tells it to the store as the webhook would have.
//!
//! What it reads becomes the body of the webhook that should have come and goes the same way through `events`, so that a
//! late webhook finds its job, and a webhook that came first leaves nothing to tell. How far it read is in the database;
//! two of these at once, or one that is restarted in the middle, are harmless. It is gentle: a round asks a bounded number
//! of times, goes on next time where it stopped, and waits as long as it is told to.

mod asking;
mod branches;
mod gitea;
mod gone;
mod plane;
mod tell;
mod visit;

use std::sync::Arc;
use std::time::Duration;

use domain::Timestamp;
use domain::alert::Alert;
use domain::pipeline::Project;
use domain::reconcile::Cursor;
use service::outbound::Outbound;

use self::asking::{Asking, Stop};
use crate::moves::error_chain;
use crate::outbox::call::Caller;
use crate::shared::Shared;

/// The most requests of a round, of all projects of a source together: Plane lets a key ask sixty times a minute, and
/// what is reported there asks, too.
const REQUESTS_MAX: u32 = 30;
/// How soon after the start the first round is, at most.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// The part of the interval by which a round may be early or late, so that many do not ask at once.
const JITTER: f64 = 0.1;
/// Changes as old as this before what is known are read again: a replica may lag, and clocks of one sender differ.
const OVERLAP: Duration = Duration::from_mins(2);
/// What happened outside longer ago than this, and nobody knows of, starts nothing.
const NEWS_WITHIN: Duration = Duration::from_hours(30 * 24);
/// How long what was seen is kept at least, once nobody needs it: far longer than it would be news.
const KEPT_FOR: Duration = Duration::from_hours(90 * 24);
/// The most that is forgotten at once, so that no other write waits for it.
const PRUNED_MAX: u32 = 500;
/// How often is looked for what may be forgotten.
const PRUNE_EVERY: Duration = Duration::from_hours(1);
/// The rounds in a row that may fail before people are told.
const FAILURES_MAX: u32 = 3;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Plane,
    Gitea,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plane => "plane",
            Self::Gitea => "gitea",
        }
    }

    /// The name of its listing in the database.
    const fn listing(self) -> &'static str {
        match self {
            Self::Plane => "plane.issues",
            Self::Gitea => "gitea.pull_requests",
        }
    }
}

/// Starts a loop for each forge that is configured.
pub(crate) fn spawn(shared: &Arc<Shared>, outbound: Option<&Outbound>) {
    let Some(outbound) = outbound.filter(|_| !shared.reconcile_interval.is_zero()) else { return };
    let tasks = &shared.tasks;
    if let Some(access) = shared.reporting.plane() {
        let caller = Caller::new(access.clone(), outbound.clone(), "x-api-key", access.secret.expose());
        tasks.spawn("reconcile-plane", run(shared.clone(), Source::Plane, caller));
    }
    if let Some(access) = shared.reporting.gitea() {
        let token = format!("token {}", access.secret.expose());
        let caller = Caller::new(access.clone(), outbound.clone(), "authorization", &token);
        tasks.spawn("reconcile-gitea", run(shared.clone(), Source::Gitea, caller));
    }
}

/// What one round tells the next.
#[derive(Debug, Default)]
struct Rounds {
    failures: u32,
    /// When something was last found that no webhook announced.
    missed_at: Option<Timestamp>,
    /// When there was last nothing more to forget.
    pruned_at: Option<Timestamp>,
    /// The project whose turn it is, when the last round could not ask for all.
    turn: usize,
}

async fn run(shared: Arc<Shared>, source: Source, caller: Caller) {
    let token = shared.tasks.token();
    let mut rounds = Rounds { missed_at: Some(shared.now()), ..Rounds::default() };
    let mut wait = shared.reconcile_interval.min(FIRST_WITHIN).mul_f64(shared.random.fraction());
    while token.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        if !shared.leads() {
            wait = shared.reconcile_interval.min(FIRST_WITHIN);
            continue;
        }
        let Some(asked_to_wait) =
            token.run_until_cancelled(Box::pin(rounds.round(&shared, source, &caller))).await
        else {
            return;
        };
        let jitter = 1.0 - JITTER + 2.0 * JITTER * shared.random.fraction();
        wait = shared.reconcile_interval.mul_f64(jitter).max(asked_to_wait.unwrap_or_default());
    }
}

impl Rounds {
    /// One round; gives how long the other side asks to be left alone.
    async fn round(&mut self, shared: &Arc<Shared>, source: Source, caller: &Caller) -> Option<Duration> {
        let mut asking = Asking::new(caller, REQUESTS_MAX);
        let mut found = 0;
        let ended = self.projects(shared, source, &mut asking, &mut found).await;
        if found > 0 {
            tracing::warn!(source = source.as_str(), changes = found, "found what no webhook announced");
        }
        if let Err(error) = self.tell_missed(shared, source, found).await {
            tracing::warn!(error = error_chain(&error), "could not tell people of missed webhooks yet");
        }
        let (wait, error) = match ended {
            Ok(()) | Err(Stop::Enough) => (None, None),
            Err(Stop::Limited(wait)) => (Some(wait), None),
            Err(Stop::Failed(error)) => (None, Some(error)),
            Err(Stop::Store(error)) => {
                tracing::warn!(error = error_chain(&error), "could not reconcile yet");
                return None;
            }
        };
        self.tell_blind(shared, source, error).await;
        if let Err(error) = self.prune(shared).await {
            tracing::warn!(error = error_chain(&error), "could not forget what nobody needs yet");
        }
        wait
    }

    /// Forgets a little of what nobody needs any more; the next round goes on where there is more.
    async fn prune(&mut self, shared: &Shared) -> Result<(), store::Error> {
        let now = shared.now();
        if self.pruned_at.is_some_and(|at| now.since(at) < PRUNE_EVERY) {
            return Ok(());
        }
        let pipeline = shared.pipeline.get();
        let projects = pipeline.projects.iter().map(|project| project.name.clone()).collect();
        let forgotten = shared.store.prune_outside(projects, now.minus(KEPT_FOR), PRUNED_MAX).await?;
        if forgotten < u64::from(PRUNED_MAX) {
            self.pruned_at = Some(now);
        }
        Ok(())
    }

    /// Each project has its turn; the first one to ask for changes from round to round, so that none starves.
    async fn projects(
        &mut self,
        shared: &Arc<Shared>,
        source: Source,
        asking: &mut Asking<'_>,
        found: &mut u32,
    ) -> Result<(), Stop> {
        let pipeline = shared.pipeline.get();
        let projects: Vec<&Project> = pipeline.projects.iter().collect();
        if projects.is_empty() {
            return Ok(());
        }
        let first = self.turn % projects.len();
        self.turn = first + 1;
        let (before, after) = projects.split_at(first);
        for project in after.iter().chain(before) {
            match source {
                Source::Plane => plane::project(shared, project, asking, found).await?,
                Source::Gitea => gitea::project(shared, project, asking, found).await?,
            }
        }
        Ok(())
    }

    /// People are told once that webhooks are missing, and once that they arrive again.
    async fn tell_missed(&mut self, shared: &Shared, source: Source, found: u32) -> Result<(), store::Error> {
        let (name, now) = (format!("missed/{}", source.as_str()), shared.now());
        let word = source.as_str().to_owned();
        if found > 0 {
            self.missed_at = Some(now);
            let alert = Alert::WebhooksMissed { source: word, changes: found };
            return self.set(shared, name, true, alert).await;
        }
        if !shared.store.conditions().await?.contains(&name) {
            return Ok(());
        }
        // Quiet is no proof: a webhook has to have come since.
        let heard = shared.store.sources().await?.into_iter().find(|(source, _)| *source == word);
        if heard.is_some_and(|(_, at)| self.missed_at.is_none_or(|missed| at > missed)) {
            self.set(shared, name, false, Alert::WebhooksBack { source: word }).await?;
        }
        Ok(())
    }

    /// A reconciler that cannot read is told of, too.
    async fn tell_blind(&mut self, shared: &Shared, source: Source, error: Option<String>) {
        let name = format!("reconcile/{}", source.as_str());
        let word = source.as_str().to_owned();
        let told = if let Some(error) = error {
            self.failures = self.failures.saturating_add(1);
            tracing::warn!(source = word, error, "could not ask for what no webhook announced");
            if self.failures < FAILURES_MAX {
                return;
            }
            self.set(shared, name, true, Alert::ReconcilerBlind { source: word, error }).await
        } else {
            self.failures = 0;
            self.set(shared, name, false, Alert::ReconcilerSees { source: word }).await
        };
        if let Err(error) = told {
            tracing::warn!(error = error_chain(&error), "could not tell people of the reconciler yet");
        }
    }

    async fn set(
        &self,
        shared: &Shared,
        name: String,
        holds: bool,
        alert: Alert,
    ) -> Result<(), store::Error> {
        if shared.store.conditions().await?.contains(&name) != holds
            && shared.store.set_condition(name, holds, alert, shared.now()).await?
        {
            shared.alert();
        }
        Ok(())
    }
}

/// Whether something that nobody knows of is new: it happened after `baseline`, and not too long ago.
fn is_new(at: Option<Timestamp>, baseline: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_some_and(|at| baseline.is_some_and(|baseline| at > baseline) && now.since(at) <= NEWS_WITHIN)
}

/// How far the listing of a project was read.
async fn cursor(shared: &Shared, source: Source, project: &Project) -> Result<Cursor, Stop> {
    Ok(shared.store.cursor(source.listing(), &project.name).await?.unwrap_or_default())
}

async fn save(shared: &Shared, source: Source, project: &Project, cursor: &Cursor) -> Result<(), Stop> {
    save_listing(shared, source.listing(), project, cursor).await
}

async fn save_listing(
    shared: &Shared,
    listing: &str,
    project: &Project,
    cursor: &Cursor,
) -> Result<(), Stop> {
    Ok(shared.store.save_cursor(listing.to_owned(), project.name.clone(), cursor.clone()).await?)
}
