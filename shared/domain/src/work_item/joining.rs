//! Two causes of one piece of work: a job that is not made because one that is not over does the same for the same commit.
//!
//! The pipeline's own advance and a webhook, such as a test's result, may both ask for one stage of one commit. While a job
//! for it waits or runs, whichever comes second joins it; what comes after its end is news, and makes a job of its own. Two
//! webhooks are two causes: of those, each starts its stage once (DESIGN.md section 9).

use super::key::head_family;
use crate::delivery::NewJob;
use crate::job::JobKind;
use crate::{Job, JobId, JobState};

/// Whether `job` is made because of a commit, so that it may join another one.
pub fn is_of_commit(job: &NewJob) -> bool {
    let family = head_family(&job.project);
    job.origin.head.is_some()
        && job.origin.kind == JobKind::Stage
        && job.semantic_key.as_deref().is_some_and(|key| key.starts_with(&family))
}

/// The job that `job` joins: the oldest of `others` that does its stage for its commit and whose end nobody asked for.
/// `others` are jobs of the same work item and stage that were made because of a commit, too.
pub fn joined<'a>(job: &NewJob, others: impl IntoIterator<Item = &'a Job>) -> Option<JobId> {
    if !is_of_commit(job) {
        return None;
    }
    let is_advance = job.origin.parent.is_some();
    let does_the_same = |other: &&Job| {
        let is_other_cause = is_advance || other.origin.parent.is_some();
        let is_same_work = other.origin.kind == JobKind::Stage && other.origin.head == job.origin.head;
        is_other_cause && is_same_work && goes_on(&other.state)
    };
    others.into_iter().filter(does_the_same).map(|other| other.id).min()
}

/// Whether what is asked of it will be done. One that is asked to end will say nothing.
const fn goes_on(state: &JobState) -> bool {
    match state {
        JobState::Queued { .. } => true,
        JobState::Running { cancel_requested_at, .. } => cancel_requested_at.is_none(),
        JobState::Done { .. } | JobState::Failed { .. } | JobState::Cancelled { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{after_key, head_key, said_key};
    use super::*;
    use crate::delivery::{About, Payload};
    use crate::job::{LiveRunState, Origin};
    use crate::{Budgets, Epoch, RunId, Timestamp};

    const H1: &str = "1111111111111111111111111111111111111111";

    fn new(key: &str) -> NewJob {
        NewJob {
            project: "shop".to_owned(),
            work_item: "SHOP-1".to_owned(),
            stage: "testing".to_owned(),
            role: "tester".to_owned(),
            priority: 0,
            available_at: Timestamp::from_ms(1),
            semantic_key: Some(key.to_owned()),
            payload: Payload::default(),
            trace_context: None,
            origin: Origin { head: Some(H1.to_owned()), ..Origin::default() },
            about: About::default(),
            budgets: Budgets::default(),
        }
    }

    fn job(id: i64, head: &str, state: JobState) -> Job {
        let new = new("");
        Job {
            id: JobId(id),
            project: new.project,
            work_item: new.work_item,
            stage: new.stage,
            role: new.role,
            priority: 0,
            budgets: Budgets::default(),
            epoch: Epoch::default(),
            revision: 0,
            state,
            created_at: new.available_at,
            updated_at: new.available_at,
            trace_context: None,
            origin: Origin { head: Some(head.to_owned()), parent: Some(JobId(0)), ..Origin::default() },
        }
    }

    fn running(asked_to_end: bool) -> JobState {
        JobState::Running {
            run: RunId(uuid::Uuid::nil()),
            run_state: LiveRunState::Started,
            cancel_requested_at: asked_to_end.then_some(Timestamp::from_ms(2)),
        }
    }

    #[test]
    fn the_oldest_that_goes_on_for_the_same_commit_is_joined() {
        let at = Timestamp::from_ms(1);
        let others = [
            job(1, H1, JobState::Done { finished_at: at }),
            job(2, H1, JobState::Cancelled { finished_at: at }),
            job(3, H1, running(true)),
            job(4, &H1.replace('1', "2"), JobState::Queued { available_at: at }),
            job(6, H1, JobState::Queued { available_at: at }),
            job(5, H1, running(false)),
        ];
        for key in [head_key("shop", "SHOP-1", "testing", H1), said_key("shop", "x", "testing", H1, "ci:1")] {
            assert_eq!(joined(&new(&key), &others), Some(JobId(5)), "{key}");
            assert_eq!(joined(&new(&key), &others[..4]), None, "{key}");
        }
    }

    #[test]
    fn two_webhooks_are_two_causes() {
        let by_webhook = |id| Job {
            origin: Origin { parent: None, ..job(id, H1, running(false)).origin },
            ..job(id, H1, running(false))
        };
        let key = said_key("shop", "x", "testing", H1, "ci:1");
        let (told, advanced) = (new(&key), Origin { parent: Some(JobId(1)), ..new(&key).origin });
        assert_eq!(joined(&told, &[by_webhook(5)]), None);
        assert_eq!(joined(&told, &[by_webhook(5), job(6, H1, running(false))]), Some(JobId(6)));
        assert_eq!(joined(&NewJob { origin: advanced, ..told }, &[by_webhook(5)]), Some(JobId(5)));
    }

    #[test]
    fn what_was_not_made_because_of_a_commit_joins_nothing() {
        let others = [job(5, H1, running(false))];
        for key in [
            after_key("testing", JobId(1)),
            "shop:gitea.review:1:testing".to_owned(),
            "head:shop2:x".to_owned(),
        ] {
            assert_eq!(joined(&new(&key), &others), None, "{key}");
        }
        let form =
            NewJob { origin: Origin { kind: JobKind::Reformat, ..new("").origin }, ..new("head:shop:x") };
        assert_eq!(joined(&form, &others), None, "the form alone");
        let aimless = NewJob { origin: Origin::default(), ..new("head:shop:x") };
        assert_eq!(joined(&aimless, &others), None, "no commit");
    }
}
