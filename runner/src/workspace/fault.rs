//! What git's words mean where a call reached a remote. Git has no codes for these, but its words (with `LC_ALL=C`) have
//! been the same for years; those that nobody knows are tried again.

use domain::workspace::WorkspaceFault;

/// The forge refuses us: waiting does not mend it.
const AUTH: &[&str] = &[
    "authentication failed",
    "authentication required",
    "authorization error",
    "could not read username",
    "could not read password",
    "terminal prompts disabled",
    "returned error: 401",
    "returned error: 403",
    "permission denied",
    "access denied",
    "host key verification failed",
    "not authorized",
];
/// What was asked for is not there.
const MISSING: &[&str] = &[
    "repository not found",
    "not found",
    "returned error: 404",
    "does not appear to be a git repository",
    "does not exist",
    "couldn't find remote ref",
    "not our ref",
    "no such file or directory",
    "redirect",
];
/// Our own disk or git.
const BROKEN: &[&str] = &[
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    "unable to create",
    "unable to write",
    "cannot lock ref",
    "index-pack died",
    "loose object",
    "unknown option",
    "is not a git command",
];

/// The fault behind the words of a call to a remote.
pub(super) fn of_words(words: &str) -> WorkspaceFault {
    let words = words.to_ascii_lowercase();
    let says = |known: &[&str]| known.iter().any(|word| words.contains(word));
    if says(BROKEN) {
        WorkspaceFault::Broken
    } else if says(AUTH) {
        WorkspaceFault::Auth
    } else if words.contains("could not resolve") {
        WorkspaceFault::Network
    } else if says(MISSING) {
        WorkspaceFault::Missing
    } else {
        WorkspaceFault::Network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_words_are_understood() {
        for (words, fault) in [
            ("fatal: Authentication failed for 'https://git.example/x.git/'", WorkspaceFault::Auth),
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                WorkspaceFault::Auth,
            ),
            (
                "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                WorkspaceFault::Auth,
            ),
            ("error: The requested URL returned error: 403", WorkspaceFault::Auth),
            (
                "remote: Repository not found.\nfatal: repository 'https://h/x/' not found",
                WorkspaceFault::Missing,
            ),
            ("fatal: '/srv/x.git' does not appear to be a git repository", WorkspaceFault::Missing),
            ("fatal: couldn't find remote ref refs/pull/7/head", WorkspaceFault::Missing),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", WorkspaceFault::Network),
            (
                "fatal: unable to access 'http://127.0.0.1:1/': Failed to connect to 127.0.0.1 port 1",
                WorkspaceFault::Network,
            ),
            ("error: RPC failed; curl 28 Operation too slow. fatal: early EOF", WorkspaceFault::Network),
            ("error: The requested URL returned error: 503", WorkspaceFault::Network),
            ("fatal: write error: No space left on device", WorkspaceFault::Broken),
            ("something that nobody has seen", WorkspaceFault::Network),
        ] {
            assert_eq!(of_words(words), fault, "{words}");
        }
    }
}
