//! What the workspace of a work item is called in git, which commit it must show, and why one could not be prepared.
//!
//! Names come from keys that other people choose, so each is made into one that is safe as a ref and as an argument.
//! Preparing a workspace is the runner's work.

use std::collections::BTreeMap;

mod name;

use serde::{Deserialize, Serialize};

pub use name::{BRANCH_PREFIX, KEY_BYTES_MAX, branch, has_usual_case, key_of_branch};

use crate::pipeline::{CommandLine, HOOK_TIMEOUT, Project, Stage};

/// The longest ref name that is taken from a configuration, in bytes.
const REF_BYTES_MAX: usize = 200;

/// Whether a name can be nothing but one branch: what `git check-ref-format --branch` takes, and less.
pub fn is_ref_safe(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && !part.ends_with('.')
            && !part.as_bytes().to_ascii_lowercase().ends_with(b".lock")
    };
    let letter = |letter: char| {
        !letter.is_whitespace() && !letter.is_control() && !"~^:?*[\\\"'`$;&|<>(){}!".contains(letter)
    };
    name.len() <= REF_BYTES_MAX
        && name != "HEAD"
        && name != "@"
        && name.split('/').all(part)
        && name.chars().all(letter)
        && !name.contains("..")
        && !name.contains("@{")
}

/// Looks whether git may be given this URL: a transport that runs no program of its own, and no credential.
///
/// # Errors
/// What is wrong with it and what to do, to be read after the setting's name.
pub fn check_clone_url(url: &str) -> Result<(), &'static str> {
    const SCHEMES: [&str; 4] = ["https", "http", "ssh", "file"];
    if url.starts_with('-') || url.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err("must not begin with a dash or hold blanks");
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        return if !SCHEMES.contains(&scheme) {
            Err("must be an https, http, ssh or file URL, `user@host:path`, or an absolute path")
        } else if user.contains(':') {
            Err("holds a password: take it out and give it to the runners as ORCH_GIT_TOKEN")
        } else if rest.is_empty() || authority.starts_with('-') {
            Err("names no host")
        } else {
            Ok(())
        };
    }
    let over_ssh = url.split_once(':').is_some_and(|(host, path)| {
        !host.is_empty() && !host.contains('/') && !path.is_empty() && !path.starts_with(':')
    });
    if url.starts_with('/') || over_ssh {
        Ok(())
    } else {
        Err("must be an https, http, ssh or file URL, `user@host:path`, or an absolute path")
    }
}

/// Whether a text is a whole object id.
pub fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a work item is a pull request with a head branch of its own, such as `acme/shop#12`.
pub fn is_own_pull_request(repo: &str, key: &str) -> bool {
    let number = key.strip_prefix(repo).and_then(|rest| rest.strip_prefix('#'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How a job's commit binds its workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadRule {
    /// The workspace goes on from what is there, as long as that contains the commit.
    #[default]
    Contains,
    /// The first try of the job begins at the commit; later ones go on from what the ones before made of it.
    BeginsAt,
    /// The workspace shows the commit and nothing else: what is done there is judged.
    Exactly,
}

impl HeadRule {
    /// The rule for a job of a stage that judges, or does not, for an item that is a pull request of its own, or is not.
    pub const fn of(judges: bool, own_pull_request: bool) -> Self {
        match (judges, own_pull_request) {
            (true, _) => Self::Exactly,
            (false, true) => Self::BeginsAt,
            (false, false) => Self::Contains,
        }
    }
}

/// What a runner needs to prepare a work item's worktree. All of it comes from `orch.toml`, from the item's key and from
/// commits that the forge announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Where to clone from, without any credential.
    pub clone_url: String,
    /// The branch that work begins from; `None`: what the remote's HEAD names.
    pub base: Option<String>,
    /// The item's own branch.
    pub branch: String,
    /// The commit the job was made for.
    pub head: Option<String>,
    /// How that commit binds the workspace.
    pub head_rule: HeadRule,
    /// The pull request the commit belongs to: a fork's commits are fetched by it.
    pub pull_request: Option<u64>,
    /// The project's commands around its runs.
    pub hooks: HookCommands,
}

/// Commands around a run, each as a program and its arguments; an empty one is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCommands {
    /// Once, when a workspace was made.
    pub after_create: Vec<String>,
    /// Before each agent.
    pub before_run: Vec<String>,
    /// After each agent.
    pub after_run: Vec<String>,
    /// The longest that each may take, in milliseconds.
    pub timeout_ms: i64,
}

impl Repository {
    /// What a job of `stage` needs; `None` for a project without `clone_url`.
    ///
    /// The base is never the one that a pull request names: its author chose that.
    pub fn of(
        project: &Project,
        work_item: &str,
        stage: &Stage,
        head: Option<String>,
        facts: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let repo = project.gitea_repo.as_deref().unwrap_or(&project.name);
        let own_pull_request = is_own_pull_request(repo, work_item);
        let argv =
            |command: &Option<CommandLine>| command.as_ref().map(CommandLine::argv).unwrap_or_default();
        let hooks = &project.hooks;
        let timeout_ms = hooks.timeout.unwrap_or(HOOK_TIMEOUT).as_millis();
        Some(Self {
            clone_url: project.clone_url.clone()?,
            base: project.base.clone(),
            branch: branch(work_item),
            head: head.filter(|head| is_object_id(head)),
            head_rule: HeadRule::of(stage.judges(), own_pull_request),
            pull_request: facts.get("pull_request").and_then(|number| number.parse().ok()),
            hooks: HookCommands {
                after_create: argv(&hooks.after_create),
                before_run: argv(&hooks.before_run),
                after_run: argv(&hooks.after_run),
                timeout_ms: i64::try_from(timeout_ms).unwrap_or(i64::MAX),
            },
        })
    }
}

/// Why a workspace could not be prepared. Says nothing of the provider or its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceFault {
    /// The forge could not be reached, or not in time: tried again later.
    Network,
    /// The forge refused the credential: a person must see to it.
    Auth,
    /// The repository, the base branch or the job's commit is not there: would fail again as it is.
    Missing,
    /// The runner's own disk or git failed: tried again as after a lost runner, at most `infra_attempts` times.
    Broken,
    /// A hook of the project failed or took too long.
    Hook,
    /// Another run of the same item lives in it: waited for, no budget moves.
    Busy,
}

impl WorkspaceFault {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Network, Self::Auth, Self::Missing, Self::Broken, Self::Hook, Self::Busy];

    /// The reason's word in the database and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "workspace_network",
            Self::Auth => "workspace_auth",
            Self::Missing => "workspace_missing",
            Self::Broken => "workspace_broken",
            Self::Hook => "workspace_hook",
            Self::Busy => "workspace_busy",
        }
    }

    /// Reads the word back.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == word)
    }
}

#[cfg(test)]
mod tests;
