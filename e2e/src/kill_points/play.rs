//! One scene on one stack: work comes in, somebody may die, everything must come to rest.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::audit;
use super::lane::{Lane, Plan, SERVICES};
use super::point::Scene;
use crate::harness::{Service, Webhook, boot_ms, get};
use crate::shop::{Ledger, Spawn, webhook};

/// Longest time from the beginning to rest, a busy machine included: what takes longer is stuck.
const REST_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was seen in a scene that went well.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// The victim died where it should; otherwise it never came to that step.
    pub(super) landed: bool,
    /// Runs that were lost, each of which cost its job a try of the infra budget.
    pub(super) lost: u64,
    /// From the start of the service after its death to the next agent, if one was still to come.
    pub(super) to_dispatch: Option<Duration>,
    /// The steps that were listed, each with how often it came.
    pub(super) listed: Vec<(String, usize)>,
}

/// Plays a scene to rest and looks for anything wrong.
///
/// # Errors
/// Somebody died who should not, something did not come to rest, or a promise was broken; the message has the ends
/// of the logs.
pub(super) async fn play(lane: &mut Lane, scene: Scene, plan: Plan<'_>) -> anyhow::Result<Played> {
    lane.plays += 1;
    let mut acting = Play::new(lane, plan);
    match acting.act(scene).await {
        Ok(played) => Ok(played),
        Err(error) => {
            let tails = SERVICES.map(|service| lane.stack.process(service).log_tail());
            Err(error.context(tails.join("\n")))
        }
    }
}

struct Play<'a> {
    lane: &'a mut Lane,
    plan: Plan<'a>,
    deliveries: Vec<Delivery>,
    ledger: Ledger,
    agents_before: usize,
    landed: bool,
    restarted_at: Option<i64>,
    give_up_at: Instant,
}

struct Delivery {
    webhook: Webhook,
    /// Its agent ends once this file is there.
    door: PathBuf,
    /// The jobs that the answer named.
    jobs: Option<Vec<i64>>,
}

impl<'a> Play<'a> {
    fn new(lane: &'a mut Lane, plan: Plan<'a>) -> Self {
        let ledger = Ledger::of(&lane.stack);
        Self {
            agents_before: ledger.starts().len(),
            lane,
            plan,
            deliveries: Vec::new(),
            ledger,
            landed: false,
            restarted_at: None,
            give_up_at: Instant::now() + REST_WITHIN,
        }
    }

    async fn act(&mut self, scene: Scene) -> anyhow::Result<Played> {
        let victim = self.plan.victim();
        let service = || victim.service().context("a shim is nobody's to start");
        self.expect_deliveries(2);
        match scene {
            Scene::First | Scene::Work => {
                self.open(0)?;
                self.lane.arm(self.plan)?;
                if scene == Scene::First {
                    self.lane.stack.process(service()?).spawn()?;
                }
            }
            Scene::Stop | Scene::Start => {
                while self.agents().len() < 2 {
                    self.look().await?;
                }
                if scene == Scene::Stop {
                    self.lane.arm(self.plan)?;
                }
                let status = self.lane.stack.process(service()?).terminate().await?;
                if self.note_landing()? {
                    self.restarted_at = Some(boot_ms());
                } else {
                    ensure!(status.success(), "{victim:?} ended with {status}");
                }
                if scene == Scene::Start {
                    self.lane.arm(self.plan)?;
                }
                self.open(0)?;
                self.expect_deliveries(1);
                self.open(2)?;
                self.lane.start_missing()?;
            }
        }
        let listed = loop {
            while !self.at_rest().await? {
                self.look().await?;
            }
            let listed = self.lane.listed();
            // A step may have been come to at the last moment.
            if self.landed || self.lane.orders.withdraw()? {
                break listed;
            }
            self.landed = true;
        };
        let jobs = self.deliveries.iter().map(|delivery| delivery.jobs.clone().unwrap_or_default()).collect();
        let lost = audit::check(&self.lane.stack, &self.ledger, jobs).await?;
        self.lane.done += self.deliveries.len() as u64;
        Ok(Played { landed: self.landed, lost, to_dispatch: self.to_dispatch(), listed })
    }

    /// Signs more webhooks, to be posted until each is acknowledged.
    fn expect_deliveries(&mut self, count: usize) {
        let folder = self.lane.stack.folder();
        for number in self.deliveries.len()..self.deliveries.len() + count {
            let door = folder.join(format!("door-{}-{number}", self.lane.plays));
            let text = format!(
                "fake: {} alone={} say=1 await={}",
                self.ledger.step(),
                folder.join("locks").display(),
                door.display()
            );
            let item = self.lane.plays * 10 + number as u64;
            let webhook = webhook(&self.lane.stack, "gitea.push", item, &text);
            self.deliveries.push(Delivery { webhook, door, jobs: None });
        }
    }

