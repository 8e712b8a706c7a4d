//! Whether one trigger matches one event.

use crate::launch::{Facts, LaunchEvent};
use crate::pipeline::{PullRequestAction, Trigger, When};

/// All conditions that are set hold, and a merge is asked for by name.
pub(super) fn matches(trigger: &Trigger, event: &LaunchEvent) -> bool {
    let When { state_group, state_id, label, command, field, branch, action, review, ci, trust } =
        &trigger.when;
    let facts = &event.facts;
    let unasked_merge = facts.action == Some(PullRequestAction::Merged) && action.is_none();

    trigger.on == event.point
        && !unasked_merge
        && meets(state_group.as_deref(), |wanted| facts.state_group.as_deref() == Some(wanted))
        && meets(*state_id, |wanted| facts.state_id == Some(wanted))
        && meets(label.as_deref(), |wanted| has_label(facts, wanted))
        && meets(command.as_deref(), |wanted| has_command(facts, wanted))
        && meets(field.as_deref(), |wanted| facts.field == Some(wanted))
        && meets(branch.as_deref(), |wanted| facts.branch.as_deref().is_some_and(|name| glob(wanted, name)))
        && meets(*action, |wanted| facts.action == Some(wanted))
        && meets(*review, |wanted| facts.review == Some(wanted))
        && meets(*ci, |wanted| facts.ci == Some(wanted))
        && meets(*trust, |least| event.trust >= least)
}

fn meets<T>(condition: Option<T>, holds: impl FnOnce(T) -> bool) -> bool {
    condition.is_none_or(holds)
}

fn has_label(facts: &Facts, wanted: &str) -> bool {
    let wanted_lower = wanted.to_lowercase();
    facts.labels.iter().any(|label| {
        label.id.eq_ignore_ascii_case(wanted)
            || label.name.as_ref().is_some_and(|name| name.to_lowercase() == wanted_lower)
    })
}

/// A line of the comment begins with the command's words; `/` before it may be left out in `orch.toml`.
fn has_command(facts: &Facts, wanted: &str) -> bool {
    let wanted: Vec<&str> = wanted.trim_start_matches('/').split_whitespace().collect();
    facts.comment.iter().flat_map(|comment| comment.lines()).any(|line| {
        line.trim_start().strip_prefix('/').is_some_and(|rest| {
            let mut words = rest.split_whitespace();
            !rest.starts_with(char::is_whitespace)
                && !wanted.is_empty()
                && wanted
                    .iter()
                    .all(|word| words.next().is_some_and(|found| found.eq_ignore_ascii_case(word)))
        })
    })
}

/// `*` stands for any run of characters, also none and also with slashes.
fn glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let cases = [
            ("main", "main", true),
            ("main", "mainly", false),
            ("release/*", "release/1.2", true),
            ("release/*", "release", false),
            ("*", "", true),
            ("*/x/*", "a/x/b/x/", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_command_begins_a_line() {
        let facts =
            Facts { comment: Some("thanks\n  /agent developer please".to_owned()), ..Facts::default() };
        let cases = [
            ("/agent", true),
            ("agent", true),
            ("/agent developer", true),
            ("/agent tester", false),
            ("/age", false),
            ("thanks", false),
            ("/", false),
        ];
        for (command, expected) in cases {
            assert_eq!(has_command(&facts, command), expected, "{command}");
        }
    }
}
