//! A line as a JSON value of bounded size: a line of zeros in brackets would take sixteen times its length otherwise.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The most elements and fields kept of one line; those after them are passed by. Ordinary events have some dozens.
pub(super) const VALUES_MAX: usize = 10_000;

/// Reads a line; `None` when it is no JSON.
pub(super) fn parse(line: &[u8]) -> Option<Value> {
    let mut left = VALUES_MAX;
    let mut reader = serde_json::Deserializer::from_slice(line);
    let value = Bounded(&mut left).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// Builds a value out of as many parts as are left.
struct Bounded<'a>(&'a mut usize);

impl Bounded<'_> {
    /// Takes one of the parts that are left.
    fn take(&mut self) -> bool {
        let some = *self.0 > 0;
        *self.0 = self.0.saturating_sub(1);
        some
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while self.take() {
            let Some(element) = elements.next_element_seed(Bounded(self.0))? else { return Ok(kept.into()) };
            kept.push(element);
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while self.take() {
            let Some(name) = fields.next_key::<String>()? else { return Ok(kept.into()) };
            kept.insert(name, fields.next_value_seed(Bounded(self.0))?);
        }
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(kept.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many values a value is made of.
    fn size(value: &Value) -> usize {
        match value {
            Value::Array(elements) => 1 + elements.iter().map(size).sum::<usize>(),
            Value::Object(fields) => 1 + fields.values().map(size).sum::<usize>(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        }
    }

    #[test]
    fn an_ordinary_line_is_read_as_it_is() {
        for line in [
            r#"{"type":"result","n":[1,-2,0.5,null,true,"\u00fc\n",{"":[[],{}]}],"n2":18446744073709551615,"x":1e9}"#,
            " [ ] ",
            "\"\"",
        ] {
            assert_eq!(parse(line.as_bytes()), serde_json::from_str(line).unwrap(), "{line}");
        }
        for broken in ["", "{", "{\"a\":}", "[1] 2", "{\"a\":1,}", "\u{0}", "[\"\\ud800\"]", "nul"] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken:?}");
        }
        assert_eq!(parse(b"[\"\xff\"]"), None);
    }

    #[test]
    fn a_line_made_of_many_values_takes_no_more_room_than_one_of_few() {
        for (part, repeats) in
            [("0,", 1_000_000), ("{},", 300_000), ("[{\"a\":[0]}],", 90_000), ("\"\",", 300_000)]
        {
            let line = format!("{{\"type\":\"user\",\"list\":[{}0],\"last\":1}}", part.repeat(repeats));
            let value = parse(line.as_bytes()).unwrap();
            assert!(size(&value) <= VALUES_MAX + 1 && value["type"] == "user", "{part}: {}", size(&value));
        }
        let fields: Vec<String> = (0..100_000).map(|n| format!("\"{n}\":0,")).collect();
        let value = parse(format!("{{{}\"last\":0}}", fields.concat()).as_bytes()).unwrap();
        assert_eq!(size(&value), VALUES_MAX + 1);
        // What comes after too much must still be JSON.
        assert_eq!(parse(format!("[{}", "0,".repeat(20_000)).as_bytes()), None);
        assert_eq!(parse("[".repeat(100_000).as_bytes()), None);
    }
}
