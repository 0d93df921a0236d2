//! The layout of a reply's events: their kinds, items and lengths; the text itself is in the output.
//!
//! With both, every event can be reproduced as it was: [`expand`] returns what [`OutputLayout::push`] took, so that
//! a reply can be rejoined at any event for as long as it is stored, and its text is stored once. Only audio and its
//! transcript come back empty: they are stored as long as the reply log is, and their events keep their numbers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{Event, Opening, Outcome, PartKind};
use super::items::{Item, ItemStatus, Part};
use super::reply::Content;

const ITEM_ADDED: u32 = 0;
const PART_ADDED: u32 = 1;
const DELTA: u32 = 2;
const DELTA_WITH_LOGPROBS: u32 = 3;
const TEXT_DONE: u32 = 4;
const PART_DONE: u32 = 5;
const ITEM_DONE: u32 = 6;
const TRANSCRIPT: u32 = 7;
const AUDIO: u32 = 8;
const AUDIO_DONE: u32 = 9;
const TRANSCRIPT_DONE: u32 = 10;

/// The events between a reply's opening and its end, without their text: a flat list of marks, each a code and
/// its operands (`[2, item, length in UTF-8 bytes]` is a delta).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputLayout {
    marks: Vec<u32>,
}

/// How far a reply was spoken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Bytes of audio before the first transcript: the header of the whole.
    pub header: u64,
    /// What was spoken, in order.
    pub parts: Vec<SpokenPart>,
    /// Whether no more comes.
    pub over: bool,
}

/// A sentence, or several, and what is stored of their audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpokenPart {
    /// The length of the transcript, in bytes of UTF-8.
    pub transcript: u64,
    /// The length of the audio, in bytes.
    pub audio: u64,
}

/// The layout and the output are not of one reply, or one of them is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply's events do not match its output")]
pub struct Mismatch;

impl OutputLayout {
    /// Notes an event. Opening events and those of the end are the same for every reply, and not noted.
    pub fn push(&mut self, event: &Event) {
        match event {
            Event::Created | Event::Queued | Event::InProgress | Event::Error(_) | Event::End(_) => {}
            Event::ItemAdded(_) => self.marks.push(ITEM_ADDED),
            Event::PartAdded { item, .. } => self.marks.extend([PART_ADDED, *item]),
            Event::Delta { item, text, logprobs } if logprobs.is_empty() => {
                self.marks.extend([DELTA, *item, length(text.len())]);
            }
            Event::Delta { item, text, logprobs } => {
                self.marks.extend([DELTA_WITH_LOGPROBS, *item, length(text.len()), length(logprobs.len())]);
            }
            Event::TextDone(item) => self.marks.extend([TEXT_DONE, *item]),
            Event::PartDone(item) => self.marks.extend([PART_DONE, *item]),
            Event::ItemDone { item, .. } => self.marks.extend([ITEM_DONE, *item]),
            Event::Transcript(text) => self.marks.extend([TRANSCRIPT, length(text.len())]),
            Event::Audio(audio) => self.marks.extend([AUDIO, length(decoded(audio))]),
            Event::AudioDone(_) => self.marks.push(AUDIO_DONE),
            Event::TranscriptDone => self.marks.push(TRANSCRIPT_DONE),
        }
    }

