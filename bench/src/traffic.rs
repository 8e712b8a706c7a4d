//! Traffic through the store's own verbs: deliveries with their jobs come, are claimed, start, end, and are forgotten.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use domain::admission::{Facts, NodeFacts, ProjectLimits, Serial};
use domain::containment::Tier;
use domain::delivery::{About, Accepted, NewDelivery, NewJob, Payload};
use domain::job::Origin;
use domain::outcome::{AgentReport, EndedBy, Exit};
use domain::retention::{Kind, Step, Terms, plan};
use domain::run::RunUsage;
use domain::transition::Conclusion;
use domain::{
    Account, Budgets, Chance, Class, Event, Incarnation, Job, NodeId, Outcome, Policy, RunId, Timestamp,
};
use futures::future::try_join_all;
use store::{Applied, Change, ClaimRequest, Store};
use tokio::time::Instant;
use uuid::Uuid;

/// Rows that each job makes at least: its delivery, itself, its payload and its run.
pub(crate) const ROWS_PER_JOB: u64 = 4;
/// Jobs looked at in a step of forgetting, and other rows.
const JOBS_PER_STEP: u32 = 400;
const ROWS_PER_STEP: u32 = 1_000;
/// Work items that the jobs belong to, in turn.
const ITEMS: u64 = 2_000;

/// How long each part of a beat took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) accept: Duration,
    pub(crate) claim: Duration,
}

/// One beat: `count` deliveries come at `now`, and as many jobs are claimed, start and are done.
pub(crate) async fn beat(
    store: &Arc<dyn Store>,
    first: u64,
    count: usize,
    now: Timestamp,
) -> anyhow::Result<Took> {
    let began = Instant::now();
    let coming = (first..).take(count).map(|number| store.accept(delivery(number, now)));
    for accepted in try_join_all(coming).await? {
        ensure!(matches!(accepted, Accepted::Enqueued { .. }), "not enqueued: {accepted:?}");
    }
    let accept = began.elapsed();

    let began = Instant::now();
    let run_ids = std::iter::repeat_with(|| RunId(Uuid::now_v7())).take(count).collect();
    let request = ClaimRequest { now, facts: fleet(count), run_ids, policy: Policy::default() };
    let starts = store.claim(request).await?.starts;
    let claim = began.elapsed();
    ensure!(starts.len() == count, "{} of {count} jobs were claimed", starts.len());

    let started = try_join_all(starts.into_iter().map(|start| async move {
        let event = Event::Confirmed { run: start.run.id };
        Ok::<_, anyhow::Error>((start.run.id, apply(store, start.job, &event, None, now).await?))
    }));
    let ends = started.await?.into_iter().map(|(run, job)| async move {
        let event = Event::Ended { run, conclusion: Conclusion::Judged { class: Class::Success } };
        apply(store, job, &event, Some(outcome(now)), now).await
    });
    try_join_all(ends).await?;
    Ok(Took { accept, claim })
}

async fn apply(
    store: &Arc<dyn Store>,
    job: Job,
    event: &Event,
    outcome: Option<Outcome>,
    now: Timestamp,
) -> anyhow::Result<Job> {
    let transition = domain::next(&job, event, now, &Policy::default(), Chance::new(0.5))?;
    let after = transition.after.clone();
    let change = Change { outcome, ..Change::new(transition, now) };
    ensure!(store.apply(change).await? == Applied::Done, "job {} moved under the benchmark", job.id);
    Ok(Job {
        state: after.state,
        budgets: after.budgets,
        epoch: after.epoch,
        revision: job.revision + 1,
        updated_at: now,
        ..job
    })
}

fn delivery(number: u64, now: Timestamp) -> NewDelivery {
    let id = Uuid::from_u128(number.into());
    let job = NewJob {
        project: "shop".into(),
        work_item: format!("SHOP-{}", number % ITEMS),
        stage: "review".into(),
        role: "reviewer".into(),
        priority: 0,
        available_at: now,
        semantic_key: Some(format!("push:shop:{id}")),
        payload: Payload { title: Some("Fix the total".repeat(20)), ..Payload::default() },
        trace_context: None,
        origin: Origin { delivery: Some(id.to_string()), ..Origin::default() },
        about: About::default(),
        budgets: Budgets::default(),
    };
    NewDelivery {
        source: "gitea".into(),
        delivery_id: id.to_string(),
        event: "push".into(),
        body_sha256: format!("{number:064x}"),
        received_at: now,
        jobs: vec![job],
        sightings: Vec::new(),
    }
}

/// A node with so many slots, and nothing that holds a claim back.
pub(crate) fn fleet(slots: usize) -> Facts {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    Facts {
        concurrency_max: slots,
        projects: [(
            "shop".to_owned(),
            ProjectLimits { concurrency_max: None, serial: Serial::None, tier: Tier::Environment },
        )]
        .into(),
        stages: [("review".to_owned(), None)].into(),
        nodes: vec![NodeFacts {
            node: NodeId("node-a".into()),
            incarnation: Incarnation(1),
            account: Account("default".into()),
            slots,
            tier: Tier::Environment,
            blocked: None,
            blocked_until: None,
        }],
        ..Facts::default()
    }
}

fn outcome(now: Timestamp) -> Outcome {
    let usage = RunUsage {
        session_id: Some("5b0f3c4e-0000-4000-8000-000000000001".into()),
        cost_usd: Some(0.25),
        turns: Some(7),
        input_tokens: Some(1_200),
        output_tokens: Some(340),
        ..RunUsage::default()
    };
    Outcome {
        ended_by: EndedBy::Agent,
        exit: Some(Exit::Code(0)),
        report: AgentReport { usage, ..AgentReport::default() },
        tail: "all done\n".repeat(20),
        log_bytes: 4_096,
        spawned_at: Some(now),
        ended_at: now,
        steps: Vec::new(),
    }
}

/// One pass over all that is over, as the scheduler's retention does it, without its pauses. Gives how long each step took.
pub(crate) async fn forget(
    store: &Arc<dyn Store>,
    terms: &Terms,
    now: Timestamp,
) -> anyhow::Result<(u64, Vec<Duration>)> {
    let (mut gone, mut took) = (0, Vec::new());
    let plan = plan(now, terms, &store.kept(terms.deliveries_max).await?);
    let mut next = plan.jobs_before.map(|before| Step::first(before, JOBS_PER_STEP));
    while let Some(step) = next {
        let began = Instant::now();
        let forgotten = store.forget_jobs(step).await?;
        took.push(began.elapsed());
        gone += forgotten.jobs;
        next = forgotten.next.map(|after| Step { after, ..step });
    }
    for kind in Kind::ALL {
        let Some(before) = kind.before(&plan) else { continue };
        loop {
            let began = Instant::now();
            let rows = store.forget(kind, before, ROWS_PER_STEP).await?;
            took.push(began.elapsed());
            gone += rows;
            if rows < u64::from(ROWS_PER_STEP) {
                break;
            }
        }
    }
    Ok((gone, took))
}
