//! What the data of an event is: a chunk, a sign of life, an end, an error. Servers and the gateways before them put
//! all of these into a stream, in many forms.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::surrogates;

/// The data of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Data<'a> {
    /// A JSON object.
    Chunk(&'a str),
    /// A JSON list.
    List(&'a str),
    /// A sign of life, or nothing at all.
    Nothing,
    /// JSON without content, or the data of an event that does not belong to a chat.
    Odd,
    /// The server is done.
    Done,
    /// An error, in whatever form.
    Error(&'a str),
    /// What is no JSON.
    Text(&'a str),
}

/// Events that show that a server lives.
const PINGS: &[&str] =
    &["ping", "pong", "keepalive", "keep-alive", "keep_alive", "heartbeat", "heart-beat", "comment", "noop", "status"];

/// The same, as data.
const SIGNS_OF_LIFE: &[&str] = &[
    "ping",
    "pong",
    "keepalive",
    "keep-alive",
    "keep_alive",
    "keep alive",
    "heartbeat",
    "processing",
    "openrouter processing",
];

/// Events that carry chunks.
const CHUNKS: &[&str] = &["message", "chunk", "data", "delta", "completion", "chat.completion.chunk", "content"];

/// Events that mark the end.
const ENDS: &[&str] = &["done", "end", "close", "complete", "completed", "finish", "finished"];

impl<'a> Data<'a> {
    /// Sorts the data of the event of this name.
    pub(super) fn of(name: &str, data: &'a str) -> Self {
        let data = bare(data);
        // Nearly always.
        if name.is_empty() && data.starts_with('{') {
            return Self::Chunk(data);
        }
        let is_one_of = |words: &[&str], text: &str| words.iter().any(|word| word.eq_ignore_ascii_case(text));
        let ends = is_done(data)
            || is_one_of(ENDS, name) && (data.is_empty() || !data.starts_with(['{', '[']))
            || data == "{}" && is_one_of(ENDS, name);
        match data.as_bytes().first() {
            _ if ends => Self::Done,
            None | Some(b':') => Self::Nothing,
            _ if name.eq_ignore_ascii_case("error") => Self::Error(data),
            _ if is_one_of(PINGS, name)
                || is_one_of(SIGNS_OF_LIFE, data)
                || matches!(data, "null" | "[]" | "{}" | "\"\"") =>
            {
                Self::Nothing
            }
            Some(b'{') => Self::Chunk(data),
            Some(b'[') => Self::List(data),
            _ if serde_json::from_str::<&RawValue>(data).is_ok() => Self::scalar(data),
            _ if !name.is_empty() && !is_one_of(CHUNKS, name) => Self::Odd,
            _ => Self::Text(data),
        }
    }

    /// A JSON value that holds no other. A word about a sign of life may be one.
    fn scalar(data: &'a str) -> Self {
        let word = data.trim_matches('"');
        if SIGNS_OF_LIFE.iter().any(|sign| sign.eq_ignore_ascii_case(word)) { Self::Nothing } else { Self::Odd }
    }
}

/// The JSON texts that follow each other without an empty line between them, or with nothing at all. `None`: it is
/// one, or not all of it can be read.
pub(super) fn several(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut rest) = (Vec::new(), bare(text));
    while !rest.is_empty() {
        let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let end = match texts.next() {
            Some(Ok(_)) => texts.byte_offset(),
            _ => match rest.split_once('\n') {
                // A line of another kind: the end, or a sign of life.
                Some((line, _)) if !matches!(Data::of("", line), Data::Chunk(_) | Data::List(_)) => line.len(),
                _ if !rest.contains('\n') && is_done(rest) => rest.len(),
                _ if parts.is_empty() => return None,
                // What is read so far counts, and what is not is a failure.
                _ => rest.len(),
            },
        };
        parts.push(rest[..end].trim());
        rest = bare(&rest[end..]);
    }
    (parts.len() > 1).then_some(parts)
}

/// JSON that nearly is, in ways that can be mended; and whether characters came in halves. The least change first.
pub(super) fn mended(text: &str) -> impl Iterator<Item = (String, bool)> {
    let marked = surrogates::mark(text);
    let has_halves = marked.is_some();
    let text = marked.unwrap_or_else(|| text.to_owned());
    let numbers = without_bare_words(&text);
    // A field that stands twice counts once.
    let once = serde_json::from_str::<Value>(numbers.as_deref().unwrap_or(&text)).ok().map(|value| value.to_string());
    has_halves.then_some(text).into_iter().chain(numbers).chain(once).map(move |json| (json, has_halves))
}

/// Data without white space around it, and without the name of the field, which some proxies write twice.
fn bare(data: &str) -> &str {
    let mut data = data.trim();
    while let Some(rest) = data.strip_prefix("data:") {
        data = rest.trim_start();
    }
    data
}

fn is_done(data: &str) -> bool {
    let word = data.trim_matches(['"', '\'']).trim_end_matches(';');
    word.eq_ignore_ascii_case("[DONE]") || word.eq_ignore_ascii_case("<DONE>") || word == "DONE"
}

/// The JSON with `NaN` and `Infinity`, which Python writes, as null. `None`: there are none.
fn without_bare_words(json: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !WORDS.iter().any(|word| json.contains(word)) {
        return None;
    }
    let (mut written, mut rest, mut in_string) = (String::with_capacity(json.len()), json, false);
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        if in_string {
            if c == '\\' {
                length += rest[length..].chars().next().map_or(0, char::len_utf8);
            }
            in_string = c != '"';
        } else if let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            written.push_str("null");
            rest = &rest[word.len()..];
            continue;
        } else {
            in_string = c == '"';
        }
        written.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_sorted() {
        for (name, data, sort) in [
            ("", "{}", Data::Chunk("{}")),
            ("message", " {\"a\":1}", Data::Chunk("{\"a\":1}")),
            ("", "data: {\"a\":1}", Data::Chunk("{\"a\":1}")),
            ("", "data: data:[DONE]", Data::Done),
            ("", "[DONE]", Data::Done),
            ("", "\"[DONE]\"", Data::Done),
            ("", "[done]", Data::Done),
            ("done", "", Data::Done),
            ("end", "{}", Data::Done),
            ("", "null", Data::Nothing),
            ("", "[]", Data::Nothing),
            ("", ": OPENROUTER PROCESSING", Data::Nothing),
            ("", "ping", Data::Nothing),
            ("", "\"ping\"", Data::Nothing),
            ("ping", "{\"type\": \"ping\"}", Data::Nothing),
            ("keep-alive", "x", Data::Nothing),
            ("", "7", Data::Odd),
            ("", "\"hello\"", Data::Odd),
            ("", "true", Data::Odd),
            ("metadata", "started", Data::Odd),
            ("error", "boom", Data::Error("boom")),
            ("error", "[DONE]", Data::Done),
            ("", "boom", Data::Text("boom")),
            ("message", "boom", Data::Text("boom")),
            ("", "[{}]", Data::List("[{}]")),
        ] {
            assert_eq!(Data::of(name, data), sort, "{name} {data}");
        }
    }

    #[test]
    fn texts_that_follow_each_other_are_parted() {
        for (text, parts) in [
            ("{\"a\":1}\n{\"b\":2}", Some(vec!["{\"a\":1}", "{\"b\":2}"])),
            ("{\"a\":1}{\"b\":2}", Some(vec!["{\"a\":1}", "{\"b\":2}"])),
            ("{\"a\":1}\n[DONE]", Some(vec!["{\"a\":1}", "[DONE]"])),
            ("{\"a\":1} data: {\"b\":2}\ndata: [DONE]", Some(vec!["{\"a\":1}", "{\"b\":2}", "[DONE]"])),
            ("ping\n{\"a\":1}", Some(vec!["ping", "{\"a\":1}"])),
            ("{\"a\":1}\n{\"b", Some(vec!["{\"a\":1}", "{\"b"])),
            ("{\"a\":\n1}", None),
            ("{\"a", None),
            ("boom", None),
        ] {
            assert_eq!(several(text), parts, "{text}");
        }
    }

    #[test]
    fn json_that_nearly_is_is_mended() {
        let first = |text: &str| mended(text).find(|(json, _)| serde_json::from_str::<&RawValue>(json).is_ok());
        assert_eq!(
            first(r#"{"a":-Infinity,"b":"NaN \" NaN","c":[NaN]}"#).unwrap().0,
            r#"{"a":null,"b":"NaN \" NaN","c":[null]}"#
        );
        assert_eq!(first(r#"{"a":1,"a":2}"#), Some((r#"{"a":2}"#.to_owned(), false)));
        assert!(first(r#"{"a":"\ud83d"}"#).unwrap().1);
        assert_eq!(first("{\"a"), None);
    }
}