    /// The layout of these events.
    pub fn compact<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut layout = Self::default();
        events.into_iter().for_each(|event| layout.push(event));
        layout
    }

    /// How far the reply was spoken.
    pub fn spoken(&self) -> Spoken {
        let mut spoken = Spoken::default();
        let mut marks = self.marks.iter().copied();
        while let Some(code) = marks.next() {
            let first = marks.by_ref().take(operand_count(code)).fold(None, |first, operand| first.or(Some(operand)));
            let length = u64::from(first.unwrap_or_default());
            match code {
                TRANSCRIPT => spoken.parts.push(SpokenPart { transcript: length, audio: 0 }),
                AUDIO => match spoken.parts.last_mut() {
                    Some(part) => part.audio += length,
                    None => spoken.header += length,
                },
                AUDIO_DONE => spoken.over = true,
                _ => {}
            }
        }
        spoken
    }

    /// How many tokens each item has, as far as its events show: one for each delta, or as many as there are
    /// probabilities.
    pub fn tokens(&self) -> Vec<u64> {
        let mut tokens: Vec<u64> = Vec::new();
        let mut marks = self.marks.iter().copied();
        while let Some(code) = marks.next() {
            if code == ITEM_ADDED {
                tokens.push(0);
            }
            let mut operands = [0; 3];
            for operand in operands.iter_mut().take(operand_count(code)) {
                *operand = marks.next().unwrap_or_default();
            }
            let count = match code {
                DELTA => 1,
                DELTA_WITH_LOGPROBS => u64::from(operands[2]),
                _ => continue,
            };
            if let Some(item) = tokens.get_mut(operands[0] as usize) {
                *item += count;
            }
        }
        tokens
    }

    /// Takes the lengths of an item's deltas out, because its text is erased: its events stay, and are empty. Returns
    /// whether there were any.
    pub fn empty(&mut self, item: u32) -> bool {
        let (mut at, mut had_text) = (0, false);
        while let Some(code) = self.marks.get(at).copied() {
            let next = at + 1 + operand_count(code);
            if matches!(code, DELTA | DELTA_WITH_LOGPROBS)
                && let Some([of, lengths @ ..]) = self.marks.get_mut(at + 1..next)
                && *of == item
            {
                had_text |= lengths.iter().any(|length| *length > 0);
                lengths.fill(0);
            }
            at = next;
        }
        had_text
    }

    /// How many numbers it holds; what it costs to store it.
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// What it costs to expand it, as the bytes of text that take as long.
    pub const fn cost(&self) -> usize {
        const BYTES_PER_NUMBER: usize = 24;
        self.marks.len() * BYTES_PER_NUMBER
    }

    /// Whether nothing was noted.
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
}

/// How many numbers follow a code.
const fn operand_count(code: u32) -> usize {
    match code {
        ITEM_ADDED | AUDIO_DONE | TRANSCRIPT_DONE => 0,
        DELTA => 2,
        DELTA_WITH_LOGPROBS => 3,
        _ => 1,
    }
}

/// The length of what base64 stands for.
fn decoded(base64: &str) -> usize {
    base64.len() / 4 * 3 - base64.bytes().rev().take_while(|byte| *byte == b'=').count()
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a delta is shorter than 4 GiB")
}

/// Reproduces the events of a reply, from the first to the last that is known.
///
/// # Errors
/// [`Mismatch`] when `layout` is not of this reply.
pub fn expand(background: bool, content: &Content, layout: &OutputLayout) -> Result<Vec<Event>, Mismatch> {
    let mut events = Event::opening(background).to_vec();
    let mut cursors: Vec<Cursor> = Vec::new();
    let mut marks = layout.marks.iter().copied();
    while let Some(code) = marks.next() {
        if code == ITEM_ADDED {
            let item = content.output.get(cursors.len()).ok_or(Mismatch)?;
            cursors.push(Cursor::default());
            events.push(Event::ItemAdded(opening(item)));
            continue;
        }
        if let Some(event) = speech(code, content) {
            if matches!(code, TRANSCRIPT | AUDIO) {
                marks.next().ok_or(Mismatch)?;
            }
            events.push(event);
            continue;
        }
        let index = marks.next().ok_or(Mismatch)?;
        let item = content.output.get(index as usize).ok_or(Mismatch)?;
        let cursor = cursors.get_mut(index as usize).ok_or(Mismatch)?;
        events.push(match code {
            PART_ADDED => Event::PartAdded { item: index, kind: cursor.next_part(item)? },
            DELTA => cursor.next_delta(index, item, marks.next(), Some(0))?,
            DELTA_WITH_LOGPROBS => cursor.next_delta(index, item, marks.next(), marks.next())?,
            TEXT_DONE => Event::TextDone(index),
            PART_DONE => Event::PartDone(index),
            ITEM_DONE => Event::ItemDone {
                item: index,
                incomplete: item.status() == ItemStatus::Incomplete,
                provider_state: content.provider_state.get(&index).cloned(),
            },
            _ => return Err(Mismatch),
        });
    }
    if let Some(end) = &content.end {
        if let Outcome::Failed(error) = &end.outcome {
            events.push(Event::Error(error.clone()));
        }
        events.push(Event::End(end.clone()));
    }
    Ok(events)
}

