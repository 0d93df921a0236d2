//! The events of a reply as frames: server-sent events, lines of JSON, or the bare text.

use super::wire::{Envelope, plain_text};
use crate::domain::event::Event;
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;
use crate::replies::feed::{Encoder, Protocol, Stage};

/// A way to write a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the API writes it: `event:`, `data:`, at the end `[DONE]`.
    Sse,
    /// For a browser's `EventSource`: `id:`, `data:`; no names, no `[DONE]`.
    EventSource,
    /// As [`Format::EventSource`], in the stream of a conversation: the id begins with the reply's ordinal there.
    Conversation {
        /// The ordinal.
        ordinal: u64,
    },
    /// A line of JSON an event.
    Ndjson,
    /// The bare text.
    Text,
}

/// The last frame of server-sent events, as the API writes them.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What surrounds the frames of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framing {
    /// The `content-type`.
    pub(crate) content_type: &'static str,
    /// What is sent after the terminal event.
    pub(crate) ending: Option<&'static [u8]>,
    /// What is sent on a silent stream. `None`: the format has no room for it.
    pub(crate) heartbeat: Option<&'static [u8]>,
    /// Ends of a reply for which the format has no event of its own: the stream is cut there.
    pub(crate) cut_at: &'static [Stage],
}

impl Framing {
    /// Server-sent events, of which `[DONE]` is the last.
    pub(crate) const SSE: Self = Self { ending: Some(DONE), ..Self::EVENT_SOURCE };
    /// Server-sent events for a browser's `EventSource`.
    pub(crate) const EVENT_SOURCE: Self = Self {
        content_type: "text/event-stream; charset=utf-8",
        ending: None,
        heartbeat: Some(b": \n\n"),
        cut_at: &[],
    };
    /// Lines of JSON, whose readers skip blank lines.
    pub(crate) const NDJSON: Self =
        Self { content_type: "application/x-ndjson; charset=utf-8", ending: None, heartbeat: Some(b"\n"), cut_at: &[] };
    /// The bare text.
    pub(crate) const TEXT: Self =
        Self { content_type: "text/plain; charset=utf-8", ending: None, heartbeat: None, cut_at: &[Stage::Failed] };
}

impl Format {
    /// What surrounds the events.
    pub(crate) const fn framing(self) -> Framing {
        match self {
            Self::Sse => Framing::SSE,
            Self::EventSource | Self::Conversation { .. } => Framing::EVENT_SOURCE,
            Self::Ndjson => Framing::NDJSON,
            Self::Text => Framing::TEXT,
        }
    }
}

impl Protocol for Format {
    fn name(&self) -> &'static str {
        match self {
            Self::Sse => "responses/sse",
            Self::EventSource => "responses/eventsource",
            Self::Conversation { .. } => "responses/conversation",
            Self::Ndjson => "responses/ndjson",
            Self::Text => "responses/text",
        }
    }

    fn encoder(&self, accepted: &Accepted) -> Box<dyn Encoder> {
        match self {
            Self::Text => Box::new(Text),
            format => Box::new(Json { envelope: Envelope::of(accepted), format: *format }),
        }
    }
}

/// Events of the API, framed.
#[derive(Clone)]
struct Json {
    envelope: Envelope,
    format: Format,
}

impl Encoder for Json {
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64) {
        let start = out.len();
        match self.format {
            Format::EventSource => write_id(out, format_args!("{sequence}")),
            Format::Conversation { ordinal } => write_id(out, format_args!("{ordinal}.{sequence}")),
            Format::Sse | Format::Ndjson | Format::Text => {}
        }
        let Some(kind) = self.envelope.write_event(out, reply, event, sequence) else { return out.truncate(start) };
        match self.format {
            Format::Ndjson => out.push(b'\n'),
            Format::Sse => {
                out.extend_from_slice(b"\n\n");
                insert_header(out, start, kind);
            }
            Format::EventSource | Format::Conversation { .. } | Format::Text => out.extend_from_slice(b"\n\n"),
        }
    }

    fn anew(&self) -> Box<dyn Encoder> {
        Box::new(self.clone())
    }
}

/// What a person reads.
struct Text;

impl Encoder for Text {
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, _sequence: u64) {
        out.extend_from_slice(plain_text(reply, event).unwrap_or_default().as_bytes());
    }

    fn anew(&self) -> Box<dyn Encoder> {
        Box::new(Self)
    }
}

/// An event with an id, for `EventSource`.
pub(crate) fn with_id(id: &str, json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(id.len() + json.len() + 16);
    write_id(&mut out, format_args!("{id}"));
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
    out
}

fn write_id(out: &mut Vec<u8>, id: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    write!(out, "id: {id}\ndata: ").expect("a buffer takes what it is given");
}

/// Puts the lines before an event's JSON, which begins at `start`: the type is known only once it is written.
fn insert_header(out: &mut Vec<u8>, start: usize, kind: &str) {
    let header = [b"event: ", kind.as_bytes(), b"\ndata: "];
    let (length, end) = (header.iter().map(|part| part.len()).sum::<usize>(), out.len());
    out.resize(end + length, 0);
    out.copy_within(start..end, start + length);
    let mut at = start;
    for part in header {
        out[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_event_comes_before_its_data() {
        let mut out = b"before".to_vec();
        out.extend_from_slice(b"{}\n\n");
        insert_header(&mut out, 6, "response.created");
        assert_eq!(out, b"beforeevent: response.created\ndata: {}\n\n");
        assert_eq!(with_id("7.1", b"{}"), b"id: 7.1\ndata: {}\n\n");
    }
}
