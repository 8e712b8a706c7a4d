//! The semantic keys of jobs that the pipeline starts: two causes of one fact have one key, so that it starts one job.

use crate::JobId;

/// The key of the job that does `stage` for a commit: an advance and the webhook that announces the same commit have it
/// both, and whoever comes first makes the job.
pub fn head_key(project: &str, work_item: &str, stage: &str, head: &str) -> String {
    format!("head:{project}:{work_item}:{stage}:{head}")
}

/// The key of the job that does `stage` because of something that was said of a commit, such as a test's result: of the
/// family of [`head_key`], and one for each `event`.
pub fn said_key(project: &str, work_item: &str, stage: &str, head: &str, event: &str) -> String {
    format!("{}:{event}", head_key(project, work_item, stage, head))
}

/// What the keys of all jobs of a project begin with that are made because of a commit.
pub fn head_family(project: &str) -> String {
    format!("head:{project}:")
}

/// The key of what follows from a job where another job, of an earlier round, has `key` already.
pub fn after_existing(key: &str, parent: JobId) -> String {
    format!("{key}:after:{parent}")
}

/// The key of what follows from the end of a job: a job ends for good once.
pub fn after_key(stage: &str, parent: JobId) -> String {
    format!("after:{parent}:{stage}")
}
