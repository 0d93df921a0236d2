//! The events of a reply as chunks of a UI message. One event may be several chunks, or none. The last chunk of each has
//! the event's number as its `id`, which is the same at every door.

use serde::Serialize;
use serde_json::Value;

use super::message_id;
use crate::domain::event::{Event, Opening, Outcome, PartKind};
use crate::domain::items::{FunctionCall, Item, ItemStatus, Part};
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;
use crate::protocols::json::parse;
use crate::protocols::stream::Framing;
use crate::protocols::wire::{json, last_part};
use crate::replies::feed::{Encoder, Protocol};

/// The stream of a UI message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UiStream;

impl UiStream {
    /// What surrounds the chunks.
    pub(crate) const FRAMING: Framing = Framing::SSE;
}

impl Protocol for UiStream {
    fn name(&self) -> &'static str {
        "ui_messages"
    }

    fn encoder(&self, accepted: &Accepted) -> Box<dyn Encoder> {
        Box::new(Writer { message_id: message_id(accepted) })
    }
}

#[derive(Clone)]
struct Writer {
    message_id: String,
}

/// A chunk, as the SDK's own schema has it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum Chunk<'a> {
    Start {
        message_id: &'a str,
    },
    StartStep,
    TextStart {
        id: &'a str,
        provider_metadata: Metadata<'a>,
    },
    TextDelta {
        id: &'a str,
        delta: &'a str,
    },
    TextEnd {
        id: &'a str,
    },
    ReasoningStart {
        id: &'a str,
        provider_metadata: Metadata<'a>,
    },
    ReasoningDelta {
        id: &'a str,
        delta: &'a str,
    },
    ReasoningEnd {
        id: &'a str,
    },
    ToolInputStart {
        tool_call_id: &'a str,
        tool_name: &'a str,
        provider_metadata: Metadata<'a>,
    },
    ToolInputDelta {
        tool_call_id: &'a str,
        input_text_delta: &'a str,
    },
    ToolInputAvailable {
        tool_call_id: &'a str,
        tool_name: &'a str,
        input: Value,
        provider_metadata: Metadata<'a>,
    },
    ToolInputError {
        tool_call_id: &'a str,
        tool_name: &'a str,
        input: &'a str,
        error_text: &'static str,
        provider_metadata: Metadata<'a>,
    },
    Error {
        error_text: &'a str,
    },
    Abort {
        reason: &'static str,
    },
    FinishStep,
    Finish {
        finish_reason: &'static str,
    },
}

/// What a part carries of ours. It comes back with the part.
#[derive(Serialize)]
struct Metadata<'a> {
    rejoinder: Ours<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ours<'a> {
    item_id: &'a str,
}

impl Encoder for Writer {
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64) {
        if let Some(first) = self.first(event) {
            write(out, None, &first);
        }
        let mut id = String::new();
        if let Some(chunk) = last(reply, event, &mut id) {
            write(out, Some(sequence), &chunk);
        }
    }

    fn anew(&self) -> Box<dyn Encoder> {
        Box::new(self.clone())
    }
}

impl Writer {
    /// What an event that is two chunks begins with.
    fn first(&self, event: &Event) -> Option<Chunk<'_>> {
        match event {
            Event::Created => Some(Chunk::Start { message_id: &self.message_id }),
            Event::End(end) if end.outcome != Outcome::Cancelled => Some(Chunk::FinishStep),
            _ => None,
        }
    }
}

