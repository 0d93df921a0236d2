//! Separates the thoughts that a model writes into its text, between `<think>` and `</think>` or other tags, from it.
//!
//! Only at the very start: further on, the tag is something the model talks about. Pure, and the same however the
//! text is cut.

/// What opens thoughts, and what closes them.
const TAGS: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
];

/// What some templates put before the answer.
const ANSWERS: &[&str] = &[
    "<|start|>assistant<|channel|>final<|message|>",
    "<|channel|>final<|message|>",
    "<|begin_of_solution|>",
    "<|START_RESPONSE|>",
];

/// The most white space that is held back at the start, to see whether it is before a tag.
const MAX_SPACES: usize = 8;

/// Splits a model's text into thought and speech.
#[derive(Debug, Default)]
pub(crate) struct Think {
    stage: Stage,
    /// What may be the beginning of a tag.
    held: String,
    /// What closes the thought; without one, whatever does.
    close: Option<&'static str>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing emitted yet.
    #[default]
    Start,
    /// The same, and it is thought unless it is marked otherwise.
    Presumed,
    /// The thought was opened, and has no words yet.
    Opened,
    Thinking,
    /// The thought was closed, and nothing but white space came after it.
    Closed,
    Speaking,
}

/// A piece of a model's output, never empty.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Thought.
    Thought(String),
    /// Text.
    Text(String),
}

impl Think {
    /// For a server whose template opens the thought itself: text is thought until a tag closes it.
    pub(crate) fn from_the_start() -> Self {
        Self { stage: Stage::Presumed, ..Self::default() }
    }

    /// Thoughts came in a field of their own: the server separates them, and its text is text.
    pub(crate) fn mark_separate(&mut self) {
        if self.stage == Stage::Presumed {
            self.stage = Stage::Start;
        }
    }

    /// The text comes as a whole: thoughts in it need no tag that opens them.
    pub(crate) fn whole(&mut self, text: &str) {
        let opens = TAGS.iter().any(|(open, _)| at_start(text.trim_start(), open) == Match::Whole);
        // On a line of its own, or at an end of one: else the tag may be what the text is about.
        let marks = ["</think>", "</thinking>", "[/THINK]", "</seed:think>", "◁/think▷"];
        let closes = |mark: &&str| text.contains(&format!("\n{mark}")) || text.contains(&format!("{mark}\n"));
        if self.stage == Stage::Start && !opens && marks.iter().any(closes) {
            self.stage = Stage::Opened;
        }
    }

