//! From Markdown to what a person would read aloud, character by character: no asterisks, no targets of links, no code
//! and no tables. It does not know sentences, only where a paragraph, a heading or an item of a list ends.
//!
//! Every character is decided by those before it and at most a line's beginning after it, so that the way in which a
//! text is cut into tokens makes no difference.

mod line;

use line::{Kind, kind};

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A character; a line feed where a line ends within a paragraph.
    Char(char),
    /// What came before does not go on here.
    Break,
}

/// A tag or a link's target is taken for text after so many characters.
const LONGEST_TAG: usize = 1000;

/// A formula on one line is not longer, nor one over several.
const LONGEST_FORMULA: usize = 200;
const LONGEST_DISPLAY: usize = 1000;

/// The mark of a source is not longer.
const LONGEST_SOURCE: usize = 24;

/// Reads Markdown.
#[derive(Debug, Default)]
pub(super) struct Plain {
    line: Line,
    /// The beginning of a line, until it is known what it is.
    start: String,
    inline: Inline,
    /// Brackets that are open: perhaps the text of a link.
    brackets: usize,
    /// The number of backticks that opened the code within this line.
    code: usize,
    /// The last character that was emitted.
    last: char,
    /// A space that is not emitted yet: with the mark of a source the one before it goes.
    space: bool,
    /// The mark of a source came last.
    source: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Start,
    Text,
    /// Its end is the end of its text.
    Heading,
    /// A row of a table, a rule, the line that opens a block of code.
    Skipped,
    /// Within a block of code that so many of these opened; how many of them this line has so far.
    Code {
        fence: char,
        length: usize,
        seen: usize,
        only: bool,
    },
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Inline {
    #[default]
    Text,
    Escaped,
    /// A run of `*`, `_`, `~` or backticks.
    Run(char, usize),
    Bang,
    OpenBracket,
    /// After the text of what may be a link.
    AfterBracket,
    /// In a link's target.
    Target(usize),
    /// In a footnote's or a link's name.
    Name,
    /// In brackets that hold nothing but numbers so far: the mark of a source.
    Source(String),
    /// After `$`.
    Dollar,
    /// After `<`.
    Angle(String),
    /// In a formula, with what ends it.
    Formula {
        open: &'static str,
        close: &'static str,
        text: String,
    },
}

impl Inline {
    const fn formula(open: &'static str, close: &'static str) -> Self {
        Self::Formula { open, close, text: String::new() }
    }
}

impl Plain {
    /// Takes the next character.
    pub(super) fn push(&mut self, c: char, emit: &mut impl FnMut(Mark)) {
        match self.line {
            Line::Start => self.begin(c, emit),
            Line::Skipped if c == '\n' => self.next_line(emit),
            Line::Skipped => {}
            Line::Code { fence, length, seen, only } => self.code_line(c, (fence, length), (seen, only), emit),
            Line::Text | Line::Heading if c == '\n' && self.is_display() => self.inline(' ', emit),
            Line::Text | Line::Heading if c == '\n' => self.end_line(emit),
            Line::Text | Line::Heading => self.inline(c, emit),
        }
    }

    /// The text is over.
    pub(super) fn finish(&mut self, emit: &mut impl FnMut(Mark)) {
        if self.line == Line::Start {
            self.begin('\n', emit);
        } else if matches!(self.line, Line::Text | Line::Heading) {
            self.end_line(emit);
        }
        emit(Mark::Break);
        *self = Self::default();
    }

    /// The beginning of a line.
    fn begin(&mut self, c: char, emit: &mut impl FnMut(Mark)) {
        if c != '\n' {
            self.start.push(c);
        }
        match kind(&self.start, c == '\n') {
            Kind::Unknown => {}
            Kind::Nothing => {
                self.start.clear();
                emit(Mark::Break);
                self.next_line(emit);
            }
            Kind::Quote => self.start.clear(),
            Kind::Skipped => {
                self.start.clear();
                emit(Mark::Break);
                self.line = Line::Skipped;
            }
            Kind::Fence(fence, length) => {
                self.start.clear();
                emit(Mark::Break);
                let rest = Line::Code { fence, length, seen: 0, only: false };
                self.line = rest;
                if c == '\n' {
                    self.code_line(c, (fence, length), (0, false), emit);
                }
            }
            Kind::Heading => self.open(Line::Heading, true, "", emit),
            Kind::Bullet => self.open(Line::Text, true, "", emit),
            Kind::Number => {
                let text = std::mem::take(&mut self.start);
                self.open(Line::Text, true, text.trim_start(), emit);
            }
            Kind::Text => {
                let text = std::mem::take(&mut self.start);
                self.open(Line::Text, false, &text, emit);
                if c == '\n' {
                    self.end_line(emit);
                }
            }
        }
    }

