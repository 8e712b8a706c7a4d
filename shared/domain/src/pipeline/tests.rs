use std::time::Duration;

use super::*;
use crate::budget::Limit;
use crate::classify::{Meaning, Pattern};
use crate::containment::{Destination, Tier};
use crate::steps::GateCommand;
use crate::{PermanentReason, TransientReason};

const EVERYTHING: &str = r#"
[identity]
gitea_user_id = 42
plane_user_id = "b07b07b0-0000-4000-8000-00000000b07a"

[[project]]
name = "shop"
gitea_repo = "acme/shop"
plane_workspace = "acme"
plane_workspace_id = "c467e125-59e3-44ec-b5ee-f9c1e138c611"
plane_project_id = "4af68566-94a4-4eb3-94aa-50dc9427067b"
plane_identifier = "SHOP"
clone_url = "https://git.example/acme/shop.git"
base = "trunk"
hooks = { after_create = "npm ci", before_run = ["./prepare", "--fast"], timeout = "5m" }
max_concurrency = 2
serial = "project"
containment = "limits"
trust = "member"
trust_label = "let-in"
approve_state = "Approved"
reject_state = "Rejected"
budget = { item_usd = 30, total_tokens = 9000 }

[project.report]
comments = false
on_stage = { review = "started" }
on_done = "4af68566-94a4-4eb3-94aa-50dc9427067b"

[budget]
run_usd = 0.25
job_usd = 2.5
chain_runs = 40
day_tokens = 1000000

[[stage]]
name = "analysis"
role = "analyst"
prompt = "prompts/analyst.md"
model = "sonnet"
max_turns = 80
max_runtime = "2h"
idle_timeout = 90
tool_idle_timeout = "1h 30m"
on_pass = "review"
gate = ["verdict", "command", "ci", "approval"]
command = { run = ["cargo", "test"], timeout = "5m" }
pull_request = true
ci_timeout = "45m"
outdated = "finish"
essential = true

[[stage]]
name = "review"
role = "reviewer"
prompt = "prompts/reviewer.md"
on_fail = "analysis"
max_bounces = 2

[[trigger]]
on = "plane.issue_created"
stage = "analysis"
when = { label = "agent", state_group = "backlog" }

[[trigger]]
on = "gitea.pull_request"
stage = "review"
when = { action = "merged", branch = "release/*" }

[[classify]]
pattern = 'corp-gateway: quota of team \w+ is spent'
class = "transient"
reason = "rate_limit"
retry_after = "10m"

[[classify]]
pattern = "corp-gateway: no contract"
class = "permanent"
reason = "billing"
"#;

fn refusal(text: &str) -> String {
    parse(text).expect_err("the text is wrong").to_string()
}