    /// Takes the next piece of text, and gives what is sure.
    pub(crate) fn push(&mut self, text: String, mut sink: impl FnMut(Piece)) {
        if self.stage == Stage::Speaking {
            if !text.is_empty() {
                sink(Piece::Text(text));
            }
            return;
        }
        let mut text = if self.held.is_empty() { text } else { std::mem::take(&mut self.held) + &text };
        loop {
            let rest = match self.stage {
                Stage::Start | Stage::Presumed => self.start(&text),
                Stage::Opened => self.skip_space(&text),
                Stage::Thinking => self.think(&text, &mut sink),
                Stage::Closed => self.closed(&text),
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
    pub(crate) fn finish(&mut self, mut sink: impl FnMut(Piece)) {
        let held = std::mem::take(&mut self.held);
        let thinking = matches!(self.stage, Stage::Opened | Stage::Thinking | Stage::Presumed);
        if !(held.is_empty() || self.stage == Stage::Closed && held.trim().is_empty()) {
            sink(if thinking { Piece::Thought(held) } else { Piece::Text(held) });
        }
        self.stage = Stage::Speaking;
    }

    fn start(&mut self, text: &str) -> Option<String> {
        let words = text.trim_start();
        let spaces = text[..text.len() - words.len()].chars().count();
        if spaces <= MAX_SPACES {
            match self.tag(words) {
                Tag::Whole { rest } => return Some(rest.to_owned()),
                Tag::Part => {
                    text.clone_into(&mut self.held);
                    return None;
                }
                Tag::None => {}
            }
        }
        self.stage = if self.stage == Stage::Presumed { Stage::Opened } else { Stage::Speaking };
        Some(text.to_owned())
    }

    /// After a thought another may follow.
    fn closed(&mut self, text: &str) -> Option<String> {
        let words = text.trim_start();
        match self.tag(words) {
            Tag::Whole { rest } => Some(rest.to_owned()),
            Tag::Part => {
                words.clone_into(&mut self.held);
                None
            }
            Tag::None => {
                self.stage = Stage::Speaking;
                Some(words.to_owned())
            }
        }
    }

    /// The tag that the text begins with.
    fn tag<'a>(&mut self, text: &'a str) -> Tag<'a> {
        let mut may_be = text.is_empty();
        for (open, close) in TAGS {
            match at_start(text, open) {
                Match::Whole => {
                    self.close = Some(*close).filter(|_| self.stage != Stage::Presumed);
                    self.stage = Stage::Opened;
                    return Tag::Whole { rest: &text[open.len()..] };
                }
                Match::Part => may_be = true,
                Match::None => {}
            }
        }
        // The tag that closes what the template, or the server, opened and took.
        for tag in TAGS.iter().map(|(_, close)| close).chain(ANSWERS) {
            match at_start(text, tag) {
                Match::Whole => {
                    self.stage = Stage::Closed;
                    return Tag::Whole { rest: &text[tag.len()..] };
                }
                Match::Part => may_be = true,
                Match::None => {}
            }
        }
        if may_be { Tag::Part } else { Tag::None }
    }

    fn skip_space(&mut self, text: &str) -> Option<String> {
        let words = text.trim_start();
        if words.is_empty() {
            return None;
        }
        self.stage = Stage::Thinking;
        Some(words.to_owned())
    }

    fn think(&mut self, text: &str, sink: &mut impl FnMut(Piece)) -> Option<String> {
        let (thought, rest) = match self.find_close(text) {
            Found::Whole(start, end) => {
                self.stage = Stage::Closed;
                (&text[..start], Some(text[end..].to_owned()))
            }
            Found::Part(start) => {
                let (thought, held) = text.split_at(start);
                held.clone_into(&mut self.held);
                (thought, None)
            }
            Found::None => (text, None),
        };
        if !thought.is_empty() {
            sink(Piece::Thought(thought.to_owned()));
        }
        rest
    }

    fn find_close(&self, text: &str) -> Found {
        let own = self.close.map_or(TAGS, |close| {
            let place = TAGS.iter().position(|(_, own)| *own == close).unwrap_or(0);
            &TAGS[place..=place]
        });
        let starts = text.char_indices().filter(|(_, c)| matches!(c, '<' | '[' | '◁'));
        for (start, _) in starts {
            let mut may_be = false;
            for (_, close) in own {
                match at_start(&text[start..], close) {
                    Match::Whole => return Found::Whole(start, start + close.len()),
                    Match::Part => may_be = true,
                    Match::None => {}
                }
            }
            if may_be {
                return Found::Part(start);
            }
        }
        Found::None
    }
}

/// Whether a text has a tag that closes thoughts: where none was opened, the server's template did, and
/// [`Think::from_the_start`] would be right for it.
pub(crate) fn closes_something(text: &str) -> bool {
    text.contains("</think") || text.contains("[/THINK]") || text.contains("</seed:think>") || text.contains("◁/think▷")
}

enum Tag<'a> {
    /// And what follows it.
    Whole {
        rest: &'a str,
    },
    /// It may yet become one.
    Part,
    None,
}

enum Found {
    Whole(usize, usize),
    Part(usize),
    None,
}

#[derive(PartialEq, Eq)]
enum Match {
    Whole,
    /// The text is the beginning of the tag.
    Part,
    None,
}

/// Whether a text begins with a tag, in whichever case.
fn at_start(text: &str, tag: &str) -> Match {
    let (text, tag) = (text.as_bytes(), tag.as_bytes());
    let length = text.len().min(tag.len());
    if !text[..length].eq_ignore_ascii_case(&tag[..length]) {
        Match::None
    } else if length == tag.len() {
        Match::Whole
    } else {
        Match::Part
    }
}

#[cfg(test)]
mod tests;
