//! From the text of `orch.toml` to a [`Pipeline`], with everything checked that the text alone can show.

use std::collections::BTreeSet;
use std::time::Duration;

use toml::de::DeTable;

use super::error::{ConfigError, remedy};
use super::section::{Placed, Section};
use super::{
    CiResult, Gate, Hooks, Identity, LaunchPoint, Outdated, Pipeline, Project, Prompt, PullRequestAction,
    ReviewVerdict, Stage, Trigger, Trust, When, builtin, reporting,
};
use crate::admission::Serial;
use crate::budget::{Budget, Limit};
use crate::classify::{Meaning, Pattern, Patterns};
use crate::containment::{Destination, Tier};
use crate::steps::GateCommand;
use crate::{PermanentReason, TransientReason, workspace};

pub(super) const FILE_KEYS: &[&str] = &["identity", "project", "stage", "trigger", "classify", "budget"];
pub(super) const IDENTITY_KEYS: &[&str] = &["gitea_user_id", "plane_user_id"];
pub(super) const PROJECT_KEYS: &[&str] = &[
    "name",
    "gitea_repo",
    "plane_workspace",
    "plane_workspace_id",
    "plane_project_id",
    "plane_identifier",
    "clone_url",
    "base",
    "hooks",
    "max_concurrency",
    "serial",
    "containment",
    "egress",
    "trust",
    "trust_label",
    "approve_state",
    "reject_state",
    "max_hops",
    "report",
    "budget",
];
pub(super) const BUDGET_KEYS: &[&str] = &[
    "run_usd",
    "run_tokens",
    "job_usd",
    "job_tokens",
    "item_usd",
    "item_tokens",
    "chain_usd",
    "chain_tokens",
    "chain_runs",
    "day_usd",
    "day_tokens",
];
pub(super) const PROJECT_BUDGET_KEYS: &[&str] = &[
    "run_usd",
    "run_tokens",
    "job_usd",
    "job_tokens",
    "item_usd",
    "item_tokens",
    "chain_usd",
    "chain_tokens",
    "chain_runs",
    "day_usd",
    "day_tokens",
    "total_usd",
    "total_tokens",
];
pub(super) const HOOKS_KEYS: &[&str] = &["after_create", "before_run", "after_run", "timeout"];
pub(super) const STAGE_KEYS: &[&str] = &[
    "name",
    "role",
    "prompt",
    "model",
    "max_turns",
    "max_runtime",
    "idle_timeout",
    "tool_idle_timeout",
    "on_pass",
    "on_fail",
    "max_bounces",
    "gate",
    "command",
    "push",
    "pull_request",
    "ci_timeout",
    "outdated",
    "essential",
];
pub(super) const COMMAND_KEYS: &[&str] = &["run", "timeout"];
/// The longest a gate command takes where its `timeout` does not say.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(10);
pub(super) const TRIGGER_KEYS: &[&str] = &["on", "stage", "when"];
pub(super) const CLASSIFY_KEYS: &[&str] = &["pattern", "class", "reason", "retry_after"];
/// The most patterns; each is matched against the last lines of every failed agent.
const PATTERNS_MAX: usize = 100;
pub(super) const WHEN_KEYS_PLANE: &[&str] =
    &["state_group", "state_id", "label", "command", "field", "trust"];
pub(super) const WHEN_KEYS_GITEA: &[&str] = &["branch", "action", "review", "ci", "trust"];
/// Plane's state groups (`db/models/state.py` of Plane 1.3.1).
pub(super) const STATE_GROUPS: &[&str] =
    &["backlog", "unstarted", "started", "completed", "cancelled", "triage"];
/// The fields whose change is a launch point, as `when = { field }` names them.
pub(super) const FIELDS: &[&str] = &["state", "labels", "assignees"];
pub(super) const SERIAL: &[Serial] = &[Serial::None, Serial::WorkItem, Serial::Project];

