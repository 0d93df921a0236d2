//! Where a reply is shown. On a terminal it is wrapped, and what is not the reply itself (reasoning, calls, notices) is
//! dim; for a script the reply goes to standard output as it is, and all else to standard error.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use super::wrap::Wrapper;
use crate::cli::event::{Ending, Happened};

/// The place to show things.
pub(crate) struct Screen<W = io::Stdout, A = io::Stderr> {
    out: W,
    /// For what is not the reply, where that is not to be in `out`.
    aside: A,
    layout: Layout,
    colour: bool,
    shows: Shows,
    paragraph: bool,
}

/// How text is laid out.
enum Layout {
    Terminal(Wrapper),
    /// As it is; whether the last character was the end of a line.
    Plain {
        at_line_start: bool,
    },
}

/// What was shown last, so that one thing is set apart from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    Text,
    Reasoning,
}

const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default();
const DEFAULT_COLUMNS: usize = 80;

impl Screen {
    /// The process's own output.
    pub(crate) fn of_process() -> Self {
        let (out, aside) = (io::stdout(), io::stderr());
        let terminal = out.is_terminal();
        let colour = crate::cli::colour::is_wanted() && if terminal { true } else { aside.is_terminal() };
        Self::new(out, aside, terminal.then(columns), colour)
    }
}

impl<W: Write, A: Write> Screen<W, A> {
    /// A screen of as many columns; none for one that is read by a program.
    pub(crate) fn new(out: W, aside: A, columns: Option<usize>, colour: bool) -> Self {
        let layout =
            columns.map_or(Layout::Plain { at_line_start: true }, |columns| Layout::Terminal(Wrapper::new(columns)));
        Self { out, aside, layout, colour, shows: Shows::Nothing, paragraph: false }
    }

    /// Shows what happened in a reply.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn show(&mut self, happened: &Happened) -> io::Result<()> {
        match happened {
            Happened::Text(text) => self.reply(text, Shows::Text),
            Happened::Reasoning(text) => self.reply(text, Shows::Reasoning),
            Happened::Paragraph => {
                self.paragraph = true;
                Ok(())
            }
            Happened::Call { name, arguments } => self.notice(&format!("→ {name}({arguments})")),
            Happened::Ended(ending) => self.end(ending),
            Happened::Started(_) | Happened::Failing(_) | Happened::Nothing => Ok(()),
        }
    }

    /// Shows something that is not the reply, on a line of its own.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn notice(&mut self, text: &str) -> io::Result<()> {
        self.line(text, DIM)
    }

    /// Shows what went wrong.
    ///
    /// # Errors
    /// When nobody reads any more.
    pub(crate) fn problem(&mut self, text: &str) -> io::Result<()> {
        self.line(text, BAD)
    }

    fn reply(&mut self, text: &str, kind: Shows) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.shows != kind || std::mem::take(&mut self.paragraph) {
            self.finish_line()?;
            self.paragraph = false;
            self.shows = kind;
        }
        let style = if kind == Shows::Reasoning && self.colour { DIM } else { Style::new() };
        match &mut self.layout {
            Layout::Terminal(wrapper) => {
                wrapper.resize(columns());
                let text = wrapper.push(text);
                write!(self.out, "{style}{text}{style:#}")?;
                self.out.flush()
            }
            Layout::Plain { at_line_start } if kind == Shows::Text => {
                *at_line_start = text.ends_with('\n');
                self.out.write_all(text.as_bytes())?;
                self.out.flush()
            }
            Layout::Plain { .. } => write!(self.aside, "{style}{text}{style:#}"),
        }
    }

    fn end(&mut self, ending: &Ending) -> io::Result<()> {
        self.finish_line()?;
        self.shows = Shows::Nothing;
        match ending {
            Ending::Complete => Ok(()),
            Ending::Stopped => self.notice("(stopped)"),
            Ending::Cut(reason) => self.problem(&format!("(cut short: {reason})")),
            Ending::Failed(reason) => self.problem(&format!("(failed: {reason})")),
        }
    }

    fn line(&mut self, text: &str, style: Style) -> io::Result<()> {
        self.finish_line()?;
        self.shows = Shows::Nothing;
        let style = if self.colour { style } else { Style::new() };
        match &self.layout {
            // Not wrapped: a command or an id that is shown is there to be copied.
            Layout::Terminal(_) => writeln!(self.out, "{style}{}{style:#}", harmless(text)),
            Layout::Plain { .. } => writeln!(self.aside, "{style}{}{style:#}", harmless(text)),
        }
    }

    /// Ends the line that is being written, if one is. Reasoning that was written aside is ended there.
    fn finish_line(&mut self) -> io::Result<()> {
        match &mut self.layout {
            Layout::Terminal(wrapper) => self.out.write_all(wrapper.finish_line().as_bytes()),
            Layout::Plain { .. } if self.shows == Shows::Reasoning => self.aside.write_all(b"\n"),
            Layout::Plain { at_line_start } if !*at_line_start => {
                *at_line_start = true;
                self.out.write_all(b"\n")?;
                self.out.flush()
            }
            Layout::Plain { .. } => Ok(()),
        }
    }
}

/// Text without what could steer a terminal.
fn harmless(text: &str) -> String {
    text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect()
}

fn columns() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_COLUMNS, |(width, _)| width.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(columns: Option<usize>, colour: bool, all: &[Happened]) -> (String, String) {
        let (mut out, mut aside) = (Vec::new(), Vec::new());
        let mut screen = Screen::new(&mut out, &mut aside, columns, colour);
        for happened in all {
            screen.show(happened).unwrap();
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(aside).unwrap())
    }

    fn a_reply() -> Vec<Happened> {
        vec![
            Happened::Started("resp_1".into()),
            Happened::Reasoning("let me ".into()),
            Happened::Reasoning("think".into()),
            Happened::Call { name: "look".into(), arguments: "{}".into() },
            Happened::Text("the ".into()),
            Happened::Text("answer".into()),
            Happened::Ended(Ending::Complete),
        ]
    }

    #[test]
    fn a_script_gets_the_reply_alone() {
        let (out, aside) = shown(None, false, &a_reply());
        assert_eq!((out.as_str(), aside.as_str()), ("the answer\n", "let me think\n→ look({})\n"));
    }

    #[test]
    fn a_reader_sees_what_is_not_the_reply_set_apart_and_dim() {
        let (out, aside) = shown(Some(80), true, &a_reply());
        assert_eq!(out, "\x1b[2mlet me \x1b[0m\x1b[2mthink\x1b[0m\n\x1b[2m→ look({})\x1b[0m\nthe answer\n");
        assert_eq!(aside, "");
    }

    #[test]
    fn without_colour_nothing_but_text_is_written() {
        assert!(!shown(Some(80), false, &a_reply()).0.contains('\x1b'));
    }

    #[test]
    fn a_bad_end_is_shown() {
        for (ending, words) in [
            (Ending::Stopped, "stopped"),
            (Ending::Cut("max".into()), "cut short: max"),
            (Ending::Failed("x".into()), "failed: x"),
        ] {
            let (out, aside) = shown(None, false, &[Happened::Text("so far".into()), Happened::Ended(ending)]);
            assert!(out == "so far\n" && aside.contains(words), "{words}");
        }
    }

    #[test]
    fn two_texts_are_two_paragraphs() {
        let all = [
            Happened::Text("one".into()),
            Happened::Paragraph,
            Happened::Text("two".into()),
            Happened::Ended(Ending::Complete),
        ];
        assert_eq!(shown(None, false, &all).0, "one\ntwo\n");
    }
}
