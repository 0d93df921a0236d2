//! What is wrong with a request, in the words of the API. `path` names the parameter: `input[2].content[0].type`.

use std::fmt;

use super::{ApiError, brief};

impl ApiError {
    /// The body is not JSON; `error` says where.
    pub(crate) fn invalid_json(error: impl fmt::Display) -> Self {
        let message = format!("We could not parse the JSON body of your request: {error}.");
        Self::client(400, message).with_code("invalid_json")
    }

    /// A value of another type than expected; both with their article: "a number".
    pub(crate) fn invalid_type(path: impl fmt::Display, expected: &str, got: &str) -> Self {
        let message = format!("Invalid type for {}: expected {expected}, but got {got} instead.", Named(&path));
        Self::client(400, message).with_param(path).with_code("invalid_type")
    }

    /// A value that is none of a closed list.
    pub(crate) fn invalid_value(path: impl fmt::Display, got: &str, supported: &[&str]) -> Self {
        let message = format!("Invalid value: '{}'. Supported values are: {}.", brief(got), Listed(supported));
        Self::client(400, message).with_param(path).with_code("invalid_value")
    }

    /// A value that is wrong in a way of its own; `problem` is a sentence or two.
    pub(crate) fn invalid(path: impl fmt::Display, problem: &str) -> Self {
        let message = format!("Invalid {}: {problem}", Named(&path));
        Self::client(400, message).with_param(path).with_code("invalid_value")
    }

    /// An id that cannot be one of the kind, which begins with `prefix`.
    pub(crate) fn invalid_id(path: impl fmt::Display, got: &str, prefix: &str) -> Self {
        let message = format!("Invalid '{path}': '{}'. Expected an ID that begins with '{prefix}'.", brief(got));
        Self::client(400, message).with_param(path).with_code("invalid_value")
    }

    /// A parameter that has to be there.
    pub(crate) fn missing_parameter(path: impl fmt::Display) -> Self {
        let message = format!("Missing required parameter: '{path}'.");
        Self::client(400, message).with_param(path).with_code("missing_required_parameter")
    }

    /// A parameter of the API that this server does not have.
    pub(crate) fn unsupported_parameter(path: impl fmt::Display, reason: &str) -> Self {
        let message = format!("Unsupported parameter: '{path}' is not supported by this server. {reason}");
        Self::client(400, message).with_param(path).with_code("unsupported_parameter")
    }

    /// Two parameters that exclude each other; the second one is to blame.
    pub(crate) fn mutually_exclusive(one: &str, other: &str) -> Self {
        let message = format!(
            "Mutually exclusive parameters: '{other}'. Ensure you are only providing one of: '{one}' or '{other}'."
        );
        Self::client(400, message).with_param(other).with_code("mutually_exclusive_parameters")
    }

    /// What `store: false` rules out.
    pub(crate) fn needs_store(path: &str) -> Self {
        Self::client(400, format!("'{path}' requires 'store' to be true.")).with_param(path).with_code("invalid_value")
    }

    /// A `function_call` whose output is not given.
    pub(crate) fn missing_call_output(call_id: &str) -> Self {
        Self::client(400, format!("No tool output found for function call {}.", brief(call_id))).with_param("input")
    }

    /// A `function_call_output` whose call nobody made.
    pub(crate) fn unknown_call(call_id: &str) -> Self {
        let message = format!("No tool call found for function call output with call_id {}.", brief(call_id));
        Self::client(400, message).with_param("input")
    }

    /// A path or query that is not UTF-8 once it is percent-decoded.
    pub(crate) fn not_utf8(path: impl fmt::Display) -> Self {
        let message = format!("Invalid {}: it is not valid UTF-8 after percent-decoding.", Named(&path));
        Self::client(400, message).with_param(path).with_code("invalid_utf8")
    }

    /// A number below its range.
    pub(crate) fn below_minimum(path: impl fmt::Display, range: Range, got: impl fmt::Display) -> Self {
        let Range { noun, min, .. } = range;
        let message =
            format!("Invalid '{path}': {noun} below minimum value. Expected a value >= {min}, but got {got} instead.");
        let code = if noun == "integer" { "integer_below_min_value" } else { "decimal_below_min_value" };
        Self::client(400, message).with_param(path).with_code(code)
    }

    /// A number above its range.
    pub(crate) fn above_maximum(path: impl fmt::Display, range: Range, got: impl fmt::Display) -> Self {
        let Range { noun, max, .. } = range;
        let message =
            format!("Invalid '{path}': {noun} above maximum value. Expected a value <= {max}, but got {got} instead.");
        let code = if noun == "integer" { "integer_above_max_value" } else { "decimal_above_max_value" };
        Self::client(400, message).with_param(path).with_code(code)
    }

    /// A string with more characters than are taken.
    pub(crate) fn string_too_long(path: impl fmt::Display, most: usize, got: usize) -> Self {
        let message = format!(
            "Invalid '{path}': string too long. \
             Expected a string with maximum length {most}, but got a string with length {got} instead."
        );
        Self::client(400, message).with_param(path).with_code("string_above_max_length")
    }

    /// A string without a character.
    pub(crate) fn empty_string(path: impl fmt::Display) -> Self {
        let message = format!(
            "Invalid '{path}': empty string. \
             Expected a string with minimum length 1, but got an empty string instead."
        );
        Self::client(400, message).with_param(path).with_code("empty_string")
    }

    /// An array without an entry.
    pub(crate) fn empty_array(path: impl fmt::Display) -> Self {
        let message = format!(
            "Invalid '{path}': empty array. Expected an array with minimum length 1, but got an empty array instead."
        );
        Self::client(400, message).with_param(path).with_code("empty_array")
    }

    /// An array with more entries than are taken.
    pub(crate) fn array_too_long(path: impl fmt::Display, most: usize, got: usize) -> Self {
        let message = format!(
            "Invalid '{path}': array too long. \
             Expected an array with maximum length {most}, but got an array with length {got} instead."
        );
        Self::client(400, message).with_param(path).with_code("array_above_max_length")
    }

    /// An object with more properties than are taken.
    pub(crate) fn too_many_properties(path: impl fmt::Display, most: usize, got: usize) -> Self {
        let message = format!(
            "Invalid '{path}': too many properties. \
             Expected an object with at most {most} properties, but got an object with {got} properties instead."
        );
        Self::client(400, message).with_param(path).with_code("object_above_max_properties")
    }
}

/// What is expected of a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    /// `integer` or `decimal`.
    pub(crate) noun: &'static str,
    /// The least.
    pub(crate) min: u64,
    /// The most.
    pub(crate) max: u64,
}

/// A parameter in a sentence; the body itself has no name.
struct Named<'a, T>(&'a T);

impl<T: fmt::Display> fmt::Display for Named<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.to_string();
        if path.is_empty() { f.write_str("the request body") } else { write!(f, "'{path}'") }
    }
}

/// `'a'`, `'a' and 'b'`, `'a', 'b', and 'c'`.
struct Listed<'a>(&'a [&'a str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len().saturating_sub(1);
        for (index, value) in self.0.iter().enumerate() {
            match index {
                0 => {}
                1 if last == 1 => f.write_str(" and ")?,
                index if index == last => f.write_str(", and ")?,
                _ => f.write_str(", ")?,
            }
            write!(f, "'{value}'")?;
        }
        Ok(())
    }
}
