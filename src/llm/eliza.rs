//! ELIZA, the first program that people talked to: Joseph Weizenbaum, Communications of the ACM 9(1), January 1966.
//!
//! The procedure is the article's, with two things that only the program itself shows (found in the archives of MIT
//! in 2021): `BUT` ends a phrase as a comma does, and what is random in the article is a hash of the last word, and a
//! count to four. So it is deterministic, and its state is rebuilt from what a person wrote: there is nothing to
//! store.

use std::collections::{HashMap, VecDeque};

mod matching;
mod script;

use script::{Key, Rule};

/// The turns that its state is rebuilt from. Those before are forgotten.
pub(crate) const MAX_TURNS: usize = 512;

/// The words of a turn that it hears.
const MAX_WORDS: usize = 256;

/// Keywords that refer to one another: more than any way through the script.
const MAX_REFERENCES: usize = 16;

/// What ELIZA answers to the last of these turns, having heard those before.
pub(crate) fn answer<'a>(turns: impl IntoIterator<Item = &'a str>) -> String {
    let mut eliza = Eliza::default();
    turns.into_iter().map(|turn| eliza.hear(turn)).last().unwrap_or_else(|| script::GREETING.to_owned())
}

/// A conversation as ELIZA sees it.
#[derive(Default)]
struct Eliza {
    /// How often each rule was used: its reassemblies take turns.
    used: HashMap<(&'static str, &'static str), usize>,
    /// What the person wrote about `MY …`, to come back to.
    memory: VecDeque<String>,
    turns: usize,
}

/// What the rules of a keyword came to.
enum Outcome {
    Answer(String),
    /// The next keyword is to be tried.
    NewKey,
    /// No pattern fits.
    NoMatch,
}

impl Eliza {
    fn hear(&mut self, text: &str) -> String {
        self.turns += 1;
        // Weizenbaum's LIMIT: it begins with 1, and is counted before the answer.
        let limit = self.turns % 4 + 1;
        let (mut words, keys) = scan(text);
        let Some(top) = keys.front() else {
            let remembered = if limit == 4 { self.memory.pop_front() } else { None };
            return remembered.unwrap_or_else(|| self.generic_answer());
        };
        if top.word == script::MEMORY_KEY {
            self.remember(&words);
        }
        for key in keys {
            match self.apply(key, &mut words) {
                Outcome::Answer(answer) => return answer,
                Outcome::NewKey => {}
                Outcome::NoMatch => return script::NO_MATCH[limit - 1].to_owned(),
            }
        }
        self.generic_answer()
    }

    fn generic_answer(&mut self) -> String {
        self.reassembly("NONE", &script::NONE).to_owned()
    }

    fn remember(&mut self, words: &[String]) {
        let last = words.last().map_or("", String::as_str);
        let reassembly = script::MEMORY[hash(last, 2)];
        if let Some(parts) = matching::decompose(script::MEMORY_PATTERN, words) {
            self.memory.push_back(matching::reassemble(reassembly, &parts));
        }
    }

    fn apply(&mut self, key: &'static Key, words: &mut Vec<String>) -> Outcome {
        let mut key = key;
        for _ in 0..MAX_REFERENCES {
            let found = key.rules.iter().find_map(|rule| Some((rule, matching::decompose(rule.pattern, words)?)));
            let reference = match found {
                None => key.like,
                Some((rule, parts)) => match self.reassembly(key.word, rule) {
                    "NEWKEY" => return Outcome::NewKey,
                    reassembly => match reassembly.rsplit_once('=') {
                        None => return Outcome::Answer(matching::reassemble(reassembly, &parts)),
                        Some(("", reference)) => Some(reference),
                        // The article's PRE: the text is put in other words first.
                        Some((before, reference)) => {
                            let text = matching::reassemble(before, &parts);
                            *words = text.split_whitespace().map(ToOwned::to_owned).collect();
                            Some(reference)
                        }
                    },
                },
            };
            match reference.and_then(script::key) {
                Some(next) => key = next,
                None => return Outcome::NoMatch,
            }
        }
        Outcome::NoMatch
    }

