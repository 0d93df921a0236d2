//! One event, as JSON, its fields in the order that the API's documentation shows.

use serde_json::Value;

use super::envelope::Within;
use super::{Envelope, call, echo, item, json, last_part};
use crate::domain::event::{Degraded, Event, Outcome, PartKind};
use crate::domain::items::{Item, Part};
use crate::domain::params::ToolKind;
use crate::domain::reply::{Reply, Status};
use crate::protocols::error::ApiError;

impl Envelope {
    /// Appends an event, and tells its `type`. `reply` is as [`Reply::apply`] left it after this event; before the
    /// last one is written, [`Reply::set_ended_at`] has to be called.
    /// `None`: it is not told.
    pub(crate) fn write_event(
        &self,
        out: &mut Vec<u8>,
        reply: &Reply,
        event: &Event,
        sequence: u64,
    ) -> Option<&'static str> {
        self.tells(reply, event).then(|| self.write_told(To { out, reply, sequence }, event))
    }

    fn write_told(&self, to: To, event: &Event) -> &'static str {
        let (reply, sequence) = (to.reply, to.sequence);
        match event {
            Event::Created if self.background() => self.state(to, "response.created", Status::Queued),
            Event::Created => self.state(to, "response.created", Status::InProgress),
            Event::Queued => self.state(to, "response.queued", Status::Queued),
            Event::InProgress => self.state(to, "response.in_progress", Status::InProgress),
            Event::ItemAdded(_) => self.item(to, "response.output_item.added", reply.output().len() - 1),
            Event::PartAdded { item, kind } => to.part(part_added(*kind), *item),
            Event::Delta { item, text, logprobs } => match self.custom(reply, *item) {
                Some(id) => to.custom("response.custom_tool_call_input.delta", *item, &id, "delta", &call::input(text)),
                None => to.delta(*item, text, logprobs),
            },
            Event::TextDone(item) => match (self.custom(reply, *item), &reply.output()[*item as usize]) {
                (Some(id), Item::FunctionCall(call)) => {
                    let input = call::input(&call.arguments);
                    to.custom("response.custom_tool_call_input.done", *item, &id, "input", &input)
                }
                _ => to.text_done(*item),
            },
            Event::PartDone(item) => to.part_done(*item),
            Event::ItemDone { item, .. } => self.item(to, "response.output_item.done", *item as usize),
            Event::Transcript(text) => to.speech("response.audio.transcript.delta", text),
            Event::Audio(base64) => to.speech("response.audio.delta", base64),
            Event::AudioDone(degraded) => to.audio_done(degraded.as_deref()),
            Event::TranscriptDone => {
                let mut to = to;
                to.begin("response.audio.transcript.done");
                to.end("response.audio.transcript.done")
            }
            Event::Error(error) => {
                ApiError::from(error).append_event(to.out, sequence);
                "error"
            }
            Event::End(end) => self.state(to, end_type(&end.outcome), end.outcome.status()),
        }
    }

    /// The id of a call whose tool takes a text.
    fn custom(&self, reply: &Reply, index: u32) -> Option<String> {
        let item = reply.output().get(index as usize)?;
        let given = self.given(item).filter(|given| given.kind == ToolKind::Custom)?;
        Some(call::id(item.id(), given.kind))
    }

    /// An event that holds the whole response.
    fn state(&self, mut to: To, kind: &'static str, status: Status) -> &'static str {
        to.begin(kind);
        to.out.extend_from_slice(b",\"response\":");
        self.write_response_as(to.out, to.reply, status, Within::Event);
        to.end(kind)
    }

    /// An event that holds a whole item.
    fn item(&self, mut to: To, kind: &'static str, index: usize) -> &'static str {
        to.begin(kind);
        to.number(b",\"output_index\":", index);
        to.out.extend_from_slice(b",\"item\":");
        self.write_item(to.out, to.reply, index, &to.reply.output()[index]);
        to.end(kind)
    }
}

const fn end_type(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "response.completed",
        Outcome::MaxOutputTokens | Outcome::ContentFilter | Outcome::Cancelled => "response.incomplete",
        Outcome::Failed(_) => "response.failed",
    }
}

const fn part_added(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Summary => "response.reasoning_summary_part.added",
        PartKind::Text | PartKind::Refusal | PartKind::Reasoning => "response.content_part.added",
    }
}

/// Where an event goes, and what it is about.
struct To<'a> {
    out: &'a mut Vec<u8>,
    reply: &'a Reply,
    sequence: u64,
}

/// An item without a part: cannot be, and is told as text that is empty.
const NO_PART: &Part = &Part::OutputText { text: String::new(), annotations: Vec::new(), logprobs: Vec::new() };

impl<'a> To<'a> {
    fn begin(&mut self, kind: &'static str) {
        self.out.extend_from_slice(b"{\"type\":\"");
        self.out.extend_from_slice(kind.as_bytes());
        self.out.extend_from_slice(b"\",\"sequence_number\":");
        json(self.out, &self.sequence);
    }

