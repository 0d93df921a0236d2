//! What a line of Markdown is, by its beginning.

use super::LONGEST_TAG;

/// What a line is.
pub(super) enum Kind {
    Unknown,
    /// Blank, or a rule.
    Nothing,
    Quote,
    Skipped,
    Fence(char, usize),
    Heading,
    Bullet,
    Number,
    Text,
}

/// What the line is that begins so, and is `whole` or not.
pub(super) fn kind(start: &str, whole: bool) -> Kind {
    let text = start.trim_start();
    let Some(first) = text.chars().next() else { return if whole { Kind::Nothing } else { Kind::Unknown } };
    let run = text.chars().take_while(|c| *c == first).count();
    let after = text.chars().nth(run);
    let pending = after.is_none() && !whole;
    match first {
        '`' | '~' if run >= 3 && !pending => Kind::Fence(first, run),
        '`' | '~' if pending => Kind::Unknown,
        '#' if pending && run <= 6 => Kind::Unknown,
        '#' if run <= 6 && after.is_none_or(char::is_whitespace) => Kind::Heading,
        '-' | '*' | '+' if run == 1 && after.is_some_and(char::is_whitespace) => Kind::Bullet,
        '>' => Kind::Quote,
        '|' => Kind::Skipped,
        '-' | '*' | '_' | '=' | ':' if text.chars().all(|c| matches!(c, '-' | '=' | ':' | '|' | ' ') || c == first) => {
            match whole {
                true if text.chars().count() >= 3 => Kind::Nothing,
                true => Kind::Text,
                false if text.len() > LONGEST_TAG => Kind::Text,
                false => Kind::Unknown,
            }
        }
        '0'..='9' => number(text, whole),
        _ => Kind::Text,
    }
}

/// `1. ` or `12) ` begins an item of a list.
fn number(text: &str, whole: bool) -> Kind {
    const MOST_DIGITS: usize = 3;
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let mut after = text.chars().skip(digits);
    match (after.next(), after.next()) {
        _ if digits > MOST_DIGITS => Kind::Text,
        (None, _) | (Some('.' | ')'), None) if !whole => Kind::Unknown,
        (Some('.' | ')'), Some(c)) if c.is_whitespace() => Kind::Number,
        _ => Kind::Text,
    }
}
