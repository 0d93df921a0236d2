//! A chunk of a Chat Completions stream as servers write it, and as little of it as is needed: what is not listed
//! here is skipped without being built.
//!
//! No field has to be of the documented type: a chunk is refused only if it is not JSON. What is of another type is
//! read if its meaning is clear, and else ignored; if it may have been content, it is noted.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::event::Usage;
use crate::domain::surrogates;

mod lenient;
mod words;

pub(super) use lenient::{List, Maybe, Number, Word};
pub(super) use words::Words;

/// One chunk, or the whole answer of a server that does not stream.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Chunk<'a> {
    pub(super) choices: List<Choice<'a>>,
    usage: Maybe<WireUsage>,
    /// Where Groq puts it.
    x_groq: Maybe<Beside>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    object: Word<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Choice<'a> {
    pub(super) index: Number,
    pub(super) delta: Message<'a>,
    /// Instead of `delta`, in an answer that is not streamed; with some servers also after all deltas, once more.
    pub(super) message: Message<'a>,
    /// Of a server of (not chat) completions.
    pub(super) text: Words,
    pub(super) finish_reason: Word<'a>,
    /// What the server behind a gateway gave (`OpenRouter`).
    pub(super) native_finish_reason: Word<'a>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    /// Where Moonshot puts it.
    pub(super) usage: Maybe<WireUsage>,
}

/// The message of a choice; empty if there is none.
#[derive(Debug, Default)]
pub(super) struct Message<'a>(pub(super) Option<Box<Speech<'a>>>);

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Speech<'a> {
    pub(super) content: Words,
    pub(super) reasoning: Words,
    pub(super) reasoning_content: Words,
    pub(super) thinking: Words,
    #[serde(borrow)]
    pub(super) reasoning_details: Option<&'a RawValue>,
    pub(super) refusal: Words,
    pub(super) tool_calls: List<ToolCall<'a>>,
    pub(super) function_call: Maybe<Function<'a>>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ToolCall<'a> {
    pub(super) index: Number,
    pub(super) id: Word<'a>,
    pub(super) function: Called<'a>,
    /// Some servers leave `function` out.
    pub(super) name: Word<'a>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

/// The function of a call: an object, or its name alone.
#[derive(Debug, Default)]
pub(super) struct Called<'a>(pub(super) Function<'a>);

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Function<'a> {
    pub(super) name: Word<'a>,
    /// JSON in a string; with some servers bare.
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    prompt_tokens: Number,
    completion_tokens: Number,
    /// As other APIs have it, and gateways before them.
    input_tokens: Number,
    output_tokens: Number,
    total_tokens: Number,
    prompt_tokens_details: Maybe<Details>,
    completion_tokens_details: Maybe<Details>,
    input_tokens_details: Maybe<Details>,
    output_tokens_details: Maybe<Details>,
    /// `DeepSeek`'s word for cached tokens, and Moonshot's.
    prompt_cache_hit_tokens: Number,
    cached_tokens: Number,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Beside {
    usage: Maybe<WireUsage>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Number,
    reasoning_tokens: Number,
}

impl Chunk<'_> {
    pub(super) fn usage(&self) -> Option<Usage> {
        let beside = || self.x_groq.0.and_then(|beside| beside.usage.0);
        self.usage.0.or_else(beside).and_then(WireUsage::usage)
    }

    /// Whether the chunk as a whole is an error (older vLLM).
    pub(super) fn is_error(&self) -> bool {
        self.object.text().is_some_and(|object| object.eq_ignore_ascii_case("error"))
    }

    /// Whether it is marked as a whole answer, though it may stand in a stream.
    pub(super) fn is_whole(&self) -> bool {
        self.object.text() == Some("chat.completion")
    }
}

impl<'a> ToolCall<'a> {
    /// The same call in the form of before there were several.
    pub(super) fn of(function: Function<'a>) -> Self {
        Self { function: Called(function), ..Self::default() }
    }

    /// The name, wherever it stands.
    pub(super) fn name(&self) -> Option<&str> {
        self.function.0.name.text().or_else(|| self.name.text())
    }

    /// The arguments, as JSON text, and whether characters in it are halves. `None`: something stands there that can
    /// be none.
    pub(super) fn arguments(&self) -> Option<(Cow<'a, str>, bool)> {
        let raw = self.function.0.arguments.or(self.arguments).map_or("", RawValue::get);
        let text = match raw.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<lenient::Text<'a>>(raw) {
                Ok(text) => text.0,
                Err(_) => return Some((Cow::Owned(serde_json::from_str(&surrogates::mark(raw)?).ok()?), true)),
            },
            None | Some(b'{') => Cow::Borrowed(raw),
            Some(b'n') => Cow::Borrowed(""),
            // What PHP makes of an empty object.
            Some(b'[') if serde_json::from_str::<[IgnoredAny; 0]>(raw).is_ok() => Cow::Borrowed("{}"),
            Some(_) => return None,
        };
        Some((text, false))
    }
}

