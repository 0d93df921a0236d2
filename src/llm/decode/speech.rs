//! Turns one choice of a chunk into deltas: thoughts, text, refusals and calls, each emitted once.

use super::{Channel, Decoder, Deltas};
use crate::llm::chunk::{Speech, ToolCall};
use crate::llm::delta::Delta;
use crate::llm::provider_state;
use crate::llm::think::{self, Piece};
use crate::llm::unread;
use crate::llm::written;

impl Decoder {
    /// Takes a message; `whole`: it is the whole answer, perhaps repeated. Returns whether there was anything new.
    pub(super) fn speech(&mut self, speech: Speech<'_>, whole: bool, out: &mut Deltas) -> bool {
        let again = whole && self.began;
        let Speech { content, reasoning, reasoning_content, thinking, refusal, .. } = speech;
        if [&content, &reasoning, &reasoning_content, &thinking, &refusal].iter().any(|words| words.is_odd) {
            self.unread.note(unread::Piece::Text);
            self.doubtful |= content.is_odd && content.is_empty();
        }
        self.heard_bytes += content.text.len() + refusal.text.len();
        let thought = [reasoning.text, reasoning_content.text, thinking.text, content.thought];
        let thought = thought.into_iter().find(|it| !(it.is_empty() || again && self.thought)).unwrap_or_default();
        self.heard_bytes += thought.len();
        let mut heard = !thought.is_empty();
        self.think(thought, out);
        for (field, raw) in [("reasoning_details", speech.reasoning_details), ("extra_content", speech.extra_content)] {
            if let Some(value) = raw.filter(|_| !again).and_then(|raw| provider_state::of(field, raw)) {
                provider_state::join(&mut self.provider_state, value);
            }
        }
        let text = if again && !self.received.is_empty() { self.rest_of(&content.text) } else { content.text };
        heard |= !text.is_empty();
        if !text.is_empty() {
            if whole {
                self.think.whole(&text);
            }
            self.content(text, out);
        }
        if !(refusal.text.is_empty() || again && self.has_output) {
            heard = true;
            self.refuse(&refusal.text, out);
        }
        let mut calls = speech.tool_calls;
        calls.entries.extend(speech.function_call.0.map(ToolCall::of));
        if calls.is_odd {
            self.unread.note(unread::Piece::Call);
            self.doubtful = true;
        }
        heard |= !calls.entries.is_empty() && !again;
        self.call(&calls.entries, again, out);
        self.began |= heard;
        heard
    }

    fn think(&mut self, text: String, out: &mut Deltas) {
        let text = self.joined(Channel::Thought, text);
        if !text.is_empty() {
            self.thought = true;
            self.think.mark_separate();
            out.push_back(Delta::Reasoning(text));
        }
    }

    /// The part of a repeated whole text that was not emitted before.
    fn rest_of(&mut self, whole: &str) -> String {
        if let Some(rest) = whole.strip_prefix(self.received.as_str()) {
            return rest.to_owned();
        }
        // Without what was taken for thoughts, or with its white space cut off.
        if !self.received.trim().ends_with(whole.trim()) {
            self.unread.note(unread::Piece::Text);
        }
        String::new()
    }

    fn content(&mut self, text: String, out: &mut Deltas) {
        self.received.push_str(&text);
        let text = self.joined(Channel::Content, text);
        if self.calls.any() {
            self.calls.emit_complete(&mut self.unread, &mut |delta| out.push_back(delta));
        }
        let mut pieces = Vec::new();
        self.think.push(text, |piece| pieces.push(piece));
        self.emit_pieces(pieces, out);
    }

    fn refuse(&mut self, text: &str, out: &mut Deltas) {
        self.thoughts_end(out);
        let text = self.joined(Channel::Refusal, text.to_owned());
        if !text.is_empty() {
            self.has_output = true;
            out.push_back(Delta::Refusal(text));
        }
    }

