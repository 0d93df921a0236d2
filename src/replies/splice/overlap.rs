//! Echoes: a continuation that begins by repeating the end of the text, or all of it.

/// What is known of an overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What came so far may be one.
    Undecided,
    /// This many bytes are.
    Overlap(usize),
    /// There is none.
    None,
}

/// No overlap of the last words has more characters; one of the whole text may.
const MAX_CHARS: usize = 512;

/// This many characters are no coincidence.
const SIGNIFICANT: usize = 4;

/// This many different ones neither: a line of dashes is no overlap.
const DIFFERENT: usize = 3;

/// Compares a continuation with every end of the text that it may repeat, and prefers the longest.
#[derive(Debug)]
pub(super) struct Overlap {
    /// Ends of the text that match so far, the longest first.
    candidates: Vec<Candidate>,
    /// White space before the first word is passed over.
    lenient: bool,
    /// The text ends with a whole word: one that only begins with it is another.
    whole_word: bool,
    /// Bytes of the continuation so far.
    read: usize,
    began: bool,
}

#[derive(Debug)]
struct Candidate {
    /// How far in the text it got.
    at: usize,
    /// In a run of white space, which matches any other.
    in_space: bool,
    /// Long enough to be an overlap also if the text ends, and the continuation goes on, inside a word.
    significant: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Matching,
    /// The end of the text was reached with this many bytes; the next character decides.
    AtEnd(usize),
    Overlap(usize),
}

impl Overlap {
    /// Looks for overlaps with `prefix`. `whole_word`: it is known to end with one. `instructed`: the upstream was
    /// instructed to repeat its last words, so that a single one counts.
    pub(super) fn new(prefix: &str, whole_word: bool, instructed: bool, lenient: bool) -> Self {
        let candidates = beginnings(prefix, instructed)
            .into_iter()
            .map(|at| Candidate {
                at,
                in_space: false,
                significant: is_significant(&prefix[at..]) || (instructed && prefix[at..].chars().nth(1).is_some()),
                state: State::Matching,
            })
            .collect();
        Self { candidates, lenient, whole_word, read: 0, began: false }
    }

    /// Takes the next character of the continuation of `prefix`.
    pub(super) fn step(&mut self, next: char, prefix: &str) -> Verdict {
        self.read += next.len_utf8();
        if !self.began && next.is_whitespace() {
            return if self.lenient { Verdict::Undecided } else { Verdict::None };
        }
        self.began = true;
        let (read, whole_word) = (self.read, self.whole_word);
        self.candidates.retain_mut(|candidate| candidate.step(next, prefix, read, whole_word));
        match self.candidates.first().map(|longest| longest.state) {
            None => Verdict::None,
            Some(State::Overlap(bytes)) => Verdict::Overlap(bytes),
            Some(State::Matching | State::AtEnd(_)) => Verdict::Undecided,
        }
    }

    /// Decides; nothing more comes.
    pub(super) fn finish(&self) -> Verdict {
        let overlap = self.candidates.iter().find_map(|candidate| match candidate.state {
            State::Overlap(bytes) | State::AtEnd(bytes) => Some(bytes),
            State::Matching => None,
        });
        overlap.map_or(Verdict::None, Verdict::Overlap)
    }
}

impl Candidate {
    /// Whether it still matches.
    fn step(&mut self, next: char, prefix: &str, read: usize, whole_word: bool) -> bool {
        match self.state {
            State::Overlap(_) => true,
            State::AtEnd(bytes) => {
                self.state = State::Overlap(bytes);
                ends_word(prefix, next) || (self.significant && !whole_word)
            }
            State::Matching if next.is_whitespace() => {
                let rest = &prefix[self.at..];
                let space = rest.len() - rest.trim_start().len();
                self.at += space;
                let matches = space > 0 || self.in_space;
                self.in_space = true;
                matches
            }
            State::Matching => {
                self.in_space = false;
                let matches = prefix[self.at..].starts_with(next);
                self.at += next.len_utf8();
                if matches && self.at == prefix.len() {
                    self.state = State::AtEnd(read);
                }
                matches
            }
        }
    }
}

/// Where in the text an overlap may begin, in order.
fn beginnings(prefix: &str, instructed: bool) -> Vec<usize> {
    let window = prefix.char_indices().rev().nth(MAX_CHARS - 1).map_or(0, |(at, _)| at);
    let mut before = prefix[..window].chars().next_back();
    let mut found = Vec::new();
    for (at, next) in prefix[window..].char_indices() {
        let at = window + at;
        if begins_overlap(before, next, &prefix[at..], instructed) {
            found.push(at);
        }
        before = Some(next);
    }
    // All of it, also where it is a single short word: servers that continue a message may give back the whole one.
    let whole = prefix.len() - prefix.trim_start().len();
    if found.first() != Some(&whole) && (window > 0 || is_word(&prefix[whole..])) {
        found.insert(0, whole);
    }
    found
}

/// Whether `rest`, which begins with `next`, can be repeated as an overlap: it begins a word, and is long enough. One or
/// two brackets are not, where a single word is: code has many of them in a row.
fn begins_overlap(before: Option<char>, next: char, rest: &str, instructed: bool) -> bool {
    let has_words = rest.contains(char::is_alphanumeric) || rest.split_whitespace().nth(2).is_some();
    if next.is_whitespace() || (instructed && !has_words) {
        return false;
    }
    let spaced = before.is_none_or(char::is_whitespace);
    let inner = before.is_some_and(|before| {
        is_unspaced(before) || is_unspaced(next) || (instructed && !before.is_alphanumeric() && next.is_alphanumeric())
    });
    (spaced && instructed) || ((spaced || inner) && is_significant(rest))
}

/// Whether it is one word, and no single letter: nobody writes such a word twice without a space between.
pub(super) fn is_word(text: &str) -> bool {
    text.chars().nth(1).is_some() && text.chars().all(|char| char.is_alphabetic() && !is_unspaced(char))
}

fn is_significant(text: &str) -> bool {
    let mut different = Vec::with_capacity(DIFFERENT);
    // White space matches any other, so a run of it counts as one character.
    let chars = text.split_whitespace().flat_map(|word| std::iter::once(' ').chain(word.chars())).skip(1);
    chars.enumerate().any(|(count, next)| {
        if !different.contains(&next) {
            different.push(next);
        }
        different.len() >= DIFFERENT && count + 1 >= SIGNIFICANT
    })
}

/// Whether a word ends between `prefix` and `next`.
fn ends_word(prefix: &str, next: char) -> bool {
    let last = prefix.chars().next_back().unwrap_or(' ');
    !last.is_alphanumeric() || !next.is_alphanumeric() || is_unspaced(next)
}

/// Whether it belongs to a script that writes no spaces between words: Chinese, Japanese, Thai and their like.
pub(super) const fn is_unspaced(char: char) -> bool {
    matches!(char,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{2E80}'..='\u{A4CF}'
        | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}