/// Reads the text of an `orch.toml`.
///
/// Any `[[stage]]` replaces the built-in pipeline whole, triggers included; without one the built-in stages and
/// triggers hold, and any `[[trigger]]` replaces the built-in triggers. `[[classify]]` adds to what is known of failed
/// agents' words and replaces nothing. Prompt files are not looked at.
/// Errors name line, column, what is wrong and what to do.
pub fn parse(text: &str) -> Result<Pipeline, ConfigError> {
    let document = DeTable::parse(text).map_err(|error| {
        let reason = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError::at(text, &error.span().unwrap_or(0..0), reason)
    })?;
    let root = Section::new(text, "orch.toml", document.get_ref(), document.span(), FILE_KEYS)?;

    let identity = root
        .sub("identity", "[identity]", IDENTITY_KEYS)?
        .map_or_else(|| Ok(Identity::default()), |section| identity(&section))?;
    let project_sections = root.list("project", "[[project]]", PROJECT_KEYS)?;
    let stage_sections = root.list("stage", "[[stage]]", STAGE_KEYS)?;
    let trigger_sections = root.list("trigger", "[[trigger]]", TRIGGER_KEYS)?;

    let (stages, built_in) =
        if stage_sections.is_empty() { (builtin::stages(), true) } else { (stages(&stage_sections)?, false) };
    let triggers = if built_in && trigger_sections.is_empty() {
        builtin::triggers()
    } else {
        trigger_sections.iter().map(|section| trigger(section, &stages)).collect::<Result<_, _>>()?
    };
    let projects = projects(&project_sections, &stages)?;
    let patterns = patterns(&root, &root.list("classify", "[[classify]]", CLASSIFY_KEYS)?)?;
    let budget = root
        .sub("budget", "[budget]", BUDGET_KEYS)?
        .map_or_else(|| Ok(Budget::default()), |section| budget(&section))?;
    Ok(Pipeline { identity, projects, stages, triggers, patterns, budget })
}

fn budget(section: &Section<'_, '_>) -> Result<Budget, ConfigError> {
    let limit = |usd: &str, tokens: &str| -> Result<Limit, ConfigError> {
        Ok(Limit { usd_micros: section.usd_micros(usd)?, tokens: section.number(tokens, 1)?, runs: None })
    };
    Ok(Budget {
        run: limit("run_usd", "run_tokens")?,
        job: limit("job_usd", "job_tokens")?,
        item: limit("item_usd", "item_tokens")?,
        chain: Limit { runs: section.number("chain_runs", 1)?, ..limit("chain_usd", "chain_tokens")? },
        project: limit("total_usd", "total_tokens")?,
        day: limit("day_usd", "day_tokens")?,
    })
}

fn patterns(root: &Section<'_, '_>, sections: &[Section<'_, '_>]) -> Result<Patterns, ConfigError> {
    if sections.len() > PATTERNS_MAX {
        let reason = format!("{} [[classify]] tables, at most {PATTERNS_MAX} are taken", sections.len());
        return Err(root.refuse(sections[PATTERNS_MAX].span(), reason));
    }
    sections.iter().map(pattern).collect::<Result<_, _>>().map(Patterns::new)
}

fn pattern(section: &Section<'_, '_>) -> Result<Pattern, ConfigError> {
    let class = section.required("class")?;
    let class = section.word_of("class", &class, &["transient", "permanent"], |word| word)?;
    let reason = section.required("reason")?;
    let retry_after = section.duration("retry_after")?;
    let meaning = if class == "transient" {
        let reason = section.word_of("reason", &reason, TransientReason::ALL, TransientReason::as_str)?;
        Meaning::Transient { reason, retry_after }
    } else {
        if retry_after.is_some() {
            let why = "`retry_after` makes no sense with class \"permanent\": take it out".to_owned();
            return Err(section.refuse(section.span(), why));
        }
        let reason = section.word_of("reason", &reason, PermanentReason::ALL, PermanentReason::as_str)?;
        Meaning::Permanent { reason }
    };
    let source = section.required("pattern")?;
    Pattern::new(&source.value, meaning)
        .map_err(|error| section.refuse(&source.span, format!("`pattern` {error}")))
}

fn identity(section: &Section<'_, '_>) -> Result<Identity, ConfigError> {
    Ok(Identity {
        gitea_user_id: section.number("gitea_user_id", 1)?,
        plane_user_id: section.uuid("plane_user_id")?,
    })
}

