//! The common form in which both senders' bodies leave their modules, and the limits on what is kept of them.

use std::collections::BTreeMap;

use domain::delivery::Payload;
use domain::launch::{Actor, LaunchEvent, Scope};
use domain::sighting::Sighting;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Longest title kept, in bytes.
const TITLE_BYTES_MAX: usize = 1024;
/// Longest body text kept, in bytes: what a prompt can sensibly hold.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest single fact, author or address kept, in bytes.
pub(crate) const FACT_BYTES_MAX: usize = 2048;
/// Longest event kept as it came, in bytes of the body; a longer one is pruned.
const EVENT_BYTES_MAX: usize = 64 * 1024;
/// Longest text kept in a pruned event, in bytes.
const PRUNED_TEXT_BYTES_MAX: usize = 512;
/// Most items kept of a list, and keys of an object, in a pruned event.
const PRUNED_ITEMS_MAX: usize = 64;
/// Deepest level kept in a pruned event.
const PRUNED_DEPTH_MAX: usize = 4;
/// What stands at the end of a text that was cut.
const CUT: &str = "… [cut]";
/// Digits of a digest in a semantic key: 128 bits.
const DIGEST_DIGITS: usize = 32;

/// What a body says.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Where it belongs.
    pub place: Place,
    /// What happened, at launch points alone; empty: nothing to do.
    pub events: Vec<LaunchEvent>,
    /// The prompt's inputs, the same for every job of the delivery.
    pub account: Account,
    /// What it shows of the outside, whether it starts anything or not.
    pub sightings: Vec<Sighting>,
    /// Who did it, when the sender says.
    pub actor: Option<Actor>,
}

/// Where a body belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A repository or tracker project.
    Project(Scope),
    /// A Plane workspace, no project named.
    Workspace(Uuid),
    /// Nowhere that the body says.
    Unnamed,
}

/// An event told to people and prompts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The title of the work item.
    pub title: Option<String>,
    /// The text that matters for the event.
    pub body: Option<String>,
    /// Where a person can see it.
    pub url: Option<String>,
    /// Who did it.
    pub author: Option<String>,
    /// Further facts by name; those without a value are left out.
    pub facts: Vec<(&'static str, Option<String>)>,
}

impl Observed {
    /// Something known, with nothing to do.
    pub fn nothing(place: Place) -> Self {
        Self { place, events: Vec::new(), account: Account::default(), sightings: Vec::new(), actor: None }
    }

    /// The same, with what it shows.
    #[must_use]
    pub fn showing(self, actor: Option<Actor>, sightings: Vec<Sighting>) -> Self {
        Self { sightings, actor, ..self }
    }
}

impl Account {
    /// The job payload: every text within its limit and free of U+0000, which no database column takes everywhere.
    pub fn payload(&self, event: Map<String, Value>, event_bytes: usize) -> Payload {
        let facts = self.facts.iter().filter_map(|(name, value)| {
            value.as_deref().map(|value| ((*name).to_owned(), bounded(value, FACT_BYTES_MAX)))
        });
        let bounded_to =
            |text: &Option<String>, bytes_max| text.as_deref().map(|text| bounded(text, bytes_max));
        Payload {
            title: bounded_to(&self.title, TITLE_BYTES_MAX),
            body: bounded_to(&self.body, BODY_BYTES_MAX),
            url: bounded_to(&self.url, FACT_BYTES_MAX),
            author: bounded_to(&self.author, FACT_BYTES_MAX),
            facts: facts.collect::<BTreeMap<_, _>>(),
            event: Some(snapshot(event, event_bytes)),
            ..Payload::default()
        }
    }
}

/// A short stand-in for a text of any length and content, for semantic keys.
pub(crate) fn digest(text: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(text.as_bytes()));
    digits.truncate(DIGEST_DIGITS);
    digits
}

