//! What a Chat Completions server says, chunk by chunk, in one vocabulary: every server's dialect ends here.
//!
//! Pure: bytes were read by others, time is kept by others. When a stream ended well and when it only broke off is
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

/// Text that is all that was said before, and longer than this, is no coincidence.
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
    /// How the answer goes on with what was said before.
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
    /// What is to be returned with the thoughts; told when the thoughts are over.
    kept: Option<Value>,
    usage: Option<Usage>,
    reason: Option<FinishReason>,
    /// The reason is a word that nobody knows, or says that something came which did not: it is good only if
    /// something else came.
    doubtful: bool,
    /// Something was said after a reason was given, or may be: a reason is no sign of the end (Gemini gives one with
    /// every chunk).
    spoke_on: bool,
    /// Text, a refusal or a call came.
    spoke: bool,
    /// The same, or thoughts, though they may still be held.
    began: bool,
    thought: bool,
    done: bool,
    /// All text so far, as the server said it: some say it again in a message at the end.
    said: String,
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
            spoke_on: asked.repeats_reasons,
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
            // Everything had been said.
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

    /// Whether the server said that it is done: nothing that comes later counts.
    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it gave a reason for its end, and nothing after that which speaks against it.
    pub(crate) const fn gave_reason(&self) -> bool {
        self.reason.is_some() && !self.spoke_on
    }

    /// Whether it has begun to say something, though that may still be held back.
    pub(crate) const fn has_begun(&self) -> bool {
        self.began
    }

    /// What could not be understood.
    pub(crate) const fn unread(&mut self) -> &mut Unread {
        &mut self.unread
    }

    /// The stream is over, in good order. An end that gives neither a reason nor `[DONE]` is none.
    pub(crate) fn end(&mut self, out: &mut Deltas) -> Result<(), UpstreamError> {
        let all_told = self.flush(out);
        let unsaid = (self.done && self.spoke).then_some(FinishReason::Stop);
        let Some(mut reason) = self.reason.or(unsaid) else { return Err(failure::broke_off(self.spoke)) };
        if reason == FinishReason::Stop && !all_told {
            let message = "The model server sent a function call without the function.";
            return Err(failure::unreachable(message, "arguments came, and no name of a function"));
        }
        if self.doubtful && !self.spoke {
            reason = FinishReason::Broken;
        }
        out.push_back(Delta::Finish(reason));
        Ok(())
    }

    /// The stream broke off, or stalled: an end all the same where everything had been said.
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
        if let Some(error) = chunk.error.map(RawValue::get).filter(|error| !failure::says_nothing(error)) {
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
        let repeats = self.said.len() > MIN_REPEATED && delta.content.text == self.said;
        if repeats && message.is_none() && (is_whole || choice.finish_reason.text().is_some()) {
            message = Some(std::mem::take(&mut delta));
        }
        let mut heard = self.speech(*delta, false, out);
        if let Some(message) = message {
            heard |= self.speech(*message, true, out);
        }
        self.spoke_on |= had_reason && heard;
        self.reason(choice.finish_reason.text(), choice.native_finish_reason.text());
        if self.max_bytes.is_some_and(|most| self.heard_bytes > most) {
            self.cut_short();
        }
    }

    /// More came than is taken: it counts as the limit of output, and arguments that are not whole are none.
    fn cut_short(&mut self) {
        self.calls.drop_partial();
        (self.reason, self.spoke_on, self.doubtful, self.done) = (Some(FinishReason::Length), false, false, true);
    }

    fn reason(&mut self, word: Option<&str>, native: Option<&str>) {
        let of_native = native.map_or(Reason::None, reason::of);
        let said = match (word.map_or(Reason::None, reason::of), of_native) {
            (Reason::Known(FinishReason::Stop), Reason::Known(filtered @ FinishReason::ContentFilter)) => {
                Reason::Known(filtered)
            }
            (Reason::Known(FinishReason::Stop), Reason::Known(FinishReason::Broken)) => {
                self.doubtful = true;
                Reason::Known(FinishReason::Stop)
            }
            (said, _) => said,
        };
        match said {
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
