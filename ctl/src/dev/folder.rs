//! The data folder of `orch dev`: what is written into it when it is missing, and never again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use service::settings::Secret;

/// The file of the demo's agent, which calls this program back.
pub(crate) const DEMO_AGENT: &str = "demo-agent";
/// The script that posts a first webhook.
pub(crate) const FIRST_WEBHOOK: &str = "first-webhook.sh";

const CONFIG: &str = include_str!("files/orch.toml");
const DEMO_CONFIG: &str = include_str!("files/demo.toml");
const DEMO_PROMPT: &str = include_str!("files/demo-prompt.md");
const WEBHOOK: &str = include_str!("files/first-webhook.sh");

/// Readable and writable by the owner alone.
const PRIVATE: u32 = 0o600;
/// Readable by all: no secret is in it.
const READABLE: u32 = 0o644;
/// A program.
const PROGRAM: u32 = 0o755;

/// Makes the folder, for its owner alone.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("could not make the data folder {}", folder.display()))
}

/// Writes a small `orch.toml` unless there is one.
pub(crate) fn config(file: &Path, demo: bool) -> anyhow::Result<()> {
    if demo {
        let prompt = file.with_file_name("demo-prompt.md");
        write_missing(&prompt, DEMO_PROMPT, READABLE)?;
    }
    write_missing(file, if demo { DEMO_CONFIG } else { CONFIG }, READABLE)?;
    Ok(())
}

/// The secret kept in a file of the folder; a random one is written when there is none.
pub(crate) fn secret(file: &Path) -> anyhow::Result<Secret> {
    let fresh = hex::encode(rand::random::<[u8; 32]>());
    write_missing(file, &format!("{fresh}\n"), PRIVATE)?;
    let text = fs::read_to_string(file).with_context(|| format!("could not read {}", file.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!secret.is_empty(), "{} is empty: remove it, and a new one is written", file.display());
    Ok(Secret::new(secret))
}

/// Writes the script that posts a first webhook, signed with the secret in `secret_file`.
pub(crate) fn first_webhook(folder: &Path, ingest: &str, secret_file: &Path) -> anyhow::Result<PathBuf> {
    let file = folder.join(FIRST_WEBHOOK);
    let secret_file = std::path::absolute(secret_file).unwrap_or_else(|_| secret_file.to_owned());
    let text = WEBHOOK.replace("@INGEST@", ingest).replace("@SECRET_FILE@", &shell_quoted(&secret_file));
    replace(&file, &text, PROGRAM)?;
    Ok(file)
}

/// Writes the program that stands in for `claude` in a demo.
pub(crate) fn demo_agent(folder: &Path, orch: &Path) -> anyhow::Result<()> {
    let text = format!(
        "#!/bin/sh\n# The DEMO agent of `orch dev --demo`: no model, no network, no cost.\nexec {} demo-agent \"$@\"\n",
        shell_quoted(orch)
    );
    replace(&folder.join(DEMO_AGENT), &text, PROGRAM)
}

/// Creates a file unless it is there.
fn write_missing(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(file) {
        Ok(mut created) => created.write_all(text.as_bytes()).and_then(|()| created.sync_all()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
    .with_context(|| format!("could not write {}", file.display()))
}

/// Writes a file anew. By another name first: a program that runs cannot be overwritten.
fn replace(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let fresh = file.with_extension("new");
    let written = || -> io::Result<()> {
        let _ = fs::remove_file(&fresh);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)?
            .write_all(text.as_bytes())?;
        fs::rename(&fresh, file)
    };
    written().with_context(|| format!("could not write {}", file.display()))
}

/// A path as one word of a shell.
fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use domain::pipeline::parse;

    use super::*;

    #[test]
    fn the_files_written_are_taken_by_the_parser() {
        let own = parse(CONFIG).unwrap();
        assert_eq!(own.projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["demo"]);
        assert!(own.stage("review").is_some() && !own.triggers.is_empty());
        let demo = parse(DEMO_CONFIG).unwrap();
        assert!(demo.project("demo").is_some() && demo.stage("demo").is_some());
    }

    #[test]
    fn secrets_are_private_random_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let first = secret(&one).unwrap();
        assert_eq!(first.expose().len(), 64);
        assert_eq!(secret(&one).unwrap(), first);
        assert_ne!(secret(&other).unwrap(), first);
        assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, PRIVATE);
        fs::write(&one, "\n").unwrap();
        assert!(secret(&one).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn paths_are_one_word_of_a_shell() {
        assert_eq!(shell_quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
