//! What `--data-dir` and `--demo` imply: they change the defaults of other settings, so that flags and the environment
//! still win, and `--help` and `--print-config` show what holds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

/// Where everything is kept unless `--data-dir` says otherwise.
const DATA_DIR: &str = "orch-data";
/// The same for the demo: its jobs must never meet real ones.
const DEMO_DATA_DIR: &str = "orch-data/demo";

/// Settings that a demo takes from its flags alone: with the environment's, it would work on real jobs, or with a
/// real agent.
const DEMO_IGNORES_ENVIRONMENT: &[&str] = &[
    "ORCH_DATABASE_URL",
    "ORCH_CONFIG",
    "ORCH_CLAUDE_BIN",
    "ORCH_LOG_DIR",
    "ORCH_RUNNER_STATE_DIR",
    "ORCH_WORKSPACE_DIR",
];

/// The part of a command line that changes defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Implied {
    folder: PathBuf,
    demo: bool,
    /// There is an `orch.toml` where the command is called.
    config_here: bool,
}

impl Implied {
    /// Looks for the two flags in a command line.
    pub(crate) fn of(args: &[OsString], config_here: bool) -> Self {
        let demo = args.iter().any(|arg| arg == "--demo");
        let separate =
            args.iter().position(|arg| arg == "--data-dir").and_then(|at| args.get(at + 1)).cloned();
        let joined = args.iter().filter_map(|arg| arg.to_str()?.strip_prefix("--data-dir=")).next_back();
        let given = separate.or_else(|| joined.map(OsString::from));
        let folder = given.unwrap_or_else(|| if demo { DEMO_DATA_DIR } else { DATA_DIR }.into());
        Self { folder: folder.into(), demo, config_here }
    }

    /// Changes the defaults of `orch dev`, and of the commands that look at the configuration it wrote.
    pub(crate) fn apply(&self, orch: Command) -> Command {
        let orch = orch.mut_subcommand("dev", |dev| dev.mut_args(|arg| self.adjust(arg)));
        let written = Path::new(DATA_DIR).join("orch.toml");
        if self.config_here || !written.is_file() {
            return orch;
        }
        let look =
            |command: Command| command.mut_arg("config", |arg| arg.default_value(written.into_os_string()));
        orch.mut_subcommand("doctor", look.clone())
            .mut_subcommand("config", |config| config.mut_subcommand("check", look))
    }

    fn adjust(&self, arg: Arg) -> Arg {
        if arg.get_id() == "data_dir" {
            return arg.default_value(self.folder.clone().into_os_string());
        }
        let Some(name) = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned) else { return arg };
        let arg = if self.demo && DEMO_IGNORES_ENVIRONMENT.contains(&name.as_str()) {
            arg.env(None::<&'static str>)
        } else {
            arg
        };
        match self.default_of(&name) {
            Some(value) => arg.default_value(value),
            None => arg,
        }
    }

    fn default_of(&self, setting: &str) -> Option<OsString> {
        let within = |name: &str| Some(self.folder.join(name).into_os_string());
        match setting {
            "ORCH_DATABASE_URL" => {
                let mut url = OsString::from("sqlite://");
                url.push(self.folder.join("orch.db"));
                Some(url)
            }
            "ORCH_CONFIG" if self.config_here && !self.demo => None,
            "ORCH_CONFIG" => within("orch.toml"),
            "ORCH_LOG_DIR" => within("logs"),
            "ORCH_RUNNER_STATE_DIR" => within("runner"),
            "ORCH_WORKSPACE_DIR" => within("workspaces"),
            // The lines below the start are for reading; `--rust-log info` shows what every part does.
            "RUST_LOG" => Some("warn".into()),
            // A program is looked up in PATH unless its path says otherwise, and agents start in other folders.
            "ORCH_CLAUDE_BIN" if self.demo => {
                let agent = self.folder.join(super::folder::DEMO_AGENT);
                Some(std::path::absolute(&agent).unwrap_or(agent).into_os_string())
            }
            "ORCH_BACKOFF_BASE_SECONDS" if self.demo => Some("6".into()),
            "ORCH_BACKOFF_MAX_SECONDS" if self.demo => Some("12".into()),
            _ => None,
        }
    }
}

/// Whether the configuration is the one that `orch dev` writes when it is missing.
pub(crate) fn is_own_config(config: &Path, folder: &Path) -> bool {
    config == folder.join("orch.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn implied(line: &str, config_here: bool) -> Implied {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        Implied::of(&args, config_here)
    }

    #[test]
    fn everything_lies_in_the_data_folder() {
        let plain = implied("orch dev", false);
        let other = implied("orch dev --data-dir /srv/x", false);
        assert_eq!(implied("orch dev --data-dir=/srv/x", false), other);
        let names =
            ["ORCH_DATABASE_URL", "ORCH_CONFIG", "ORCH_LOG_DIR", "ORCH_RUNNER_STATE_DIR", "ORCH_CLAUDE_BIN"];
        let defaults = |implied: &Implied| {
            names.map(|name| implied.default_of(name).map(|value| value.into_string().unwrap()))
        };
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(
            defaults(&plain),
            [
                some("sqlite://orch-data/orch.db"),
                some("orch-data/orch.toml"),
                some("orch-data/logs"),
                some("orch-data/runner"),
                None
            ]
        );
        assert_eq!(defaults(&other)[0], some("sqlite:///srv/x/orch.db"));
        assert_eq!(implied("orch dev", true).default_of("ORCH_CONFIG"), None);
    }

    #[test]
    fn a_demo_never_meets_real_jobs_or_a_real_agent() {
        let demo = implied("orch dev --demo", true);
        assert_eq!(demo.default_of("ORCH_CONFIG"), Some("orch-data/demo/orch.toml".into()));
        let agent = demo.default_of("ORCH_CLAUDE_BIN").unwrap();
        assert!(Path::new(&agent).is_absolute() && Path::new(&agent).ends_with("orch-data/demo/demo-agent"));
        let arg = demo.adjust(Arg::new("claude_bin").long("claude-bin").env("ORCH_CLAUDE_BIN"));
        assert_eq!(arg.get_env(), None);
    }
}
