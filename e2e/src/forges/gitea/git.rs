//! Git over HTTP: `git http-backend` as the web server's program, and what a push moved.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::forges::Asked;
use crate::forges::serve::Said;

/// The branches of a repository with their commits.
pub(super) async fn branches(bare: &Path) -> io::Result<BTreeMap<String, String>> {
    let listed = Command::new("git")
        .arg("-C")
        .arg(bare)
        .args(["for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads/"])
        .output()
        .await?;
    if !listed.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&listed.stderr).into_owned()));
    }
    let lines = String::from_utf8_lossy(&listed.stdout).into_owned();
    let pair = |line: &str| line.split_once(' ').map(|(sha, name)| (name.to_owned(), sha.to_owned()));
    Ok(lines.lines().filter_map(pair).collect())
}

/// Lets `git http-backend` answer; `inside` is the path within the repository, such as `/info/refs`.
pub(super) async fn serve(asked: &Asked, bare: &Path, inside: &str, login: &str) -> io::Result<Said> {
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", bare)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", inside)
        .env("REQUEST_METHOD", asked.method.as_str())
        .env("QUERY_STRING", &asked.raw_query)
        .env("REMOTE_USER", login)
        .env("CONTENT_LENGTH", asked.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "GIT_PROTOCOL"),
    ] {
        if let Some(value) = asked.header(header) {
            command.env(variable, value);
        }
    }
    let mut backend = command.spawn()?;
    let stdin = backend.stdin.take();
    let body = asked.body.clone();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A backend that has read enough closes its end.
            let _ = stdin.write_all(&body).await;
        }
    };
    let ((), output) = tokio::join!(write, backend.wait_with_output());
    Ok(from_cgi(&output?.stdout))
}

/// Headers up to an empty line, `Status` among them, then the body.
fn from_cgi(output: &[u8]) -> Said {
    let mut said = Said { status: 200, headers: Vec::new(), body: Bytes::new() };
    let mut rest = output;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&rest[..end]).trim().to_owned();
        rest = &rest[end + 1..];
        let Some((name, value)) = line.split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "status" => {
                let code = value.split(' ').next().and_then(|code| code.parse().ok());
                said.status = code.unwrap_or(500);
            }
            "content-type" => said = said.with("content-type", value),
            "cache-control" => said = said.with("cache-control", value),
            _ => {}
        }
    }
    said.body = Bytes::copy_from_slice(rest);
    said
}
