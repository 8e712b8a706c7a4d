//! Accounts: the breaker over real calls, its probe, its restart, and the offers that an account takes back.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::breaker::BreakerTerms;
use domain::outcome::RateLimit;
use domain::{Budgets, JobId, RunId, Timestamp};
use proto::v1::{
    EnqueueRequest, GetQueueRequest, ListBreakersRequest, QueueReply, ResetBreakerRequest, RunKey,
    StartStatus,
};
use scheduler::Options;
use tonic::Code;

use crate::fake::{Node, id_of};
use crate::stack::{Stack, eventually};

const PAUSE: Duration = Duration::from_mins(1);

fn quick(mut options: Options) -> Options {
    options.policy.breaker = BreakerTerms { threshold: 2, pause: PAUSE };
    options.queue.breaker_threshold = 2;
    options
}

/// One failed run after the other, until the breaker is open.
async fn opened(stack: &Stack, node: &Node) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for count in 1..=2 {
        jobs.push(stack.enqueue().await);
        let run = node.started(stack, count).await;
        node.ends(&run, stack.overloaded());
        node.acked(&run).await;
    }
    jobs
}

async fn queue(stack: &Stack) -> QueueReply {
    stack.admin().get_queue(GetQueueRequest {}).await.unwrap().into_inner()
}

async fn breaker(stack: &Stack) -> String {
    let shown = queue(stack).await.resilience.unwrap().breaker.remove(0);
    serde_json::to_string(&shown).unwrap()
}

fn at(stack: &Stack, ahead: Duration) -> Timestamp {
    Timestamp::from_ms(stack.clock.now_ms()).plus(ahead)
}

#[tokio::test]
async fn an_open_breaker_stops_all_starts_and_one_probe_closes_it() {
    let stack = Stack::start_with(quick).await;
    let closed =
        r#"{"account":"default","state":"closed","consecutive_transient":0,"threshold":2,"open_until":null}"#;
    assert_eq!(breaker(&stack).await, closed, "the default account is known before any runner is");
    let node = Node::start(&stack, "n").await;
    let mut jobs = opened(&stack, &node).await;
    let until = at(&stack, PAUSE);
    let open = format!(
        r#"{{"account":"default","state":"open","consecutive_transient":2,"threshold":2,"open_until":"{until}"}}"#
    );
    assert_eq!(breaker(&stack).await, open);
    for _ in 0..12 {
        jobs.push(stack.enqueue().await);
    }
    for job in &jobs[2..] {
        stack.waits(*job, "the breaker of account default is open").await;
        let waiting = stack.detail(*job).await.job.unwrap().waiting.unwrap();
        assert_eq!(waiting.until, Some(until.to_string()));
        assert_eq!(stack.job(*job).await.budgets, Budgets::default());
    }
    eventually("the gauge", async || {
        let (_, metrics) = stack.http_get("/metrics").await;
        metrics.contains("orch_breaker_state{account=\"default\"} 1\n").then_some(())
    })
    .await;
    assert_eq!(node.state().launches.len(), 2);

    stack.clock.advance(PAUSE);
    node.renew(&stack, 1, &[]).await.unwrap();
    let probe = node.started(&stack, 3).await;
    stack.waits(jobs[13], "half open").await;
    assert_eq!(node.state().launches.len(), 3);
    node.ends(&probe, stack.max_turns());
    node.launched(4 + 3).await;
    assert_eq!(breaker(&stack).await, closed);
    stack.check_invariants().await;
}

#[tokio::test]
async fn an_open_breaker_is_open_after_a_restart_and_an_operator_closes_it() {
    let mut stack = Stack::start_with(quick).await;
    let node = Node::start(&stack, "n").await;
    opened(&stack, &node).await;
    let open = breaker(&stack).await;
    stack.restart().await;
    node.register(&stack, &[]).await.unwrap();
    assert_eq!(breaker(&stack).await, open);
    let job = stack.enqueue().await;
    stack.waits(job, "the breaker of account default is open").await;

    let reset = |account: &str| ResetBreakerRequest { account: account.to_owned() };
    assert_eq!(stack.admin().reset_breaker(reset("nobody")).await.unwrap_err().code(), Code::NotFound);
    stack.admin().reset_breaker(reset("default")).await.unwrap();
    let run = node.started(&stack, 3).await;
    let listed = stack.admin().list_breakers(ListBreakersRequest {}).await.unwrap().into_inner();
    assert_eq!((listed.breaker[0].state.as_str(), listed.breaker[0].consecutive_transient), ("closed", 0));
    node.ends(&run, stack.success());
    stack.reaches(job, "done").await;
}

