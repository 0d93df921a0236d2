//! How an attempt ends, and the reply with it.

use super::EventBuilder;
use super::calls::Ending;
use super::{Finished, Heard};
use crate::domain::event::{End, Event, Outcome, PartKind, ReplyError};
use crate::llm::delta::FinishReason;

impl EventBuilder {
    /// The upstream's stream is over without an error; `done` when it closed it with `[DONE]`.
    pub(crate) fn finish(&mut self, done: bool, out: &mut Vec<Event>) -> Finished {
        if self.over {
            return Finished::Ended;
        }
        if self.options.compacting {
            return self.finish_summary(done, out);
        }
        match self.attempt.finish {
            Some(FinishReason::Length) => self.stop_short(Outcome::MaxOutputTokens, out),
            Some(FinishReason::ContentFilter) => self.stop_short(Outcome::ContentFilter, out),
            Some(FinishReason::Stop) => self.stop(out),
            None if done && self.has_complete_output() => self.stop(out),
            Some(FinishReason::Broken) | None => Finished::Broken,
        }
    }

    /// The summary is made, if there is any text of it: one that was cut short is better than none.
    fn finish_summary(&mut self, done: bool, out: &mut Vec<Event>) -> Finished {
        let is_over = match self.attempt.finish {
            Some(FinishReason::Broken) => false,
            Some(_) => true,
            None => done && self.has_complete_output(),
        };
        if !is_over {
            return Finished::Broken;
        }
        self.flush_splice(out);
        if self.text_item.is_none() || !(self.attempt.continues || self.attempt.heard == Heard::Answer) {
            return Finished::Broken;
        }
        self.close_text_item(false, out);
        Finished::Compacted
    }

    /// Ends the reply where it is as completed: after a complete function call
    /// ([`Plan::EndCompleted`](super::Plan::EndCompleted)).
    pub(crate) fn complete(&mut self, out: &mut Vec<Event>) {
        self.close_all(Ending::Abandoned, true, out);
        self.end(Outcome::Completed, out);
    }

    /// Ends the reply where it is, because a client stops it. Held arguments are dropped.
    pub(crate) fn cancel(&mut self, out: &mut Vec<Event>) {
        self.close_all(Ending::Abandoned, true, out);
        self.end(Outcome::Cancelled, out);
    }

    /// Ends the reply where it is, because it cannot be generated to its end. Held arguments are dropped.
    pub(crate) fn fail(&mut self, error: ReplyError, out: &mut Vec<Event>) {
        self.close_all(Ending::Abandoned, true, out);
        self.end(Outcome::Failed(error), out);
    }

    /// Without a reason to stop: there is output, and no incomplete arguments.
    fn has_complete_output(&self) -> bool {
        let held = self.splice.as_ref().is_some_and(|splice| !splice.is_empty());
        (self.attempt.heard == Heard::Answer || held) && self.calls.are_whole()
    }

    fn stop(&mut self, out: &mut Vec<Event>) -> Finished {
        self.flush_splice(out);
        if !self.answer.exists && !self.calls.any() {
            let produced = self.attempt.usage.is_some_and(|usage| usage.output > 0);
            if !produced && self.attempt.heard == Heard::Nothing {
                return Finished::Broken;
            }
            self.emit_thoughts(out);
            self.part(PartKind::Text, out);
            self.answer.exists = true;
        }
        if self.calls.waiting() {
            // A call was opened, and its arguments did not come: another attempt has to make them.
            self.calls.complete_heard(out);
            return Finished::Broken;
        }
        if self.options.json.is_some_and(|form| !self.calls.any() && !self.answer.is(form)) {
            let message = "The model's answer is not the JSON that `text.format` asks for.";
            self.fail(ReplyError::server(message), out);
            return Finished::Ended;
        }
        self.close_all(Ending::Whole, false, out);
        self.end(Outcome::Completed, out);
        Finished::Ended
    }

    /// Ends the reply where it is, because it may not grow. Incomplete arguments are emitted as far as they came.
    pub(crate) fn stop_short(&mut self, outcome: Outcome, out: &mut Vec<Event>) -> Finished {
        self.emit_thoughts(out);
        self.flush_splice(out);
        self.close_all(Ending::Short, true, out);
        self.end(outcome, out);
        Finished::Ended
    }

    /// Closes what is open, in order: a call closes the text before it, so text that is open is the last.
    fn close_all(&mut self, calls: Ending, incomplete: bool, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        if self.text_item.is_none() {
            self.calls.keep(&mut self.provider_state);
        }
        self.calls.close(calls, out);
        self.close_text_item(incomplete, out);
    }

    pub(super) fn close_text_item(&mut self, incomplete: bool, out: &mut Vec<Event>) {
        self.attempt.refusing = false;
        if let Some(text_item) = self.text_item.take() {
            text_item.close(incomplete, &mut self.provider_state, out);
        }
    }

    fn end(&mut self, outcome: Outcome, out: &mut Vec<Event>) {
        if self.over {
            return;
        }
        self.over = true;
        if let Outcome::Failed(error) = &outcome {
            out.push(Event::Error(error.clone()));
        }
        let usage = self.usage().map(|mut usage| {
            usage += self.options.usage_of_summary.unwrap_or_default();
            usage
        });
        out.push(Event::End(End { outcome, usage }));
    }
}
