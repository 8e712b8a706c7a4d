//! The bare clone of one repository: fetched under a lock, shared by the worktrees of its work items.
//!
//! Every agent can write the clone's configuration, since its worktree's commands do; and git executes what a configuration
//! names. So the calls that have the credential use a git folder of their own, the transport: its objects are the clone's, by a
//! link; its refs and its configuration are its own. What was fetched there is then copied, ref by ref, to the clone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use domain::workspace::{Repository as Spec, WorkspaceFault, is_object_id, is_ref_safe};
use sha2::{Digest as _, Sha256};

use super::git::{Git, GitError, plain_url};
use super::record;
use super::{Unprepared, broken, lfs, settings};
use crate::contain::belongings;
use crate::files;

/// How long the first one may take who clones a large repository.
const LOCK_WAIT: Duration = Duration::from_hours(1);
/// How long packing may take; preparations wait for it.
const PACK_WITHIN: Duration = Duration::from_mins(20);
/// A lock file of git's in the clone that is older than this was left by a command that was killed.
const STALE: Duration = Duration::from_mins(15);
/// The most of a URL that stays readable in its folder's name.
const READABLE_BYTES_MAX: usize = 40;
const HASH_DIGITS: usize = 16;

/// Where agents are users of their own: what one of them makes is their group's, and no log of the clone's leads the runner's git
/// to where an agent wants it.
const SHARED: &str = "[core]\n\tsharedRepository = 0660\n\tlogAllRefUpdates = false\n";

const HEADS: &str = "+refs/heads/*:refs/remotes/origin/*";
const TAGS: &str = "+refs/tags/*:refs/tags/*";
const REMOTES: &str = "+refs/remotes/origin/*:refs/remotes/origin/*";
const PULLS: &str = "+refs/pull/*:refs/pull/*";

/// A repository's folder, and the lock on it.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    pub(super) git: &'a Git,
    pub(super) clone: PathBuf,
    pub(super) transport: PathBuf,
    pub(super) clone_url: &'a str,
    pub(super) lock: File,
}

impl<'a> Repository<'a> {
    /// Takes the lock of the repository at `clone_url` and makes its folders if need be.
    pub(super) async fn open(git: &'a Git, root: &Path, clone_url: &'a str) -> Result<Self, Unprepared> {
        let clone = Self::clone_at(root, clone_url);
        let folder = clone.parent().unwrap_or(&clone);
        let lock = record::lock(&folder.join("lock"), LOCK_WAIT)
            .await
            .map_err(|error| broken(format!("could not lock {}: {error}", folder.display())))?
            .ok_or_else(|| Unprepared {
                fault: WorkspaceFault::Network,
                error: format!(
                    "{clone_url} has been fetched by somebody else for {} minutes",
                    LOCK_WAIT.as_secs() / 60
                ),
            })?;
        let opened = Self { git, transport: folder.join("transport.git"), clone, clone_url, lock };
        opened.lay_out().await?;
        Ok(opened)
    }

    /// Where the clone of a URL lies.
    pub(super) fn clone_at(root: &Path, clone_url: &str) -> PathBuf {
        root.join(".repositories").join(name(clone_url)).join("clone.git")
    }

    /// Takes the lock of a clone that is there, though no project may name its URL any more. Only for what reaches no remote.
    pub(super) async fn at(git: &'a Git, clone: &Path) -> Result<Self, Unprepared> {
        let folder = clone.parent().unwrap_or(clone);
        let lock = record::lock(&folder.join("lock"), LOCK_WAIT)
            .await
            .map_err(|error| broken(format!("could not lock {}: {error}", folder.display())))?
            .ok_or_else(|| broken(format!("{} is locked by somebody else", folder.display())))?;
        // Agents may have written it since, and git executes what it names.
        files::write_durable(clone, "config", config(git).as_bytes())
            .map_err(|error| broken(format!("could not lay out {}: {error}", clone.display())))?;
        Ok(Self {
            git,
            clone: clone.to_owned(),
            transport: folder.join("transport.git"),
            clone_url: "",
            lock,
        })
    }

    /// Where its worktrees are removed, piece by piece.
    pub(super) fn trash(&self) -> PathBuf {
        self.clone.with_file_name("trash")
    }

    /// Makes both folders, or mends what an agent may have changed.
    async fn lay_out(&self) -> Result<(), Unprepared> {
        if !self.clone.join("HEAD").exists() {
            let git = self.git.local(&self.clone).nowhere().holding(&self.lock);
            git.args(["init", "--quiet", "--bare", "--template=", "--initial-branch=none", "--"])
                .args([&self.clone])
                .run()
                .await
                .map_err(|error| broken(error.to_string()))?;
        }
        let (clone, transport) = (self.clone.clone(), self.transport.clone());
        let config = config(self.git);
        let storage = lfs::storage(&self.clone);
        service::blocking(move || {
            remove_stale_locks(&clone)?;
            remove_locks(&transport.join("refs"))?;
            files::create_private_dir(&clone.join("info"))?;
            fs::write(clone.join("info/exclude"), settings::EXCLUDED)?;
            files::write_durable(&clone, "config", config.as_bytes())?;
            files::create_private_dir(&transport.join("refs/heads"))?;
            fs::write(transport.join("HEAD"), "ref: refs/heads/none\n")?;
            files::write_durable(
                &transport,
                "config",
                format!("[core]\n\trepositoryformatversion = 0\n\tbare = true\n{storage}").as_bytes(),
            )?;
            match std::os::unix::fs::symlink("../clone.git/objects", transport.join("objects")) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        })
        .await
        .map_err(|error| broken(format!("could not lay out {}: {error}", self.clone.display())))
    }