    fn end(self, kind: &'static str) -> &'static str {
        self.out.push(b'}');
        kind
    }

    fn number(&mut self, name: &[u8], number: usize) {
        self.out.extend_from_slice(name);
        json(self.out, &number);
    }

    fn text(&mut self, name: &[u8], text: &str) {
        self.out.extend_from_slice(name);
        json(self.out, text);
    }

    /// The beginning of an event about an item.
    fn begin_in(&mut self, kind: &'static str, index: u32) {
        self.begin(kind);
        self.out.extend_from_slice(b",\"item_id\":\"");
        // Made here, of letters and digits: nothing to escape.
        self.out.extend_from_slice(self.reply.output()[index as usize].id().as_bytes());
        self.number(b"\",\"output_index\":", index as usize);
    }

    /// The beginning of an event about an item's last part.
    fn begin_part(&mut self, kind: &'static str, index: u32, place: usize, part: &Part) {
        self.begin_in(kind, index);
        let name: &[u8] =
            if matches!(part, Part::SummaryText { .. }) { b",\"summary_index\":" } else { b",\"content_index\":" };
        self.number(name, place);
    }

    fn last_part(&self, index: u32) -> (usize, &'a Part) {
        last_part(&self.reply.output()[index as usize]).unwrap_or((0, NO_PART))
    }

    fn part(mut self, kind: &'static str, index: u32) -> &'static str {
        let (place, part) = self.last_part(index);
        self.begin_part(kind, index, place, part);
        self.out.extend_from_slice(b",\"part\":");
        item::write_part(self.out, part);
        self.end(kind)
    }

    fn part_done(self, index: u32) -> &'static str {
        let kind = match self.last_part(index).1 {
            Part::SummaryText { .. } => "response.reasoning_summary_part.done",
            _ => "response.content_part.done",
        };
        self.part(kind, index)
    }

    fn delta(mut self, index: u32, text: &str, logprobs: &[Value]) -> &'static str {
        if let Item::FunctionCall(_) = &self.reply.output()[index as usize] {
            let kind = "response.function_call_arguments.delta";
            self.begin_in(kind, index);
            self.text(b",\"delta\":", text);
            return self.end(kind);
        }
        let (place, part) = self.last_part(index);
        let kind = match part {
            Part::Refusal { .. } => "response.refusal.delta",
            Part::ReasoningText { .. } => "response.reasoning_text.delta",
            Part::SummaryText { .. } => "response.reasoning_summary_text.delta",
            _ => "response.output_text.delta",
        };
        self.begin_part(kind, index, place, part);
        self.text(b",\"delta\":", text);
        if let Part::OutputText { .. } = part {
            self.logprobs(logprobs);
        }
        self.end(kind)
    }

    /// What is spoken, or its transcript.
    fn speech(mut self, kind: &'static str, delta: &str) -> &'static str {
        self.begin(kind);
        self.text(b",\"delta\":", delta);
        self.end(kind)
    }

    /// The end of what is spoken. That there should be more is told at once, where no client is in the way of it.
    fn audio_done(mut self, degraded: Option<&Degraded>) -> &'static str {
        let kind = "response.audio.done";
        self.begin(kind);
        if let Some(degraded) = degraded {
            self.out.extend_from_slice(b",\"rejoinder\":");
            json(self.out, &echo::Degradation::of(degraded));
        }
        self.end(kind)
    }

    /// The text of a call, or all of it.
    fn custom(mut self, kind: &'static str, index: u32, id: &str, field: &str, text: &str) -> &'static str {
        self.begin(kind);
        self.text(b",\"item_id\":", id);
        self.number(b",\"output_index\":", index as usize);
        self.text(format!(",\"{field}\":").as_bytes(), text);
        self.end(kind)
    }

    fn text_done(mut self, index: u32) -> &'static str {
        if let Item::FunctionCall(call) = &self.reply.output()[index as usize] {
            let kind = "response.function_call_arguments.done";
            self.begin_in(kind, index);
            self.text(b",\"name\":", &call.name);
            self.text(b",\"arguments\":", &call.arguments);
            return self.end(kind);
        }
        let (place, part) = self.last_part(index);
        let (kind, name): (_, &[u8]) = match part {
            Part::Refusal { .. } => ("response.refusal.done", b",\"refusal\":"),
            Part::ReasoningText { .. } => ("response.reasoning_text.done", b",\"text\":"),
            Part::SummaryText { .. } => ("response.reasoning_summary_text.done", b",\"text\":"),
            _ => ("response.output_text.done", b",\"text\":"),
        };
        self.begin_part(kind, index, place, part);
        self.text(name, part.text());
        if let Part::OutputText { logprobs, .. } = part {
            self.logprobs(logprobs);
        }
        self.end(kind)
    }

    fn logprobs(&mut self, logprobs: &[Value]) {
        if logprobs.is_empty() {
            self.out.extend_from_slice(b",\"logprobs\":[]");
        } else {
            self.out.extend_from_slice(b",\"logprobs\":");
            json(self.out, logprobs);
        }
    }
}
