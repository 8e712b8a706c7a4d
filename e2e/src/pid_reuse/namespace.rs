//! A process id namespace of our own: in it, the id of the next process can be chosen.

use std::ffi::OsStr;
use std::process::Command;

/// Holds the id given out last in the namespace of whoever looks.
pub(super) const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// The command in a namespace of its own that dies with it. A shell is the first process there: somebody has to reap
/// what loses its parent, or its id would never be free again.
pub fn enter<S: AsRef<OsStr>>(program: S) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(program);
    command
}

/// Why there can be no such namespace here; none when there can.
pub fn why_not() -> Option<String> {
    let probe = format!("echo 300 > {LAST_PID}; /bin/sh -c 'echo $$'; exit $?");
    match enter("sh").args(["-c", &probe]).output() {
        Ok(output) if output.stdout == b"301\n" => None,
        Ok(output) => Some(format!(
            "process ids cannot be chosen here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("could not start unshare: {error}")),
    }
}
