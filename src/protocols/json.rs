//! Reading JSON so that every refusal names its place: a value is taken apart by functions that know where they are.

mod value;

use std::fmt;

use serde_json::{Map, Value};

use super::error::{ApiError, Range};
pub(super) use value::parse;

/// A result of reading.
pub(super) type Read<T> = Result<T, ApiError>;

/// A place in a request's body, written as the API writes `param`: `input[2].content[0].type`.
#[derive(Clone, Copy)]
pub(super) enum At<'a> {
    /// The body itself.
    Body,
    /// A field of an object.
    Field(&'a At<'a>, &'a str),
    /// An entry of an array.
    Entry(&'a At<'a>, usize),
}

impl<'a> At<'a> {
    pub(super) const fn field(&'a self, name: &'a str) -> Self {
        Self::Field(self, name)
    }

    pub(super) const fn entry(&'a self, index: usize) -> Self {
        Self::Entry(self, index)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body => Ok(()),
            Self::Field(Self::Body, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Entry(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The refusal of a value of the wrong type; `expected` with its article.
pub(super) fn wrong_type(at: At, expected: &str, value: &Value) -> ApiError {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    ApiError::invalid_type(at, expected, got)
}

pub(super) fn object(at: At, value: Value) -> Read<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(wrong_type(at, "an object", &other)),
    }
}

pub(super) fn string(at: At, value: Value) -> Read<String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(at, "a string", &other)),
    }
}

pub(super) fn boolean(at: At, value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| wrong_type(at, "a boolean", value))
}

/// A string of 1 to `most` characters.
pub(super) fn short_string(at: At, value: Value, most: usize) -> Read<String> {
    let text = string(at, value)?;
    if text.is_empty() {
        return Err(ApiError::empty_string(at));
    }
    at_most(at, text, most)
}

/// `text`, if it has at most so many characters.
pub(super) fn at_most(at: At, text: String, most: usize) -> Read<String> {
    // There are never more characters than bytes, and most strings are shorter than the limit in either.
    if text.len() > most {
        let length = text.chars().count();
        if length > most {
            return Err(ApiError::string_too_long(at, most, length));
        }
    }
    Ok(text)
}

/// The name of a function or a schema: 1 to 64 letters, digits, `_` and `-`.
pub(super) fn name(at: At, value: Value) -> Read<String> {
    let name = short_string(at, value, 64)?;
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Ok(name);
    }
    let problem = "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.";
    Err(ApiError::invalid(at, problem))
}

/// A whole number in a range.
pub(super) fn integer(at: At, value: &Value, min: u64, max: u64) -> Read<u64> {
    let range = Range { noun: "integer", min, max };
    match (value.as_u64(), value) {
        (Some(number), _) if number < min => Err(ApiError::below_minimum(at, range, number)),
        (Some(number), _) if number > max => Err(ApiError::above_maximum(at, range, number)),
        (Some(number), _) => Ok(number),
        (None, Value::Number(number)) if number.is_i64() => Err(ApiError::below_minimum(at, range, number)),
        _ => Err(wrong_type(at, "an integer", value)),
    }
}

/// A number in a range.
pub(super) fn decimal(at: At, value: &Value, min: u32, max: u32) -> Read<f64> {
    let number = value.as_f64().ok_or_else(|| wrong_type(at, "a number", value))?;
    let range = Range { noun: "decimal", min: min.into(), max: max.into() };
    if number < f64::from(min) {
        return Err(ApiError::below_minimum(at, range, number));
    }
    if number > f64::from(max) {
        return Err(ApiError::above_maximum(at, range, number));
    }
    Ok(number)
}

/// One of a closed list of words, and what it stands for.
pub(super) fn choice<T: Copy>(at: At, value: Value, supported: &[(&str, T)]) -> Read<T> {
    let text = string(at, value)?;
    supported.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = supported.iter().map(|(word, _)| *word).collect();
        ApiError::invalid_value(at, &text, &words)
    })
}

/// One of a closed list of words, which stands for itself.
pub(super) fn word(at: At, value: Value, supported: &[&str]) -> Read<String> {
    let text = string(at, value)?;
    if supported.contains(&text.as_str()) { Ok(text) } else { Err(ApiError::invalid_value(at, &text, supported)) }
}

/// The entries of an array, each read by `read`.
pub(super) fn entries<T>(at: At, value: Value, mut read: impl FnMut(At, Value) -> Read<T>) -> Read<Vec<T>> {
    match value {
        Value::Array(values) => {
            values.into_iter().enumerate().map(|(index, value)| read(at.entry(index), value)).collect()
        }
        other => Err(wrong_type(at, "an array", &other)),
    }
}

/// What a required field was found to be.
pub(super) fn required<T>(at: At, field: &str, found: Option<T>) -> Read<T> {
    found.ok_or_else(|| ApiError::missing_parameter(at.field(field)))
}