fn projects(sections: &[Section<'_, '_>], stages: &[Stage]) -> Result<Vec<Project>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut repos = BTreeSet::new();
    let mut plane_projects = BTreeSet::new();
    sections
        .iter()
        .map(|section| {
            let name = unique_name(section, &mut names)?;
            let gitea_repo = gitea_repo(section, &mut repos)?;
            let plane_workspace_id = section.uuid("plane_workspace_id")?;
            let plane_project_id = section.uuid("plane_project_id")?;
            match (plane_workspace_id, plane_project_id) {
                (None, Some(_)) => {
                    let reason =
                        format!("project `{name}` has a plane_project_id but no plane_workspace_id: add it");
                    return Err(section.refuse(section.span(), reason));
                }
                (Some(workspace), Some(project)) if !plane_projects.insert((workspace, project)) => {
                    let reason = format!(
                        "project `{name}` has the Plane project of an earlier [[project]]: remove one"
                    );
                    return Err(section.refuse(section.span(), reason));
                }
                (None | Some(_), _) => {}
            }
            let (containment, hooks) = (containment(section)?, hooks(section)?);
            Ok(Project {
                name,
                gitea_repo,
                plane_workspace: section.text("plane_workspace")?.map(|text| text.value),
                plane_workspace_id,
                plane_project_id,
                plane_identifier: plane_identifier(section)?,
                clone_url: clone_url(section)?,
                base: base(section)?,
                hooks,
                max_concurrency: section.number("max_concurrency", 1)?,
                serial: section.word("serial", SERIAL, serial_word)?.unwrap_or_default(),
                containment,
                egress: egress(section)?,
                trust: section.word("trust", Trust::ALL, Trust::as_str)?,
                trust_label: section.text("trust_label")?.map(|text| text.value),
                approve_state: section.text("approve_state")?.map(|text| text.value),
                reject_state: section.text("reject_state")?.map(|text| text.value),
                max_hops: section.number("max_hops", 0)?,
                report: reporting::read(section, stages)?,
                budget: section
                    .sub("budget", "[project.budget]", PROJECT_BUDGET_KEYS)?
                    .map_or_else(|| Ok(Budget::default()), |section| budget(&section))?,
            })
        })
        .collect()
}

/// A credential does not belong into a file that is read by many, and git shows its arguments to every process.
fn clone_url(section: &Section<'_, '_>) -> Result<Option<String>, ConfigError> {
    let Some(text) = section.text("clone_url")? else { return Ok(None) };
    workspace::check_clone_url(&text.value)
        .map_err(|problem| section.refuse(&text.span, format!("`clone_url` {problem}")))?;
    Ok(Some(text.value))
}

/// How far the project's agents are contained. Hooks are not, and would execute what a contained agent left in its workspace.
fn containment(section: &Section<'_, '_>) -> Result<Tier, ConfigError> {
    let tier = section.word("containment", Tier::ALL, Tier::as_str)?.unwrap_or_default();
    match section.get("hooks").filter(|_| tier >= Tier::Sandbox) {
        Some(hooks) => {
            let word = tier.as_str();
            let reason = format!(
                "`hooks` are run outside of containment, on files that an agent wrote: a project in tier {word} has \
                 none; leave them out, or put what they do into the stage's prompt or command"
            );
            Err(section.refuse(&hooks.span(), reason))
        }
        None => Ok(tier),
    }
}

/// Where the project's agents of the strictest tier get to; without that tier the key would promise what nobody keeps.
fn egress(section: &Section<'_, '_>) -> Result<Option<Vec<Destination>>, ConfigError> {
    let Some(value) = section.get("egress") else { return Ok(None) };
    if section.word("containment", Tier::ALL, Tier::as_str)? != Some(Tier::Sealed) {
        let reason = "`egress` holds for agents that are contained in tier sealed only: add \
                      `containment = \"sealed\"`, or leave it out";
        return Err(section.refuse(&value.span(), reason.to_owned()));
    }
    let read = |text: Placed<String>| {
        Destination::parse(&text.value)
            .map_err(|problem| section.refuse(&text.span, format!("`egress` \"{}\" {problem}", text.value)))
    };
    section.texts("egress")?.into_iter().map(read).collect::<Result<_, _>>().map(Some)
}