    fn reassembly(&mut self, key: &'static str, rule: &Rule) -> &'static str {
        let used = self.used.entry((key, rule.pattern)).or_default();
        *used += 1;
        rule.reassemblies[(*used - 1) % rule.reassemblies.len()]
    }
}

/// The words of the phrase that is answered, substituted, and its keywords: the highest rank first, the others as
/// they came.
fn scan(text: &str) -> (Vec<String>, VecDeque<&'static Key>) {
    let (mut words, mut keys) = (Vec::new(), VecDeque::<&Key>::new());
    for token in tokens(text).take(MAX_WORDS) {
        if matches!(token.as_str(), "." | "," | "BUT") {
            if !keys.is_empty() {
                break;
            }
            words.clear();
            continue;
        }
        let key = script::key(&token);
        if let Some(key) = key.filter(|key| key.speaks()) {
            match keys.front() {
                Some(top) if key.rank <= top.rank => keys.push_back(key),
                _ => keys.push_front(key),
            }
        }
        words.push(key.and_then(|key| key.becomes).map_or(token, ToOwned::to_owned));
    }
    (words, keys)
}

/// Words in capitals; every mark that ends a sentence as a period, every other that parts one as a comma.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|c: char| !is_of_word(c) && mark(c).is_none());
        let first = rest.chars().next()?;
        if let Some(mark) = mark(first) {
            rest = &rest[first.len_utf8()..];
            return Some(mark.to_owned());
        }
        let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
        let word = rest[..end].to_uppercase().replace('\u{2019}', "'");
        rest = &rest[end..];
        Some(word)
    })
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}' | '-')
}

const fn mark(c: char) -> Option<&'static str> {
    match c {
        '.' | '!' | '?' | '\n' => Some("."),
        ',' | ';' | ':' | '(' | ')' | '\u{2014}' => Some(","),
        _ => None,
    }
}

/// SLIP's `HASH`: the middle `bits` bits of the square of the word's last six characters, as the IBM 7094 held them.
fn hash(word: &str, bits: u32) -> usize {
    let characters: Vec<char> = word.chars().collect();
    let last = characters.chunks(6).next_back().unwrap_or_default();
    let padded = last.iter().copied().chain(std::iter::repeat(' ')).take(6);
    let datum = padded.fold(0u128, |datum, character| datum << 6 | bcd(character));
    // The first bit is the sign, and is not multiplied.
    let magnitude = datum & ((1 << 35) - 1);
    let middle = (magnitude * magnitude) >> (35 - bits / 2);
    usize::try_from(middle & ((1 << bits) - 1)).unwrap_or_default()
}

