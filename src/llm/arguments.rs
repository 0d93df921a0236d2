//! The arguments of a function call as a server sends them: once, twice, in pieces or so far, behind an empty object or
//! in a code fence. They are held until the call is over, so nothing that was emitted has to be taken back.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::domain::surrogates::Halves;
use crate::offload::offload;

/// This many pieces are looked at for one that is the whole.
const MAX_LOOKS: usize = 256;

/// The arguments of one call, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    text: String,
    /// Where pieces begin, but the first.
    cuts: Vec<usize>,
}

impl Arguments {
    pub(super) fn push(&mut self, piece: &str) {
        if piece.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.cuts.push(self.text.len());
        }
        self.text.push_str(piece);
    }

    /// Arguments in one piece.
    pub(super) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), cuts: Vec::new() }
    }

    /// Whether they are an object as they stand.
    pub(super) fn is_object(&self) -> bool {
        is_object(&self.text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether they are an object with something in it.
    pub(super) fn are_whole(&self) -> bool {
        is_object(&self.text) && !is_empty_object(&self.text)
    }

    /// Whether they are an empty object, so far.
    pub(super) fn are_empty_object(&self) -> bool {
        is_empty_object(&self.text)
    }

    /// Whether `piece` repeats the same arguments.
    pub(super) fn are(&self, piece: &str) -> bool {
        self.text == piece || is_same(&self.text, piece)
    }

    /// Whether they would be an object with this behind them.
    pub(super) fn would_be_whole_with(&self, rest: &Self) -> bool {
        is_object(&format!("{}{}", self.text, rest.text))
    }

    pub(super) fn append(&mut self, rest: &Self) {
        self.push(&rest.text);
    }

    /// The server sent them as a whole: this replaces what came before.
    pub(super) fn replace(&mut self, whole: &str) {
        self.cuts.clear();
        whole.clone_into(&mut self.text);
    }

    /// The object that they are. What is none after all is given as it came, as an error.
    pub(super) fn object(&self, halves: bool) -> Result<String, String> {
        offload(self.text.len(), || self.find_object(halves))
    }

    fn find_object(&self, halves: bool) -> Result<String, String> {
        let joined;
        let (text, cuts) = if halves {
            joined = Halves::join_whole(&self.text);
            (joined.as_str(), &[][..])
        } else {
            (self.text.as_str(), self.cuts.as_slice())
        };
        object(text, cuts).map(Cow::into_owned).ok_or_else(|| text.to_owned())
    }
}

/// The object that a text of arguments stands for, if it can be determined.
pub(super) fn object<'a>(text: &'a str, cuts: &[usize]) -> Option<Cow<'a, str>> {
    if is_object(text) {
        return Some(Cow::Borrowed(text));
    }
    match text.trim() {
        // Without arguments, in several languages.
        "" | "null" | "[]" | "\"\"" | "None" | "undefined" => return Some(Cow::Borrowed("{}")),
        quoted if quoted.starts_with('"') => {
            let inner: String = serde_json::from_str(quoted).ok()?;
            return is_object(&inner).then_some(Cow::Owned(inner));
        }
        _ => {}
    }
    whole_piece(text, cuts).or_else(|| fenced(text)).or_else(|| repeated(text)).map(Cow::Borrowed)
}

/// The last pieces, where they are the whole and those before are nothing, a part of it, or it once before.
fn whole_piece<'a>(text: &'a str, cuts: &[usize]) -> Option<&'a str> {
    cuts.iter().rev().take(MAX_LOOKS).find_map(|cut| {
        let (head, tail) = text.split_at(*cut);
        let covered = || {
            let pieces = std::iter::once(&0).chain(cuts).take_while(|start| *start < cut);
            let ends = cuts.iter().take_while(|end| *end <= cut);
            let mut pieces = pieces.zip(ends).map(|(start, end)| &text[*start..*end]);
            matches!(head.trim(), "" | "{}" | "null" | "\"\"")
                || tail.starts_with(head)
                || is_same(head, tail)
                || pieces.all(|piece| tail.starts_with(piece) || is_empty_object(piece))
        };
        (tail.trim_start().starts_with('{') && is_object(tail) && covered()).then_some(tail)
    })
}

