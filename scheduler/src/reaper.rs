//! Once a second, and when a lease expires or a node has been silent for too long: ends such runs and writes what became of
//! nodes. It waits for nothing else, for people were promised when; what can wait a moment is [`crate::upkeep`]'s.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::job::LiveRunState;
use domain::transition::{Conclusion, LostHow};
use domain::{Alert, Event, silence};
use futures::future::join_all;
use tokio::time::MissedTickBehavior;

use crate::lease::LiveRun;
use crate::moves::{Report, error_chain, move_job};
use crate::shared::Shared;
use crate::{dispatch, renewals};

/// How often a tick that did nothing is noted.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// Runs until the tasks are stopped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    let every = shared.look_every();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut noted_boot_ms = None;
    loop {
        let is_tick = tokio::select! {
            biased;
            () = token.cancelled() => break,
            _ = ticks.tick() => true,
            () = look_due(&shared, every) => false,
        };
        let work = async {
            look(&shared).await;
            if is_tick && shared.leads() {
                note(&shared, &mut noted_boot_ms).await;
            }
        };
        let _ = token.run_until_cancelled(work).await;
    }
}

/// Returns when a node becomes unreachable or a lease expires, if that is before the next tick.
async fn look_due(shared: &Shared, every: Duration) {
    let (boot_ms, lease) = (shared.clock.boot_ms(), shared.terms.scheduler);
    let mut instants = shared.nodes.changes(boot_ms);
    instants.extend(shared.runs.book(|book| book.expiries(lease).filter(|at| *at > boot_ms).min()));
    let wait = silence::until_next_look(boot_ms, every, instants);
    if wait >= every {
        return std::future::pending().await;
    }
    tokio::time::sleep(wait).await;
}

/// Writes which nodes are silent, and ends the runs whose lease is over.
async fn look(shared: &Arc<Shared>) {
    let heard = renewals::listen(shared).await;
    let boot_ms = shared.clock.boot_ms();
    // First, for people were promised when.
    save_nodes(shared, boot_ms).await;
    match heard {
        Ok(()) if shared.leads() => expire(shared, boot_ms).await,
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(
                error = error_chain(&error),
                "could not read what other schedulers heard: no lease ends now"
            );
        }
    }
}

/// Says in the database that it looked: at once when it did something, else every few seconds.
async fn note(shared: &Shared, noted_boot_ms: &mut Option<i64>) {
    let (boot_ms, reaped) = (shared.clock.boot_ms(), shared.reaped.load(Ordering::Relaxed));
    let since_ms = noted_boot_ms.map_or(i64::MAX, |noted| boot_ms.saturating_sub(noted));
    if reaped == 0 && u128::try_from(since_ms).unwrap_or(0) < NOTE_EVERY.as_millis() {
        return;
    }
    match shared.store.note_tick(shared.now(), reaped).await {
        Ok(()) => {
            shared.reaped.fetch_sub(reaped, Ordering::Relaxed);
            *noted_boot_ms = Some(boot_ms);
        }
        Err(error) => tracing::warn!(error = error_chain(&error), "could not note a tick yet"),
    }
}

async fn expire(shared: &Shared, boot_ms: i64) {
    // What was being offered while the word came in, or could not be written then.
    for (node, last) in shared.nodes.declared_lost() {
        shared.runs.book(|book| book.lose(&node, last));
    }
    let put_off = shared.runs.book(|book| book.spare(shared.terms.scheduler, boot_ms));
    if put_off > 0 {
        shared.instruments.stalls.inc(&[]);
        tracing::error!(
            runs = put_off,
            lease_s = shared.terms.scheduler.as_secs(),
            "leases of many nodes ran out at once, which smells of a stall of this host or its network: \
             they are spared for one more lease and then given up"
        );
        let alert = Alert::MassExpiry {
            runs: u32::try_from(put_off).unwrap_or(u32::MAX),
            lease_s: shared.terms.scheduler.as_secs(),
        };
        match shared.store.push_alerts(vec![alert], shared.now()).await {
            Ok(()) => shared.alert(),
            Err(error) => tracing::error!(error = error_chain(&error), "could not tell people of it"),
        }
    }
    for (run, how) in shared.runs.book(|book| book.expire(shared.terms.scheduler, boot_ms)) {
        end_lost(shared, &run, how).await;
    }
}

/// Ends a run that nobody can bring back: a started one is lost, an offer is withdrawn.
///
/// Its lease is marked already, so whoever holds it is fenced meanwhile; what cannot be written now is written at a
/// later tick.
pub(crate) async fn end_lost(shared: &Shared, run: &LiveRun, how: LostHow) {
    let event = match run.state {
        LiveRunState::Offered => Event::Withdrawn { run: run.run, why: "unconfirmed" },
        LiveRunState::Started => Event::Ended { run: run.run, conclusion: Conclusion::Lost { how } },
    };
    let renewals = if how == LostHow::LeaseExpired { renewals::seen(shared, run.run) } else { None };
    // Nobody reports how such a run ended: this is all that its history will ever say.
    let evidence = match run.state {
        LiveRunState::Offered => format!("{} did not confirm it", run.node),
        LiveRunState::Started => format!("{how} ({})", run.node),
    };
    let report = Report { renewals, evidence: Some(evidence), ..Report::default() };
    match move_job(shared, run.job, &event, report).await {
        Ok(_) => {
            shared.reaped.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(job.id = %run.job, run.id = %run.run, runner = %run.node, how = how.as_str(), "run given up");
        }
        Err(error) if error.is_late() => dispatch::settle(shared, run).await,
        Err(error) => {
            tracing::warn!(run.id = %run.run, error = error_chain(&error), "could not give up a run yet");
        }
    }
}

async fn save_nodes(shared: &Shared, boot_ms: i64) {
    let leads = shared.leads();
    // Side by side, so that they share a commit.
    let saves = shared.nodes.unsaved(shared.neighbours, leads, boot_ms).into_iter().map(async |node| {
        shared.store.save_node(node.clone()).await.map(|()| shared.nodes.saved(node, boot_ms))
    });
    if let Some(error) = join_all(saves).await.into_iter().find_map(Result::err) {
        tracing::warn!(error = error_chain(&error), "could not write the runners' rows yet");
    }
}
