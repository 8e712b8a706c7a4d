//! A job of a work item ends: the verdict is judged against the stage's gates, and the item goes on, back, or to a person.

use super::arrival::person_chain;
use super::ci::{CI_TIMEOUT, CiWait};
use super::{
    BOUNCES_MAX, HOPS_MAX, ItemChange, ItemState, NeedsYou, Standing, Why, WorkItem, after_key, head_key,
};
use crate::budget::Exceeded;
use crate::delivery::{About, NewJob, Payload, Reformat, StageResult};
use crate::job::{JobKind, Origin};
use crate::pipeline::{Gate, Pipeline, Project, Stage};
use crate::steps::{self, StepFacts};
use crate::verdict::{Report, Verdict};
use crate::{Budgets, Job, Timestamp};

/// Everything that is known when a job of an item ends.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The item, as the store has it.
    pub item: &'a WorkItem,
    /// The job.
    pub job: &'a Job,
    /// The inputs of its prompt.
    pub payload: &'a Payload,
    /// What `orch.toml` says now.
    pub pipeline: &'a Pipeline,
    /// The instant of the end.
    pub now: Timestamp,
}

/// How a job ended, as its work item sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd<'a> {
    /// Its agent did its work and said this.
    Done {
        /// What the final message says of the work.
        verdict: Verdict,
        /// The final message.
        message: &'a str,
        /// What became of the steps after it.
        steps: &'a [StepFacts],
    },
    /// It was given up.
    Failed {
        /// What ended it, in one line.
        reason: &'a str,
    },
    /// A budget that only a person raises is spent.
    OverBudget {
        /// Which.
        exceeded: &'a Exceeded,
    },
    /// A person asked for its end, whether it succeeded before that or not.
    Cancelled,
    /// It did not end: a person had it tried again.
    Retried,
}

/// Says what the end of a job does to its item, and which job follows.
pub fn step(scene: &Scene<'_>, end: JobEnd<'_>) -> ItemChange {
    // Whatever happens next may be an echo of this job.
    let hops = scene.item.hops.max(scene.job.origin.hops + 1);
    let item = WorkItem { hops, ..scene.item.clone() };
    let scene = Scene { item: &item, ..*scene };
    match end {
        JobEnd::Done { verdict, message, steps } => {
            let change = scene.done(verdict, message, steps);
            ItemChange { aliases: scene.names_of(steps), ..change }
        }
        JobEnd::Failed { reason } => {
            scene.stop(Why::JobFailed { reason: reason.to_owned() }, scene.item.clone(), None)
        }
        // Its end was asked for because a newer commit came, and what judges that one goes on.
        JobEnd::Cancelled if scene.is_outdated() => scene.change(scene.item.clone(), None),
        JobEnd::OverBudget { exceeded } => {
            scene.stop(Why::Budget { exceeded: exceeded.clone() }, scene.item.clone(), None)
        }
        JobEnd::Cancelled => scene.rest(ItemState::Cancelled, scene.item.clone()),
        JobEnd::Retried => {
            let stage = scene.job.stage.clone();
            scene.change(WorkItem { state: ItemState::Active, stage, ..scene.item.clone() }, None)
        }
    }
}

