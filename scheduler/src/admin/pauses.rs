//! Pauses, of all starts or of those of one project or stage.

use domain::admission::Part;
use tonic::Status;

use crate::grpc::unavailable;
use crate::shared::Shared;

/// What is paused, for the audit.
pub(super) fn subject(project: Option<&str>, stage: Option<&str>) -> String {
    let named = [("project", project), ("stage", stage)];
    let named = named.iter().filter_map(|(scope, name)| Some(format!("{scope} {}", (*name)?)));
    let subject = named.collect::<Vec<_>>().join(", ");
    if subject.is_empty() { "all".to_owned() } else { subject }
}

/// Pauses or resumes. What is so already stays so; a part that `orch.toml` no longer has can still be resumed.
pub(super) async fn set(
    shared: &Shared,
    project: Option<String>,
    stage: Option<String>,
    paused: bool,
) -> Result<(), Status> {
    let part = match (project, stage) {
        (None, None) => None,
        (Some(project), None) => Some(Part::Project(project)),
        (None, Some(stage)) => Some(Part::Stage(stage)),
        (Some(_), Some(_)) => {
            return Err(Status::invalid_argument(
                "name a project or a stage, not both: each pauses all of itself",
            ));
        }
    };
    let now = shared.now();
    match part {
        None => shared.store.set_paused(paused, now).await.map_err(|error| unavailable(&error))?,
        Some(part) => {
            if paused {
                check(shared, &part)?;
            }
            shared.store.set_part_paused(part, paused, now).await.map_err(|error| unavailable(&error))?;
        }
    }
    shared.wake();
    Ok(())
}

fn check(shared: &Shared, part: &Part) -> Result<(), Status> {
    let pipeline = shared.pipeline.get();
    let known: Vec<&str> = match part {
        Part::Project(_) => pipeline.projects.iter().map(|project| project.name.as_str()).collect(),
        Part::Stage(_) => pipeline.stages.iter().map(|stage| stage.name.as_str()).collect(),
    };
    if known.contains(&part.name()) {
        return Ok(());
    }
    let (scope, name) = (part.scope(), part.name());
    Err(Status::invalid_argument(format!("unknown {scope} {name}: orch.toml has {}", known.join(", "))))
}
