//! Secrets: values that are never printed, each readable from a file as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::OnceLock;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};

/// What a pipe certainly holds before anybody reads, in bytes: a page for each of sixteen buffers, or one where a user has too many.
const PIPE_BYTES_MAX: usize = 4096;
/// The longest secret file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A value that `Debug` and `Display` do not show. Never empty when it comes from a setting.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value into custody.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

/// What a secret setting is called. Declare one with [`secret!`](crate::secret).
pub trait SecretName {
    /// The environment variable, such as `ORCH_GITEA_TOKEN`; flag and `_FILE` follow from it.
    const SETTING: &'static str;
    /// What it is for, one line.
    const HELP: &'static str;
}

/// Declares the name of a secret setting; use it as `#[command(flatten)] token: SecretSetting<GiteaToken>`.
///
/// ```
/// service::secret! {
///     /// Token for Gitea's API.
///     pub GiteaToken = "ORCH_GITEA_TOKEN";
/// }
/// ```
#[macro_export]
macro_rules! secret {
    ($($(#[doc = $doc:literal])+ $visible:vis $name:ident = $setting:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visible struct $name;

        impl $crate::settings::SecretName for $name {
            const SETTING: &'static str = $setting;
            const HELP: &'static str = concat!($($doc),+);
        }
    )+};
}

/// A secret that is given as `X` or, as the path of a file, as `X_FILE`; not both.
///
/// The file's last newline is dropped. Empty, either way, counts as none.
pub struct SecretSetting<N> {
    secret: Option<Secret>,
    name: PhantomData<fn() -> N>,
}

impl<N: SecretName> SecretSetting<N> {
    /// The secret, when there is one.
    pub fn get(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// A setting with this value, for code that starts a service without a command line.
    pub fn of(secret: Option<Secret>) -> Self {
        Self { secret: secret.filter(|secret| !secret.0.is_empty()), name: PhantomData }
    }

    /// The name of the setting.
    pub fn setting(&self) -> &'static str {
        N::SETTING
    }
}

impl<N> Clone for SecretSetting<N> {
    fn clone(&self) -> Self {
        Self { secret: self.secret.clone(), name: PhantomData }
    }
}

impl<N> Default for SecretSetting<N> {
    fn default() -> Self {
        Self { secret: None, name: PhantomData }
    }
}

impl<N: SecretName> fmt::Debug for SecretSetting<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", N::SETTING, if self.secret.is_some() { "redacted" } else { "none" })
    }
}

impl<N: SecretName> Args for SecretSetting<N> {
    fn augment_args(command: Command) -> Command {
        let value = argument(N::SETTING.to_owned())
            .value_parser(value_parser!(String))
            .hide_env_values(true)
            .help(N::HELP.trim().trim_end_matches('.').to_owned());
        let file = argument(file_setting(N::SETTING))
            .value_parser(NonEmptyStringValueParser::new())
            .value_name("PATH")
            .help(format!("File to read {} from instead", N::SETTING));
        command.arg(value).arg(file)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<N: SecretName> FromArgMatches for SecretSetting<N> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file_setting = file_setting(N::SETTING);
        let withdrawn = || WITHDRAWN.get().and_then(|secrets| secrets.get(N::SETTING));
        let value = matches.get_one::<String>(&id(N::SETTING)).filter(|value| !value.is_empty());
        let value = value.or_else(withdrawn);
        let file = matches.get_one::<String>(&id(&file_setting));
        let secret = match (value, file) {
            (Some(_), Some(_)) => {
                let reason = format!("{} and {file_setting} are both given: keep one of them\n", N::SETTING);
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, reason));
            }
            (Some(value), None) => Some(Secret::new(value)),
            (None, Some(path)) => read(&PathBuf::from(path)).map_err(|reason| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("{file_setting}: {reason}\n"))
            })?,
            (None, None) => None,
        };
        Ok(Self::of(secret))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What the names of our settings have in them that hold a secret.
const WORDS: [&str; 5] = ["SECRET", "TOKEN", "PASSWORD", "API_KEY", "WEBHOOK_URL"];

