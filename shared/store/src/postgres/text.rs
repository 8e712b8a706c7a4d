//! A statement with its values written into it, as a message takes it that holds several statements.
//!
//! The protocol's other kind of message, in which values travel beside the statement, holds one statement, is asked for
//! in two turns by the driver, and what is between them lives in the session.

use std::fmt::Write as _;

use postgres_protocol::escape::escape_literal;

use crate::sql::argument::{Argument, without_nul};

/// The statement without its comments, each `$n` in it replaced by the `n`th of the values.
pub(crate) fn filled(statement: &str, values: &[Argument<'_>]) -> String {
    let mut text = String::with_capacity(statement.len() + values.iter().map(length_guess).sum::<usize>());
    let mut rest = statement.trim_end();
    while let Some(at) = rest.find(['\'', '-', '$']) {
        let (before, here) = rest.split_at(at);
        text.push_str(before);
        rest = if let Some(comment) = here.strip_prefix("--") {
            comment.find('\n').map_or("", |end| &comment[end..])
        } else if let Some(quoted) = here.strip_prefix('\'') {
            let end = quoted.find('\'').map_or(here.len(), |end| end + 2);
            text.push_str(&here[..end]);
            &here[end..]
        } else {
            let digits = here[1..].find(|c: char| !c.is_ascii_digit()).map_or(here.len(), |end| end + 1);
            match here[1..digits].parse::<usize>().ok().and_then(|number| values.get(number.checked_sub(1)?))
            {
                Some(value) if here.starts_with('$') => push_value(&mut text, value),
                Some(_) | None => text.push_str(&here[..digits]),
            }
            &here[digits..]
        };
    }
    text.push_str(rest);
    text
}

fn length_guess(value: &Argument<'_>) -> usize {
    match value {
        Argument::Text(Some(text)) => text.len() + text.len() / 8 + 16,
        Argument::Text(None) | Argument::Integer(_) | Argument::Real(_) | Argument::Bool(_) => 32,
    }
}

/// Every value says its type, as one beside the statement would.
fn push_value(text: &mut String, value: &Argument<'_>) {
    // Writing to a string does not fail.
    let _ = match value {
        Argument::Integer(Some(value)) => write!(text, "'{value}'::bigint"),
        Argument::Integer(None) => write!(text, "NULL::bigint"),
        Argument::Real(Some(value)) => write!(text, "'{value}'::double precision"),
        Argument::Real(None) => write!(text, "NULL::double precision"),
        Argument::Text(None) => write!(text, "NULL::text"),
        Argument::Bool(value) => write!(text, "{value}"),
        Argument::Text(Some(value)) => write!(text, "{}::text", escape_literal(&without_nul(value))),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Argument<'_> {
        Argument::from(value)
    }

    #[test]
    fn values_stand_where_their_numbers_stood() {
        let statement = "-- $1: what's asked\nSELECT a ->> 0, '$1 -- it''s $2', $2, $11 - 1, $$ -- the end\nFROM x($1::jsonb)\n";
        assert_eq!(
            filled(statement, &[text("[]"), Argument::from(-5_i64)]),
            "\nSELECT a ->> 0, '$1 -- it''s $2', '-5'::bigint, $11 - 1, $$ \nFROM x('[]'::text::jsonb)"
        );
    }

    #[test]
    fn no_text_ends_its_quotes() {
        for (value, literal) in [
            ("a", "'a'::text"),
            ("it's", "'it''s'::text"),
            ("'; DROP TABLE jobs; --", "'''; DROP TABLE jobs; --'::text"),
            (r"\", r" E'\\'::text"),
            (r"\'", r" E'\\'''::text"),
            (r#"{"a":"b\n$1"}"#, r#" E'{"a":"b\\n$1"}'::text"#),
            ("a\0b", "'a\u{fffd}b'::text"),
            ("é'漢", "'é''漢'::text"),
        ] {
            assert_eq!(filled("$1", &[text(value)]), literal, "{value}");
        }
    }

    #[test]
    fn other_values_say_their_types() {
        let values = [
            Argument::Integer(Some(i64::MIN)),
            Argument::Integer(None),
            Argument::Real(Some(0.25)),
            Argument::Real(None),
            Argument::Text(None),
            Argument::Bool(true),
        ];
        assert_eq!(
            filled("$1 $2 $3 $4 $5 $6", &values),
            "'-9223372036854775808'::bigint NULL::bigint '0.25'::double precision NULL::double precision NULL::text true"
        );
    }
}
