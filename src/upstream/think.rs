//! Thoughts that a model writes into its text, between `<think>` and `</think>`, told apart from it.
//!
//! Only at the very start: further on, the tag is something the model talks about. Pure, and the same however the
//! text is cut.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// The most characters that are held back at the start, to see whether they open a thought.
const MAX_HELD: usize = 8;

/// Splits a model's text into thought and speech.
#[derive(Debug, Default)]
pub struct Think {
    stage: Stage,
    /// What may be the beginning of a tag.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing told yet.
    #[default]
    Start,
    /// The thought was opened, and has no words yet.
    Opened,
    Thinking,
    /// The thought was closed, and nothing but white space came after it.
    Closed,
    Speaking,
}

/// A piece of what a model said, never empty.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Thought.
    Thought(String),
    /// Text.
    Text(String),
}

impl Think {
    /// Takes the next piece of text, and gives what is sure.
    pub fn push(&mut self, text: String, mut sink: impl FnMut(Piece)) {
        if self.stage == Stage::Speaking {
            if !text.is_empty() {
                sink(Piece::Text(text));
            }
            return;
        }
        let mut text = if self.held.is_empty() { text } else { std::mem::take(&mut self.held) + &text };
        loop {
            let rest = match self.stage {
                Stage::Start => self.start(&text),
                Stage::Opened => self.skip_space(&text, Stage::Thinking),
                Stage::Thinking => self.think(&text, &mut sink),
                Stage::Closed => self.skip_space(&text, Stage::Speaking),
                Stage::Speaking => {
                    sink(Piece::Text(text));
                    return;
                }
            };
            match rest {
                Some(rest) if !rest.is_empty() => text = rest,
                _ => return,
            }
        }
    }

    /// The text is over, or something else follows: gives what was held back. Whatever comes later is text.
    pub fn finish(&mut self, mut sink: impl FnMut(Piece)) {
        let held = std::mem::take(&mut self.held);
        let thinking = matches!(self.stage, Stage::Opened | Stage::Thinking);
        if self.stage != Stage::Closed && !held.is_empty() {
            sink(if thinking { Piece::Thought(held) } else { Piece::Text(held) });
        }
        self.stage = Stage::Speaking;
    }

    fn start(&mut self, text: &str) -> Option<String> {
        let words = text.trim_start();
        let spaces = text[..text.len() - words.len()].chars().count();
        if spaces + OPEN.len() <= MAX_HELD {
            if let Some(rest) = words.strip_prefix(OPEN) {
                self.stage = Stage::Opened;
                return Some(rest.to_owned());
            }
            if OPEN.starts_with(words) {
                text.clone_into(&mut self.held);
                return None;
            }
        }
        self.stage = Stage::Speaking;
        Some(text.to_owned())
    }

    fn skip_space(&mut self, text: &str, next: Stage) -> Option<String> {
        let words = text.trim_start();
        if words.is_empty() {
            return None;
        }
        self.stage = next;
        Some(words.to_owned())
    }

    fn think(&mut self, text: &str, sink: &mut impl FnMut(Piece)) -> Option<String> {
        let (thought, rest) = if let Some((thought, rest)) = text.split_once(CLOSE) {
            self.stage = Stage::Closed;
            (thought, Some(rest.to_owned()))
        } else {
            let (thought, held) = text.split_at(text.len() - beginning_of_close(text));
            held.clone_into(&mut self.held);
            (thought, None)
        };
        if !thought.is_empty() {
            sink(Piece::Thought(thought.to_owned()));
        }
        rest
    }
}

/// How many bytes at the end of `text` may be the beginning of the closing tag.
fn beginning_of_close(text: &str) -> usize {
    (1..CLOSE.len()).rev().find(|length| text.ends_with(&CLOSE[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(chunks: &[&str]) -> (String, String) {
        let (mut think, mut thought, mut text) = (Think::default(), String::new(), String::new());
        let mut sink = |piece| match piece {
            Piece::Thought(piece) => thought += &piece,
            Piece::Text(piece) => text += &piece,
        };
        for chunk in chunks {
            think.push((*chunk).to_owned(), &mut sink);
        }
        think.finish(&mut sink);
        (thought, text)
    }

    #[test]
    fn a_thought_at_the_start_is_told_apart() {
        for (whole, thought, text) in [
            ("<think>\nhm </b></think>\n\nYes.", "hm </b>", "Yes."),
            ("\n<think>hm</think>Yes", "hm", "Yes"),
            ("<think></think>\n\nYes", "", "Yes"),
            ("<think>hm", "hm", ""),
            ("<think>hm</thi", "hm</thi", ""),
            ("<thin ice", "", "<thin ice"),
            ("<thi", "", "<thi"),
            (" ", "", " "),
            ("In HTML <think>x</think> is no tag", "", "In HTML <think>x</think> is no tag"),
        ] {
            assert_eq!(split(&[whole]), (thought.to_owned(), text.to_owned()), "{whole}");
        }
    }

    #[test]
    fn nothing_is_held_that_cannot_open_a_thought() {
        let mut think = Think::default();
        let mut pieces = Vec::new();
        think.push("<".to_owned(), |piece| pieces.push(piece));
        assert!(pieces.is_empty());
        think.push("b".to_owned(), |piece| pieces.push(piece));
        assert_eq!(pieces, [Piece::Text("<b".to_owned())]);
        let mut think = Think::default();
        think.push(" ".repeat(MAX_HELD + 1), |piece| pieces.push(piece));
        assert_eq!(pieces.len(), 2);
    }

    proptest! {
        #[test]
        fn any_chunking_splits_alike(
            parts in prop::collection::vec("<think>|</think>|</think|<|\n| |[a-z]{1,3}|ä", 0..8),
            size in 1usize..6,
        ) {
            let whole = parts.concat();
            let chars: Vec<char> = whole.chars().collect();
            let chunks: Vec<String> = chars.chunks(size).map(String::from_iter).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(split(&chunks), split(&[&whole]));
        }
    }
}