/// The six bits of a character on the IBM 7094.
fn bcd(character: char) -> u128 {
    let from = |first: char, code: u128| u128::from(u32::from(character) - u32::from(first)) + code;
    match character {
        '0'..='9' => from('0', 0o00),
        'A'..='I' => from('A', 0o21),
        'J'..='R' => from('J', 0o41),
        'S'..='Z' => from('S', 0o62),
        '\'' => 0o14,
        '-' => 0o40,
        _ => 0o60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The conversation that Weizenbaum printed in the article.
    const PRINTED: &[(&str, &str)] = &[
        ("Men are all alike.", "IN WHAT WAY"),
        ("They're always bugging us about something or other.", "CAN YOU THINK OF A SPECIFIC EXAMPLE"),
        ("Well, my boyfriend made me come here.", "YOUR BOYFRIEND MADE YOU COME HERE"),
        ("He says I'm depressed much of the time.", "I AM SORRY TO HEAR YOU ARE DEPRESSED"),
        ("It's true. I am unhappy.", "DO YOU THINK COMING HERE WILL HELP YOU NOT TO BE UNHAPPY"),
        ("I need some help, that much seems certain.", "WHAT WOULD IT MEAN TO YOU IF YOU GOT SOME HELP"),
        ("Perhaps I could learn to get along with my mother.", "TELL ME MORE ABOUT YOUR FAMILY"),
        ("My mother takes care of me.", "WHO ELSE IN YOUR FAMILY TAKES CARE OF YOU"),
        ("My father.", "YOUR FATHER"),
        ("You are like my father in some ways.", "WHAT RESEMBLANCE DO YOU SEE"),
        (
            "You are not very aggressive but I think you don't want me to notice that.",
            "WHAT MAKES YOU THINK I AM NOT VERY AGGRESSIVE",
        ),
        ("You don't argue with me.", "WHY DO YOU THINK I DON'T ARGUE WITH YOU"),
        ("You are afraid of me.", "DOES IT PLEASE YOU TO BELIEVE I AM AFRAID OF YOU"),
        ("My father is afraid of everybody.", "WHAT ELSE COMES TO MIND WHEN YOU THINK OF YOUR FATHER"),
        ("Bullies.", "DOES THAT HAVE ANYTHING TO DO WITH THE FACT THAT YOUR BOYFRIEND MADE YOU COME HERE"),
    ];

    #[test]
    fn the_printed_conversation_is_had_again_word_for_word() {
        for turn in 0..PRINTED.len() {
            let lines = PRINTED[..=turn].iter().map(|(line, _)| *line);
            assert_eq!(answer(lines), PRINTED[turn].1, "{}", PRINTED[turn].0);
        }
    }

    #[test]
    fn words_hash_as_they_did() {
        assert_eq!(hash("ALWAYS", 7), 14);
        assert_eq!(hash("HERE", 2), 3);
    }

    #[test]
    fn it_greets_and_goes_on_when_there_is_nothing_to_go_by() {
        assert_eq!(answer([]), "HOW DO YOU DO. PLEASE TELL ME YOUR PROBLEM");
        assert_eq!(answer(["hello"]), "HOW DO YOU DO. PLEASE STATE YOUR PROBLEM");
        assert_eq!(answer([""]), "I AM NOT SURE I UNDERSTAND YOU FULLY");
        assert_eq!(answer(["", "Grüße 你好"]), "PLEASE GO ON");
    }

    #[test]
    fn a_higher_rank_comes_first_and_a_reference_is_followed() {
        assert_eq!(answer(["I like my computer"]), "DO COMPUTERS WORRY YOU");
        assert_eq!(answer(["Maybe"]), "YOU DON'T SEEM QUITE CERTAIN");
        assert_eq!(answer(["you're nice"]), "WHAT MAKES YOU THINK I AM NICE");
        assert_eq!(answer(["I dreamed of rain"]), "REALLY, OF RAIN");
        assert_eq!(answer(["everybody laughs"]), "REALLY, EVERYBODY");
    }

    #[test]
    fn without_a_pattern_that_fits_it_hides_it() {
        assert_eq!(answer(["cans can rust"]), "HMMM");
    }

    #[test]
    fn every_reference_in_the_script_leads_somewhere() {
        for key in script::KEYS {
            let references =
                key.rules.iter().flat_map(|rule| rule.reassemblies).filter_map(|text| text.rsplit_once('='));
            for reference in references.map(|(_, key)| key).chain(key.like) {
                assert!(script::key(reference).is_some_and(Key::speaks), "{} = {reference}", key.word);
            }
        }
    }

    #[test]
    fn no_input_makes_it_panic_or_stay_silent() {
        let long = "you think i feel i ".repeat(10_000);
        for text in ["'", "- - -", "''''''''", "my", "my .", "i am", "\u{0}\u{7f}", &long] {
            assert!(!answer([text, text, text, text, text]).is_empty(), "{text}");
        }
    }
}
