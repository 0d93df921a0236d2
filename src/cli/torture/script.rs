//! How the torture's upstream behaves: a function of the seed, of what it is asked, and of how often it was asked that
//! before. Pure: it knows neither sockets nor a clock.
//!
//! It is impolite in every way that a client must get over, and never so impolite that a reply has to fail: a call that
//! may bring nothing is followed by one that does.

use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use super::truth::{hash, is_prompt, truth, word_starts};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The user's last message.
    pub(super) prompt: String,
    /// The text that the answer has to continue.
    pub(super) prefix: Option<String>,
    /// The user's earlier messages, oldest first.
    pub(super) before: Vec<String>,
    /// Whether the request instructs what to do with the prefix, other than by its place.
    instructed: bool,
    /// Whether the model is one that needs instructions.
    wants_instruction: bool,
}

/// A model that continues a final assistant message, wherever that was cut.
pub(super) const PREFILLED: &str = "truth";

/// A model that needs instructions. Its splice cannot be found inside a word, so its output is only cut between two.
pub(super) const INSTRUCTED: &str = "instructed";

/// How one call is answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Manner {
    pub(super) refuses: Option<Refusal>,
    /// Before the first token.
    pub(super) thinks: Duration,
    /// Between two tokens.
    pub(super) pace: Duration,
    /// Stalls for so long after so many tokens.
    pub(super) pause: Option<(usize, Duration)>,
    /// Breaks off after so many tokens.
    pub(super) breaks: Option<(usize, Break)>,
    /// So many letters to a token; else a word.
    pub(super) letters: Option<usize>,
    /// So many words of the prefix are repeated.
    pub(super) repeats: usize,
    /// Announces that it will continue before it does.
    pub(super) chats: bool,
}

/// An answer that is no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 500
    Broken,
    /// 429 with `retry-after: 1`
    Busy,
}

/// How a stream breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// The body ends cleanly, with neither a reason nor `[DONE]`.
    Clean,
    /// The connection is closed inside the body (FIN).
    Closed,
    /// The connection is reset inside the body (RST).
    Reset,
}

/// What no correct server would have asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nonsense(pub(super) String);

impl Asked {
    /// Reads a request for a completion.
    pub(super) fn read(body: &Value) -> Self {
        let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is = |message: &Value, role: &str| message["role"] == role;
        let instructs =
            |message: &Value| !is(message, "assistant") && text_of(message).to_lowercase().contains("continu");
        let instructed_last = messages.len() > 1
            && messages.last().is_some_and(|last| is(last, "user") && instructs(last))
            && is(&messages[messages.len() - 2], "assistant");
        let turns = &messages[..messages.len() - usize::from(instructed_last)];
        let prefix = turns.last().filter(|last| is(last, "assistant")).map(text_of);
        let users = turns.iter().filter(|message| is(message, "user")).map(text_of);
        // A server may merge messages of one role.
        let mut before: Vec<_> = users.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        before.retain(|line| is_prompt(line));
        let prompt = before.pop().unwrap_or_default();
        let wants_instruction = body["model"] == INSTRUCTED;
        Self { prompt, prefix, before, instructed: messages.iter().any(instructs), wants_instruction }
    }

    /// The tokens of the answer.
    pub(super) fn answer(&self, manner: &Manner) -> Result<Vec<String>, Nonsense> {
        let truth = truth(&self.prompt);
        let text = match self.prefix.as_deref() {
            None => truth,
            Some(prefix) => proceed(&truth, prefix, manner)?,
        };
        Ok(cut(&text, manner.letters))
    }

    /// Whether the answer is a 400, since it does not continue without an instruction.
    pub(super) const fn lacks_instruction(&self) -> bool {
        self.wants_instruction && self.prefix.is_some() && !self.instructed
    }
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

impl Manner {
    /// The manner of an upstream that is always quick: a token every `pace`.
    pub(super) const fn polite(pace: Duration) -> Self {
        Self {
            refuses: None,
            thinks: Duration::ZERO,
            pace,
            pause: None,
            breaks: None,
            letters: None,
            repeats: 0,
            chats: false,
        }
    }

    /// The manner of the call number `call` for this prompt. `barren`: the one before may have brought nothing.
    pub(super) fn choose(seed: u64, asked: &Asked, call: u32, barren: bool) -> Self {
        let mut random = Rng::with_seed(seed ^ hash(&asked.prompt).rotate_left(17));
        let pace = Duration::from_millis([2, 10, 25, 60][random.usize(..4)]);
        let letters = [None, None, Some(1), Some(5)][random.usize(..4)].filter(|_| !asked.wants_instruction);
        let mut random = Rng::with_seed(random.u64(..) ^ u64::from(call));
        // A word has about ten letters: its pace is the same, however it is cut.
        let pace = letters.map_or(pace, |letters| pace * u32::try_from(letters).unwrap_or(1) / 10);
        let mut manner = Self { letters, ..Self::polite(pace) };
        manner.repeats = [0, 0, 1, 3][random.usize(..4)];
        manner.chats = random.u8(..6) == 0;
        match random.u8(..12) {
            0 if !barren => manner.refuses = Some(Refusal::Broken),
            1 if !barren => manner.refuses = Some(Refusal::Busy),
            2..=4 if !barren => {
                let how = [Break::Clean, Break::Closed, Break::Reset][random.usize(..3)];
                manner.breaks = Some((random.usize(3..60), how));
            }
            5 => manner.thinks = Duration::from_millis(random.u64(300..2500)),
            6 | 7 => manner.pause = Some((random.usize(2..40), Duration::from_millis(random.u64(300..2500)))),
            _ => {}
        }
        manner
    }