/// An event of the reply's speech, without the audio and the transcript.
fn speech(code: u32, content: &Content) -> Option<Event> {
    Some(match code {
        TRANSCRIPT => Event::Transcript(Arc::default()),
        AUDIO => Event::Audio(Arc::default()),
        AUDIO_DONE => Event::AudioDone(content.degraded.clone()),
        TRANSCRIPT_DONE => Event::TranscriptDone,
        _ => return None,
    })
}

/// How far an item has been reproduced.
#[derive(Default)]
struct Cursor {
    parts: usize,
    bytes: usize,
    logprobs: usize,
}

impl Cursor {
    fn next_part(&mut self, item: &Item) -> Result<PartKind, Mismatch> {
        *self = Self { parts: self.parts + 1, ..Self::default() };
        Ok(match part(item, self.parts - 1)? {
            Part::OutputText { .. } => PartKind::Text,
            Part::Refusal { .. } => PartKind::Refusal,
            Part::ReasoningText { .. } => PartKind::Reasoning,
            Part::SummaryText { .. } => PartKind::Summary,
            Part::InputText { .. } | Part::InputImage { .. } | Part::InputAudio { .. } => return Err(Mismatch),
        })
    }

    fn next_delta(
        &mut self,
        index: u32,
        item: &Item,
        bytes: Option<u32>,
        logprobs: Option<u32>,
    ) -> Result<Event, Mismatch> {
        let bytes = bytes.ok_or(Mismatch)? as usize;
        let logprobs = logprobs.ok_or(Mismatch)? as usize;
        let (text, all_logprobs): (&str, &[Value]) = match item {
            Item::FunctionCall(call) => (&call.arguments, &[]),
            item => match part(item, self.parts.checked_sub(1).ok_or(Mismatch)?)? {
                Part::OutputText { text, logprobs, .. } => (text, logprobs),
                part => (part.text(), &[]),
            },
        };
        let text = text.get(self.bytes..self.bytes + bytes).ok_or(Mismatch)?.to_owned();
        let logprobs_here = all_logprobs.get(self.logprobs..self.logprobs + logprobs).ok_or(Mismatch)?.to_vec();
        self.bytes += bytes;
        self.logprobs += logprobs;
        Ok(Event::Delta { item: index, text, logprobs: logprobs_here })
    }
}

fn part(item: &Item, index: usize) -> Result<&Part, Mismatch> {
    let parts = match item {
        Item::Message(message) => &message.content,
        Item::Reasoning(reasoning) if reasoning.content.is_empty() => &reasoning.summary,
        Item::Reasoning(reasoning) => &reasoning.content,
        Item::FunctionCall(_) | Item::FunctionCallOutput(_) => return Err(Mismatch),
    };
    parts.get(index).ok_or(Mismatch)
}

fn opening(item: &Item) -> Opening {
    match item {
        Item::FunctionCall(call) => Opening::FunctionCall { call_id: call.call_id.clone(), name: call.name.clone() },
        Item::Reasoning(_) => Opening::Reasoning,
        item if item.is_compaction() => Opening::Compaction,
        Item::Message(_) | Item::FunctionCallOutput(_) => Opening::Message,
    }
}
