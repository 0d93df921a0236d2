//! Decomposition and reassembly, as the article describes them.
//!
//! A pattern is a row of words, `0` (any number of words), a number (so many words), `(* A B)` (one of these) and
//! `(/TAG)` (one that the script lists under it). What matched each is numbered from 1, and a reassembly names it by
//! that number.

use super::script;

/// The parts of a text under a pattern, each its words; `None` where it does not fit. `0` takes as little as it can.
pub(super) fn decompose<'a>(pattern: &str, words: &'a [String]) -> Option<Vec<&'a [String]>> {
    let elements = elements(pattern);
    let mut parts = Vec::with_capacity(elements.len());
    fit(&elements, words, &mut parts).then_some(parts)
}

/// A text made of a reassembly and the parts that it names.
pub(super) fn reassemble(reassembly: &str, parts: &[&[String]]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in reassembly.split_whitespace() {
        match word.parse::<usize>() {
            Ok(number) => {
                let part = number.checked_sub(1).and_then(|index| parts.get(index)).copied().unwrap_or_default();
                words.extend(part.iter().map(String::as_str));
            }
            Err(_) => words.push(word),
        }
    }
    words.join(" ")
}

enum Element<'a> {
    Any,
    Count(usize),
    Word(&'a str),
    OneOf(Vec<&'a str>),
    Tagged(&'a str),
}

impl Element<'_> {
    /// Whether it is this word.
    fn is(&self, word: &str) -> bool {
        match self {
            Self::Word(one) => *one == word,
            Self::OneOf(list) => list.contains(&word),
            Self::Tagged(tag) => script::is_tagged(word, tag),
            Self::Any | Self::Count(_) => false,
        }
    }
}

fn elements(pattern: &str) -> Vec<Element<'_>> {
    let (mut elements, mut rest) = (Vec::new(), pattern);
    while !rest.trim_start().is_empty() {
        rest = rest.trim_start();
        let (element, after) = match rest.strip_prefix('(') {
            Some(list) => list.split_once(')').unwrap_or((list, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        rest = after;
        elements.push(match (element.strip_prefix('*'), element.strip_prefix('/'), element.parse()) {
            (Some(words), ..) => Element::OneOf(words.split_whitespace().collect()),
            (_, Some(tag), _) => Element::Tagged(tag),
            (.., Ok(0)) => Element::Any,
            (.., Ok(count)) => Element::Count(count),
            _ => Element::Word(element),
        });
    }
    elements
}

fn fit<'a>(elements: &[Element<'_>], words: &'a [String], parts: &mut Vec<&'a [String]>) -> bool {
    let Some((element, elements)) = elements.split_first() else { return words.is_empty() };
    let lengths = match element {
        Element::Any if elements.is_empty() => words.len()..=words.len(),
        Element::Any => 0..=words.len(),
        Element::Count(count) => *count..=*count,
        _ if words.first().is_some_and(|word| element.is(word)) => 1..=1,
        _ => return false,
    };
    for length in lengths {
        let Some((part, rest)) = words.split_at_checked(length) else { break };
        parts.push(part);
        if fit(elements, rest, parts) {
            return true;
        }
        parts.pop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pattern: &str, text: &str) -> Option<Vec<String>> {
        let words: Vec<String> = text.split_whitespace().map(ToOwned::to_owned).collect();
        Some(decompose(pattern, &words)?.iter().map(|part| part.join(" ")).collect())
    }

    #[test]
    fn the_articles_examples_decompose_as_it_says() {
        let text = "IT SEEMS THAT YOU HATE ME";
        assert_eq!(parts("0 YOU 0 ME", text).unwrap(), ["IT SEEMS THAT", "YOU", "HATE", "ME"]);
        assert_eq!(parts("0 YOU 1 ME", text).unwrap(), ["IT SEEMS THAT", "YOU", "HATE", "ME"]);
        assert_eq!(parts("0 YOU 2 ME", text), None);
        let words: Vec<String> = text.split(' ').map(ToOwned::to_owned).collect();
        let parts = decompose("0 YOU 0 ME", &words).unwrap();
        assert_eq!(reassemble("WHAT MAKES YOU THINK I 3 YOU", &parts), "WHAT MAKES YOU THINK I HATE YOU");
    }

    #[test]
    fn lists_and_tags_match_one_word() {
        assert_eq!(parts("0 (* WANT NEED) 0", "I NEED HELP").unwrap(), ["I", "NEED", "HELP"]);
        assert_eq!(parts("0 YOUR 0 (/FAMILY) 0", "YOUR DEAR WIFE").unwrap(), ["", "YOUR", "DEAR", "WIFE", ""]);
        assert_eq!(parts("0 (/BELIEF)", "YOU KNOW"), None);
    }
}
