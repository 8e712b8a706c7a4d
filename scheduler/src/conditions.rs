//! What people are told when it begins and when it ends: no runner can spawn agents, a source of webhooks is silent.
//!
//! What was told is in the database, so that a restart tells nothing again and forgets no end.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::alert::{Alert, clip};
use domain::{NodeId, Timestamp};

use crate::moves::error_chain;
use crate::shared::Shared;

/// How often conditions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The most UTF-16 units kept of a preflight's error.
const ERROR_UNITS_MAX: usize = 300;

/// What one look tells the next.
#[derive(Debug)]
pub(crate) struct Conditions {
    started_boot_ms: i64,
    looked_boot_ms: Option<i64>,
}

/// A condition as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    name: String,
    holds: bool,
    alert: Alert,
}

/// What the preflight of a runner that speaks says: fine, or why not.
pub(crate) type Spoken = (NodeId, Result<(), String>);

impl Conditions {
    /// Begins to look at this instant of the boot clock.
    pub(crate) fn new(boot_ms: i64) -> Self {
        Self { started_boot_ms: boot_ms, looked_boot_ms: None }
    }

    /// Tells what is new; never fails its caller.
    pub(crate) async fn look(&mut self, shared: &Shared) {
        let boot_ms = shared.clock.boot_ms();
        let since_ms = |from_ms: i64| u128::try_from(boot_ms.saturating_sub(from_ms)).unwrap_or(0);
        if self.looked_boot_ms.is_some_and(|looked| since_ms(looked) < LOOK_EVERY.as_millis()) {
            return;
        }
        self.looked_boot_ms = Some(boot_ms);
        // After a start the runners speak up one by one: the first one is not all of them.
        let all_spoke = since_ms(self.started_boot_ms) >= shared.terms.unreachable.as_millis();
        if let Err(error) = tell(shared, all_spoke).await {
            tracing::warn!(error = error_chain(&error), "could not look for what people should know yet");
        }
    }
}

async fn tell(shared: &Shared, all_spoke: bool) -> Result<(), store::Error> {
    let now = shared.now();
    let known: BTreeSet<String> = shared.store.conditions().await?.into_iter().collect();
    let spoken = shared.nodes.preflights(shared.moment());
    let preflight = preflight(&spoken).filter(|finding| all_spoke || !finding.holds);
    let sources = shared.store.sources().await?;
    let silences =
        sources.iter().filter_map(|(source, at)| silence(source, *at, now, shared.webhook_silence));
    for Finding { name, holds, alert } in preflight.into_iter().chain(silences) {
        if known.contains(&name) == holds {
            continue;
        }
        let text = alert.text();
        if shared.store.set_condition(name.clone(), holds, alert, now).await? {
            tracing::warn!(condition = name, holds, text, "people are told");
            shared.alert();
        }
    }
    Ok(())
}

/// Whether agents can be spawned anywhere; unknown while no runner speaks.
fn preflight(spoken: &[Spoken]) -> Option<Finding> {
    let fine = spoken.iter().filter(|(_, said)| said.is_ok()).count();
    let error = spoken.iter().find_map(|(_, said)| said.as_ref().err());
    let count = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
    let alert = match error {
        None if spoken.is_empty() => return None,
        Some(error) if fine == 0 => {
            Alert::PreflightLost { runners: count(spoken.len()), error: clip(error, ERROR_UNITS_MAX) }
        }
        _ => Alert::PreflightBack { runners: count(fine) },
    };
    Some(Finding { name: "preflight".to_owned(), holds: fine == 0, alert })
}

/// Whether a source has been silent for longer than `limit`; unknown where silence is no alert.
fn silence(source: &str, last_at: Timestamp, now: Timestamp, limit: Duration) -> Option<Finding> {
    if limit.is_zero() {
        return None;
    }
    let (name, source) = (format!("silence/{source}"), source.to_owned());
    Some(if now.since(last_at) > limit {
        Finding { name, holds: true, alert: Alert::WebhooksSilent { source, last_at } }
    } else {
        Finding { name, holds: false, alert: Alert::WebhooksBack { source } }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(said: &[Result<(), &str>]) -> Vec<Spoken> {
        let one =
            |(n, said): (usize, &Result<(), &str>)| (NodeId(format!("n{n}")), said.map_err(str::to_owned));
        said.iter().enumerate().map(one).collect()
    }

    #[test]
    fn a_preflight_is_lost_when_no_runner_that_speaks_has_it() {
        assert_eq!(preflight(&[]), None);
        let lost = preflight(&spoken(&[Err("not found"), Err("exit 1")])).unwrap();
        assert_eq!(lost.alert, Alert::PreflightLost { runners: 2, error: "not found".to_owned() });
        assert!(lost.holds);
        let back = preflight(&spoken(&[Err("not found"), Ok(()), Ok(())])).unwrap();
        assert_eq!((back.holds, back.alert), (false, Alert::PreflightBack { runners: 2 }));
        assert_eq!(back.name, lost.name);
    }

    #[test]
    fn silence_begins_after_the_limit_and_may_be_switched_off() {
        let (at, day) = (Timestamp::from_ms(5_000), Duration::from_hours(24));
        let holds = |after| silence("gitea", at, at.plus(after), day).map(|finding| finding.holds);
        assert_eq!(holds(day), Some(false));
        assert_eq!(holds(day + Duration::from_millis(1)), Some(true));
        assert_eq!(silence("gitea", at, at.plus(day * 9), Duration::ZERO), None);
    }
}