/// The last chunk of an event; `id` has room for the id of a part.
fn last<'a>(reply: &'a Reply, event: &'a Event, id: &'a mut String) -> Option<Chunk<'a>> {
    let item = |index: u32| reply.output().get(index as usize).filter(|item| !item.is_compaction());
    Some(match event {
        Event::Created => Chunk::StartStep,
        Event::ItemAdded(Opening::FunctionCall { call_id, name }) => Chunk::ToolInputStart {
            tool_call_id: call_id,
            tool_name: name,
            provider_metadata: metadata(reply.output().last()?.id()),
        },
        Event::PartAdded { item: index, kind } => part_added(item(*index)?, *kind, id),
        Event::Delta { item: index, text, .. } => delta(item(*index)?, text, id)?,
        Event::PartDone(index) => part_done(item(*index)?, id),
        Event::ItemDone { item: index, .. } => match item(*index)? {
            Item::FunctionCall(call) => call_done(call)?,
            _ => return None,
        },
        Event::Error(error) => Chunk::Error { error_text: &error.message },
        Event::End(end) if end.outcome == Outcome::Cancelled => Chunk::Abort { reason: "The reply was stopped." },
        Event::End(end) => Chunk::Finish { finish_reason: finish_reason(&end.outcome, reply) },
        Event::Queued
        | Event::InProgress
        | Event::ItemAdded(_)
        | Event::TextDone(_)
        | Event::Transcript(_)
        | Event::Audio(_)
        | Event::AudioDone(_)
        | Event::TranscriptDone => return None,
    })
}

fn part_added<'a>(item: &'a Item, kind: PartKind, room: &'a mut String) -> Chunk<'a> {
    let (id, provider_metadata) = (part_id(item, room), metadata(item.id()));
    match kind {
        PartKind::Text | PartKind::Refusal => Chunk::TextStart { id, provider_metadata },
        PartKind::Reasoning | PartKind::Summary => Chunk::ReasoningStart { id, provider_metadata },
    }
}

fn delta<'a>(item: &'a Item, delta: &'a str, room: &'a mut String) -> Option<Chunk<'a>> {
    Some(match item {
        Item::Message(_) => Chunk::TextDelta { id: part_id(item, room), delta },
        Item::Reasoning(_) => Chunk::ReasoningDelta { id: part_id(item, room), delta },
        Item::FunctionCall(call) => Chunk::ToolInputDelta { tool_call_id: &call.call_id, input_text_delta: delta },
        Item::FunctionCallOutput(_) => return None,
    })
}

fn part_done<'a>(item: &'a Item, room: &'a mut String) -> Chunk<'a> {
    let id = part_id(item, room);
    match last_part(item) {
        Some((_, Part::ReasoningText { .. } | Part::SummaryText { .. })) => Chunk::ReasoningEnd { id },
        _ => Chunk::TextEnd { id },
    }
}

/// A call, whole. One that was broken off stays as it is: nobody is to carry it out.
fn call_done(call: &FunctionCall) -> Option<Chunk<'_>> {
    if call.status != ItemStatus::Completed {
        return None;
    }
    let (tool_call_id, tool_name, provider_metadata) = (&*call.call_id, &*call.name, metadata(&call.id));
    let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    Some(match parse(arguments.as_bytes()) {
        Ok(input) => Chunk::ToolInputAvailable { tool_call_id, tool_name, input, provider_metadata },
        Err(_) => Chunk::ToolInputError {
            tool_call_id,
            tool_name,
            input: arguments,
            error_text: "The arguments of the call are not JSON.",
            provider_metadata,
        },
    })
}

/// The id of the part that is being written, or was written last.
fn part_id<'a>(item: &'a Item, room: &'a mut String) -> &'a str {
    match last_part(item) {
        Some((place, _)) if place > 0 => {
            *room = format!("{}.{place}", item.id());
            room
        }
        _ => item.id(),
    }
}

const fn metadata(item_id: &str) -> Metadata<'_> {
    Metadata { rejoinder: Ours { item_id } }
}

fn finish_reason(outcome: &Outcome, reply: &Reply) -> &'static str {
    let calls = || reply.output().iter().any(|item| matches!(item, Item::FunctionCall(_)));
    match outcome {
        Outcome::Completed if calls() => "tool-calls",
        Outcome::Completed => "stop",
        Outcome::MaxOutputTokens => "length",
        Outcome::ContentFilter => "content-filter",
        Outcome::Cancelled => "other",
        Outcome::Failed(_) => "error",
    }
}

fn write(out: &mut Vec<u8>, number: Option<u64>, chunk: &Chunk) {
    if let Some(number) = number {
        out.extend_from_slice(b"id: ");
        json(out, &number);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    json(out, chunk);
    out.extend_from_slice(b"\n\n");
}