    /// Fetches every branch and tag.
    pub(super) async fn fetch(&self) -> Result<(), Unprepared> {
        self.fetch_refs(&["--prune", "--no-tags"], &[HEADS, TAGS])
            .await
            .map_err(|error| self.refused(&error))?;
        self.copy().await
    }

    /// Makes sure that a commit is here: as part of a branch, of its pull request, or asked for by its id.
    pub(super) async fn fetch_commit(
        &self,
        commit: &str,
        pull_request: Option<u64>,
    ) -> Result<(), Unprepared> {
        if self.has(commit).await? {
            return Ok(());
        }
        if let Some(number) = pull_request {
            let pull = format!("+refs/pull/{number}/head:refs/pull/{number}/head");
            // A forge that has none says so; the commit may be asked for all the same.
            if self.fetch_refs(&["--no-tags"], &[&pull]).await.is_ok() {
                self.copy().await?;
            }
        }
        if !self.has(commit).await? {
            let by_id = format!("+{commit}:refs/pull/by-id/{commit}");
            let fetched = self.fetch_refs(&["--no-tags"], &[&by_id]).await;
            self.copy().await?;
            if !self.has(commit).await? {
                let words = fetched.err().map(|error| format!(": {error}")).unwrap_or_default();
                let error = format!("the commit {commit} is not in {}{words}", self.clone_url);
                return Err(Unprepared { fault: WorkspaceFault::Missing, error });
            }
        }
        Ok(())
    }

    /// The base branch and its newest commit.
    pub(super) async fn base(&self, spec: &Spec) -> Result<(String, String), Unprepared> {
        let name = match &spec.base {
            Some(base) => base.clone(),
            None => self.remote_head().await?,
        };
        let commit = self.commit(&format!("refs/remotes/origin/{name}")).await?;
        let missing = || Unprepared {
            fault: WorkspaceFault::Missing,
            error: format!("{} has no branch {name}: set `base` of the project in orch.toml", self.clone_url),
        };
        Ok((name.clone(), commit.ok_or_else(missing)?))
    }

    /// Lets the users of agents in, as far as a worktree's commands need it: they read the clone, and write its objects and refs.
    pub(super) async fn share(&self, root: &Path) -> Result<(), Unprepared> {
        let Some(users) = self.git.users else { return Ok(()) };
        let (root, clone) = (root.to_owned(), self.clone.clone());
        let shared = service::blocking(move || {
            match fs::remove_dir_all(clone.join("logs")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for name in ["config", "info/exclude"] {
                fs::set_permissions(clone.join(name), fs::Permissions::from_mode(0o644))?;
            }
            for name in ["info/exclude", "worktrees/each"].map(|name| clone.join(name)) {
                belongings::open_way(&root, &name)?;
            }
            for name in ["objects", "refs"] {
                belongings::share(&clone.join(name), users)?;
            }
            Ok(())
        });
        shared.await.map_err(|error| broken(format!("could not share {}: {error}", self.clone.display())))
    }

    /// The commit of a ref in the clone; none when there is no such ref.
    pub(super) async fn commit(&self, name: &str) -> Result<Option<String>, Unprepared> {
        let found = self
            .local()
            .args(["rev-parse", "--quiet", "--verify", "--end-of-options"])
            .args([format!("{name}^{{commit}}")])
            .run()
            .await;
        match found {
            Ok(commit) => Ok(Some(commit.trim().to_owned()).filter(|commit| is_object_id(commit))),
            Err(GitError::Failed { .. }) => Ok(None),
            Err(error) => Err(broken(error.to_string())),
        }
    }

    /// Whether one commit contains another.
    pub(super) async fn contains(&self, commit: &str, other: &str) -> Result<bool, Unprepared> {
        if commit == other {
            return Ok(true);
        }
        let asked = self.local().args(["merge-base", "--is-ancestor", other, commit]).asks().await;
        asked.map_err(|error| broken(error.to_string()))
    }

    /// Has git pack what has gathered; what nothing refers to goes after two weeks.
    pub(super) async fn pack(&self) -> Result<(), Unprepared> {
        let packing = self.local().config("gc.auto", "6700").config("gc.autoDetach", "false");
        packing
            .within(PACK_WITHIN)
            .args(["gc", "--auto", "--quiet", "--prune=2.weeks.ago"])
            .run()
            .await
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }

    /// Removes a reference; one that is not there is none.
    pub(super) async fn forget(&self, reference: &str) -> Result<(), Unprepared> {
        let removing = self.local().args(["update-ref", "-d", reference]);
        removing.run().await.map(|_| ()).map_err(|error| broken(error.to_string()))
    }

    /// A call in the clone, under its lock.
    pub(super) fn local(&self) -> super::git::Call<'_> {
        self.git.local(&self.clone).holding(&self.lock)
    }

