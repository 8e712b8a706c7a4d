//! Reads one table of `orch.toml` key by key, so that every refusal can name its place.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use uuid::Uuid;

use super::CommandLine;
use super::error::{ConfigError, remedy};
use crate::budget::micros;

/// Longest duration taken, in seconds: a year. Anything longer is a slip of the pen.
pub(super) const DURATION_SECONDS_MAX: i64 = 366 * 24 * 3600;

/// A value with the place it was read from, in bytes of the text.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// One table, with the text it came from.
pub(super) struct Section<'a, 'i> {
    text: &'a str,
    table: &'a DeTable<'i>,
    span: Range<usize>,
    title: &'a str,
}

/// The most US dollars taken. Anything more is a slip of the pen.
pub(super) const USD_MAX: f64 = 10_000_000.0;

type Value<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl<'a, 'i> Section<'a, 'i> {
    /// Takes a table in which only the `known` keys may stand.
    pub(super) fn new(
        text: &'a str,
        title: &'a str,
        table: &'a DeTable<'i>,
        span: Range<usize>,
        known: &[&str],
    ) -> Result<Self, ConfigError> {
        for (key, _) in table {
            let word: &DeString<'i> = key.get_ref();
            if !known.contains(&word.as_ref()) {
                let reason = format!("unknown key `{word}` in {title}: {}", remedy(word, known));
                return Err(ConfigError::at(text, &key.span(), reason));
            }
        }
        Ok(Self { text, table, span, title })
    }

    /// Takes the value of a key that must be a table of its own.
    pub(super) fn sub(&self, key: &str, title: &'a str, known: &[&str]) -> Result<Option<Self>, ConfigError> {
        self.get(key)
            .map(|value| match value.get_ref().as_table() {
                Some(table) => Self::new(self.text, title, table, value.span(), known),
                None => Err(self.wrong_type(key, value, "a table")),
            })
            .transpose()
    }

    /// Takes the tables of an `[[array]]`; none when it is absent.
    pub(super) fn list(&self, key: &str, title: &'a str, known: &[&str]) -> Result<Vec<Self>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Some(array) = value.get_ref().as_array() else {
            let reason = format!("`{key}` must be a list of tables: write [[{key}]] in double brackets");
            return Err(self.refuse(&value.span(), reason));
        };
        array
            .iter()
            .map(|item| match item.get_ref().as_table() {
                Some(table) => Self::new(self.text, title, table, item.span(), known),
                None => Err(self.wrong_type(key, item, "a table")),
            })
            .collect()
    }

    /// Takes a text that must be there.
    pub(super) fn required(&self, key: &str) -> Result<Placed<String>, ConfigError> {
        self.text(key)?
            .ok_or_else(|| self.refuse(&self.span, format!("{} has no `{key}`: add it", self.title)))
    }

    /// Takes a text; an empty one is refused.
    pub(super) fn text(&self, key: &str) -> Result<Option<Placed<String>>, ConfigError> {
        self.get(key).map(|value| self.text_of(key, value)).transpose()
    }

    /// Takes a list of texts; none when it is absent.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<Placed<String>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        match value.get_ref().as_array() {
            Some(array) => array.iter().map(|item| self.text_of(key, item)).collect(),
            None => Err(self.wrong_type(key, value, "a list of texts")),
        }
    }

    /// Takes a command: a text for the shell, or a list of a program and its arguments.
    pub(super) fn command(&self, key: &str) -> Result<Option<CommandLine>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let command = match value.get_ref().as_array() {
            None if value.get_ref().as_str().is_none() => {
                return Err(self.wrong_type(key, value, "a command: a text, or a list of texts"));
            }
            None => CommandLine::Shell(self.text_of(key, value)?.value),
            Some(_) => CommandLine::Argv(self.texts(key)?.into_iter().map(|text| text.value).collect()),
        };
        if command.argv().is_empty() || command.argv().iter().any(|word| word.contains('\0')) {
            let reason = format!("`{key}` names no program: write a command, or leave the line out");
            return Err(self.refuse(&value.span(), reason));
        }
        Ok(Some(command))
    }

    /// Takes one of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<Option<T>, ConfigError> {
        self.text(key)?.map(|text| self.word_of(key, &text, all, as_str)).transpose()
    }

    /// Finds which of a few words `text` is.
    pub(super) fn word_of<T: Copy>(
        &self,
        key: &str,
        text: &Placed<String>,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<T, ConfigError> {
        all.iter().copied().find(|one| as_str(*one) == text.value).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|one| as_str(*one)).collect();
            self.refuse(
                &text.span,
                format!("unknown `{key}` \"{}\": {}", text.value, remedy(&text.value, &known)),
            )
        })
    }

    /// Takes a whole number from `min` on that fits `T`.
    pub(super) fn number<T: TryFrom<i64>>(&self, key: &str, min: i64) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(digits) = value.get_ref().as_integer() else {
            return Err(self.wrong_type(key, value, "a whole number"));
        };
        i64::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .filter(|number| *number >= min)
            .and_then(|number| T::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| {
                let reason = format!("`{key}` is out of range: it must be a whole number of at least {min}");
                self.refuse(&value.span(), reason)
            })
    }

    /// Takes an amount of US dollars, as millionths.
    pub(super) fn usd_micros(&self, key: &str) -> Result<Option<i64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = value.get_ref();
        let Some(written) = found
            .as_float()
            .map(toml::de::DeFloat::as_str)
            .or_else(|| found.as_integer().map(toml::de::DeInteger::as_str))
        else {
            return Err(self.wrong_type(key, value, "an amount of US dollars such as 2.5"));
        };
        let usd = written.parse::<f64>().ok().filter(|usd| *usd > 0.0 && *usd <= USD_MAX);
        usd.map(|usd| Some(micros(usd))).ok_or_else(|| {
            let reason = format!("`{key}` must be more than 0 and at most {USD_MAX} US dollars");
            self.refuse(&value.span(), reason)
        })
    }

    /// Takes true or false.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        self.get(key)
            .map(|value| {
                let flag = value.get_ref().as_bool();
                flag.ok_or_else(|| self.wrong_type(key, value, "true or false"))
            })
            .transpose()
    }

    /// Takes a UUID in its usual form with four hyphens.
    pub(super) fn uuid(&self, key: &str) -> Result<Option<Uuid>, ConfigError> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        Uuid::try_parse(&text.value).map(Some).map_err(|_| {
            let reason = format!("`{key}` is not a uuid: write it as 01234567-89ab-cdef-0123-456789abcdef");
            self.refuse(&text.span, reason)
        })
    }

    /// Takes a duration: `"2h"`, `"1h 30m"`, or plain seconds.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = value.get_ref();
        let Some(written) =
            found.as_integer().map(toml::de::DeInteger::as_str).or_else(|| found.as_str()).map(str::trim)
        else {
            return Err(self.wrong_type(key, value, "a duration such as \"2h\""));
        };
        let parsed = match written.parse::<i64>() {
            Ok(seconds) => Some(jiff::SignedDuration::from_secs(seconds)),
            Err(_) => written.parse::<jiff::SignedDuration>().ok(),
        };
        parsed
            .filter(|duration| duration.is_positive() && duration.as_secs() <= DURATION_SECONDS_MAX)
            .and_then(|duration| Duration::try_from(duration).ok())
            .map(Some)
            .ok_or_else(|| {
                let reason =
                    format!("`{key}` is not a duration: write \"2h\", \"90m\", \"1h 30m\" or plain seconds");
                self.refuse(&value.span(), reason)
            })
    }

    /// A refusal placed at `span`.
    pub(super) fn refuse(&self, span: &Range<usize>, reason: String) -> ConfigError {
        ConfigError::at(self.text, span, reason)
    }

    /// Where the table itself stands.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a, 'i>> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    fn text_of(&self, key: &str, value: Value<'a, 'i>) -> Result<Placed<String>, ConfigError> {
        let Some(text) = value.get_ref().as_str().map(str::trim) else {
            return Err(self.wrong_type(key, value, "a text in quotes"));
        };
        if text.is_empty() {
            return Err(self
                .refuse(&value.span(), format!("`{key}` is empty: give it a value or leave the line out")));
        }
        Ok(Placed { value: text.to_owned(), span: value.span() })
    }

    fn wrong_type(&self, key: &str, value: Value<'_, '_>, wanted: &str) -> ConfigError {
        self.refuse(&value.span(), format!("`{key}` must be {wanted}, not {}", describe(value.get_ref())))
    }
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
