//! Values that servers write in more than one JSON type.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::surrogates;

/// Visits of values of these types, which all mean the same.
macro_rules! otherwise {
    ($meaning:expr; $($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Self::Value, E> {
            Ok($meaning)
        })*
    };
}

pub(super) use otherwise;

/// A count, however it is written; anything else is as if it were not there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) struct Number(pub(in crate::llm) Option<u64>);

/// An object; anything else is as if it were not there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) struct Maybe<T>(pub(in crate::llm) Option<T>);

/// A word: a string, or a number in its digits. Anything else is as if it were not there.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::llm) struct Word<'a>(Option<Cow<'a, str>>);

/// Objects in a list, or one object without a list.
#[derive(Debug)]
pub(in crate::llm) struct List<T> {
    pub(in crate::llm) entries: Vec<T>,
    /// Something is there, and not null.
    pub(in crate::llm) is_given: bool,
    /// Something is there that is no object.
    pub(in crate::llm) is_odd: bool,
}

/// Text, borrowed where it can be.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> Word<'a> {
    /// The content of a JSON value.
    pub(super) fn of(raw: &'a str) -> Self {
        Self(match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text<'a>>(raw).map(|text| text.0).ok().or_else(|| {
                let mended = surrogates::mend(raw)?;
                serde_json::from_str(&mended).ok().map(Cow::Owned)
            }),
            Some(b'0'..=b'9' | b'-') => Some(Cow::Borrowed(raw)),
            _ => None,
        })
    }

    /// The word; `None` where it is not there, or empty.
    pub(in crate::llm) fn text(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), is_given: false, is_odd: false }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get().trim_matches(['"', ' ']);
        Ok(Self(text.parse().ok().or_else(|| {
            let float: f64 = text.parse().ok().filter(|float: &f64| float.is_finite() && *float >= 0.0)?;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
            Some(float as u64)
        })))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self::of(raw.get()))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeVisitor(PhantomData)).map(|(object, _)| Self(object))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// Reads over what is left of a list.
pub(super) fn skip<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Returns an object, and whether there was something else.
struct MaybeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MaybeVisitor<T> {
    type Value = (Option<T>, bool);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| (Some(object), false))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        skip(list).map(|()| (None, true))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((None, false))
    }

    otherwise!((None, true); visit_bool: bool, visit_u64: u64, visit_i64: i64, visit_f64: f64, visit_str: &str);
}

/// An entry of a list.
struct Entry<T>(Option<T>, bool);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entry<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeVisitor(PhantomData)).map(|(object, odd)| Self(object, odd))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
        let mut all = List { is_given: true, ..List::default() };
        while let Some(Entry(object, odd)) = list.next_element()? {
            all.entries.extend(object);
            all.is_odd |= odd;
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<List<T>, A::Error> {
        let entries = vec![T::deserialize(MapAccessDeserializer::new(map))?];
        Ok(List { entries, is_given: true, is_odd: false })
    }

    fn visit_unit<E>(self) -> Result<List<T>, E> {
        Ok(List::default())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<List<T>, E> {
        Ok(List { is_given: !text.is_empty(), is_odd: !text.is_empty(), ..List::default() })
    }

    // Some languages write `false` for an absent value.
    otherwise!(List { is_given: true, is_odd: true, ..List::default() };
        visit_u64: u64, visit_i64: i64, visit_f64: f64);

    fn visit_bool<E>(self, is_true: bool) -> Result<List<T>, E> {
        Ok(List { is_given: is_true, is_odd: is_true, ..List::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_however_they_are_written() {
        for (json, count) in [
            ("3", Some(3)),
            ("3.0", Some(3)),
            (r#""3""#, Some(3)),
            ("1e2", Some(100)),
            ("1e999", None),
            ("null", None),
            ("-1", None),
            ("true", None),
            (r#""x""#, None),
            ("{\"a\":[1]}", None),
        ] {
            assert_eq!(serde_json::from_str::<Number>(json).unwrap(), Number(count), "{json}");
        }
    }

    #[test]
    fn words_are_strings_or_digits() {
        for (json, word) in [
            (r#""a\nb""#, Some("a\nb")),
            ("12345", Some("12345")),
            ("-1.5", Some("-1.5")),
            (r#""""#, None),
            ("null", None),
            ("true", None),
            ("{}", None),
            ("[\"a\"]", None),
        ] {
            assert_eq!(serde_json::from_str::<Word<'_>>(json).unwrap().text(), word, "{json}");
        }
    }

    #[test]
    fn a_list_may_be_one_object_and_what_is_none_is_noted() {
        type Objects = List<std::collections::BTreeMap<String, u8>>;
        for (json, entries, given, odd) in [
            ("[{},{}]", 2, true, false),
            ("{}", 1, true, false),
            ("null", 0, false, false),
            ("[null,{}]", 1, true, false),
            ("[1,{}]", 1, true, true),
            ("\"\"", 0, false, false),
            ("\"x\"", 0, true, true),
            ("false", 0, false, false),
            ("7", 0, true, true),
        ] {
            let list: Objects = serde_json::from_str(json).unwrap();
            assert_eq!((list.entries.len(), list.is_given, list.is_odd), (entries, given, odd), "{json}");
        }
    }
}
