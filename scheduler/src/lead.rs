//! Whether this scheduler leads what is done once for a whole fleet: sweeps, alerts, what is told to the outside, what is
//! asked of it. Alone by a lock it always does, and asks nobody.
//!
//! Leading saves work; whatever is led stays idempotent and guarded, so that two leaders are harmless (`domain::term`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::term::Candidate;

use crate::lease::LeaseTerms;
use crate::moves::error_chain;
use crate::renewals::Neighbours;
use crate::shared::Shared;

/// The longest a term may be: about so long nobody leads after a leader died.
const TERM_MAX: Duration = Duration::from_secs(10);
/// The parts of a scheduler's lease that a term is at most.
const TERMS_IN_A_LEASE: u32 = 4;
/// How often the row is looked at in a term: twice while the leader trusts it, and once more.
const LOOKS_IN_A_TERM: u32 = 4;
/// How long a scheduler that stops tries to say so.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What this scheduler knows of the term; none where it has no neighbours.
#[derive(Debug)]
pub(crate) struct Lead {
    candidate: Option<Mutex<Candidate>>,
    look_every: Duration,
}

impl Lead {
    /// `name` tells this start from all others.
    pub(crate) fn new(neighbours: Neighbours, name: &str, terms: &LeaseTerms) -> Self {
        let length = (terms.scheduler / TERMS_IN_A_LEASE).min(TERM_MAX);
        let candidate = match neighbours {
            Neighbours::None => None,
            Neighbours::Perhaps => Some(Mutex::new(Candidate::new(name.to_owned(), length))),
        };
        Self { candidate, look_every: length / LOOKS_IN_A_TERM }
    }

    /// Whether it leads at this instant of the boot clock.
    pub(crate) fn leads(&self, boot_ms: i64) -> bool {
        self.candidate().is_none_or(|candidate| candidate.leads(boot_ms))
    }

    fn candidate(&self) -> Option<MutexGuard<'_, Candidate>> {
        self.candidate.as_ref().map(|one| one.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Renews the term, or waits for it, until the tasks are stopped; then lets it go.
pub(crate) async fn run(shared: Arc<Shared>) {
    if shared.lead.candidate.is_none() {
        shared.instruments.leads.set(1.0, &[]);
        return;
    }
    let token = shared.tasks.token();
    let mut led = false;
    loop {
        if let Some(Err(error)) = token.run_until_cancelled(look(&shared)).await {
            tracing::debug!(error = error_chain(&error), "could not look who leads yet");
        }
        tell(&shared, &mut led);
        if token.run_until_cancelled(tokio::time::sleep(shared.lead.look_every)).await.is_none() {
            break;
        }
    }
    let left = tokio::time::timeout(LAST_WORD, leave(&shared)).await;
    if !matches!(left, Ok(Ok(()))) {
        tracing::debug!("the term is left to run out");
    }
}

fn tell(shared: &Shared, led: &mut bool) {
    let leads = shared.leads();
    shared.instruments.leads.set(f64::from(u8::from(leads)), &[]);
    if std::mem::replace(led, leads) != leads {
        tracing::info!(scheduler = shared.name, leads, "the lead of the maintenance changed");
        // Whoever delivers waits for this.
        shared.alert();
    }
}

async fn look(shared: &Shared) -> Result<(), store::Error> {
    let row = shared.store.term().await?;
    let sent_boot_ms = shared.clock.boot_ms();
    let look = |mut candidate: MutexGuard<'_, Candidate>| candidate.look(&row, sent_boot_ms, shared.now());
    let Some(next) = shared.lead.candidate().and_then(look) else { return Ok(()) };
    if shared.store.write_term(row, next).await?
        && let Some(mut candidate) = shared.lead.candidate()
    {
        candidate.written(sent_boot_ms);
    }
    Ok(())
}

async fn leave(shared: &Shared) -> Result<(), store::Error> {
    let row = shared.store.term().await?;
    let next = shared.lead.candidate().and_then(|mut candidate| candidate.leave(&row));
    if let Some(next) = next {
        shared.store.write_term(row, next).await?;
    }
    Ok(())
}
