//! The same services on PostgreSQL: from webhook to log, through the loss of every part, and two schedulers at once.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, ensure};
use e2e::harness::{Outside, Service, Stack, StackBuilder, free_port, get, until};
use e2e::history::{self, Records};
use postgres_server::{Database, Server, Stop};
use tokio::process::Child;

use crate::kills::{Fleet, RUNNERS};
use crate::shop::{Ledger, WITHIN, enqueue, shop, spent, start, verdicts, webhook};

/// A stack on a database of its own, which must outlive it.
fn on_postgres(server: &Arc<Server>) -> (StackBuilder, Database) {
    let database = server.database();
    (shop().env("ORCH_DATABASE_URL", &database.url()), database)
}

#[tokio::test]
async fn a_signed_webhook_ends_done_on_postgres() -> anyhow::Result<()> {
    let (builder, _database) = on_postgres(Server::shared());
    let stack = builder.start().await?;
    let id = start(&stack, "gitea.pull_request", 12, "fake: tool=1 then=success:The+total+is+right").await?;
    let job = stack.until_status(id, "done", WITHIN).await?;
    assert_eq!(spent(&job), [0, 0, 0, 1], "{job:#}");
    assert_eq!(verdicts(&job)[0].0, "success");
    let logs = stack.orch_output(&["logs", &id.to_string()]).await?;
    let text = String::from_utf8(logs.stdout)?;
    assert_eq!(job["runs"][0]["log_bytes"], text.len(), "the log is whole");
    assert!(text.contains("\"The total is right\""), "{text}");
    let queue = get(stack.addr(Service::Console), "/queue").await?.json()?;
    assert_eq!(queue["counts"]["done"], 1, "{queue:#}");
    let doctor = stack.orch(&["doctor"]).await?;
    assert!(!doctor.to_string().contains("\"problem\""), "{doctor:#}");
    stack.finish().await
}

#[tokio::test]
async fn all_services_killed_while_twenty_agents_run_on_postgres() -> anyhow::Result<()> {
    let (builder, _database) = on_postgres(Server::shared());
    let parts =
        [Service::Scheduler, Service::Runner(0), Service::Runner(1), Service::Ingest, Service::Console];
    Fleet::start_on(builder).await?.survives_the_loss_of(&parts).await
}

/// PostgreSQL crashes and is away while half of the agents end; it comes back, and everything they did arrives.
#[tokio::test]
async fn postgres_crashes_while_twenty_agents_run() -> anyhow::Result<()> {
    let server = Arc::new(Server::start(true));
    let (builder, _database) = on_postgres(&server);
    let mut fleet = Fleet::start_on(builder).await?;
    server.stop(Stop::Immediate);
    for service in [Service::Ingest, Service::Scheduler, Service::Console] {
        let addr = fleet.stack.addr(service);
        let said = until("readiness says that the database is away", WITHIN, || async move {
            let answer = get(addr, "/readyz").await?;
            Ok((answer.status.as_u16() == 503).then(|| String::from_utf8_lossy(&answer.body).into_owned()))
        })
        .await?;
        ensure!(said.contains("could not connect to PostgreSQL"), "{service:?}: {said}");
    }
    fleet.let_first_half_go().await?;
    server.start_again();
    for service in [Service::Ingest, Service::Scheduler, Service::Console] {
        fleet.stack.process(service).ready().await?;
    }
    fleet.let_all_go_and_check().await
}

/// A second scheduler with a runner of its own.
async fn second_scheduler(stack: &Stack, addr: &str) -> anyhow::Result<Child> {
    let mut command = stack.command("orch-scheduler")?;
    command.env("ORCH_SCHEDULER_ADDR", addr).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    let addr = addr.parse()?;
    until("the second scheduler is ready", WITHIN, || async move {
        Ok(get(addr, "/readyz").await.ok().filter(|answer| answer.status.is_success()).map(|_| ()))
    })
    .await?;
    Ok(child)
}

/// Two schedulers share the work; one of them is killed while its agents run, and comes back.
#[tokio::test]
async fn two_schedulers_share_one_database() -> anyhow::Result<()> {
    const JOBS: usize = 40;
    let (builder, _database) = on_postgres(Server::shared());
    let builder =
        builder.runners(RUNNERS.len()).env("ORCH_RUNNER_SLOTS", "3").env("ORCH_MAX_CONCURRENCY", "5");
    let mut stack = builder.lay_out()?;
    let second_addr = format!("127.0.0.1:{}", free_port()?);
    stack.process(Service::Runner(1)).set_env("ORCH_SCHEDULER_URL", &format!("http://{second_addr}"));
    stack.process(Service::Scheduler).start().await?;
    let mut second = second_scheduler(&stack, &second_addr).await?;
    for service in [Service::Runner(0), Service::Runner(1), Service::Ingest, Service::Console] {
        stack.process(service).start().await?;
    }
    let ledger = Ledger::of(&stack);
    let mut jobs = Vec::new();
    for _ in 0..JOBS {
        jobs.push(enqueue(&stack, &format!("{} say=1 sleep=0.2", ledger.step())).await?);
    }
    until("a third of the work", WITHIN, || async { Ok((ledger.ends() >= JOBS / 3).then_some(())) }).await?;
    second.kill().await?;
    until("two thirds of the work", WITHIN, || async { Ok((ledger.ends() >= JOBS * 2 / 3).then_some(())) })
        .await?;
    let mut second = second_scheduler(&stack, &second_addr).await?;
    let mut nodes = BTreeSet::new();
    for id in jobs {
        let job = stack.until_status(id, "done", WITHIN).await?;
        assert_eq!(verdicts(&job).last().map(|verdict| verdict.0), Some("success"), "{job:#}");
        nodes.insert(job["runs"][0]["runner"].as_str().context("a run names its runner")?.to_owned());
    }
    assert_eq!((ledger.starts().len(), ledger.ends()), (JOBS, JOBS), "each agent ran once");
    assert_eq!(nodes.len(), RUNNERS.len(), "both schedulers' runners worked: {nodes:?}");
    let doctor = stack.orch(&["doctor"]).await?;
    assert!(!doctor.to_string().contains("\"problem\""), "{doctor:#}");
    second.kill().await?;
    stack.finish().await
}

