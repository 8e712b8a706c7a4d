//! The runner's settings, and what they resolve to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use domain::Account;
use domain::containment::Tier;
use service::settings::{
    CommonFlags, ListenerSettings, Mask, SchedulerEndpointSettings, Secret, SecretSetting, TelemetrySettings,
    TlsSettings, duration,
};
use service::{Clock, Random};

use crate::contain::{Bounds, Fence, Users};
use crate::shim;

/// How often it is looked which workspaces may go.
const TIDY_EVERY: Duration = Duration::from_mins(10);
/// 50 GiB.
const WORKSPACE_QUOTA_BYTES: u64 = 50 * 1024 * 1024 * 1024;
/// Where the scheduler is when nobody says.
pub(crate) const SCHEDULER_URL_DEFAULT: &str = "http://127.0.0.1:7070";

service::secret! {
    /// Password or token for the forge that projects with a `clone_url` over http are cloned from and pushed to; never given to an agent.
    pub GitToken = "ORCH_GIT_TOKEN";
    /// What `orch join-token` printed: this runner gets its certificate with it at its first start, and needs it no more after that.
    pub JoinTokenSecret = "ORCH_JOIN_TOKEN";
}

/// The runner: spawns and supervises agents on this host
///
/// SIGTERM hands over: the process exits within seconds, its agents live on, and the next start adopts them.
#[derive(Debug, Parser)]
#[command(name = "orch-runner", version)]
pub struct Cli {
    /// The runner's own settings.
    #[command(flatten)]
    pub runner: Settings,
    /// Where pull requests are opened.
    #[command(flatten)]
    pub forge: ForgeEndpoint,
    /// Where the scheduler is.
    #[command(flatten)]
    pub scheduler: SchedulerEndpointSettings,
    /// Keys and certificates.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// What its listener grants.
    #[command(flatten)]
    pub listener: ListenerSettings,
    /// How it gets a certificate of its own.
    #[command(flatten)]
    pub join_token: SecretSetting<JoinTokenSecret>,
    /// Logs, traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    /// What every process has.
    #[command(flatten)]
    pub common: CommonFlags,
}

/// Where the forge's API is; the runner asks it with `ORCH_GIT_TOKEN`.
#[derive(Args, Clone, Debug, Default)]
pub struct ForgeEndpoint {
    /// Address of Gitea or Forgejo, such as `https://git.example`; without it the forge is told nothing, and no runner opens a pull request
    #[arg(long, env = "ORCH_GITEA_API_URL", value_name = "URL")]
    pub gitea_api_url: Option<String>,
}

