//! Wraps text to a terminal's width while it streams in. A word is shown as it grows; when it grows over the edge it is
//! taken back and written again on the next line. Pure: text in, text and cursor movements out.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

/// Where the cursor is, and what the word before it was.
#[derive(Debug)]
pub(crate) struct Wrapper {
    /// Columns that may be filled; one less than the terminal has, because a cursor behind the last column behaves
    /// differently everywhere.
    width: usize,
    column: usize,
    word: String,
    word_width: usize,
    fence: Fence,
}

/// Code between lines of three backticks keeps its lines as they are.
#[derive(Debug, Default)]
struct Fence {
    inside: bool,
    backticks: usize,
    at_line_start: bool,
}

impl Wrapper {
    /// For a terminal of as many columns.
    pub(crate) fn new(columns: usize) -> Self {
        let mut wrapper = Self {
            width: 0,
            column: 0,
            word: String::new(),
            word_width: 0,
            fence: Fence { at_line_start: true, ..Fence::default() },
        };
        wrapper.resize(columns);
        wrapper
    }

    /// The terminal has another width now.
    pub(crate) fn resize(&mut self, columns: usize) {
        self.width = columns.saturating_sub(1).max(8);
    }

    /// Whether the cursor is at the start of a line.
    pub(crate) fn at_line_start(&self) -> bool {
        self.column == 0
    }

    /// What to write to the terminal for the next piece of text. Control characters do not get through: a model's
    /// output must not steer the reader's terminal.
    pub(crate) fn push(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        for char in text.chars() {
            match char {
                '\n' => self.break_line(&mut out),
                '\t' => (0..4).for_each(|_| self.put_blank(&mut out)),
                ' ' => self.put_blank(&mut out),
                control if control.is_control() => {}
                visible => self.put(visible, &mut out),
            }
        }
        out
    }

    /// What to write so that the next text starts on a line of its own.
    pub(crate) fn finish_line(&mut self) -> &'static str {
        let end = if self.at_line_start() { "" } else { "\n" };
        self.end_word();
        self.column = 0;
        self.fence = Fence { at_line_start: true, ..Fence::default() };
        end
    }

    fn put(&mut self, char: char, out: &mut String) {
        self.fence.see(char);
        let width = char.width().unwrap_or(0);
        if self.column + width > self.width && !self.fence.inside {
            self.make_room(width, out);
        }
        out.push(char);
        self.column += width;
        self.word.push(char);
        self.word_width += width;
        // Scripts of wide characters write no blanks: a line may end behind any of them.
        if width > 1 {
            self.end_word();
        }
    }

    /// Moves the word to the next line, or breaks it where it is longer than a line.
    fn make_room(&mut self, width: usize, out: &mut String) {
        let movable = self.word_width > 0 && self.word_width < self.column && self.word_width + width <= self.width;
        if movable {
            let _ = write!(out, "\x1b[{}D\x1b[K\n{}", self.word_width, self.word);
            self.column = self.word_width;
        } else {
            out.push('\n');
            self.column = 0;
            self.end_word();
        }
    }

    fn put_blank(&mut self, out: &mut String) {
        self.end_word();
        self.fence.at_line_start = false;
        if self.column < self.width || self.fence.inside {
            out.push(' ');
            self.column += 1;
        } else {
            out.push('\n');
            self.column = 0;
        }
    }

    fn break_line(&mut self, out: &mut String) {
        self.end_word();
        self.fence.see_line_end();
        out.push('\n');
        self.column = 0;
    }

    fn end_word(&mut self) {
        self.word.clear();
        self.word_width = 0;
    }
}

impl Fence {
    fn see(&mut self, char: char) {
        if !self.at_line_start {
            return;
        }
        if char == '`' {
            self.backticks += 1;
        } else {
            self.at_line_start = false;
        }
        if self.backticks == 3 {
            self.inside = !self.inside;
            self.at_line_start = false;
        }
    }

    fn see_line_end(&mut self) {
        self.at_line_start = true;
        self.backticks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal shows after all was written: it knows line feeds, steps to the left, and erasing to the end.
    fn shown(output: &str) -> Vec<String> {
        let (mut lines, mut column) = (vec![Vec::<char>::new()], 0usize);
        let mut chars = output.chars();
        while let Some(char) = chars.next() {
            let line = lines.last_mut().expect("there is always a line");
            match char {
                '\n' => {
                    lines.push(Vec::new());
                    column = 0;
                }
                '\x1b' => {
                    let sequence: String = chars.by_ref().take_while(|c| !"DK".contains(*c)).collect();
                    match sequence.trim_start_matches('[').parse::<usize>() {
                        Ok(steps) => column -= steps,
                        Err(_) => line.truncate(column),
                    }
                }
                visible => {
                    line.truncate(column);
                    line.push(visible);
                    column += 1;
                }
            }
        }
        lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
    }

    const TEXT: &str = "the quick brown fox\n\njumps over the extraordinarilylongword and  on";
    const WRAPPED: [&str; 9] =
        ["the quick", "brown fox", "", "jumps over", "the", "extraordina", "rilylongwor", "d and  on", ""];

    #[test]
    fn text_is_wrapped_at_words_and_nothing_else_changes() {
        let out = Wrapper::new(12).push(TEXT);
        assert_eq!(shown(&out), WRAPPED[..8]);
    }

    #[test]
    fn any_split_of_the_text_looks_the_same() {
        for size in 1..TEXT.len() {
            let mut wrapper = Wrapper::new(12);
            let chars: Vec<char> = TEXT.chars().collect();
            let out: String = chars.chunks(size).map(|chunk| wrapper.push(&chunk.iter().collect::<String>())).collect();
            assert_eq!(shown(&out), WRAPPED[..8], "chunks of {size}");
        }
    }

    #[test]
    fn wide_characters_count_twice_and_break_anywhere() {
        let out = Wrapper::new(9).push("日本語日本語");
        assert_eq!(shown(&out), ["日本語日", "本語"]);
    }

    #[test]
    fn code_between_fences_is_left_alone() {
        let code = "```rust\nlet a_long_line = of_code();\n```\n";
        let mut wrapper = Wrapper::new(12);
        assert_eq!(wrapper.push(code), code);
        assert_eq!(shown(&wrapper.push("wrapped again now")), ["wrapped", "again now"]);
    }

    #[test]
    fn a_reply_cannot_steer_the_terminal() {
        assert_eq!(Wrapper::new(80).push("a\x1b[2Jb\x07\rc"), "a[2Jbc");
    }

    #[test]
    fn a_line_is_finished_once() {
        let mut wrapper = Wrapper::new(80);
        assert_eq!(wrapper.finish_line(), "");
        wrapper.push("x");
        assert_eq!((wrapper.finish_line(), wrapper.finish_line()), ("\n", ""));
    }
}
