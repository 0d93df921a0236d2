//! The ways in which the upstream can behave, as a test writes them down.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::wire::Wire;

/// What the upstream does with one request.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Says the truth, in its manner.
    Say(Manner),
    /// Says exactly this, whatever it was asked. The body ends cleanly where the steps end.
    Script(Vec<Step>, Wire),
    /// Answers with something other than a stream.
    Status { status: u16, headers: Vec<(&'static str, &'static str)>, body: String },
    /// Takes the request and never answers.
    Hang,
    /// One of these, by chance.
    Any(Arc<Mutex<fastrand::Rng>>, Vec<Behaviour>),
}

impl Behaviour {
    /// An error in `OpenAI`'s shape.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let error =
            json!({"error": {"message": message, "type": "invalid_request_error", "code": code, "param": null}});
        Self::Status { status, headers: Vec::new(), body: error.to_string() }
    }

    /// A page of a proxy in between.
    pub fn html(status: u16) -> Self {
        let body = "<!doctype html><html><body><h1>Bad gateway</h1></body></html>".to_owned();
        Self::Status { status, headers: vec![("content-type", "text/html")], body }
    }

    /// One of these by chance, which a seed determines.
    pub fn any(seed: u64, behaviours: Vec<Self>) -> Self {
        Self::Any(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))), behaviours)
    }

    /// A stream of these steps, on a well-formed wire.
    pub fn script(steps: impl Into<Vec<Step>>) -> Self {
        Self::Script(steps.into(), Wire::default())
    }
}

impl From<Manner> for Behaviour {
    fn from(manner: Manner) -> Self {
        Self::Say(manner)
    }
}

/// One thing that the upstream does while it streams.
#[derive(Debug, Clone)]
pub enum Step {
    /// A chunk with one choice and this delta.
    Delta(Value),
    /// A chunk with exactly this, besides what every chunk has.
    Chunk(Value),
    /// The chunk that carries the finish reason.
    Finish(&'static str),
    /// These bytes, as they are.
    Raw(String),
    /// The same, where they are no text.
    Bytes(&'static [u8]),
    /// These bytes, over and over, with a pause after each.
    Repeat(String, Duration),
    /// `data: [DONE]`.
    Done,
    Pause(Duration),
    /// Says nothing more and keeps the connection.
    Hang,
    Break(Break),
}

impl Step {
    pub fn text(text: &str) -> Self {
        Self::Delta(json!({"content": text}))
    }

    /// A fragment of a tool call; what is `None` is not sent.
    pub fn call(index: u64, id: Option<&str>, name: Option<&str>, arguments: Option<&str>) -> Self {
        let mut call = json!({"index": index, "type": "function", "function": {}});
        if let Some(id) = id {
            call["id"] = id.into();
        }
        for (key, value) in [("name", name), ("arguments", arguments)] {
            if let Some(value) = value {
                call["function"][key] = value.into();
            }
        }
        Self::Delta(json!({"tool_calls": [call]}))
    }

    pub fn usage(prompt: u64, completion: u64) -> Self {
        let total = prompt + completion;
        let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total});
        Self::Chunk(json!({"choices": [], "usage": usage}))
    }
}

/// How an answer breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The body ends cleanly, with neither a reason nor `[DONE]`.
    Clean,
    /// The connection is closed inside the body.
    Closed,
    /// The connection is reset inside the body.
    Reset,
    /// Nothing more comes, and the connection stays.
    Silent,
}

/// How the text is cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// `alder001`, ` birch002`: as most models do.
    SpaceFirst,
    /// `alder001 `, `birch002 `.
    SpaceLast,
    /// So many letters at a time, across words.
    Letters(usize),
}

/// What the upstream thinks of a final assistant message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefill {
    Accepted,
    /// 400, unless some message tells it to go on.
    RefusedUnlessTold,
    /// 400 always.
    Refused,
}