    /// Lets the agent of a delivery end.
    fn open(&self, number: usize) -> anyhow::Result<()> {
        Ok(std::fs::write(&self.deliveries[number].door, b"")?)
    }

    /// The agents of this scene.
    fn agents(&self) -> Vec<Spawn> {
        self.ledger.starts().split_off(self.agents_before)
    }

    /// One look at everything that may be for us to do.
    async fn look(&mut self) -> anyhow::Result<()> {
        ensure!(
            Instant::now() < self.give_up_at,
            "not at rest within {REST_WITHIN:?}: {}",
            self.state().await
        );
        for service in SERVICES {
            let process = self.lane.stack.process(service);
            if !process.runs() {
                continue;
            }
            // Not within no time: it runs.
            if let Ok(status) = process.ended(Duration::ZERO).await {
                let ours = self.plan.victim().service() == Some(service) && self.note_landing()?;
                ensure!(ours && self.restarted_at.is_none(), "{service:?} died by itself: {status}");
                self.restarted_at = Some(boot_ms());
            }
        }
        if self.plan.victim().service().is_none() {
            self.note_landing()?;
        }
        self.lane.start_missing()?;
        for delivery in self.deliveries.iter_mut().filter(|delivery| delivery.jobs.is_none()) {
            // Without a whole answer it is not acknowledged: its sender sends it again.
            let Ok(answer) = self.lane.stack.deliver(&delivery.webhook).await else { break };
            if answer.status.is_success() {
                let body = answer.json()?;
                let jobs = body["job_ids"].as_array().with_context(|| format!("no job ids: {body}"))?;
                delivery.jobs = Some(jobs.iter().filter_map(Value::as_i64).collect());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// Whether the victim has died where it should; then nobody else will.
    fn note_landing(&mut self) -> anyhow::Result<bool> {
        if self.lane.orders.landed() {
            self.landed = true;
            self.lane.orders.withdraw()?;
        }
        Ok(self.landed)
    }

    /// Everything delivered is done, everybody is ready, and no trace of any run is left on the node.
    async fn at_rest(&mut self) -> anyhow::Result<bool> {
        if self.landed && self.restarted_at.is_none() && self.plan.victim().service().is_some() {
            return Ok(false);
        }
        let all = self.lane.done + self.deliveries.len() as u64;
        let Ok(queue) = get(self.lane.stack.addr(Service::Console), "/queue").await else { return Ok(false) };
        if !queue.status.is_success() {
            return Ok(false);
        }
        let counts = &queue.json()?["counts"];
        if counts["done"].as_u64() == Some(all - 1) {
            // The last of them lives through all that happens before.
            self.open(1)?;
        }
        if counts["done"] != all || self.deliveries.iter().any(|delivery| delivery.jobs.is_none()) {
            return Ok(false);
        }
        for service in SERVICES {
            let ready = get(self.lane.stack.addr(service), "/readyz").await;
            if !ready.is_ok_and(|answer| answer.status.is_success()) {
                return Ok(false);
            }
        }
        Ok(audit::traces(&self.lane.stack, &self.runs())?.is_empty())
    }

    /// The runs that had an agent.
    fn runs(&self) -> BTreeSet<Uuid> {
        self.agents().iter().filter_map(|agent| agent.run.parse().ok()).collect()
    }

    fn to_dispatch(&self) -> Option<Duration> {
        let restarted_at = self.restarted_at?;
        let after = |spawn: Spawn| u64::try_from(spawn.boot_ms - restarted_at).ok().filter(|ms| *ms > 0);
        self.agents().into_iter().filter_map(after).min().map(Duration::from_millis)
    }

    /// For the message of a scene that is stuck.
    async fn state(&self) -> String {
        let stack = &self.lane.stack;
        let queue = match get(stack.addr(Service::Console), "/queue").await {
            Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
            Err(error) => format!("{error:#}"),
        };
        let jobs: Vec<_> = self.deliveries.iter().map(|delivery| &delivery.jobs).collect();
        format!(
            "landed {}, jobs {jobs:?}, {:?}\n{queue}\n{:?}",
            self.landed,
            audit::traces(stack, &self.runs()),
            self.agents()
        )
    }
}
