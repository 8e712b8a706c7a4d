//! A scheduler's restart with 10,000 live runs on 1,000 nodes: until claims flow, and until every run is watched again.

use std::time::Duration;

use anyhow::Context;
use e2e::harness::{Service, Stack, until};
use tokio::time::Instant;

use crate::fleet::{Size, all_watched, enqueue, laid_out};
use crate::proc::Usage;
use crate::report::{median, row};
use crate::simulated::Fleet;

const WITHIN: Duration = Duration::from_mins(2);

/// What one restart took.
struct Restart {
    down: f64,
    claims: f64,
    watched: f64,
    cpu: f64,
}

/// Measures restarts with SIGTERM, and one with SIGKILL.
pub(crate) async fn measure(size: Size) -> anyhow::Result<()> {
    let (mut stack, fleet) = laid_out(size).await?;
    stack.process(Service::Scheduler).start().await?;
    fleet.begin();
    all_watched(&fleet, size).await?;
    for (name, graceful) in [("sigterm", true), ("sigkill", false)] {
        let mut restarts = Vec::new();
        for _ in 0..size.restarts {
            // Whoever was told of the last restart renews in its own time again.
            tokio::time::sleep(Duration::from_secs(6)).await;
            restarts.push(restart(&mut stack, &fleet, size, graceful).await?);
        }
        let column = |of: fn(&Restart) -> f64| median(restarts.iter().map(of).collect());
        if graceful {
            row("restart_sigterm_to_exit", column(|it| it.down), "s", None);
        }
        row(&format!("restart_{name}_claims_flow"), column(|it| it.claims), "s", Some(3.0));
        row(&format!("restart_{name}_all_watched"), column(|it| it.watched), "s", Some(3.0));
        row(&format!("restart_{name}_scheduler_cpu"), column(|it| it.cpu), "s", None);
    }
    fleet.end().await;
    stack.finish().await
}

async fn restart(stack: &mut Stack, fleet: &Fleet, size: Size, graceful: bool) -> anyhow::Result<Restart> {
    let stopping = Instant::now();
    let scheduler = stack.process(Service::Scheduler);
    if graceful {
        scheduler.terminate().await?;
    } else {
        scheduler.kill().await?;
    }
    let down = stopping.elapsed().as_secs_f64();
    until("every stream is cut", WITHIN, || async {
        let watches = fleet.tally.watches.load(std::sync::atomic::Ordering::Relaxed);
        Ok((watches == 0).then_some(()))
    })
    .await?;
    enqueue(stack).await?;
    fleet.tally.forget_registered();
    let begun = Instant::now();
    stack.process(Service::Scheduler).spawn()?;
    let claims = async {
        until("a claim", WITHIN, || async { Ok(fleet.tally.launched(begun)) })
            .await
            .map(|at| (at - begun).as_secs_f64())
    };
    let watched = async { all_watched(fleet, size).await.map(|()| begun.elapsed().as_secs_f64()) };
    let (claims, watched) = tokio::try_join!(claims, watched)?;
    let pid = stack.process(Service::Scheduler).pid().context("the scheduler runs")?;
    Ok(Restart { down, claims, watched, cpu: Usage::of(pid)?.cpu.as_secs_f64() })
}