/// A webhook that every sender sends until it is acknowledged; gives its job.
async fn insist(stack: &Outside, number: u64, text: &str) -> anyhow::Result<i64> {
    let sent = webhook(stack, "gitea.pull_request", number, text);
    let answer = until("an acknowledgement", WITHIN, || async {
        Ok(stack.deliver(&sent).await.ok().filter(|answer| answer.status.is_success()))
    });
    let body = answer.await?.json()?;
    body["job_ids"][0].as_i64().with_context(|| format!("one job: {body}"))
}

/// Three schedulers, two ingests, four runners and the database server: each dies while the others work, and comes back.
#[tokio::test]
async fn any_part_of_a_fleet_dies_and_nothing_is_lost_or_done_twice() -> anyhow::Result<()> {
    const JOBS_A_ROUND: usize = 6;
    let deaths = [
        vec![Service::OtherScheduler(1)],
        vec![Service::Ingest, Service::Runner(2)],
        vec![Service::Scheduler],
        vec![],
        vec![Service::OtherScheduler(2), Service::OtherIngest(1), Service::Runner(0)],
        vec![Service::Scheduler, Service::OtherScheduler(1)],
    ];
    let server = Arc::new(Server::start(true));
    let (builder, database) = on_postgres(&server);
    let builder =
        builder.runners(4).fleet(3, 2).env("ORCH_RUNNER_SLOTS", "3").env("ORCH_MAX_CONCURRENCY", "8");
    let mut stack = builder.start().await?;
    let ledger = Ledger::of(&stack);
    let mut jobs = BTreeSet::new();
    for parts in &deaths {
        let work = format!("fake: {} say=1 sleep=0.3", ledger.step());
        for _ in 0..JOBS_A_ROUND / 2 {
            jobs.insert(insist(&stack, jobs.len() as u64 + 1, &work).await?);
        }
        let begun = jobs.len();
        until("agents at work", WITHIN, || async { Ok((ledger.starts().len() >= begun).then_some(())) })
            .await?;
        for part in parts {
            stack.process(*part).kill().await?;
        }
        if parts.is_empty() {
            server.stop(Stop::Kill);
            server.start_again();
        }
        for _ in 0..JOBS_A_ROUND / 2 {
            jobs.insert(insist(&stack, jobs.len() as u64 + 1, &work).await?);
        }
        // The schedulers that are left do it all; what is offered to a runner that is down waits for it.
        let runner_is_down = parts.iter().any(|part| matches!(part, Service::Runner(_)));
        let ends = if runner_is_down { begun } else { jobs.len() };
        until("agents have ended", WITHIN, || async { Ok((ledger.ends() >= ends).then_some(())) }).await?;
        for part in parts {
            stack.process(*part).start().await?;
        }
    }
    assert_eq!(jobs.len(), deaths.len() * JOBS_A_ROUND, "each delivery has a job of its own");
    let mut nodes = BTreeSet::new();
    for id in &jobs {
        let job = stack.until_status(*id, "done", WITHIN).await?;
        let tries: Vec<_> = verdicts(&job).into_iter().filter(|verdict| verdict.0 != "withdrawn").collect();
        assert_eq!(tries.len(), 1, "{job:#}");
        assert_eq!((tries[0].0, spent(&job)[..3].to_vec()), ("success", vec![0, 0, 0]), "{job:#}");
        nodes.insert(job["runs"][0]["runner"].as_str().context("a run names its runner")?.to_owned());
    }
    assert_eq!((ledger.starts().len(), ledger.ends()), (jobs.len(), jobs.len()), "each agent ran once");
    assert_eq!(nodes.len(), 4, "every runner worked: {nodes:?}");
    let records = Records::Server(database.url());
    let history = history::read(&records, &stack.folder().join("ledger"), Vec::new(), Vec::new()).await?;
    assert_eq!(history.jobs.keys().copied().collect::<BTreeSet<_>>(), jobs, "no job but these");
    stack.finish().await
}