    async fn has(&self, commit: &str) -> Result<bool, Unprepared> {
        Ok(self.commit(commit).await?.is_some())
    }

    async fn fetch_refs(&self, options: &[&str], refs: &[&str]) -> Result<(), GitError> {
        self.git
            .remote(&self.transport, self.clone_url)
            .holding(&self.lock)
            .args([
                "fetch",
                "--quiet",
                "--no-auto-maintenance",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
            ])
            .args(options)
            .args(["--end-of-options", &plain_url(self.clone_url)])
            .args(refs)
            .run()
            .await
            .map(|_| ())
    }

    async fn copy(&self) -> Result<(), Unprepared> {
        self.local()
            .args([
                "fetch",
                "--quiet",
                "--prune",
                "--no-tags",
                "--no-auto-maintenance",
                "--no-write-fetch-head",
            ])
            .args(["--no-recurse-submodules", "--end-of-options"])
            .args([&self.transport])
            .args([REMOTES, TAGS, PULLS])
            .run()
            .await
            .map_err(|error| broken(error.to_string()))?;
        Ok(())
    }

    async fn remote_head(&self) -> Result<String, Unprepared> {
        let told = self
            .git
            .remote(&self.transport, self.clone_url)
            .args([
                "ls-remote",
                "--quiet",
                "--symref",
                "--end-of-options",
                &plain_url(self.clone_url),
                "HEAD",
            ])
            .run()
            .await
            .map_err(|error| self.refused(&error))?;
        let named =
            told.lines().find_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"));
        let missing = || Unprepared {
            fault: WorkspaceFault::Missing,
            error: format!(
                "{} does not say which branch is its own: set `base` of the project in orch.toml",
                self.clone_url
            ),
        };
        named.filter(|name| is_ref_safe(name)).map(str::to_owned).ok_or_else(missing)
    }

    fn refused(&self, error: &GitError) -> Unprepared {
        let fault = error.remote_fault();
        let remedy = match fault {
            WorkspaceFault::Auth => " (look at ORCH_GIT_TOKEN of this runner)",
            WorkspaceFault::Missing => " (look at `clone_url` of the project in orch.toml)",
            WorkspaceFault::Network
            | WorkspaceFault::Broken
            | WorkspaceFault::Hook
            | WorkspaceFault::Busy => "",
        };
        Unprepared { fault, error: format!("could not fetch {}{remedy}: {error}", self.clone_url) }
    }
}

/// A repository's folder: readable, and no two URLs share one.
fn name(clone_url: &str) -> String {
    let tail = clone_url.trim_end_matches('/').trim_end_matches(".git");
    let tail = tail.rsplit(['/', ':']).next().unwrap_or_default();
    let readable: String = tail
        .bytes()
        .take(READABLE_BYTES_MAX)
        .map(|byte| if byte.is_ascii_alphanumeric() || byte == b'-' { char::from(byte) } else { '_' })
        .collect();
    let hash = hex::encode(Sha256::digest(clone_url.as_bytes()));
    format!("{readable}~{}", &hash[..HASH_DIGITS])
}

/// The clone's configuration, which agents' commits read. Written anew each time, so that none of them configures another.
fn config(git: &Git) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\tsparseCheckout = true\n\
         [sparse]\n\texpectFilesOutsideOfPatterns = true\n[advice]\n\tsparseIndexExpanded = false\n\
         [gc]\n\tauto = 0\n[user]\n\tname = {}\n\temail = {}\n{}{}",
        quoted(&git.user_name),
        quoted(&git.user_email),
        if git.has_lfs { lfs::FILTERS } else { "" },
        if git.users.is_some() { SHARED } else { "" },
    )
}

/// Removes lock files that killed commands left in the clone; with the repository's lock held, those of ours are stale at once,
/// but agents' commands take some, too.
fn remove_stale_locks(clone: &Path) -> io::Result<()> {
    for name in ["packed-refs.lock", "config.lock", "shallow.lock", "HEAD.lock"] {
        let path = clone.join(name);
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let age = found.modified().ok().and_then(modified_since);
        if age.is_none_or(|age| age > STALE) {
            tracing::warn!(path = %path.display(), "removing a lock file that a killed command left");
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Removes every lock file below the transport's refs: whoever held one held the repository's lock.
fn remove_locks(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_locks(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of a file is counted on the clock that its file system stamps it with"
)]
fn modified_since(at: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_urls_share_a_folder_and_none_leads_out() {
        let urls = [
            "https://h/acme/shop.git",
            "https://h/acme/shop",
            "git@h:acme/shop.git",
            "/srv/../x",
            "https://h/",
        ];
        let names: std::collections::BTreeSet<String> = urls.iter().map(|url| name(url)).collect();
        assert_eq!(names.len(), urls.len());
        for name in names {
            assert!(!name.starts_with('.') && !name.contains('/') && name.len() < 64, "{name}");
        }
    }
}