/// Takes the secrets of `command`, and those that were given to it although they are other programs', out of this process's environment, which whoever may look at the process can read in
/// `/proc/PID/environ` for as long as it lives: starts the program anew, as the same process, with the secrets in a pipe on
/// its standard input. Returns when there is nothing left to take out, or with the code to end with. To be called first of
/// all in `main`, by a program that reads nothing else from its standard input.
#[expect(clippy::disallowed_methods, reason = "before clap looks, the variables have to be gone")]
pub fn withdraw(command: &Command) -> Option<ExitCode> {
    let names = secrets(command);
    let given: BTreeMap<&str, String> = names
        .iter()
        .filter_map(|name| Some((name.as_str(), std::env::var(name).ok().filter(|value| !value.is_empty())?)))
        .collect();
    let others = others(command);
    let result = if !given.is_empty() || !others.is_empty() {
        let names: Vec<String> = names.iter().cloned().chain(others).collect();
        Err(anew(&names, &given))
    } else if std::env::var_os(WITHDRAWN_VARIABLE).is_some() {
        take()
    } else {
        Ok(())
    };
    let error = result.err()?;
    let names: Vec<&str> = given.keys().copied().collect();
    eprintln!("could not take {} out of the environment: {error}; give it as a file", names.join(", "));
    Some(ExitCode::FAILURE)
}

/// Says that the secrets are in a pipe.
const WITHDRAWN_VARIABLE: &str = "ORCH_SECRETS_ON_STDIN";

static WITHDRAWN: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Whether a setting has a secret that was taken out of the environment.
pub(super) fn is_withdrawn(setting: &str) -> bool {
    WITHDRAWN.get().is_some_and(|secrets| secrets.contains_key(setting))
}

/// The variables of a command whose values are hidden.
fn secrets(command: &Command) -> Vec<String> {
    let hidden = command.get_arguments().filter(|arg| arg.is_hide_env_values_set());
    hidden.filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned())).collect()
}

/// The variables that hold a secret of another program of ours, as where all are given the same file of settings.
fn others(command: &Command) -> Vec<String> {
    let own: BTreeSet<String> = command
        .get_arguments()
        .filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()))
        .chain([WITHDRAWN_VARIABLE.to_owned()])
        .collect();
    let is_other = |name: &String| {
        name.starts_with("ORCH_")
            && !name.ends_with("_FILE")
            && WORDS.iter().any(|word| name.contains(word))
            && !own.contains(name)
    };
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(is_other).collect()
}

/// Returns only what went wrong.
fn anew(names: &[String], given: &BTreeMap<&str, String>) -> io::Error {
    let piped = serde_json::to_vec(given).map_err(io::Error::other).and_then(|text| {
        if text.len() > PIPE_BYTES_MAX {
            let error = format!("together they have {} bytes, at most {PIPE_BYTES_MAX} fit", text.len());
            return Err(io::Error::other(error));
        }
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(&text).map(|()| reader)
    });
    let reader = match piped {
        Ok(reader) => reader,
        Err(error) => return error,
    };
    let mut arguments = std::env::args_os();
    let mut program = process::Command::new("/proc/self/exe");
    program.arg0(arguments.next().unwrap_or_default()).args(arguments);
    for name in names {
        program.env_remove(name);
    }
    program.env(WITHDRAWN_VARIABLE, "1").stdin(reader).exec()
}

/// Takes from the pipe what an earlier image of this process put there.
fn take() -> io::Result<()> {
    let mut text = Vec::new();
    io::stdin().lock().take(PIPE_BYTES_MAX as u64).read_to_end(&mut text)?;
    let secrets = serde_json::from_slice(&text)?;
    let _ = WITHDRAWN.set(secrets);
    Ok(())
}

fn argument(setting: String) -> Arg {
    let flag = setting.trim_start_matches("ORCH_").to_ascii_lowercase().replace('_', "-");
    Arg::new(id(&setting)).long(flag).env(setting)
}

fn id(setting: &str) -> String {
    setting.trim_start_matches("ORCH_").to_ascii_lowercase()
}

fn file_setting(setting: &str) -> String {
    format!("{setting}_FILE")
}

fn read(path: &Path) -> Result<Option<Secret>, String> {
    let fail = |error: std::io::Error| format!("could not read {}: {error}", path.display());
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{} has {size} bytes, a secret has at most {FILE_BYTES_MAX}", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}