#[tokio::test]
async fn of_two_schedulers_one_sends_the_probe() {
    let first = Stack::start_with(quick).await;
    let second = first.start_beside_with(quick).await;
    let node = Node::start(&first, "n").await;
    node.register(&second, &[]).await.unwrap();
    // Both may launch the same run.
    let mut seen = BTreeSet::new();
    for _ in 1..=2 {
        first.enqueue().await;
        let run = another(&node, &mut seen).await;
        start_with_either(&first, &second, &node, &run).await;
        node.ends(&run, first.overloaded());
        node.acked(&run).await;
    }
    for _ in 0..6 {
        first.enqueue().await;
    }
    for _ in 0..3 {
        for stack in [&first, &second] {
            stack.clock.advance(PAUSE);
            node.register(stack, &[]).await.unwrap();
        }
        let run = another(&node, &mut seen).await;
        let live = first.store.live_runs().await.unwrap();
        assert_eq!(live.iter().map(|run| (run.id, run.probe)).collect::<Vec<_>>(), [(id_of(&run), true)]);
        start_with_either(&first, &second, &node, &run).await;
        node.ends(&run, first.overloaded());
        node.acked(&run).await;
    }
    first.check_invariants().await;
}

/// Waits for the launch of a run that is not among the `seen`.
async fn another(node: &Node, seen: &mut BTreeSet<RunId>) -> RunKey {
    let run = eventually("another run's launch", async || {
        let runs = node.state().launches.iter().filter_map(|launch| launch.run.clone()).collect::<Vec<_>>();
        runs.into_iter().find(|run| !seen.contains(&id_of(run)))
    })
    .await;
    seen.insert(id_of(&run));
    run
}

async fn start_with_either(first: &Stack, second: &Stack, node: &Node, run: &RunKey) {
    eventually("the start", async || {
        for stack in [first, second] {
            if node.ask_start(stack, run).await.is_ok_and(|reply| reply.status() == StartStatus::Ok) {
                return Some(());
            }
        }
        None
    })
    .await;
}

#[tokio::test]
async fn an_offer_is_taken_back_when_its_account_was_held_meanwhile() {
    let stack = Stack::start_with(quick).await;
    let node = Node::start(&stack, "n").await;
    let refused = stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let waiting = stack.enqueue().await;
    let offer = node.launched(2).await.run.unwrap();
    let mut outcome = stack.overloaded();
    outcome.report.result.as_mut().unwrap().api_error_status = Some(401);
    node.ends(&run, outcome);
    node.acked(&run).await;
    assert_eq!(node.ask_start(&stack, &offer).await.unwrap().status(), StartStatus::Refused);
    for job in [refused, waiting] {
        stack.waits(job, "account default is held (auth)").await;
        assert_eq!(stack.job(job).await.budgets, Budgets::default());
    }
    assert_eq!(stack.ends(waiting).await, ["withdrawn account"]);
}

#[tokio::test]
async fn quota_windows_are_shown_and_only_essential_stages_use_the_reserve() {
    let stack = Stack::start_with(|mut options| {
        options.quota_reserve = Some(0.2);
        options
    })
    .await;
    let toml = std::fs::read_to_string(stack.folder.path().join("orch.toml")).unwrap();
    let essential =
        "[[stage]]\nname = \"deploy\"\nrole = \"deployer\"\nprompt = \"work.md\"\nessential = true\n";
    std::fs::write(stack.folder.path().join("orch.toml"), toml + essential).unwrap();
    let node = Node::start(&stack, "n").await;
    stack.enqueue().await;
    let run = node.started(&stack, 1).await;
    let resets_at = at(&stack, Duration::from_hours(1));
    let mut outcome = stack.success();
    outcome.report.rate_limits = vec![RateLimit {
        window: "five_hour".to_owned(),
        status: "allowed_warning".to_owned(),
        utilization: Some(0.83),
        resets_at: Some(resets_at),
    }];
    node.ends(&run, outcome);
    node.acked(&run).await;
    let quota = queue(&stack).await.resilience.unwrap().quota;
    let shown = format!(
        r#"[{{"account":"default","window":"five_hour","utilization":0.83,"resets_at":"{resets_at}"}}]"#
    );
    assert_eq!(serde_json::to_string(&quota).unwrap(), shown);

    let ordinary = stack.enqueue().await;
    stack.waits(ordinary, "is kept for essential stages (ORCH_QUOTA_RESERVE)").await;
    let waiting = stack.detail(ordinary).await.job.unwrap().waiting.unwrap();
    assert_eq!(waiting.until, Some(resets_at.to_string()));
    let deploy = eventually("the new orch.toml", async || {
        let request = EnqueueRequest {
            project: "shop".to_owned(),
            stage: "deploy".to_owned(),
            ..EnqueueRequest::default()
        };
        stack.admin().enqueue(request).await.ok().map(|reply| reply.into_inner().id)
    })
    .await;
    // It may have been silent for too long meanwhile.
    node.renew(&stack, 1, &[]).await.unwrap();
    assert_eq!(node.launched(2).await.spec.unwrap().job_id, deploy);
    stack.clock.advance(Duration::from_hours(1));
    node.renew(&stack, 2, &[]).await.unwrap();
    assert_eq!(node.launched(3).await.spec.unwrap().job_id, ordinary.0);
}
