//! The JSON schema of `orch.toml`, for editors: what [`super::parse`] takes, table by table, from the same lists of keys.
//!
//! An editor finds slips with it: unknown keys, wrong types, words that are none. What only the whole file shows, such as
//! a stage that is not there, is `parse`'s to find.

use serde_json::{Map, Value, json};

use super::file::{
    BUDGET_KEYS, CLASSIFY_KEYS, COMMAND_KEYS, FIELDS, FILE_KEYS, HOOKS_KEYS, IDENTITY_KEYS,
    PROJECT_BUDGET_KEYS, PROJECT_KEYS, SERIAL, STAGE_KEYS, STATE_GROUPS, TRIGGER_KEYS, WHEN_KEYS_GITEA,
    WHEN_KEYS_PLANE, serial_word,
};
use super::reporting::REPORT_KEYS;
use super::section::{DURATION_SECONDS_MAX, USD_MAX};
use super::{CiResult, Gate, LaunchPoint, Outdated, PullRequestAction, ReviewVerdict, Trust};
use crate::containment::Tier;
use crate::{PermanentReason, TransientReason};

/// The schema as JSON.
pub fn schema() -> Value {
    let mut root = table(FILE_KEYS, &[], of_file);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "orch.toml".into();
    root
}

fn of_file(key: &str) -> Value {
    match key {
        "identity" => table(IDENTITY_KEYS, &[], of_identity),
        "project" => {
            let mut project = table(PROJECT_KEYS, &["name"], of_project);
            project["dependentRequired"] = json!({"plane_project_id": ["plane_workspace_id"]});
            list(&project)
        }
        "stage" => list(&table(STAGE_KEYS, &["name", "role", "prompt"], of_stage)),
        "trigger" => list(&json!({"oneOf": [triggers(true), triggers(false)]})),
        "classify" => list(&json!({"oneOf": [
            patterns("transient", &words(TransientReason::ALL, TransientReason::as_str)),
            patterns("permanent", &words(PermanentReason::ALL, PermanentReason::as_str)),
        ]})),
        "budget" => table(BUDGET_KEYS, &[], of_budget),
        _ => unknown(),
    }
}

fn of_identity(key: &str) -> Value {
    match key {
        "gitea_user_id" => whole(1),
        "plane_user_id" => uuid(),
        _ => unknown(),
    }
}

fn of_project(key: &str) -> Value {
    match key {
        "plane_workspace_id" | "plane_project_id" => uuid(),
        "hooks" => table(HOOKS_KEYS, &[], of_hooks),
        "max_concurrency" => whole(1),
        "serial" => words(SERIAL, serial_word),
        "containment" => words(Tier::ALL, Tier::as_str),
        "egress" => list(&text()),
        "trust" => words(Trust::ALL, Trust::as_str),
        "max_hops" => whole(0),
        "report" => table(REPORT_KEYS, &[], of_report),
        "budget" => table(PROJECT_BUDGET_KEYS, &[], of_budget),
        "name" | "gitea_repo" | "plane_workspace" | "plane_identifier" | "clone_url" | "base"
        | "trust_label" | "approve_state" | "reject_state" => text(),
        _ => unknown(),
    }
}

fn of_hooks(key: &str) -> Value {
    match key {
        "after_create" | "before_run" | "after_run" => command(),
        "timeout" => duration(),
        _ => unknown(),
    }
}

fn of_report(key: &str) -> Value {
    match key {
        "comments" | "statuses" => flag(),
        // Its keys are the names of stages.
        "on_stage" => json!({"type": "object", "additionalProperties": state()}),
        "on_done" | "on_needs_you" | "on_cancelled" => state(),
        _ => unknown(),
    }
}

fn of_budget(key: &str) -> Value {
    match key.rsplit_once('_').map(|(_, unit)| unit) {
        Some("usd") => json!({"type": "number", "exclusiveMinimum": 0, "maximum": USD_MAX}),
        Some("tokens" | "runs") => whole(1),
        Some(_) | None => unknown(),
    }
}

fn of_stage(key: &str) -> Value {
    match key {
        "max_turns" => whole(1),
        "max_bounces" => whole(0),
        "max_runtime" | "idle_timeout" | "tool_idle_timeout" | "ci_timeout" => duration(),
        "gate" => list(&words(Gate::ALL, Gate::as_str)),
        "command" => table(COMMAND_KEYS, &["run"], of_command),
        "push" | "pull_request" | "essential" => flag(),
        "outdated" => words(Outdated::ALL, Outdated::as_str),
        "name" | "role" | "prompt" | "model" | "on_pass" | "on_fail" => text(),
        _ => unknown(),
    }
}

fn of_command(key: &str) -> Value {
    match key {
        "run" => command(),
        "timeout" => duration(),
        _ => unknown(),
    }
}

/// The triggers of one sender: each has conditions of its own.
fn triggers(plane: bool) -> Value {
    let points: Vec<LaunchPoint> =
        LaunchPoint::ALL.iter().copied().filter(|point| point.is_plane() == plane).collect();
    let conditions = if plane { WHEN_KEYS_PLANE } else { WHEN_KEYS_GITEA };
    table(TRIGGER_KEYS, &["on", "stage"], |key| match key {
        "on" => words(&points, LaunchPoint::as_str),
        "stage" => text(),
        "when" => table(conditions, &[], of_when),
        _ => unknown(),
    })
}

fn of_when(key: &str) -> Value {
    match key {
        "state_group" => words(STATE_GROUPS, |word| word),
        "state_id" => uuid(),
        "field" => words(FIELDS, |word| word),
        "action" => words(PullRequestAction::ALL, PullRequestAction::as_str),
        "review" => words(ReviewVerdict::ALL, ReviewVerdict::as_str),
        "ci" => words(CiResult::ALL, CiResult::as_str),
        "trust" => words(Trust::ALL, Trust::as_str),
        "label" | "command" | "branch" => text(),
        _ => unknown(),
    }
}

/// The patterns of one class: only what passes by itself has a time.
fn patterns(class: &str, reasons: &Value) -> Value {
    let has_time = class == "transient";
    let keys: Vec<&str> =
        CLASSIFY_KEYS.iter().copied().filter(|key| has_time || *key != "retry_after").collect();
    table(&keys, &["pattern", "class", "reason"], |key| match key {
        "class" => json!({"const": class}),
        "reason" => reasons.clone(),
        "pattern" => text(),
        "retry_after" => duration(),
        _ => unknown(),
    })
}

fn table(keys: &[&str], required: &[&str], of_key: impl Fn(&str) -> Value) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), of_key(key))).collect();
    let mut table = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Value {
    json!({"enum": all.iter().map(|one| as_str(*one)).collect::<Vec<_>>()})
}

fn text() -> Value {
    json!({"type": "string", "pattern": r"\S"})
}

fn whole(min: i64) -> Value {
    json!({"type": "integer", "minimum": min})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn uuid() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn command() -> Value {
    json!({
        "description": "a line for the shell, or a program and its arguments",
        "anyOf": [text(), {"type": "array", "minItems": 1, "items": text()}],
    })
}

fn state() -> Value {
    json!({
        "description": "a group of states, or the id of one",
        "anyOf": [words(STATE_GROUPS, |word| word), uuid()],
    })
}

fn duration() -> Value {
    json!({
        "description": "a duration: \"2h\", \"1h 30m\", or seconds",
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": DURATION_SECONDS_MAX},
            {"type": "string", "pattern": "[0-9]"},
        ],
    })
}

/// Refuses every value: the key was added to its list and not here, which a test shows.
const fn unknown() -> Value {
    Value::Bool(false)
}
