//! Worktrees of real repositories, by the host's git.

mod cleaning;
mod hostile;
mod keeping;
mod large;
mod remote;
mod steering;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domain::workspace::{HeadRule, HookCommands, Repository as Spec, branch};
use domain::{JobId, RunId};
use service::Clock;
use tempfile::TempDir;
use uuid::Uuid;

use super::prepare::{Wanted, Workspaces};
use super::{Git, Surroundings, Unprepared, Workspace};

/// A forge's repository, and a runner's folder for workspaces.
struct Place {
    dir: TempDir,
    workspaces: Workspaces,
}

impl Place {
    fn new() -> Self {
        Self::with_token(None)
    }

    fn with_token(token: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = Git {
            token: token.map(service::settings::Secret::new),
            user_name: "Orch".to_owned(),
            user_email: "orch@localhost".to_owned(),
            has_lfs: true,
            users: None,
        };
        let workspaces =
            Workspaces::new(dir.path().join("workspaces"), dir.path().join("state"), git, Clock::system());
        let place = Self { dir, workspaces };
        place.git("", &["init", "--quiet", "--bare", "--initial-branch=main", "forge.git"]);
        place.git("", &["init", "--quiet", "--initial-branch=main", "person"]);
        place.commit("main", &[("README.md", "hello\n"), (".gitignore", "ignored\n")]);
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self) -> String {
        self.file("forge.git").display().to_string()
    }

    fn git(&self, folder: &str, arguments: &[&str]) -> String {
        git(&self.file(folder), arguments)
    }

    /// A person's commit on a branch, pushed; its id.
    fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        self.git("person", &["checkout", "--quiet", "-B", branch]);
        for (name, text) in files {
            let path = self.file("person").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git("person", &["add", "--all", "--force"]);
        self.git("person", &["commit", "--quiet", "--allow-empty", "--message", "by a person"]);
        self.git("person", &["push", "--quiet", "--force", &self.url(), branch]);
        self.git("person", &["rev-parse", "HEAD"])
    }

    fn spec(&self, key: &str) -> Spec {
        Spec {
            clone_url: self.url(),
            base: None,
            branch: branch(key),
            head: None,
            head_rule: HeadRule::Contains,
            pull_request: None,
            hooks: HookCommands { timeout_ms: 20_000, ..HookCommands::default() },
        }
    }

    async fn prepare(&self, key: &str, spec: &Spec) -> Result<Workspace, Unprepared> {
        self.prepare_for(key, spec, run(1), 1, false).await
    }

    async fn prepare_for(
        &self,
        key: &str,
        spec: &Spec,
        run: RunId,
        job: i64,
        resumed: bool,
    ) -> Result<Workspace, Unprepared> {
        let run_dir = self.file(&format!("runs/{run}"));
        let wanted = Wanted {
            project: "shop",
            work_item: key,
            run,
            run_dir: &run_dir,
            job: JobId(job),
            resumed,
            spec,
        };
        self.workspaces.prepare(&wanted, &surroundings(Duration::from_secs(20))).await
    }
}

fn surroundings(timeout: Duration) -> Surroundings {
    let path = std::env::var_os("PATH").unwrap();
    let environment = vec![("PATH".into(), path), ("ORCH_WORKSPACE".into(), "/w".into())];
    Surroundings { environment, user: None, timeout }
}

fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

/// Git as a person or an agent calls it.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let out = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@localhost")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@localhost")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "git {arguments:?}: {words}");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// As an agent does it.
fn commit_all(workspace: &Workspace) -> String {
    git(&workspace.path, &["add", "--all"]);
    git(&workspace.path, &["commit", "--quiet", "--message", "by an agent"]);
    git(&workspace.path, &["rev-parse", "HEAD"])
}

fn write(workspace: &Workspace, name: &str, text: &str) {
    let path = workspace.path.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(workspace: &Workspace, name: &str) -> Option<String> {
    std::fs::read_to_string(workspace.path.join(name)).ok()
}
