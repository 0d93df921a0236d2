//! What the person types: lines, several of them where wanted, their history, and the few commands. The terminal's side of
//! the chat; knows no server.

use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};

use crate::config::variable;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Message(String),
    Nothing,
    Help,
    /// Begin another conversation.
    New,
    /// Chat with another model, or with the server's own choice.
    Model(Option<String>),
    Unknown(String),
    Leave,
}

pub(crate) const HELP: &str = "\
  /new           begin another conversation
  /model NAME    chat with another model; without a name to the server's own
  /help          this
  /exit          leave (as Ctrl-D)
A line that ends in \\ goes on in the next one; \"\"\" opens and closes a block of lines.
Ctrl-C stops a reply that is being generated; twice at the prompt it leaves.";

/// Reads what is typed at a terminal.
pub(crate) struct Prompt {
    editor: Editor<Lines, FileHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// # Errors
    /// When the terminal cannot be used.
    pub(crate) fn open() -> Result<Self, ReadlineError> {
        let config =
            Config::builder().max_history_size(HISTORY_LENGTH)?.history_ignore_dups(true)?.history_ignore_space(true);
        let mut editor = Editor::with_config(config.build())?;
        editor.set_helper(Some(Lines));
        let history = history_file();
        if let Some(path) = &history {
            // The first time there is none.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    /// Waits for the next input. `None` stands for Ctrl-C, which only empties the line.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn read(&mut self) -> Result<Option<Input>, ReadlineError> {
        match self.editor.readline("> ") {
            Ok(line) => {
                self.remember(&line);
                Ok(Some(parse(&line)))
            }
            Err(ReadlineError::Eof) => Ok(Some(Input::Leave)),
            Err(ReadlineError::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// History is a convenience: if it cannot be stored, that is not reported.
    fn remember(&mut self, line: &str) {
        let _ = self.editor.add_history_entry(line);
        if let Some(path) = &self.history {
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = self.editor.append_history(path);
        }
    }
}

const HISTORY_LENGTH: usize = 1000;

/// As the XDG base directory specification has it for what a program remembers.
fn history_file() -> Option<PathBuf> {
    let set = |name: &str| variable(name).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("rejoinder/chat-history"))
}

/// Knows when an input is complete, and helps with nothing else.
struct Lines;

impl Helper for Lines {}
impl Highlighter for Lines {}
impl Hinter for Lines {
    type Hint = String;
}
impl Completer for Lines {
    type Candidate = String;
}

impl Validator for Lines {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(ctx.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

const BLOCK: &str = "\"\"\"";

fn is_complete(text: &str) -> bool {
    if text.trim_start().starts_with(BLOCK) { text.matches(BLOCK).count() >= 2 } else { !text.ends_with('\\') }
}

/// Reads an input that is complete, or as complete as it will get.
pub(crate) fn parse(text: &str) -> Input {
    let trimmed = text.trim();
    if let Some(block) = trimmed.strip_prefix(BLOCK) {
        return message(block.strip_suffix(BLOCK).unwrap_or(block).trim_matches('\n'));
    }
    let mut words = trimmed.split_whitespace();
    match words.next() {
        Some("/help" | "/?") => Input::Help,
        Some("/new") => Input::New,
        Some("/exit" | "/quit") => Input::Leave,
        Some("/model") => Input::Model(words.next().map(str::to_owned)),
        // A path such as /etc/hosts is a message.
        Some(word) if word.starts_with('/') && !word[1..].contains('/') && !trimmed.contains('\n') => {
            Input::Unknown(word.into())
        }
        _ => message(&trimmed.replace("\\\n", "\n")),
    }
}

fn message(text: &str) -> Input {
    if text.trim().is_empty() { Input::Nothing } else { Input::Message(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_goes_on_after_a_backslash_and_within_a_block() {
        for (text, complete) in [
            ("hi", true),
            ("hi \\", false),
            ("hi \\\nthere", true),
            ("\"\"\"", false),
            ("\"\"\"a\nb", false),
            ("\"\"\"a\nb\"\"\"", true),
            ("say \"\"\" plainly", true),
        ] {
            assert_eq!(is_complete(text), complete, "{text}");
        }
    }

    #[test]
    fn what_holds_lines_together_is_not_sent() {
        assert_eq!(parse("one \\\ntwo"), Input::Message("one \ntwo".into()));
        assert_eq!(parse("\"\"\"\n  one\n\ntwo\n\"\"\""), Input::Message("  one\n\ntwo".into()));
        assert_eq!(parse("\"\"\" \n\"\"\""), Input::Nothing);
        assert_eq!(parse("  \n"), Input::Nothing);
    }

    #[test]
    fn commands_are_distinguished_from_words() {
        assert_eq!(parse("/model  eliza"), Input::Model(Some("eliza".into())));
        assert_eq!(parse("/model"), Input::Model(None));
        assert_eq!(parse("/exit"), Input::Leave);
        assert_eq!(parse("/modle x"), Input::Unknown("/modle".into()));
        assert_eq!(parse("/etc/hosts is a file"), Input::Message("/etc/hosts is a file".into()));
    }
}
