//! The built-in models, which need no server. Same call, same deltas, no HTTP.
//!
//! Their output is determined by the call, so that they continue any prefix without a break.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::call::{Call, Continuation};
use super::delta::{Delta, FinishReason, UpstreamError};
use super::models::Model;
use super::{eliza, failure};
use crate::domain::event::Usage;
use crate::domain::items::{Item, Message, Part, Role};
use crate::domain::params::Params;
use crate::offload::offload;

/// How fast ELIZA generates.
const ELIZA_PACE: Duration = Duration::from_millis(30);

/// The slowest pace of `echo-<n>ms`, in milliseconds a word.
const MAX_PACE_MS: u64 = 10_000;

/// The longest piece that is emitted at once: a word, or that much of a text without spaces.
const MAX_PIECE_BYTES: usize = 256;

/// The output of `echo` for an empty input.
const NOTHING: &str = "…";

/// A built-in model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    /// The program of 1966.
    Eliza,
    /// Repeats the input, word by word.
    Echo {
        /// The time between two words; `None`: all at once.
        pace: Option<Duration>,
    },
}

impl Builtin {
    /// The built-in model of a name: `eliza`, `echo`, or `echo-<n>ms` with n from 1 to 10000.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "eliza" => Some(Self::Eliza),
            "echo" => Some(Self::Echo { pace: None }),
            _ => {
                let digits = name.strip_prefix("echo-")?.strip_suffix("ms")?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
                let pace = digits.parse().ok().filter(|pace| plain && (1..=MAX_PACE_MS).contains(pace))?;
                Some(Self::Echo { pace: Some(Duration::from_millis(pace)) })
            }
        }
    }

    /// Those that are listed; `echo` has other paces besides.
    pub(crate) fn list() -> impl Iterator<Item = Model> {
        let model =
            |id: &str| Model { id: id.to_owned(), created: 0, owned_by: "rejoinder".to_owned(), context_window: None };
        ["eliza", "echo", "echo-50ms"].into_iter().map(model)
    }

    /// Starts to generate. Needs a runtime only if the model has a pace.
    pub(super) fn start(self, call: &Call, deadline: Instant) -> (Continuation, Speech) {
        offload(call.text_bytes(), || self.prepare(call, deadline))
    }

    fn prepare(self, call: &Call, deadline: Instant) -> (Continuation, Speech) {
        let text = match self {
            Self::Eliza => eliza_output(call),
            Self::Echo { .. } => echo_output(call),
        };
        let pace = match self {
            Self::Eliza => Some(ELIZA_PACE),
            Self::Echo { pace } => pace,
        };
        let prefix = call.prefix.as_ref().map_or("", |prefix| prefix.text.trim_end());
        let continuation = if prefix.is_empty() { Continuation::Fresh } else { Continuation::Prefill };
        (continuation, Speech::new(text, prefix, &call.params, words_heard(call), pace, deadline))
    }
}

/// A text that is being generated.
#[derive(Debug)]
pub(super) struct Speech {
    text: String,
    /// How many bytes of it were emitted.
    at: usize,
    /// How many more words may be emitted.
    left: u64,
    usage: Usage,
    stage: Stage,
    pace: Option<Pin<Box<Interval>>>,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Speaking,
    TextDone,
    Finished,
    Ended,
}

