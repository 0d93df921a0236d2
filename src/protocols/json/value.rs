//! From bytes to a JSON value, with a bound on how many values that may be.
//!
//! A body of a few MiB can hold millions of values (`[0,0,0,…]`), and each takes 30 to 600 bytes once it is parsed:
//! without a bound one request could take gigabytes.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Read;
use crate::protocols::error::ApiError;

/// The most values that a body may hold. A conversation of 10,000 messages takes 70,000.
const MAX_VALUES: u32 = 100_000;

/// Reads a body. Half a character (`\ud83d` alone), which JavaScript leaves where it cuts a text, is U+FFFD: the
/// client's history has it for good.
pub(crate) fn parse(body: &[u8]) -> Read<Value> {
    bounded(body).or_else(|error| {
        let mended = std::str::from_utf8(body).ok().and_then(crate::domain::surrogates::mend);
        mended.map_or(Err(error), |mended| bounded(mended.as_bytes())).map_err(ApiError::invalid_json)
    })
}

fn bounded(body: &[u8]) -> serde_json::Result<Value> {
    let left = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Bounded { left: &left }.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// Builds a value out of at most so many.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values")));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
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
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = entries.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            object.insert(name, fields.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_serde_json_reads_it() {
        let body = r#" {"a": [1, -2, 2.5, null, true, "é\n"], "b": {"c": {}}, "a2": 18446744073709551615} "#;
        assert_eq!(parse(body.as_bytes()), Ok(serde_json::from_str(body).expect("JSON")));
    }

    #[test]
    fn broken_json_is_refused_with_its_place() {
        let message = |body: &[u8]| parse(body).expect_err("broken").message;
        let prefix = "We could not parse the JSON body of your request: ";
        assert_eq!(message(b""), format!("{prefix}EOF while parsing a value at line 1 column 0."));
        assert_eq!(message(b"{\n \"a\" 1}"), format!("{prefix}expected `:` at line 2 column 6."));
        assert_eq!(message(b"{} {}"), format!("{prefix}trailing characters at line 1 column 4."));
        assert_eq!(message(b"\"\xff\""), format!("{prefix}invalid unicode code point at line 1 column 2."));
        assert_eq!(
            message("[".repeat(10_000).as_bytes()),
            format!("{prefix}recursion limit exceeded at line 1 column 128.")
        );
    }

    #[test]
    fn half_a_character_is_replaced() {
        let body = br#"{"input":"hi \ud83d there","emoji":"\ud83d\ude00"}"#;
        assert_eq!(parse(body), Ok(serde_json::json!({"input": "hi \u{fffd} there", "emoji": "😀"})));
    }

    #[test]
    fn a_body_of_too_many_values_is_refused() {
        let body = format!("[{}0]", "0,".repeat(200_000));
        let message = parse(body.as_bytes()).expect_err("too many").message;
        assert!(message.contains("more than 100000 values at line 1 column"), "{message}");
    }
}