    fn call(&mut self, pieces: &[ToolCall<'_>], again: bool, out: &mut Deltas) {
        for (position, piece) in pieces.iter().enumerate() {
            self.thoughts_end(out);
            let position = (position, pieces.len());
            self.heard_bytes +=
                self.calls.piece(position, piece, again, &mut self.unread, &mut |delta| out.push_back(delta));
            self.has_output |= self.calls.any_emitted();
        }
    }

    /// The text with the halves of characters joined, if there are any.
    fn joined(&mut self, channel: Channel, text: String) -> String {
        if self.unread.has_halves() { self.halves[channel as usize].join(&text) } else { text }
    }

    /// Something other than thought and text follows: nothing is held back any longer.
    fn thoughts_end(&mut self, out: &mut Deltas) {
        let rest = [Channel::Content, Channel::Thought].map(|channel| self.halves[channel as usize].finish());
        let [content, thought] = rest.map(|c| c.map(String::from).unwrap_or_default());
        if !thought.is_empty() {
            out.push_back(Delta::Reasoning(thought));
        }
        let mut pieces = Vec::new();
        self.think.push(content, |piece| pieces.push(piece));
        self.think.finish(|piece| pieces.push(piece));
        self.emit_pieces(pieces, out);
        let mut rest = Vec::new();
        self.written.finish(|name| self.calls.knows(name), |piece| rest.push(piece));
        self.emit_written(rest, out);
        let held = self.fence.finish();
        self.emit_text(held, out);
        if self.fence.take_cut() {
            self.unread.note(unread::Piece::Text);
        }
        out.extend(self.provider_state.take().map(Delta::ProviderState));
    }

    fn emit_pieces(&mut self, pieces: Vec<Piece>, out: &mut Deltas) {
        for piece in pieces {
            match piece {
                Piece::Thought(text) => {
                    // Those of the tags and the thoughts have no place in the text.
                    self.logprobs.clear();
                    self.thought = true;
                    out.push_back(Delta::Reasoning(text));
                }
                Piece::Text(text) => {
                    if text.contains('/') && think::closes_something(&text) {
                        self.unread.note(unread::Piece::Thoughts);
                    }
                    if !self.written.is_on() {
                        self.emit_written([written::Piece::Text(text)], out);
                        continue;
                    }
                    let mut pieces = Vec::new();
                    self.written.push(text, |name| self.calls.knows(name), |piece| pieces.push(piece));
                    self.emit_written(pieces, out);
                }
            }
        }
    }

    fn emit_written(&mut self, pieces: impl IntoIterator<Item = written::Piece>, out: &mut Deltas) {
        for piece in pieces {
            match piece {
                written::Piece::Text(text) => {
                    let text = self.fence.push(text);
                    self.emit_text(text, out);
                }
                written::Piece::Call(name, arguments) => {
                    let held = self.fence.finish();
                    self.emit_text(held, out);
                    out.extend(self.provider_state.take().map(Delta::ProviderState));
                    self.calls.written(name, &arguments, &mut self.unread, &mut |delta| out.push_back(delta));
                    self.has_output = true;
                }
            }
        }
    }

    fn emit_text(&mut self, text: String, out: &mut Deltas) {
        if text.is_empty() {
            return;
        }
        out.extend(self.provider_state.take().map(Delta::ProviderState));
        out.push_back(Delta::Content { text, logprobs: std::mem::take(&mut self.logprobs) });
        self.has_output = true;
    }

    /// Emits everything that is held. Returns whether all of it could be emitted.
    pub(super) fn flush(&mut self, out: &mut Deltas) -> bool {
        self.thoughts_end(out);
        out.extend(self.halves[Channel::Refusal as usize].finish().map(|c| Delta::Refusal(c.to_string())));
        let all_emitted = self.calls.emit_rest(&mut self.unread, &mut |delta| out.push_back(delta));
        self.has_output |= self.calls.any_emitted();
        out.extend(self.usage.take().map(Delta::Usage));
        all_emitted
    }
}
