//! From an item's key to a folder that its agent can begin in: fetched, at the right commit, with the base branch's settings.
//!
//! May take minutes and may be cut off at any await; the next one goes on from what is on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::workspace::{Repository as Spec, WorkspaceFault};
use domain::{JobId, RunId, Timestamp};
use service::Clock;

use super::git::Git;
use super::hooks::{self, Surroundings};
use super::kept::Saved;
use super::plan::{self, Plan, Seen};
use super::record::{Record, Records};
use super::repository::Repository;
use super::worktree::{self, Worktree};
use super::{Unprepared, Workspace, broken, folder, lfs, settings};
use crate::contain::{User, belongings};

/// How long the workspace of an item may be in somebody else's hands, such as the clean-up's.
pub(super) const ITEM_WAIT: Duration = Duration::from_mins(2);

/// Whose workspace is wanted, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) project: &'a str,
    pub(crate) work_item: &'a str,
    pub(crate) run: RunId,
    /// The run's folder: while its lock is held, its agent may live.
    pub(crate) run_dir: &'a Path,
    pub(crate) job: JobId,
    /// It goes on with a conversation that was held in this workspace.
    pub(crate) resumed: bool,
    pub(crate) spec: &'a Spec,
}

/// The git workspaces of this host.
#[derive(Clone, Debug)]
pub(crate) struct Workspaces {
    pub(super) root: PathBuf,
    /// Where the HOMEs of agents are.
    pub(super) state: PathBuf,
    pub(super) git: Git,
    pub(super) records: Records,
    pub(super) clock: Clock,
}

impl Workspaces {
    pub(crate) fn new(root: PathBuf, state: PathBuf, git: Git, clock: Clock) -> Self {
        Self { records: Records::new(&root), root, state, git, clock }
    }

    /// The host's git, with the forge's credential.
    pub(crate) const fn git(&self) -> &Git {
        &self.git
    }

    /// Prepares a work item's worktree and runs the hooks that come before an agent.
    pub(crate) async fn prepare(
        &self,
        wanted: &Wanted<'_>,
        surroundings: &Surroundings,
    ) -> Result<Workspace, Unprepared> {
        let (project, work_item) = (wanted.project, wanted.work_item);
        let busy = |error: &str| Unprepared { fault: WorkspaceFault::Busy, error: error.to_owned() };
        let item = self.records.lock(project, work_item, ITEM_WAIT).await?;
        let _item =
            item.ok_or_else(|| busy("the item's workspace is being prepared or removed by somebody else"))?;
        let before = self.records.read(project, work_item)?;
        if before.as_ref().is_some_and(|record| record.run != wanted.run && record.is_lived_in()) {
            return Err(busy("another run of the same item works there"));
        }
        let (workspace, mut record) = self.bring_about(wanted, before).await?;
        self.hand_over(&workspace, surroundings.user).await?;
        let hooks = &wanted.spec.hooks;
        if !record.created {
            hooks::run("after_create", &hooks.after_create, &workspace.path, surroundings).await?;
            record.created = true;
            self.records.write(&record)?;
        }
        hooks::run("before_run", &hooks.before_run, &workspace.path, surroundings).await?;
        Ok(workspace)
    }

    /// Gives a worktree to the user of its agent.
    async fn hand_over(&self, workspace: &Workspace, user: Option<User>) -> Result<(), Unprepared> {
        let (Some(user), Some(users)) = (user, self.git.users) else { return Ok(()) };
        let (root, path, git_dir) = (self.root.clone(), workspace.path.clone(), workspace.git_dir.clone());
        let given = service::blocking(move || {
            belongings::open_way(&root, &path)?;
            belongings::hand_over(&git_dir, user, users)?;
            belongings::hand_over(&path, user, users)
        });
        given.await.map_err(|error| {
            broken(format!("could not give {} to its agent's user: {error}", workspace.path.display()))
        })
    }

