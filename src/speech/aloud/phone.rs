//! Telephone numbers: digit by digit, with a pause between groups.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::language::Language;

/// With a `+`; as North Americans, Germans and Chinese write them. Groups have separators between them: a number in one piece
/// may be anything.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let international = r"\+\d{1,3}(?:[ ./-]?\(?\d{1,5}\)?){2,6}";
    let american = r"(?:1[ -])?(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-. ]\d{4}";
    let german = r"\(?0\d{2,4}\)?(?: ?/ ?| - | |-)\d{3,8}(?:[ -]\d{1,5}){0,3}";
    let chinese = r"1[3-9]\d[ -]\d{4}[ -]\d{4}";
    Regex::new(&format!(r"{international}|{american}|{german}|{chinese}")).expect("a pattern")
});

/// The sentence with telephone numbers as they are read aloud.
pub(super) fn read(sentence: &str, language: Language) -> String {
    let replaced = PATTERN.replace_all(sentence, |found: &Captures<'_>| {
        let whole = found.get(0).expect("the whole");
        let digits = whole.as_str().chars().filter(char::is_ascii_digit).count();
        if !(7..=15).contains(&digits) || !stands_alone(sentence, whole.start(), whole.end()) {
            return whole.as_str().to_owned();
        }
        in_words(whole.as_str(), language)
    });
    replaced.into_owned()
}

/// Whether nothing that belongs to a longer number or a name touches it.
fn stands_alone(sentence: &str, start: usize, end: usize) -> bool {
    let touches = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '+');
    let before = sentence[..start].chars().next_back();
    let mut after = sentence[end..].chars();
    let (next, second) = (after.next(), after.next());
    let goes_on = matches!(next, Some('.' | ',' | ':')) && second.is_some_and(|c| c.is_ascii_digit());
    !before.is_some_and(|c| touches(c) || matches!(c, '.' | ',')) && !next.is_some_and(touches) && !goes_on
}

fn in_words(number: &str, language: Language) -> String {
    let groups = number.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty());
    let groups = groups.map(|group| group.chars().map(String::from).collect::<Vec<_>>().join(" "));
    let words = groups.collect::<Vec<_>>().join(", ");
    if number.starts_with('+') { format!("{} {words}", language.pick("plus", "plus", "加")) } else { words }
}
