//! One stack whose processes carry the library, and the scenes that were played on it.

use std::path::Path;

use anyhow::Context;

use super::orders::Orders;
use super::point::{Point, Victim};
use crate::harness::{Service, Stack, StackBuilder};
use crate::shop::shop;

/// All parts of a stack.
pub(super) const SERVICES: [Service; 4] =
    [Service::Scheduler, Service::Ingest, Service::Runner(0), Service::Console];

/// What the victim is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan<'a> {
    /// Say what it does.
    List(Victim),
    /// Die there.
    Kill(&'a Point),
}

impl Plan<'_> {
    pub(super) fn victim(self) -> Victim {
        match self {
            Self::List(victim) => victim,
            Self::Kill(point) => point.victim,
        }
    }
}

/// A stack, and how much was done on it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) stack: Stack,
    pub(super) orders: Orders,
    /// Scenes begun.
    pub(super) plays: u64,
    /// Jobs brought to their ends.
    pub(super) done: u64,
}

impl Lane {
    /// Lays a stack out; nothing is started.
    pub(super) fn lay_out(library: &Path) -> anyhow::Result<Self> {
        // Told to the processes, so it has to be known before the stack has a folder.
        let folder = library.parent().context("the library lies in no folder")?;
        let orders = folder.join(uuid::Uuid::new_v4().to_string());
        let stack = quick(shop())
            .env("LD_PRELOAD", &library.display().to_string())
            .env("ORCH_STEPS", &orders.display().to_string())
            // Shims and agents start from an empty environment: these are let through by name.
            .env("ORCH_AGENT_ENV", "ORCH_E2E,LD_PRELOAD,ORCH_STEPS")
            .lay_out()?;
        Ok(Self { stack, orders: Orders::at(orders), plays: 0, done: 0 })
    }

    /// Lays a stack out and starts it.
    pub(super) async fn start(library: &Path) -> anyhow::Result<Self> {
        let mut lane = Self::lay_out(library)?;
        lane.stack.process(Service::Scheduler).start().await?;
        lane.start_missing()?;
        for service in SERVICES {
            lane.stack.process(service).ready().await?;
        }
        Ok(lane)
    }

    /// Starts whoever does not run.
    pub(super) fn start_missing(&mut self) -> anyhow::Result<()> {
        for service in SERVICES {
            if !self.stack.process(service).runs() {
                self.stack.process(service).spawn()?;
            }
        }
        Ok(())
    }

    /// Gives the victim its orders.
    pub(super) fn arm(&mut self, plan: Plan<'_>) -> anyhow::Result<()> {
        match plan {
            Plan::List(victim) => self.orders.list(victim),
            Plan::Kill(point) => {
                let step = self.with_own_words(&point.step);
                self.orders.kill(point.victim, point.moment, point.nth, &step)
            }
        }
    }

    /// What was listed, in words that mean the same in each stack.
    pub(super) fn listed(&self) -> Vec<(String, usize)> {
        let words = self.words();
        let named = |step: String| words.iter().fold(step, |step, (own, word)| step.replace(own, word));
        self.orders.listed().into_iter().map(|(step, count)| (named(step), count)).collect()
    }

    fn with_own_words(&self, step: &str) -> String {
        self.words().iter().fold(step.to_owned(), |step, (own, word)| step.replace(word, own))
    }

    /// What is called otherwise in each stack, the ports of services and its folder, each with the word for it.
    fn words(&self) -> Vec<(String, &'static str)> {
        let folder = self.stack.folder().file_name().map(|name| name.to_string_lossy().into_owned());
        let ports = SERVICES.map(|service| (format!(":{}", self.stack.addr(service).port()), name(service)));
        ports.into_iter().chain(folder.map(|folder| (folder, "FOLDER"))).collect()
    }

    /// Stops everything and checks that nothing is left.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        self.orders.withdraw()?;
        self.stack.finish().await
    }
}

fn name(service: Service) -> &'static str {
    match service {
        Service::Scheduler | Service::OtherScheduler(_) => ":scheduler",
        Service::Ingest | Service::OtherIngest(_) => ":ingest",
        Service::Runner(_) => ":runner",
        Service::Console => ":console",
    }
}

/// Everything that waits waits briefly, but for leases: nothing in a scene may have to wait for one.
fn quick(builder: StackBuilder) -> StackBuilder {
    builder
        .env("ORCH_QUEUE_POLL_INTERVAL", "100ms")
        .env("ORCH_RENEW_SECONDS", "200ms")
        .env("ORCH_UNREACHABLE_SECONDS", "2")
        .env("ORCH_BACKOFF_BASE_SECONDS", "100ms")
        .env("ORCH_BACKOFF_MAX_SECONDS", "500ms")
        .env("ORCH_PREFLIGHT_CACHE_TTL", "60s")
}
