//! Sentences: fed a reply's text token by token, emits each sentence as soon as it is complete, as it is to be spoken.
//!
//! Pure. However the text is cut into tokens, the sentences are the same; and nothing that can be read aloud is lost.

use super::plain::{Mark, Plain};
use super::words;

/// A sentence of more characters is cut: at a comma if there is one, else at a space.
pub(crate) const LONGEST: usize = 300;

/// Where it is cut, it has at least so many.
const SHORTEST_CUT: usize = 80;

/// Cuts a text into sentences.
#[derive(Debug, Default)]
pub(crate) struct Sentences {
    plain: Plain,
    splitter: Splitter,
}

impl Sentences {
    /// Takes the next token. What is complete is added to `out`.
    pub(crate) fn push(&mut self, token: &str, out: &mut Vec<String>) {
        let Self { plain, splitter } = self;
        for c in token.chars() {
            plain.push(c, &mut |mark| splitter.push(mark, out));
        }
    }

    /// The text is over: the rest is a sentence, too. What comes then is another text.
    pub(crate) fn finish(&mut self, out: &mut Vec<String>) {
        let Self { plain, splitter } = self;
        plain.finish(&mut |mark| splitter.push(mark, out));
    }
}

#[derive(Debug, Default)]
struct Splitter {
    text: String,
    characters: usize,
    stop: Option<Stop>,
}

/// A stop that may end the sentence: what follows decides.
#[derive(Debug, Clone, Copy)]
struct Stop {
    kind: StopKind,
    /// Where it stands, in bytes.
    at: usize,
    /// A quotation ends with it.
    quoted: bool,
    /// Followed by a space.
    spaced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopKind {
    /// `.`
    Dot,
    /// `…`, `...`
    Ellipsis,
    /// `!`, `?`
    Strong,
    /// `。` and others that need no space after them.
    Wide,
}

impl Splitter {
    fn push(&mut self, mark: Mark, out: &mut Vec<String>) {
        match mark {
            Mark::Break => self.emit(out),
            Mark::Char(c) => {
                if !self.after_stop(c, out) {
                    self.add(c);
                }
                if self.characters > LONGEST {
                    self.cut(out);
                }
            }
        }
    }

    /// Takes a character that comes after a stop, as far as it has to do with it.
    fn after_stop(&mut self, c: char, out: &mut Vec<String>) -> bool {
        let Some(mut stop) = self.stop else { return false };
        if let Some(kind) = stop_kind(c)
            && (!stop.spaced || (kind == StopKind::Dot && stop.kind != StopKind::Wide))
        {
            let dots = kind == StopKind::Dot && matches!(stop.kind, StopKind::Dot | StopKind::Ellipsis);
            stop.kind = if dots { StopKind::Ellipsis } else { kind.max(stop.kind) };
        } else if !stop.spaced && is_closer(c) {
            stop.quoted |= is_quote(c);
        } else if c == '\n' && self.ends(stop, None) {
            self.emit(out);
            return true;
        } else if c.is_whitespace() {
            if stop.spaced {
                return true;
            }
            stop.spaced = true;
        } else {
            if self.ends(stop, Some(c)) {
                self.emit(out);
            }
            self.stop = None;
            return false;
        }
        self.put(if c.is_whitespace() { ' ' } else { c });
        self.stop = Some(stop);
        true
    }

    /// Whether the sentence ends with this stop. Without a `next` a line does.
    fn ends(&self, stop: Stop, next: Option<char>) -> bool {
        let spaced = stop.spaced || next.is_none();
        let small = next.is_some_and(char::is_lowercase);
        match stop.kind {
            StopKind::Wide => true,
            StopKind::Strong => spaced && !(small && stop.quoted),
            StopKind::Ellipsis => spaced && !small,
            StopKind::Dot => spaced && words::can_end(&self.text[..stop.at], next),
        }
    }

