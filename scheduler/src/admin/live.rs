//! What live runs are doing, and how long those of each stage may take.

use proto::v1::{ListLiveReply, LiveRun, StageTerms};

use crate::dispatch::MAX_RUNTIME;
use crate::shared::Shared;

pub(super) fn list(shared: &Shared) -> ListLiveReply {
    let pulse = |(run, phrase, at): (domain::RunId, Option<String>, domain::Timestamp)| LiveRun {
        run_id: run.to_string(),
        phrase,
        last_event_at: at.to_string(),
    };
    let stages = shared
        .pipeline
        .get()
        .stages
        .iter()
        .map(|stage| StageTerms {
            name: stage.name.clone(),
            runtime_max_seconds: stage.max_runtime.unwrap_or(MAX_RUNTIME).as_secs_f64(),
        })
        .collect();
    ListLiveReply { runs: shared.pulses.all().into_iter().map(pulse).collect(), stages }
}