#[test]
fn every_key_is_read() {
    let pipeline = parse(EVERYTHING).unwrap();
    let expected = Pipeline {
        identity: Identity {
            gitea_user_id: Some(42),
            plane_user_id: Some("b07b07b0-0000-4000-8000-00000000b07a".parse().unwrap()),
        },
        projects: vec![Project {
            name: "shop".to_owned(),
            gitea_repo: Some("acme/shop".to_owned()),
            plane_workspace: Some("acme".to_owned()),
            plane_workspace_id: Some("c467e125-59e3-44ec-b5ee-f9c1e138c611".parse().unwrap()),
            plane_project_id: Some("4af68566-94a4-4eb3-94aa-50dc9427067b".parse().unwrap()),
            plane_identifier: Some("SHOP".to_owned()),
            clone_url: Some("https://git.example/acme/shop.git".to_owned()),
            base: Some("trunk".to_owned()),
            hooks: Hooks {
                after_create: Some(CommandLine::Shell("npm ci".to_owned())),
                before_run: Some(CommandLine::Argv(vec!["./prepare".to_owned(), "--fast".to_owned()])),
                after_run: None,
                timeout: Some(Duration::from_mins(5)),
            },
            max_concurrency: Some(2),
            serial: Serial::Project,
            containment: Tier::Limits,
            egress: None,
            trust: Some(Trust::Member),
            trust_label: Some("let-in".to_owned()),
            approve_state: Some("Approved".to_owned()),
            reject_state: Some("Rejected".to_owned()),
            max_hops: None,
            report: Reporting {
                comments: false,
                on_stage: [("review".to_owned(), StateChoice::Group("started".to_owned()))].into(),
                on_done: Some(StateChoice::Id("4af68566-94a4-4eb3-94aa-50dc9427067b".parse().unwrap())),
                ..Reporting::default()
            },
            budget: Budget {
                item: Limit { usd_micros: Some(30_000_000), ..Limit::default() },
                project: Limit { tokens: Some(9_000), ..Limit::default() },
                ..Budget::default()
            },
        }],
        stages: vec![
            Stage {
                name: "analysis".to_owned(),
                role: "analyst".to_owned(),
                prompt: Prompt::File("prompts/analyst.md".to_owned()),
                model: Some("sonnet".to_owned()),
                max_turns: Some(80),
                max_runtime: Some(Duration::from_hours(2)),
                idle_timeout: Some(Duration::from_secs(90)),
                tool_idle_timeout: Some(Duration::from_mins(90)),
                on_pass: Some("review".to_owned()),
                on_fail: None,
                max_bounces: None,
                gates: vec![Gate::Verdict, Gate::Command, Gate::Ci, Gate::Approval],
                command: Some(GateCommand {
                    argv: vec!["cargo".to_owned(), "test".to_owned()],
                    timeout_ms: 300_000,
                }),
                push: true,
                pull_request: true,
                ci_timeout: Some(Duration::from_mins(45)),
                outdated: Outdated::Finish,
                essential: true,
            },
            Stage {
                name: "review".to_owned(),
                role: "reviewer".to_owned(),
                prompt: Prompt::File("prompts/reviewer.md".to_owned()),
                model: None,
                max_turns: None,
                max_runtime: None,
                idle_timeout: None,
                tool_idle_timeout: None,
                on_pass: None,
                on_fail: Some("analysis".to_owned()),
                max_bounces: Some(2),
                gates: Vec::new(),
                command: None,
                push: false,
                pull_request: false,
                ci_timeout: None,
                outdated: Outdated::Cancel,
                essential: false,
            },
        ],
        triggers: vec![
            Trigger {
                on: LaunchPoint::PlaneIssueCreated,
                stage: "analysis".to_owned(),
                when: When {
                    label: Some("agent".to_owned()),
                    state_group: Some("backlog".to_owned()),
                    ..When::default()
                },
            },
            Trigger {
                on: LaunchPoint::GiteaPullRequest,
                stage: "review".to_owned(),
                when: When {
                    action: Some(PullRequestAction::Merged),
                    branch: Some("release/*".to_owned()),
                    ..When::default()
                },
            },
        ],
        budget: Budget {
            run: Limit { usd_micros: Some(250_000), ..Limit::default() },
            job: Limit { usd_micros: Some(2_500_000), ..Limit::default() },
            chain: Limit { runs: Some(40), ..Limit::default() },
            day: Limit { tokens: Some(1_000_000), ..Limit::default() },
            ..Budget::default()
        },
        patterns: Patterns::new(vec![
            Pattern::new(
                r"corp-gateway: quota of team \w+ is spent",
                Meaning::Transient {
                    reason: TransientReason::RateLimit,
                    retry_after: Some(Duration::from_mins(10)),
                },
            )
            .unwrap(),
            Pattern::new(
                "corp-gateway: no contract",
                Meaning::Permanent { reason: PermanentReason::Billing },
            )
            .unwrap(),
        ]),
    };
    assert_eq!(pipeline, expected);
    assert_eq!(
        pipeline.project("shop").map(Project::limits),
        Some(ProjectLimits { concurrency_max: Some(2), serial: Serial::Project, tier: Tier::Limits })
    );
}

#[test]
fn a_wrong_pattern_is_refused_with_its_place_and_what_to_do() {
    let refused = |keys: &str| refusal(&format!("[[classify]]\n{keys}"));
    let cases = [
        (
            "pattern = 'a(b'\nclass = 'permanent'\nreason = 'auth'",
            "line 2, column 11: `pattern` is not a pattern that can be used: unclosed group",
        ),
        (
            "pattern = '.*429'\nclass = 'transient'\nreason = 'rate_limit'",
            "line 2, column 11: `pattern` matches ordinary output such as \"429\": name more of the words that tell the error",
        ),
        (
            "pattern = 'gone'\nclass = 'transient'\nreason = 'rate_limits'",
            "line 4, column 10: unknown `reason` \"rate_limits\": did you mean `rate_limit`?",
        ),
        (
            "pattern = 'gone'\nclass = 'transient'\nreason = 'auth'",
            "line 4, column 10: unknown `reason` \"auth\": use one of `rate_limit`, `usage_limit`, `overloaded`, `server_error`, `network`, `timeout`",
        ),
        (
            "pattern = 'gone'\nclass = 'success'\nreason = 'none'",
            "line 3, column 9: unknown `class` \"success\": use one of `transient`, `permanent`",
        ),
        (
            "pattern = 'gone'\nclass = 'permanent'\nreason = 'auth'\nretry_after = '1m'",
            "line 1, column 1: `retry_after` makes no sense with class \"permanent\": take it out",
        ),
        ("class = 'permanent'\nreason = 'auth'", "line 1, column 1: [[classify]] has no `pattern`: add it"),
        (
            "patern = 'gone'",
            "line 2, column 1: unknown key `patern` in [[classify]]: did you mean `pattern`?",
        ),
    ];
    for (keys, expected) in cases {
        assert_eq!(refused(keys), expected);
    }
    let many = "[[classify]]\npattern = 'gone'\nclass = 'permanent'\nreason = 'auth'\n".repeat(101);
    assert!(refusal(&many).contains("101 [[classify]] tables, at most 100 are taken"));
}

