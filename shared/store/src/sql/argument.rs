//! Values bound to statements, one by one or as rows.

use std::borrow::Cow;

use domain::{Epoch, JobId, RunId, Timestamp};
use serde::{Serialize, Serializer};

/// A value bound to a statement.
#[derive(Clone, Debug)]
pub(crate) enum Argument<'a> {
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<Cow<'a, str>>),
    Bool(bool),
}

/// Rows for one statement. SQLite runs it once for each, the cells bound from `?1` on; PostgreSQL, where each call is a
/// way to the server and back, once with all of them as one JSON array in `$1`.
#[derive(Debug)]
pub(crate) struct Rows<'a, const N: usize>(Vec<[Argument<'a>; N]>);

/// A row of [`Rows`].
macro_rules! cells {
    ($($value:expr),+ $(,)?) => { [$($crate::sql::argument::Argument::from($value)),+] };
}

pub(crate) use cells;

impl<'a, const N: usize> Rows<'a, N> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, row: [Argument<'a>; N]) {
        self.0.push(row);
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[Argument<'a>]> {
        self.0.iter().map(<[Argument<'a>; N]>::as_slice)
    }

    pub(crate) fn into_inner(self) -> Vec<[Argument<'a>; N]> {
        self.0
    }

    pub(crate) fn into_json(self) -> Result<String, sqlx::Error> {
        let rows: Vec<&[Argument<'a>]> = self.iter().collect();
        serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(Box::new(error)))
    }
}

impl Serialize for Argument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => value.serialize(serializer),
            Self::Real(value) => value.serialize(serializer),
            Self::Text(value) => value.serialize(serializer),
            Self::Bool(value) => value.serialize(serializer),
        }
    }
}

/// What is bound like something else.
macro_rules! bound_as {
    ($($kind:ty: |$value:ident| $form:expr),+ $(,)?) => {
        $(impl<'a> From<$kind> for Argument<'a> {
            fn from($value: $kind) -> Self {
                Self::from($form)
            }
        })+
    };
}

bound_as! {
    i64: |value| Some(value),
    i32: |value| i64::from(value),
    u32: |value| i64::from(value),
    Option<i32>: |value| value.map(i64::from),
    Option<u32>: |value| value.map(i64::from),
    Timestamp: |value| value.as_ms(),
    Option<Timestamp>: |value| value.map(Timestamp::as_ms),
    JobId: |value| value.0,
    Option<JobId>: |value| value.map(|job| job.0),
    Epoch: |value| value.0,
    String: |value| Some(value),
    &'a str: |value| Some(value),
    &'a String: |value| value.as_str(),
    Option<&'a String>: |value| value.map(String::as_str),
    &'a Option<String>: |value| value.as_deref(),
    RunId: |value| value.to_string(),
    Option<RunId>: |value| value.map(|run| run.to_string()),
}

impl From<Option<i64>> for Argument<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Integer(value)
    }
}

impl From<Option<f64>> for Argument<'_> {
    fn from(value: Option<f64>) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Argument<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Option<String>> for Argument<'_> {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(Cow::Owned))
    }
}

impl<'a> From<Option<&'a str>> for Argument<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value.map(Cow::Borrowed))
    }
}

/// The text with another character for NUL, which PostgreSQL holds neither in text nor in the text of JSON.
pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    let text =
        if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) };
    if !text.contains(r"\u0000") {
        return text;
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        // What is escaped is one character, or `u` and four digits.
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        let length = 2.min(escape.len());
        if let Some(after) = escape.strip_prefix(r"\u0000") {
            clean.push('\u{fffd}');
            rest = after;
        } else if let Some((escape, after)) = escape.split_at_checked(length) {
            clean.push_str(escape);
            rest = after;
        } else {
            break;
        }
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_and_nothing_else() {
        for (text, clean) in [
            ("a\0b", "a\u{fffd}b"),
            (r#"["a\u0000b"]"#, "[\"a\u{fffd}b\"]"),
            // JSON within JSON: the escape is of the inner text, and stays an escape.
            (r#"["{\"t\":\"a\\u0000b\"}"]"#, r#"["{\"t\":\"a\\u0000b\"}"]"#),
            (r#"["\\\u0000\u0000"]"#, "[\"\\\\\u{fffd}\u{fffd}\"]"),
            (r"\u0000\", "\u{fffd}\\"),
            (r#""\u0001 é""#, r#""\u0001 é""#),
        ] {
            assert_eq!(without_nul(text), clean, "{text}");
        }
    }
}