/// The text in a code fence.
fn fenced(text: &str) -> Option<&str> {
    let inner = text.trim().trim_matches('`').trim();
    let inner = inner.strip_prefix("json").or_else(|| inner.strip_prefix("JSON")).unwrap_or(inner).trim();
    (text.trim().starts_with('`') && is_object(inner)).then_some(inner)
}

/// One object, where it stands several times, behind empty ones, or before brackets too many.
fn repeated(text: &str) -> Option<&str> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let (mut found, mut start): (Option<(Value, &str)>, usize) = (None, 0);
    while let Some(value) = values.next() {
        let Ok(value) = value else {
            let rest = text[start..].trim();
            let is_over = rest.bytes().all(|byte| matches!(byte, b'}' | b']' | b'"' | b' ' | b'\n'));
            return found.filter(|_| is_over).map(|(_, text)| text);
        };
        let end = values.byte_offset();
        let own = &text[start..end];
        start = end;
        let is_empty = value.as_object()?.is_empty();
        match &found {
            Some((known, _)) if *known == value || is_empty => {}
            Some((known, _)) if known.as_object().is_some_and(|known| !known.is_empty()) => return None,
            _ => found = Some((value, own)),
        }
    }
    found.map(|(_, text)| text)
}

fn is_object(text: &str) -> bool {
    // The ends first: text that is not whole yet is looked at often.
    text.trim_start().starts_with('{')
        && text.trim_end().ends_with('}')
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn is_empty_object(text: &str) -> bool {
    let inner = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    inner.is_some_and(|inner| inner.trim().is_empty())
}

fn is_same(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    is_object(one) && is_object(other) && read(one).is_some_and(|one| read(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&str]) -> Result<String, String> {
        let mut arguments = Arguments::default();
        for piece in pieces {
            arguments.push(piece);
        }
        arguments.object(false)
    }

    #[test]
    fn what_is_meant_is_found() {
        let oslo = r#"{"city":"Oslo"}"#;
        for pieces in [
            &[oslo][..],
            &["{}", r#"{"city""#, r#":"Oslo"}"#],
            &["{}", oslo],
            &["{ }", oslo],
            &["null", oslo],
            &[oslo, oslo],
            &[oslo, oslo, oslo],
            &[r#"{"city""#, r#":"Oslo"}"#, oslo],
            &[r#"{"city""#, oslo],
            &["{", oslo],
            &[r#"{"ci"#, r#"{"city":"#, r#"{"city":"Os"#, oslo],
            &[r#"{ "city": "Oslo" }"#, oslo],
            &[r#"{}{"city":"Oslo"}"#],
            &[r#"{"city":"Oslo"}{"city":"Oslo"}"#],
            &[r#"{"city":"Oslo"}}"#],
            &[r#"{"city":"Oslo"}"#, r#""}"#],
            &[r#""{\"city\":\"Oslo\"}""#],
            &["```json\n", oslo, "\n```"],
            &["`{\"city\":\"Oslo\"}`"],
        ] {
            let meant: Value = serde_json::from_str(&of(pieces).unwrap()).unwrap();
            assert_eq!(meant, serde_json::json!({"city": "Oslo"}), "{pieces:?}");
        }
        for nothing in ["", " ", "null", "[]", "{}", "\"\""] {
            assert_eq!(of(&[nothing]).unwrap().trim(), "{}", "{nothing:?}");
        }
    }

    #[test]
    fn text_that_cannot_be_read_as_an_object_stays_as_it_came() {
        for pieces in [
            &[r#"{"city": "He said "hi" there"}"#][..],
            &[r#"{"a":1}"#, r#"{"b":2}"#],
            &[r#"{"city":"Os"#],
            &["[1]"],
            &["Oslo"],
            &["7"],
        ] {
            assert_eq!(of(pieces), Err(pieces.concat()), "{pieces:?}");
        }
    }
}