#[test]
fn an_empty_file_is_the_built_in_pipeline() {
    let pipeline = parse("").unwrap();
    assert_eq!(pipeline, Pipeline::default());
    let names: Vec<&str> = pipeline.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["analysis", "architecture", "development", "review", "testing", "deploy"]);
    for trigger in &pipeline.triggers {
        assert!(pipeline.stage(&trigger.stage).is_some(), "{trigger:?} names a stage");
    }
    for target in pipeline.stages.iter().flat_map(|stage| stage.on_pass.iter().chain(&stage.on_fail)) {
        assert!(pipeline.stage(target).is_some(), "{target} is a stage");
    }
}

#[test]
fn a_stage_replaces_the_built_in_pipeline_whole() {
    let pipeline = parse("[[stage]]\nname = \"only\"\nrole = \"r\"\nprompt = \"p.md\"\n").unwrap();
    assert_eq!(pipeline.stages.len(), 1);
    assert_eq!(pipeline.triggers, []);
}

#[test]
fn a_trigger_alone_starts_built_in_stages() {
    let pipeline = parse("[[trigger]]\non = \"gitea.push\"\nstage = \"testing\"\n").unwrap();
    assert_eq!(pipeline.stages.len(), 6);
    assert_eq!(pipeline.triggers.len(), 1);
}

