//! The repository of a night's forge, made and looked at with git's own commands.

use std::path::Path;

use anyhow::ensure;
use tokio::process::Command;

/// Runs git in a folder and gives what it printed.
///
/// # Errors
/// It failed; the message has its words.
pub async fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().await?;
    ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Every ref of a repository with its commit.
///
/// # Errors
/// As for [`git`].
pub async fn refs(repository: &Path) -> anyhow::Result<Vec<String>> {
    let listed = git(repository, &["for-each-ref", "--format=%(refname) %(objectname)"]).await?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Makes a bare repository `shop.git` in a folder, with one commit on `main`; gives its refs.
///
/// # Errors
/// As for [`git`].
pub async fn begin(room: &Path) -> anyhow::Result<Vec<String>> {
    let seed = room.join("seed");
    git(room, &["init", "-q", "-b", "main", "seed"]).await?;
    std::fs::write(seed.join("README.md"), "the shop\n")?;
    git(&seed, &["add", "README.md"]).await?;
    let jane = ["-c", "user.name=jane", "-c", "user.email=jane@example"];
    git(&seed, &[&jane[..], &["commit", "-q", "-m", "begin"]].concat()).await?;
    git(room, &["clone", "-q", "--bare", "seed", "shop.git"]).await?;
    refs(&room.join("shop.git")).await
}
