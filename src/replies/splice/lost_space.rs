//! Lost space: the white space between what the client has and what comes.

use super::overlap::is_unspaced;

/// Where a space that an upstream left out is put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insert {
    /// Nowhere: the spacing is exact.
    Nothing,
    /// Between words, and after closing punctuation: a new message never begins with a space.
    BetweenWords,
    /// After the punctuation of prose only: text that goes on without a space usually means it.
    BetweenSentences,
}

/// Joins the white space on both sides.
#[derive(Debug)]
pub(super) struct LostSpace {
    /// What the client has.
    space: String,
    /// What the continuation begins with.
    read: String,
    insert: Insert,
}

impl LostSpace {
    pub(super) fn new(space: &str, insert: Insert) -> Self {
        Self { space: space.to_owned(), read: String::new(), insert }
    }

    /// Takes the next character of the continuation of `prefix`; returns whether the white space is behind it.
    pub(super) fn step(&mut self, next: char, prefix: &str, out: &mut String) -> bool {
        if next.is_whitespace() {
            self.read.push(next);
            let decided = self.read.chars().count() >= self.space.chars().count();
            if decided {
                self.finish(out);
            }
            return decided;
        }
        let adjacent = self.space.is_empty() && self.read.is_empty();
        self.finish(out);
        if adjacent && self.insert.applies(prefix, next) {
            out.push(' ');
        }
        out.push(next);
        true
    }

    /// Emits the white space that the client does not have.
    pub(super) fn finish(&mut self, out: &mut String) {
        let read = std::mem::take(&mut self.read);
        let has = if self.space.starts_with(&read) { read.len() } else { overlap(&self.space, &read) };
        out.push_str(&read[has..]);
    }
}

/// The length of the longest end of `space` that `read` begins with.
fn overlap(space: &str, read: &str) -> usize {
    let ends = space.char_indices().map(|(at, _)| &space[at..]);
    ends.map(|end| if read.starts_with(end) { end.len() } else { 0 }).max().unwrap_or(0)
}

impl Insert {
    fn applies(self, prefix: &str, next: char) -> bool {
        let Some(last) = prefix.chars().next_back() else { return false };
        if is_unspaced(last) || is_unspaced(next) {
            return false;
        }
        match self {
            Self::Nothing => false,
            Self::BetweenWords => next.is_alphanumeric() && ends_unit(prefix, last, next),
            Self::BetweenSentences => next.is_alphabetic() && ends_sentence(prefix, last, next),
        }
    }
}

/// Whether a word or a closing punctuation mark stands before the white space.
fn ends_unit(prefix: &str, last: char, next: char) -> bool {
    let before = prefix[..prefix.len() - last.len_utf8()].chars().next_back();
    let in_number = next.is_numeric() && (last.is_numeric() || before.is_some_and(char::is_numeric));
    match last {
        '.' | ',' | ':' if in_number => false,
        '.' | ',' | ';' | ':' | '!' | '?' | ')' | ']' | '}' | '%' | '”' | '»' | '…' => true,
        '"' | '*' | '_' | '`' => last_line(prefix).matches(last).count().is_multiple_of(2),
        _ => last.is_alphanumeric() && !in_number,
    }
}

/// Whether a sentence of prose, or a clause of one, stands before the white space: `next` begins another.
fn ends_sentence(prefix: &str, last: char, next: char) -> bool {
    let fits = match last {
        '.' | '!' | '?' => next.is_uppercase(),
        ',' | ';' | ':' => true,
        _ => false,
    };
    let line = last_line(prefix);
    let mut words = line[..line.len().saturating_sub(last.len_utf8())].rsplit(char::is_whitespace);
    let is_word = words.next().is_some_and(|word| word.chars().count() >= 3 && word.chars().all(char::is_alphabetic));
    let is_prose = words.filter(|word| !word.is_empty()).count() >= 2;
    let in_code = prefix.matches("```").count() % 2 == 1 || line.matches('`').count() % 2 == 1;
    fits && is_word && is_prose && !in_code
}

fn last_line(prefix: &str) -> &str {
    prefix.rsplit('\n').next().unwrap_or_default()
}
