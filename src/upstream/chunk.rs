//! A chunk of a Chat Completions stream as servers write it, and as little of it as is needed: what is not listed
//! here is skipped without being built.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::conversation::event::Usage;

/// One chunk, or the whole answer of a server that does not stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk<'a> {
    pub(super) choices: Option<Vec<Choice<'a>>>,
    pub(super) usage: Option<WireUsage>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub(super) index: Number,
    #[serde(borrow)]
    pub(super) delta: Option<Speech<'a>>,
    /// Instead of `delta`, in an answer that is not streamed.
    #[serde(borrow)]
    pub(super) message: Option<Speech<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) logprobs: Option<&'a RawValue>,
    /// Where Moonshot puts it.
    pub(super) usage: Option<WireUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Speech<'a> {
    pub(super) content: Words,
    pub(super) reasoning: Words,
    pub(super) reasoning_content: Words,
    #[serde(borrow)]
    pub(super) reasoning_details: Option<&'a RawValue>,
    pub(super) refusal: Words,
    #[serde(borrow)]
    pub(super) tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    pub(super) function_call: Option<Function<'a>>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolCall<'a> {
    pub(super) index: Number,
    #[serde(borrow)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) function: Option<Function<'a>>,
    #[serde(borrow)]
    pub(super) extra_content: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Cow<'a, str>>,
    /// JSON in a string; with some servers bare.
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    prompt_tokens: Number,
    completion_tokens: Number,
    total_tokens: Number,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// `DeepSeek`'s word for cached tokens.
    prompt_cache_hit_tokens: Number,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Number,
    reasoning_tokens: Number,
}

/// A count, however it is written; anything else is as if it were not there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub(super) Option<u64>);

/// Text that comes as a string or as a list of parts; anything else is as if it were empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) text: String,
    /// Parts of type `thinking` (Mistral).
    pub(super) thought: String,
}

impl Chunk<'_> {
    /// Whether the chunk as a whole is an error (older vLLM).
    pub(super) fn is_error(&self) -> bool {
        self.object.is_some_and(|object| object.get() == r#""error""#)
    }
}

impl Function<'_> {
    /// The arguments, as JSON text.
    pub(super) fn arguments(&self) -> String {
        let raw = self.arguments.map_or("", RawValue::get);
        if raw.starts_with('"') { serde_json::from_str(raw).unwrap_or_default() } else { raw.to_owned() }
    }
}

impl WireUsage {
    pub(super) fn usage(self) -> Usage {
        let count = |number: Number| number.0.unwrap_or(0);
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens.0);
        let (input, output) = (count(self.prompt_tokens), count(self.completion_tokens));
        Usage {
            input,
            cached: cached.unwrap_or(count(self.prompt_cache_hit_tokens)),
            output,
            reasoning: count(self.completion_tokens_details.unwrap_or_default().reasoning_tokens),
            total: self.total_tokens.0.unwrap_or_else(|| input.saturating_add(output)),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a count")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
        Ok(Number(Some(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
        Ok(Number(value.try_into().ok()))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
    fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
        Ok(Number(Some(value as u64)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Number, E> {
        Ok(Number(value.parse().ok()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Number, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number(None))
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text, or a list of parts")
    }

    fn visit_str<E>(self, value: &str) -> Result<Words, E> {
        Ok(Words { text: value.to_owned(), thought: String::new() })
    }

    fn visit_string<E>(self, text: String) -> Result<Words, E> {
        Ok(Words { text, thought: String::new() })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_unit<E>(self) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        let mut all = Words::default();
        while let Some(part) = list.next_element::<Words>()? {
            all.text += &part.text;
            all.thought += &part.thought;
        }
        Ok(all)
    }

    /// A part: `{"type": "text", "text": …}` or `{"type": "thinking", "thinking": [parts]}`.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Words, A::Error> {
        let mut part = Words::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            match key.as_ref() {
                "text" => part.text += &map.next_value::<Words>()?.text,
                "thinking" => part.thought += &map.next_value::<Words>()?.text,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_from_strings_and_lists() {
        for (json, text, thought) in [
            (r#""a\nb""#, "a\nb", ""),
            ("null", "", ""),
            ("3", "", ""),
            (r#"[{"type":"text","text":"a"},"b",{"type":"image_url","image_url":{}}]"#, "ab", ""),
            (r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]"#, "", "hm"),
        ] {
            let words: Words = serde_json::from_str(json).unwrap();
            assert_eq!((words.text.as_str(), words.thought.as_str()), (text, thought), "{json}");
        }
    }

    #[test]
    fn counts_are_read_however_they_are_written() {
        for (json, count) in
            [("3", Some(3)), ("3.0", Some(3)), (r#""3""#, Some(3)), ("null", None), ("-1", None), ("{\"a\":[1]}", None)]
        {
            assert_eq!(serde_json::from_str::<Number>(json).unwrap(), Number(count), "{json}");
        }
    }
}
