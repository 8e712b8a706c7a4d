//! The pipeline used when `orch.toml` is absent or names no stage: six stages and what starts them.

use super::{
    CiResult, Gate, Identity, LaunchPoint, Outdated, Pipeline, Prompt, PullRequestAction, ReviewVerdict,
    Stage, Trigger, When,
};

use crate::budget::Budget;
use crate::classify::Patterns;

/// How many times review and testing send a work item back to development.
const MAX_BOUNCES: u32 = 3;

/// The whole built-in configuration: no project, six stages, the default triggers.
pub(super) fn pipeline() -> Pipeline {
    Pipeline {
        identity: Identity::default(),
        projects: Vec::new(),
        stages: stages(),
        triggers: triggers(),
        patterns: Patterns::default(),
        budget: Budget::default(),
    }
}

/// analysis, architecture and development follow each other; a pull request goes on to review, testing and deploy. The
/// four that another one follows are asked for a verdict.
pub(super) fn stages() -> Vec<Stage> {
    let advances = |name, role, prompt, on_pass: &str| Stage {
        on_pass: Some(on_pass.to_owned()),
        gates: vec![Gate::Verdict],
        ..plain(name, role, prompt)
    };
    let judges = |stage: Stage| Stage {
        on_fail: Some("development".to_owned()),
        max_bounces: Some(MAX_BOUNCES),
        ..stage
    };
    vec![
        advances("analysis", "analyst", include_str!("prompts/analyst.md"), "architecture"),
        advances("architecture", "architect", include_str!("prompts/architect.md"), "development"),
        Stage {
            on_pass: Some("review".to_owned()),
            push: true,
            pull_request: true,
            ..plain("development", "developer", include_str!("prompts/developer.md"))
        },
        judges(advances("review", "reviewer", include_str!("prompts/reviewer.md"), "testing")),
        judges(advances("testing", "tester", include_str!("prompts/tester.md"), "deploy")),
        plain("deploy", "deployer", include_str!("prompts/deployer.md")),
    ]
}

/// What starts the built-in stages from outside.
pub(super) fn triggers() -> Vec<Trigger> {
    let trigger = |on, stage: &str, when| Trigger { on, stage: stage.to_owned(), when };
    vec![
        trigger(
            LaunchPoint::PlaneIssueCreated,
            "analysis",
            When { label: Some("agent".to_owned()), ..When::default() },
        ),
        trigger(
            LaunchPoint::PlaneLabelsChanged,
            "analysis",
            When { label: Some("agent".to_owned()), ..When::default() },
        ),
        trigger(
            LaunchPoint::PlaneStateChanged,
            "development",
            When { state_group: Some("started".to_owned()), ..When::default() },
        ),
        trigger(
            LaunchPoint::PlaneComment,
            "analysis",
            When { command: Some("/agent".to_owned()), ..When::default() },
        ),
        trigger(LaunchPoint::GiteaPullRequest, "review", When::default()),
        trigger(
            LaunchPoint::GiteaPullRequest,
            "deploy",
            When { action: Some(PullRequestAction::Merged), ..When::default() },
        ),
        trigger(
            LaunchPoint::GiteaReview,
            "development",
            When { review: Some(ReviewVerdict::Rejected), ..When::default() },
        ),
        trigger(LaunchPoint::GiteaCi, "testing", When { ci: Some(CiResult::Failure), ..When::default() }),
    ]
}

fn plain(name: &str, role: &str, prompt: &'static str) -> Stage {
    Stage {
        name: name.to_owned(),
        role: role.to_owned(),
        prompt: Prompt::BuiltIn(prompt),
        model: None,
        max_turns: None,
        max_runtime: None,
        idle_timeout: None,
        tool_idle_timeout: None,
        on_pass: None,
        on_fail: None,
        max_bounces: None,
        gates: Vec::new(),
        command: None,
        push: false,
        pull_request: false,
        ci_timeout: None,
        outdated: Outdated::Cancel,
        essential: false,
    }
}
