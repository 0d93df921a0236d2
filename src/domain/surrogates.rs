//! Halves of characters in JSON. What JavaScript cuts, it cuts between the two UTF-16 units of a character, and so an
//! escape such as `\ud83d` stands alone: no parser of this program takes it. Here such halves are replaced, or marked so
//! that two of them can be put together again.

use std::ops::Range;

/// Replaces a half whose other half never came.
const REPLACEMENT: char = '\u{fffd}';

/// Marks stand for the 2,048 halves, and are characters for private use at the end of all planes.
const FIRST_MARK: u32 = 0x10_F000;
const FIRST_HALF: u32 = 0xD800;
const FIRST_LOW: u32 = 0xDC00;
const LAST_HALF: u32 = 0xDFFF;

/// The JSON text with every half replaced by U+FFFD. `None`: it has none.
pub(crate) fn mend(json: &str) -> Option<String> {
    rewrite(json, |_, _| REPLACEMENT)
}

/// The JSON text with the halves that a string ends or begins with marked, for [`Halves`] to join, and every other one
/// replaced. `None`: it has none.
pub(crate) fn mark(json: &str) -> Option<String> {
    rewrite(json, |half, at| match at {
        Edge::End if half < FIRST_LOW => marked(half),
        Edge::Start | Edge::Both if half >= FIRST_LOW => marked(half),
        Edge::Both => marked(half),
        _ => REPLACEMENT,
    })
}

/// Puts the halves together that [`mark`] marked in a text that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    /// The first half, while its second has not come.
    high: Option<u32>,
}

impl Halves {
    /// Takes the next piece, and gives what is sure.
    pub(crate) fn join(&mut self, text: &str) -> String {
        let mut joined = String::with_capacity(text.len() + REPLACEMENT.len_utf8());
        for c in text.chars() {
            match (self.high.take(), half(c)) {
                (Some(high), Some(low)) if low >= FIRST_LOW => joined.push(character(high, low)),
                (before, now) => {
                    joined.extend(before.map(|_| REPLACEMENT));
                    match now {
                        Some(high) if high < FIRST_LOW => self.high = Some(high),
                        Some(_) => joined.push(REPLACEMENT),
                        None => joined.push(c),
                    }
                }
            }
        }
        joined
    }

    /// The text is over: what stands for a half that was held.
    pub(crate) fn finish(&mut self) -> Option<char> {
        self.high.take().map(|_| REPLACEMENT)
    }

    /// Joins a text that is whole.
    pub(crate) fn join_whole(text: &str) -> String {
        let mut halves = Self::default();
        let mut joined = halves.join(text);
        joined.extend(halves.finish());
        joined
    }
}

/// Where in its string a half stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edge {
    Start,
    End,
    Both,
    Inside,
}

fn rewrite(json: &str, replace: impl Fn(u32, Edge) -> char) -> Option<String> {
    let mut rewritten = String::new();
    let mut copied = 0;
    for (place, half, edge) in lone_halves(json) {
        rewritten.push_str(&json[copied..place.start]);
        rewritten.push(replace(half, edge));
        copied = place.end;
    }
    (copied > 0).then(|| rewritten + &json[copied..])
}

/// The escapes that are half a character.
fn lone_halves(json: &str) -> impl Iterator<Item = (Range<usize>, u32, Edge)> {
    const ESCAPE: usize = r"\uXXXX".len();
    let bytes = json.as_bytes();
    let (mut at, mut after_escape) = (0, usize::MAX);
    std::iter::from_fn(move || {
        loop {
            at += memchr::memchr(b'\\', bytes.get(at..)?)?;
            let Some(unit) = escaped_unit(json, at) else {
                at += 2;
                after_escape = at;
                continue;
            };
            let place = at..at + ESCAPE;
            let is_first = bytes[..at].ends_with(b"\"") && after_escape != at;
            at = place.end;
            after_escape = at;
            match unit {
                FIRST_HALF..FIRST_LOW
                    if escaped_unit(json, at).is_some_and(|low| (FIRST_LOW..=LAST_HALF).contains(&low)) =>
                {
                    at += ESCAPE;
                    after_escape = at;
                }
                FIRST_HALF..=LAST_HALF => {
                    let edge = match (is_first, bytes.get(at) == Some(&b'"')) {
                        (true, true) => Edge::Both,
                        (true, false) => Edge::Start,
                        (false, true) => Edge::End,
                        (false, false) => Edge::Inside,
                    };
                    return Some((place, unit, edge));
                }
                _ => {}
            }
        }
    })
}

/// The UTF-16 unit of the escape at this place, if there is one.
fn escaped_unit(json: &str, at: usize) -> Option<u32> {
    let digits = json.get(at..)?.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

fn marked(half: u32) -> char {
    char::from_u32(FIRST_MARK + half - FIRST_HALF).unwrap_or(REPLACEMENT)
}

fn half(c: char) -> Option<u32> {
    let half = u32::from(c).checked_sub(FIRST_MARK)? + FIRST_HALF;
    (half <= LAST_HALF).then_some(half)
}

fn character(high: u32, low: u32) -> char {
    char::from_u32(0x1_0000 + ((high - FIRST_HALF) << 10) + (low - FIRST_LOW)).unwrap_or(REPLACEMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_replaced_and_whole_characters_stay() {
        for (json, mended) in [
            (r#""a\ud83d""#, Some("\"a\u{fffd}\"")),
            (r#""\ude00\ud83d b""#, Some("\"\u{fffd}\u{fffd} b\"")),
            (r#""\ud83d\ude00""#, None),
            (r#""\\ud83d""#, None),
            (r#""\\\ud83d""#, Some("\"\\\\\u{fffd}\"")),
            (r#""\u00e9 é \n\u12""#, None),
            (r#""\uD83D\u0041""#, Some("\"\u{fffd}\\u0041\"")),
        ] {
            assert_eq!(mend(json).as_deref(), mended, "{json}");
        }
    }

    #[test]
    fn halves_in_two_pieces_are_one_character() {
        let piece =
            |json: &str| -> String { serde_json::from_str(&mark(json).unwrap_or_else(|| json.to_owned())).unwrap() };
        for (pieces, text) in [
            (&[r#""glad \ud83d""#, r#""\ude00 bye""#][..], "glad 😀 bye"),
            (&[r#""\ud83d""#, r#""""#, r#""\ude00""#], "😀"),
            (&[r#""\ud83d""#, r#""x""#, r#""\ude00""#], "\u{fffd}x\u{fffd}"),
            (&[r#""\ud83d""#, r#""\ud83d\ude00""#], "\u{fffd}😀"),
            (&[r#""a\ud83db""#], "a\u{fffd}b"),
            (&[r#""a\ud83d""#], "a\u{fffd}"),
            (&[r#""\"\ude00""#], "\"\u{fffd}"),
        ] {
            let mut halves = Halves::default();
            let mut joined: String = pieces.iter().map(|json| halves.join(&piece(json))).collect();
            joined.extend(halves.finish());
            assert_eq!(joined, text, "{pieces:?}");
        }
    }
}
