//! The events of a reply as chunks. An event that the API has no word for is no chunk; its number is skipped.

use serde::Serialize;
use serde_json::Value;

use super::error::{cancelled, failed};
use super::usage::Usage;
use super::{completion_id, finish_reason};
use crate::domain::event::{Degraded, Event, Opening, Outcome};
use crate::domain::items::{Item, Part};
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;
use crate::protocols::error::ApiError;
use crate::protocols::stream::Framing;
use crate::protocols::wire::{json, last_part};
use crate::replies::feed::{Encoder, Protocol, Stage};

/// A way to write a stream of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    /// Lines of JSON rather than server-sent events.
    pub(crate) lines: bool,
    /// Whether a last chunk tells the usage.
    pub(crate) usage: bool,
}

impl Chunks {
    /// What surrounds them. A reply that failed, or that someone stopped, ends with an error and a cut: the API has no
    /// other word for it that would not be taken for success.
    pub(crate) const fn framing(self) -> Framing {
        let framing = if self.lines { Framing::NDJSON } else { Framing::SSE };
        Framing { cut_at: &[Stage::Failed, Stage::Cancelled], ..framing }
    }
}

impl Protocol for Chunks {
    fn name(&self) -> &'static str {
        match (self.lines, self.usage) {
            (false, false) => "chat_completions/sse",
            (false, true) => "chat_completions/sse+usage",
            (true, false) => "chat_completions/ndjson",
            (true, true) => "chat_completions/ndjson+usage",
        }
    }

    fn encoder(&self, accepted: &Accepted) -> Box<dyn Encoder> {
        let Accepted { reply, created_at, params, .. } = accepted;
        let mut head = Vec::with_capacity(192);
        head.extend_from_slice(b"{\"id\":");
        json(&mut head, &completion_id(*reply));
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        json(&mut head, created_at);
        head.extend_from_slice(b",\"model\":");
        json(&mut head, &params.model);
        head.extend_from_slice(b",\"service_tier\":\"default\"");
        let audio = params.audio.is_some().then(|| super::completion::audio_id(*reply));
        Box::new(Writer { head: head.into_boxed_slice(), format: *self, audio })
    }
}

#[derive(Clone)]
struct Writer {
    /// `{"id":…` as far as all chunks are the same.
    head: Box<[u8]>,
    format: Chunks,
    /// The id of the audio, if there is to be any.
    audio: Option<String>,
}

/// What a chunk adds.
#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallDelta<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<AudioDelta<'a>>,
}

#[derive(Serialize)]
struct CallDelta<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct AudioDelta<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Logprobs<'a> {
    content: &'a [Value],
    refusal: (),
}

impl<'a> From<Delta<'a>> for Choice<'a> {
    fn from(delta: Delta<'a>) -> Self {
        Self { index: 0, delta, logprobs: None, finish_reason: None }
    }
}

impl Encoder for Writer {
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64) {
        match event {
            Event::Created => {
                let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
                self.chunk(out, Some(sequence), &delta.into());
            }
            Event::ItemAdded(Opening::FunctionCall { call_id, name }) => {
                let function = FunctionDelta { name: Some(name), arguments: "" };
                let index = calls_before(reply, reply.output().len() - 1);
                let call = CallDelta { index, id: Some(call_id), r#type: Some("function"), function };
                self.chunk(out, Some(sequence), &Delta { tool_calls: Some([call]), ..Delta::default() }.into());
            }
            Event::Delta { item, text, logprobs } => {
                if let Some(delta) = delta(reply, *item as usize, text) {
                    let logprobs = (!logprobs.is_empty()).then_some(Logprobs { content: logprobs, refusal: () });
                    self.chunk(out, Some(sequence), &Choice { logprobs, ..delta.into() });
                }
            }
            Event::Transcript(text) => self.speech(out, sequence, Some(text), None),
            Event::Audio(data) => self.speech(out, sequence, None, Some(data)),
            Event::AudioDone(Some(degraded)) => self.degraded(out, sequence, degraded),
            Event::Error(error) => self.error(out, Some(sequence), &failed(error)),
            Event::End(end) if end.outcome == Outcome::Cancelled => self.error(out, None, &cancelled()),
            Event::End(_) => self.end(out, sequence, reply),
            Event::Queued
            | Event::InProgress
            | Event::ItemAdded(_)
            | Event::PartAdded { .. }
            | Event::TextDone(_)
            | Event::PartDone(_)
            | Event::ItemDone { .. }
            | Event::AudioDone(None)
            | Event::TranscriptDone => {}
        }
    }

    fn anew(&self) -> Box<dyn Encoder> {
        Box::new(self.clone())
    }
}