/// Cuts `text` to at most `bytes_max` bytes, marks the cut, and replaces U+0000.
pub(crate) fn bounded(text: &str, bytes_max: usize) -> String {
    let kept = if text.len() <= bytes_max {
        text.to_owned()
    } else {
        let mut end = bytes_max.saturating_sub(CUT.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{CUT}", &text[..end])
    };
    if kept.contains('\0') { kept.replace('\0', "\u{fffd}") } else { kept }
}

/// The event as it came, without the secret that old Gitea puts into it; pruned when it is long.
fn snapshot(mut event: Map<String, Value>, event_bytes: usize) -> Value {
    event.retain(|key, _| key != "secret");
    if event_bytes <= EVENT_BYTES_MAX {
        let mut whole = Value::Object(event);
        replace_nul(&mut whole);
        return whole;
    }
    let (text_bytes_max, items_max) = (PRUNED_TEXT_BYTES_MAX, PRUNED_ITEMS_MAX);
    let pruned: Map<String, Value> = event
        .iter()
        .take(items_max)
        .map(|(key, value)| {
            (bounded(key, text_bytes_max), prune(value, text_bytes_max, items_max, PRUNED_DEPTH_MAX))
        })
        .collect();
    let pruned = Value::Object(pruned);
    if pruned.to_string().len() > EVENT_BYTES_MAX { Value::Null } else { pruned }
}

/// Replaces U+0000 in every text, without a copy where there is none.
fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = bounded(text, usize::MAX),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(entries) => {
            if entries.keys().any(|key| key.contains('\0')) {
                let renamed = std::mem::take(entries).into_iter();
                *entries = renamed.map(|(key, value)| (bounded(&key, usize::MAX), value)).collect();
            }
            entries.values_mut().for_each(replace_nul);
        }
    }
}

fn prune(value: &Value, text_bytes_max: usize, items_max: usize, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => Value::String(bounded(text, text_bytes_max)),
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::String(CUT.to_owned()),
        Value::Array(items) => items
            .iter()
            .take(items_max)
            .map(|item| prune(item, text_bytes_max, items_max, depth - 1))
            .collect(),
        Value::Object(entries) => entries
            .iter()
            .take(items_max)
            .map(|(key, value)| {
                (bounded(key, text_bytes_max), prune(value, text_bytes_max, items_max, depth - 1))
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn texts_are_cut_at_a_letter_and_free_of_nul() {
        assert_eq!(bounded("a\0b", 10), "a\u{fffd}b");
        let cut = bounded(&"é".repeat(50), 30);
        assert!(cut.len() <= 30 && cut.ends_with(CUT), "{cut}");
    }

    #[test]
    fn a_short_event_is_kept_but_for_its_secret_and_nul() {
        let event = object(&json!({"secret": "s", "a": {"secret": "not ours", "b\0": ["x\0"]}}));
        assert_eq!(snapshot(event, 50), json!({"a": {"secret": "not ours", "b\u{fffd}": ["x\u{fffd}"]}}));
    }

    #[test]
    fn a_long_event_is_pruned_to_its_limit() {
        let text = "x".repeat(EVENT_BYTES_MAX);
        let event = object(&json!({"deep": [[[[["gone"]]]]], "list": vec![1; 500], "text": text, "kept": 7}));
        let kept = snapshot(event, EVENT_BYTES_MAX * 2);
        assert!(kept.to_string().len() <= EVENT_BYTES_MAX);
        assert_eq!(kept["kept"], 7);
        assert_eq!(kept["list"].as_array().map(Vec::len), Some(PRUNED_ITEMS_MAX));
        assert_eq!(kept["deep"], json!([[[[CUT]]]]));
        let wide: Map<String, Value> =
            (0..64).map(|row| (row.to_string(), json!(vec!["y".repeat(512); 64]))).collect();
        assert_eq!(snapshot(wide, EVENT_BYTES_MAX * 40), Value::Null);
    }
}
