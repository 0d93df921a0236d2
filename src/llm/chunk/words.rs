//! Text in all the forms that servers have for it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Text that comes as a string, as an object with a text, or as a list of either. A number is its digits: gateways of
/// languages that do not know types make one of a token that looks so.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::llm) struct Words {
    pub(in crate::llm) text: String,
    /// Parts of type `thinking` (Mistral).
    pub(in crate::llm) thought: String,
    /// Something is there that is no text.
    pub(in crate::llm) is_odd: bool,
}

impl Words {
    pub(super) fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    pub(in crate::llm) const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thought.is_empty()
    }

    fn add(&mut self, other: &Self) {
        self.text += &other.text;
        self.thought += &other.thought;
        self.is_odd |= other.is_odd;
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("text, or a list of parts")
    }

    fn visit_str<E>(self, value: &str) -> Result<Words, E> {
        Ok(Words::text(value))
    }

    fn visit_string<E>(self, text: String) -> Result<Words, E> {
        Ok(Words { text, ..Words::default() })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Words, E> {
        Ok(Words::text(&number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Words, E> {
        Ok(Words::text(&number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Words, E> {
        Ok(Words::text(&number.to_string()))
    }

    /// Some languages write `false` for an absent value.
    fn visit_bool<E>(self, is_true: bool) -> Result<Words, E> {
        Ok(Words { is_odd: is_true, ..Words::default() })
    }

    fn visit_unit<E>(self) -> Result<Words, E> {
        Ok(Words::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        let mut all = Words::default();
        while let Some(part) = list.next_element::<Words>()? {
            all.add(&part);
        }
        Ok(all)
    }

    /// A part: `{"type": "text", "text": …}` or `{"type": "thinking", "thinking": [parts]}`.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Words, A::Error> {
        let (mut part, mut known, mut any, mut thinks) = (Words::default(), false, false, false);
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            any = true;
            match key.as_ref() {
                "text" | "content" | "parts" | "value" => {
                    known = true;
                    part.add(&map.next_value::<Words>()?);
                }
                "thinking" | "reasoning" => {
                    known = true;
                    let words = map.next_value::<Words>()?;
                    part.thought += &words.text;
                    part.thought += &words.thought;
                }
                "type" => {
                    let kind = map.next_value::<super::Word<'_>>()?;
                    thinks = matches!(kind.text(), Some("thinking" | "reasoning" | "thought"));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if thinks {
            part.thought = std::mem::take(&mut part.text) + &part.thought;
        }
        part.is_odd |= any && !known;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_from_strings_numbers_objects_and_lists() {
        for (json, text, thought, is_odd) in [
            (r#""a\nb""#, "a\nb", "", false),
            ("null", "", "", false),
            ("3", "3", "", false),
            ("-2.5", "-2.5", "", false),
            ("true", "", "", true),
            ("false", "", "", false),
            ("{}", "", "", false),
            (r#"{"type":"text","text":{"value":"a"}}"#, "a", "", false),
            (r#"{"parts":[{"text":"a"},{"text":"b"}]}"#, "ab", "", false),
            (r#"[{"type":"text","text":"a"},"b",{"type":"image_url","image_url":{}}]"#, "ab", "", true),
            (r#"[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]"#, "", "hm", false),
            (r#"[{"text":"hm","type":"reasoning"},{"type":"text","text":"a"}]"#, "a", "hm", false),
        ] {
            let words: Words = serde_json::from_str(json).unwrap();
            assert_eq!((words.text.as_str(), words.thought.as_str(), words.is_odd), (text, thought, is_odd), "{json}");
        }
    }
}