fn base(section: &Section<'_, '_>) -> Result<Option<String>, ConfigError> {
    let Some(text) = section.text("base")? else { return Ok(None) };
    if !workspace::is_ref_safe(&text.value) {
        let reason = "`base` must be the name of a branch, such as \"main\"".to_owned();
        return Err(section.refuse(&text.span, reason));
    }
    Ok(Some(text.value))
}

fn hooks(section: &Section<'_, '_>) -> Result<Hooks, ConfigError> {
    let Some(hooks) = section.sub("hooks", "[project.hooks]", HOOKS_KEYS)? else {
        return Ok(Hooks::default());
    };
    Ok(Hooks {
        after_create: hooks.command("after_create")?,
        before_run: hooks.command("before_run")?,
        after_run: hooks.command("after_run")?,
        timeout: hooks.duration("timeout")?,
    })
}

fn gitea_repo(section: &Section<'_, '_>, seen: &mut BTreeSet<String>) -> Result<Option<String>, ConfigError> {
    let Some(text) = section.text("gitea_repo")? else { return Ok(None) };
    if text.value.split('/').count() != 2 || text.value.split('/').any(str::is_empty) {
        let reason = "`gitea_repo` must be owner and name, such as \"acme/shop\"".to_owned();
        return Err(section.refuse(&text.span, reason));
    }
    if !seen.insert(text.value.to_ascii_lowercase()) {
        let reason =
            format!("`gitea_repo` \"{}\" is in an earlier [[project]] already: remove one", text.value);
        return Err(section.refuse(&text.span, reason));
    }
    Ok(Some(text.value))
}

fn plane_identifier(section: &Section<'_, '_>) -> Result<Option<String>, ConfigError> {
    let Some(text) = section.text("plane_identifier")? else { return Ok(None) };
    if !text.value.chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
        let reason =
            "`plane_identifier` must be the prefix of the issue keys alone, such as \"SHOP\"".to_owned();
        return Err(section.refuse(&text.span, reason));
    }
    Ok(Some(text.value))
}

fn stages(sections: &[Section<'_, '_>]) -> Result<Vec<Stage>, ConfigError> {
    let mut names = BTreeSet::new();
    let stages = sections.iter().map(|section| stage(section, &mut names)).collect::<Result<Vec<_>, _>>()?;
    for section in sections {
        for key in ["on_pass", "on_fail"] {
            if let Some(target) = section.text(key)? {
                known_stage(section, key, &target, &stages)?;
            }
        }
    }
    Ok(stages)
}

fn stage(section: &Section<'_, '_>, names: &mut BTreeSet<String>) -> Result<Stage, ConfigError> {
    let name = unique_name(section, names)?;
    let gates =
        section.texts("gate")?.iter().map(|text| gate(section, text)).collect::<Result<Vec<_>, _>>()?;
    let command = command(section, &gates)?;
    let (push, pull_request) = pushes(section)?;
    Ok(Stage {
        name,
        role: section.required("role")?.value,
        prompt: Prompt::File(section.required("prompt")?.value),
        model: section.text("model")?.map(|text| text.value),
        max_turns: section.number("max_turns", 1)?,
        max_runtime: section.duration("max_runtime")?,
        idle_timeout: section.duration("idle_timeout")?,
        tool_idle_timeout: section.duration("tool_idle_timeout")?,
        on_pass: section.text("on_pass")?.map(|text| text.value),
        on_fail: section.text("on_fail")?.map(|text| text.value),
        max_bounces: section.number("max_bounces", 0)?,
        gates,
        command,
        push,
        pull_request,
        ci_timeout: section.duration("ci_timeout")?,
        outdated: section.word("outdated", Outdated::ALL, Outdated::as_str)?.unwrap_or(Outdated::Cancel),
        essential: section.flag("essential")?.unwrap_or(false),
    })
}