/// What a piece of text adds. `None`: to something that the API does not have.
fn delta<'a>(reply: &Reply, index: usize, text: &'a str) -> Option<Delta<'a>> {
    let item = reply.output().get(index).filter(|item| !item.is_compaction())?;
    if let Item::FunctionCall(_) = item {
        let function = FunctionDelta { name: None, arguments: text };
        let call = CallDelta { index: calls_before(reply, index), id: None, r#type: None, function };
        return Some(Delta { tool_calls: Some([call]), ..Delta::default() });
    }
    match last_part(item)?.1 {
        Part::OutputText { .. } => Some(Delta { content: Some(text), ..Delta::default() }),
        Part::Refusal { .. } => Some(Delta { refusal: Some(text), ..Delta::default() }),
        Part::ReasoningText { .. } | Part::SummaryText { .. } => {
            Some(Delta { reasoning_content: Some(text), ..Delta::default() })
        }
        Part::InputText { .. } | Part::InputImage { .. } | Part::InputAudio { .. } => None,
    }
}

/// How many calls come before an item: the place of a call among the calls.
fn calls_before(reply: &Reply, index: usize) -> usize {
    reply.output()[..index].iter().filter(|item| matches!(item, Item::FunctionCall(_))).count()
}

impl Writer {
    /// The last chunks. Only the very last has the event's number: a client that was cut off between them comes back for
    /// both.
    fn end(&self, out: &mut Vec<u8>, sequence: u64, reply: &Reply) {
        let Some(reason) = finish_reason(reply) else { return };
        let choice = Choice { finish_reason: Some(reason), ..Delta::default().into() };
        self.chunk(out, Some(sequence).filter(|_| !self.format.usage), &choice);
        if self.format.usage {
            self.begin(out, Some(sequence));
            out.extend_from_slice(b",\"choices\":[],\"usage\":");
            json(out, &reply.usage().map(Usage::of));
            out.push(b'}');
            self.close(out);
        }
    }

    fn speech(&self, out: &mut Vec<u8>, sequence: u64, transcript: Option<&str>, data: Option<&str>) {
        let audio = AudioDelta { id: self.audio.as_deref().unwrap_or_default(), transcript, data };
        self.chunk(out, Some(sequence), &Delta { audio: Some(audio), ..Delta::default() }.into());
    }

    /// That there should be more audio, in what is ours.
    fn degraded(&self, out: &mut Vec<u8>, sequence: u64, degraded: &Degraded) {
        self.begin(out, Some(sequence));
        out.extend_from_slice(b",\"choices\":[");
        json(out, &Choice::from(Delta::default()));
        out.extend_from_slice(b"],\"rejoinder\":");
        json(out, &super::completion::Degradation::of(degraded));
        self.finish(out);
    }

    fn error(&self, out: &mut Vec<u8>, sequence: Option<u64>, error: &ApiError) {
        self.open(out);
        let mut body = error.body();
        if let (Some(sequence), Some(b'}')) = (sequence, body.pop()) {
            body.extend_from_slice(format!(",\"sequence_number\":{sequence}").as_bytes());
        }
        out.extend_from_slice(&body);
        out.push(b'}');
        self.close(out);
    }

    fn chunk(&self, out: &mut Vec<u8>, sequence: Option<u64>, choice: &Choice) {
        self.begin(out, sequence);
        out.extend_from_slice(b",\"choices\":[");
        json(out, choice);
        out.push(b']');
        self.finish(out);
    }

    fn open(&self, out: &mut Vec<u8>) {
        if !self.format.lines {
            out.extend_from_slice(b"data: ");
        }
    }

    fn begin(&self, out: &mut Vec<u8>, sequence: Option<u64>) {
        self.open(out);
        out.extend_from_slice(&self.head);
        if let Some(sequence) = sequence {
            out.extend_from_slice(b",\"sequence_number\":");
            json(out, &sequence);
        }
    }

    fn finish(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.format.usage { b",\"usage\":null}" } else { b"}" });
        self.close(out);
    }

    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.format.lines { b"\n" } else { b"\n\n" });
    }
}
