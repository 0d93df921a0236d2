//! The event builder turns an upstream's output into the events of a reply, item by item and part by part.
//!
//! It is made anew for every attempt, from the reply so far, and continues the item and part that are open. It holds
//! back what must not be sent by halves: the arguments of a function call, until they are complete. It does not know
//! upstreams, the log, or time.

mod answer;
mod calls;
mod ending;
mod options;
mod plan;
mod text_item;

#[cfg(test)]
pub(crate) use options::JsonForm;
pub(crate) use options::{Generated, Options};
pub(crate) use plan::Plan;

use serde_json::Value;

use self::answer::Answer;
use self::calls::Calls;
use self::text_item::TextItem;
use super::splice::Splice;
use crate::domain::event::{Event, Opening, PartKind, Usage};
use crate::domain::reply::Reply;
use crate::llm::call::Continuation;
use crate::llm::delta::{Delta, FinishReason, ToolCallDelta};
use crate::llm::provider_state;

/// Maps one attempt of an upstream to generate a reply, or to continue it.
///
/// What one call of a method adds to `out` belongs together: stored in one record, a takeover finds no item between
/// two states. (It would cope: the property tests cut anywhere but between an error and the end that it announces.)
#[derive(Debug)]
pub(crate) struct EventBuilder {
    options: Options,
    splice: Option<Splice>,
    next_item: u32,
    text_item: Option<TextItem>,
    calls: Calls,
    provider_state: Option<Value>,
    answer: Answer,
    attempt: Attempt,
    over: bool,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a broken attempt has to be followed by another, or by the reply's failure"]
pub(crate) enum Finished {
    /// The reply is over; its terminal event was given out.
    Ended,
    /// The summary that the reply begins with is made.
    Compacted,
    /// The reply is not over: continue it (see [`Plan::of`]), or [fail](EventBuilder::fail).
    Broken,
}

/// What is known of this attempt.
#[derive(Debug, Default)]
struct Attempt {
    /// It continues what was generated before, and reads that as a part of its prompt.
    continues: bool,
    /// Thoughts are not emitted before other output: it continues a message or a call.
    hides_thoughts: bool,
    /// An earlier attempt thought, and generated nothing else: the thoughts of this one are held until it does, so
    /// that attempts which come to nothing do not show.
    held_thoughts: Option<String>,
    /// It continues a refusal, whatever its upstream calls it.
    refusing: bool,
    heard: Heard,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
}

/// The most that was heard of an attempt.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    #[default]
    Nothing,
    Thoughts,
    Answer,
}

impl EventBuilder {
    /// A builder for the next attempt to generate `reply`, which is the reply after all its events so far.
    /// `continuation` is how the upstream was asked to continue.
    pub(crate) fn new(options: Options, reply: &Reply, continuation: Continuation) -> Self {
        let text_item = TextItem::taken_over(reply);
        let refusing = text_item.as_ref().is_some_and(|text_item| text_item.part() == PartKind::Refusal);
        let continues = matches!(Plan::of(reply), Plan::Continue(_));
        let hides_thoughts = continues || text_item.as_ref().is_some_and(TextItem::is_message);
        let thought_in_vain = !hides_thoughts && reply.answer().next().is_some();
        let text = reply.text();
        Self {
            splice: (!text.is_empty()).then(|| Splice::new(&text, continuation)),
            next_item: u32::try_from(reply.output().len()).expect("a reply has fewer items"),
            text_item,
            calls: Calls::taken_over(reply),
            provider_state: None,
            answer: Answer::of(reply, options.json.is_some()),
            attempt: Attempt {
                continues,
                hides_thoughts,
                refusing,
                held_thoughts: thought_in_vain.then(String::new),
                ..Attempt::default()
            },
            over: reply.end().is_some(),
            options,
        }
    }

    /// Takes the next delta. Deltas after the end are ignored.
    pub(crate) fn push(&mut self, delta: Delta, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        match delta {
            // How a summary comes about is not shown, and it calls nothing.
            Delta::Reasoning(_) if self.options.compacting => self.attempt.hear(Heard::Thoughts),
            Delta::ProviderState(_) | Delta::Refusal(_) | Delta::ToolCall(_) if self.options.compacting => {}
            Delta::Reasoning(text) => self.think(text, out),
            Delta::ProviderState(value) if !self.attempt.hides_thoughts => {
                provider_state::join(&mut self.provider_state, value);
            }
            Delta::ProviderState(_) => {}
            // It was to make arguments again; this is the text that came before them the last time.
            Delta::Content { .. } | Delta::Refusal(_) if self.calls.waiting() => {}
            Delta::Content { text, logprobs } => self.content(text, logprobs, out),
            Delta::Refusal(text) if self.attempt.refusing => self.content(text, Vec::new(), out),
            Delta::Refusal(text) => {
                self.flush_splice(out);
                self.emit(PartKind::Refusal, text, Vec::new(), out);
            }
            Delta::ToolCall(piece) => self.call(piece, out),
            Delta::Finish(reason) => self.attempt.finish = Some(reason),
            Delta::Usage(usage) => self.attempt.usage = Some(usage),
        }
    }

