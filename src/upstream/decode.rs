//! What a Chat Completions server says, chunk by chunk, in one vocabulary: every server's dialect ends here.
//!
//! Pure: bytes were read by others, time is kept by others. When a stream ended well and when it only broke off is
//! decided in [`Decoder::end`] and [`Decoder::cut`].

use std::collections::VecDeque;

use serde_json::Value;
use serde_json::value::RawValue;

use super::calls::Calls;
use super::chunk::{Choice, Chunk, Speech, ToolCall};
use super::delta::{Delta, FinishReason, UpstreamError};
use super::think::{Piece, Think};
use super::{failure, kept, logprobs};
use crate::conversation::event::Usage;

/// The deltas that have been decoded and not been taken.
pub type Deltas = VecDeque<Delta>;

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    think: Think,
    calls: Calls,
    /// Token probabilities whose text has not come yet.
    logprobs: Vec<Value>,
    /// What is to be returned with the thoughts; told when the thoughts are over.
    kept: Option<Value>,
    usage: Option<Usage>,
    reason: Option<FinishReason>,
    /// Something was said after a reason was given, or may be: a reason is no sign of the end (Gemini gives one with
    /// every chunk).
    spoke_on: bool,
    /// Text, a refusal or a call came.
    spoke: bool,
    done: bool,
}

impl Decoder {
    /// A decoder for a server that gives a reason to stop with every chunk.
    pub fn doubting_reasons() -> Self {
        Self { spoke_on: true, ..Self::default() }
    }

    /// Takes an event: its name and data. Deltas that came before an error are given all the same.
    pub fn event(&mut self, name: &str, data: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        let data = data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let read = if name == "error" { Err(failure::in_stream(data)) } else { self.json(data, out) };
        read.inspect_err(|_| self.flush(out))
    }

    /// Takes a whole answer that is not a stream: one JSON text, or several.
    pub fn body(&mut self, body: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        let mut texts = serde_json::Deserializer::from_str(body).into_iter::<&RawValue>();
        texts
            .try_for_each(|text| self.json(text.map_err(|error| failure::unreadable(body, &error))?.get(), out))
            .inspect_err(|_| self.flush(out))?;
        self.done = true;
        Ok(())
    }

    /// Whether the server said that it is done: nothing that comes later counts.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Whether it gave a reason for its end, and nothing after that which speaks against it.
    pub const fn gave_reason(&self) -> bool {
        self.reason.is_some() && !self.spoke_on
    }

    /// The stream is over, in good order. An end that gives neither a reason nor `[DONE]` is none.
    pub fn end(&mut self, out: &mut Deltas) -> Result<(), UpstreamError> {
        self.flush(out);
        let unsaid = (self.done && self.spoke).then_some(FinishReason::Stop);
        let Some(reason) = self.reason.or(unsaid) else { return Err(failure::broke_off(self.spoke)) };
        out.push_back(Delta::Finish(reason));
        Ok(())
    }

    /// The stream broke off, or stalled: an end all the same where everything had been said.
    pub fn cut(&mut self, error: UpstreamError, out: &mut Deltas) -> Result<(), UpstreamError> {
        if self.done || self.gave_reason() {
            return self.end(out);
        }
        self.flush(out);
        Err(error)
    }