    /// Notes that a commit is about to be pushed for an item; gives those that were before.
    pub(crate) async fn pushes(
        &self,
        project: &str,
        work_item: &str,
        commit: &str,
    ) -> Result<Vec<String>, Unprepared> {
        let Some(_item) = self.records.lock(project, work_item, ITEM_WAIT).await? else {
            return Err(broken("the item's workspace is in somebody else's hands".to_owned()));
        };
        let Some(mut record) = self.records.read(project, work_item)? else { return Ok(Vec::new()) };
        let before = record.pushed.clone();
        record.pushes(commit);
        self.records.write(&record)?;
        Ok(before)
    }

    /// Everything that happens under the repository's lock.
    async fn bring_about(
        &self,
        wanted: &Wanted<'_>,
        before: Option<Record>,
    ) -> Result<(Workspace, Record), Unprepared> {
        let spec = wanted.spec;
        let path = folder(&self.root, wanted.project, wanted.work_item);
        let before = self.leave_other_clone(before, &spec.clone_url).await?;
        let repository = Repository::open(&self.git, &self.root, &spec.clone_url).await?;
        repository.fetch().await?;
        if let Some(head) = &spec.head {
            repository.fetch_commit(head, spec.pull_request).await?;
        }
        let (base, base_commit) = repository.base(spec).await?;
        let remote_head = repository.commit(&format!("refs/remotes/origin/{}", spec.branch)).await?;

        let before = self.clear_the_way(&repository, before, spec, &path).await?;
        let same_job = before.as_ref().is_some_and(|record| record.job == wanted.job);
        let standing = match before.as_ref().and_then(|record| Worktree::of(&repository, record)) {
            Some(worktree) => {
                worktree.unlock();
                Some(worktree.standing(spec.head.as_deref(), remote_head.as_deref()).await?)
            }
            None => None,
        };
        let tip = async |commit: Option<String>, remote: Option<&str>| match commit {
            Some(commit) => worktree::tip(&repository, commit, spec.head.as_deref(), remote).await.map(Some),
            None => Ok(None),
        };
        let local = repository.commit(&format!("refs/heads/{}", spec.branch)).await?;
        let plan = plan::decide(&Seen {
            head: spec.head.clone(),
            rule: spec.head_rule,
            resumed: wanted.resumed,
            same_job,
            worktree: standing,
            local: tip(local, remote_head.as_deref()).await?,
            remote: tip(remote_head.clone(), None).await?,
            base: base_commit.clone(),
        });
        tracing::info!(?plan, branch = spec.branch, path = %path.display(), "preparing a workspace");

        let mut record = Record {
            project: wanted.project.to_owned(),
            work_item: wanted.work_item.to_owned(),
            path: path.clone(),
            clone: repository.clone.clone(),
            git_dir: before.as_ref().and_then(|record| record.git_dir.clone()),
            branch: spec.branch.clone(),
            run: wanted.run,
            run_dir: wanted.run_dir.to_owned(),
            job: wanted.job,
            created: before.as_ref().is_some_and(|record| record.created),
            pushed: before.as_ref().map(|record| record.pushed.clone()).unwrap_or_default(),
        };
        let standing = match (before.as_ref().and_then(|record| Worktree::of(&repository, record)), plan) {
            (Some(worktree), Plan::Stay) => {
                if !wanted.resumed {
                    worktree.keep_on_branch().await?;
                }
                worktree
            }
            (Some(worktree), Plan::Begin(commit)) => {
                let left_by = before.as_ref().map_or(wanted.run, |record| record.run);
                self.save(&worktree, wanted.project, wanted.work_item, left_by).await?;
                worktree.begin_at(&commit).await?;
                worktree
            }
            (None, Plan::Begin(commit)) => {
                record.created = false;
                // Before it is made: what a crash leaves half made is found by this.
                self.records.write(&record)?;
                Worktree::add(&repository, &path, &spec.branch, &commit).await?
            }
            (None, Plan::Stay) => {
                return Err(broken("a worktree that is not there cannot be gone on with".to_owned()));
            }
        };
        record.git_dir = Some(standing.git_dir.clone());
        settings::place(&repository, &standing.git_dir, &path, &base_commit).await?;
        lfs::fill(&repository, &standing).await?;
        repository.share(&self.root).await?;
        let workspace = Workspace {
            path: path.clone(),
            git_dir: standing.git_dir.clone(),
            clone: repository.clone.clone(),
            transport: repository.transport.clone(),
            clone_url: spec.clone_url.clone(),
            branch: spec.branch.clone(),
            base,
            base_commit,
            head: standing.commit().await?,
            remote_head,
        };
        self.records.write(&record)?;
        Ok((workspace, record))
    }

