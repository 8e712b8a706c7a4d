//! `orch dev`: ingest, scheduler, runner and console in one process on SQLite, with everything in one folder.
//!
//! The services are those of the separate binaries and meet over the same sockets; nothing here is a shortcut.

mod defaults;
mod demo;
mod folder;
mod stack;
mod welcome;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use service::settings::{
    CommonFlags, DatabaseSettings, ForgeSettings, ListenerSettings, PipelineSettings, QueueSettings,
    SchedulerAddrSettings, SecretSetting, TelemetrySettings, TlsSettings,
};
use service::{Refused, Tasks};

use crate::Cli;
use crate::admin::Admin;
use crate::print::write;
use defaults::Implied;
use stack::Stack;

/// How long the services may take to end after their agents did.
const SERVICES_END: Duration = Duration::from_secs(6);

/// What `orch dev` runs with: its own flags, and every setting of the services.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct Dev {
    /// Run a labelled demo agent in place of claude, on jobs made for it: no key, no network, no cost
    #[arg(long)]
    demo: bool,
    /// Leave agents running at the end; the next start goes on with them
    #[arg(long)]
    keep_agents: bool,
    /// Folder of the database, logs, workspaces, secrets and of an orch.toml, unless their own settings say otherwise
    #[arg(long, value_name = "PATH", default_value = "orch-data")]
    data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) common: CommonFlags,
    #[command(flatten, next_help_heading = "Shared settings")]
    database: DatabaseSettings,
    #[command(flatten)]
    pipeline: PipelineSettings,
    #[command(flatten)]
    forges: ForgeSettings,
    #[command(flatten)]
    tls: TlsSettings,
    #[command(flatten)]
    listener: ListenerSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
    #[command(flatten, next_help_heading = "Ingest")]
    ingest: ingest::Settings,
    #[command(flatten, next_help_heading = "Scheduler")]
    scheduler_addr: SchedulerAddrSettings,
    #[command(flatten)]
    queue: QueueSettings,
    #[command(flatten)]
    scheduler: scheduler::Settings,
    #[command(flatten, next_help_heading = "Runner")]
    runner: runner::Settings,
    #[command(flatten, next_help_heading = "Console")]
    console: console::Settings,
}

/// Lets `--data-dir` and `--demo` change the defaults of other settings.
pub(crate) fn with_implied_defaults(orch: clap::Command) -> clap::Command {
    let args: Vec<OsString> = std::env::args_os().collect();
    Implied::of(&args, Path::new("orch.toml").is_file()).apply(orch)
}

/// Takes the secrets of `orch dev` out of its environment, where the agents of the same user could read them; of no other command.
pub(crate) fn withdraw_secrets() -> Option<ExitCode> {
    let asked = std::env::args_os().skip(1).find(|arg| !arg.to_string_lossy().starts_with('-'))?;
    if asked != "dev" {
        return None;
    }
    service::settings::withdraw(Cli::command().find_subcommand("dev")?)
}

/// Runs until a signal; the exit code is that of every service.
pub(crate) fn main(dev: Dev) -> ExitCode {
    let telemetry = dev.telemetry.clone();
    let grace = dev.scheduler.kill_grace_seconds;
    service::lifecycle::run_with_drain("orch dev", &telemetry, grace + SERVICES_END * 2, |tasks| {
        serve(dev, tasks)
    })
}

async fn serve(mut dev: Dev, tasks: Tasks) -> anyhow::Result<()> {
    let orch = std::env::current_exe().context("could not tell the path of this program")?;
    let secrets = prepare(&mut dev, &orch)?;
    let (demo, keep_agents, folder) = (dev.demo, dev.keep_agents, dev.data_dir.clone());
    let (config, tls, grace) =
        (dev.pipeline.config.clone(), dev.tls.clone(), dev.scheduler.kill_grace_seconds);

    // A group of their own: agents end while the services still run, so that their outcomes are recorded.
    let services = Tasks::new();
    let agent = welcome::Agent::look(&dev.runner.claude_bin).await;
    let stack = Stack::start(dev, &services).await.inspect_err(|_| services.stop())?;
    let ours = defaults::is_own_config(&config, &folder);
    let webhook = match &secrets.gitea {
        Some(secret) if ours => {
            Some(folder::first_webhook(&folder, &format!("http://{}", stack.ingest), secret)?)
        }
        _ => None,
    };

    let orch = welcome::command(&orch, &std::env::current_dir().unwrap_or_default());
    let words = welcome::Welcome {
        stack: &stack,
        demo,
        orch: &orch,
        example: example(&config),
        config,
        secrets: secrets.shown(),
        webhook,
        agent,
    };
    // A closed stdout is the reader's wish; the services go on.
    let _ = write(words.text().as_bytes());
    if demo {
        let admin = Admin::at(stack.scheduler_url.clone(), &tls).map_err(Refused::new)?;
        services.spawn("demo", demo::run(admin, orch, services.token()));
    }

    let (asked, failed) = (tasks.token(), services.token());
    tokio::select! {
        () = asked.cancelled() => {}
        () = failed.cancelled() => {}
    }
    if !keep_agents {
        stack.end_agents(grace).await;
    }
    services.stop();
    let ended = services.finished(SERVICES_END).await;
    if let Some(task) = services.panicked() {
        anyhow::bail!("the task `{task}` panicked");
    }
    anyhow::ensure!(ended, "not every service ended in time");
    Ok(())
}

/// The first project of the configuration, and a stage that it can run.
fn example(config: &Path) -> Option<(String, String)> {
    let pipeline = domain::pipeline::parse(&std::fs::read_to_string(config).ok()?).ok()?;
    let stage = pipeline.stage("review").or_else(|| pipeline.stages.first())?;
    Some((pipeline.projects.first()?.name.clone(), stage.name.clone()))
}

/// The files of the webhook secrets that `dev` keeps; `None` where a setting gave the secret.
struct SecretFiles {
    gitea: Option<PathBuf>,
    plane: Option<PathBuf>,
}

impl SecretFiles {
    fn shown(&self) -> [String; 2] {
        let shown = |file: &Option<PathBuf>, setting: &str| match file {
            Some(file) => file.display().to_string(),
            None => format!("as {setting} says"),
        };
        [shown(&self.gitea, "ORCH_GITEA_WEBHOOK_SECRET"), shown(&self.plane, "ORCH_PLANE_WEBHOOK_SECRET")]
    }
}

/// Fills the data folder, and takes secrets from it that no setting gives.
fn prepare(dev: &mut Dev, orch: &Path) -> anyhow::Result<SecretFiles> {
    let folder = &dev.data_dir;
    folder::make(folder)?;
    if defaults::is_own_config(&dev.pipeline.config, folder) {
        folder::config(&dev.pipeline.config, dev.demo)?;
    }
    if dev.demo {
        folder::demo_agent(folder, orch)?;
    }
    let mut files = SecretFiles { gitea: None, plane: None };
    if dev.ingest.gitea_webhook_secret.get().is_none() {
        let file = files.gitea.insert(folder.join("gitea-webhook-secret"));
        dev.ingest.gitea_webhook_secret = SecretSetting::of(Some(folder::secret(file)?));
    }
    if dev.ingest.plane_webhook_secret.get().is_none() {
        let file = files.plane.insert(folder.join("plane-webhook-secret"));
        dev.ingest.plane_webhook_secret = SecretSetting::of(Some(folder::secret(file)?));
    }
    Ok(files)
}
