//! What a node needs for a worktree, to the wire and back; what would not be safe to give to git is refused.

use domain::workspace::{
    BRANCH_PREFIX, HeadRule, HookCommands, Repository, check_clone_url, is_object_id, is_ref_safe,
};

use super::Malformed;
use crate::v1;

/// Builds the message of a repository.
pub fn repository(repository: &Repository) -> v1::Repository {
    let Repository { clone_url, base, branch, head, head_rule, pull_request, hooks } = repository.clone();
    let head_rule = match head_rule {
        HeadRule::Contains => v1::HeadRule::Contains,
        HeadRule::BeginsAt => v1::HeadRule::BeginsAt,
        HeadRule::Exactly => v1::HeadRule::Exactly,
    };
    let HookCommands { after_create, before_run, after_run, timeout_ms } = hooks;
    v1::Repository {
        clone_url,
        base,
        branch,
        head,
        head_rule: head_rule.into(),
        pull_request,
        hooks: Some(v1::Hooks { after_create, before_run, after_run, timeout_ms }),
    }
}

/// Reads a repository; none where the project has a plain folder.
pub fn read_repository(message: Option<v1::Repository>) -> Result<Option<Repository>, Malformed> {
    let Some(message) = message else { return Ok(None) };
    let head_rule = match message.head_rule() {
        v1::HeadRule::Contains => HeadRule::Contains,
        v1::HeadRule::BeginsAt => HeadRule::BeginsAt,
        v1::HeadRule::Exactly => HeadRule::Exactly,
        v1::HeadRule::Unspecified => {
            return Err(Malformed { field: "head_rule", problem: "is missing" });
        }
    };
    let v1::Hooks { after_create, before_run, after_run, timeout_ms } = message.hooks.unwrap_or_default();
    let read = Repository {
        clone_url: message.clone_url,
        base: message.base,
        branch: message.branch,
        head: message.head,
        head_rule,
        pull_request: message.pull_request,
        hooks: HookCommands { after_create, before_run, after_run, timeout_ms },
    };
    let checks = [
        ("clone_url", check_clone_url(&read.clone_url).is_ok()),
        ("base", read.base.as_deref().is_none_or(is_ref_safe)),
        ("branch", read.branch.starts_with(BRANCH_PREFIX) && is_ref_safe(&read.branch)),
        ("head", read.head.as_deref().is_none_or(is_object_id)),
        ("timeout_ms", read.hooks.timeout_ms > 0),
    ];
    match checks.into_iter().find(|(_, fits)| !fits) {
        Some((field, _)) => Err(Malformed { field, problem: "is not one that git may be given" }),
        None => Ok(Some(read)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Repository {
        Repository {
            clone_url: "https://git.example/acme/shop.git".to_owned(),
            base: Some("main".to_owned()),
            branch: "orch/SHOP-12".to_owned(),
            head: Some("a".repeat(40)),
            head_rule: HeadRule::Exactly,
            pull_request: Some(12),
            hooks: HookCommands {
                after_create: vec!["/bin/sh".to_owned(), "-c".to_owned(), "npm ci".to_owned()],
                timeout_ms: 1,
                ..HookCommands::default()
            },
        }
    }

    #[test]
    fn a_repository_survives_the_wire() {
        for head_rule in [HeadRule::Contains, HeadRule::BeginsAt, HeadRule::Exactly] {
            let sent = Repository { head_rule, ..example() };
            assert_eq!(read_repository(Some(repository(&sent))).unwrap(), Some(sent));
        }
        assert_eq!(read_repository(None).unwrap(), None);
    }

    #[test]
    fn what_git_must_not_be_given_is_refused() {
        let text = |text: &str| text.to_owned();
        for (field, wrong) in [
            ("clone_url", Repository { clone_url: text("ext::sh -c id"), ..example() }),
            ("base", Repository { base: Some(text("--upload-pack=id")), ..example() }),
            ("branch", Repository { branch: text("main"), ..example() }),
            ("branch", Repository { branch: text("orch/../x"), ..example() }),
            ("head", Repository { head: Some(text("--exec=id")), ..example() }),
        ] {
            let refused = read_repository(Some(repository(&wrong))).unwrap_err();
            assert_eq!(refused.field, field);
        }
    }
}
