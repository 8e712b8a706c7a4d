use std::collections::BTreeSet;

use super::*;

/// Keys as an outsider might choose them, to lead out of a folder, a ref, an argument or a shell.
pub(crate) fn hostile_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "../../etc/passwd",
        "..",
        ".",
        "",
        "/",
        "//",
        "a//b",
        "a/../b",
        "a/b/c",
        "-x",
        "--upload-pack=touch /tmp/x",
        "a/-x",
        ";rm -rf ~",
        "$(id)",
        "`id`",
        "a b",
        "a\nb",
        "a\0b",
        "a\tb",
        "a\rb",
        "x.lock",
        "x.LOCK",
        "x.lock/y",
        "@",
        "@{",
        "a@{1}",
        "HEAD",
        "a..b",
        ".hidden",
        "a/.b",
        "trailing.",
        "trailing/",
        "/leading",
        "a~1",
        "a^",
        "a:b",
        "a?b",
        "a*b",
        "a[b",
        "a\\b",
        "ä",
        "日本語",
        "\u{202e}gpj",
        "a\u{200b}b",
        "'\"",
        "&& true",
        "| cat",
        "> file",
        "%2e%2e",
        "refs/heads/main",
        "a+b",
        "main\n",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("x".repeat(5000));
    keys.push("x".repeat(5001));
    keys
}

#[test]
fn plain_keys_are_their_own_branch() {
    for key in
        ["SHOP-12", "acme/shop#12", "acme/shop@feature", "4af68566-94a4-4eb3-94aa-50dc9427067b", "a.b_c"]
    {
        assert_eq!(branch(key), format!("orch/{key}"));
    }
}

#[test]
fn no_key_makes_an_unsafe_branch_and_no_two_share_one() {
    let keys = hostile_keys();
    assert!(keys.len() >= 50);
    let branches: BTreeSet<String> = keys.iter().map(|key| branch(key)).collect();
    assert_eq!(branches.len(), keys.len());
    for name in branches {
        let rest = name.strip_prefix(BRANCH_PREFIX).unwrap();
        assert!(is_ref_safe(&name) && name.len() <= 120, "{name}");
        assert!(
            rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.#/@+%".contains(&byte)),
            "{name}"
        );
    }
    // The mark of an altered key is in no plain one, so nobody can name somebody else's branch.
    assert!(branch("a+b").contains('+') && branch("a+b") != "orch/a+b");
}

#[test]
fn a_base_is_a_branch_and_nothing_else() {
    for name in ["main", "release/1.2", "feature_x", "v1"] {
        assert!(is_ref_safe(name), "{name}");
    }
    for name in hostile_keys()
        .iter()
        .filter(|key| !["a+b", "%2e%2e", "ä", "日本語", "refs/heads/main", "a/b/c"].contains(&key.as_str()))
    {
        let is_zero_width = name.contains(['\u{202e}', '\u{200b}']);
        assert!(is_zero_width || !is_ref_safe(name), "{name:?}");
    }
}

#[test]
fn a_clone_url_runs_no_program_and_holds_no_password() {
    for url in [
        "https://git.example/acme/shop.git",
        "http://orch@localhost:3000/acme/shop.git",
        "ssh://git@git.example:2222/acme/shop.git",
        "git@git.example:acme/shop.git",
        "file:///srv/git/shop.git",
        "/srv/git/shop.git",
    ] {
        assert_eq!(check_clone_url(url), Ok(()), "{url}");
    }
    for url in [
        "ext::sh -c id",
        "ext::sh",
        "fd::17",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "ssh://-oProxyCommand=id/x",
        "https://user:secret@git.example/x.git",
        "https://",
        "git://git.example/x",
        "shop.git",
        "../shop.git",
        "a b",
        "/a\nb",
    ] {
        assert!(check_clone_url(url).is_err(), "{url}");
    }
}

#[test]
fn a_commit_binds_by_stage_and_item() {
    assert_eq!(HeadRule::of(true, false), HeadRule::Exactly);
    assert_eq!(HeadRule::of(false, true), HeadRule::BeginsAt);
    assert_eq!(HeadRule::of(false, false), HeadRule::Contains);
    assert!(is_own_pull_request("acme/shop", "acme/shop#12"));
    for key in ["SHOP-12", "acme/shop@main", "acme/shop#", "acme/shop#1x", "acme/shopping#12", "acme/shop"] {
        assert!(!is_own_pull_request("acme/shop", key), "{key}");
    }
}

#[test]
fn words_of_faults_are_read_back() {
    for fault in WorkspaceFault::ALL {
        assert_eq!(WorkspaceFault::parse(fault.as_str()), Some(fault));
    }
}