    fn json(&mut self, text: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        if text.starts_with('[') {
            let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| failure::unreadable(text, &error))?;
            return list.into_iter().try_for_each(|chunk| self.chunk(chunk.get(), out));
        }
        self.chunk(text, out)
    }

    fn chunk(&mut self, text: &str, out: &mut Deltas) -> Result<(), UpstreamError> {
        let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|error| failure::unreadable(text, &error))?;
        let is_error = chunk.is_error();
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.usage());
        }
        let mut choices = chunk.choices.unwrap_or_default().into_iter();
        if let Some(choice) = choices.find(|choice| choice.index.0.unwrap_or(0) == 0) {
            self.choice(choice, out);
        }
        if let Some(error) = chunk.error.filter(|error| !matches!(error.get(), r#""""# | "false" | "{}")) {
            return Err(failure::in_stream(error.get()));
        }
        if is_error { Err(failure::in_stream(text)) } else { Ok(()) }
    }

    fn choice(&mut self, choice: Choice<'_>, out: &mut Deltas) {
        if let Some(usage) = choice.usage {
            self.usage = Some(usage.usage());
        }
        if let Some(raw) = choice.logprobs {
            self.logprobs.extend(logprobs::of(raw));
        }
        let before = out.len();
        if let Some(speech) = choice.delta.or(choice.message) {
            self.speech(speech, out);
        }
        if self.reason.is_some() && out.len() > before {
            self.spoke_on = true;
        }
        if let Some(reason) = choice.finish_reason.as_deref().and_then(finish_reason) {
            self.reason = Some(reason);
        }
    }

    fn speech(&mut self, speech: Speech<'_>, out: &mut Deltas) {
        let Speech { content, reasoning, reasoning_content, .. } = speech;
        let thought = [reasoning.text, reasoning_content.text, content.thought].into_iter().find(|it| !it.is_empty());
        if let Some(thought) = thought {
            out.push_back(Delta::Reasoning(thought));
        }
        for (field, raw) in [("reasoning_details", speech.reasoning_details), ("extra_content", speech.extra_content)] {
            if let Some(value) = raw.and_then(|raw| kept::of(field, raw)) {
                kept::join(&mut self.kept, value);
            }
        }
        if !content.text.is_empty() {
            self.content(content.text, out);
        }
        if !speech.refusal.text.is_empty() {
            self.thoughts_end(out);
            self.spoke = true;
            out.push_back(Delta::Refusal(speech.refusal.text));
        }
        let legacy = speech.function_call.map(|function| ToolCall { function: Some(function), ..ToolCall::default() });
        for (position, piece) in speech.tool_calls.into_iter().flatten().chain(legacy).enumerate() {
            self.thoughts_end(out);
            self.calls.piece(position, piece, &mut |delta| out.push_back(delta));
            self.spoke |= self.calls.any();
        }
    }

    fn content(&mut self, text: String, out: &mut Deltas) {
        let Self { think, logprobs, kept, spoke, .. } = self;
        think.push(text, |piece| tell(piece, logprobs, kept, spoke, out));
    }

    /// Something other than thought and text follows: nothing is held back any longer.
    fn thoughts_end(&mut self, out: &mut Deltas) {
        let Self { think, logprobs, kept, spoke, .. } = self;
        think.finish(|piece| tell(piece, logprobs, kept, spoke, out));
        out.extend(kept.take().map(Delta::Kept));
    }

    fn flush(&mut self, out: &mut Deltas) {
        self.thoughts_end(out);
        out.extend(self.usage.take().map(Delta::Usage));
    }
}

fn tell(piece: Piece, logprobs: &mut Vec<Value>, kept: &mut Option<Value>, spoke: &mut bool, out: &mut Deltas) {
    // Those of the tags and the thoughts have no place in the text.
    let logprobs = std::mem::take(logprobs);
    match piece {
        Piece::Thought(text) => out.push_back(Delta::Reasoning(text)),
        Piece::Text(text) => {
            out.extend(kept.take().map(Delta::Kept));
            out.push_back(Delta::Content { text, logprobs });
            *spoke = true;
        }
    }
}

/// Why a server stopped; `None` where it gives no reason. An unknown word is an end like any other.
fn finish_reason(word: &str) -> Option<FinishReason> {
    Some(match word.to_ascii_lowercase().as_str() {
        "" | "null" => return None,
        "length" | "max_tokens" | "model_length" | "max_output_tokens" | "model_context_window_exceeded" => {
            FinishReason::Length
        }
        "content_filter" | "safety" | "sensitive" | "recitation" | "blocklist" | "prohibited_content" | "spii"
        | "refusal" => FinishReason::ContentFilter,
        "error" | "network_error" | "insufficient_system_resource" | "abort" | "malformed_function_call" => {
            FinishReason::Broken
        }
        _ => FinishReason::Stop,
    })
}

#[cfg(test)]
mod tests;