    /// Removes a worktree of another clone than the one that is wanted, before that one's lock is taken: nobody waits for a lock
    /// while holding another.
    async fn leave_other_clone(
        &self,
        before: Option<Record>,
        clone_url: &str,
    ) -> Result<Option<Record>, Unprepared> {
        let Some(record) = before else { return Ok(None) };
        if record.clone == Repository::clone_at(&self.root, clone_url) {
            return Ok(Some(record));
        }
        let other = Repository::at(&self.git, &record.clone).await?;
        self.save_and_remove(&other, &record).await?;
        Ok(None)
    }

    /// Takes what cannot be gone on with out of the way, once its work is saved: a worktree of another branch, one that lost its
    /// folder, a folder of which nothing is known.
    async fn clear_the_way(
        &self,
        repository: &Repository<'_>,
        before: Option<Record>,
        spec: &Spec,
        path: &Path,
    ) -> Result<Option<Record>, Unprepared> {
        let fits = |record: &Record| {
            record.branch == spec.branch && path.exists() && Worktree::of(repository, record).is_some()
        };
        let Some(record) = before else {
            set_aside(&self.root, path).await?;
            return Ok(None);
        };
        if fits(&record) {
            return Ok(Some(record));
        }
        self.save_and_remove(repository, &record).await?;
        set_aside(&self.root, path).await?;
        Ok(None)
    }

    /// Saves what a recorded worktree has that the forge has not, and removes it. If the one fails the other is not done.
    pub(super) async fn save_and_remove(
        &self,
        repository: &Repository<'_>,
        record: &Record,
    ) -> Result<(), Unprepared> {
        let Some(worktree) = Worktree::of(repository, record) else { return Ok(()) };
        worktree.unlock();
        self.save(&worktree, &record.project, &record.work_item, record.run).await?;
        worktree.remove(&repository.trash()).await
    }

    /// Saves what `run` left, and remembers for which item: the note comes first, so that nothing is saved for ever.
    async fn save(
        &self,
        worktree: &Worktree<'_>,
        project: &str,
        work_item: &str,
        run: RunId,
    ) -> Result<(), Unprepared> {
        let clone = worktree.repository.clone.clone();
        let at = Timestamp::from_ms(self.clock.now_ms());
        self.saves(project, work_item, Saved { clone, reference: worktree::wip(run), at })?;
        worktree.save(run).await.map(|_| ())
    }
}

/// Moves a folder that is nobody's worktree away: what is in it may be somebody's work, and is not ours to judge.
async fn set_aside(root: &Path, path: &Path) -> Result<(), Unprepared> {
    let (kept, path) = (root.join(".kept"), path.to_owned());
    let moved = service::blocking(move || {
        let is_empty = std::fs::read_dir(&path).map(|mut entries| entries.next().is_none());
        match is_empty {
            Ok(true) => std::fs::remove_dir(&path).map(|()| None),
            Ok(false) => {
                crate::files::create_private_dir(&kept)?;
                let to = worktree::tempfile_in(&kept);
                std::fs::rename(&path, &to).map(|()| Some((path, to)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    });
    if let Some((path, to)) = moved.await? {
        tracing::warn!(path = %path.display(), to = %to.display(), "moved a folder aside that was in a worktree's place");
    }
    Ok(())
}

impl From<std::io::Error> for Unprepared {
    fn from(error: std::io::Error) -> Self {
        broken(error.to_string())
    }
}
