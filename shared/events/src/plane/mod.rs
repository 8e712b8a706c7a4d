//! What Plane sends: its v1 and v2 bodies in the common form.
//!
//! Facts are from Plane 1.3.1's source (v1) and its published description (v2). Nothing here decides what an event
//! starts.

mod text;
mod v1;
mod v2;

use domain::launch::Scope;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Refusal;
use crate::identifier;
use crate::observed::{Observed, Place};

/// Reads a body; `header_event` stands in for an event name that is no name.
pub fn observe(header_event: &str, object: &Map<String, Value>) -> Result<Observed, Refusal> {
    let workspace = required_id(text_at(object, "workspace_id")?)?;
    let event = match text_at(object, "event")? {
        Some(name) if is_event_name(name) => name,
        Some(_) | None => header_event,
    };
    match text_at(object, "version")? {
        None | Some("v1") => v1::observe(workspace, event, object),
        Some("v2") => v2::observe(workspace, event, object),
        Some(_) => Ok(Observed::nothing(Place::Workspace(workspace))),
    }
}

/// Dotted lower-case words. Published v2 bodies carry a Python enum's name instead.
fn is_event_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.'))
}

fn shaped<T: DeserializeOwned>(value: Option<&Value>) -> Result<T, Refusal> {
    T::deserialize(value.unwrap_or(&Value::Null)).map_err(|error| {
        tracing::debug!(%error, "the body has another shape");
        Refusal::Shape
    })
}

/// A text of the outermost object; null and missing are the same.
fn text_at<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Err(Refusal::Shape),
    }
}

/// An id that may be absent; published bodies write Python's `None` as a text.
fn id(text: Option<&str>) -> Result<Option<Uuid>, Refusal> {
    text.filter(|text| !matches!(*text, "" | "None"))
        .map(|text| identifier::uuid(text).ok_or(Refusal::Identifier))
        .transpose()
}

fn required_id(text: Option<&str>) -> Result<Uuid, Refusal> {
    match text {
        None => Err(Refusal::Shape),
        Some(text) => identifier::uuid(text).ok_or(Refusal::Identifier),
    }
}

fn place(workspace: Uuid, project: Option<Uuid>) -> Place {
    project.map_or(Place::Workspace(workspace), |project| {
        Place::Project(Scope::PlaneProject { workspace, project })
    })
}

/// A text that is not Python's `None`.
fn said(text: Option<&str>) -> Option<String> {
    text.filter(|text| !matches!(*text, "" | "None")).map(str::to_owned)
}

/// A small word of a semantic key, such as a timestamp.
fn word(text: Option<&str>) -> Result<&str, Refusal> {
    let text = text.unwrap_or_default();
    if identifier::is_word(text) { Ok(text) } else { Err(Refusal::Identifier) }
}

#[cfg(test)]
mod tests;
