//! Keys, branches and paths that somebody chose to do harm.

use std::collections::BTreeSet;

use super::super::clean::Over;
use super::*;

/// As an outsider might choose them, to lead out of a folder, a ref, an argument or a shell.
fn keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "../../etc/passwd",
        "..",
        ".",
        "",
        "/",
        "a//b",
        "a/../b",
        "a/b/c",
        "-x",
        "--upload-pack=touch x",
        "a/-x",
        ";rm -rf ~",
        "$(touch x)",
        "`touch x`",
        "a b",
        "a\nb",
        "a\tb",
        "x.lock",
        "x.lock/y",
        "@",
        "@{",
        "a@{1}",
        "HEAD",
        "a..b",
        ".hidden",
        "a/.b",
        "trailing.",
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
        "'\"",
        "| cat",
        "> file",
        "refs/heads/main",
        "a+b",
        ".git",
        ".repositories",
        ".records",
        "acme",
        "Acme",
        "acme/shop",
        "acme/shop#1",
        "acme/Shop#1",
        "acme/shop#1/x",
        "SHOP-1",
        "shop-1",
        "Shop-1",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push("x".repeat(5000));
    keys
}

fn entries(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test]
async fn no_key_leads_out_of_its_folder_its_branch_or_its_arguments() {
    let place = Place::new();
    let (before, main) = (entries(place.dir.path()), place.git("person", &["rev-parse", "main"]));
    let keys = keys();
    assert!(keys.len() >= 40);
    let (mut paths, mut branches) = (BTreeSet::new(), BTreeSet::new());
    for key in &keys {
        let made =
            place.prepare(key, &place.spec(key)).await.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        assert_eq!(made.path.parent(), Some(place.file("workspaces/shop").as_path()), "{key:?}");
        assert_eq!(
            git(&made.path, &["symbolic-ref", "HEAD"]),
            format!("refs/heads/{}", made.branch),
            "{key:?}"
        );
        assert_eq!(git(&made.path, &["rev-parse", "HEAD"]), main, "{key:?}");
        assert!(paths.insert(made.path) && branches.insert(made.branch), "{key:?} shares another one's");
    }
    let mut after = entries(place.dir.path());
    after.remove("workspaces");
    assert_eq!(after, before, "nothing was made beside the workspaces");
    assert_eq!(
        entries(&place.file("workspaces")),
        ["shop", ".repositories", ".records"].map(str::to_owned).into()
    );
    assert_eq!(place.git("forge.git", &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}

#[tokio::test]
async fn hostile_branches_and_files_of_others_are_only_data() {
    let place = Place::new();
    let names =
        ["-x", "--upload-pack=touch", "$(id)", "a;b", "a|b", "'q'", "日本語", "HEAD", "orch/SHOP-8/x"];
    let main = place.git("person", &["rev-parse", "main"]);
    for name in names {
        std::fs::create_dir_all(place.file("forge.git/refs/heads").join(name).parent().unwrap()).unwrap();
        std::fs::write(place.file("forge.git/refs/heads").join(name), format!("{main}\n")).unwrap();
    }
    let files =
        [("-rf", "x"), ("--help", "x"), ("$(touch x)", "x"), ("a\nb", "x"), ("日本語", "x"), ("a b;c", "x")];
    let head = place.commit("main", &files);
    let made = place.prepare("SHOP-9", &place.spec("SHOP-9")).await.unwrap();
    assert_eq!(made.head, head);
    assert!(files.iter().all(|(name, _)| read(&made, name).is_some()));
    // Saved and put away like any other.
    write(&made, "-n", "mine\n");
    let spec = Spec { head: Some(head), head_rule: HeadRule::Exactly, ..place.spec("SHOP-9") };
    place.prepare_for("SHOP-9", &spec, run(2), 2, false).await.unwrap();
    assert_eq!(git(&made.clone, &["show", &format!("refs/orch/wip/{}:-n", run(1))]), "mine");
}

#[tokio::test]
async fn links_that_lead_out_are_not_followed() {
    let place = Place::new();
    let outside = place.file("outside");
    std::fs::create_dir_all(outside.join(".claude")).unwrap();
    std::fs::write(outside.join(".claude/settings.json"), "outside\n").unwrap();
    let made = place.prepare("SHOP-10", &place.spec("SHOP-10")).await.unwrap();
    std::os::unix::fs::symlink(&outside, made.path.join("linked")).unwrap();
    std::os::unix::fs::symlink(outside.join(".claude"), made.path.join(".claude")).unwrap();
    place.prepare("SHOP-10", &place.spec("SHOP-10")).await.unwrap();
    assert!(std::fs::symlink_metadata(made.path.join(".claude")).is_err(), "the link is gone");
    assert_eq!(std::fs::read_to_string(outside.join(".claude/settings.json")).unwrap(), "outside\n");
}

#[tokio::test]
async fn what_an_agent_configures_is_executed_by_no_call_of_ours() {
    let place = Place::new();
    let made = place.prepare("SHOP-11", &place.spec("SHOP-11")).await.unwrap();
    let proof = place.file("executed");
    let script = place.file("script");
    std::fs::write(&script, format!("#!/bin/sh\ntouch {}\n", proof.display())).unwrap();
    git(&place.file(""), &["init", "--quiet", "x"]);
    let shell = Command::new("chmod").args(["+x".as_ref(), script.as_os_str()]).status().unwrap();
    assert!(shell.success());
    let script = script.display().to_string();
    let wide = format!("url.ext::{script}.insteadOf");
    for (key, value) in [
        ("core.fsmonitor", script.as_str()),
        ("core.sshCommand", &script),
        ("core.hooksPath", "/"),
        ("core.editor", &script),
        ("credential.helper", &script),
        ("protocol.ext.allow", "always"),
        (&wide, &place.url()),
        ("uploadpack.packObjectsHook", &script),
        ("core.alternateRefsCommand", &script),
    ] {
        git(&made.path, &["config", key, value]);
    }
    let hooks = made.clone.join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "pre-commit"] {
        std::fs::copy(&script, hooks.join(hook)).unwrap();
    }
    write(&made, "loose.txt", "loose\n");
    let spec = Spec { head: Some(made.head.clone()), head_rule: HeadRule::Exactly, ..place.spec("SHOP-11") };
    let _ = std::fs::remove_file(&proof);
    place.prepare_for("SHOP-11", &spec, run(2), 2, false).await.unwrap();
    assert!(!proof.exists());
    // And nothing of it is left for the next agent.
    let config = std::fs::read_to_string(made.clone.join("config")).unwrap();
    assert!(!config.contains("script") && !config.contains("ext"), "{config}");
}

#[tokio::test]
async fn what_an_agent_left_in_its_git_folder_leads_no_call_of_ours_astray() {
    let place = Place::new();
    let made = place.prepare("SHOP-12", &place.spec("SHOP-12")).await.unwrap();
    let (proof, precious) = (place.file("executed"), place.file("precious"));
    // Files of the runner's, to be written over.
    std::fs::copy(made.git_dir.join("index"), &precious).unwrap();
    let before = std::fs::read(&precious).unwrap();
    for name in ["index", "orch-wip-index", "orch-settings-index", "info/sparse-checkout.tmp"] {
        let link = made.git_dir.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&precious, link).unwrap();
    }
    // And a program that git runs over every file it takes.
    let filter = format!("sh -c 'touch {}; cat'", proof.display());
    let config = made.clone.join("config");
    let named =
        format!("{}[filter \"evil\"]\n\tclean = {filter}\n", std::fs::read_to_string(&config).unwrap());
    std::fs::write(&config, named).unwrap();
    write(&made, ".gitattributes", "* filter=evil\n");
    write(&made, "README.md", "changed by an agent\n");
    let now = domain::Timestamp::from_ms(1_795_312_800_000);
    let since = domain::Timestamp::from_ms(0);
    let over = Over { project: "shop".to_owned(), work_item: "SHOP-12".to_owned(), since };
    assert_eq!(place.workspaces.clean(&[over], 0, now).await.removed, 1);
    assert!(!proof.exists(), "the filter was executed");
    assert_eq!(std::fs::read(&precious).unwrap(), before);
    let saved = git(&made.clone, &["show", &format!("refs/orch/wip/{}:README.md", run(1))]);
    assert_eq!(saved, "changed by an agent");
}
