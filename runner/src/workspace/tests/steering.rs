//! What steers the agent's program comes from the base branch; what steers the workspace from `orch.toml`.

use domain::workspace::WorkspaceFault;

use super::*;

#[tokio::test]
async fn a_pull_request_plants_neither_settings_nor_hooks_and_the_base_ones_are_no_change() {
    let place = Place::new();
    let base =
        [(".claude/settings.json", "base\n"), ("sub/.claude/commands/x.md", "base\n"), (".mcp.json", "{}\n")];
    place.commit("main", &base);
    let evil = place.commit(
        "orch/SHOP-1",
        &[
            (".claude/settings.json", "evil\n"),
            (".claude/hooks/run.sh", "evil\n"),
            ("sub/.mcp.json", "evil\n"),
            ("CLAUDE.local.md", "evil\n"),
            ("code.txt", "fine\n"),
        ],
    );
    let spec = Spec { head: Some(evil.clone()), head_rule: HeadRule::Exactly, ..place.spec("SHOP-1") };
    let made = place.prepare("SHOP-1", &spec).await.unwrap();
    let steering = |made: &Workspace| {
        [
            ".claude/settings.json",
            "sub/.claude/commands/x.md",
            ".mcp.json",
            ".claude/hooks/run.sh",
            "sub/.mcp.json",
            "CLAUDE.local.md",
        ]
        .map(|name| read(made, name))
    };
    let expected =
        [Some("base\n"), Some("base\n"), Some("{}\n"), None, None, None].map(|text| text.map(str::to_owned));
    assert_eq!(steering(&made), expected);
    assert_eq!(read(&made, "code.txt").as_deref(), Some("fine\n"));
    assert_eq!(git(&made.path, &["status", "--porcelain"]), "");

    // Whatever an agent does with git, none of them gets there, and none of ours into a commit.
    let dev = place.prepare_for("SHOP-1", &place.spec("SHOP-1"), run(2), 2, false).await.unwrap();
    write(&dev, "more.txt", "more\n");
    let commit = commit_all(&dev);
    assert_eq!(git(&dev.path, &["show", "--format=", "--name-only", &commit]), "more.txt");
    for arguments in [
        &["checkout", "--quiet", "--detach", "origin/main"][..],
        &["checkout", "--quiet", "orch/SHOP-1"],
        &["merge", "--quiet", "--no-edit", "origin/main"],
        &["reset", "--quiet", "--hard", &evil],
        &["stash", "--quiet", "--include-untracked"],
    ] {
        git(&dev.path, arguments);
        assert_eq!(steering(&dev), expected, "{arguments:?}");
    }
    let merged = git(&dev.path, &["show", "orch/SHOP-1@{1}:.claude/settings.json"]);
    assert_eq!(merged, "evil", "the branch keeps its own version, the base's is never pushed over it");

    // What an agent wrote there is gone for the next one, links and nested folders included.
    write(&dev, ".claude/settings.json", "planted\n");
    write(&dev, "deep/down/.claude/hook", "planted\n");
    write(&dev, "CLAUDE.local.md", "planted\n");
    let next = place.prepare_for("SHOP-1", &place.spec("SHOP-1"), run(3), 3, false).await.unwrap();
    assert_eq!(steering(&next), expected);
    assert_eq!(read(&next, "deep/down/.claude/hook"), None);
    // They follow the base branch.
    place.git("person", &["checkout", "--quiet", "main"]);
    place.commit("main", &[(".claude/settings.json", "newer\n")]);
    let later = place.prepare_for("SHOP-1", &place.spec("SHOP-1"), run(4), 4, false).await.unwrap();
    assert_eq!(read(&later, ".claude/settings.json").as_deref(), Some("newer\n"));
}

#[tokio::test]
async fn a_link_in_place_of_the_folder_is_not_checked_out() {
    let place = Place::new();
    place.commit("main", &[("settings/settings.json", "{}\n")]);
    std::os::unix::fs::symlink("settings", place.file("person/.claude")).unwrap();
    let head = place.commit("orch/SHOP-2", &[("x", "x")]);
    let spec = Spec { head: Some(head), head_rule: HeadRule::Exactly, ..place.spec("SHOP-2") };
    let made = place.prepare("SHOP-2", &spec).await.unwrap();
    assert!(std::fs::symlink_metadata(made.path.join(".claude")).is_err());
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

#[tokio::test]
async fn hooks_run_in_order_and_the_first_one_once() {
    let place = Place::new();
    let mut spec = place.spec("SHOP-3");
    let log = place.file("log");
    let note = |word: &str| shell(&format!("echo {word} $PWD $ORCH_WORKSPACE >>{}", log.display()));
    spec.hooks.after_create =
        shell(&format!("test -e {} && exit 3; cat README.md >&2; exit 4", log.display()));
    let refused = place.prepare("SHOP-3", &spec).await.unwrap_err();
    assert_eq!(refused.fault, WorkspaceFault::Hook);
    assert_eq!(refused.error, "hook after_create: Code(4): hello");
    (spec.hooks.after_create, spec.hooks.before_run) = (note("made"), note("before"));
    for number in [1, 2] {
        place.prepare_for("SHOP-3", &spec, run(number), 1, false).await.unwrap();
    }
    let path = place.file("workspaces/shop/SHOP-3").display().to_string();
    let lines = ["made", "before", "before"].map(|word| format!("{word} {path} /w\n"));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), lines.concat());
}

#[tokio::test]
async fn a_hook_is_bounded_in_time_and_in_words() {
    let place = Place::new();
    let mut spec = place.spec("SHOP-4");
    spec.hooks.before_run = shell("yes | head -c 10000000; echo the end; exit 1");
    let refused = place.prepare("SHOP-4", &spec).await.unwrap_err();
    assert!(refused.error.len() < 4096 && refused.error.ends_with("the end"), "{}", refused.error.len());
    spec.hooks.before_run = shell("echo waiting >&2; sleep 600");
    let dir = place.file("runs/x");
    let wanted = Wanted {
        project: "shop",
        work_item: "SHOP-4",
        run: run(1),
        run_dir: &dir,
        job: JobId(1),
        resumed: false,
        spec: &spec,
    };
    let refused =
        place.workspaces.prepare(&wanted, &surroundings(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(refused.error, "hook before_run: took longer than 0.3 s and was ended: waiting");
    spec.hooks.before_run = vec!["/nonexistent/program".to_owned()];
    let refused = place.prepare("SHOP-4", &spec).await.unwrap_err();
    assert!(refused.error.contains("could not be executed"), "{}", refused.error);
}
