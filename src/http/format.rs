//! How a stream is written: decided by `Accept`. Whether there is one is decided by `stream`. Pure.

use bytes::{Bytes, BytesMut};
use hyper::header::{ACCEPT, HeaderMap};
use serde::Deserialize;

use crate::log::feed::Frame;

/// A way to write a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As the API writes it: `event:`, `data:`, at the end `[DONE]`.
    Sse,
    /// For a browser's `EventSource`: `id:`, `data:`; no names, no `[DONE]`.
    EventSource,
    /// A line of JSON an event.
    Ndjson,
    /// The bare text.
    Text,
}

impl Format {
    /// What a client asks for. SDKs send `Accept: application/json` with `stream: true`, and mean SSE.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        accept
            .split(',')
            .map(|part| part.split(';').next().unwrap_or_default().trim())
            .find_map(|media| match media {
                "text/event-stream" => Some(Self::Sse),
                "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Self::Ndjson),
                "text/plain" => Some(Self::Text),
                _ => None,
            })
            .unwrap_or(Self::Sse)
    }

    /// The `content-type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Sse | Self::EventSource => "text/event-stream; charset=utf-8",
            Self::Ndjson => "application/x-ndjson; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// The event in this format. `None`: it has nothing to show.
    pub(super) fn write(self, frame: &Frame, sequence: u64) -> Option<Bytes> {
        match self {
            Self::Sse => Some(frame.sse()),
            Self::Ndjson => Some(frame.json_line()),
            Self::EventSource => Some(with_id(&sequence.to_string(), &frame.json())),
            Self::Text => text_of(frame),
        }
    }

    /// What is sent after the terminal event.
    pub(super) const fn ending(self) -> Option<&'static [u8]> {
        match self {
            Self::Sse => Some(b"data: [DONE]\n\n"),
            Self::EventSource | Self::Ndjson | Self::Text => None,
        }
    }

    /// What is sent when there is nothing to say. `None`: the format has no room for it.
    pub(super) const fn heartbeat(self) -> Option<&'static [u8]> {
        match self {
            Self::Sse | Self::EventSource => Some(b": \n\n"),
            // Readers of NDJSON skip blank lines.
            Self::Ndjson => Some(b"\n"),
            Self::Text => None,
        }
    }
}

/// An event with an id, for `EventSource`.
pub(super) fn with_id(id: &str, json: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(id.len() + json.len() + 16);
    for part in [b"id: ", id.as_bytes(), b"\ndata: ", json, b"\n\n"] {
        bytes.extend_from_slice(part);
    }
    bytes.freeze()
}

fn text_of(frame: &Frame) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Delta {
        delta: String,
    }
    if !matches!(frame.kind, "response.output_text.delta" | "response.refusal.delta") {
        return None;
    }
    let delta: Delta = serde_json::from_slice(&frame.json()).ok()?;
    Some(delta.delta.into()).filter(|text: &Bytes| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_says_how_and_sdks_mean_sse() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            Format::of(&headers)
        };
        assert_eq!(Format::of(&HeaderMap::new()), Format::Sse);
        assert_eq!(of("application/json"), Format::Sse);
        assert_eq!(of("*/*"), Format::Sse);
        assert_eq!(of("application/x-ndjson"), Format::Ndjson);
        assert_eq!(of("text/plain;q=0.9, */*"), Format::Text);
    }
}