    fn add(&mut self, c: char) {
        if c.is_whitespace() {
            if !self.text.is_empty() && !self.text.ends_with(' ') {
                self.put(' ');
            }
            return;
        }
        let at = self.text.len();
        self.put(c);
        self.stop = stop_kind(c).map(|kind| Stop { kind, at, quoted: false, spaced: false });
    }

    fn put(&mut self, c: char) {
        self.text.push(c);
        self.characters += 1;
    }

    fn emit(&mut self, out: &mut Vec<String>) {
        let text = std::mem::take(&mut self.text);
        *self = Self::default();
        out.extend(spoken(&text));
    }

    /// Emits the beginning of what has become too long.
    fn cut(&mut self, out: &mut Vec<String>) {
        let after = |wanted: fn(char) -> bool| {
            let places = self.text.char_indices().enumerate().skip(SHORTEST_CUT);
            places.filter(|(_, (_, c))| wanted(*c)).map(|(_, (at, c))| at + c.len_utf8()).last()
        };
        let at = after(is_comma).or_else(|| after(|c| c == ' ')).unwrap_or(self.text.len());
        let rest = self.text.split_off(at);
        self.emit(out);
        rest.trim_start().clone_into(&mut self.text);
        self.characters = self.text.chars().count();
    }
}

impl StopKind {
    fn max(self, other: Self) -> Self {
        let rank = |kind| match kind {
            Self::Dot => 0,
            Self::Ellipsis => 1,
            Self::Strong => 2,
            Self::Wide => 3,
        };
        if rank(self) >= rank(other) { self } else { other }
    }
}

fn stop_kind(c: char) -> Option<StopKind> {
    Some(match c {
        '.' => StopKind::Dot,
        '…' => StopKind::Ellipsis,
        '!' | '?' | '‼' | '⁇' | '⁈' | '⁉' | '؟' | '։' => StopKind::Strong,
        '。' | '！' | '？' | '｡' | '।' | '॥' | '۔' | '။' | '።' => StopKind::Wide,
        _ => return None,
    })
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '”' | '’' | '“' | '‘' | '»' | '«' | '」' | '』' | '›')
}

fn is_closer(c: char) -> bool {
    is_quote(c) || matches!(c, ')' | ']' | '}' | '）' | '】' | '》')
}

fn is_comma(c: char) -> bool {
    matches!(c, ',' | ';' | ':' | '，' | '、' | '；' | '：' | '–' | '—')
}

/// A sentence as it is spoken. `None`: it has nothing to read.
fn spoken(text: &str) -> Option<String> {
    let mut spoken = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !spoken.is_empty() {
            spoken.push(' ');
        }
        add_word(&mut spoken, word);
    }
    spoken.chars().any(char::is_alphanumeric).then_some(spoken)
}

/// Of an address only the host is read; characters that HTML names are read as themselves.
fn add_word(spoken: &mut String, word: &str) {
    if let Some(at) = word.find("://").filter(|at| word[..*at].ends_with("http") || word[..*at].ends_with("https")) {
        let scheme = word[..at].rfind("http").unwrap_or(at);
        let address = &word[at + 3..];
        let host: &str = &address[..address.find(['/', '?', '#', ':']).unwrap_or(address.len())];
        let end = word.trim_end_matches(|c: char| stop_kind(c).is_some() || is_comma(c) || is_closer(c)).len();
        spoken.push_str(&word[..scheme]);
        spoken.push_str(host.trim_end_matches(|c: char| !c.is_alphanumeric()).trim_start_matches("www."));
        return spoken.push_str(&word[end..]);
    }
    let mut rest = word;
    while let Some(at) = rest.find('&') {
        let named = ENTITIES.iter().find(|(name, _)| rest[at..].starts_with(name));
        let (name, meaning) = named.copied().unwrap_or(("&", "&"));
        spoken.push_str(&rest[..at]);
        spoken.push_str(meaning);
        rest = &rest[at + name.len()..];
    }
    spoken.push_str(rest);
}

const ENTITIES: &[(&str, &str)] =
    &[("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " ")];

#[cfg(test)]
mod tests;
