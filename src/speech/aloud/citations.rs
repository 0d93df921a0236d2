//! Marks of sources, which a person does not read: `【4†source】`, `(Smith et al., 2020)`, a small `¹` after a word.
//! (`[1]` and `[^1]` are left out before, where Markdown is read.)

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Several authors, or one and what they wrote with others; and a year. One name and a year may be a place and a date.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let name = r"\p{Lu}[\p{L}'’-]+";
    let work = format!(
        r"{name}(?:, {name})*(?:,? (?:et al\.?|u\. ?a\.|and colleagues|(?:&|and|und) {name})),? (?:19|20)\d\d[a-z]?(?:, (?:pp?|S)\. ?[\d–-]+)?"
    );
    let single = format!(r"{name},? (?:19|20)\d\d[a-z]?");
    let authors =
        format!(r"\((?:(?:see|cf\.|vgl\.|siehe|e\.g\.,?) )?(?:{single}; )*{work}(?:; (?:{work}|{single}))*\)");
    Regex::new(&format!(r"\s?(?:【[^【】]{{0,60}}】|〔\d+〕|{authors})|(\p{{L}}{{2,}}|[.,!?)”»])[¹²³⁰⁴-⁹]+"))
        .expect("a pattern")
});

/// The sentence without them.
pub(super) fn without(sentence: &str) -> String {
    PATTERN
        .replace_all(sentence, |found: &Captures<'_>| match found.get(1) {
            // `km²` is a unit.
            Some(word) if is_unit(word.as_str()) => found[0].to_owned(),
            Some(word) => word.as_str().to_owned(),
            None => String::new(),
        })
        .into_owned()
}

fn is_unit(word: &str) -> bool {
    matches!(word, "km" | "cm" | "mm" | "dm" | "ft" | "mi" | "yd")
}
