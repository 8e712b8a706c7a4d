//! Values the rules are told with.

use std::sync::Arc;
use std::time::Duration;

use domain::admission::{Facts, NodeFacts, ProjectLimits, Serial};
use domain::delivery::{About, NewDelivery, NewJob, Payload};
use domain::job::Origin;
use domain::steps::{PullRequest, StepFacts, StepFault, StepKind, StepState};
use domain::transition::{Conclusion, Event};
use domain::{
    Account, Chance, Class, Incarnation, Job, JobId, NodeId, Outcome, PermanentReason, Policy, RunId,
    Timestamp, TransientReason,
};
use store::{Applied, Change, ClaimRequest, Claimed, Start, Store};
use uuid::Uuid;

pub(crate) const T0: Timestamp = Timestamp::from_ms(1_795_317_438_042);

pub(crate) fn later(ms: u64) -> Timestamp {
    T0.plus(Duration::from_millis(ms))
}

pub(crate) fn job(work_item: &str) -> NewJob {
    NewJob {
        project: "shop".into(),
        work_item: work_item.into(),
        stage: "review".into(),
        role: "reviewer".into(),
        priority: 0,
        available_at: T0,
        semantic_key: None,
        payload: Payload { title: Some(format!("Fix {work_item}")), ..Payload::default() },
        trace_context: None,
        origin: Origin::default(),
        about: About::default(),
        budgets: domain::Budgets::default(),
    }
}

pub(crate) fn keyed(work_item: &str, key: &str) -> NewJob {
    NewJob { semantic_key: Some(key.into()), ..job(work_item) }
}

/// A delivery whose body hash is made from one letter.
pub(crate) fn delivery(id: &str, body: char, jobs: Vec<NewJob>) -> NewDelivery {
    NewDelivery {
        source: "gitea".into(),
        delivery_id: id.into(),
        event: "push".into(),
        body_sha256: body.to_string().repeat(64),
        received_at: T0,
        jobs,
        sightings: Vec::new(),
    }
}

pub(crate) fn limits(serial: Serial) -> ProjectLimits {
    ProjectLimits { concurrency_max: None, serial, ..ProjectLimits::default() }
}

/// A fleet of one node with `slots`, and one project that lets everything run side by side.
pub(crate) fn fleet(slots: u32) -> Facts {
    Facts {
        paused: false,
        concurrency_max: slots,
        projects: [("shop".to_owned(), limits(Serial::None))].into(),
        stages: [("review".to_owned(), None)].into(),
        nodes: vec![NodeFacts {
            node: NodeId("node-a".into()),
            incarnation: Incarnation(3),
            account: Account("default".into()),
            slots,
            tier: domain::containment::Tier::Sealed,
            blocked: None,
            blocked_until: None,
        }],
        ..Facts::default()
    }
}

pub(crate) fn fresh_run() -> RunId {
    RunId(Uuid::now_v7())
}

pub(crate) fn request(now: Timestamp, facts: Facts, count: usize) -> ClaimRequest {
    let run_ids = std::iter::repeat_with(fresh_run).take(count).collect();
    ClaimRequest { now, facts, run_ids, policy: Policy::default() }
}

pub(crate) async fn claim(store: &Arc<dyn Store>, now: Timestamp, facts: Facts, count: usize) -> Claimed {
    store.claim(request(now, facts, count)).await.unwrap()
}

/// Enqueues one job and claims it.
pub(crate) async fn one_running(store: &Arc<dyn Store>) -> Start {
    store.enqueue(job("SHOP-1"), T0).await.unwrap();
    let mut claimed = claim(store, T0, fleet(4), 1).await;
    claimed.starts.remove(0)
}

pub(crate) async fn read(store: &Arc<dyn Store>, id: JobId) -> Job {
    store.job(id).await.unwrap().unwrap()
}

/// What `domain` says of `event` on the job as it was read.
pub(crate) fn change(job: &Job, event: &Event, now: Timestamp) -> Change {
    let transition = domain::next(job, event, now, &Policy::default(), Chance::new(0.5)).unwrap();
    Change::new(transition, now)
}

/// Reads the job, decides and writes.
pub(crate) async fn happen(store: &Arc<dyn Store>, id: JobId, event: &Event, now: Timestamp) -> Applied {
    let job = read(store, id).await;
    store.apply(change(&job, event, now)).await.unwrap()
}

pub(crate) fn ended(run: RunId, class: Class) -> Event {
    Event::Ended { run, conclusion: Conclusion::Judged { class } }
}

pub(crate) fn usage_limit(until: Timestamp) -> Class {
    Class::Transient { reason: TransientReason::UsageLimit, retry_at: Some(until) }
}

pub(crate) fn failure(reason: PermanentReason) -> Class {
    Class::Permanent { reason }
}

pub(crate) fn outcome() -> Outcome {
    let report = domain::outcome::AgentReport {
        usage: domain::run::RunUsage {
            session_id: Some("0b6f".into()),
            cost_usd: Some(0.25),
            turns: Some(7),
            input_tokens: Some(1_200),
            output_tokens: Some(340),
            cache_read_tokens: Some(900),
            api_retries: 2,
        },
        ..domain::outcome::AgentReport::default()
    };
    Outcome {
        ended_by: domain::outcome::EndedBy::Agent,
        exit: Some(domain::outcome::Exit::Code(0)),
        report,
        tail: "all \"done\"\n\\ \u{1f980}".into(),
        log_bytes: 4_096,
        spawned_at: Some(later(20)),
        ended_at: later(900),
        steps: vec![StepFacts {
            step: StepKind::PullRequest,
            state: StepState::Failed { fault: StepFault::ForgeRefused },
            evidence: "\"no\" \u{1f980}".into(),
            branch: Some("orch/SHOP-1".into()),
            head: Some("1".repeat(40)),
            pull_request: Some(PullRequest { repo: "acme/shop".into(), number: 12, url: "http://x".into() }),
            began_at: later(900),
            ended_at: later(950),
        }],
    }
}
