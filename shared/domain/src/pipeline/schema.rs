//! The JSON schema of `orch.toml`, for editors: what [`super::parse`] takes, key by key, from the same lists of keys.
//!
//! An editor finds slips with it; what only the whole file shows, such as a stage that is not there, is `parse`'s to find.

use serde_json::{Map, Value, json};

use super::file::{
    BUDGET_KEYS, CLASSIFY_KEYS, FILE_KEYS, IDENTITY_KEYS, PROJECT_BUDGET_KEYS, PROJECT_KEYS, STAGE_KEYS,
    TRIGGER_KEYS, WHEN_KEYS_GITEA, WHEN_KEYS_PLANE,
};
use super::{CiResult, Gate, LaunchPoint, PullRequestAction, ReviewVerdict, Trust};

/// The schema as JSON.
pub fn schema() -> Value {
    let mut root = table(FILE_KEYS, &[]);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "orch.toml".into();
    root
}

fn table(keys: &[&str], required: &[&str]) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), of_key(key))).collect();
    let mut table = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    table
}

fn list(keys: &[&str], required: &[&str]) -> Value {
    json!({"type": "array", "items": table(keys, required)})
}

fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Value {
    json!({"enum": all.iter().map(|one| as_str(*one)).collect::<Vec<_>>()})
}

/// A key means the same wherever it stands.
fn of_key(key: &str) -> Value {
    let text = || json!({"type": "string", "minLength": 1});
    let whole = |min: i64| json!({"type": "integer", "minimum": min});
    match key {
        "identity" => table(IDENTITY_KEYS, &[]),
        "project" => {
            let mut projects = list(PROJECT_KEYS, &["name"]);
            projects["items"]["properties"]["budget"] = table(PROJECT_BUDGET_KEYS, &[]);
            projects
        }
        "stage" => {
            // In a trigger it is the name of one.
            json!({"oneOf": [list(STAGE_KEYS, &["name", "role", "prompt"]), text()]})
        }
        "trigger" => list(TRIGGER_KEYS, &["on", "stage"]),
        "classify" => list(CLASSIFY_KEYS, &["pattern", "class", "reason"]),
        "budget" => table(BUDGET_KEYS, &[]),
        "when" => {
            let keys: Vec<&str> = WHEN_KEYS_PLANE.iter().chain(WHEN_KEYS_GITEA).copied().collect();
            table(&keys, &[])
        }
        "on" => words(LaunchPoint::ALL, LaunchPoint::as_str),
        "trust" => words(Trust::ALL, Trust::as_str),
        "gate" => json!({"type": "array", "items": words(Gate::ALL, Gate::as_str)}),
        "action" => words(PullRequestAction::ALL, PullRequestAction::as_str),
        "review" => words(ReviewVerdict::ALL, ReviewVerdict::as_str),
        "ci" => words(CiResult::ALL, CiResult::as_str),
        "serial" => json!({"enum": ["none", "work_item", "project"]}),
        "class" => json!({"enum": ["transient", "permanent"]}),
        "essential" => json!({"type": "boolean"}),
        "gitea_user_id" | "max_concurrency" | "max_turns" => whole(1),
        "max_hops" | "max_bounces" => whole(0),
        "plane_user_id" | "plane_workspace_id" | "plane_project_id" | "state_id" => {
            json!({"type": "string", "format": "uuid"})
        }
        _ if key.ends_with("_usd") => json!({"type": "number", "exclusiveMinimum": 0}),
        _ if key.ends_with("_tokens") || key.ends_with("_runs") => whole(1),
        _ if key.ends_with("_timeout") || matches!(key, "max_runtime" | "retry_after") => {
            json!({"type": ["string", "integer"], "description": "a duration: \"2h\", \"90m\", or seconds"})
        }
        "name" | "role" | "prompt" | "model" | "on_pass" | "on_fail" | "pattern" | "reason" | "label"
        | "branch" | "field" | "state_group" | "gitea_repo" | "plane_identifier" | "clone_url" | "base"
        | "trust_label" | "approve_state" | "reject_state" => text(),
        // Tables and values that other parts read: the check of the file says what they may be.
        _ => json!({}),
    }
}
