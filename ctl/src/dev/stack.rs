//! The four services in one process, each started as its own binary starts it, and how their agents end.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use service::settings::{SchedulerEndpointSettings, TlsSettings};
use service::{Clock, Refused, Tasks};

use super::Dev;
use crate::admin::Admin;

/// How long the outcomes of ended agents may take to the database.
const RECORDED: Duration = Duration::from_secs(3);
/// How often it is looked whether they are there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The services, listening.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) ingest: SocketAddr,
    pub(super) scheduler: SocketAddr,
    pub(super) scheduler_url: String,
    pub(super) runner: SocketAddr,
    pub(super) console: SocketAddr,
    tls: TlsSettings,
    agents: runner::Handle,
}

impl Stack {
    /// Starts all four on `tasks`; the addresses bound are passed on, so that port 0 works for each.
    pub(super) async fn start(dev: Dev, tasks: &Tasks) -> anyhow::Result<Self> {
        for (addr, setting) in [
            (dev.ingest.ingest_addr, "ORCH_INGEST_ADDR"),
            (dev.scheduler_addr.scheduler_addr, "ORCH_SCHEDULER_ADDR"),
            (dev.runner.runner_addr, "ORCH_RUNNER_ADDR"),
            (dev.console.console_addr, "ORCH_CONSOLE_ADDR"),
        ] {
            check_free(addr, setting)?;
        }
        if dev.tls.has_files() {
            return Err(Refused::new(
                "orch dev is one process on one host and uses no certificates: take ORCH_TLS_* away, or start the four services",
            )
            .into());
        }
        let (clock, tls) = (Clock::system(), dev.tls);
        let mut options = dev.scheduler.resolve(
            &dev.scheduler_addr,
            &dev.queue,
            &dev.database,
            &dev.pipeline,
            &dev.forges,
            &tls,
        )?;
        options.listener.clone_from(&dev.listener);
        let scheduler = scheduler::start(options, tasks.clone()).await?.addr;
        let scheduler_url = SchedulerEndpointSettings::default().url_or(scheduler, &tls);

        let ingest = ingest::Options {
            settings: dev.ingest,
            database_url: dev.database.database_url.clone(),
            config: dev.pipeline.config,
            scheduler_url: scheduler_url.clone(),
            tls: tls.clone(),
            listener: dev.listener.clone(),
            clock: clock.clone(),
        };
        let ingest = ingest::start(ingest, tasks.clone()).await?.addr;

        let endpoint = SchedulerEndpointSettings { scheduler_url: Some(scheduler_url.clone()) };
        let forge = runner::ForgeEndpoint { gitea_api_url: dev.forges.gitea_api_url };
        let listener = dev.listener.clone();
        let options =
            runner::Options { listener, ..runner::Options::new(dev.runner, forge, endpoint, tls.clone()) };
        let agents = runner::start(options, tasks.clone()).await?;

        let console = console::Options {
            addr: dev.console.console_addr,
            token: dev.console.console_token.get().cloned(),
            read_token: dev.console.console_read_token.get().cloned(),
            database_url: dev.database.database_url,
            scheduler_url: scheduler_url.clone(),
            tls: tls.clone(),
            listener: dev.listener,
            queue: console::queue_facts(&dev.queue),
            clock,
        };
        let console = console::start(console, tasks.clone()).await?.addr;
        Ok(Self { ingest, scheduler, scheduler_url, runner: agents.addr, console, tls, agents })
    }

    /// Ends the agents, within `grace` and what follows it, and waits a moment until their outcomes are recorded.
    pub(super) async fn end_agents(&self, grace: Duration) {
        let alive = self.agents.end_agents(grace + RECORDED).await;
        if alive > 0 {
            tracing::warn!(agents = alive, "some agents have not ended yet; their keepers go on ending them");
        }
        let Ok(admin) = Admin::at(self.scheduler_url.clone(), &self.tls) else { return };
        let recorded = async {
            while admin.running().await.is_ok_and(|running| running > alive as u64) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // What is not recorded now is on disk, and recorded after the next start.
        let _ = tokio::time::timeout(RECORDED, recorded).await;
    }
}

fn check_free(addr: SocketAddr, setting: &str) -> Result<(), Refused> {
    TcpListener::bind(addr).map(drop).map_err(|error| {
        Refused::new(format!(
            "could not listen on {addr}: {error}; stop what uses it (another `orch dev`?) or choose another address \
             with {setting}"
        ))
    })
}
