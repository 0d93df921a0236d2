//! Abbreviations: words that a full stop follows without ending the sentence. English and German, and what is written in
//! many languages.

/// Never at the end of a sentence: something has to follow.
const NEVER_LAST: &[&str] = &[
    "approx", "asst", "bspw", "bzgl", "bzw", "ca", "capt", "cf", "col", "dipl", "dr", "e.g", "evtl", "fr", "gen",
    "geb", "gegr", "ggf", "gov", "hon", "hr", "hrn", "hrsg", "i.e", "ing", "inkl", "insb", "lt", "max", "messrs",
    "min", "mr", "mrs", "ms", "mt", "prof", "rep", "rev", "sen", "sgt", "sog", "st", "str", "u.a", "vgl", "viz", "vs",
    "z.b", "zzgl",
];

/// Before a number only.
const BEFORE_NUMBERS: &[&str] = &[
    "abb", "abs", "art", "bd", "ch", "eq", "fig", "kap", "no", "nos", "nr", "p", "pp", "s", "sec", "tab", "tel", "vol",
    "§",
];

/// Also at the end of a sentence: then the next word is written large.
const PERHAPS_LAST: &[&str] = &[
    "al", "apr", "aug", "ave", "blvd", "co", "corp", "dec", "dez", "dept", "est", "etc", "feb", "inc", "jan", "jr",
    "jul", "jun", "ltd", "mar", "mio", "mrd", "nov", "oct", "okt", "rd", "sep", "sept", "sr", "usw", "uvm",
];

/// German words after which `3.` is a day or a rank.
const BEFORE_ORDINALS: &[&str] =
    &["ab", "am", "bis", "das", "dem", "den", "der", "des", "die", "im", "ins", "seit", "vom", "zum", "zur"];

/// Whether a sentence can end with the full stop after `before`, when `next` is the first character that follows.
pub(super) fn can_end(before: &str, next: Option<char>) -> bool {
    let mut words = before.split_whitespace().rev();
    let Some(word) = words.next() else { return false };
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '§' && c != '$' && c != '€' && c != '£');
    let previous = words.next();
    if !word.is_empty() && word.chars().all(|c| c.is_ascii_digit()) {
        return !is_rank(word, previous);
    }
    if word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "I" {
        return next.is_none() || before.chars().count() > 1 && is_wide(word);
    }
    let lower = word.to_lowercase();
    let small = next.is_some_and(char::is_lowercase);
    if NEVER_LAST.contains(&lower.as_str()) {
        return false;
    }
    if BEFORE_NUMBERS.contains(&lower.as_str()) {
        return !next.is_some_and(|c| c.is_ascii_digit());
    }
    // `p.m.`, `U.S.`
    let is_dotted = lower.contains('.') && lower.split('.').all(|part| part.chars().count() <= 2);
    !(small && (is_dotted || PERHAPS_LAST.contains(&lower.as_str())))
}

/// `1.` begins an item of a list; `am 3.` is a day.
fn is_rank(digits: &str, previous: Option<&str>) -> bool {
    match previous {
        None => digits.len() <= 3,
        Some(word) => digits.len() <= 2 && BEFORE_ORDINALS.contains(&word.to_lowercase().as_str()),
    }
}

/// Written without spaces: a single character is a word there.
fn is_wide(word: &str) -> bool {
    word.chars()
        .any(|c| matches!(u32::from(c), 0x2E80..=0x9FFF | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0x20000..=0x3FFFF))
}
