//! What Gitea and Forgejo send: their bodies in the common form.
//!
//! Facts about both are from their sources (Gitea 1.25, Forgejo 12). Nothing here decides what an event starts.

mod body;
mod ci;
mod pull_request;
mod push;

use domain::launch::{Actor, Scope};
use domain::pipeline::Trust;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use push::{branch_at, branch_subject};

use crate::Refusal;
use crate::identifier;
use crate::observed::{Observed, Place};

/// Reads the body of the event named `event`.
pub fn observe(event: &str, object: &Map<String, Value>) -> Result<Observed, Refusal> {
    let action = object.get("action").and_then(Value::as_str).unwrap_or_default();
    match event {
        "push" => push::observe(&shaped(object)?),
        "pull_request" | "pull_request_sync" => match pull_request::action(action, object) {
            Some(action) => pull_request::observe(action, &shaped(object)?),
            None if action == "closed" => match shaped(object) {
                Ok(event) => pull_request::observe_closed(&event),
                Err(_) => Ok(nothing(object)),
            },
            None => Ok(nothing(object)),
        },
        "pull_request_label" => match shaped(object) {
            Ok(event) => pull_request::observe_labels(&event),
            Err(_) => Ok(nothing(object)),
        },
        "pull_request_review_approved"
        | "pull_request_review_rejected"
        | "pull_request_approved"
        | "pull_request_rejected" => pull_request::observe_review(event, &shaped(object)?),
        "status" => ci::observe_status(&shaped(object)?),
        "workflow_run" if action == "completed" => ci::observe_workflow_run(&shaped(object)?),
        // Under way: a gate that waits for it should know.
        "workflow_run" => match shaped(object) {
            Ok(event) => ci::observe_workflow_run(&event),
            Err(_) => Ok(nothing(object)),
        },
        "action_run_failure" | "action_run_success" | "action_run_recover" => {
            ci::observe_action_run(event, &shaped(object)?)
        }
        _ => Ok(nothing(object)),
    }
}

fn shaped<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, Refusal> {
    T::deserialize(object).map_err(|error| {
        tracing::debug!(%error, "the body has another shape");
        Refusal::Shape
    })
}

/// An event that is none of ours, or one with nothing to do; its repository still has to be known when it names one.
fn nothing(object: &Map<String, Value>) -> Observed {
    let name =
        |holder: Option<&Value>| holder?.get("repository")?.get("full_name")?.as_str().map(str::to_owned);
    let repo = object
        .get("repository")
        .and_then(|repository| repository.get("full_name")?.as_str().map(str::to_owned))
        .or_else(|| name(object.get("run")));
    Observed::nothing(repo.map_or(Place::Unnamed, |repo| Place::Project(Scope::Repo(repo))))
}

fn place(repository: &body::Repository) -> Result<Place, Refusal> {
    identifier::is_repo(&repository.full_name)
        .then(|| Place::Project(Scope::Repo(repository.full_name.clone())))
        .ok_or(Refusal::Identifier)
}

/// The repository's name as it stands in semantic keys: forges do not tell case apart.
fn repo_key(repository: &body::Repository) -> String {
    repository.full_name.to_ascii_lowercase()
}

fn actor(user: Option<&body::User>) -> Option<Actor> {
    user.map(|user| Actor::Gitea(user.id))
}

/// An owner is known as such; `otherwise` is what the kind of event shows of anybody else.
fn trust(user: Option<&body::User>, repository: &body::Repository, otherwise: Trust) -> Trust {
    let owner = repository.owner.as_ref().map(|owner| owner.id);
    if user.is_some_and(|user| owner == Some(user.id)) { Trust::Maintainer } else { otherwise }
}

fn sha(text: &str) -> Result<&str, Refusal> {
    if identifier::is_sha(text) { Ok(text) } else { Err(Refusal::Identifier) }
}

fn branch(name: &str) -> Result<&str, Refusal> {
    if identifier::is_branch(name) { Ok(name) } else { Err(Refusal::Identifier) }
}

#[cfg(test)]
mod tests;