impl Scene<'_> {
    fn done(&self, verdict: Verdict, message: &str, steps: &[StepFacts]) -> ItemChange {
        let Some(stage) = self.pipeline.stage(&self.job.stage) else {
            return self.stop(Why::StageGone, self.item.clone(), None);
        };
        let message = self.payload.reformat.as_ref().map_or(message, |reformat| reformat.message.as_str());
        // What a gate found counts, whatever the agent thinks of its work.
        let verdict = steps::findings(steps).map_or(verdict, Verdict::Fail);
        let verdict =
            if stage.judges() { verdict.bound_to(self.job.origin.head.as_deref()) } else { verdict };
        let (mut report, passed) = match verdict {
            Verdict::Pass(report) => (report, true),
            Verdict::Fail(report) => (report, false),
            Verdict::Unreadable(_) if !stage.gates.contains(&Gate::Verdict) => (Report::default(), true),
            // A person's own prompt asks for no verdict: nothing follows from what it does not say.
            Verdict::Unreadable(_) if self.payload.prompt.is_some() => {
                return self.rest(ItemState::Done, self.item.clone());
            }
            Verdict::Unreadable(cause) => {
                return match self.job.origin.kind {
                    JobKind::Stage => self.reformat(message),
                    JobKind::Reformat => self.stop(Why::Unreadable { cause }, self.item.clone(), None),
                };
            }
        };
        if let Some(newer) = self.newer_head(stage) {
            return self.again_for(stage, newer);
        }
        let pushed = steps::pushed_head(steps);
        if let Some(head) = pushed {
            report.head = Some(head.to_owned());
        }
        let result = StageResult::of(self.job, if passed { "pass" } else { "fail" }, report, message);
        if steps::is_outrun(steps) {
            return self.go_back_to(stage, Some(&stage.name), result);
        }
        if !passed {
            return self.go_back(stage, result);
        }
        let item = WorkItem { head: self.head_after(stage, &result), ..self.item.clone() };
        let change = if stage.gates.contains(&Gate::Ci) {
            self.wait_for_ci(stage, item, result)
        } else {
            self.tested(stage, item, result)
        };
        let goes_on = matches!(change.after.state, ItemState::Active | ItemState::Done);
        let is_echo = pushed.is_some() && pushed == self.item.head.as_deref();
        if goes_on && is_echo && self.item.stage != self.job.stage {
            // The webhook of what was pushed here came first and moved the item: this only confirms it.
            let after =
                WorkItem { stage: self.item.stage.clone(), state: self.item.state.clone(), ..change.after };
            return ItemChange { after, ..change };
        }
        change
    }

    /// On, once the tests of the commit passed where they are asked for.
    pub(super) fn tested(&self, stage: &Stage, item: WorkItem, result: StageResult) -> ItemChange {
        if stage.gates.contains(&Gate::Approval) {
            return self.stop(Why::Approval, item, Some(result));
        }
        self.go_on(stage, item, result)
    }

    /// The names that the forge has for what was pushed.
    fn names_of(&self, steps: &[StepFacts]) -> Vec<String> {
        let Some(pull_request) = steps::pull_request(steps) else { return Vec::new() };
        let commit = steps::pushed_head(steps).map(|head| format!("{}@{head}", pull_request.repo));
        [pull_request.key()].into_iter().chain(commit).filter(|name| *name != self.item.key).collect()
    }

    /// Whether it is a pull request that leads on from here, and somebody else has to open it.
    fn waits_for_pull_request(&self, stage: &Stage) -> bool {
        let project = self.pipeline.project(&self.job.project);
        stage.pull_request && !project.is_some_and(Project::can_push)
    }

    /// Waits for the tests of the item's commit; without a commit there are none.
    fn wait_for_ci(&self, stage: &Stage, item: WorkItem, result: StageResult) -> ItemChange {
        let Some(head) = item.head.clone() else {
            let said = "no commit is known whose tests could be waited for".to_owned();
            return self.stop(Why::Ci { said }, item, Some(result));
        };
        let until = self.now.plus(stage.ci_timeout.unwrap_or(CI_TIMEOUT));
        let wait = CiWait { job: self.job.id, stage: stage.name.clone(), head, until, result };
        self.change(WorkItem { state: ItemState::WaitsForCi(Box::new(wait)), ..item }, None)
    }

    /// On to `on_pass`, or done.
    pub(super) fn go_on(&self, stage: &Stage, item: WorkItem, result: StageResult) -> ItemChange {
        ItemChange { passed: true, ..self.after_pass(stage, item, result) }
    }

    fn after_pass(&self, stage: &Stage, item: WorkItem, result: StageResult) -> ItemChange {
        let Some(next) = stage.on_pass.as_deref().filter(|_| !self.waits_for_pull_request(stage)) else {
            return self.rest(ItemState::Done, item);
        };
        let key = item.head.as_deref().map_or_else(
            || after_key(next, self.job.id),
            |head| head_key(&item.project, &item.key, next, head),
        );
        self.start(next, key, item, result)
    }

    /// Back to `on_fail`, unless that happened too often.
    pub(super) fn go_back(&self, stage: &Stage, result: StageResult) -> ItemChange {
        self.go_back_to(stage, stage.on_fail.as_deref(), result)
    }

    fn go_back_to(&self, stage: &Stage, back: Option<&str>, result: StageResult) -> ItemChange {
        let Some(back) = back else {
            return self.stop(Why::Failed, self.item.clone(), Some(result));
        };
        let times = self.item.bounces.get(&stage.name).copied().unwrap_or(0);
        if times >= stage.max_bounces.unwrap_or(BOUNCES_MAX) {
            return self.stop(Why::Bounces { times }, self.item.clone(), Some(result));
        }
        self.bounce(stage, back, result)
    }

    pub(super) fn bounce(&self, stage: &Stage, back: &str, result: StageResult) -> ItemChange {
        let mut item = self.item.clone();
        *item.bounces.entry(stage.name.clone()).or_default() += 1;
        self.start(back, after_key(back, self.job.id), item, result)
    }

    /// Starts a stage that follows from this job.
    pub(super) fn start(&self, stage: &str, key: String, item: WorkItem, result: StageResult) -> ItemChange {
        if item.standing == Standing::Outsider {
            let label = self.pipeline.project(&item.project).and_then(|project| project.trust_label.clone());
            return self.stop(Why::Trust { to: stage.to_owned(), label }, item, Some(result));
        }
        let hops = self.job.origin.hops + 1;
        let hops_max = self.hops_max();
        if hops > hops_max {
            return self.stop(Why::Hops { times: hops_max, to: stage.to_owned() }, item, Some(result));
        }
        self.start_after(stage, key, hops, item, Some(result))
    }

    pub(super) fn start_after(
        &self,
        stage: &str,
        key: String,
        hops: u32,
        item: WorkItem,
        result: Option<StageResult>,
    ) -> ItemChange {
        let Some(stage) = self.pipeline.stage(stage) else {
            return self.stop(Why::StageGone, WorkItem { stage: stage.to_owned(), ..item }, result);
        };
        let mut origin = Origin { kind: JobKind::Stage, hops, head: item.head.clone(), ..self.origin() };
        if hops == 0 {
            // A person lets it go on: a new chain.
            origin.chain = person_chain(&item.project, &item.key, self.now);
        }
        let chain = origin.chain.clone();
        let job = self.job_of(stage, key, origin, self.payload.followed_by(result));
        self.change(
            WorkItem { stage: stage.name.clone(), state: ItemState::Active, hops, chain, ..item },
            Some(job),
        )
    }

    /// The verdict was about a commit that is no longer the item's: the stage is done anew for the newest.
    fn again_for(&self, stage: &Stage, head: String) -> ItemChange {
        let key = head_key(&self.item.project, &self.item.key, &stage.name, &head);
        let item = WorkItem { head: Some(head), ..self.item.clone() };
        self.start_after(&stage.name, key, self.job.origin.hops + 1, item, None)
    }

    /// One more turn that asks for the form alone.
    fn reformat(&self, message: &str) -> ItemChange {
        let origin = Origin { kind: JobKind::Reformat, ..self.origin() };
        let reformat = Some(Reformat::of(message));
        let payload = Payload { reformat, event: None, ..self.payload.clone() };
        let job = NewJob {
            stage: self.job.stage.clone(),
            role: self.job.role.clone(),
            semantic_key: Some(format!("reformat:{}", self.job.id)),
            ..self.new_job(origin, payload)
        };
        self.change(self.item.clone(), Some(job))
    }

    /// Nothing follows from this job; where the item is elsewhere already, that goes on.
    fn rest(&self, state: ItemState, mut item: WorkItem) -> ItemChange {
        if item.stage == self.job.stage {
            if state == ItemState::Done && !self.is_sent_back_to(&item.stage) {
                item.bounces.clear();
            }
            item.state = state;
        }
        self.change(item, None)
    }

    /// Whether a stage sends work back to this one, whose end is then no end of the round: what it made is judged again.
    fn is_sent_back_to(&self, stage: &str) -> bool {
        self.pipeline.stages.iter().any(|other| other.on_fail.as_deref() == Some(stage))
    }

    pub(super) fn stop(&self, why: Why, item: WorkItem, result: Option<StageResult>) -> ItemChange {
        let needs = NeedsYou { why, job: Some(self.job.id), stage: self.job.stage.clone(), result };
        self.change(WorkItem { state: ItemState::NeedsYou(Box::new(needs)), ..item }, None)
    }

    pub(super) fn change(&self, item: WorkItem, next: Option<NewJob>) -> ItemChange {
        // What goes on again is no longer gone.
        let ended_because = item.ended_because.filter(|_| item.state == ItemState::Cancelled);
        let after = WorkItem { ended_because, updated_at: self.now, ..item };
        ItemChange { next: next.map(Box::new), ..ItemChange::new(self.item, after) }
    }

    /// The item's commit, when it is another one than a stage that judges was asked to judge.
    fn newer_head(&self, stage: &Stage) -> Option<String> {
        let (judged, newest) = (self.job.origin.head.as_ref()?, self.item.head.as_ref()?);
        (stage.judges() && judged != newest).then(|| newest.clone())
    }

    /// The commit that the next stage works on: a stage that judges leaves it alone, another one may have made it.
    fn head_after(&self, stage: &Stage, result: &StageResult) -> Option<String> {
        let known = self.item.head.clone();
        if stage.judges() { known.or_else(|| result.head.clone()) } else { result.head.clone().or(known) }
    }

    /// Whether it judged another commit than the item's, and the newer one's turn has come or is coming.
    fn is_outdated(&self) -> bool {
        let stage = self.pipeline.stage(&self.job.stage);
        self.item.state == ItemState::Active && stage.is_some_and(|stage| self.newer_head(stage).is_some())
    }

    fn hops_max(&self) -> u32 {
        self.pipeline.project(&self.job.project).and_then(|project| project.max_hops).unwrap_or(HOPS_MAX)
    }

    fn origin(&self) -> Origin {
        Origin { parent: Some(self.job.id), replaces: None, ..self.job.origin.clone() }
    }

    fn job_of(&self, stage: &Stage, key: String, origin: Origin, payload: Payload) -> NewJob {
        NewJob {
            stage: stage.name.clone(),
            role: stage.role.clone(),
            semantic_key: Some(key),
            ..self.new_job(origin, payload)
        }
    }

    fn new_job(&self, origin: Origin, payload: Payload) -> NewJob {
        NewJob {
            project: self.job.project.clone(),
            work_item: self.job.work_item.clone(),
            stage: String::new(),
            role: String::new(),
            priority: self.job.priority,
            available_at: self.now,
            semantic_key: None,
            payload,
            trace_context: self.job.trace_context.clone(),
            origin,
            about: About::default(),
            budgets: Budgets::default(),
        }
    }
}