    fn open(&mut self, line: Line, breaks: bool, text: &str, emit: &mut impl FnMut(Mark)) {
        self.start.clear();
        self.line = line;
        if breaks {
            emit(Mark::Break);
        }
        for c in text.chars() {
            self.inline(c, emit);
        }
    }

    fn end_line(&mut self, emit: &mut impl FnMut(Mark)) {
        let heading = self.line == Line::Heading;
        self.settle('\n', emit);
        self.inline = Inline::Text;
        self.brackets = 0;
        self.next_line(emit);
        if heading {
            emit(Mark::Break);
            self.code = 0;
        } else {
            self.put('\n', emit);
        }
    }

    fn next_line(&mut self, _: &mut impl FnMut(Mark)) {
        self.line = Line::Start;
        self.last = '\n';
        self.space = false;
    }

    /// In a block of code, until a line holds nothing but the fence.
    fn code_line(
        &mut self,
        c: char,
        (fence, length): (char, usize),
        (seen, only): (usize, bool),
        emit: &mut impl FnMut(Mark),
    ) {
        let (seen, only) = match c {
            '\n' if only && seen >= length => return self.next_line(emit),
            '\n' => (0, true),
            c if c == fence && only => (seen + 1, true),
            c if c.is_whitespace() => (seen, only),
            _ => (seen, false),
        };
        self.line = Line::Code { fence, length, seen, only };
    }

    /// Within a line.
    fn inline(&mut self, c: char, emit: &mut impl FnMut(Mark)) {
        match &mut self.inline {
            Inline::Run(mark, count) if *mark == c => return *count += 1,
            Inline::Target(depth) => {
                match c {
                    '(' => *depth += 1,
                    ')' => *depth -= 1,
                    _ => {}
                }
                if *depth == 0 {
                    self.inline = Inline::Text;
                }
                return;
            }
            Inline::Name => {
                if c == ']' {
                    self.inline = Inline::Text;
                }
                return;
            }
            Inline::Angle(tag) if !(tag.is_empty() && !(c.is_ascii_alphabetic() || matches!(c, '/' | '!'))) => {
                tag.push(c);
                if c == '>' {
                    let is_line = tag.trim_start_matches('/').to_ascii_lowercase().starts_with("br");
                    self.inline = Inline::Text;
                    if is_line {
                        self.put('\n', emit);
                    }
                } else if tag.len() > LONGEST_TAG {
                    self.settle(c, emit);
                }
                return;
            }
            Inline::AfterBracket if c == '(' => return self.inline = Inline::Target(1),
            Inline::AfterBracket if c == '[' => return self.inline = Inline::Name,
            Inline::OpenBracket if c.is_ascii_digit() && !matches!(self.last, '\n' | '\0') => {
                return self.inline = Inline::Source(c.to_string());
            }
            Inline::Source(numbers) if numbers.len() < LONGEST_SOURCE && is_of_source(c) => return numbers.push(c),
            Inline::Source(_) if c == ']' => {
                self.brackets = self.brackets.saturating_sub(1);
                self.source = true;
                return self.inline = Inline::AfterBracket;
            }
            Inline::OpenBracket if c == '^' => {
                self.source = true;
                self.brackets = self.brackets.saturating_sub(1);
                return self.inline = Inline::Name;
            }
            Inline::Bang if c == '[' => {
                self.inline = Inline::OpenBracket;
                return self.brackets += 1;
            }
            Inline::Formula { .. } => return self.formula(c, emit),
            Inline::Dollar if c == '$' => return self.inline = Inline::formula("$$", "$$"),
            Inline::Dollar if c.is_alphabetic() || matches!(c, '\\' | '{' | '(' | '-' | '|') => {
                self.inline = Inline::formula("$", "$");
                return self.formula(c, emit);
            }
            Inline::Escaped if c == '(' => return self.inline = Inline::formula("\\(", "\\)"),
            Inline::Escaped if c == '[' => return self.inline = Inline::formula("\\[", "\\]"),
            Inline::Escaped => {
                self.inline = Inline::Text;
                if !c.is_ascii_punctuation() {
                    self.put('\\', emit);
                }
                return self.put(c, emit);
            }
            Inline::Text => {}
            _ => self.settle(c, emit),
        }
        self.text(c, emit);
    }

    /// A character that nothing before it claims.
    fn text(&mut self, c: char, emit: &mut impl FnMut(Mark)) {
        if self.code > 0 && c != '`' {
            return self.put(c, emit);
        }
        match c {
            '\\' => self.inline = Inline::Escaped,
            '*' | '_' | '~' | '`' => self.inline = Inline::Run(c, 1),
            '!' => self.inline = Inline::Bang,
            '[' => {
                self.inline = Inline::OpenBracket;
                self.brackets += 1;
            }
            ']' if self.brackets > 0 => {
                self.brackets -= 1;
                self.inline = Inline::AfterBracket;
            }
            '<' => self.inline = Inline::Angle(String::new()),
            '$' => self.inline = Inline::Dollar,
            c => self.put(c, emit),
        }
    }