    /// Whether it has brought a word or a call. Thoughts alone cannot be continued: the next attempt has them anew.
    pub(crate) fn has_answered(&self) -> bool {
        self.attempt.heard == Heard::Answer
    }

    /// Whether it has brought thoughts, and nothing else.
    pub(crate) fn has_only_thought(&self) -> bool {
        self.attempt.heard == Heard::Thoughts
    }

    /// Tokens used by this and all earlier attempts, for the [`Options`] of the next one.
    pub(crate) fn usage(&self) -> Option<Usage> {
        match (self.options.usage_before, self.attempt.usage) {
            (_, Some(usage)) if self.attempt.continues => Some(self.options.usage_with(usage)),
            (Some(mut sum), Some(usage)) => {
                sum += usage;
                Some(sum)
            }
            (before, now) => before.or(now),
        }
    }
}

/// The upstream's output.
impl EventBuilder {
    fn think(&mut self, text: String, out: &mut Vec<Event>) {
        if !text.is_empty() {
            self.attempt.hear(Heard::Thoughts);
        }
        if let Some(held) = &mut self.attempt.held_thoughts {
            held.push_str(&text);
        } else if !self.attempt.hides_thoughts {
            let kind = if self.options.summary { PartKind::Summary } else { PartKind::Reasoning };
            self.emit(kind, text, Vec::new(), out);
        }
    }

    /// Emits the thoughts that were held: they led to something.
    pub(super) fn emit_thoughts(&mut self, out: &mut Vec<Event>) {
        if let Some(thoughts) = self.attempt.held_thoughts.take() {
            let kind = if self.options.summary { PartKind::Summary } else { PartKind::Reasoning };
            self.emit(kind, thoughts, Vec::new(), out);
        }
    }

    fn content(&mut self, text: String, logprobs: Vec<Value>, out: &mut Vec<Event>) {
        let Some(splice) = &mut self.splice else {
            return self.emit(PartKind::Text, text, logprobs, out);
        };
        let mended = splice.push(&text);
        if splice.is_mended() {
            self.splice = None;
        }
        let logprobs = if mended == text { logprobs } else { Vec::new() };
        self.emit(PartKind::Text, mended, logprobs, out);
    }

    /// Emits what the splice holds; there is no more text to wait for.
    fn flush_splice(&mut self, out: &mut Vec<Event>) {
        if let Some(mut splice) = self.splice.take() {
            self.emit(PartKind::Text, splice.finish(), Vec::new(), out);
        }
    }

    fn call(&mut self, piece: ToolCallDelta, out: &mut Vec<Event>) {
        if let Some(mut ready) = self.calls.push(piece) {
            self.emit_thoughts(out);
            self.flush_splice(out);
            self.close_text_item(false, out);
            self.calls.complete_whole(out);
            ready.keep(self.provider_state.take());
            self.calls.open(ready, self.next_item, out);
            self.next_item += 1;
        }
        if self.calls.any() && !self.calls.waiting() {
            self.attempt.hear(Heard::Answer);
        }
    }

    /// Emits text in a part of this kind, and opens and closes what has to be for it.
    fn emit(&mut self, kind: PartKind, text: String, logprobs: Vec<Value>, out: &mut Vec<Event>) {
        if text.is_empty() {
            return;
        }
        let (kind, logprobs) = match kind {
            PartKind::Text if self.attempt.refusing => (PartKind::Refusal, Vec::new()),
            kind => (kind, logprobs),
        };
        if text_item::is_message(kind) {
            self.emit_thoughts(out);
            self.attempt.hear(Heard::Answer);
        }
        let text_item = self.part(kind, out);
        let item = text_item.item();
        self.answer.add(kind, &text, self.options.json.is_some());
        out.push(Event::Delta { item, text, logprobs });
    }

    /// The open part of this kind; opened, if need be.
    fn part(&mut self, kind: PartKind, out: &mut Vec<Event>) -> &mut TextItem {
        if self.text_item.as_ref().is_some_and(|text_item| !text_item.takes(kind)) {
            self.close_text_item(false, out);
        }
        if self.text_item.is_none() {
            self.calls.complete_whole(out);
            if text_item::is_message(kind) {
                self.answer = Answer::default();
            }
        }
        let next_item = &mut self.next_item;
        let as_message = if self.options.compacting { Opening::Compaction } else { Opening::Message };
        let text_item = self.text_item.get_or_insert_with(|| {
            let text_item = TextItem::open(*next_item, kind, as_message, out);
            *next_item += 1;
            text_item
        });
        text_item.open_part(kind, out);
        text_item
    }
}

impl Attempt {
    fn hear(&mut self, what: Heard) {
        self.heard = self.heard.max(what);
        self.hides_thoughts &= what != Heard::Answer;
    }
}

#[cfg(test)]
mod tests;
