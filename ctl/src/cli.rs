//! The command line of `orch`, and which module does what it asks.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use domain::Timestamp;
use service::Clock;

use crate::admin::{
    SchedulerAccess, accounts, audit, breakers, budgets, items, jobs, logs, queue, requeue, runners,
};
use crate::exit::{Failure, exit_codes_help};
use crate::print::Output;
use crate::{ca, classify, config_check, copies, dev, doctor, import, manual, migrate, top};

/// Orch runs coding agents unattended: this is its admin command
#[derive(Clone, Debug, Parser)]
#[command(name = "orch", version, after_help = exit_codes_help())]
pub struct Cli {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: ingest, scheduler, runner and console on SQLite, in one folder
    Dev(Box<dev::Dev>),
    /// Print a generated page of the docs
    #[command(hide = true)]
    Reference {
        /// Which
        #[arg(value_enum, default_value = "configuration")]
        page: manual::Page,
    },
    /// Print the completions of a shell, to be sourced or put where it looks for them
    Completions {
        /// Shell
        shell: manual::Shell,
    },
    /// Write the man pages into a folder, or print that of `orch`
    Man {
        /// Folder, such as ~/.local/share/man/man1; it is made when it is not there
        folder: Option<PathBuf>,
    },
    /// Play the agent of `orch dev --demo`
    #[command(hide = true, disable_help_flag = true)]
    DemoAgent {
        /// What claude would be given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    #[command(flatten)]
    Admin(Box<Admin>),
}

/// The commands that ask, look or judge, and then end.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Admin {
    /// Make a job
    Enqueue {
        #[command(flatten)]
        ask: jobs::Enqueue,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Show the queue: counts, what stands in its way, the newest jobs
    Queue {
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Watch everything live: what runs, what waits and why, who needs you, runners, quota, spending
    ///
    /// Keys: up and down select a job, whose why and log are shown below; c ends it, after a question; q quits.
    Top {
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// List jobs, the newest first
    Jobs {
        #[command(flatten)]
        list: jobs::List,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Show a job with all its runs
    Job {
        /// Job
        #[arg(value_parser = jobs::parse_id)]
        id: i64,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Say why a job is where it is, until when, and what to do
    Why {
        /// Job
        #[arg(value_parser = jobs::parse_id)]
        id: i64,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Show what a job's runs printed
    Logs {
        #[command(flatten)]
        logs: logs::Logs,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// End a job; a running agent gets time to stop
    Cancel {
        /// Job
        #[arg(value_parser = jobs::parse_id)]
        id: i64,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Queue a failed or cancelled job again
    Retry {
        /// Job
        #[arg(value_parser = jobs::parse_id)]
        id: i64,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Queue many failed or cancelled jobs again, by project, stage or reason
    Requeue {
        #[command(flatten)]
        ask: requeue::Requeue,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// List work items, the newest change first: where each is in the pipeline, and which need you
    Items {
        #[command(flatten)]
        list: items::List,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Let a work item that needs you go on
    Approve {
        #[command(flatten)]
        decide: items::Decide,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Send a work item that needs you back, or end it where nothing is to go back to
    Reject {
        #[command(flatten)]
        decide: items::Decide,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Say who did what, from where, and what came of it, the newest first
    Audit {
        #[command(flatten)]
        list: audit::List,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Start nothing more; running agents go on
    Pause {
        #[command(flatten)]
        part: queue::OfPart,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Start due jobs again
    Resume {
        #[command(flatten)]
        part: queue::OfPart,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// List runners, and whether they can start agents; or say that one is gone
    Runners {
        #[command(subcommand)]
        verb: Option<runners::Verb>,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Give a runner no new work
    Drain {
        #[command(flatten)]
        drain: runners::Drain,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// List the accounts' breakers: closed, open or half open
    Breaker {
        #[command(subcommand)]
        verb: Option<breakers::Verb>,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// List accounts, what holds them, and what is used of their quota
    Account {
        #[command(subcommand)]
        verb: Option<accounts::Verb>,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Show what was spent of the projects' and the day's budgets
    Budget {
        #[command(subcommand)]
        verb: Option<budgets::Verb>,
        #[command(flatten)]
        access: SchedulerAccess,
    },
    /// Judge what an agent printed, as a run would be judged
    Classify(classify::Classify),
    /// Look for broken invariants, and for what stands in the way of jobs
    #[command(after_help = "Exits 1 only when an invariant is broken, 3 when the database could not be read")]
    Doctor(doctor::Doctor),
    /// Create the database, or bring it to this program's schema; with `--from` and `--to`, move everything to PostgreSQL
    Migrate(migrate::Migrate),
    /// Take over the queue of the in-process predecessor
    #[command(after_help = "Exits 1 when a job that is not over could not be taken over; the others were")]
    Import(import::Import),
    /// Copy the SQLite database to a new file, while everything runs
    Backup(copies::Copy),
    /// Put a copy in the place of the SQLite database, while nothing runs; what was there is kept
    Restore(copies::Copy),
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        verb: config_check::Verb,
    },
    /// Look after the certificates of the services and of people
    Ca {
        #[command(subcommand)]
        verb: ca::Verb,
    },
    /// Make a token that lets a new runner join
    JoinToken(ca::JoinToken),
}

/// Does what a command asks.
pub(crate) async fn act(command: Admin, output: Output) -> Result<(), Failure> {
    let now = Timestamp::from_ms(Clock::system().now_ms());
    match command {
        Admin::Import(ask) => import::run(ask, output, now).await,
        Admin::Backup(ask) => copies::backup(&ask, output).await,
        Admin::Restore(ask) => copies::restore(&ask, output, now).await,
        Admin::Enqueue { ask, access } => jobs::enqueue(&access, ask, output).await,
        Admin::Queue { access } => queue::show(&access, output, now).await,
        Admin::Top { access } => top::run(&access, output).await,
        Admin::Jobs { list, access } => jobs::list(&access, list, output, now).await,
        Admin::Job { id, access } => jobs::show(&access, id, output, now).await,
        Admin::Why { id, access } => jobs::why(&access, id, output, now).await,
        Admin::Logs { logs, access } => logs::show(&access, logs, output).await,
        Admin::Cancel { id, access } => jobs::cancel(&access, id, output).await,
        Admin::Retry { id, access } => jobs::retry(&access, id, output).await,
        Admin::Requeue { ask, access } => requeue::run(&access, ask, output).await,
        Admin::Items { list, access } => items::list(&access, list, output, now).await,
        Admin::Approve { decide, access } => items::approve(&access, decide, output).await,
        Admin::Reject { decide, access } => items::reject(&access, decide, output).await,
        Admin::Audit { list, access } => audit::list(&access, list, output, now).await,
        Admin::Pause { part, access } => queue::pause(&access, part, output).await,
        Admin::Resume { part, access } => queue::resume(&access, part, output).await,
        Admin::Runners { verb: None, access } => runners::list(&access, output, now).await,
        Admin::Runners { verb: Some(runners::Verb::Lost { node }), access } => {
            runners::lose(&access, node, output).await
        }
        Admin::Drain { drain, access } => runners::drain(&access, drain, output).await,
        Admin::Breaker { verb: None, access } => breakers::list(&access, output, now).await,
        Admin::Breaker { verb: Some(breakers::Verb::Reset { account }), access } => {
            breakers::reset(&access, account, output).await
        }
        Admin::Account { verb: None, access } => accounts::list(&access, output, now).await,
        Admin::Account { verb: Some(accounts::Verb::Resume { account }), access } => {
            accounts::resume(&access, account, output).await
        }
        Admin::Budget { verb: None, access } => budgets::list(&access, output).await,
        Admin::Budget { verb: Some(budgets::Verb::Raise(raise)), access } => {
            budgets::raise(&access, raise, output).await
        }
        Admin::Classify(ask) => classify::run(&ask, output, now),
        Admin::Doctor(ask) => doctor::run(&ask, output).await,
        Admin::Migrate(ask) => migrate::run(&ask, output, now).await,
        Admin::Config { verb } => config_check::run(verb, output),
        Admin::Ca { verb } => ca::run(verb, output),
        Admin::JoinToken(ask) => ca::join_token(&ask, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read_as_people_and_scripts_write_them() {
        let parsed = |line: &str| service::settings::try_parse_from::<Cli>(line.split(' ')).is_ok();
        for line in [
            "orch enqueue --project shop --stage review --work-item SHOP-12 --prompt - --priority -3 --key k",
            "orch queue --json",
            "orch --json jobs --status queued",
            "orch top",
            "orch job 7",
            "orch why 7 --json",
            "orch logs 7 -f",
            "orch logs -f 0192f0c1-2b3c-7d4e-8f50-616263646566",
            "orch cancel 7",
            "orch retry 7",
            "orch requeue --project shop --stage review --reason crash --dry-run",
            "orch items --state needs_you --json",
            "orch approve SHOP-12 --project shop --note fine --by ada",
            "orch reject acme/shop#12",
            "orch pause",
            "orch pause --project shop",
            "orch ca init --ca-dir ca",
            "orch ca issue admin/ada --out certs --lifetime 7d --host a,b",
            "orch ca revoke node/0192f0c1-2b3c-7d4e-8f50-616263646566",
            "orch join-token --url https://orch.example:7070 --uses 3",
            "orch resume",
            "orch resume --stage review --json",
            "orch audit",
            "orch audit 7 -n 5 --before 100",
            "orch runners",
            "orch runners lost node-1 --json",
            "orch drain node-1 --wait",
            "orch breaker",
            "orch breaker reset default --json",
            "orch account",
            "orch account resume default",
            "orch budget",
            "orch budget raise item shop/SHOP-1 --usd 5",
            "orch classify",
            "orch classify - --exit-code -9 --now 2026-11-22T03:00:00Z --json",
            "orch doctor --database-url sqlite://x.db",
            "orch migrate",
            "orch config check orch.toml",
            "orch completions zsh",
            "orch man",
            "orch man pages",
        ] {
            assert!(parsed(line), "{line}");
        }
        for line in [
            "orch",
            "orch job",
            "orch job x",
            "orch jobs --status odd",
            "orch items --state odd",
            "orch approve",
            "orch pause --project shop --stage review",
            "orch classify --now soon",
            "orch enqueue",
            "orch completions cmd",
        ] {
            assert!(!parsed(line), "{line}");
        }
    }
}