/// The settings that only the runner reads.
#[derive(Args, Clone, Debug)]
#[group(skip)] // every service has a group of this name, and `orch dev` has them all
pub struct Settings {
    /// Where the runner listens for gRPC and health checks
    #[arg(long, env = "ORCH_RUNNER_ADDR", value_name = "ADDR", default_value = "127.0.0.1:7071")]
    pub runner_addr: SocketAddr,
    /// Where the scheduler reaches this runner; from `ORCH_RUNNER_ADDR` (and the host's name, when that is 0.0.0.0) when not given
    #[arg(long, env = "ORCH_RUNNER_ADVERTISE_URL", value_name = "URL")]
    pub runner_advertise_url: Option<String>,
    /// The agent's program: a path, or a name looked up in PATH
    #[arg(long, env = "ORCH_CLAUDE_BIN", value_name = "PROGRAM", default_value = "claude")]
    pub claude_bin: PathBuf,
    /// How many agents run at once on this host
    #[arg(
        long,
        env = "ORCH_RUNNER_SLOTS",
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    pub runner_slots: u32,
    /// Labels that jobs may ask for, separated by commas
    #[arg(long, env = "ORCH_RUNNER_LABELS", value_name = "LABELS", value_delimiter = ',')]
    pub runner_labels: Vec<String>,
    /// The account whose credential this runner's agents use: limits and the breaker are per account
    #[arg(long, env = "ORCH_RUNNER_ACCOUNT", value_name = "NAME", default_value = "default")]
    pub runner_account: String,
    /// Identity, journal and unsent output of this runner; several runners may share one
    #[arg(long, env = "ORCH_RUNNER_STATE_DIR", value_name = "PATH", default_value = "orch-data/runner")]
    pub runner_state_dir: PathBuf,
    /// Where agents work: a folder per work item
    #[arg(long, env = "ORCH_WORKSPACE_DIR", value_name = "PATH", default_value = "orch-data/workspaces")]
    pub workspace_dir: PathBuf,
    /// The most bytes that workspaces, clones and the HOMEs of agents may take; above it what finished work items left goes, the oldest first
    #[arg(long, env = "ORCH_WORKSPACE_QUOTA_BYTES", value_name = "BYTES", default_value_t = WORKSPACE_QUOTA_BYTES)]
    pub workspace_quota_bytes: u64,
    /// How long a push or a pull request is tried again, by itself, while the forge does not answer; then the job is put off and its agent runs again
    #[arg(long, env = "ORCH_STEP_PATIENCE", value_name = "DURATION", default_value = "2h", value_parser = duration)]
    pub step_patience: Duration,
    /// The forge's credential.
    #[command(flatten)]
    pub git_token: SecretSetting<GitToken>,
    /// Whose name stands in agents' commits
    #[arg(long, env = "ORCH_GIT_USER_NAME", value_name = "NAME", default_value = "Orch")]
    pub git_user_name: String,
    /// The address beside it
    #[arg(long, env = "ORCH_GIT_USER_EMAIL", value_name = "EMAIL", default_value = "orch@localhost")]
    pub git_user_email: String,
    /// Names of environment variables passed through to the agent, separated by commas; everything else is left out
    #[arg(long, env = "ORCH_AGENT_ENV", value_name = "NAMES", value_delimiter = ',')]
    pub agent_env: Vec<String>,
    /// The agent's permission mode; nobody is there to answer its questions, so the default asks none, and the host or container is the fence
    #[arg(long, env = "ORCH_AGENT_PERMISSION_MODE", value_name = "MODE", default_value = shim::PERMISSION_MODE_DEFAULT)]
    pub agent_permission_mode: String,
    /// The strictest tier of containment that this runner offers to projects that ask for one: environment, limits, sandbox, sealed; what of it the host can give is found by trying
    #[arg(long, env = "ORCH_CONTAINMENT", value_name = "TIER", default_value = "sealed", value_parser = tier)]
    pub containment: Tier,
    /// The most memory of an agent with all that it starts, swap included; from tier limits on, as the next three
    #[arg(long, env = "ORCH_AGENT_MEMORY_BYTES", value_name = "BYTES", default_value_t = Bounds::default().memory_bytes, value_parser = clap::value_parser!(u64).range(16 << 20..))]
    pub agent_memory_bytes: u64,
    /// The most processes and threads of an agent at once
    #[arg(long, env = "ORCH_AGENT_PIDS", value_name = "N", default_value_t = Bounds::default().pids, value_parser = clap::value_parser!(u32).range(8..))]
    pub agent_pids: u32,
    /// The most CPU time of an agent, in percent of one CPU; as much as there is when not given
    #[arg(long, env = "ORCH_AGENT_CPU_PERCENT", value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub agent_cpu_percent: Option<u32>,
    /// The most that an agent's workspace and HOME may take of the disk, and each file it writes; above it the agent is ended
    #[arg(long, env = "ORCH_AGENT_DISK_BYTES", value_name = "BYTES", default_value_t = Bounds::default().disk_bytes, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub agent_disk_bytes: u64,
    /// Paths that agents may read besides the system's, from tier sandbox on, separated by commas: where their tools are, if not below /usr or /opt
    #[arg(long, env = "ORCH_AGENT_READ_PATHS", value_name = "PATHS", value_delimiter = ',')]
    pub agent_read_paths: Vec<PathBuf>,
    /// The users that agents run as, one for each that lives: a range of ids that nobody else on the host has, such as 60600-60639, with one more than there are slots; the runner needs root or six capabilities for it. Without it agents run as the runner's user
    #[arg(long, env = "ORCH_AGENT_USERS", value_name = "FIRST-LAST", value_parser = Users::parse)]
    pub agent_users: Option<Users>,
    /// How long the answer of the agent's `--version` counts
    #[arg(long, env = "ORCH_PREFLIGHT_CACHE_TTL", value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub preflight_cache_ttl: Duration,
}

fn tier(word: &str) -> Result<Tier, String> {
    Tier::parse(word)
        .ok_or_else(|| format!("there is no tier {word}: environment, limits, sandbox or sealed"))
}

/// The program that is run as the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCommand {
    /// A path, or a name looked up in PATH.
    pub program: PathBuf,
    /// Arguments before those that every agent gets.
    pub leading_args: Vec<String>,
}

/// How a shim is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimCommand {
    /// A binary that calls [`shim::main_if_asked`].
    pub program: PathBuf,
    /// What makes it a shim.
    pub leading_args: Vec<String>,
}

impl Default for ShimCommand {
    /// The running binary itself, also when its file has been replaced since.
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), leading_args: vec![shim::SUBCOMMAND.to_owned()] }
    }
}

/// How a run's processes are held together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containment {
    /// A cgroup where one is to be had, else as `Marker`.
    #[default]
    Cgroup,
    /// Session, subreaper and a marker in the environment; no controller either.
    Marker,
}

/// Bounds of every run on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// The first bytes of a log that are kept whatever follows (16 MiB).
    pub spool_head_bytes: u64,
    /// The last bytes of a log that are kept (48 MiB).
    pub spool_tail_bytes: u64,
    /// How long after its result an agent may take to exit (30 s).
    pub after_result: Duration,
    /// How the agent's processes are held together.
    pub containment: Containment,
    /// How far agents can be contained, and what they may take.
    pub fence: Fence,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            spool_head_bytes: 16 * 1024 * 1024,
            spool_tail_bytes: 48 * 1024 * 1024,
            after_result: Duration::from_secs(30),
            containment: Containment::default(),
            fence: Fence::default(),
        }
    }
}