#[test]
fn refusals_name_the_place_the_fault_and_the_remedy() {
    let stage = "[[stage]]\nname = \"analysis\"\nrole = \"r\"\nprompt = \"p.md\"\n";
    let cases = [
        (
            "[[projcet]]\nname = \"a\"\n".to_owned(),
            "line 1, column 3: unknown key `projcet` in orch.toml: did you mean `project`?",
        ),
        (
            "[[stage]]\nname = \"a\"\npromt = \"p\"\n".to_owned(),
            "line 3, column 1: unknown key `promt` in [[stage]]: did you mean `prompt`?",
        ),
        ("[[stage]]\nname = \"a\"\n".to_owned(), "line 1, column 1: [[stage]] has no `role`: add it"),
        (
            format!("{stage}[[trigger]]\non = \"gitea.push\"\nstage = \"anlysis\"\n"),
            "line 7, column 9: `stage` names no stage: there is no \"anlysis\", did you mean `analysis`?",
        ),
        (
            format!("{stage}[[trigger]]\non = \"gitea.psuh\"\nstage = \"analysis\"\n"),
            "line 6, column 6: unknown `on` \"gitea.psuh\": did you mean `gitea.push`?",
        ),
        (
            format!(
                "{stage}[[trigger]]\non = \"gitea.push\"\nstage = \"analysis\"\nwhen = {{ label = \"x\" }}\n"
            ),
            "line 8, column 10: unknown key `label` in `when` of a gitea trigger: use one of `branch`, `action`, `review`, `ci`, `trust`",
        ),
        (
            format!("{stage}{stage}"),
            "line 6, column 8: the name `analysis` is taken by an earlier table of its kind: choose another",
        ),
        (
            format!("{stage}max_runtime = \"soon\"\n"),
            "line 5, column 15: `max_runtime` is not a duration: write \"2h\", \"90m\", \"1h 30m\" or plain seconds",
        ),
        (
            format!("{stage}max_runtime = -5\n"),
            "line 5, column 15: `max_runtime` is not a duration: write \"2h\", \"90m\", \"1h 30m\" or plain seconds",
        ),
        (
            format!("{stage}max_turns = 0\n"),
            "line 5, column 13: `max_turns` is out of range: it must be a whole number of at least 1",
        ),
        (
            format!("{stage}max_turns = \"5\"\n"),
            "line 5, column 13: `max_turns` must be a whole number, not a text",
        ),
        (
            format!("{stage}gate = [\"verdcit\"]\n"),
            "line 5, column 9: unknown `gate` \"verdcit\": did you mean `verdict`?",
        ),
        (
            format!("{stage}gate = [\"command\"]\n"),
            "line 5, column 9: the gate `command` has no program: add `command = { run = [\"cargo\", \"test\"] }`",
        ),
        (
            format!("{stage}command = {{ run = [\"make\"] }}\n"),
            "line 5, column 11: `command` is run by the gate of that name alone: add \"command\" to `gate`, or take it out",
        ),
        (
            format!("{stage}gate = [\"command\"]\ncommand = {{ timeout = 5 }}\n"),
            "line 6, column 11: `command` has no `run`: give it a line for the shell, or a program and its arguments such as [\"cargo\", \"test\"]",
        ),
        (
            format!("{stage}gate = [\"command\"]\ncommand = {{ run = [\"make\"], timout = 5 }}\n"),
            "line 6, column 29: unknown key `timout` in [stage.command]: did you mean `timeout`?",
        ),
        (
            format!("{stage}gate = [\"command\"]\ncommand = \"make\"\n"),
            "line 6, column 11: `command` must be a table, not a text",
        ),
        (
            format!("{stage}pull_request = true\npush = false\n"),
            "line 1, column 1: `pull_request` shows what was pushed: take `push = false` out",
        ),
        (
            format!("{stage}pushes = true\n"),
            "line 5, column 1: unknown key `pushes` in [[stage]]: did you mean `push`?",
        ),
        (
            format!("{stage}on_pass = \"nowhere\"\n"),
            "line 5, column 11: `on_pass` names no stage: there is no \"nowhere\", use one of `analysis`",
        ),
        (
            "[identity]\nplane_user_id = \"é-1\"\n".to_owned(),
            "line 2, column 17: `plane_user_id` is not a uuid: write it as 01234567-89ab-cdef-0123-456789abcdef",
        ),
        (
            "[project]\nname = \"a\"\n".to_owned(),
            "line 1, column 1: `project` must be a list of tables: write [[project]] in double brackets",
        ),
        (
            "[[project]]\nname = \"a\"\nserial = \"workitem\"\n".to_owned(),
            "line 3, column 10: unknown `serial` \"workitem\": did you mean `work_item`?",
        ),
        (
            "[[project]]\nname = \"a\"\ngitea_repo = \"shop\"\n".to_owned(),
            "line 3, column 14: `gitea_repo` must be owner and name, such as \"acme/shop\"",
        ),
        (
            "[[project]]\nname = \"\"\n".to_owned(),
            "line 2, column 8: `name` is empty: give it a value or leave the line out",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(&text), expected, "{text}");
    }
}

#[test]
fn a_syntax_error_has_its_line() {
    let refused = parse("[identity]\ngitea_user_id = = 4\n").expect_err("not toml");
    assert_eq!(refused.line, 2);
    assert!(!refused.reason.contains('\n'), "{}", refused.reason);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]a-z_=\"\\n{}.0-9é ]{0,200}") {
        let _ = parse(&text);
    }
}

#[test]
fn a_sealed_project_says_where_its_agents_get_to() {
    let project = |keys: &str| parse(&format!("[[project]]\nname = \"p\"\n{keys}\n"));
    let sealed = project("containment = \"sealed\"").unwrap().projects.remove(0);
    assert_eq!(sealed.limits().tier, Tier::Sealed);
    assert_eq!(sealed.egress(), [Destination::parse("api.anthropic.com:443").unwrap()]);
    let none = project("containment = \"sealed\"\negress = []").unwrap().projects.remove(0);
    assert_eq!(none.egress(), []);
    assert_eq!(project("").unwrap().projects[0].limits().tier, Tier::Environment);
    for (keys, words) in [
        ("containment = \"seald\"", "did you mean `sealed`?"),
        ("egress = [\"x.example:443\"]", "add `containment = \"sealed\"`"),
        ("containment = \"sandbox\"\negress = []", "add `containment = \"sealed\"`"),
        ("containment = \"sealed\"\negress = [\"x.example\"]", "has no port"),
        ("containment = \"sandbox\"\nhooks = { before_run = \"npm ci\" }", "outside of containment"),
    ] {
        let refused = project(keys).unwrap_err().to_string();
        assert!(refused.contains(words), "{keys}: {refused}");
    }
}
