//! Decodes what a Chat Completions server sends, chunk by chunk, into one vocabulary: every server's dialect ends here.
//!
//! Pure: others read the bytes and keep the time. Whether a stream ended well or only broke off is
//! decided in [`Decoder::end`] and [`Decoder::cut`].

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::call::Continuation;
use super::calls::Calls;
use super::chunk::{Choice, Chunk, WireUsage};
use super::delta::{Delta, FinishReason, UpstreamError};
use super::fence::Fence;
use super::reason::Reason;
use super::think::Think;
use super::unread::{self, Unread};
use super::written::Written;
use super::{failure, logprobs, reason};
use crate::domain::event::Usage;
use crate::domain::params::Params;
use crate::domain::surrogates::Halves;

mod data;
mod speech;

use data::Data;

/// Text that repeats all output so far, and is longer than this, is no coincidence.
const MIN_REPEATED: usize = 16;

/// The deltas that have been decoded and not been taken.
pub(crate) type Deltas = VecDeque<Delta>;

/// What was asked, as far as the answer has to be read by it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    /// The parameters: which functions there are, and whether the text has to be JSON.
    pub(crate) params: Option<Arc<Params>>,
    /// The function that has to be called.
    pub(crate) forced: Option<String>,
    /// How the answer continues the output so far.
    pub(crate) continuation: Continuation,
    /// The server's template opens the thoughts itself.
    pub(crate) thinks_from_the_start: bool,
    /// The server gives a reason to stop with every chunk.
    pub(crate) repeats_reasons: bool,
    /// The most that is taken of the answer, in bytes; absent: as much as comes.
    pub(crate) max_bytes: Option<usize>,
}

/// Reads the events of one stream.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "what came so far, in any combination")]
pub(crate) struct Decoder {
    think: Think,
    written: Written,
    fence: Fence,
    calls: Calls,
    /// Token probabilities whose text has not come yet.
    logprobs: Vec<Value>,
    /// Provider state that belongs to the thoughts; emitted when the thoughts are over.
    provider_state: Option<Value>,
    usage: Option<Usage>,
    reason: Option<FinishReason>,
    /// The reason is an unknown word, or names something that did not come: it counts only if
    /// something else came.
    doubtful: bool,
    /// Output came after a reason was given, or may come: a reason is no sign of the end (Gemini sends one with
    /// every chunk).
    continued: bool,
    /// Text, a refusal or a call came.
    has_output: bool,
    /// The same, or thoughts, though they may still be held.
    began: bool,
    thought: bool,
    done: bool,
    /// All text so far, as the server sent it: some servers repeat it in a message at the end.
    received: String,
    /// The choice that is read: the first that came.
    choice: Option<u64>,
    halves: [Halves; 3],
    unread: Unread,
    /// The bytes that came of text, thoughts and arguments, and how many are taken.
    heard_bytes: usize,
    max_bytes: Option<usize>,
}

/// What text belongs to.
#[derive(Debug, Clone, Copy)]
enum Channel {
    Content,
    Thought,
    Refusal,
}

impl Decoder {
    /// A decoder for an answer to what was asked.
    pub(crate) fn new(asked: &Asked) -> Self {
        let wants_json = asked.params.as_ref().is_some_and(|params| params.wants_json());
        let thinks = asked.thinks_from_the_start && asked.continuation != Continuation::Prefill;
        let continues = asked.continuation != Continuation::Fresh;
        Self {
            think: if thinks { Think::from_the_start() } else { Think::default() },
            fence: if wants_json { Fence::around_json(continues) } else { Fence::default() },
            written: Written::looked_for(asked.params.as_ref().is_some_and(|params| params.may_call())),
            calls: Calls::new(asked),
            continued: asked.repeats_reasons,
            max_bytes: asked.max_bytes,
            ..Self::default()
        }
    }