impl WireUsage {
    /// What was counted; `None`: nothing was.
    pub(super) fn usage(self) -> Option<Usage> {
        let first = |numbers: &[Number]| numbers.iter().find_map(|number| number.0).unwrap_or(0);
        let input_details = self.prompt_tokens_details.0.or(self.input_tokens_details.0).unwrap_or_default();
        let output_details = self.completion_tokens_details.0.or(self.output_tokens_details.0).unwrap_or_default();
        let input = first(&[self.prompt_tokens, self.input_tokens]);
        let mut output = first(&[self.completion_tokens, self.output_tokens]);
        let reasoning = first(&[output_details.reasoning_tokens]);
        // Some count thoughts beside the output rather than in it (xAI, gateways before Gemini). The sum shows which.
        if reasoning > 0 && self.total_tokens.0 == Some(input.saturating_add(output).saturating_add(reasoning)) {
            output = output.saturating_add(reasoning);
        }
        let total = self.total_tokens.0.unwrap_or_else(|| input.saturating_add(output));
        let cached = first(&[input_details.cached_tokens, self.prompt_cache_hit_tokens, self.cached_tokens]);
        let is_counted = input > 0 || output > 0 || total > 0;
        is_counted.then_some(Usage { input, cached, output, reasoning, total })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MessageVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Called<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let name = Function { name: Word::of(raw), ..Function::default() };
        Ok(Self(if raw.starts_with('{') { serde_json::from_str(raw).unwrap_or_default() } else { name }))
    }
}

/// An object, or its text alone.
struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = Message<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the message of a choice")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Message<'de>, A::Error> {
        let speech = Speech::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(Message(Some(Box::new(speech))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Message<'de>, A::Error> {
        lenient::skip(list).map(|()| Message(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Message<'de>, E> {
        Ok(Message(Some(Box::new(Speech { content: Words::text(text), ..Speech::default() }))))
    }

    lenient::otherwise!(Message(None); visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64);

    fn visit_unit<E>(self) -> Result<Message<'de>, E> {
        Ok(Message(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_of_another_type_ends_a_chunk() {
        let fields = ["choices", "usage", "error", "object", "created", "id"];
        let choice =
            ["index", "delta", "message", "text", "finish_reason", "native_finish_reason", "logprobs", "usage"];
        let speech = ["content", "reasoning", "thinking", "refusal", "tool_calls", "function_call", "role"];
        let call = ["index", "id", "type", "function", "name", "arguments", "extra_content"];
        let function = ["name", "arguments"];
        let usage = ["prompt_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"];
        let wrong = [
            "null",
            "true",
            "false",
            "0",
            "-1",
            "1.5",
            "\"\"",
            "\"x\"",
            "\"7\"",
            "[]",
            "[1]",
            "[null]",
            "[[]]",
            "{}",
            "{\"a\":1}",
            "[{}]",
            "[{\"a\":[]}]",
        ];
        let places = [
            ("{ROW}", &fields[..]),
            ("{\"choices\":[{ROW}]}", &choice),
            ("{\"choices\":[{\"delta\":{ROW}}]}", &speech),
            ("{\"choices\":[{\"delta\":{\"tool_calls\":[{ROW}]}}]}", &call),
            ("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{ROW}}]}}]}", &function),
            ("{\"usage\":{ROW}}", &usage),
        ];
        for (place, names) in places {
            for name in names {
                for value in wrong {
                    let text = place.replace("ROW", &format!("\"{name}\":{value}"));
                    serde_json::from_str::<Chunk<'_>>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                }
            }
        }
    }

    #[test]
    fn arguments_are_read_from_text_and_objects() {
        for (json, arguments) in [
            (r#"{"function":{"arguments":"{\"a\":1}"}}"#, Some(r#"{"a":1}"#)),
            (r#"{"function":{"arguments":{"a":1}}}"#, Some(r#"{"a":1}"#)),
            (r#"{"function":{"arguments":null}}"#, Some("")),
            (r#"{"function":{"arguments":[]}}"#, Some("{}")),
            (r#"{"function":"f","arguments":{}}"#, Some("{}")),
            (r#"{"function":{"arguments":[1]}}"#, None),
            (r#"{"function":{"arguments":7}}"#, None),
            (r#"{"function":{"arguments":true}}"#, None),
        ] {
            let call: ToolCall<'_> = serde_json::from_str(json).unwrap();
            let found = call.arguments();
            assert_eq!(found.as_ref().map(|(text, _)| &**text), arguments, "{json}");
        }
        let half: ToolCall<'_> = serde_json::from_str(r#"{"arguments":"\ud83d"}"#).unwrap();
        assert!(half.arguments().unwrap().1);
    }
}
