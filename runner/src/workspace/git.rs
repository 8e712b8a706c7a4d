//! Calls git: arguments and never a shell, an environment made from empty, nothing read from the host's configuration, every
//! call bounded. The credential is handed to the calls that need it by [`super::credential`], and is in no message.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use domain::outcome::Exit;
use domain::workspace::WorkspaceFault;
use service::settings::Secret;
use tokio::process::Command;

use super::credential::{Credential, HELPER};
use super::fault;
use crate::command::{self, Bounds, Ended, NotEnded};
use crate::contain::Users;
use crate::shim::PATH_DEFAULT;

/// How long a call may take that reaches nobody outside.
const LOCAL_WITHIN: Duration = Duration::from_mins(10);
/// How long one may take that does: the first clone of a large repository.
const REMOTE_WITHIN: Duration = Duration::from_hours(1);
/// The most that is read of what a call prints.
const OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most of git's words that an error quotes.
const WORDS_BYTES_MAX: usize = 2000;

/// Who the password is for where the clone URL names nobody; forges take any name with a token.
const USER_DEFAULT: &str = "orch";
/// Holds whatever a repository, or an agent in it, has configured: no hook, no program of somebody's choice.
const FORCED: [(&str, &str); 11] = [
    ("safe.directory", "*"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.editor", "false"),
    ("core.pager", "cat"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];
/// The same for calls that reach a remote.
const FORCED_REMOTE: [(&str, &str); 5] = [
    ("http.followRedirects", "false"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
    ("credential.helper", ""),
    ("fetch.unpackLimit", "1"),
];
/// What of the runner's own environment a call to a remote needs: its SSH keys, proxies and certificates.
const INHERITED: [&str; 11] = [
    "HOME",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
];

/// The host's git, and who it acts as.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    /// The password for the forge.
    pub(crate) token: Option<Secret>,
    /// Whose name stands in commits.
    pub(crate) user_name: String,
    /// The address beside it.
    pub(crate) user_email: String,
    /// Whether the host has Git LFS.
    pub(crate) has_lfs: bool,
    /// Whose agents write into clones beside the runner; none: they are the runner's user.
    pub(crate) users: Option<Users>,
}

impl Git {
    /// A call in a git folder that reaches nobody outside and has no credential.
    pub(crate) fn local(&self, git_dir: &Path) -> Call<'_> {
        Call {
            git: self,
            git_dir: Some(git_dir.to_owned()),
            work_tree: None,
            folder: PathBuf::from("/"),
            arguments: Vec::new(),
            environment: Vec::new(),
            config: FORCED.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            held: None,
            credential: None,
            within: LOCAL_WITHIN,
        }
    }

    /// A call that reaches the forge of `clone_url` with the credential. `transport` must be the repository's own
    /// [`super::Workspace::transport`], whose configuration nobody else writes.
    pub(crate) fn remote(&self, transport: &Path, clone_url: &str) -> Call<'_> {
        let mut call = self.local(transport).within(REMOTE_WITHIN);
        call.config.extend(FORCED_REMOTE.map(|(key, value)| (key.to_owned(), value.to_owned())));
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                call = call.env(name, value);
            }
        }
        call = call.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=30");
        if let (Some(token), Some(forge)) = (&self.token, forge_of(clone_url)) {
            let user = user_of(clone_url).unwrap_or(USER_DEFAULT);
            call.credential = Some(Credential { user: user.to_owned(), password: token.clone() });
            call.config.push((format!("credential.{forge}.helper"), HELPER.to_owned()));
        }
        call
    }

    /// A text of git's, fit to be shown: without the credential, and not too long.
    pub(crate) fn shown(&self, text: &str) -> String {
        let redacted = match &self.token {
            Some(token) => text.replace(token.expose(), "[redacted]"),
            None => text.to_owned(),
        };
        domain::agent_output::cut_front(redacted.trim(), WORDS_BYTES_MAX)
    }
}

/// The URL that git is given: without a user, who belongs to the credential.
pub(crate) fn plain_url(clone_url: &str) -> String {
    match (http_parts(clone_url), user_of(clone_url)) {
        (Some((scheme, rest)), Some(user)) => {
            format!(
                "{scheme}://{}",
                rest.strip_prefix(user).and_then(|rest| rest.strip_prefix('@')).unwrap_or(rest)
            )
        }
        _ => clone_url.to_owned(),
    }
}

fn http_parts(clone_url: &str) -> Option<(&str, &str)> {
    clone_url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "https" | "http"))
}

fn user_of(clone_url: &str) -> Option<&str> {
    let (_, rest) = http_parts(clone_url)?;
    rest.split('/').next()?.rsplit_once('@').map(|(user, _)| user).filter(|user| !user.is_empty())
}

/// `https://host:port`: whom the credential is for.
fn forge_of(clone_url: &str) -> Option<String> {
    let plain = plain_url(clone_url);
    let (scheme, rest) = http_parts(&plain)?;
    Some(format!("{scheme}://{}", rest.split('/').next()?))
}

/// One call of git, being put together.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    git: &'a Git,
    git_dir: Option<PathBuf>,
    work_tree: Option<PathBuf>,
    folder: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    config: Vec<(String, String)>,
    held: Option<File>,
    credential: Option<Credential>,
    within: Duration,
}