/// The gate and its program: neither without the other.
fn command(section: &Section<'_, '_>, gates: &[Gate]) -> Result<Option<GateCommand>, ConfigError> {
    let is_gate = gates.contains(&Gate::Command);
    let Some(table) = section.sub("command", "[stage.command]", COMMAND_KEYS)? else {
        if let Some(named) = section.texts("gate")?.iter().find(|text| text.value == Gate::Command.as_str()) {
            let reason = "the gate `command` has no program: add `command = { run = [\"cargo\", \"test\"] }`"
                .to_owned();
            return Err(section.refuse(&named.span, reason));
        }
        return Ok(None);
    };
    if !is_gate {
        let reason =
            "`command` is run by the gate of that name alone: add \"command\" to `gate`, or take it out"
                .to_owned();
        return Err(section.refuse(table.span(), reason));
    }
    let Some(argv) = table.command("run")?.map(|command| command.argv()) else {
        let reason = "`command` has no `run`: give it a line for the shell, or a program and its arguments such as [\"cargo\", \"test\"]".to_owned();
        return Err(section.refuse(table.span(), reason));
    };
    let timeout = table.duration("timeout")?.unwrap_or(COMMAND_TIMEOUT);
    Ok(Some(GateCommand { argv, timeout_ms: i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX) }))
}

/// Whether the stage pushes, and opens a pull request of what it pushed.
fn pushes(section: &Section<'_, '_>) -> Result<(bool, bool), ConfigError> {
    let pull_request = section.flag("pull_request")?.unwrap_or(false);
    let push = section.flag("push")?;
    if pull_request && push == Some(false) {
        let reason = "`pull_request` shows what was pushed: take `push = false` out".to_owned();
        return Err(section.refuse(section.span(), reason));
    }
    Ok((push.unwrap_or(pull_request), pull_request))
}

fn gate(section: &Section<'_, '_>, text: &Placed<String>) -> Result<Gate, ConfigError> {
    section.word_of("gate", text, Gate::ALL, Gate::as_str)
}

fn trigger(section: &Section<'_, '_>, stages: &[Stage]) -> Result<Trigger, ConfigError> {
    let on = section.required("on")?;
    let on = section.word_of("on", &on, LaunchPoint::ALL, LaunchPoint::as_str)?;
    let stage = section.required("stage")?;
    known_stage(section, "stage", &stage, stages)?;
    let known = if on.is_plane() { WHEN_KEYS_PLANE } else { WHEN_KEYS_GITEA };
    let title = if on.is_plane() { "`when` of a plane trigger" } else { "`when` of a gitea trigger" };
    let when =
        section.sub("when", title, known)?.map_or_else(|| Ok(When::default()), |section| when(&section))?;
    Ok(Trigger { on, stage: stage.value, when })
}

fn when(section: &Section<'_, '_>) -> Result<When, ConfigError> {
    let one_of = |key: &str, known: &'static [&'static str]| -> Result<Option<String>, ConfigError> {
        Ok(section.word(key, known, |word| word)?.map(str::to_owned))
    };
    Ok(When {
        state_group: one_of("state_group", STATE_GROUPS)?,
        state_id: section.uuid("state_id")?,
        label: section.text("label")?.map(|text| text.value),
        command: section.text("command")?.map(|text| text.value),
        field: one_of("field", FIELDS)?,
        branch: section.text("branch")?.map(|text| text.value),
        action: section.word("action", PullRequestAction::ALL, PullRequestAction::as_str)?,
        review: section.word("review", ReviewVerdict::ALL, ReviewVerdict::as_str)?,
        ci: section.word("ci", CiResult::ALL, CiResult::as_str)?,
        trust: section.word("trust", Trust::ALL, Trust::as_str)?,
    })
}

fn unique_name(section: &Section<'_, '_>, seen: &mut BTreeSet<String>) -> Result<String, ConfigError> {
    let name = section.required("name")?;
    if !seen.insert(name.value.clone()) {
        let reason =
            format!("the name `{}` is taken by an earlier table of its kind: choose another", name.value);
        return Err(section.refuse(&name.span, reason));
    }
    Ok(name.value)
}

fn known_stage(
    section: &Section<'_, '_>,
    key: &str,
    target: &Placed<String>,
    stages: &[Stage],
) -> Result<(), ConfigError> {
    let known: Vec<&str> = stages.iter().map(|stage| stage.name.as_str()).collect();
    if known.contains(&target.value.as_str()) {
        return Ok(());
    }
    let reason = format!(
        "`{key}` names no stage: there is no \"{}\", {}",
        target.value,
        remedy(&target.value, &known)
    );
    Err(section.refuse(&target.span, reason))
}

pub(super) fn serial_word(serial: Serial) -> &'static str {
    match serial {
        Serial::None => "none",
        Serial::WorkItem => "work_item",
        Serial::Project => "project",
    }
}