    /// Whether a call with this manner may produce nothing that is stored.
    pub(super) const fn may_be_barren(&self) -> bool {
        self.refuses.is_some() || self.breaks.is_some()
    }
}

/// The text after `prefix`, bad manners included.
fn proceed(truth: &str, prefix: &str, manner: &Manner) -> Result<String, Nonsense> {
    let Some(rest) = truth.strip_prefix(prefix) else {
        return Err(Nonsense(format!("asked to continue from {prefix:?}, which was never generated: {truth:?}")));
    };
    if prefix.ends_with(char::is_whitespace) {
        return Err(Nonsense(format!("the prefix ends in white space: {prefix:?}")));
    }
    let inside_a_word = !rest.is_empty() && !rest.starts_with(' ');
    let starts = word_starts(prefix);
    if starts.is_empty() || (inside_a_word && starts.len() < 2) {
        // A single broken word is too little to distinguish an overlap from new text.
        return Ok(rest.to_owned());
    }
    // One that begins again does so at a whole word; two at least, so that it can be recognised.
    let back =
        if inside_a_word && (manner.chats || manner.repeats > 0) { manner.repeats.max(2) } else { manner.repeats };
    let from = if back == 0 { prefix.len() } else { starts[starts.len() - back.min(starts.len())] };
    let text = &truth[from..];
    Ok(if manner.chats { format!("Sure, continuing: {}", text.trim_start()) } else { text.to_owned() })
}

/// A text in tokens: words, each with the space before it, or so many letters.
fn cut(text: &str, letters: Option<usize>) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for (number, letter) in text.chars().enumerate() {
        let begins = letters.map_or(letter == ' ', |most| number % most == 0);
        match tokens.last_mut() {
            Some(token) if !begins => token.push(letter),
            _ => tokens.push(letter.to_string()),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::torture::truth::prompt;
    use serde_json::json;

    fn asked(prompt: &str) -> Asked {
        Asked::read(&json!({"model": PREFILLED, "messages": [{"role": "user", "content": prompt}]}))
    }

    #[test]
    fn with_any_manner_it_generates_the_rest_of_the_truth() {
        let prompt = prompt(20, "manners");
        let truth = truth(&prompt);
        let asked = |prefix: Option<String>| Asked { prefix, ..asked(&prompt) };
        for call in 0..200 {
            let manner = Manner::choose(7, &asked(None), call, false);
            for at in (1..truth.len()).filter(|at| truth.is_char_boundary(*at)) {
                let prefix = truth[..at].trim_end().to_owned();
                let output = asked(Some(prefix)).answer(&manner).unwrap().concat();
                assert!(output.ends_with(truth[at..].trim_start()), "{output:?}");
            }
        }
    }

    #[test]
    fn two_calls_in_a_row_never_bring_nothing_and_every_manner_occurs() {
        let (mut refused, mut broke, mut thought, mut paused) = (0, 0, 0, 0);
        for number in 0..400 {
            let asked = asked(&prompt(9, &number.to_string()));
            let first = Manner::choose(1, &asked, 0, false);
            assert!(!Manner::choose(1, &asked, 1, true).may_be_barren());
            assert_eq!(first, Manner::choose(1, &asked, 0, false), "the same seed, the same manner");
            refused += u32::from(first.refuses.is_some());
            broke += u32::from(first.breaks.is_some());
            thought += u32::from(!first.thinks.is_zero());
            paused += u32::from(first.pause.is_some());
        }
        assert!(refused > 9 && broke > 9 && thought > 9 && paused > 9);
    }

    #[test]
    fn a_request_is_read_with_and_without_an_instruction() {
        let message = |role: &str, text: &str| json!({"role": role, "content": text});
        let (one, two) = (prompt(1, "one"), prompt(2, "two"));
        let turns =
            vec![message("user", &one), message("assistant", "x"), message("user", &two), message("assistant", "y")];
        let bare = Asked::read(&json!({"model": INSTRUCTED, "messages": turns}));
        assert_eq!((&*bare.prompt, bare.prefix.as_deref(), &bare.before[..]), (&*two, Some("y"), &[one][..]));
        assert!(bare.lacks_instruction());
        assert!(!Asked::read(&json!({"model": PREFILLED, "messages": turns})).lacks_instruction());
        let instructed = [turns, vec![message("user", "Continue exactly there.")]].concat();
        let instructed = Asked::read(&json!({"model": INSTRUCTED, "messages": instructed}));
        assert_eq!(
            (&*instructed.prompt, instructed.prefix.as_deref(), instructed.lacks_instruction()),
            (&*two, Some("y"), false)
        );
    }

    #[test]
    fn a_prefix_that_was_never_generated_is_nonsense() {
        let asked = |prefix: &str| {
            let prefix = Some(prefix.to_owned());
            Asked { prefix, ..asked(&prompt(5, "x")) }.answer(&Manner::polite(Duration::ZERO))
        };
        assert!(asked("something else").is_err());
        let word = truth(&prompt(5, "x")).split(' ').next().unwrap().to_owned();
        assert!(asked(&word).is_ok() && asked(&format!("{word} ")).is_err());
    }
}
