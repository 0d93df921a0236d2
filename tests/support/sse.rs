//! A reader of server-sent events, strict and after the HTML standard (section 9.2.6), written without a look at
//! the server's writer: what a browser would drop, this one drops, and what is wrong, it says.

use std::{collections::VecDeque, fmt, time::Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, StatusCode, body::Incoming};
use serde_json::Value;

use super::wait::soon;

/// One dispatched event.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The `event:` field, if there was one.
    pub event: Option<String>,
    pub data: String,
    /// The `id:` field of this very event, if there was one.
    pub id: Option<String>,
    pub at: Instant,
}

/// An event of a reply: a [`Frame`] whose data is a JSON object with a type and a number.
#[derive(Debug, Clone)]
pub struct Event {
    pub number: u64,
    pub kind: String,
    pub body: Value,
    /// When it came.
    pub at: Instant,
}

impl Event {
    pub fn delta(&self) -> Option<&str> {
        (self.kind == "response.output_text.delta").then(|| self.body["delta"].as_str().expect("a delta is text"))
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self.kind.as_str(), "response.completed" | "response.incomplete" | "response.failed")
    }
}

/// The lines of a stream, taken apart as the standard says.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_carriage_return: bool,
    event: Option<String>,
    data: Option<String>,
    id: Option<String>,
    pub retry: Option<u64>,
    pub comments: usize,
    frames: VecDeque<Frame>,
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let after = std::mem::replace(&mut self.after_carriage_return, byte == b'\r');
            match byte {
                b'\n' if after => {}
                b'\r' | b'\n' => self.end_line(),
                _ => self.line.push(byte),
            }
        }
    }

    pub fn next(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Whether a clean end now would lose something that was begun.
    pub fn is_between_events(&self) -> bool {
        self.line.is_empty() && self.data.is_none() && self.event.is_none()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8(std::mem::take(&mut self.line)).expect("an event stream is UTF-8");
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => self.event = Some(value.to_owned()),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" => self.retry = Some(value.parse().expect("`retry` is a number")),
            "data" => {
                let data = self.data.get_or_insert_default();
                data.push_str(value);
                data.push('\n');
            }
            other => panic!("a field that is no field: {other:?}"),
        }
    }

    fn dispatch(&mut self) {
        let (event, id) = (self.event.take(), self.id.take());
        if let Some(mut data) = self.data.take() {
            data.pop();
            self.frames.push_back(Frame { event, data, id, at: Instant::now() });
        }
    }
}

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The last chunk was sent: the server says that this was all.
    Clean,
    /// The connection broke before that.
    Cut(String),
}

/// An event stream being read.
pub struct Events {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    pub parser: Parser,
    end: Option<End>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("status", &self.status).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Events {
    pub fn new(response: hyper::Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body, parser: Parser::default(), end: None }
    }

    /// The id of the reply that this stream carries, from its headers.
    pub fn response_id(&self) -> String {
        self.headers["x-response-id"].to_str().expect("an id is ASCII").to_owned()
    }

    /// The next frame, or how the stream ended. Comments do not count as one.
    pub async fn next(&mut self) -> Result<Frame, End> {
        soon("the next event of a stream", self.next_frame()).await
    }

    async fn next_frame(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = self.parser.next() {
                return Ok(frame);
            }
            if let Some(end) = &self.end {
                return Err(end.clone());
            }
            match self.chunk().await {
                Ok(bytes) => self.parser.feed(&bytes),
                Err(end) => self.end = Some(end),
            }
        }
    }

    /// The next piece of the body as it came, or how it ended. For bodies that are no event streams.
    pub async fn chunk(&mut self) -> Result<Bytes, End> {
        loop {
            return match soon("the next bytes of a stream", self.body.frame()).await {
                None => Err(End::Clean),
                Some(Err(error)) => Err(End::Cut(error.to_string())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Ok(bytes),
                    Err(_trailers) => continue,
                },
            };
        }
    }

    /// Reads on until an event for which `enough` holds, and returns all read by then, that one included.
    pub async fn read_until(&mut self, mut enough: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let frame = self.next().await.unwrap_or_else(|end| panic!("ended ({end:?}) too early, after {events:#?}"));
            let event = as_event(&frame);
            let last = enough(&event);
            events.push(event);
            if last {
                return events;
            }
        }
    }

    /// Reads until `n` words of text have come, the last of them perhaps in part.
    pub async fn read_words(&mut self, n: usize) -> Vec<Event> {
        let mut text = String::new();
        self.read_until(|event| {
            text.push_str(event.delta().unwrap_or_default());
            text.split_whitespace().count() >= n
        })
        .await
    }

    /// Reads to the end, however that comes.
    pub async fn collect(mut self) -> Collected {
        let mut frames = Vec::new();
        let end = loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(end) => break end,
            }
        };
        if end == End::Clean {
            assert!(self.parser.is_between_events(), "a clean end inside an event");
        }
        Collected { frames, end, retry: self.parser.retry, headers: self.headers }
    }
}

/// All of a stream.
#[derive(Debug)]
pub struct Collected {
    pub frames: Vec<Frame>,
    pub end: End,
    pub retry: Option<u64>,
    pub headers: HeaderMap,
}

impl Collected {
    /// The events of one of the `OpenAI` endpoints that ended as it should: cleanly, after `[DONE]`, with `event:`
    /// equal to `type` and without `id:`.
    pub fn into_events(mut self) -> Vec<Event> {
        assert_eq!(self.end, End::Clean, "after {:#?}", self.frames);
        let last = self.frames.pop().expect("a stream says something");
        assert_eq!((last.data.as_str(), last.event), ("[DONE]", None), "the last frame");
        self.frames.iter().map(as_named_event).collect()
    }

    /// The events of one of the endpoints for `EventSource`: no `event:`, no `[DONE]`, `id:` on each.
    pub fn into_source_events(self) -> Vec<(String, Event)> {
        self.frames
            .iter()
            .map(|frame| {
                assert_eq!(frame.event, None, "a named event does not reach `onmessage`");
                assert_ne!(frame.data, "[DONE]");
                (frame.id.clone().expect("each event has an id"), as_event(frame))
            })
            .collect()
    }
}

/// The JSON of a frame, with what every event has.
pub fn as_event(frame: &Frame) -> Event {
    let body: Value =
        serde_json::from_str(&frame.data).unwrap_or_else(|error| panic!("{error} in the data of {frame:?}"));
    Event {
        number: body["sequence_number"].as_u64().unwrap_or_else(|| panic!("no sequence_number in {body}")),
        kind: body["type"].as_str().unwrap_or_else(|| panic!("no type in {body}")).to_owned(),
        body,
        at: frame.at,
    }
}

/// As [`as_event`], and checks the frame's name.
pub fn as_named_event(frame: &Frame) -> Event {
    let event = as_event(frame);
    assert_eq!(frame.event.as_deref(), Some(event.kind.as_str()), "`event:` equals `type`");
    assert_eq!(frame.id, None, "no `id:` on the OpenAI endpoints");
    event
}