    /// Decides what was held, now that `next` comes.
    fn settle(&mut self, next: char, emit: &mut impl FnMut(Mark)) {
        match std::mem::take(&mut self.inline) {
            Inline::Run('`', count) => match self.code {
                0 => self.code = count,
                open if open == count => self.code = 0,
                _ => {}
            },
            Inline::Run(mark, count) if self.is_text(mark, count, next) => {
                (0..count).for_each(|_| self.put(mark, emit));
            }
            Inline::Source(numbers) => numbers.chars().for_each(|c| self.put(c, emit)),
            Inline::Bang => self.put('!', emit),
            Inline::Dollar => self.put('$', emit),
            Inline::Formula { open, text, .. } => self.no_formula(open, &text, emit),
            Inline::Escaped => self.put('\\', emit),
            Inline::Angle(tag) => {
                self.put('<', emit);
                tag.chars().for_each(|c| self.put(c, emit));
            }
            _ => {}
        }
    }

    /// Whether these stand for themselves, and do not mark what is between them.
    fn is_text(&self, mark: char, count: usize, next: char) -> bool {
        let alone = self.last.is_whitespace() && next.is_whitespace();
        match mark {
            '*' => alone || (self.last.is_ascii_digit() && next.is_ascii_digit()),
            '_' => alone || (self.last.is_alphanumeric() && next.is_alphanumeric()),
            _ => count == 1,
        }
    }

    /// Whether a formula is open that may have several lines.
    const fn is_display(&self) -> bool {
        matches!(&self.inline, Inline::Formula { open, text, .. } if open.len() == 2 && text.len() < LONGEST_DISPLAY)
    }

    /// In a formula. It is emitted between dollar signs, whatever its delimiters were.
    fn formula(&mut self, c: char, emit: &mut impl FnMut(Mark)) {
        let Inline::Formula { open, close, text } = &mut self.inline else { return };
        text.push(c);
        let most = if *open == "$" { LONGEST_FORMULA } else { LONGEST_DISPLAY };
        if let Some(inner) = text.strip_suffix(*close) {
            let inner = inner.trim().to_owned();
            // What ends with a space before its sign was none: `$HOME and $`.
            if *open == "$" && text.strip_suffix(*close).is_some_and(|inner| inner.ends_with(' ')) {
                let text = std::mem::take(text);
                self.inline = Inline::Text;
                return self.no_formula("$", &text, emit);
            }
            self.inline = Inline::Text;
            if !inner.is_empty() {
                self.put('$', emit);
                inner.chars().for_each(|c| self.put(c, emit));
                self.put('$', emit);
            }
        } else if text.len() > most {
            let (open, text) = (*open, std::mem::take(text));
            self.inline = Inline::Text;
            self.no_formula(open, &text, emit);
        }
    }

    /// What was held for a formula is none: it is read as any other text.
    fn no_formula(&mut self, open: &str, text: &str, emit: &mut impl FnMut(Mark)) {
        // `\(` is a parenthesis.
        open.chars().filter(|c| *c != '\\').for_each(|c| self.put(c, emit));
        for c in text.chars() {
            self.inline(c, emit);
        }
    }

    fn put(&mut self, c: char, emit: &mut impl FnMut(Mark)) {
        let c = match c {
            c if is_joiner(c) => return,
            c if is_picture(c) => ' ',
            c => c,
        };
        let (space, source) = (std::mem::take(&mut self.space), std::mem::take(&mut self.source));
        let before = std::mem::replace(&mut self.last, c);
        // After a stop nothing has to be waited for.
        if c == ' ' && (source && space || !space && !is_stop(before)) {
            self.space = true;
            return;
        }
        if space && !(source && is_stop(c)) {
            emit(Mark::Char(' '));
        }
        emit(Mark::Char(c));
    }
}

/// What may stand in the mark of a source: `[1]`, `[2, 3]`, `[4-6]`.
fn is_of_source(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, ' ' | ',' | '-' | '–' | '^')
}

/// Before this no space is read.
const fn is_stop(c: char) -> bool {
    matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '…' | ')' | '\n')
}

/// Emoji and pictographs: seen, and not read.
fn is_picture(c: char) -> bool {
    matches!(u32::from(c), 0x1F000..=0x1FAFF | 0x2600..=0x27BF | 0x2B00..=0x2BFF | 0xE0020..=0xE007F)
}

/// Whether it joins emoji, or selects how they look.
fn is_joiner(c: char) -> bool {
    matches!(u32::from(c), 0x200B..=0x200D | 0x20E3 | 0x2060 | 0xFE00..=0xFE0F | 0xFEFF)
}