    /// Takes an event: its name and data. Deltas that came before an error are given all the same.
    pub(crate) fn event(&mut self, name: &str, data: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        if self.done {
            return Ok(());
        }
        let was_over = self.gave_reason() && self.reason != Some(FinishReason::Broken);
        match self.data(Data::of(name, data), out) {
            // The output was complete.
            Err(_) if was_over => {
                self.unread.note(unread::Piece::Event);
                self.done = true;
                Ok(())
            }
            Err(error) => {
                self.flush(out);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Takes a whole answer that is not a stream: one JSON text, or several.
    pub(crate) fn body(&mut self, body: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        let read = self.data(Data::of("", body), out);
        if read.is_err() {
            self.flush(out);
        }
        self.done = true;
        read
    }

    /// Whether the server marked the end: nothing that comes later counts.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it gave a reason for its end, and nothing after that contradicts it.
    pub(crate) const fn gave_reason(&self) -> bool {
        self.reason.is_some() && !self.continued
    }

    /// Whether it has begun to generate, though the output may still be held back.
    pub(crate) const fn has_begun(&self) -> bool {
        self.began
    }

    /// What could not be understood.
    pub(crate) const fn unread(&mut self) -> &mut Unread {
        &mut self.unread
    }

    /// The stream is over, in good order. An end that gives neither a reason nor `[DONE]` is none.
    pub(crate) fn end(&mut self, out: &mut Deltas) -> Result<(), UpstreamError> {
        let all_emitted = self.flush(out);
        let implied = (self.done && self.has_output).then_some(FinishReason::Stop);
        let Some(mut reason) = self.reason.or(implied) else { return Err(failure::broke_off(self.has_output)) };
        if reason == FinishReason::Stop && !all_emitted {
            let message = "The model server sent a function call without the function.";
            return Err(failure::unreachable(message, "arguments came, and no name of a function"));
        }
        if self.doubtful && !self.has_output {
            reason = FinishReason::Broken;
        }
        out.push_back(Delta::Finish(reason));
        Ok(())
    }

    /// The stream broke off, or stalled: still a proper end if the output was complete.
    pub(crate) fn cut(&mut self, error: UpstreamError, out: &mut Deltas) -> Result<(), UpstreamError> {
        if self.done || self.gave_reason() {
            return self.end(out);
        }
        self.flush(out);
        Err(error)
    }

    fn data(&mut self, data: Data<'_>, out: &mut Deltas) -> Result<(), UpstreamError> {
        match data {
            Data::Nothing => Ok(()),
            Data::Odd => {
                self.unread.note(unread::Piece::Event);
                Ok(())
            }
            Data::Done => {
                self.done = true;
                Ok(())
            }
            Data::Error(text) => Err(failure::in_stream(text)),
            Data::Text(text) => Err(failure::no_json(text)),
            Data::Chunk(text) => self.chunk(text, out),
            Data::List(text) => match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(list) => list.into_iter().try_for_each(|entry| self.data(Data::of("", entry.get()), out)),
                Err(error) => self.second_look(text, &error, out),
            },
        }
    }

    fn chunk(&mut self, text: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        match serde_json::from_str(text) {
            Ok(chunk) => self.take(chunk, text, out),
            Err(error) => self.second_look(text, &error, out),
        }
    }

    /// What is no chunk as it stands: several without an empty line between them, or JSON that needs mending.
    fn second_look(&mut self, text: &str, error: &serde_json::Error, out: &mut Deltas) -> Result<(), UpstreamError> {
        if let Some(parts) = data::several(text) {
            return parts
                .into_iter()
                .try_for_each(|part| if self.done { Ok(()) } else { self.data(Data::of("", part), out) });
        }
        for (mended, has_halves) in data::mended(text) {
            if let Ok(chunk) = serde_json::from_str(&mended) {
                if has_halves {
                    self.unread.found_halves();
                }
                return self.take(chunk, &mended, out);
            }
        }
        Err(failure::unreadable(text, error))
    }

    fn take(&mut self, chunk: Chunk<'_>, text: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        let (is_error, is_whole) = (chunk.is_error(), chunk.is_whole());
        // What was counted is not taken back by a chunk that counts nothing.
        self.usage = chunk.usage().or(self.usage.take());
        if chunk.choices.is_odd {
            self.unread.note(unread::Piece::Event);
        }
        let is_given = chunk.choices.is_given;
        let mut choices = chunk.choices.entries;
        let own = self.choice.unwrap_or(0);
        let place = choices.iter().position(|choice| choice.index.0.unwrap_or(own) == own);
        if let Some(place) = place.or_else(|| (self.choice.is_none() && !choices.is_empty()).then_some(0)) {
            let choice = choices.swap_remove(place);
            self.choice = Some(choice.index.0.unwrap_or(own));
            self.choice(choice, is_whole, out);
        }
        if let Some(error) = chunk.error.map(RawValue::get).filter(|error| !failure::is_no_error(error)) {
            return Err(failure::in_stream(error));
        }
        if is_error || !is_given && failure::is_error(text) { Err(failure::in_stream(text)) } else { Ok(()) }
    }

    fn choice(&mut self, choice: Choice<'_>, is_whole: bool, out: &mut Deltas) {
        self.usage = choice.usage.0.and_then(WireUsage::usage).or(self.usage.take());
        if let Some(raw) = choice.logprobs {
            self.logprobs.extend(logprobs::of(raw));
        }
        let had_reason = self.reason.is_some();
        let (mut delta, mut message) = (choice.delta.0.unwrap_or_default(), choice.message.0);
        if delta.content.is_empty() {
            delta.content = choice.text;
        }
        // All of it once more, where the rest should be.
        let repeats = self.received.len() > MIN_REPEATED && delta.content.text == self.received;
        if repeats && message.is_none() && (is_whole || choice.finish_reason.text().is_some()) {
            message = Some(std::mem::take(&mut delta));
        }
        let mut heard = self.speech(*delta, false, out);
        if let Some(message) = message {
            heard |= self.speech(*message, true, out);
        }
        self.continued |= had_reason && heard;
        self.reason(choice.finish_reason.text(), choice.native_finish_reason.text());
        if self.max_bytes.is_some_and(|most| self.heard_bytes > most) {
            self.cut_short();
        }
    }

    /// More came than is taken: it counts as the limit of output, and arguments that are not whole are none.
    fn cut_short(&mut self) {
        self.calls.drop_partial();
        (self.reason, self.continued, self.doubtful, self.done) = (Some(FinishReason::Length), false, false, true);
    }

    fn reason(&mut self, word: Option<&str>, native: Option<&str>) {
        let of_native = native.map_or(Reason::None, reason::of);
        let reason = match (word.map_or(Reason::None, reason::of), of_native) {
            (Reason::Known(FinishReason::Stop), Reason::Known(filtered @ FinishReason::ContentFilter)) => {
                Reason::Known(filtered)
            }
            (Reason::Known(FinishReason::Stop), Reason::Known(FinishReason::Broken)) => {
                self.doubtful = true;
                Reason::Known(FinishReason::Stop)
            }
            (reason, _) => reason,
        };
        match reason {
            Reason::None => {}
            Reason::Known(known) => {
                self.reason = Some(known);
                // A call was meant: where none came, it was lost on its way.
                self.doubtful |= word.is_some_and(|word| word.contains("tool") || word.contains("function"));
            }
            Reason::Unknown => {
                self.unread.note(unread::Piece::Reason);
                self.reason = Some(FinishReason::Stop);
                self.doubtful = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