/// How the upstream says the truth.
#[derive(Debug, Clone)]
pub struct Manner {
    pub pace: Duration,
    pub tokens: Tokens,
    /// So many words of the prefix are said again where it continues.
    pub repeats: usize,
    /// What it says before it continues.
    pub says_first: Option<&'static str>,
    /// It forgets the space at the seam where the prefix lost its own. Goes with [`Tokens::SpaceLast`]: only
    /// there does the client have that space already.
    pub drops_space: bool,
    pub prefill: Prefill,
    /// Fields of the request that it answers with a 400.
    pub rejects: Vec<&'static str>,
    /// The most messages it takes before it says that the context is too long.
    pub most_messages: usize,
    /// After so many tokens of this answer, it breaks off.
    pub breaks: Option<(usize, Break)>,
    pub finish: Option<&'static str>,
    pub done: bool,
    pub wire: Wire,
}

impl Manner {
    pub const fn polite() -> Self {
        Self {
            pace: Duration::ZERO,
            tokens: Tokens::SpaceFirst,
            repeats: 0,
            says_first: None,
            drops_space: false,
            prefill: Prefill::Accepted,
            rejects: Vec::new(),
            most_messages: usize::MAX,
            breaks: None,
            finish: Some("stop"),
            done: true,
            wire: Wire::POLITE,
        }
    }

    /// A token every so many milliseconds.
    pub const fn paced(milliseconds: u64) -> Self {
        let mut manner = Self::polite();
        manner.pace = Duration::from_millis(milliseconds);
        manner
    }

    pub fn breaking(mut self, after_tokens: usize, how: Break) -> Self {
        self.breaks = Some((after_tokens, how));
        self
    }

    pub fn tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = tokens;
        self
    }

    pub fn repeating(mut self, words: usize) -> Self {
        self.repeats = words;
        self
    }

    pub fn chatty(mut self, first: &'static str) -> Self {
        self.says_first = Some(first);
        self
    }

    pub fn dropping_the_space(mut self) -> Self {
        self.drops_space = true;
        self.tokens(Tokens::SpaceLast)
    }

    pub fn prefill(mut self, prefill: Prefill) -> Self {
        self.prefill = prefill;
        self
    }

    pub fn rejecting(mut self, field: &'static str) -> Self {
        self.rejects.push(field);
        self
    }

    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    pub fn finishing(mut self, reason: Option<&'static str>, done: bool) -> Self {
        (self.finish, self.done) = (reason, done);
        self
    }

    /// Every bad manner that a continuation has to get over, each with tokens that make it hard.
    pub fn all_bad() -> Vec<Self> {
        let bytewise = Wire { piece: Some(1), ..Wire::POLITE };
        vec![
            Self::polite(),
            Self::polite().tokens(Tokens::Letters(3)),
            Self::polite().repeating(1),
            Self::polite().repeating(3).tokens(Tokens::SpaceLast),
            Self::polite().repeating(2).tokens(Tokens::Letters(5)),
            Self::polite().chatty("Sure, continuing:"),
            Self::polite().chatty("Sure, continuing:\n\n").repeating(2).tokens(Tokens::SpaceLast),
            Self::polite().dropping_the_space(),
            Self::polite().dropping_the_space().wire(bytewise),
            Self::polite().prefill(Prefill::RefusedUnlessTold),
            Self::polite().prefill(Prefill::RefusedUnlessTold).chatty("Sure, continuing:").repeating(1),
            Self::polite().tokens(Tokens::Letters(1)).wire(Wire { piece: Some(7), eol: "\r\n", ..Wire::POLITE }),
        ]
    }

    /// The same, with a word every so many milliseconds.
    pub fn at_pace(mut self, milliseconds: u64) -> Self {
        // A word has about nine letters, with the space.
        let tokens_a_word = if let Tokens::Letters(letters) = self.tokens { 9 / letters.min(9) } else { 1 };
        self.pace = Duration::from_millis(milliseconds) / u32::try_from(tokens_a_word).expect("at most nine");
        self
    }
}
