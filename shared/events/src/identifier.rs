//! Names chosen by whoever sent the event, checked before anything is built from them.

use uuid::Uuid;

/// Longest branch name taken, in bytes; file systems that hold refs end at 255.
const BRANCH_BYTES_MAX: usize = 240;
/// Longest owner or repository name taken, in bytes.
const REPO_PART_BYTES_MAX: usize = 100;
/// Longest timestamp, attempt or similar small word kept from a body, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// Whether this is a whole object id: 40 or 64 lower-case hex digits.
pub fn is_sha(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether this object id is all zeros: "there is nothing here".
pub fn is_zero_sha(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

/// Whether `refs/heads/<name>` passes `git check-ref-format`. Git allows `; $ ( ) & | ' "` and a leading hyphen:
/// such names are fine as an argument behind `refs/heads/`, and never in a shell.
pub fn is_branch(name: &str) -> bool {
    let forbidden = |letter: char| letter.is_ascii_control() || " ~^:?*[\\".contains(letter);
    (1..=BRANCH_BYTES_MAX).contains(&name.len())
        && !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none())
}

/// Whether this is `owner/name` as forges allow it.
pub fn is_repo(full_name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let part = |part: &str| {
        (1..=REPO_PART_BYTES_MAX).contains(&part.len())
            && part.chars().all(plain)
            && part != "."
            && part != ".."
    };
    full_name.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// Reads a UUID in its usual form with four hyphens.
pub fn uuid(text: &str) -> Option<Uuid> {
    const HYPHENATED_BYTES: usize = 36;
    (text.len() == HYPHENATED_BYTES).then(|| Uuid::try_parse(text).ok()).flatten()
}

/// Whether this is a short word without control characters, such as a timestamp.
pub fn is_word(text: &str) -> bool {
    text.len() <= WORD_BYTES_MAX && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_ids() {
        let (forty, sixty_four) = ("0123456789abcdef0123456789abcdef01234567", "ab".repeat(32));
        for (text, expected) in [
            (forty, true),
            (sixty_four.as_str(), true),
            (&forty[1..], false),
            (&forty.to_uppercase(), false),
            ("--output=/etc/cron.d/xxxxxxxxxxxxxxxxxxx", false),
            ("$(id)", false),
            ("", false),
        ] {
            assert_eq!(is_sha(text), expected, "{text}");
        }
        assert!(is_zero_sha(&"0".repeat(40)));
        assert!(!is_zero_sha(forty));
    }

    #[test]
    fn branches_follow_git_check_ref_format() {
        for name in [
            "main",
            "feature/x",
            "-x",
            "a;rm$(id)&|'\"`",
            "@",
            "a@b",
            "é",
            "x.lockx",
            "refs/pull/3/head",
            "HEAD",
            "{a}",
        ] {
            assert!(is_branch(name), "{name}");
        }
        for name in [
            "", "/", "a/", "/a", "a//b", "..", "a..b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a b",
            "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b", "a@{b", "a\u{0}b", "a\u{7f}", "a\nb", "a\tb",
        ] {
            assert!(!is_branch(name), "{name:?}");
        }
        assert!(!is_branch(&"a".repeat(241)));
    }

    #[test]
    fn repositories() {
        for name in ["acme/shop", "a_b/c.d-e", "Test-CI/x"] {
            assert!(is_repo(name), "{name}");
        }
        for name in
            ["", "acme", "acme/", "/shop", "a/b/c", "../shop", "acme/..", "a b/c", "a/b;c", "a/é", "a\u{0}/b"]
        {
            assert!(!is_repo(name), "{name:?}");
        }
    }

    #[test]
    fn uuids_have_four_hyphens() {
        assert!(uuid("b07b07b0-0000-4000-8000-00000000b07a").is_some());
        for text in [
            "",
            "None",
            "b07b07b00000400080000000000b07a0",
            "{b07b07b0-0000-4000-8000-00000000b07a}",
            "../../../tmp/x'; DROP TABLE jobs;--",
        ] {
            assert!(uuid(text).is_none(), "{text}");
        }
    }
}
