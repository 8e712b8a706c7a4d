//! The published schema takes what the parser takes, knows every key, and refuses what is none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::pipeline::{parse, schema};
use jsonschema::Validator;
use serde_json::Value;

const EXAMPLE: &str = include_str!("../../../docs/orch.example.toml");

fn validator() -> Validator {
    jsonschema::options().should_validate_formats(true).build(&schema()).unwrap()
}

fn json(text: &str) -> Value {
    toml::from_str(text).unwrap()
}

/// Every `orch.toml` that this repository ships or tests with.
fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    [
        "docs/orch.example.toml",
        "ctl/src/dev/files/orch.toml",
        "ctl/src/dev/files/demo.toml",
        "e2e/src/night/pipeline.toml",
    ]
    .map(|name| root.join(name))
    .to_vec()
}

#[test]
fn every_example_is_taken_by_both() {
    let validator = validator();
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("{prompt}", "prompt.md");
        parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let found: Vec<String> = validator.iter_errors(&json(&text)).map(|error| error.to_string()).collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}

/// A path such as `project.hooks.timeout`, whatever list or alternative a table stands in.
fn keys_of_schema(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        keys_of_schema(one, path, keys);
    }
    if schema["items"].is_object() {
        keys_of_schema(&schema["items"], path, keys);
    }
    if schema["type"] == "object" {
        let others = &schema["additionalProperties"];
        assert!(*others == false || others["anyOf"].is_array(), "{path} takes any key");
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        assert!(inner.as_object().is_some_and(|inner| !inner.is_empty()), "nothing is said of {path}");
        keys_of_schema(inner, &path, keys);
        keys.insert(path);
    }
}

fn keys_of_file(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys_of_file(item, path, keys)),
        // Its keys are the file's own: the names of stages.
        Value::Object(_) if path.ends_with(".on_stage") => {}
        Value::Object(entries) => {
            for (key, inner) in entries {
                let path = format!("{path}.{key}");
                keys_of_file(inner, &path, keys);
                keys.insert(path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The parser's lists of keys are the schema's; the example has each of them and is taken, so the parser reads them all.
#[test]
fn the_example_has_every_key_of_the_schema_and_no_other() {
    let (mut known, mut used) = (BTreeSet::new(), BTreeSet::new());
    keys_of_schema(&schema(), "", &mut known);
    keys_of_file(&json(EXAMPLE), "", &mut used);
    assert_eq!(known, used);
    assert!(known.len() > 90, "{}", known.len());
}

/// What becomes of a key and its value; `None`: they are left alone.
type Change = dyn Fn(&str, &Value) -> Option<(String, Value)>;

/// The same file with one place changed, for every place.
fn changed(value: &Value, change: &Change) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                all.extend(changed(item, change).into_iter().map(|(path, inner)| {
                    let mut items = items.clone();
                    items[index] = inner;
                    (format!("[{index}]{path}"), Value::Array(items))
                }));
            }
        }
        Value::Object(entries) => {
            for (key, inner) in entries {
                if let Some((key_after, inner_after)) = change(key, inner) {
                    let mut entries = entries.clone();
                    entries.remove(key);
                    entries.insert(key_after, inner_after);
                    all.push((format!(".{key}"), Value::Object(entries)));
                }
                all.extend(changed(inner, change).into_iter().map(|(path, inner)| {
                    let mut entries = entries.clone();
                    entries.insert(key.clone(), inner);
                    (format!(".{key}{path}"), Value::Object(entries))
                }));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

/// Both refuse each of these files.
fn both_refuse(files: Vec<(String, Value)>) {
    let validator = validator();
    assert!(files.len() > 90, "{}", files.len());
    for (place, file) in files {
        let text = toml::to_string(&file).unwrap();
        assert!(parse(&text).is_err(), "the parser takes {place}:\n{text}");
        assert!(!validator.is_valid(&file), "the schema takes {place}:\n{text}");
    }
}

#[test]
fn no_other_key_is_taken_anywhere() {
    let renamed = |key: &str, inner: &Value| {
        // A stage of another name may well be there, for all that a schema knows.
        let is_own = ["development", "review"].contains(&key);
        (!is_own).then(|| (format!("{key}x"), inner.clone()))
    };
    both_refuse(changed(&json(EXAMPLE), &renamed));
}

#[test]
fn no_value_of_another_kind_is_taken_anywhere() {
    let odd = |key: &str, _: &Value| Some((key.to_owned(), serde_json::json!([[{"odd": 1}]])));
    both_refuse(changed(&json(EXAMPLE), &odd));
    let empty = |key: &str, inner: &Value| inner.is_string().then(|| (key.to_owned(), Value::from(" ")));
    let validator = validator();
    for (place, file) in changed(&json(EXAMPLE), &empty) {
        assert!(parse(&toml::to_string(&file).unwrap()).is_err(), "the parser takes an empty {place}");
        assert!(!validator.is_valid(&file), "the schema takes an empty {place}");
    }
}