impl Call<'_> {
    /// Without a git folder: for the call that makes one.
    pub(crate) fn nowhere(mut self) -> Self {
        self.git_dir = None;
        self
    }

    pub(crate) fn work_tree(mut self, path: &Path) -> Self {
        self.work_tree = Some(path.to_owned());
        self
    }

    /// In this folder, where git finds its repository itself.
    pub(crate) fn inside(mut self, folder: &Path) -> Self {
        self.git_dir = None;
        folder.clone_into(&mut self.folder);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Sets what a repository's own configuration cannot undo.
    pub(crate) fn config(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Keeps a lock's file open in the program, so that the lock is held until that is gone, too.
    pub(crate) fn holding(mut self, lock: &File) -> Self {
        self.held = lock.try_clone().ok();
        self
    }

    pub(crate) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs it; its output when it succeeds.
    pub(crate) async fn run(self) -> Result<String, GitError> {
        let (git, name) = (self.git, self.name());
        let ended = self.end().await?;
        if ended.succeeded() && ended.stdout.dropped == 0 {
            return Ok(ended.stdout.text());
        }
        let words = git.shown(&format!("{}\n{}", ended.stdout.text(), ended.stderr.text()));
        Err(GitError::Failed { name, exit: ended.exit, words })
    }

    /// Runs it and tells yes from no by the exit code: 0 and 1.
    pub(crate) async fn asks(self) -> Result<bool, GitError> {
        let (git, name) = (self.git, self.name());
        let ended = self.end().await?;
        match ended.exit {
            Exit::Code(0) => Ok(true),
            Exit::Code(1) => Ok(false),
            exit @ (Exit::Code(_) | Exit::Signal(_)) => {
                Err(GitError::Failed { name, exit, words: git.shown(&ended.stderr.text()) })
            }
        }
    }

    fn name(&self) -> String {
        self.arguments.first().map(|first| first.to_string_lossy().into_owned()).unwrap_or_default()
    }

    async fn end(self) -> Result<Ended, GitError> {
        let bounds = Bounds { within: self.within, output_bytes_max: OUTPUT_BYTES_MAX };
        let (name, credential) = (self.name(), self.credential.clone());
        let mut command = self.command();
        let not_ended = |problem| GitError::NotEnded { name, problem };
        let answers = match credential.map(|credential| credential.lend(&mut command)).transpose() {
            Ok(answers) => answers,
            Err(error) => return Err(not_ended(NotEnded::NotExecuted(error))),
        };
        let running = command::run(command, bounds);
        let ended = match answers {
            Some(answers) => answers.during(running).await,
            None => running.await,
        };
        ended.map_err(not_ended)
    }

    fn command(self) -> Command {
        let mut command = Command::new("git");
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        command.env_clear().env("PATH", path).env("HOME", "/nonexistent").env("LC_ALL", "C");
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", ""),
            ("SSH_ASKPASS", ""),
            ("GIT_ALLOW_PROTOCOL", "https:http:ssh:file"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_AUTHOR_NAME", self.git.user_name.as_str()),
            ("GIT_AUTHOR_EMAIL", self.git.user_email.as_str()),
            ("GIT_COMMITTER_NAME", self.git.user_name.as_str()),
            ("GIT_COMMITTER_EMAIL", self.git.user_email.as_str()),
        ] {
            command.env(name, value);
        }
        command.envs(self.environment);
        command.env("GIT_CONFIG_COUNT", self.config.len().to_string());
        for (number, (key, value)) in self.config.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{number}"), key)
                .env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        if let Some(git_dir) = &self.git_dir {
            command.arg("--git-dir").arg(git_dir);
        }
        command.current_dir(&self.folder);
        if let Some(work_tree) = &self.work_tree {
            command.arg("--work-tree").arg(work_tree).current_dir(work_tree);
        }
        command.args(self.arguments);
        command.stdin(self.held.map_or_else(Stdio::null, Stdio::from));
        command
    }
}

/// A call that did not succeed. Its words are fit to be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git {name} failed ({exit:?}): {words}")]
    Failed { name: String, exit: Exit, words: String },
    #[error("git {name} {problem}")]
    NotEnded { name: String, problem: NotEnded },
}

impl GitError {
    /// What it means where the call reached a remote.
    pub(crate) fn remote_fault(&self) -> WorkspaceFault {
        match self {
            Self::Failed { words, .. } => fault::of_words(words),
            Self::NotEnded { problem: NotEnded::TooLong(..), .. } => WorkspaceFault::Network,
            Self::NotEnded { problem: NotEnded::NotExecuted(_), .. } => WorkspaceFault::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_in_the_url_belongs_to_the_credential() {
        let url = "https://bot@git.example:3000/acme/shop.git";
        assert_eq!(plain_url(url), "https://git.example:3000/acme/shop.git");
        assert_eq!((user_of(url), forge_of(url).as_deref()), (Some("bot"), Some("https://git.example:3000")));
        for other in ["git@git.example:acme/shop.git", "ssh://git@git.example/x", "/srv/x.git", "file:///x"] {
            assert_eq!((plain_url(other).as_str(), forge_of(other)), (other, None));
        }
    }
}