impl Speech {
    fn new(text: String, prefix: &str, params: &Params, input: u64, pace: Option<Duration>, deadline: Instant) -> Self {
        let generated_words = pieces(prefix).count();
        let at = match text.strip_prefix(prefix) {
            Some(_) => prefix.len(),
            // Another version generated something else: skip as many words as it did.
            None => pieces(&text).take(generated_words).map(str::len).sum(),
        };
        let left = params.max_output_tokens.unwrap_or(u64::MAX);
        let pace = pace.map(|pace| {
            let mut pace = interval(pace);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Box::pin(pace)
        });
        // The prefix was given to it, too, as it is to a model.
        let usage = Usage { input: input + generated_words as u64, ..Usage::default() };
        Self { text, at, left, usage, stage: Stage::Speaking, pace, deadline }
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delta, UpstreamError>>> {
        let rest = &self.text[self.at..];
        if self.stage == Stage::Speaking && !rest.is_empty() && self.left > 0 {
            match &mut self.pace {
                Some(pace) => {
                    ready!(pace.poll_tick(cx));
                    if Instant::now() >= self.deadline {
                        self.stage = Stage::Ended;
                        let cause = "the deadline of the reply passed";
                        return Poll::Ready(Some(Err(failure::unreachable("The reply took too long.", cause))));
                    }
                }
                // A long text is no reason to keep others from being served.
                None => ready!(tokio::task::coop::poll_proceed(cx)).made_progress(),
            }
            let piece = &rest[..piece_length(rest)];
            self.at += piece.len();
            self.left -= 1;
            self.usage.output += 1;
            return Poll::Ready(Some(Ok(Delta::Content { text: piece.to_owned(), logprobs: Vec::new() })));
        }
        let (stage, delta) = match self.stage {
            Stage::Speaking => {
                self.usage.total = self.usage.input + self.usage.output;
                (Stage::TextDone, Delta::Usage(self.usage))
            }
            Stage::TextDone => {
                let reason = if rest.is_empty() { FinishReason::Stop } else { FinishReason::Length };
                (Stage::Finished, Delta::Finish(reason))
            }
            Stage::Finished | Stage::Ended => {
                self.stage = Stage::Ended;
                return Poll::Ready(None);
            }
        };
        self.stage = stage;
        Poll::Ready(Some(Ok(delta)))
    }
}

fn eliza_output(call: &Call) -> String {
    let turns: Vec<String> = call.context.iter().filter_map(|entry| user_text(&entry.item)).collect();
    let recent = turns.len().saturating_sub(eliza::MAX_TURNS);
    eliza::answer(turns[recent..].iter().map(String::as_str))
}

fn echo_output(call: &Call) -> String {
    let last = call.context.iter().rev().find_map(|entry| match &entry.item {
        Item::FunctionCallOutput(output) => match &output.output {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
        item => user_text(item),
    });
    last.filter(|text| !text.is_empty()).unwrap_or_else(|| NOTHING.to_owned())
}

fn user_text(item: &Item) -> Option<String> {
    match item {
        Item::Message(Message { role: Role::User, content, .. }) => match content.as_slice() {
            [part] => Some(part.text().to_owned()),
            parts => Some(parts.iter().map(Part::text).collect::<Vec<_>>().join("\n")),
        },
        _ => None,
    }
}

/// Words of everything that the model was given.
fn words_heard(call: &Call) -> u64 {
    let count = |text: &str| text.split_whitespace().count();
    let items = call.context.iter().map(|entry| match &entry.item {
        Item::Message(message) => message.content.iter().map(|part| count(part.text())).sum(),
        Item::FunctionCall(call) => count(&call.arguments),
        Item::FunctionCallOutput(output) => output.output.as_str().map_or(0, count),
        Item::Reasoning(_) => 0,
    });
    let instructions = call.params.instructions.as_deref().map_or(0, count);
    (items.sum::<usize>() + instructions) as u64
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(piece_length(rest));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The length of the next piece: a word with the space before it, as model servers cut them. The space at the very
/// end goes with the last word.
fn piece_length(text: &str) -> usize {
    // No further than that: a text without a space would be looked through again for every piece.
    let near = &text[..text.floor_char_boundary(MAX_PIECE_BYTES + 1)];
    let spaces = near.len() - near.trim_start().len();
    let word = near[spaces..].find(char::is_whitespace).map_or(near.len(), |length| spaces + length);
    let is_last = near.len() == text.len() && near[word..].trim_start().is_empty();
    let piece = if is_last { text.len() } else { word };
    if piece <= MAX_PIECE_BYTES { piece } else { text.floor_char_boundary(MAX_PIECE_BYTES) }
}

#[cfg(test)]
mod tests;
