//! Delivers what waits in the outbox: one loop for each sink, which takes what is due, sends it and settles it. At least
//! once, in order, and a sink that fails holds back no other. Alerts go out as one message (`deliver`); what the tracker
//! and the forge are told goes out one by one, each work item in its order (`forge`).
//!
//! Alerts are written by whoever decides their fact; which sinks there are is asked anew at every look, so that an
//! alert waits for its first sink and outlives the removal of one.

mod answer;
pub(crate) mod call;
mod deliver;
mod forge;
mod gitea;
mod plane;
mod reporting;
mod settings;
mod telegram;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use domain::outbox::Sink;
use http::Uri;
use service::Refused;
use service::outbound::Outbound;

pub use reporting::Reporting;
pub use settings::{AlertSettings, Sinks};

use self::deliver::Lane;
use crate::moves::error_chain;
use crate::shared::Shared;

/// Pending alerts of one sink; beyond it they are folded into one for each group, with their number.
const BACKLOG_MAX: u32 = 500;
/// How often what waits is counted, and what nobody takes is folded.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// The client that the configured sinks and forges need; none where none is needed.
///
/// # Errors
/// One of them speaks https, and this host has no certificates to check it with.
pub(crate) fn outbound(sinks: &Sinks, reporting: &Reporting) -> Result<Option<Outbound>, Refused> {
    let forges: Vec<Uri> = [reporting.plane(), reporting.gitea()]
        .into_iter()
        .flatten()
        .filter_map(|forge| forge.at("/"))
        .collect();
    let mut urls = sinks.urls().chain(&forges).peekable();
    if urls.peek().is_none() { Ok(None) } else { Outbound::new(urls).map(Some) }
}

/// Starts a loop for each sink that is configured, and one that keeps the outbox short.
pub(crate) fn spawn(shared: &Arc<Shared>, outbound: Option<&Outbound>) {
    let tasks = &shared.tasks;
    if let Some(outbound) = outbound {
        if let Some(chat) = shared.sinks.telegram() {
            let telegram = telegram::Telegram::new(chat, outbound.clone());
            tasks.spawn("telegram", deliver::run(shared.clone(), Lane::new(Sink::Telegram), telegram));
        }
        if let Some(endpoint) = shared.sinks.webhook() {
            let webhook = webhook::Webhook::new(endpoint, outbound.clone());
            tasks.spawn("alert-webhook", deliver::run(shared.clone(), Lane::new(Sink::Webhook), webhook));
        }
        if let Some(access) = shared.reporting.plane() {
            let plane = plane::Plane::new(access, outbound.clone(), shared.clock.clone());
            tasks.spawn("plane", forge::run(shared.clone(), plane, plane::judge));
        }
        if let Some(access) = shared.reporting.gitea() {
            let gitea = gitea::Gitea::new(access, outbound.clone());
            tasks.spawn("gitea", forge::run(shared.clone(), gitea, gitea::judge));
        }
    }
    if shared.sinks.has_dry_run() {
        tasks.spawn("alert-dry-run", deliver::run(shared.clone(), Lane::new(Sink::DryRun), deliver::DryRun));
    }
    tasks.spawn("outbox", tidy(shared.clone()));
}

async fn tidy(shared: Arc<Shared>) {
    let token = shared.tasks.token();
    loop {
        if shared.leads()
            && let Some(Err(error)) = token.run_until_cancelled(tidy_once(&shared)).await
        {
            tracing::warn!(error = error_chain(&error), "could not tidy the outbox yet");
        }
        if token.run_until_cancelled(tokio::time::sleep(TIDY_EVERY)).await.is_none() {
            return;
        }
    }
}

async fn tidy_once(shared: &Shared) -> Result<(), store::Error> {
    let now = shared.now();
    // A sink folds its own as it takes them; what no sink takes is folded here.
    shared.store.fold_alerts(Sink::Unrouted, BACKLOG_MAX, now).await?;
    let waiting = shared.store.sinks().await?;
    for sink in Sink::ALL {
        let pending = waiting.iter().find(|record| record.sink == sink).map_or(0, |record| record.pending);
        let pending = u32::try_from(pending).unwrap_or(u32::MAX);
        shared.instruments.outbox_pending.set(f64::from(pending), &[sink.as_str()]);
    }
    Ok(())
}