/// Everything a runner needs to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Where the scheduler reaches this runner; from the bound address when absent.
    pub advertise_url: Option<String>,
    /// Where the scheduler is, or several separated by commas; where the node joined, or on this host, when absent.
    pub scheduler_url: Option<String>,
    /// Keys and certificates.
    pub tls: TlsSettings,
    /// What the listener grants.
    pub listener: ListenerSettings,
    /// With what the node joins when it has no certificate.
    pub join_token: Option<Secret>,
    /// The agent.
    pub agent: AgentCommand,
    /// The keeper of each run.
    pub shim: ShimCommand,
    /// How many agents run at once.
    pub slots: u32,
    /// Labels that jobs may ask for.
    pub labels: Vec<String>,
    /// The account whose credential the agents use.
    pub account: Account,
    /// Identity, journal and spools.
    pub state_dir: PathBuf,
    /// A folder per work item.
    pub workspace_dir: PathBuf,
    /// The most that they, their clones and the HOMEs of agents may take.
    pub workspace_quota_bytes: u64,
    /// How often it is looked which of them may go (10 min).
    pub tidy_every: Duration,
    /// How long a step is tried again while the forge does not answer.
    pub step_patience: Duration,
    /// The forge's credential.
    pub git_token: Option<Secret>,
    /// Where the forge's API is.
    pub gitea_api_url: Option<String>,
    /// Whose name stands in agents' commits.
    pub git_user_name: String,
    /// The address beside it.
    pub git_user_email: String,
    /// Names of variables passed through to the agent.
    pub agent_env: Vec<String>,
    /// `--permission-mode` of the agent.
    pub permission_mode: String,
    /// How long a preflight counts.
    pub preflight_ttl: Duration,
    /// Bounds of every run.
    pub limits: RunLimits,
    /// The runner's time; shims always live by the host's.
    pub clock: Clock,
    /// The source of sessions, nonces and the node's id.
    pub random: Random,
}

impl Options {
    /// Resolves settings, on the host's clock.
    pub fn new(
        settings: Settings,
        forge: ForgeEndpoint,
        scheduler: SchedulerEndpointSettings,
        tls: TlsSettings,
    ) -> Self {
        let mut labels: Vec<String> =
            settings.runner_labels.into_iter().filter(|label| !label.is_empty()).collect();
        labels.sort();
        labels.dedup();
        let read = settings.agent_read_paths.into_iter().filter(|path| path.is_absolute()).collect();
        let fence = Fence {
            offer: settings.containment,
            bounds: Bounds {
                memory_bytes: settings.agent_memory_bytes,
                pids: settings.agent_pids,
                cpu_percent: settings.agent_cpu_percent,
                disk_bytes: settings.agent_disk_bytes,
            },
            read,
            users: settings.agent_users,
        };
        Self {
            addr: settings.runner_addr,
            advertise_url: settings.runner_advertise_url,
            scheduler_url: scheduler.scheduler_url,
            tls,
            listener: ListenerSettings::default(),
            join_token: None,
            agent: AgentCommand { program: settings.claude_bin, leading_args: Vec::new() },
            shim: ShimCommand::default(),
            slots: settings.runner_slots,
            labels,
            account: Account(settings.runner_account),
            state_dir: settings.runner_state_dir,
            workspace_dir: settings.workspace_dir,
            workspace_quota_bytes: settings.workspace_quota_bytes,
            tidy_every: TIDY_EVERY,
            step_patience: settings.step_patience,
            git_token: settings.git_token.get().cloned(),
            gitea_api_url: forge.gitea_api_url.filter(|url| !url.is_empty()),
            git_user_name: settings.git_user_name,
            git_user_email: settings.git_user_email,
            agent_env: settings.agent_env.into_iter().filter(|name| !name.is_empty()).collect(),
            permission_mode: settings.agent_permission_mode,
            preflight_ttl: settings.preflight_cache_ttl,
            limits: RunLimits { fence, ..RunLimits::default() },
            clock: Clock::system(),
            random: Random::system(),
        }
    }
}

/// What the names of variables have in them that hold a secret.
const SECRET_WORDS: [&str; 6] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH"];

impl Options {
    /// The secrets that this node knows: its own, and those in the variables that are passed on to agents.
    #[expect(clippy::disallowed_methods, reason = "the agent's environment is this process's")]
    pub(crate) fn mask(&self) -> Mask {
        let is_secret = |name: &&String| {
            let name = name.to_ascii_uppercase();
            SECRET_WORDS.iter().any(|word| name.contains(word))
        };
        let passed: Vec<Secret> = self
            .agent_env
            .iter()
            .filter(is_secret)
            .filter_map(|name| std::env::var(name).ok().map(Secret::new))
            .collect();
        Mask::new(passed.iter().chain(&self.git_token).chain(&self.join_token))
    }
}

impl From<Cli> for Options {
    fn from(cli: Cli) -> Self {
        let join_token = cli.join_token.get().cloned();
        Self {
            join_token,
            listener: cli.listener,
            ..Self::new(cli.runner, cli.forge, cli.scheduler, cli.tls)
        }
    }
}
