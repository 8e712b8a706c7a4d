//! Conversations as the real CLI keeps them: a file for each under HOME and the working directory, which is the only
//! place it is looked for when it is resumed. Each line is a prompt.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::Invocation;

/// Adds `prompt` to the invocation's conversation and returns all of it; none when there is nothing to resume.
pub(crate) fn converse(invocation: &Invocation, prompt: &str) -> Option<String> {
    // A home that cannot be written to keeps no session, and that is all: so does the real CLI.
    let path = file(&invocation.session_id).ok();
    let before = path.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
    if invocation.resume && before.is_none() {
        return None;
    }
    if let Some(path) = path {
        let _ = append(path, prompt);
    }
    let before = before.unwrap_or_default();
    let lines = before.lines().filter_map(|line| serde_json::from_str::<String>(line).ok());
    Some(lines.chain([prompt.to_owned()]).collect::<Vec<_>>().join("\n"))
}

fn file(session: &str) -> io::Result<PathBuf> {
    let home = std::env::var_os("HOME").ok_or_else(|| io::Error::other("no HOME"))?;
    let folder =
        std::env::current_dir()?.to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    Ok(PathBuf::from(home).join(".claude/projects").join(folder).join(format!("{session}.jsonl")))
}

fn append(path: PathBuf, prompt: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let line = serde_json::Value::from(prompt).to_string() + "\n";
    OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
}
